//! The gate that lets through what happened in selected containers.
//!
//! The kernel's filter also holds namespaces that are not decided yet, so that nothing is missed. Their records are kept here,
//! in order, until it is known whose they are: some milliseconds, as long as the container runtime needs to tell.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::containers::{Collection, Container, Decision, Lookup, LookupCache, MntnsFilter, Namespace, Selector};
use crate::data::{Gate, Verdict};

/// Records held back take at most this many bytes; then the oldest are given up and counted.
const MAX_HELD_BYTES: usize = 16 << 20;

/// What records have to be to pass.
#[derive(Clone, Debug)]
pub(super) enum Selection {
    /// Of a container that the filter selects.
    Filter(Arc<MntnsFilter>),
    /// Of a container that the selector selects, where the kernel side cannot filter.
    Selector(Selector),
    /// Of a container with a name that the selector selects: what the filter lets through, where there is none.
    Named(Selector),
    /// Anything; records wait only so that their container can be named.
    All,
}

impl Selection {
    fn selects(&self, container: Option<&Container>) -> bool {
        match (self, container) {
            (Selection::All, _) => true,
            (_, None) => false,
            (Selection::Filter(filter), Some(container)) => filter.selected(container),
            (Selection::Named(selector), Some(container)) => !container.is_nameless() && selector.matches(container),
            (Selection::Selector(selector), Some(container)) => selector.matches(container),
        }
    }
}

struct Held {
    namespace: Arc<Namespace>,
    record: Box<[u8]>,
}

/// See the module documentation.
pub(super) struct ContainerGate {
    collection: Arc<Collection>,
    /// Where it is decided what namespaces are, if not in that one.
    decided_in: Arc<Collection>,
    selection: Selection,
    cache: LookupCache,
    /// Byte offset and size of the mount namespace id in a record.
    mntns: (usize, usize),
    /// Byte offset of the boot-time timestamp in a record.
    timestamp: Option<usize>,
    /// The verdict about the container of the last record, which most records share.
    last: Option<(Arc<Container>, bool)>,
    held: VecDeque<Held>,
    held_bytes: usize,
    lost: u64,
    /// Keeps the collection's weak reference to it alive.
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl ContainerGate {
    /// A gate that asks `collection`, which knows more as soon as decisions were made in `decided_in`.
    pub(super) fn new(
        collection: Arc<Collection>,
        decided_in: Arc<Collection>,
        selection: Selection,
        mntns: (usize, usize),
        timestamp: Option<usize>,
    ) -> Self {
        Self {
            collection,
            decided_in,
            selection,
            cache: LookupCache::default(),
            mntns,
            timestamp,
            last: None,
            held: VecDeque::new(),
            held_bytes: 0,
            lost: 0,
            wake: None,
        }
    }

    fn hold(&mut self, namespace: Arc<Namespace>, record: &[u8]) {
        self.held_bytes += record.len();
        self.held.push_back(Held {
            namespace,
            record: record.into(),
        });
        while self.held_bytes > MAX_HELD_BYTES {
            let Some(oldest) = self.held.pop_front() else { break };
            self.held_bytes -= oldest.record.len();
            self.lost += 1;
        }
    }
}

impl Gate for ContainerGate {
    #[inline]
    fn admit(&mut self, record: &[u8]) -> Verdict {
        let mntns = read(record, self.mntns.0, self.mntns.1);
        let at = self.timestamp.map_or(0, |offset| read(record, offset, 8));
        let selected = match self.cache.lookup(&self.collection, mntns, at) {
            Lookup::Container(container) => match &self.last {
                Some((last, selected)) if Arc::ptr_eq(last, container) => *selected,
                _ => {
                    let selected = self.selection.selects(Some(container));
                    self.last = Some((Arc::clone(container), selected));
                    selected
                }
            },
            Lookup::NotContainer | Lookup::Unknown => self.selection.selects(None),
            Lookup::Undecided(namespace) => {
                let namespace = Arc::clone(namespace);
                self.hold(namespace, record);
                return Verdict::Held;
            }
        };
        if selected { Verdict::Pass } else { Verdict::Drop }
    }

    #[inline]
    fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    fn release(&mut self, last: bool, emit: &mut dyn FnMut(&[u8])) {
        let mut waiting = VecDeque::new();
        for held in self.held.drain(..) {
            let container = match held.namespace.decision() {
                Some(Decision::Container(container)) => Some(container),
                Some(Decision::NotContainer) => None,
                None if last => None,
                None => {
                    waiting.push_back(held);
                    continue;
                }
            };
            self.held_bytes -= held.record.len();
            if self.selection.selects(container.as_deref()) {
                emit(&held.record);
            }
        }
        self.held = waiting;
    }

    fn lost(&self) -> u64 {
        self.lost
    }

    fn on_change(&mut self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.decided_in.on_decision(&wake);
        self.wake = Some(wake);
    }
}

/// The little integer of `size` bytes (4 or 8) at `offset`; 0 if it is not there.
#[inline]
fn read(record: &[u8], offset: usize, size: usize) -> u64 {
    match record.get(offset..offset + size) {
        Some(&[a, b, c, d, e, f, g, h]) => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        Some(&[a, b, c, d]) => u64::from(u32::from_ne_bytes([a, b, c, d])),
        _ => 0,
    }
}
