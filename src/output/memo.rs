//! Memos: text that is kept from one element to the next, as long as the fields it is made of stay the same.
//!
//! Most events of a burst are of one process in one container, so that large parts of their text repeat. Comparing bytes is much
//! cheaper than formatting them. A memo that keeps missing pauses, so that mixed events do not pay for it.

use super::plan::Position;
use crate::data::{Accessor, Element, Footprint, Saved};

/// After this many misses in a row a memo pauses…
const PATIENCE: u32 = 8;
/// …for this many elements.
const PAUSE: u32 = 256;

/// The text between two positions of a plan.
#[derive(Debug)]
pub(super) struct Memo {
    pub(super) from: Position,
    pub(super) to: Position,
    footprint: Footprint,
    saved: Saved,
    text: Vec<u8>,
    misses: u32,
    pause: u32,
}

impl Memo {
    pub(super) fn new(from: Position, to: Position, accessors: &[Accessor]) -> Self {
        Self {
            from,
            to,
            footprint: Footprint::of(accessors),
            saved: Saved::default(),
            text: Vec::new(),
            misses: 0,
            pause: 0,
        }
    }

    /// Appends the text for `element`: the kept one if it still holds, else what `write` makes of it.
    #[inline]
    pub(super) fn append(&mut self, element: &Element, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.pause > 0 {
            self.pause -= 1;
            return write(out);
        }
        if self.footprint.matches(element, &self.saved) {
            self.misses = 0;
            out.extend_from_slice(&self.text);
            return;
        }
        self.misses += 1;
        if self.misses > PATIENCE {
            self.misses = 0;
            self.pause = PAUSE;
        }
        let start = out.len();
        write(out);
        self.footprint.save(element, &mut self.saved);
        self.text.clear();
        self.text.extend_from_slice(&out[start..]);
    }
}
