//! The state of the collection: which mount namespaces and containers there are, and how a new namespace is decided.
//!
//! Everything here is pure bookkeeping under one lock; what it wants from the outside it asks for through [`Request`]s and
//! [`NamespaceSet`]s.
//!
//! Facts come from two sides and in any order: *records* of the kernel hook (a namespace was created, its process changed
//! its root, executed its program) and *news* of the container runtime (a container was created, runs, died). They meet in
//! the container id that a runtime writes into the names of a container's cgroup.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak, mpsc};

use tokio::sync::mpsc::UnboundedSender;
use tracing::debug;

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
    sender: mpsc::Sender<ContainerEvent>,
}

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

    // ---- the kernel's side

    /// Takes in a report of the kernel hook.
    pub(super) fn record(&mut self, record: Record) {
        if record.mntns == self.host.mnt {
            return;
        }
        if record.kind == RecordKind::Created {
            self.namespace_created(&record);
        } else if !self.current.contains_key(&record.mntns) {
            // Its creation was before our time (or its record lost).
            self.begin(&record, 0);
        }
        self.observe(&record);
        self.judge(record.mntns);
    }

    fn namespace_created(&mut self, record: &Record) {
        self.end_of_life(record.mntns, record.timestamp);
        self.begin(record, record.timestamp);
        let parent = self.current.get(&record.parent_mntns).cloned();
        if let Some(undecided) = self.undecided.get_mut(&record.mntns) {
            undecided.parent = parent;
        }
    }

    fn begin(&mut self, record: &Record, created_at: u64) {
        if self.undecided.len() >= MAX_UNDECIDED
            && let Some(oldest) = self
                .undecided
                .values()
                .min_by_key(|u| u.since)
                .map(|u| u.namespace.mntns())
        {
            debug!("too many new mount namespaces at once: taking {oldest} for no container's");
            self.decide(oldest, Decision::NotContainer);
        }
        let namespace = Namespace::new(record.mntns, created_at, None);
        self.current.insert(record.mntns, namespace.clone());
        self.undecided.insert(
            record.mntns,
            Undecided {
                namespace,
                parent: None,
                container_id: None,
                process: Running::default(),
                pivoted: false,
                executed: false,
                since: record.timestamp,
                comm: String::new(),
            },
        );
        self.generation += 1;
        for filter in self.live_filters() {
            filter.insert(record.mntns, UNDECIDED);
        }
    }

    /// The number `mntns` is about to mean another namespace: what it meant until now stays resolvable for a while.
    fn end_of_life(&mut self, mntns: u64, now: u64) {
        self.undecided.remove(&mntns);
        let Some(old) = self.current.remove(&mntns) else { return };
        self.generation += 1;
        let container = old.container();
        if old.decision().is_none() {
            // Nobody will find out any more, and nobody shall wait for it.
            old.decide(Decision::NotContainer);
            self.decisions += 1;
            self.judge_children(&old);
        }
        if let Some(container) = container {
            if let Some(entry) = self.containers.get_mut(container.id())
                && entry
                    .namespace
                    .as_ref()
                    .is_some_and(|namespace| Arc::ptr_eq(namespace, &old))
            {
                entry.namespace = None;
                if std::mem::take(&mut entry.published) {
                    self.publish(ContainerEventKind::Deleted, &container);
                }
            }
            // It may be in the queue already, put there when its container died.
            self.retired.retain(|retired| !Arc::ptr_eq(&retired.namespace, &old));
            self.retired.push_back(Retired {
                namespace: old,
                until: now + RETENTION,
            });
        }
    }

    /// Notes what the record says about the process.
    fn observe(&mut self, record: &Record) {
        let wall_offset = self.wall_offset;
        let update = |process: &mut Running, pivoted: &mut bool| {
            process.mntns = record.mntns;
            process.netns = record.netns;
            if record.cgroup_id != 0 {
                process.cgroup.id = record.cgroup_id;
            }
            // The process that creates the namespace is a helper of the runtime; the one that changes the root is the
            // container's init, and so is the first that executes something where the root is changed in another way.
            let is_init = match record.kind {
                RecordKind::Created => false,
                RecordKind::PivotRoot => true,
                RecordKind::Exec => !*pivoted,
            };
            if is_init {
                process.pid = record.pid;
                process.started_at = record.started_at as i64 + wall_offset;
            }
            *pivoted |= record.kind == RecordKind::PivotRoot;
        };
        if let Some(undecided) = self.undecided.get_mut(&record.mntns) {
            update(&mut undecided.process, &mut undecided.pivoted);
            undecided.executed |= record.kind == RecordKind::Exec;
            undecided.comm.clone_from(&record.comm);
            if record.container_id.is_some() {
                undecided.container_id = record.container_id.clone();
            }
            return;
        }
        let Some(namespace) = self.current.get(&record.mntns).cloned() else {
            return;
        };
        match namespace.decision() {
            Some(Decision::Container(container)) => {
                let Some(entry) = self.containers.get_mut(container.id()) else {
                    return;
                };
                let mut pivoted = entry.running.pid != 0;
                update(&mut entry.running, &mut pivoted);
                let id = container.id().to_owned();
                self.refresh(&id);
                match record.kind {
                    RecordKind::Exec => self.forget_pending(record.mntns),
                    // The hook may have put it into the filters once more.
                    _ => self.apply(record.mntns),
                }
            }
            _ => self.decide(record.mntns, Decision::NotContainer),
        }
    }

    /// Makes the filters agree with what was decided about `mntns`.
    fn apply(&self, mntns: u64) {
        let Some(decision) = self.current.get(&mntns).and_then(|namespace| namespace.decision()) else {
            return;
        };
        for filter in self.live_filters() {
            filter.apply(mntns, &decision);
        }
    }

    fn forget_pending(&self, mntns: u64) {
        if let Some(pending) = &self.pending {
            pending.forget(mntns);
        }
    }

    /// Decides an undecided namespace if what is known suffices.
    fn judge(&mut self, mntns: u64) {
        let Some(undecided) = self.undecided.get(&mntns) else {
            return;
        };
        match undecided.parent.as_ref().map(|parent| parent.decision()) {
            // A process that has been in a container all along makes no new container.
            Some(Some(Decision::Container(_))) => return self.decide(mntns, Decision::NotContainer),
            // Whether it has been is not known yet.
            Some(None) => return,
            Some(Some(Decision::NotContainer)) | None => {}
        }
        let Some(id) = undecided.container_id.clone() else {
            if undecided.executed {
                debug!("mount namespace {mntns} ({}): not a container", undecided.comm);
                self.decide(mntns, Decision::NotContainer);
            }
            return;
        };
        if self.strangers.contains(&id) {
            return self.decide(mntns, Decision::NotContainer);
        }
        let Some(entry) = self.containers.get_mut(&id) else {
            self.request(Request::Identify(id));
            return;
        };
        if entry.known.sandbox {
            return self.decide(mntns, Decision::NotContainer);
        }
        if !entry.known.complete {
            return;
        }
        let process = undecided.process.clone();
        let (namespace, executed) = (undecided.namespace.clone(), undecided.executed);
        let before = entry.namespace.replace(namespace);
        entry.running = process;
        entry.detailed = false;
        // The same container again: it was restarted, and the news of its death is still on the way.
        if let Some(before) = before {
            self.restarted(&id, &before);
        }
        self.undecided.remove(&mntns);
        self.refresh(&id);
        if executed {
            self.forget_pending(mntns);
        }
    }

    fn restarted(&mut self, id: &str, before: &Arc<Namespace>) {
        if let (Some(entry), Some(container)) = (self.containers.get_mut(id), before.container())
            && std::mem::take(&mut entry.published)
        {
            self.publish(ContainerEventKind::Deleted, &container);
        }
        let until = super::host::boot_ns() + RETENTION;
        self.retire(before.clone(), until);
    }

    fn retire(&mut self, namespace: Arc<Namespace>, until: u64) {
        if !self
            .retired
            .iter()
            .any(|retired| Arc::ptr_eq(&retired.namespace, &namespace))
        {
            self.retired.push_back(Retired { namespace, until });
        }
    }

    /// Makes the container's value anew from what is known, and tells everybody.
    fn refresh(&mut self, id: &str) {
        let host_netns = self.host.net;
        let Some(entry) = self.containers.get_mut(id) else {
            return;
        };
        let Some(namespace) = entry.namespace.clone() else {
            return;
        };
        let Running {
            pid,
            netns,
            started_at,
            cgroup,
            oci_config,
            ..
        } = entry.running.clone();
        let container = Arc::new(Container {
            runtime: RuntimeInfo {
                container_pid: pid,
                started_at,
                ..entry.known.runtime.clone()
            },
            k8s: entry.known.k8s.clone(),
            oci_config,
            mntns: namespace.mntns(),
            netns,
            host_network: netns != 0 && netns == host_netns,
            cgroup,
            ..Container::default()
        });
        let changed = namespace.container().is_none_or(|before| *before != *container);
        let running = pid != 0;
        // Details are worth waiting for: a subscriber sees a container once.
        let details_due = running && self.want_details && !entry.detailed;
        let publish = running && !entry.published && !details_due;
        if details_due {
            self.request(Request::Details { id: id.to_owned(), pid });
        }
        if changed {
            self.decide(namespace.mntns(), Decision::Container(container.clone()));
        }
        if publish {
            if let Some(entry) = self.containers.get_mut(id) {
                entry.published = true;
            }
            self.publish(ContainerEventKind::Created, &container);
        }
    }

    /// Writes a decision down, and into the filters.
    fn decide(&mut self, mntns: u64, decision: Decision) {
        self.undecided.remove(&mntns);
        let Some(namespace) = self.current.get(&mntns).cloned() else {
            return;
        };
        for filter in self.live_filters() {
            filter.apply(mntns, &decision);
        }
        if matches!(decision, Decision::NotContainer) {
            self.forget_pending(mntns);
            if !matches!(namespace.decision(), Some(Decision::NotContainer)) {
                self.foreign.push_back(Arc::downgrade(&namespace));
                self.trim_foreign();
            }
        }
        namespace.decide(decision);
        self.generation += 1;
        self.decisions += 1;
        self.judge_children(&namespace);
    }

    /// Those who came from `parent` may have waited for its decision.
    fn judge_children(&mut self, parent: &Arc<Namespace>) {
        let is_child = |u: &&Undecided| u.parent.as_ref().is_some_and(|its| Arc::ptr_eq(its, parent));
        let children: Vec<u64> = self
            .undecided
            .values()
            .filter(is_child)
            .map(|u| u.namespace.mntns())
            .collect();
        for mntns in children {
            self.judge(mntns);
        }
    }

    fn trim_foreign(&mut self) {
        while self.foreign.len() > MAX_FOREIGN {
            let Some(oldest) = self.foreign.pop_front().and_then(|oldest| oldest.upgrade()) else {
                continue;
            };
            if self.is_current(&oldest) && oldest.container().is_none() {
                self.current.remove(&oldest.mntns());
            }
        }
    }

    fn is_current(&self, namespace: &Arc<Namespace>) -> bool {
        self.current
            .get(&namespace.mntns())
            .is_some_and(|current| Arc::ptr_eq(current, namespace))
    }

    // ---- the runtime's side

    /// A runtime told about a container.
    pub(super) fn known(&mut self, known: Known) {
        let id = known.runtime.container_id.clone();
        self.strangers.remove(&id);
        match self.containers.get_mut(&id) {
            Some(entry) => {
                entry.forget_at = None;
                if entry.known == known || (entry.known.complete && !known.complete) {
                    return;
                }
                entry.known = known;
            }
            None => {
                let entry = Entry {
                    known,
                    namespace: None,
                    running: Running::default(),
                    published: false,
                    detailed: false,
                    forget_at: None,
                };
                self.containers.insert(id.clone(), entry);
            }
        }
        self.refresh(&id);
        self.judge_waiting(&id);
    }

    fn judge_waiting(&mut self, id: &str) {
        let mut waiting: Vec<_> = self
            .undecided
            .values()
            .filter(|undecided| undecided.container_id.as_deref() == Some(id))
            .map(|undecided| (undecided.since, undecided.namespace.mntns()))
            .collect();
        waiting.sort_unstable();
        for (_, mntns) in waiting {
            self.judge(mntns);
        }
    }

    /// Whether the container is known to be there, completely.
    pub(super) fn is_complete(&self, id: &str) -> bool {
        self.containers.get(id).is_some_and(|entry| entry.known.complete)
    }

    /// Whether an undecided namespace waits for `id`.
    pub(super) fn is_awaited(&self, id: &str) -> bool {
        self.undecided
            .values()
            .any(|undecided| undecided.container_id.as_deref() == Some(id))
    }

    /// The container has another name.
    pub(super) fn renamed(&mut self, id: &str, name: &str) {
        if let Some(entry) = self.containers.get_mut(id) {
            entry.known.runtime.container_name = name.to_owned();
            self.refresh(id);
        }
    }

    /// No runtime knows the container `id`.
    pub(super) fn unknown(&mut self, id: &str) {
        if self.containers.contains_key(id) {
            return;
        }
        if self.strangers.len() >= MAX_FOREIGN {
            self.strangers.clear();
        }
        self.strangers.insert(id.to_owned());
        self.judge_waiting(id);
    }

    /// The runtime says that the container runs, and as which process. This overrules what the hook's records suggest.
    pub(super) fn running(&mut self, id: &str, running: Running) {
        let Some(entry) = self.containers.get_mut(id) else {
            return;
        };
        if running.mntns == 0 || running.mntns == self.host.mnt || entry.known.sandbox {
            return;
        }
        let mntns = running.mntns;
        let seen = entry
            .namespace
            .as_ref()
            .is_some_and(|namespace| namespace.mntns() == mntns);
        if seen {
            // The time is kept: its value must not change while the container lives.
            let started_at = match entry.running.started_at {
                0 => running.started_at,
                known => known,
            };
            let before = std::mem::take(&mut entry.running);
            entry.running = Running {
                started_at,
                cgroup: before.cgroup,
                oci_config: before.oci_config,
                ..running
            };
            return self.refresh(id);
        }
        let before = entry.namespace.take();
        entry.running = running;
        entry.detailed = false;
        if let Some(before) = before {
            self.restarted(id, &before);
        }
        let namespace = match self.current.get(&mntns) {
            Some(namespace) => namespace.clone(),
            None => {
                let namespace = Namespace::new(mntns, 0, None);
                self.current.insert(mntns, namespace.clone());
                namespace
            }
        };
        self.undecided.remove(&mntns);
        self.retired
            .retain(|retired| !Arc::ptr_eq(&retired.namespace, &namespace));
        if let Some(entry) = self.containers.get_mut(id) {
            entry.namespace = Some(namespace);
        }
        self.refresh(id);
        self.forget_pending(mntns);
    }

    /// Whether the details of the container that runs as `pid` have not been read.
    pub(super) fn lacks_details(&self, id: &str, pid: u32) -> bool {
        self.containers
            .get(id)
            .is_some_and(|entry| entry.running.pid == pid && !entry.detailed)
    }

    /// The details that were [asked for](Request::Details), as far as they could be read.
    pub(super) fn details(&mut self, id: &str, pid: u32, cgroup: Option<super::Cgroup>, oci_config: String) {
        let Some(entry) = self.containers.get_mut(id) else {
            return;
        };
        if entry.running.pid != pid {
            return;
        }
        entry.detailed = true;
        if let Some(cgroup) = cgroup {
            let id = match cgroup.id {
                0 => entry.running.cgroup.id,
                id => id,
            };
            entry.running.cgroup = super::Cgroup { id, ..cgroup };
        }
        entry.running.oci_config = oci_config;
        self.refresh(id);
    }

    /// The container ended at the wall-clock time `at_wall` (nanoseconds), if that is known.
    pub(super) fn died(&mut self, id: &str, at_wall: Option<i64>, now: u64) {
        let wall_offset = self.wall_offset;
        let Some(entry) = self.containers.get_mut(id) else {
            return;
        };
        let Some(namespace) = entry.namespace.clone() else {
            return;
        };
        let began = namespace.created_at() as i64 + wall_offset;
        if namespace.created_at() != 0 && at_wall.is_some_and(|at| at < began) {
            return; // an earlier life's end; the container runs again
        }
        entry.namespace = None;
        let published = std::mem::take(&mut entry.published);
        if let Some(container) = namespace.container() {
            if !published {
                self.publish(ContainerEventKind::Created, &container);
            }
            self.publish(ContainerEventKind::Deleted, &container);
        }
        self.retire(namespace, now + RETENTION);
        self.generation += 1;
    }

    /// The runtime removed the container.
    pub(super) fn destroyed(&mut self, id: &str, now: u64) {
        self.died(id, None, now);
        if let Some(entry) = self.containers.get_mut(id) {
            entry.forget_at = Some(now + RETENTION);
        }
    }

    /// A complete list of the running containers: all others have ended.
    pub(super) fn only_running(&mut self, ids: &HashSet<String>, listed_at: u64) {
        let now = super::host::boot_ns();
        let gone: Vec<String> = self
            .containers
            .iter()
            .filter(|(id, entry)| {
                // One that came into being after the list was asked for cannot be on it.
                entry
                    .namespace
                    .as_ref()
                    .is_some_and(|namespace| namespace.created_at() < listed_at)
                    && !ids.contains(*id)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.died(&id, None, now);
        }
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

    // ---- filters and subscribers

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
    pub(super) fn subscribe(&mut self, selector: Selector) -> (Vec<Arc<Container>>, mpsc::Receiver<ContainerEvent>) {
        let existing = self
            .containers()
            .into_iter()
            .filter(|container| selector.matches(container))
            .collect();
        let (sender, receiver) = mpsc::channel();
        self.subscribers.push(Subscriber { selector, sender });
        (existing, receiver)
    }

    fn publish(&mut self, kind: ContainerEventKind, container: &Arc<Container>) {
        self.subscribers.retain(|subscriber| {
            if !subscriber.selector.matches(container) {
                return true;
            }
            let event = ContainerEvent {
                kind,
                container: container.clone(),
            };
            subscriber.sender.send(event).is_ok()
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

#[cfg(test)]
mod tests;
