//! Replicas: a collection that takes over what another one knows, at moments of its readers' choice.
//!
//! The collection of a host changes whenever something happens to a container, also between the moment at which a gate decides about an event and
//! the one at which the event gets the names of its container. A run that is recorded looks at a replica instead, which changes between events
//! only, and writes down what it takes over: so changes and events stand in the recording in the order in which they counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use super::collection::{Collection, lock};
use super::journal::{Change, JournalFn, News};
use crate::data::Knowledge;

/// See the module documentation.
pub struct Replica {
    original: Arc<Collection>,
    copy: Arc<Collection>,
    news: Arc<Mutex<News>>,
    write: Mutex<Option<JournalFn>>,
    /// Readers of events hold it while they need the copy to stay as it is.
    still: RwLock<()>,
    /// The original's generation when it was looked at last.
    seen: AtomicU64,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("original", &self.original)
            .finish_non_exhaustive()
    }
}

impl Replica {
    /// A replica of `original` that knows nothing before it is [held](Knowledge::hold) for the first time. Takes the place of the original's
    /// [journal](Collection::journal).
    pub fn of(original: &Arc<Collection>) -> Arc<Self> {
        let news = Arc::new(Mutex::new(News::default()));
        original.journal({
            let news = Arc::clone(&news);
            move |change| lock(&news).add(change)
        });
        Arc::new(Self {
            original: Arc::clone(original),
            copy: Collection::replayed(original.host()),
            news,
            write: Mutex::new(None),
            still: RwLock::new(()),
            seen: AtomicU64::new(0),
        })
    }

    /// The collection to ask.
    pub fn copy(&self) -> &Arc<Collection> {
        &self.copy
    }

    /// Calls `write` with every change before it is taken over.
    pub fn write_to(&self, write: impl FnMut(Change) + Send + 'static) {
        *lock(&self.write) = Some(Box::new(write));
    }

    /// Takes over nothing more.
    pub fn end(&self) {
        self.original.end_journal();
        *lock(&self.write) = None;
    }

    fn take_over(&self) {
        let _alone = self.still.write().unwrap_or_else(PoisonError::into_inner);
        // What comes later is seen by the next look at the generation.
        self.seen.store(self.original.generation(), Ordering::Release);
        let news = lock(&self.news).take();
        let mut write = lock(&self.write);
        for change in news {
            if let Some(write) = write.as_mut() {
                write(change.clone());
            }
            self.copy.replay(change);
        }
    }
}

impl Knowledge for Replica {
    fn hold(&self) -> RwLockReadGuard<'_, ()> {
        if self.original.generation() != self.seen.load(Ordering::Acquire) {
            self.take_over();
        }
        self.still.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::journal::Known;
    use crate::containers::{HostNamespaces, Lookup};

    fn is_undecided(collection: &Collection, mntns: u64) -> bool {
        matches!(collection.lookup(mntns, 0), Lookup::Undecided(_))
    }

    fn is_foreign(collection: &Collection, mntns: u64) -> bool {
        matches!(collection.lookup(mntns, 0), Lookup::NotContainer)
    }

    #[test]
    fn what_is_known_changes_when_it_is_held_and_is_written_down_before() {
        let original = Collection::replayed(HostNamespaces { mnt: 1, net: 2 });
        original.replay(Change::of_life(1, 10, Known::Undecided));
        let replica = Replica::of(&original);
        let written = Arc::new(Mutex::new(Vec::new()));
        replica.write_to({
            let (written, copy) = (Arc::clone(&written), Arc::downgrade(replica.copy()));
            move |change| {
                let before = copy.upgrade().map(|copy| is_undecided(&copy, 10));
                lock(&written).push((before, change));
            }
        });
        assert!(!is_undecided(replica.copy(), 10), "nobody has asked yet");
        let held = replica.hold();
        assert!(is_undecided(replica.copy(), 10));
        original.replay(Change::of_life(1, 10, Known::Foreign));
        assert!(
            is_foreign(&original, 10) && is_undecided(replica.copy(), 10),
            "it is held"
        );
        drop(held);
        assert!(is_undecided(replica.copy(), 10), "it is let go, but not held anew");
        drop(replica.hold());
        assert!(is_foreign(replica.copy(), 10));
        drop(replica.hold());
        let written = std::mem::take(&mut *lock(&written));
        let before: Vec<Option<bool>> = written.iter().map(|(before, _)| *before).collect();
        assert_eq!(before, [Some(false), Some(true)]);
        let known: Vec<&Known> = written
            .iter()
            .flat_map(|(_, change)| &change.lives)
            .map(|life| &life.is)
            .collect();
        assert_eq!(known, [&Known::Undecided, &Known::Foreign]);
    }

    #[test]
    fn nobody_takes_over_while_somebody_reads() {
        let original = Collection::replayed(HostNamespaces::default());
        let replica = Replica::of(&original);
        let reader = replica.hold();
        original.replay(Change::of_life(1, 10, Known::Foreign));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| drop(replica.hold()));
            // It may have come as far as it can by then.
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!is_foreign(replica.copy(), 10));
            drop(reader);
            other.join().unwrap();
        });
        assert!(is_foreign(replica.copy(), 10));
    }
}
