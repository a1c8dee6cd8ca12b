//! Journals: what a collection knows, written down as it changes, and read back into a collection without a host.
//!
//! A [`Change`] says what is different since the one before; the first says everything. It speaks of *lives* of mount
//! namespaces, because inode numbers are reused, and keeps of a container what selection and enrichment use. Read back in
//! order, changes give the same answers that the collection gave at the same points.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::namespace::{Decision, Namespace};
use super::table::{SeenLife, Table};
use super::{Container, K8sInfo, Owner, RuntimeInfo};

/// A change says at most so much of the lives, so that it stays small.
const LIVES_PER_CHANGE: usize = 256;

/// What is different since the change before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Lives of mount namespaces that are new or of which something else is known now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lives: Vec<Life>,
    /// Lives that are forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<u64>,
    /// The lives whose containers run, if that is different; ordered by the containers' ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Vec<u64>>,
}

/// One life of a mount namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Number of the life, unique in a journal.
    pub life: u64,
    /// Inode number of the namespace.
    pub mntns: u64,
    /// When it was created, in nanoseconds since boot; 0 if that was before the collection was started.
    pub created_at: u64,
    /// Whether the number is still its.
    pub current: bool,
    /// Whether it is the namespace of a container that ended.
    pub retired: bool,
    /// What it is.
    pub is: Known,
}

/// What a mount namespace is known to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Known {
    /// That is not decided.
    Undecided,
    /// No container's.
    Foreign,
    /// A container's.
    Container(Box<RecordedContainer>),
}

/// The part of a container that selection and enrichment use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are those of the fields of a container")]
pub struct RecordedContainer {
    pub runtime_name: String,
    pub container_id: String,
    pub container_name: String,
    pub container_pid: u32,
    pub image_name: String,
    pub image_id: String,
    pub image_digest: String,
    pub started_at: i64,
    pub k8s_namespace: String,
    pub k8s_pod_name: String,
    pub k8s_pod_labels: std::collections::BTreeMap<String, String>,
    pub k8s_container_name: String,
    pub k8s_pod_uid: String,
    pub k8s_owner: Option<(String, String)>,
    pub netns: u64,
    pub host_network: bool,
}

impl RecordedContainer {
    fn of(container: &Container) -> Self {
        let RuntimeInfo {
            runtime_name,
            container_id,
            container_name,
            container_pid,
            image_name,
            image_id,
            image_digest,
            started_at,
        } = container.runtime.clone();
        let K8sInfo {
            namespace,
            pod_name,
            pod_labels,
            container_name: k8s_container_name,
            pod_uid,
            owner,
        } = container.k8s.clone();
        Self {
            runtime_name,
            container_id,
            container_name,
            container_pid,
            image_name,
            image_id,
            image_digest,
            started_at,
            k8s_namespace: namespace,
            k8s_pod_name: pod_name,
            k8s_pod_labels: pod_labels,
            k8s_container_name,
            k8s_pod_uid: pod_uid,
            k8s_owner: owner.map(|owner| (owner.kind, owner.name)),
            netns: container.netns,
            host_network: container.host_network,
        }
    }

    fn into_container(self, mntns: u64) -> Container {
        Container {
            runtime: RuntimeInfo {
                runtime_name: self.runtime_name,
                container_id: self.container_id,
                container_name: self.container_name,
                container_pid: self.container_pid,
                image_name: self.image_name,
                image_id: self.image_id,
                image_digest: self.image_digest,
                started_at: self.started_at,
            },
            k8s: K8sInfo {
                namespace: self.k8s_namespace,
                pod_name: self.k8s_pod_name,
                pod_labels: self.k8s_pod_labels,
                container_name: self.k8s_container_name,
                pod_uid: self.k8s_pod_uid,
                owner: self.k8s_owner.map(|(kind, name)| Owner { kind, name }),
            },
            mntns,
            netns: self.netns,
            host_network: self.host_network,
            ..Container::default()
        }
    }
}

/// Called with every change, in order. It must not call back into the collection.
pub(super) type JournalFn = Box<dyn FnMut(Change) + Send>;

/// Finds out what has changed in a table.
pub(super) struct Journal {
    write: JournalFn,
    /// What was said about each life, by the address of its namespace.
    said: HashMap<usize, Said>,
    running: Vec<u64>,
    next: u64,
    /// The table's generation at the last look.
    generation: u64,
    looks: u64,
}

struct Said {
    life: u64,
    /// Keeps the address taken, so that no other namespace gets it.
    _namespace: Arc<Namespace>,
    current: bool,
    retired: bool,
    decision: Option<Decision>,
    /// The look at which it was last there.
    look: u64,
}

impl Journal {
    pub(super) fn new(write: JournalFn) -> Self {
        Self {
            write,
            said: HashMap::new(),
            running: Vec::new(),
            next: 1,
            generation: 0,
            looks: 0,
        }
    }

    /// Writes down what is different from the last look.
    pub(super) fn look(&mut self, table: &Table) {
        let mut change = Change::default();
        if table.generation() != self.generation || self.looks == 0 {
            self.generation = table.generation();
            self.looks += 1;
            for seen in table.lives() {
                self.life(&seen, &mut change);
                if change.lives.len() >= LIVES_PER_CHANGE {
                    (self.write)(std::mem::take(&mut change));
                }
            }
            let look = self.looks;
            self.said.retain(|_, said| {
                if said.look != look {
                    change.gone.push(said.life);
                }
                said.look == look
            });
        }
        let running: Vec<u64> = table
            .running_namespaces()
            .filter_map(|namespace| Some(self.said.get(&address(namespace))?.life))
            .collect();
        if running != self.running {
            self.running.clone_from(&running);
            change.running = Some(running);
        }
        if change != Change::default() {
            (self.write)(change);
        }
    }

    fn life(&mut self, seen: &SeenLife, change: &mut Change) {
        let SeenLife {
            namespace,
            current,
            retired,
        } = seen;
        let (current, retired) = (*current, *retired);
        let decision = namespace.decision();
        let said = self.said.entry(address(namespace)).or_insert_with(|| {
            self.next += 1;
            Said {
                life: self.next,
                _namespace: Arc::clone(namespace),
                // As no life is, so that it is said.
                current: false,
                retired: false,
                decision: None,
                look: 0,
            }
        });
        said.look = self.looks;
        if (said.current, said.retired) == (current, retired) && same(said.decision.as_ref(), decision.as_ref()) {
            return;
        }
        change.lives.push(Life {
            life: said.life,
            mntns: namespace.mntns(),
            created_at: namespace.created_at(),
            current,
            retired,
            is: match &decision {
                None => Known::Undecided,
                Some(Decision::NotContainer) => Known::Foreign,
                Some(Decision::Container(container)) => Known::Container(Box::new(RecordedContainer::of(container))),
            },
        });
        (said.current, said.retired, said.decision) = (current, retired, decision);
    }
}

fn address(namespace: &Arc<Namespace>) -> usize {
    Arc::as_ptr(namespace).addr()
}

fn same(a: Option<&Decision>, b: Option<&Decision>) -> bool {
    match (a, b) {
        (None, None) | (Some(Decision::NotContainer), Some(Decision::NotContainer)) => true,
        (Some(Decision::Container(a)), Some(Decision::Container(b))) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

#[cfg(test)]
impl Change {
    /// What this life of a mount namespace, the current one, is.
    pub(crate) fn of_life(life: u64, mntns: u64, is: Known) -> Self {
        Self {
            lives: vec![Life {
                life,
                mntns,
                created_at: 0,
                current: true,
                retired: false,
                is,
            }],
            ..Self::default()
        }
    }
}

/// Changes that nobody has taken yet. They stay few, however long that takes: what is out of date is left out.
#[derive(Debug, Default)]
pub(super) struct News {
    /// What is known now of every life about which something was said.
    lives: Vec<Life>,
    gone: Vec<u64>,
    running: Option<Vec<u64>>,
    /// The latest life that was taken. Later ones can come and go without anybody having to know.
    last_taken: u64,
}

impl News {
    /// Adds what is different since then.
    pub(super) fn add(&mut self, change: Change) {
        for life in change.lives {
            self.lives.retain(|known| known.life != life.life);
            self.lives.push(life);
        }
        for gone in change.gone {
            self.lives.retain(|known| known.life != gone);
            if gone <= self.last_taken {
                self.gone.push(gone);
            }
        }
        self.running = change.running.or(self.running.take());
    }

    /// Everything that was added, as changes of a size that recordings hold.
    pub(super) fn take(&mut self) -> Vec<Change> {
        let newest = self.lives.iter().map(|life| life.life).max();
        self.last_taken = self.last_taken.max(newest.unwrap_or_default());
        let mut changes: Vec<Change> = self
            .lives
            .chunks(LIVES_PER_CHANGE)
            .map(|lives| Change {
                lives: lives.to_vec(),
                ..Change::default()
            })
            .collect();
        self.lives.clear();
        let last = Change {
            gone: std::mem::take(&mut self.gone),
            running: self.running.take(),
            ..Change::default()
        };
        if last != Change::default() {
            changes.push(last);
        }
        changes
    }
}

/// Reads changes back into a table.
#[derive(Debug, Default)]
pub(super) struct Playback {
    lives: HashMap<u64, Arc<Namespace>>,
}

impl Playback {
    /// Makes `table` know what the journal's table knew after `change`.
    pub(super) fn apply(&mut self, table: &mut Table, change: Change) {
        for life in change.lives {
            let namespace = self
                .lives
                .entry(life.life)
                .or_insert_with(|| Namespace::new(life.mntns, life.created_at, None));
            match life.is {
                Known::Undecided => {}
                Known::Foreign => namespace.decide(Decision::NotContainer),
                Known::Container(container) => {
                    let container = Arc::new(container.into_container(life.mntns));
                    namespace.decide(Decision::Container(container));
                }
            }
            table.replay_life(&SeenLife {
                namespace: Arc::clone(namespace),
                current: life.current,
                retired: life.retired,
            });
        }
        for life in change.gone {
            if let Some(namespace) = self.lives.remove(&life) {
                table.replay_life(&SeenLife {
                    namespace,
                    current: false,
                    retired: false,
                });
            }
        }
        if let Some(running) = change.running {
            let lives = running.iter().filter_map(|life| self.lives.get(life));
            table.replay_running(lives.cloned().collect());
        }
        table.replayed();
    }
}

#[cfg(test)]
mod tests;
