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

use std::os::fd::OwnedFd;

use crate::Result;
pub use crate::data::{Demand, RecordIds, Stream};
use crate::metadata::params::{Param, ParamValues};
use crate::stop::StopSignal;

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
