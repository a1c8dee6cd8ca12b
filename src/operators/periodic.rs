//! Operators that produce by themselves: a thread that collects and emits at intervals.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::data::{Element, Emitter, Knowledge, LossPlace, Packing, Stream, Tap};
use crate::metadata::config::Config;
use crate::metadata::duration;
use crate::stop::StopSignal;
use crate::{Error, ErrorKind, Result, ResultExt};

/// When to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// From one emission to the next.
    pub(super) interval: Duration,
    /// From the start to an emission before all others.
    pub(super) first: Option<Duration>,
    /// How many emissions there are besides the first; 0 is no end.
    pub(super) count: u64,
}

impl Schedule {
    /// Reads `interval`, `first-interval` and `count` below `path`.
    ///
    /// # Errors
    ///
    /// A value of another type; the message names the path.
    pub(super) fn read(config: &Config, path: &str, default: Duration) -> Result<Self> {
        let interval = positive(config, &format!("{path}.interval"))?;
        let count = config.get_int(&format!("{path}.count"))?.unwrap_or(0);
        Ok(Self {
            interval: interval.unwrap_or(default),
            first: positive(config, &format!("{path}.first-interval"))?,
            count: u64::try_from(count).unwrap_or(0),
        })
    }

    /// The interval as the annotation `fetch-interval` has it.
    pub(super) fn interval_text(&self) -> String {
        duration::format(i64::try_from(self.interval.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// The duration at `path`, if it is more than zero.
fn positive(config: &Config, path: &str) -> Result<Option<Duration>> {
    let Some(text) = config.get_str(path) else {
        return match config.get(path) {
            None => Ok(None),
            Some(_) => Err(Error::invalid(format!("{path}: expected a duration"))),
        };
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let nanos = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => duration::parse(&format!("{text}ns")),
        false => duration::parse(text),
    };
    let nanos = nanos.with_context(|| path.to_owned())?;
    Ok(u64::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos > 0)
        .map(Duration::from_nanos))
}

/// What is collected.
pub(super) trait Collector: Send + 'static {
    /// Called once by the thread that collects, before anything else.
    fn enter(&mut self) -> Result<()> {
        Ok(())
    }

    /// Looks at the state of things, and replaces `elements`, of which those of the batch before may be used again, by what is to be
    /// emitted. The first batch is not emitted: it is there for what is compared from batch to batch.
    fn collect(&mut self, emitter: &Emitter, elements: &mut Vec<Element>) -> Result<()>;
}

/// A thread that collects. It ends at once when this is [stopped](Self::stop) or dropped.
#[derive(Debug, Default)]
pub(super) struct Periodic {
    stop: StopSignal,
    thread: Option<JoinHandle<()>>,
}

impl Periodic {
    /// Starts to collect for `stream`. An error of `collector` ends the run of which `run` is the signal.
    pub(super) fn start(
        name: &str,
        schedule: Schedule,
        stream: &mut Stream,
        collector: impl Collector,
        run: StopSignal,
    ) -> Result<Self> {
        let stop = StopSignal::default();
        let mut work = Work {
            name: name.to_owned(),
            stop: stop.clone(),
            emitter: stream.emitter(),
            copies: stream.tap.take().zip(stream.packing.clone()).map(Copies::new),
            collector,
            elements: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if let Err(error) = work.run(schedule) {
                    run.fail(error.context(format!("operator {:?}", work.name)));
                }
            })
            .context("starting a thread")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the thread. The last batch has been emitted when this returns.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.stop.request();
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(Error::new(ErrorKind::Other, "the thread that collects has panicked")),
            _ => Ok(()),
        }
    }
}

impl Drop for Periodic {
    fn drop(&mut self) {
        // A panic was said by the thread itself.
        let _ = self.stop();
    }
}

struct Work<C> {
    name: String,
    stop: StopSignal,
    emitter: Emitter,
    copies: Option<Copies>,
    collector: C,
    elements: Vec<Element>,
}

/// What gets a copy of every batch as it was collected.
struct Copies {
    tap: Box<dyn Tap>,
    packing: Packing,
    packed: Vec<Vec<u8>>,
}

impl Copies {
    fn new((tap, packing): (Box<dyn Tap>, Packing)) -> Self {
        Self {
            tap,
            packing,
            packed: Vec::new(),
        }
    }

    fn hand_over(&mut self, elements: &[Element]) {
        self.packed.resize_with(elements.len(), Vec::new);
        for (element, packed) in elements.iter().zip(&mut self.packed) {
            packed.clear();
            self.packing.pack(element, packed);
        }
        self.tap.batch(&mut self.packed.iter().map(Vec::as_slice));
    }
}

impl<C: Collector> Work<C> {
    fn run(&mut self, schedule: Schedule) -> Result<()> {
        self.collector.enter()?;
        self.collector.collect(&self.emitter, &mut self.elements)?;
        let mut due = Instant::now();
        if let Some(first) = schedule.first {
            due += first;
            if !self.emit_at(due)? {
                return Ok(());
            }
        }
        let mut emitted = 0;
        while schedule.count == 0 || emitted < schedule.count {
            // What took longer than its interval is not made up for.
            due = (due + schedule.interval).max(Instant::now());
            if !self.emit_at(due)? {
                return Ok(());
            }
            emitted += 1;
        }
        Ok(())
    }

    /// Waits, collects and emits. False if the end came first.
    fn emit_at(&mut self, due: Instant) -> Result<bool> {
        self.stop.wait(Some(due.saturating_duration_since(Instant::now())));
        if self.stop.is_requested() {
            return Ok(false);
        }
        self.collector.collect(&self.emitter, &mut self.elements)?;
        let knowledge = self.copies.as_ref().and_then(|copies| copies.tap.knowledge());
        let _held = knowledge.as_deref().map(Knowledge::hold);
        if let Some(copies) = &mut self.copies {
            copies.hand_over(&self.elements);
        }
        let count = self.elements.len() as u64;
        if let Err(error) = self.emitter.emit_array(&mut self.elements) {
            tracing::warn!("{}: {error}", self.name);
            self.emitter.losses().add(LossPlace::Failed, count);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::data::{DataSource, Flow, NewField, Scalar, SourceType};

    struct Counter {
        calls: u64,
        fails_at: u64,
        value: crate::data::Accessor,
    }

    impl Collector for Counter {
        fn collect(&mut self, emitter: &Emitter, elements: &mut Vec<Element>) -> Result<()> {
            self.calls += 1;
            if self.calls == self.fails_at {
                return Err(Error::invalid("no more"));
            }
            elements.clear();
            let mut element = emitter.element();
            self.value.set_bits(&mut element, self.calls);
            elements.push(element);
            Ok(())
        }
    }

    fn start(schedule: Schedule, fails_at: u64, run: &StopSignal) -> (Periodic, mpsc::Receiver<Vec<u64>>) {
        let mut source = DataSource::new("numbers", SourceType::Array, None);
        let id = source.add_field(NewField::new("n", Scalar::Uint64)).unwrap();
        let value = source.accessor(id);
        let mut stream = Stream::new(source);
        let (sender, receiver) = mpsc::channel();
        stream.pipeline.subscribe_array(0, move |elements| {
            let batch: Vec<u64> = elements.iter().map(|element| value.bits(element)).collect();
            sender.send(batch).map_err(|_| Error::invalid("nobody listens"))?;
            Ok(Flow::Continue)
        });
        let counter = Counter {
            calls: 0,
            fails_at,
            value,
        };
        let periodic = Periodic::start("numbers", schedule, &mut stream, counter, run.clone()).unwrap();
        (periodic, receiver)
    }

    fn schedule(interval_ms: u64, first_ms: Option<u64>, count: u64) -> Schedule {
        Schedule {
            interval: Duration::from_millis(interval_ms),
            first: first_ms.map(Duration::from_millis),
            count,
        }
    }

    #[test]
    fn the_first_collection_is_silent_and_the_first_emission_not_counted() {
        let run = StopSignal::default();
        let (_periodic, receiver) = start(schedule(1, Some(1), 2), 0, &run);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [[2], [3], [4]]);
        let (_periodic, receiver) = start(schedule(1, None, 2), 0, &run);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [[2], [3]]);
        assert!(!run.is_requested());
    }

    #[test]
    fn stopping_does_not_wait_for_the_interval() {
        let run = StopSignal::default();
        let (mut periodic, receiver) = start(schedule(1 << 30, None, 0), 0, &run);
        periodic.stop().unwrap();
        assert_eq!(receiver.iter().count(), 0);
        drop(start(schedule(1 << 30, None, 0), 0, &run));
    }

    #[test]
    fn an_error_ends_the_run() {
        let run = StopSignal::default();
        let (_periodic, receiver) = start(schedule(1, None, 0), 3, &run);
        run.wait(None);
        assert_eq!(run.take_failure().unwrap().to_string(), "operator \"numbers\": no more");
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [[2]]);
    }

    #[test]
    fn schedules_are_read_leniently() {
        let read = |yaml: &str| {
            Schedule::read(
                &Config::parse(yaml.as_bytes()).unwrap(),
                "operator.x",
                Duration::from_secs(60),
            )
        };
        assert_eq!(read("").unwrap(), schedule(60_000, None, 0));
        assert_eq!(
            read("operator: {x: {interval: 3s, first-interval: 250ms, count: '2'}}").unwrap(),
            schedule(3000, Some(250), 2)
        );
        assert_eq!(
            read("operator: {x: {interval: -1s, first-interval: 0, count: -5}}").unwrap(),
            schedule(60_000, None, 0)
        );
        assert_eq!(
            read("operator: {x: {interval: 5000000}}").unwrap(),
            schedule(5, None, 0)
        );
        assert_eq!(read("").unwrap().interval_text(), "1m0s");
        assert_eq!(
            read("operator: {x: {interval: soon}}").unwrap_err().to_string(),
            "operator.x.interval: time: invalid duration \"soon\""
        );
        assert_eq!(
            read("operator: {x: {count: [1]}}").unwrap_err().to_string(),
            "operator.x.count: expected an integer"
        );
        assert!(read("operator: {x: {first-interval: {}}}").is_err());
    }
}
