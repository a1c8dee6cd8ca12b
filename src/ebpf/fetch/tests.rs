use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::data::{DataSource, Element, Flow, LossPlace, Losses, Scalar, SourceType, StaticField, Stream, Verdict};
use crate::stop::StopSignal;

/// Every wait of a test ends after this long, which is then a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the records of one fetch are, and how it ends.
type Fetch = (Vec<u32>, Option<(bool, &'static str)>);

/// A source that says when it is asked, and gives what it is told.
struct Told {
    fetches: Box<dyn FnMut() -> Fetch + Send>,
}

impl Told {
    fn new(fetches: impl FnMut() -> Fetch + Send + 'static) -> Box<Self> {
        Box::new(Self {
            fetches: Box::new(fetches),
        })
    }
}

impl Source for Told {
    fn fetch(&mut self, record: &mut OnRecord<'_>) -> Result<(), Failure> {
        let (records, end) = (self.fetches)();
        records.iter().for_each(|number| record(&number.to_ne_bytes()));
        end.map_or(Ok(()), |(keep, error)| {
            Err(Failure {
                error: Error::invalid(error),
                keep,
            })
        })
    }

    fn complaint(&self) -> &'static str {
        "error telling"
    }
}

/// Odd numbers only; of 7 it is not known at once.
#[derive(Default)]
struct Odd {
    held: Vec<[u8; 4]>,
    /// How often it is asked in vain whether it knows more.
    patience: usize,
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Gate for Odd {
    fn admit(&mut self, record: &[u8]) -> Verdict {
        let number = u32::from_ne_bytes(record.try_into().unwrap());
        match number {
            7 => {
                self.held.push(number.to_ne_bytes());
                Verdict::Held
            }
            _ if number % 2 == 1 => Verdict::Pass,
            _ => Verdict::Drop,
        }
    }

    fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    fn release(&mut self, last: bool, emit: &mut dyn FnMut(&[u8])) {
        if self.patience > 0 && !last {
            self.patience -= 1;
            // As a collection does that has decided something.
            (self.wake.as_ref().unwrap())();
            return;
        }
        self.held.drain(..).for_each(|record| emit(&record));
    }

    fn lost(&self) -> u64 {
        0
    }

    fn on_change(&mut self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.wake = Some(wake);
    }
}

struct Lab {
    stream: Stream,
    sender: Sender<Vec<u64>>,
    arrays: Receiver<Vec<u64>>,
}

impl Lab {
    fn new() -> Self {
        let mut source = DataSource::new("numbers", SourceType::Array, None);
        let field = StaticField::new("number", Scalar::Uint32, 0, 4);
        source.add_static_fields(4, &[field]).unwrap();
        let (sender, arrays) = channel();
        Self {
            stream: Stream::new(source),
            sender,
            arrays,
        }
    }

    fn number(&self) -> impl Fn(&Element) -> u64 + use<> {
        let accessor = self.stream.source.field("number").unwrap().any();
        move |element| accessor.bits(element)
    }

    fn start(&mut self, schedule: Schedule, gate: Option<Box<dyn Gate>>, source: Box<dyn Source>) -> Fetcher {
        let (number, sender) = (self.number(), self.sender.clone());
        self.stream.pipeline.subscribe_array(1, move |elements| {
            sender.send(elements.iter().map(&number).collect()).unwrap();
            Ok(Flow::Continue)
        });
        Fetcher::start(FetcherSetup {
            name: "numbers".to_owned(),
            source,
            schedule,
            emitter: self.stream.emitter(),
            gate,
            tap: None,
            stop: StopSignal::default(),
        })
        .unwrap()
    }

    fn array(&self) -> Vec<u64> {
        self.arrays.recv_timeout(PATIENCE).expect("an array")
    }

    fn losses(&self) -> Arc<Losses> {
        Arc::clone(&self.stream.losses)
    }
}

fn once() -> Schedule {
    Schedule::new(Duration::ZERO, 1, true)
}

fn often() -> Schedule {
    Schedule::new(Duration::from_micros(200), 0, false)
}

fn at_the_end(at_stop: bool) -> Schedule {
    Schedule::new(Duration::ZERO, 0, at_stop)
}

#[test]
fn one_array_and_none_at_the_end() {
    let mut lab = Lab::new();
    let fetcher = lab.start(once(), None, Told::new(|| (vec![1, 2, 3], None)));
    assert_eq!(lab.array(), [1, 2, 3]);
    assert_eq!(fetcher.finish().unwrap(), 3);
    assert!(lab.arrays.try_recv().is_err());
}

#[test]
fn an_early_end_does_not_cost_the_only_array() {
    let mut lab = Lab::new();
    let fetcher = lab.start(once(), None, Told::new(|| (vec![], None)));
    assert_eq!(fetcher.finish().unwrap(), 0);
    assert!(lab.array().is_empty(), "an empty array is one too");
}

#[test]
fn one_array_at_the_end_if_asked_for() {
    for (at_stop, arrays) in [(true, 1), (false, 0)] {
        let mut lab = Lab::new();
        let fetcher = lab.start(at_the_end(at_stop), None, Told::new(|| (vec![5], None)));
        assert_eq!(fetcher.finish().unwrap(), arrays);
        assert_eq!(lab.arrays.try_iter().count() as u64, arrays);
    }
}

#[test]
fn an_array_per_interval() {
    let mut lab = Lab::new();
    let mut next = 0;
    let told = Told::new(move || {
        next += 1;
        (vec![next], None)
    });
    let fetcher = lab.start(often(), None, told);
    for expected in 1..=5 {
        assert_eq!(lab.array(), [expected]);
    }
    fetcher.finish().unwrap();
}

#[test]
fn a_thousand_arrays_use_the_elements_of_the_first() {
    let mut lab = Lab::new();
    lab.stream.pipeline.subscribe(0, |_| Ok(Flow::Continue));
    let (sender, addresses) = channel();
    lab.stream.pipeline.subscribe_array(0, move |elements| {
        let bytes: usize = elements.iter().map(Element::capacity).sum();
        sender
            .send((elements.as_ptr() as usize, elements.capacity(), bytes))
            .unwrap();
        Ok(Flow::Continue)
    });
    let fetcher = lab.start(often(), None, Told::new(|| ((0..100).collect(), None)));
    let all: Vec<_> = (0..1000).map(|_| addresses.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(
        all.iter().all(|array| *array == all[0]),
        "nothing grows and nothing moves"
    );
    fetcher.finish().unwrap();
}

#[test]
fn the_gate_decides() {
    let mut lab = Lab::new();
    let fetcher = lab.start(
        once(),
        Some(Box::<Odd>::default()),
        Told::new(|| ((0..10).collect(), None)),
    );
    assert_eq!(lab.array(), [1, 3, 5, 9, 7]);
    assert_eq!(fetcher.finish().unwrap(), 5);
}

#[test]
fn the_gate_is_waited_for() {
    let mut lab = Lab::new();
    let gate = Odd {
        patience: 3,
        ..Odd::default()
    };
    let fetcher = lab.start(once(), Some(Box::new(gate)), Told::new(|| (vec![7, 1], None)));
    assert_eq!(lab.array(), [1, 7]);
    fetcher.finish().unwrap();
}

#[test]
fn an_array_that_is_broken_is_lost_and_counted() {
    let mut lab = Lab::new();
    let losses = lab.losses();
    let mut fetches = vec![
        (vec![9], None),
        (vec![5, 7, 2], Some((false, "broken"))),
        (vec![3], None),
    ];
    let told = Told::new(move || fetches.pop().unwrap_or_default());
    let fetcher = lab.start(often(), Some(Box::<Odd>::default()), told);
    assert_eq!(lab.array(), [3]);
    assert_eq!(lab.array(), [9], "nothing of the broken one, not even what was held");
    fetcher.finish().unwrap();
    assert_eq!(losses.at(LossPlace::Failed), 3);
}

#[test]
fn what_was_taken_out_before_a_failure_is_shown() {
    let mut lab = Lab::new();
    let losses = lab.losses();
    let fetcher = lab.start(once(), None, Told::new(|| (vec![1, 2], Some((true, "no more")))));
    assert_eq!(lab.array(), [1, 2]);
    fetcher.finish().unwrap();
    assert_eq!(losses.at(LossPlace::Failed), 0);
}

#[test]
fn a_subscriber_that_fails_costs_the_array_and_not_the_run() {
    let mut lab = Lab::new();
    let losses = lab.losses();
    let mut first = true;
    lab.stream.pipeline.subscribe_array(0, move |_| {
        if std::mem::take(&mut first) {
            return Err(Error::invalid("not this one"));
        }
        Ok(Flow::Continue)
    });
    let fetcher = lab.start(often(), None, Told::new(|| (vec![1, 2], None)));
    assert_eq!(lab.array(), [1, 2]);
    fetcher.finish().unwrap();
    assert_eq!(losses.at(LossPlace::Failed), 2);
}

#[test]
fn a_subscriber_that_panics_ends_the_run() {
    let mut lab = Lab::new();
    lab.stream
        .pipeline
        .subscribe_array(0, |_| panic!("this one is meant to"));
    let stop = StopSignal::default();
    let fetcher = Fetcher::start(FetcherSetup {
        name: "numbers".to_owned(),
        source: Told::new(|| (vec![1], None)),
        schedule: once(),
        emitter: lab.stream.emitter(),
        gate: None,
        tap: None,
        stop: stop.clone(),
    })
    .unwrap();
    stop.wait(Some(PATIENCE));
    assert!(stop.take_failure().unwrap().to_string().contains("panicked"));
    fetcher.finish().unwrap();
}

#[test]
fn a_source_takes_the_place_of_another() {
    let mut lab = Lab::new();
    let fetcher = lab.start(often(), None, Told::new(|| (vec![1], None)));
    assert_eq!(lab.array(), [1]);
    fetcher.replace(Told::new(|| (vec![2], None)));
    while lab.array() != [2] {}
    fetcher.finish().unwrap();
}
