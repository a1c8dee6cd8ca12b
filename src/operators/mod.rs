//! What happens to an event between the kernel and the sink: one file per operator.
//!
//! An operator is asked once per gadget whether it has something to do there (*instantiate*: look at the data sources, add
//! fields). Then every instance says which fields it reads (*demand*), subscribes to pipelines (*prepare*), and takes part in
//! start and stop. Instances are called in ascending priority, ties by name, and stopped in reverse.
//!
//! Nobody pays for what nobody reads: an instance whose added fields are not demanded does not subscribe.

pub mod formatters;
pub mod local_manager;
pub mod priority;
pub mod sink;
pub mod uidgid;
pub mod ustack;

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::data::{DataSource, FieldId, Gate, Pipeline};
use crate::metadata::params::{Param, ParamValues};
use crate::{Error, Result};

/// A data source with what is subscribed to it and which of its fields somebody reads.
pub struct Stream {
    /// The data source.
    pub source: DataSource,
    /// Its subscribers.
    pub pipeline: Pipeline,
    /// The fields that are read by a sink, a filter or another operator.
    pub demand: Demand,
    /// Decides about raw records, if something has to.
    pub gate: Option<Box<dyn Gate>>,
    /// Where the ids are by which records belong to containers.
    pub record: RecordIds,
}

/// Where a stream's raw records carry what containers are found by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordIds {
    /// Byte offset and size of the mount namespace id.
    pub mntns: Option<(usize, usize)>,
    /// Byte offset of the 8-byte boot-time timestamp.
    pub timestamp: Option<usize>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("source", &self.source)
            .field("pipeline", &self.pipeline)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// A stream that nobody reads yet.
    pub fn new(source: DataSource) -> Self {
        Self {
            source,
            pipeline: Pipeline::default(),
            demand: Demand::default(),
            gate: None,
            record: RecordIds::default(),
        }
    }
}

/// The fields of a data source that somebody reads.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    fields: HashSet<FieldId>,
}

impl Demand {
    /// Notes that `field` is read.
    pub fn add(&mut self, field: FieldId) {
        self.fields.insert(field);
    }

    /// Whether `field` is read.
    pub fn wants(&self, field: FieldId) -> bool {
        self.fields.contains(&field)
    }
}

/// What operators work on while a gadget is instantiated and prepared.
#[derive(Debug, Default)]
pub struct Context {
    /// The gadget's streams, in order of registration.
    pub streams: Vec<Stream>,
    /// With which anybody can end the run.
    pub stop: StopSignal,
    /// The set of mount namespaces that the kernel side lets through; none means all.
    pub mntns_filter: Option<KernelFilter>,
}

/// A set of mount namespaces that the kernel side lets through.
pub struct KernelFilter {
    /// The map of these namespaces.
    pub map: OwnedFd,
    /// Whether the map was too small for all of them, so that the kernel side must let everything through.
    pub overflowed: Box<dyn Fn() -> bool + Send>,
}

impl std::fmt::Debug for KernelFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelFilter")
            .field("map", &self.map)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The streams whose data sources are referenced.
    pub fn referenced(&mut self) -> impl Iterator<Item = (usize, &mut Stream)> {
        self.streams
            .iter_mut()
            .enumerate()
            .filter(|(_, stream)| stream.source.is_referenced())
    }
}

/// Ends a run, from any thread. Clones are the same signal.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    state: Arc<(Mutex<StopState>, Condvar)>,
}

#[derive(Debug, Default)]
struct StopState {
    requested: bool,
    failure: Option<Error>,
}

impl StopSignal {
    /// Asks the run to end as it would at its time-out.
    pub fn request(&self) {
        self.set(None);
    }

    /// Ends the run because of `error`. The first error counts.
    pub fn fail(&self, error: Error) {
        self.set(Some(error));
    }

    /// Whether the run has been asked to end.
    pub fn is_requested(&self) -> bool {
        self.lock().requested
    }

    /// Waits until the run is asked to end or `timeout` is over, whatever comes first.
    pub fn wait(&self, timeout: Option<Duration>) {
        let state = self.lock();
        let waiting = |state: &mut StopState| !state.requested;
        // A poisoned lock means that a thread died while it asked for the end.
        match timeout {
            None => drop(self.state.1.wait_while(state, waiting)),
            Some(timeout) => drop(self.state.1.wait_timeout_while(state, timeout, waiting)),
        }
    }

    /// The error that ended the run, if one did.
    pub fn take_failure(&self) -> Option<Error> {
        self.lock().failure.take()
    }

    fn set(&self, failure: Option<Error>) {
        let mut state = self.lock();
        state.requested = true;
        if state.failure.is_none() {
            state.failure = failure;
        }
        self.state.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, StopState> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One operator's part in one gadget.
pub trait Instance: Send {
    /// Name for messages, and by which instances of equal priority are ordered.
    fn name(&self) -> &'static str;

    /// When this instance is called, lower first.
    fn priority(&self) -> i32;

    /// The parameters of this instance, with their prefix.
    fn params(&self) -> Vec<Param> {
        Vec::new()
    }

    /// Gets the values of all parameters, defaults included.
    fn configure(&mut self, _values: &ParamValues, _context: &mut Context) -> Result<()> {
        Ok(())
    }

    /// Tells the streams which fields this instance reads, given which are already demanded. Called in *descending* priority,
    /// so that consumers of added fields have spoken before the operators that add them.
    fn demand(&self, _context: &mut Context) {}

    /// Subscribes to pipelines. No event flows yet.
    fn prepare(&mut self, context: &mut Context) -> Result<()>;

    /// Called when everything is prepared and before the first event.
    fn start(&mut self) -> Result<()> {
        Ok(())
    }

    /// Called after the last event.
    fn stop(&mut self) -> Result<()> {
        Ok(())
    }
}
