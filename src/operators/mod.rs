//! What happens to an event between the kernel and the sink: one file per operator.
//!
//! An operator is asked once per gadget whether it has something to do there (*instantiate*: look at the data sources, add
//! fields). Then every instance says which fields it reads (*demand*), subscribes to pipelines (*prepare*), and takes part in
//! start and stop. Instances are called in ascending priority, ties by name, and stopped in reverse.
//!
//! Nobody pays for what nobody reads: an instance whose added fields are not demanded does not subscribe.

pub mod bpfstats;
pub mod cgroup;
pub mod combiner;
pub mod env;
pub(crate) mod explain;
pub mod filter;
pub mod formatters;
pub mod host;
pub mod include_self;
pub mod limiter;
pub mod local_manager;
pub mod logs;
pub mod metrics;
mod periodic;
pub mod priority;
pub mod process;
mod recorded_stacks;
pub mod sink;
pub mod sort;
mod stack_maps;
pub mod uidgid;
pub mod ustack;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

pub use recorded_stacks::{DescribeStack, KnownStacks, RecordedStack, RecordedStacks, StackKey};
pub use stack_maps::{FrameFile, StackMaps};

use crate::Result;
use crate::containers::{Places, Replica};
pub use crate::data::{Demand, RecordIds, Stream};
use crate::metadata::config::Config;
use crate::metadata::params::{Param, ParamValues};
use crate::stop::StopSignal;

/// What operators work on while a gadget is instantiated and prepared.
#[derive(Debug, Default)]
pub struct Context {
    /// The gadget's streams, in order of registration.
    pub streams: Vec<Stream>,
    /// The gadget's metadata.
    pub config: Arc<Config>,
    /// With which anybody can end the run.
    pub stop: StopSignal,
    /// The set of mount namespaces that the kernel side lets through; none means all.
    pub mntns_filter: Option<KernelFilter>,
    /// Where programs are attached that are attached in containers.
    pub places: Option<Places>,
    /// Asked for what events need to know of containers, in the place of the collection, by a run that is recorded.
    pub replica: Option<Arc<Replica>>,
    /// The process, as the host counts, whose events are left out because they are the tracer's own.
    pub own_pid: Option<u32>,
    /// The network namespaces of what is to be looked at, for programs that see one at a time; none means our own.
    pub network_namespaces: Option<NetworkNamespaces>,
    /// The stacks of the loaded object.
    pub stack_maps: StackMaps,
    /// Their texts in recordings.
    pub recorded_stacks: RecordedStacks,
    /// The machine that events come from.
    pub host: host::HostFacts,
    /// Events come from a recording: operators that produce some do not.
    pub replayed: bool,
}

/// Lists network namespaces. Clones list the same.
#[derive(Clone)]
pub struct NetworkNamespaces {
    list: Arc<dyn Fn() -> Vec<NetworkNamespace> + Send + Sync>,
}

impl NetworkNamespaces {
    /// Those that `list` says whenever it is asked, each once.
    pub fn new(list: impl Fn() -> Vec<NetworkNamespace> + Send + Sync + 'static) -> Self {
        Self { list: Arc::new(list) }
    }

    /// Those that there are now.
    pub fn now(&self) -> Vec<NetworkNamespace> {
        (self.list)()
    }
}

impl std::fmt::Debug for NetworkNamespaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkNamespaces").finish_non_exhaustive()
    }
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkNamespace {
    /// Its inode number.
    pub inode: u64,
    /// A file by which it can be opened as long as the process is there that the path names.
    pub path: PathBuf,
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

    /// May change the values of other instances' parameters before anybody gets them, for example to have the kernel side do what
    /// is cheaper there. `params` are the parameters of all. Called in *descending* priority.
    fn adjust(&mut self, _values: &mut ParamValues, _params: &[Param], _context: &mut Context) -> Result<()> {
        Ok(())
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

    /// Says what this instance would do in a run and why, as far as it is known after *demand*.
    fn explain(&self, _context: &Context, _to: &mut Explanation) {}

    /// Called when everything is prepared and before the first event. Who produces events takes the
    /// [emitters](Stream::emitter) of its streams here.
    fn start(&mut self, _context: &mut Context) -> Result<()> {
        Ok(())
    }

    /// Called when the run ends. Whoever produces events has emitted the last one when this returns.
    fn pre_stop(&mut self) -> Result<()> {
        Ok(())
    }

    /// Called after the last event of all.
    fn stop(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What `--explain` shows: what a run would do, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The operators, in the order of their priority.
    pub operators: Vec<OperatorNote>,
    /// The terms of all filters.
    pub terms: Vec<TermNote>,
}

/// Whether an operator is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorNote {
    /// Its name.
    pub name: String,
    /// Whether it does something in this run.
    pub on: bool,
    /// Why, in words.
    pub why: String,
}

/// Where one term of a filter is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermNote {
    /// The data source it is for.
    pub source: String,
    /// The term as it was given.
    pub text: String,
    /// Where.
    pub place: TermPlace,
}

/// Where a term of a filter is decided, the cheapest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TermPlace {
    /// In the kernel, by this parameter.
    Kernel(String),
    /// On the record as the kernel wrote it, before anything else is spent on it.
    Raw,
    /// When the fields that operators add are there.
    Enriched,
}
