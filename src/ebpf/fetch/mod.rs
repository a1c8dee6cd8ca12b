//! Array data sources: one thread each that fetches an array when its [`Schedule`] says so, and sends it through the pipeline.
//!
//! What is fetched is what iterator programs write ([`IteratorReader`]) or what a hash map holds ([`MapDrain`]). Every fetch
//! makes one array, also an empty one. Elements are reused: in the steady state nothing is allocated. A fetch that fails is
//! said and counted, and the next one is tried.

mod array;
mod batch;
mod iterator;
mod map;
mod records;
pub mod schedule;
pub(in crate::ebpf) mod sys;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libbpf_rs::{MapCore, MapHandle, MapType};

use self::array::ArrayReader;
use self::batch::Batch;
pub use self::iterator::{IteratorProgram, IteratorReader};
pub use self::map::{MapDrain, Method};
use self::schedule::{Next, Schedule};
use crate::data::{Emitter, Gate, Tap};
use crate::stop::StopSignal;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Gets the records of an array.
pub type OnRecord<'a> = dyn FnMut(&[u8]) + Send + 'a;

/// Why a fetch ended before its end.
#[derive(Debug)]
pub struct Failure {
    /// The reason.
    pub error: Error,
    /// Whether what was handed on until then is to be shown all the same.
    pub keep: bool,
}

/// Where a fetcher gets its arrays.
pub trait Source: Send {
    /// Hands on all records of one array.
    fn fetch(&mut self, record: &mut OnRecord<'_>) -> Result<(), Failure>;

    /// How a message about its failure begins; the data source's name follows.
    fn complaint(&self) -> &'static str;
}

impl Source for MapDrain {
    fn fetch(&mut self, record: &mut OnRecord<'_>) -> Result<(), Failure> {
        // What was taken out of the map is nowhere else any more.
        self.drain(record).map_err(|error| Failure { error, keep: true })
    }

    fn complaint(&self) -> &'static str {
        "error from map iterator:"
    }
}

/// What takes the entries out of `map`, or reads them where they cannot be taken out.
pub fn map_source(map: &MapHandle) -> Result<Box<dyn Source>> {
    Ok(match map.map_type() {
        MapType::Array => Box::new(ArrayReader::new(map)?),
        _ => Box::new(MapDrain::new(map)?),
    })
}

/// What a fetcher needs to run.
pub struct FetcherSetup {
    /// Name of the data source.
    pub name: String,
    /// Where arrays come from.
    pub source: Box<dyn Source>,
    /// When they are fetched.
    pub schedule: Schedule,
    /// Where they go.
    pub emitter: Emitter,
    /// Decides about raw records, if something has to.
    pub gate: Option<Box<dyn Gate>>,
    /// Gets the raw records of every array, if something wants to.
    pub tap: Option<Box<dyn Tap>>,
    /// Told when the run cannot go on.
    pub stop: StopSignal,
}

impl std::fmt::Debug for FetcherSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetcherSetup")
            .field("name", &self.name)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    elements: AtomicU64,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// Something has become known about records that wait.
    decided: bool,
    /// Takes the place of the source before the next fetch.
    source: Option<Box<dyn Source>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `until` is over or the fetcher is to stop. Says whether it is to stop.
    fn wait_stop(&self, until: Option<Instant>) -> bool {
        let mut state = self.lock();
        while !state.stopping {
            let changed = &self.changed;
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    /// Waits until something has become known, at most `timeout`.
    fn wait_decided(&self, timeout: Duration) {
        let waiting = |state: &mut State| !std::mem::take(&mut state.decided);
        // A poisoned lock means that the fetcher's owner has died.
        drop(self.changed.wait_timeout_while(self.lock(), timeout, waiting));
    }
}

/// A running fetcher.
pub struct Fetcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("elements", &self.elements()).finish()
    }
}

impl Fetcher {
    /// Starts fetching. Programs must have been attached.
    pub fn start(setup: FetcherSetup) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name(format!("fetch {}", setup.name))
            .spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let stop = setup.stop.clone();
                    if catch_unwind(AssertUnwindSafe(|| run(setup, &shared))).is_err() {
                        stop.fail(Error::new(ErrorKind::Other, "a subscriber of events panicked"));
                    }
                }
            })
            .context("starting a fetcher thread")?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Elements that reached the pipeline so far.
    pub fn elements(&self) -> u64 {
        self.shared.elements.load(Ordering::Relaxed)
    }

    /// Fetches from `source` from the next time on.
    pub fn replace(&self, source: Box<dyn Source>) {
        self.shared.lock().source = Some(source);
    }

    /// Fetches for the last time if the schedule says so, then ends. Returns how many elements reached the pipeline.
    pub fn finish(mut self) -> Result<u64> {
        self.signal();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(())) => Ok(self.elements()),
            _ => Err(Error::new(ErrorKind::Other, "a fetcher thread panicked")),
        }
    }

    fn signal(&self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.signal();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(setup: FetcherSetup, shared: &Arc<Shared>) {
    let FetcherSetup {
        name,
        source,
        schedule,
        emitter,
        mut gate,
        tap,
        ..
    } = setup;
    if let Some(gate) = &mut gate {
        let shared = Arc::clone(shared);
        gate.on_change(Arc::new(move || {
            shared.lock().decided = true;
            shared.changed.notify_all();
        }));
    }
    let mut worker = Worker {
        name,
        source,
        batch: Batch::new(emitter, gate, tap),
        shared,
        failed: false,
    };
    let start = Instant::now();
    let mut done = 0;
    loop {
        let (due, last) = match schedule.next(done, start.elapsed()) {
            Next::FetchAt(Duration::ZERO) => {
                worker.fetch();
                done += 1;
                continue;
            }
            Next::FetchAt(due) => (start.checked_add(due), schedule.at_stop()),
            Next::AtStop => (None, schedule.at_stop()),
            Next::Nothing => (None, false),
        };
        if shared.wait_stop(due) {
            if last {
                worker.fetch();
            }
            return;
        }
        worker.fetch();
        done += 1;
    }
}

struct Worker<'s> {
    name: String,
    source: Box<dyn Source>,
    batch: Batch,
    shared: &'s Shared,
    failed: bool,
}

impl Worker<'_> {
    fn fetch(&mut self) {
        if let Some(source) = self.shared.lock().source.take() {
            self.source = source;
        }
        let batch = &mut self.batch;
        batch.begin();
        let fetched = self.source.fetch(&mut |record| batch.record(record));
        if let Err(Failure { error, keep }) = fetched {
            self.say(&error);
            if !keep {
                self.batch.abandon();
                return;
            }
        }
        let shared = self.shared;
        self.batch.settle(|timeout| shared.wait_decided(timeout));
        let count = self.batch.emit();
        shared.elements.fetch_add(count, Ordering::Relaxed);
    }

    /// A fetch that fails every second is said once.
    fn say(&mut self, error: &Error) {
        let (complaint, name) = (self.source.complaint(), &self.name);
        if std::mem::replace(&mut self.failed, true) {
            tracing::debug!("{complaint} {name:?}: {error}");
        } else {
            tracing::warn!("{complaint} {name:?}: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
