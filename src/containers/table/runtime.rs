//! The runtime's side of the table: containers that are announced, run and end.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Entry, Known, MAX_FOREIGN, RETENTION, Running, Table};
use crate::containers::Cgroup;
use crate::containers::ContainerEventKind;
use crate::containers::namespace::Namespace;

impl Table {
    /// A runtime told about a container.
    pub(in crate::containers) fn known(&mut self, known: Known) {
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
    pub(in crate::containers) fn is_complete(&self, id: &str) -> bool {
        self.containers.get(id).is_some_and(|entry| entry.known.complete)
    }

    /// Whether an undecided namespace waits for `id`.
    pub(in crate::containers) fn is_awaited(&self, id: &str) -> bool {
        self.undecided
            .values()
            .any(|undecided| undecided.container_id.as_deref() == Some(id))
    }

    /// The container has another name.
    pub(in crate::containers) fn renamed(&mut self, id: &str, name: &str) {
        if let Some(entry) = self.containers.get_mut(id) {
            entry.known.runtime.container_name = name.to_owned();
            self.refresh(id);
        }
    }

    /// No runtime knows the container `id`.
    pub(in crate::containers) fn unknown(&mut self, id: &str) {
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
    pub(in crate::containers) fn running(&mut self, id: &str, running: Running) {
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
    pub(in crate::containers) fn lacks_details(&self, id: &str, pid: u32) -> bool {
        self.containers
            .get(id)
            .is_some_and(|entry| entry.running.pid == pid && !entry.detailed)
    }

    /// The details that were [asked for](Request::Details), as far as they could be read.
    pub(in crate::containers) fn details(&mut self, id: &str, pid: u32, cgroup: Option<Cgroup>, oci_config: String) {
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
            entry.running.cgroup = Cgroup { id, ..cgroup };
        }
        entry.running.oci_config = oci_config;
        self.refresh(id);
    }

    /// The container ended at the wall-clock time `at_wall` (nanoseconds), if that is known.
    pub(in crate::containers) fn died(&mut self, id: &str, at_wall: Option<i64>, now: u64) {
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
    pub(in crate::containers) fn destroyed(&mut self, id: &str, now: u64) {
        self.died(id, None, now);
        if let Some(entry) = self.containers.get_mut(id) {
            entry.forget_at = Some(now + RETENTION);
        }
    }

    /// A complete list of the running containers: all others have ended.
    pub(in crate::containers) fn only_running(&mut self, ids: &HashSet<String>, listed_at: u64) {
        let now = crate::containers::host::boot_ns();
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
}
