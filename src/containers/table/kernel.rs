//! The kernel's side of the table: what the hook's records say of namespaces.

use std::sync::Arc;

use tracing::debug;

use super::{MAX_UNDECIDED, RETENTION, Record, RecordKind, Retired, Running, Table, Undecided};
use crate::containers::ContainerEventKind;
use crate::containers::filter::UNDECIDED;
use crate::containers::namespace::{Decision, Namespace};

impl Table {
    /// Takes in a report of the kernel hook.
    pub(in crate::containers) fn record(&mut self, record: Record) {
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
}
