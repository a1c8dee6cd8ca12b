//! The batches of several machines as one.
//!
//! For clients that run one gadget on several targets: each array data source gets a twin, `combined-<name>`, which takes its place.
//! Batches of all targets are collected and go on as one, at the gadget's interval, or once when all have come.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Context, Explanation, Instance, OperatorNote, Stream, priority};
use crate::data::{DataSource, Element, Emitter, Flow, LossPlace, SourceType};
use crate::metadata::duration;
use crate::metadata::params::typed::parse_int;
use crate::{Error, ErrorKind, Result, ResultExt};

/// How long a gadget that fetches a known number of times is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The combiner's part in one gadget.
#[derive(Debug)]
pub struct Combiner {
    targets: usize,
    patience: Duration,
    combined: Vec<Combined>,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Combined {
    /// The stream that the targets fill, and the one that takes its place.
    from: usize,
    to: usize,
    when: When,
    queue: Arc<Queue>,
}

/// When batches go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Again and again, whatever has come.
    Every(Duration),
    /// Once, when there is one of each target.
    Complete,
    /// The same, but not later than this.
    CompleteWithin(Duration),
}

impl Combiner {
    /// Gives every array data source of a run on `targets` targets a twin. `None` if there are no targets, or nothing to combine.
    ///
    /// # Errors
    ///
    /// `getting fetch annotation for ds …`: an interval or count that cannot be read.
    pub fn instantiate(context: &mut Context, targets: usize) -> Result<Option<Self>> {
        if targets == 0 {
            return Ok(None);
        }
        let mut twins: Vec<(usize, DataSource, When)> = Vec::new();
        for (index, stream) in context.referenced() {
            let source = &mut stream.source;
            if source.source_type() != SourceType::Array {
                continue;
            }
            let when =
                When::of(source).with_context(|| format!("getting fetch annotation for ds {}", source.name()))?;
            source.unreference();
            twins.push((index, source.copy_as(format!("combined-{}", source.name())), when));
        }
        let mut combined = Vec::new();
        for (from, twin, when) in twins {
            combined.push(Combined {
                from,
                to: context.streams.len(),
                when,
                queue: Arc::new(Queue::new(targets)),
            });
            context.streams.push(Stream::new(twin));
        }
        Ok((!combined.is_empty()).then_some(Self {
            targets,
            patience: PATIENCE,
            combined,
            workers: Vec::new(),
        }))
    }
}

impl When {
    fn of(source: &DataSource) -> Result<Self> {
        let annotation = |key: &str| source.annotation(key).filter(|value| !value.is_empty());
        let interval = annotation("fetch-interval").map_or(Ok(0), duration::parse)?;
        let count = annotation("fetch-count").map_or(Ok(0), |count| parse_int(count, 64))?;
        Ok(match u64::try_from(interval) {
            Ok(nanos @ 1..) => Self::Every(Duration::from_nanos(nanos)),
            _ if count == 0 => Self::Complete,
            _ => Self::CompleteWithin(PATIENCE),
        })
    }
}

impl Instance for Combiner {
    fn name(&self) -> &'static str {
        "Combiner"
    }

    fn priority(&self) -> i32 {
        priority::instance::COMBINER
    }

    fn demand(&self, context: &mut Context) {
        // What is read of a twin must have come from the target.
        for Combined { from, to, .. } in &self.combined {
            let Some(twin) = context.streams.get(*to) else { continue };
            let read: Vec<_> = twin
                .source
                .fields()
                .map(|(id, _)| id)
                .filter(|id| twin.demand.wants(*id))
                .collect();
            if let Some(original) = context.streams.get_mut(*from) {
                let known = original.source.len();
                let read = read.into_iter().filter(|id| id.index() < known);
                read.for_each(|id| original.demand.add(id));
            }
        }
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for Combined { from, queue, .. } in &self.combined {
            let Some(stream) = context.streams.get_mut(*from) else {
                continue;
            };
            let queue = Arc::clone(queue);
            stream
                .pipeline
                .subscribe_array(priority::subscription::COMBINER, move |elements| {
                    queue.push(elements.clone());
                    Ok(Flow::Continue)
                });
        }
        Ok(())
    }

    fn explain(&self, _context: &Context, to: &mut Explanation) {
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: true,
            why: format!(
                "the gadget runs on {} target(s) and has array data sources",
                self.targets
            ),
        });
    }

    fn start(&mut self, context: &mut Context) -> Result<()> {
        for Combined { from, to, when, queue } in self.combined.drain(..) {
            let Some(layout) = context.streams.get(from).map(|stream| stream.source.layout().clone()) else {
                continue;
            };
            let Some(stream) = context.streams.get_mut(to) else {
                continue;
            };
            let when = match when {
                When::CompleteWithin(_) => When::CompleteWithin(self.patience),
                when => when,
            };
            let name = stream.source.name().to_owned();
            let emitter = stream.emitter();
            let (targets, work_queue) = (self.targets, Arc::clone(&queue));
            let thread = std::thread::Builder::new().name("combiner".to_owned()).spawn(move || {
                let mut work = Work {
                    name,
                    emitter,
                    batch: Vec::new(),
                };
                work.run(when, targets, &work_queue, |element, emitter| {
                    element.copied(&layout, emitter.layout())
                });
                work_queue.close();
            });
            self.workers.push(Worker {
                queue,
                thread: Some(thread.context("starting a thread")?),
            });
        }
        Ok(())
    }

    fn pre_stop(&mut self) -> Result<()> {
        self.workers.iter_mut().try_for_each(Worker::stop)
    }
}

/// The thread of one data source. It ends when this is dropped.
#[derive(Debug)]
struct Worker {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn stop(&mut self) -> Result<()> {
        self.queue.close();
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(Error::new(ErrorKind::Other, "the thread that combines has panicked")),
            _ => Ok(()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A panic was said by the thread itself.
        let _ = self.stop();
    }
}

struct Work {
    name: String,
    emitter: Emitter,
    batch: Vec<Element>,
}

impl Work {
    /// Works until the queue is closed, or until everything was emitted.
    fn run(&mut self, when: When, targets: usize, queue: &Queue, copy: impl Fn(&Element, &Emitter) -> Element) {
        let start = Instant::now();
        let mut due = match when {
            When::Every(time) | When::CompleteWithin(time) => start.checked_add(time),
            When::Complete => None,
        };
        let mut got = 0;
        loop {
            match queue.pop(due) {
                Popped::Closed => return,
                Popped::Batch(elements) => {
                    got += 1;
                    let emitter = &self.emitter;
                    self.batch.extend(elements.iter().map(|element| copy(element, emitter)));
                    if got >= targets && !matches!(when, When::Every(_)) {
                        return self.emit();
                    }
                }
                Popped::Late => {
                    let When::Every(interval) = when else {
                        tracing::warn!(
                            "Data is incomplete: timeout waiting for data from all targets ({got}/{targets})"
                        );
                        return self.emit();
                    };
                    self.emit();
                    // What took longer than its interval is not made up for.
                    due = due
                        .and_then(|due| due.checked_add(interval))
                        .map(|due| due.max(Instant::now()));
                }
            }
        }
    }

    fn emit(&mut self) {
        let count = self.batch.len() as u64;
        if let Err(error) = self.emitter.emit_array(&mut self.batch) {
            tracing::warn!("{}: {error}", self.name);
            self.emitter.losses().add(LossPlace::Failed, count);
        }
        self.batch.clear();
    }
}

/// Batches on their way to the thread that combines them. Who brings more than there is room for waits.
#[derive(Debug)]
struct Queue {
    capacity: usize,
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    batches: VecDeque<Vec<Element>>,
    closed: bool,
}

enum Popped {
    Batch(Vec<Element>),
    /// Nothing came in time.
    Late,
    Closed,
}

impl Queue {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Adds a batch as soon as there is room. Nothing happens if the queue is closed.
    fn push(&self, batch: Vec<Element>) {
        let full = |state: &mut QueueState| !state.closed && state.batches.len() >= self.capacity;
        let waited = self.changed.wait_while(self.lock(), full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.closed {
            state.batches.push_back(batch);
            self.changed.notify_all();
        }
    }

    /// The next batch; waits until `due` for it.
    fn pop(&self, due: Option<Instant>) -> Popped {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Popped::Closed;
            }
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            // Time counts first: whoever brings batches all the time must not keep the others waiting.
            if left.is_some_and(|left| left.is_zero()) {
                return Popped::Late;
            }
            if let Some(batch) = state.batches.pop_front() {
                self.changed.notify_all();
                return Popped::Batch(batch);
            }
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::data::{Accessor, NewField, Scalar};

    struct Running {
        combiner: Combiner,
        target: Emitter,
        number: Accessor,
        emissions: mpsc::Receiver<Vec<u64>>,
    }

    fn context(annotations: &[(&str, &str)]) -> Context {
        let mut context = Context::default();
        for source_type in [SourceType::Single, SourceType::Array] {
            let mut source = DataSource::new(format!("{source_type:?}"), source_type, None);
            for (key, value) in annotations {
                source.annotate(*key, *value);
            }
            source.add_field(NewField::new("number", Scalar::Uint64)).unwrap();
            source.add_field(NewField::new("text", Scalar::String)).unwrap();
            context.streams.push(Stream::new(source));
        }
        context
    }

    fn start(targets: usize, annotations: &[(&str, &str)]) -> Running {
        let mut context = context(annotations);
        let mut combiner = Combiner::instantiate(&mut context, targets).unwrap().unwrap();
        combiner.patience = Duration::from_millis(20);
        // Another operator adds a field to what it can see.
        let twin = &mut context.streams[2];
        twin.source.add_field(NewField::new("more", Scalar::Uint64)).unwrap();
        let number = twin.source.accessor(twin.source.find("number").unwrap());
        let text = twin.source.accessor(twin.source.find("text").unwrap());
        let (sender, emissions) = mpsc::channel();
        twin.pipeline.subscribe_array(0, move |elements| {
            let numbers = elements.iter().map(|element| {
                assert_eq!(text.bytes(element), b"text");
                number.bits(element)
            });
            sender
                .send(numbers.collect())
                .map_err(|_| Error::invalid("nobody listens"))?;
            Ok(Flow::Continue)
        });
        combiner.prepare(&mut context).unwrap();
        combiner.start(&mut context).unwrap();
        Running {
            combiner,
            target: context.streams[1].emitter(),
            number,
            emissions,
        }
    }

    impl Running {
        fn send(&mut self, numbers: &[u64]) {
            let mut source = DataSource::new("like", SourceType::Array, None);
            source.add_field(NewField::new("number", Scalar::Uint64)).unwrap();
            let text = source.add_field(NewField::new("text", Scalar::String)).unwrap();
            let text = source.accessor(text);
            let element = |number: &u64| {
                let mut element = self.target.element();
                self.number.set_bits(&mut element, *number);
                text.set(&mut element, b"text").unwrap();
                element
            };
            let mut elements = numbers.iter().map(element).collect();
            self.target.emit_array(&mut elements).unwrap();
        }
    }

    #[test]
    fn twins_take_the_place_of_arrays() {
        let mut context = context(&[("fetch-interval", "1s"), ("x", "y")]);
        assert!(Combiner::instantiate(&mut context, 0).unwrap().is_none());
        let combiner = Combiner::instantiate(&mut context, 1).unwrap().unwrap();
        let names: Vec<&str> = context.referenced().map(|(_, stream)| stream.source.name()).collect();
        assert_eq!(names, ["Single", "combined-Array"]);
        let twin = &context.streams[2].source;
        assert_eq!((twin.annotation("x"), twin.len()), (Some("y"), 2));
        assert_eq!(combiner.combined[0].when, When::Every(Duration::from_secs(1)));
        // What is read of the twin is read of the original.
        let (number, text) = (twin.find("number").unwrap(), twin.find("text").unwrap());
        context.streams[2].demand.add(text);
        combiner.demand(&mut context);
        let demand = &context.streams[1].demand;
        assert!(demand.wants(text) && !demand.wants(number));
    }

    #[test]
    fn annotations_must_be_readable() {
        for (key, value, expected) in [
            ("fetch-interval", "soon", "time: invalid duration \"soon\""),
            ("fetch-count", "x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ] {
            let error = Combiner::instantiate(&mut context(&[(key, value)]), 2).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("getting fetch annotation for ds Array: {expected}")
            );
        }
    }

    /// Acceptance check E7 of the data specification.
    #[test]
    fn e7_one_batch_when_all_targets_have_sent_theirs() {
        let mut running = start(2, &[("fetch-interval", "0")]);
        running.send(&[1, 2]);
        running.send(&[3, 4, 5]);
        assert_eq!(running.emissions.iter().collect::<Vec<_>>(), [[1, 2, 3, 4, 5]]);
        // Nobody takes them any more, and nobody waits.
        (0..9).for_each(|_| running.send(&[6]));
        running.combiner.pre_stop().unwrap();
    }

    #[test]
    fn what_is_incomplete_is_dropped_at_the_end() {
        let mut running = start(2, &[]);
        running.send(&[1]);
        running.combiner.pre_stop().unwrap();
        assert_eq!(running.emissions.iter().count(), 0);
        let mut running = start(1, &[("fetch-interval", "1h")]);
        running.send(&[1]);
        running.combiner.pre_stop().unwrap();
        assert_eq!(running.emissions.iter().count(), 0);
    }

    #[test]
    fn targets_that_do_not_answer_are_waited_for_only_so_long() {
        let mut running = start(3, &[("fetch-interval", "0"), ("fetch-count", "1")]);
        running.send(&[1]);
        assert_eq!(running.emissions.iter().collect::<Vec<_>>(), [[1]]);
    }

    #[test]
    fn batches_go_on_at_the_interval() {
        let mut running = start(2, &[("fetch-interval", "5ms")]);
        assert_eq!(running.emissions.recv().unwrap(), [0; 0], "whatever has come");
        for number in 1..20 {
            running.send(&[number]);
        }
        let mut seen = Vec::new();
        while seen.len() < 19 {
            seen.extend(running.emissions.recv().unwrap());
        }
        assert_eq!(seen, (1..20).collect::<Vec<u64>>());
        running.combiner.pre_stop().unwrap();
    }
}
