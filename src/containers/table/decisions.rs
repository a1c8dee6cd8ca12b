//! What a mount namespace is, as soon as enough is known of it.

use std::sync::Arc;

use tracing::debug;

use super::{MAX_FOREIGN, RETENTION, Request, Retired, Running, Table, Undecided};
use crate::containers::namespace::{Decision, Namespace};
use crate::containers::{Container, ContainerEventKind, RuntimeInfo};

impl Table {
    /// Makes the filters agree with what was decided about `mntns`.
    pub(super) fn apply(&self, mntns: u64) {
        let Some(decision) = self.current.get(&mntns).and_then(|namespace| namespace.decision()) else {
            return;
        };
        for filter in self.live_filters() {
            filter.apply(mntns, &decision);
        }
    }

    pub(super) fn forget_pending(&self, mntns: u64) {
        if let Some(pending) = &self.pending {
            pending.forget(mntns);
        }
    }

    /// Decides an undecided namespace if what is known suffices.
    pub(super) fn judge(&mut self, mntns: u64) {
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

    pub(super) fn restarted(&mut self, id: &str, before: &Arc<Namespace>) {
        if let (Some(entry), Some(container)) = (self.containers.get_mut(id), before.container())
            && std::mem::take(&mut entry.published)
        {
            self.publish(ContainerEventKind::Deleted, &container);
        }
        let until = crate::containers::host::boot_ns() + RETENTION;
        self.retire(before.clone(), until);
    }

    pub(super) fn retire(&mut self, namespace: Arc<Namespace>, until: u64) {
        if !self
            .retired
            .iter()
            .any(|retired| Arc::ptr_eq(&retired.namespace, &namespace))
        {
            self.retired.push_back(Retired { namespace, until });
        }
    }

    /// Makes the container's value anew from what is known, and tells everybody.
    pub(super) fn refresh(&mut self, id: &str) {
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
    pub(super) fn decide(&mut self, mntns: u64, decision: Decision) {
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
    pub(super) fn judge_children(&mut self, parent: &Arc<Namespace>) {
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

    pub(super) fn trim_foreign(&mut self) {
        while self.foreign.len() > MAX_FOREIGN {
            let Some(oldest) = self.foreign.pop_front().and_then(|oldest| oldest.upgrade()) else {
                continue;
            };
            if self.is_current(&oldest) && oldest.container().is_none() {
                self.current.remove(&oldest.mntns());
            }
        }
    }

    pub(super) fn is_current(&self, namespace: &Arc<Namespace>) -> bool {
        self.current
            .get(&namespace.mntns())
            .is_some_and(|current| Arc::ptr_eq(current, namespace))
    }
}
