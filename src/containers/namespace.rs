//! One life of a mount namespace, and what was decided about it.

use std::sync::{Arc, RwLock};

use super::{Collection, Container};

/// One life of a mount namespace.
///
/// The kernel hands the inode number of a namespace that ended to the next one at once, so a number alone does not
/// identify a container: an event that waits for a decision keeps the `Namespace` it happened in.
#[derive(Debug)]
pub struct Namespace {
    mntns: u64,
    created_at: u64,
    decision: RwLock<Option<Decision>>,
}

/// What a mount namespace turned out to be.
#[derive(Clone, Debug)]
pub enum Decision {
    /// That of a container. A later look may give a newer value, when more became known about the container.
    Container(Arc<Container>),
    /// No container's.
    NotContainer,
}

/// What is known about the mount namespace of an event.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It is a container's.
    Container(Arc<Container>),
    /// It is not a container's: the host's own, a service's, …
    NotContainer,
    /// It is new, and what it is will be known shortly: ask the [`Namespace`] again after the next decision.
    Undecided(Arc<Namespace>),
    /// Nothing is known about it: it is older than the collection, and no container's as far as the runtimes told.
    Unknown,
}

impl Namespace {
    pub(super) fn new(mntns: u64, created_at: u64, decision: Option<Decision>) -> Arc<Self> {
        Arc::new(Self {
            mntns,
            created_at,
            decision: RwLock::new(decision),
        })
    }

    /// Inode number of the namespace.
    pub fn mntns(&self) -> u64 {
        self.mntns
    }

    /// When it was created, in nanoseconds since boot; 0 when that was before the collection was started.
    pub fn created_at(&self) -> u64 {
        self.created_at
    }

    /// What it turned out to be; none as long as that is not known.
    pub fn decision(&self) -> Option<Decision> {
        // A panic while holding the lock cannot leave half a value.
        self.decision
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    pub(super) fn decide(&self, decision: Decision) {
        *self.decision.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(decision);
    }

    /// The container, if it is one's.
    pub fn container(&self) -> Option<Arc<Container>> {
        match self.decision()? {
            Decision::Container(container) => Some(container),
            Decision::NotContainer => None,
        }
    }

    pub(super) fn lookup(self: &Arc<Self>) -> Lookup {
        match self.decision() {
            Some(Decision::Container(container)) => Lookup::Container(container),
            Some(Decision::NotContainer) => Lookup::NotContainer,
            None => Lookup::Undecided(self.clone()),
        }
    }
}

/// Remembers the answers of [`Collection::lookup`] for one reader of events.
///
/// An answer that is remembered costs a few nanoseconds. It holds until anything changes in the collection, and only for
/// events that are not older than the namespace it is about.
#[derive(Debug)]
pub struct LookupCache {
    generation: u64,
    slots: [Option<Slot>; Self::SLOTS],
}

#[derive(Clone, Debug)]
struct Slot {
    mntns: u64,
    /// The answer holds for events from then on; none: for one event only.
    valid_from: Option<u64>,
    answer: Lookup,
}

impl Default for LookupCache {
    fn default() -> Self {
        Self {
            generation: 0,
            slots: [const { None }; Self::SLOTS],
        }
    }
}

impl LookupCache {
    const SLOTS: usize = 64;

    /// What `collection` knows about the mount namespace `mntns` of an event that happened `at` nanoseconds after boot; 0 means now.
    pub fn lookup(&mut self, collection: &Collection, mntns: u64, at: u64) -> &Lookup {
        let generation = collection.generation();
        if generation != self.generation {
            self.slots = [const { None }; Self::SLOTS];
            self.generation = generation;
        }
        // Inode numbers of namespaces are handed out in sequence, so their low bits spread well.
        let slot = &mut self.slots[mntns as usize % Self::SLOTS];
        let hit = slot
            .as_ref()
            .is_some_and(|slot| slot.mntns == mntns && slot.valid_from.is_some_and(|from| at == 0 || at >= from));
        if !hit {
            let (answer, current_since) = collection.lookup_since(mntns, at);
            *slot = Some(Slot {
                mntns,
                valid_from: current_since,
                answer,
            });
        }
        slot.as_ref().map_or(&Lookup::Unknown, |slot| &slot.answer)
    }
}
