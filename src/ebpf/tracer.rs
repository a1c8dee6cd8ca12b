//! Tracers: one thread that takes records from a buffer and hands them to the [inlet](Inlet) of their data source.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use libbpf_rs::MapHandle;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::buffer::drain::{Served, drain, drain_rest};
use super::buffer::{BufferSettings, OnRecord, Reader, reader};
use super::handoff::{Batches, Queue, Taken};
use super::loaded::LossCounter;
use crate::data::{Emitter, Gate, Inlet, Tap};
use crate::stop::StopSignal;
use crate::{Error, ErrorKind, Result, ResultExt};

/// How long a tracer waits at its end for records that are still held back.
const FINAL_WAIT: Duration = Duration::from_millis(500);
/// How often a tracer looks at its gate while nothing comes and records are held back.
const HELD_INTERVAL: Duration = Duration::from_millis(50);

/// What a tracer needs to run.
pub struct TracerSetup {
    /// Name of the data source.
    pub name: String,
    /// The buffer's map.
    pub map: MapHandle,
    /// Its settings.
    pub settings: BufferSettings,
    /// Where elements go.
    pub emitter: Emitter,
    /// The kernel side's counter of records that it found no room for, if it has one.
    pub lost_reservations: Option<LossCounter>,
    /// Decides about raw records, if something has to.
    pub gate: Option<Box<dyn Gate>>,
    /// Gets every raw record, if something wants to.
    pub tap: Option<Box<dyn Tap>>,
    /// Told when the run cannot go on.
    pub stop: StopSignal,
    /// Byte offset of the 8-byte boot-time timestamp in a record, if there is one.
    pub timestamp: Option<usize>,
    /// Records of before this time (nanoseconds since boot) are another tracer's.
    pub not_before: u64,
    /// Whether a thread of its own does what is to be done with records, because that may take longer than a buffer takes to fill.
    pub slow: bool,
}

/// What a tracer that has finished gives back.
pub struct Finished {
    /// Records that reached the pipeline.
    pub events: u64,
    /// Where its elements went.
    pub emitter: Emitter,
    /// What decided about its records.
    pub gate: Option<Box<dyn Gate>>,
    /// What got its records.
    pub tap: Option<Box<dyn Tap>>,
}

impl std::fmt::Debug for TracerSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TracerSetup")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    finished: AtomicBool,
    events: AtomicU64,
    /// Records of after this time are another tracer's; 0 means that there is none.
    not_after: AtomicU64,
}

/// A running tracer.
#[derive(Debug)]
pub struct Tracer {
    shared: Arc<Shared>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<Finished>>,
}

impl Tracer {
    /// Opens the buffer and starts reading. Returns when the buffer is open, so that programs can be attached.
    pub fn start(setup: TracerSetup) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let wake =
            EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).context("creating an eventfd")?;
        let wake = Arc::new(wake);
        let (ready, opened) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("tracer {}", setup.name))
            .spawn({
                let (shared, wake) = (Arc::clone(&shared), Arc::clone(&wake));
                move || run(setup, &shared, &wake, &ready)
            })
            .context("starting a tracer thread")?;
        match opened.recv() {
            Ok(Ok(())) => Ok(Self {
                shared,
                wake,
                thread: Some(thread),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::new(
                ErrorKind::Other,
                "a tracer thread ended while it was starting",
            )),
        }
    }

    /// Records that reached the pipeline so far.
    pub fn events(&self) -> u64 {
        self.shared.events.load(Ordering::Relaxed)
    }

    /// Leaves records of after `boot_ns` (nanoseconds since boot) to another tracer.
    pub fn hand_over(&self, boot_ns: u64) {
        self.shared.not_after.store(boot_ns, Ordering::Release);
    }

    /// Reads what is left in the buffer, then ends. Programs must have been detached.
    pub fn finish(mut self) -> Result<Finished> {
        self.signal();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(finished)) => Ok(finished),
            _ => Err(Error::new(ErrorKind::Other, "a tracer thread panicked")),
        }
    }

    fn signal(&self) {
        self.shared.finished.store(true, Ordering::Release);
        // The counter of an eventfd cannot overflow from this.
        let _ = self.wake.write(1);
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.signal();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    setup: TracerSetup,
    shared: &Arc<Shared>,
    wake: &Arc<EventFd>,
    ready: &std::sync::mpsc::SyncSender<Result<()>>,
) -> Finished {
    match setup.slow {
        true => run_slow(setup, shared, wake, ready),
        false => run_fast(setup, shared, wake, ready),
    }
}

/// Opens the buffer, and says whether that went well.
fn open(
    map: &MapHandle,
    settings: &BufferSettings,
    name: &str,
    on_record: OnRecord,
    ready: &std::sync::mpsc::SyncSender<Result<()>>,
) -> Option<Box<dyn Reader>> {
    let opened = reader(map, settings, on_record).with_context(|| format!("tracer {name:?}"));
    let (reader, result) = match opened {
        Ok(reader) => (Some(reader), Ok(())),
        Err(error) => (None, Err(error)),
    };
    // The receiver waits for exactly this.
    let _ = ready.send(result);
    reader
}

/// Reads, and hands over to a thread that may take its time.
fn run_slow(
    setup: TracerSetup,
    shared: &Arc<Shared>,
    wake: &Arc<EventFd>,
    ready: &std::sync::mpsc::SyncSender<Result<()>>,
) -> Finished {
    let queue = Arc::new(Queue::default());
    let mut gate = setup.gate;
    if let Some(gate) = &mut gate {
        let queue = Arc::clone(&queue);
        gate.on_change(Arc::new(move || queue.wake()));
    }
    let mut flow = EventFlow {
        inlet: Inlet::new(setup.emitter, gate, setup.tap),
        lost_reservations: setup.lost_reservations,
        timestamp: setup.timestamp,
        not_before: setup.not_before,
        shared: Arc::clone(shared),
    };
    let batch = Rc::new(RefCell::new(Batches::new(Arc::clone(&queue))));
    let records = Rc::clone(&batch);
    let on_record = Box::new(move |record: &[u8]| records.borrow_mut().add(record));
    let Some(mut reader) = open(&setup.map, &setup.settings, &setup.name, on_record, ready) else {
        return flow.finish(0);
    };
    let stop = setup.stop.clone();
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name(format!("events {}", setup.name))
            .spawn_scoped(scope, {
                let (queue, stop, flow) = (&*queue, &stop, &mut flow);
                move || {
                    let result = catch_unwind(AssertUnwindSafe(|| work(flow, queue)));
                    queue.abandon();
                    match result {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => stop.fail(error),
                        Err(_) => stop.fail(Error::new(ErrorKind::Other, "a subscriber of events panicked")),
                    }
                }
            });
        let mut served = Forwarder {
            batch: Rc::clone(&batch),
            shared: Arc::clone(shared),
        };
        let result = match worker {
            Ok(_) => drain(reader.as_mut(), &mut served, wake).and_then(|()| drain_rest(reader.as_mut(), &mut served)),
            Err(error) => Err(Error::from(error).context("starting a thread for events")),
        };
        batch.borrow_mut().hand_over(reader.lost());
        queue.close();
        if let Err(error) = result {
            stop.fail(error);
            wait_until_finished(shared);
        }
    });
    flow.finish(reader.lost())
}

/// Does what is to be done with the records of `queue` until it is closed and empty.
fn work(flow: &mut EventFlow, queue: &Queue) -> Result<()> {
    loop {
        let held = flow.inlet.holds();
        match queue.next(held.then_some(HELD_INTERVAL)) {
            Taken::Batch(batch) => {
                batch.records().for_each(|record| flow.record(record));
                queue.give_back(batch);
            }
            Taken::Nothing(lost) => {
                if held {
                    flow.inlet.release(false);
                }
                flow.pause(lost)?;
            }
            Taken::End(lost) => {
                let deadline = std::time::Instant::now() + FINAL_WAIT;
                while flow.inlet.holds() && std::time::Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(10));
                    flow.inlet.release(false);
                }
                flow.inlet.release(true);
                return flow.pause(lost);
            }
        }
    }
}

/// What the reading thread does when records go to another one.
struct Forwarder {
    batch: Rc<RefCell<Batches>>,
    shared: Arc<Shared>,
}

impl Served for Forwarder {
    fn pause(&mut self, lost_in_buffer: u64) -> Result<()> {
        self.batch.borrow_mut().hand_over(lost_in_buffer);
        Ok(())
    }

    fn idle_interval(&self) -> Option<Duration> {
        None
    }

    fn periodic(&mut self) -> Result<()> {
        Ok(())
    }

    fn finished(&self) -> bool {
        self.shared.finished.load(Ordering::Acquire)
    }
}

fn run_fast(
    setup: TracerSetup,
    shared: &Arc<Shared>,
    wake: &Arc<EventFd>,
    ready: &std::sync::mpsc::SyncSender<Result<()>>,
) -> Finished {
    let mut gate = setup.gate;
    if let Some(gate) = &mut gate {
        let wake = Arc::clone(wake);
        gate.on_change(Arc::new(move || {
            let _ = wake.write(1);
        }));
    }
    let flow = Rc::new(RefCell::new(EventFlow {
        inlet: Inlet::new(setup.emitter, gate, setup.tap),
        lost_reservations: setup.lost_reservations,
        timestamp: setup.timestamp,
        not_before: setup.not_before,
        shared: Arc::clone(shared),
    }));
    let records = Rc::clone(&flow);
    let stop = setup.stop.clone();
    let on_record = move |record: &[u8]| {
        // The caller is libbpf, through which nothing may unwind.
        let result = catch_unwind(AssertUnwindSafe(|| records.borrow_mut().record(record)));
        if result.is_err() {
            stop.fail(Error::new(ErrorKind::Other, "a subscriber of events panicked"));
        }
    };
    let opened = open(&setup.map, &setup.settings, &setup.name, Box::new(on_record), ready);
    let Some(mut reader) = opened else {
        return flow.borrow_mut().finish(0);
    };
    let mut served = Worker {
        flow: Rc::clone(&flow),
        shared: Arc::clone(shared),
    };
    let result = drain(reader.as_mut(), &mut served, wake).and_then(|()| finish(reader.as_mut(), &mut served));
    if let Err(error) = result {
        setup.stop.fail(error);
        wait_until_finished(shared);
    }
    flow.borrow_mut().finish(reader.lost())
}

/// Reads the rest, and gives what is held back a little time to become known.
fn finish(reader: &mut dyn Reader, served: &mut Worker) -> Result<()> {
    drain_rest(reader, served)?;
    let deadline = std::time::Instant::now() + FINAL_WAIT;
    while served.flow.borrow().inlet.holds() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        served.periodic()?;
    }
    served.flow.borrow_mut().inlet.release(true);
    served.pause(reader.lost())
}

/// After an error nothing is read any more, but the buffer's map must stay until the run has ended.
fn wait_until_finished(shared: &Shared) {
    while !shared.finished.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What the tracer's thread does with records.
struct EventFlow {
    inlet: Inlet,
    lost_reservations: Option<LossCounter>,
    timestamp: Option<usize>,
    not_before: u64,
    shared: Arc<Shared>,
}

impl EventFlow {
    #[inline]
    fn record(&mut self, record: &[u8]) {
        if !self.is_another_tracers(record) {
            self.inlet.record(record);
        }
    }

    /// Whether the record belongs to the tracer before or after a handover.
    #[inline]
    fn is_another_tracers(&self, record: &[u8]) -> bool {
        let not_after = self.shared.not_after.load(Ordering::Relaxed);
        if self.not_before == 0 && not_after == 0 {
            return false;
        }
        let at = self
            .timestamp
            .and_then(|offset| record.get(offset..offset + 8)?.try_into().ok())
            .map_or(0, u64::from_ne_bytes);
        at != 0 && (at < self.not_before || (not_after != 0 && at >= not_after))
    }

    /// Counts what was lost since the last time. `lost_in_buffer` is what the reader of the buffer was told of.
    fn account(&mut self, lost_in_buffer: u64) -> Result<()> {
        let reservations = self.lost_reservations.as_ref().map_or(0, LossCounter::read);
        self.inlet.account(lost_in_buffer.saturating_add(reservations))
    }

    /// There is nothing more for now.
    fn pause(&mut self, lost_in_buffer: u64) -> Result<()> {
        self.shared.events.store(self.inlet.events(), Ordering::Relaxed);
        // Asking the kernel for its counter costs more than an event.
        if self.inlet.has_tap() || self.inlet.emitter().watches_losses() {
            self.account(lost_in_buffer)?;
        }
        self.inlet.emitter().flush()
    }

    fn finish(&mut self, lost_in_buffer: u64) -> Finished {
        // Whoever wants to know of losses was told by the last pause, unless the run fails, which is said elsewhere.
        let _ = self.account(lost_in_buffer);
        let nothing = Inlet::new(Emitter::default(), None, None);
        let inlet = std::mem::replace(&mut self.inlet, nothing);
        let events = inlet.events();
        let (emitter, gate, tap) = inlet.into_parts();
        Finished {
            events,
            emitter,
            gate,
            tap,
        }
    }
}

struct Worker {
    flow: Rc<RefCell<EventFlow>>,
    shared: Arc<Shared>,
}

impl Served for Worker {
    fn pause(&mut self, lost_in_buffer: u64) -> Result<()> {
        self.flow.borrow_mut().pause(lost_in_buffer)
    }

    fn idle_interval(&self) -> Option<Duration> {
        self.flow.borrow().inlet.holds().then_some(HELD_INTERVAL)
    }

    fn periodic(&mut self) -> Result<()> {
        let mut flow = self.flow.borrow_mut();
        if flow.inlet.holds() {
            flow.inlet.release(false);
        }
        Ok(())
    }

    fn finished(&self) -> bool {
        self.shared.finished.load(Ordering::Acquire)
    }
}
