//! The state of the collection: which mount namespaces and containers there are, and how a new namespace is decided.
//!
//! Everything here is pure bookkeeping under one lock; what it wants from the outside it asks for through [`Request`]s and
//! [`NamespaceSet`]s.
//!
//! Facts come from two sides and in any order: *records* of the kernel hook (a namespace was created, its process changed
//! its root, executed its program) and *news* of the container runtime (a container was created, runs, died). They meet in
//! the container id that a runtime writes into the names of a container's cgroup.

mod decisions;
mod kernel;
mod replay;
mod runtime;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};

use tokio::sync::mpsc::UnboundedSender;
use tracing::debug;

pub(super) use self::replay::SeenLife;
use super::filter::{FilterState, UNDECIDED};
use super::host::HostNamespaces;
use super::namespace::{Decision, Lookup, Namespace};
use super::{Container, ContainerEvent, ContainerEventKind, K8sInfo, RuntimeInfo, Selector};

const SECOND: u64 = 1_000_000_000;

/// How long a namespace may stay undecided before it counts as no container's.
pub(super) const UNDECIDED_TIMEOUT: u64 = 10 * SECOND;
/// How long the namespace of a container that ended is kept for its late events.
pub(super) const RETENTION: u64 = 5 * SECOND;
/// How many namespaces may be undecided at once; the oldest gives way.
const MAX_UNDECIDED: usize = 1024;
/// How many namespaces that are no container's are remembered; the oldest gives way.
const MAX_FOREIGN: usize = 4096;

/// What the kernel hook saw happen to a mount namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// It was created, by `unshare` or by `clone`.
    Created,
    /// A process inside changed its root with `pivot_root`: a runtime's init process.
    PivotRoot,
    /// A process inside executed a program.
    Exec,
}

/// A report of the kernel hook.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) kind: RecordKind,
    pub(super) mntns: u64,
    /// The mount namespace that the creating process came from; only with [`RecordKind::Created`].
    pub(super) parent_mntns: u64,
    pub(super) netns: u64,
    pub(super) cgroup_id: u64,
    /// Nanoseconds since boot.
    pub(super) timestamp: u64,
    /// When the process was started, in nanoseconds since boot.
    pub(super) started_at: u64,
    pub(super) pid: u32,
    /// The container id in the names of the process's cgroup, if there is one.
    pub(super) container_id: Option<String>,
    pub(super) comm: String,
}

/// What a runtime tells about a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) runtime: RuntimeInfo,
    pub(super) k8s: K8sInfo,
    /// Whether it is a pod's pause container, which no one wants to see.
    pub(super) sandbox: bool,
    /// Whether the runtime has nothing to add: events need not wait any longer.
    pub(super) complete: bool,
}

/// A running container's process, as its runtime names it.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) mntns: u64,
    pub(super) netns: u64,
    pub(super) started_at: i64,
    pub(super) cgroup: super::Cgroup,
    pub(super) oci_config: String,
}

/// What the table wants to be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A container id that was seen in a cgroup's name and that no runtime has told of.
    Identify(String),
    /// A container was seen to run: its cgroup paths and configuration can be read.
    Details {
        /// Id of the container.
        id: String,
        /// Its init process.
        pid: u32,
    },
    /// Records were lost: list everything again.
    Resync,
}

/// The kernel's set of namespaces whose first exec has not been seen yet.
pub(super) trait Pending: Send {
    /// Stops reports about `mntns`.
    fn forget(&self, mntns: u64);
}

struct Entry {
    known: Known,
    namespace: Option<Arc<Namespace>>,
    /// What the hook or the runtime told about the running process.
    running: Running,
    published: bool,
    /// Whether cgroup paths and configuration were read, or tried to.
    detailed: bool,
    /// When the entry can be dropped, in nanoseconds since boot; the runtime has removed the container.
    forget_at: Option<u64>,
}

struct Undecided {
    namespace: Arc<Namespace>,
    /// Where its creator came from, unless that is the host's.
    parent: Option<Arc<Namespace>>,
    container_id: Option<String>,
    process: Running,
    pivoted: bool,
    executed: bool,
    since: u64,
    /// Name of the process that the latest record is about.
    comm: String,
}

struct Retired {
    namespace: Arc<Namespace>,
    until: u64,
}

struct Subscriber {
    selector: Selector,
    /// Says whether it wants more.
    deliver: Deliver,
}

/// Takes an event to a subscriber.
pub(super) type Deliver = Box<dyn FnMut(ContainerEvent) -> bool + Send>;

/// See the module's text.
pub(super) struct Table {
    host: HostNamespaces,
    /// To be added to a time since boot to give a wall-clock time.
    wall_offset: i64,
    generation: u64,
    decisions: u64,
    current: HashMap<u64, Arc<Namespace>>,
    containers: HashMap<String, Entry>,
    undecided: HashMap<u64, Undecided>,
    /// Ids that no runtime knows.
    strangers: HashSet<String>,
    /// Namespaces of no container in the order of their decision.
    foreign: VecDeque<Weak<Namespace>>,
    /// Containers' namespaces that ended or are about to, oldest first.
    retired: VecDeque<Retired>,
    filters: Vec<Weak<FilterState>>,
    subscribers: Vec<Subscriber>,
    requests: UnboundedSender<Request>,
    pending: Option<Box<dyn Pending>>,
    want_details: bool,
}

impl Table {
    pub(super) fn new(
        host: HostNamespaces,
        wall_offset: i64,
        want_details: bool,
        requests: UnboundedSender<Request>,
    ) -> Self {
        Self {
            host,
            wall_offset,
            generation: 1,
            decisions: 0,
            current: HashMap::new(),
            containers: HashMap::new(),
            undecided: HashMap::new(),
            strangers: HashSet::new(),
            foreign: VecDeque::new(),
            retired: VecDeque::new(),
            filters: Vec::new(),
            subscribers: Vec::new(),
            requests,
            pending: None,
            want_details,
        }
    }

    /// A number that changes with every change of an answer.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The host's own namespaces.
    pub(super) fn host(&self) -> HostNamespaces {
        self.host
    }

    /// How many decisions about namespaces were made.
    pub(super) fn decisions(&self) -> u64 {
        self.decisions
    }

    pub(super) fn set_pending(&mut self, pending: Box<dyn Pending>) {
        self.pending = Some(pending);
    }

    /// The running containers, ordered by id.
    pub(super) fn containers(&self) -> Vec<Arc<Container>> {
        let mut containers: Vec<_> = self
            .containers
            .values()
            .filter(|entry| entry.published)
            .filter_map(|entry| entry.namespace.as_ref()?.container())
            .collect();
        containers.sort_by(|a, b| a.id().cmp(b.id()));
        containers
    }

    /// What is known about `mntns` at the time `at` (0: now), and since when the answer holds if it is about the current life.
    pub(super) fn lookup(&self, mntns: u64, at: u64) -> (Lookup, Option<u64>) {
        if mntns == self.host.mnt {
            return (Lookup::NotContainer, Some(0));
        }
        match self.current.get(&mntns) {
            Some(namespace) if at == 0 || at >= namespace.created_at() => {
                return (namespace.lookup(), Some(namespace.created_at()));
            }
            _ => {}
        }
        let earlier = self.retired.iter().rev().find(|retired| {
            let namespace = &retired.namespace;
            namespace.mntns() == mntns && (at == 0 || at >= namespace.created_at())
        });
        match earlier {
            Some(retired) => (retired.namespace.lookup(), None),
            None => (Lookup::Unknown, (!self.current.contains_key(&mntns)).then_some(0)),
        }
    }

    /// Whether anything is known about the namespace that has this number now.
    pub(super) fn is_known(&self, mntns: u64) -> bool {
        self.current.contains_key(&mntns)
    }

    /// Containers in the network namespace `netns`: the running ones, or else those that ended lately.
    pub(super) fn by_netns(&self, netns: u64) -> Vec<Arc<Container>> {
        let mut found: Vec<_> = self.containers().into_iter().filter(|c| c.netns == netns).collect();
        if found.is_empty() {
            found = self
                .retired
                .iter()
                .filter_map(|retired| retired.namespace.container())
                .filter(|container| container.netns == netns)
                .collect();
        }
        found
    }

    /// Lets go of what is too old at the time `now`. Says whether numbers were taken out of the filters: then the hook's
    /// records must be read once more, because a number may have come back to life in between.
    pub(super) fn sweep(&mut self, now: u64) -> bool {
        let late: Vec<_> = self
            .undecided
            .values()
            .filter(|undecided| undecided.since + UNDECIDED_TIMEOUT <= now)
            .map(|undecided| {
                (
                    undecided.namespace.mntns(),
                    undecided.container_id.clone(),
                    undecided.comm.clone(),
                )
            })
            .collect();
        for (mntns, id, comm) in late {
            match id {
                Some(id) => debug!("mount namespace {mntns} ({comm}): no runtime told about container {id} in time"),
                None => debug!("mount namespace {mntns} ({comm}): not a container, by lack of a sign of one"),
            }
            self.decide(mntns, Decision::NotContainer);
        }
        let mut removed = false;
        let due: Vec<_> = {
            let (due, kept) = std::mem::take(&mut self.retired)
                .into_iter()
                .partition(|r| r.until <= now);
            let due: VecDeque<Retired> = due;
            self.retired = kept;
            due.into()
        };
        for Retired { namespace, .. } in due {
            if self.is_current(&namespace) {
                self.current.remove(&namespace.mntns());
                self.forget_pending(namespace.mntns());
                for filter in self.live_filters() {
                    filter.remove(namespace.mntns());
                }
                removed = true;
            }
            self.generation += 1;
        }
        self.containers
            .retain(|_, entry| entry.forget_at.is_none_or(|at| at > now) || entry.namespace.is_some());
        removed
    }

    /// Whether something is waiting for [`sweep`](Self::sweep).
    pub(super) fn needs_sweep(&self) -> bool {
        !self.undecided.is_empty()
            || !self.retired.is_empty()
            || self.containers.values().any(|entry| entry.forget_at.is_some())
    }

    fn live_filters(&self) -> Vec<Arc<FilterState>> {
        self.filters.iter().filter_map(Weak::upgrade).collect()
    }

    /// Fills `filter` with what is there now, and keeps it up to date from here on.
    pub(super) fn add_filter(&mut self, filter: &Arc<FilterState>) {
        for namespace in self.current.values() {
            match namespace.decision() {
                Some(decision) => filter.apply(namespace.mntns(), &decision),
                None => filter.insert(namespace.mntns(), UNDECIDED),
            }
        }
        self.filters.retain(|filter| filter.strong_count() > 0);
        self.filters.push(Arc::downgrade(filter));
    }

    /// The running containers that match, and from here on every event about one that does.
    pub(super) fn subscribe(&mut self, selector: Selector, deliver: Deliver) -> Vec<Arc<Container>> {
        let existing = self
            .containers()
            .into_iter()
            .filter(|container| selector.matches(container))
            .collect();
        self.subscribers.push(Subscriber { selector, deliver });
        existing
    }

    fn publish(&mut self, kind: ContainerEventKind, container: &Arc<Container>) {
        self.subscribers.retain_mut(|subscriber| {
            if !subscriber.selector.matches(container) {
                return true;
            }
            let event = ContainerEvent {
                kind,
                container: container.clone(),
            };
            (subscriber.deliver)(event)
        });
    }

    /// Asks for everything to be listed again.
    pub(super) fn resync(&self) {
        self.request(Request::Resync);
    }

    fn request(&self, request: Request) {
        // Fails only when the thread that would answer is ending.
        let _ = self.requests.send(request);
    }
}
