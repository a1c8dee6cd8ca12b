//! What a journal sees of the table, and how a table is made to say the same again.

use std::sync::Arc;

use super::{Entry, Known, Retired, Running, Table};
use crate::containers::namespace::Namespace;

/// A life of a mount namespace that the table knows.
#[derive(Clone, Debug)]
pub(in crate::containers) struct SeenLife {
    pub(in crate::containers) namespace: Arc<Namespace>,
    /// Whether the number is still its.
    pub(in crate::containers) current: bool,
    /// Whether it is that of a container that ended.
    pub(in crate::containers) retired: bool,
}

impl Table {
    /// All lives that answers are made of, retired ones in the order in which they ended.
    pub(in crate::containers) fn lives(&self) -> impl Iterator<Item = SeenLife> {
        let retired = self.retired.iter().map(|retired| SeenLife {
            namespace: Arc::clone(&retired.namespace),
            current: self.is_current(&retired.namespace),
            retired: true,
        });
        let current = self
            .current
            .values()
            .filter(|namespace| !self.is_retired(namespace))
            .map(|namespace| SeenLife {
                namespace: Arc::clone(namespace),
                current: true,
                retired: false,
            });
        retired.chain(current)
    }

    /// The namespaces of the running containers, ordered by the containers' ids.
    pub(in crate::containers) fn running_namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        let mut running: Vec<_> = self.containers.iter().filter(|(_, entry)| entry.published).collect();
        running.sort_by_key(|(id, _)| *id);
        running.into_iter().filter_map(|(_, entry)| entry.namespace.as_ref())
    }

    fn is_retired(&self, namespace: &Arc<Namespace>) -> bool {
        self.retired
            .iter()
            .any(|retired| Arc::ptr_eq(&retired.namespace, namespace))
    }

    /// Knows a life as another table did.
    pub(in crate::containers) fn replay_life(&mut self, life: &SeenLife) {
        let SeenLife {
            namespace,
            current,
            retired,
        } = life;
        if *current {
            self.current.insert(namespace.mntns(), Arc::clone(namespace));
        } else if self.is_current(namespace) {
            self.current.remove(&namespace.mntns());
        }
        if *retired {
            // The recording says when it is over.
            self.retire(Arc::clone(namespace), u64::MAX);
        } else {
            self.retired
                .retain(|Retired { namespace: kept, .. }| !Arc::ptr_eq(kept, namespace));
        }
    }

    /// Takes the containers of these namespaces for those that run.
    pub(in crate::containers) fn replay_running(&mut self, namespaces: Vec<Arc<Namespace>>) {
        let entries = namespaces.into_iter().filter_map(|namespace| {
            let id = namespace.container()?.id().to_owned();
            let entry = Entry {
                known: Known::default(),
                namespace: Some(namespace),
                running: Running::default(),
                published: true,
                detailed: false,
                forget_at: None,
            };
            Some((id, entry))
        });
        self.containers = entries.collect();
    }

    /// Counts what was replayed as a change of answers, and as a decision.
    pub(in crate::containers) fn replayed(&mut self) {
        self.generation += 1;
        self.decisions += 1;
    }
}
