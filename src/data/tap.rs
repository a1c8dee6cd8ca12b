//! Taps: what gets a copy of every raw record that arrives, whatever becomes of it.

use std::sync::{Arc, RwLockReadGuard};

use super::loss::LossPlace;

/// What a gate and the subscribers after it know, apart from the record, and what may change at any time.
pub trait Knowledge: Send + Sync {
    /// Takes in what there is to know by now, and keeps everything as it is until the guard is dropped.
    fn hold(&self) -> RwLockReadGuard<'_, ()>;
}

/// Gets what arrives at an [`Inlet`](super::Inlet), in order.
pub trait Tap: Send {
    /// A record arrived. It is told after the gate has looked at it and before anything that follows from that.
    fn record(&mut self, record: &[u8]);
    /// Records of an array data source arrived, which belong together.
    fn batch(&mut self, records: &mut dyn Iterator<Item = &[u8]>);
    /// `count` records were lost on their way here, after the last one that arrived.
    fn lost(&mut self, place: LossPlace, count: u64);
    /// The gate is about to give back records that it held, though none has arrived.
    fn released(&mut self);
    /// What is held from before the gate looks at a record until everything that follows from the record is done, if the order in which
    /// records and that knowledge come matters to the tap.
    fn knowledge(&self) -> Option<Arc<dyn Knowledge>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, RwLock};

    use super::*;
    use crate::data::{DataSource, Flow, Gate, Inlet, SourceType, Stream, Verdict};

    /// Writes down what it is asked for, and whether something is being held at that time.
    #[derive(Default)]
    struct Witness {
        still: RwLock<()>,
        seen: Mutex<Vec<(&'static str, bool)>>,
    }

    impl Witness {
        fn saw(&self, what: &'static str) {
            let held = self.still.try_write().is_err();
            self.seen.lock().unwrap().push((what, held));
        }
    }

    impl Knowledge for Witness {
        fn hold(&self) -> RwLockReadGuard<'_, ()> {
            self.saw("hold");
            self.still.read().unwrap()
        }
    }

    struct Watched(Arc<Witness>);

    impl Tap for Watched {
        fn record(&mut self, _record: &[u8]) {
            self.0.saw("tap");
        }
        fn batch(&mut self, _records: &mut dyn Iterator<Item = &[u8]>) {}
        fn lost(&mut self, _place: LossPlace, _count: u64) {}
        fn released(&mut self) {
            self.0.saw("released");
        }
        fn knowledge(&self) -> Option<Arc<dyn Knowledge>> {
            Some(Arc::clone(&self.0) as Arc<dyn Knowledge>)
        }
    }

    impl Gate for Watched {
        fn admit(&mut self, _record: &[u8]) -> Verdict {
            self.0.saw("gate");
            Verdict::Pass
        }
        fn holds(&self) -> bool {
            true
        }
        fn release(&mut self, _last: bool, _emit: &mut dyn FnMut(&[u8])) {
            self.0.saw("release");
        }
        fn lost(&self) -> u64 {
            0
        }
        fn on_change(&mut self, _wake: Arc<dyn Fn() + Send + Sync>) {}
    }

    #[test]
    fn knowledge_stays_as_it_is_until_a_record_is_done() {
        let witness = Arc::new(Witness::default());
        let mut stream = Stream::new(DataSource::new("test", SourceType::Single, None));
        let subscriber = Arc::clone(&witness);
        stream.pipeline.subscribe(0, move |_| {
            subscriber.saw("subscriber");
            Ok(Flow::Continue)
        });
        let watched = || Watched(Arc::clone(&witness));
        let mut inlet = Inlet::new(stream.emitter(), Some(Box::new(watched())), Some(Box::new(watched())));
        inlet.record(b"record");
        inlet.release(false);
        let of_record = ["gate", "tap", "release", "subscriber"].map(|what| (what, true));
        let of_release = ["released", "release"].map(|what| (what, true));
        let hold = [("hold", false)];
        let expected = [&hold[..], &of_record, &hold, &of_release].concat();
        assert_eq!(*witness.seen.lock().unwrap(), expected);
    }
}
