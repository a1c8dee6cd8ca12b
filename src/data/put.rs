//! What an element knows of the [values](super::Values) that were put into it, so that comparing two elements need not look at each of
//! them.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// What was put into an element last, as long as it is still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Put {
    /// Tells these values from all others; 0 is none.
    id: u32,
    /// The slots that hold them.
    first: u32,
    end: u32,
}

impl Put {
    /// Values for these slots, unlike all others that there ever were.
    pub(super) fn new(slots: Range<u32>) -> Self {
        static IDS: AtomicU32 = AtomicU32::new(1);
        // When they have all been used, elements are compared value by value.
        let next = IDS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |id| id.checked_add(1));
        Self {
            id: next.unwrap_or(0),
            first: slots.start,
            end: slots.end,
        }
    }

    /// What tells the values from others; 0 if there are none.
    #[inline]
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Whether a slot holds one of them.
    #[inline]
    pub(super) fn has(&self, slot: u32) -> bool {
        self.id != 0 && (self.first..self.end).contains(&slot)
    }

    /// A slot gets another value.
    #[inline]
    pub(super) fn overwrite(&mut self, slot: u32) {
        if (self.first..self.end).contains(&slot) {
            self.id = 0;
        }
    }
}
