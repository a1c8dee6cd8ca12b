//! Footprints: the bytes that some fields of an element occupy, to tell whether they are the same as in an earlier element.

use std::ops::Range;

use super::accessor::{Accessor, until_nul};
use super::element::{Element, Span, WORD};
use super::field::Place;
use super::kind::{Kind, Scalar};

/// Where some fields are.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    fixed: Vec<Part>,
    /// Runs of slots with numbers that follow each other.
    slots: Vec<Range<u32>>,
}

/// A part of the fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    offset: u32,
    len: u32,
    /// Whether only what is before the first NUL counts: texts have room for much more than they mostly are.
    until_nul: bool,
}

impl Part {
    /// How much of it counts in `element`, with the NUL.
    fn len_in(self, element: &Element) -> u32 {
        if !self.until_nul {
            return self.len;
        }
        let text = until_nul(element.fixed(self.offset, self.len));
        self.len.min(text.len() as u32 + 1)
    }
}

/// One of the words that an element consists of, and which bits of it count.
#[derive(Clone, Copy, Debug)]
struct Word {
    index: u32,
    mask: u64,
}

impl Word {
    /// The words that cover `len` bytes from `offset` on.
    fn covering(offset: u32, len: u32) -> impl Iterator<Item = Self> {
        let (begin, end) = (offset as usize, (offset + len) as usize);
        (begin / WORD..end.div_ceil(WORD)).map(move |index| {
            let start = index * WORD;
            let mut mask = [0; WORD];
            mask[begin.saturating_sub(start)..(end - start).min(WORD)].fill(0xff);
            Self {
                index: index as u32,
                mask: u64::from_ne_bytes(mask),
            }
        })
    }

    /// What counts of the word; `None` if an element is too short for it.
    #[inline]
    fn read(self, words: &[[u8; WORD]]) -> Option<u64> {
        let word = words.get(self.index as usize)?;
        Some(u64::from_ne_bytes(*word) & self.mask)
    }
}

impl Footprint {
    /// The footprint of these fields.
    pub fn of(accessors: &[Accessor]) -> Self {
        let mut footprint = Self::default();
        let mut slots = Vec::new();
        for accessor in accessors {
            match accessor.place {
                Place::Fixed { offset, len } | Place::Bits { offset, len, .. } => footprint.fixed.push(Part {
                    offset,
                    len,
                    until_nul: accessor.kind == Kind::One(Scalar::CString),
                }),
                Place::Slot(slot) => slots.push(slot),
                Place::Nowhere => {}
            }
        }
        // The order in which most are written.
        slots.sort_unstable();
        for slot in slots {
            match footprint.slots.last_mut() {
                Some(run) if run.contains(&slot) => {}
                Some(run) if run.end == slot => run.end += 1,
                _ => footprint.slots.push(slot..slot + 1),
            }
        }
        // Neighbours share words.
        footprint.fixed.sort_unstable();
        footprint.fixed.dedup_by(|next, last| {
            let adjacent = next.offset <= last.offset + last.len && !next.until_nul && !last.until_nul;
            if adjacent {
                last.len = last.len.max(next.offset + next.len - last.offset);
            }
            adjacent
        });
        footprint
    }

    /// Replaces `saved` by what is there in `element`.
    pub fn save(&self, element: &Element, saved: &mut Saved) {
        saved.clear();
        let words = element.words();
        for part in &self.fixed {
            let len = part.len_in(element);
            if len >= LONG {
                saved.long.push((part.offset, len));
                saved.bytes.extend_from_slice(element.fixed(part.offset, len));
                continue;
            }
            for word in Word::covering(part.offset, len) {
                saved.words.push((word, word.read(words).unwrap_or_default()));
            }
        }
        let put = element.put();
        for slot in self.slots.iter().cloned().flatten() {
            match put.has(slot) {
                true => saved.put = put.id(),
                false => saved.add_slot(slot, element),
            }
        }
        saved.is_something = true;
    }

    /// Whether `element` has there what was saved. Values of variable length that lie elsewhere relative to each other may count as others.
    #[inline]
    pub fn matches(&self, element: &Element, saved: &Saved) -> bool {
        if !saved.is_something || (saved.put != 0 && saved.put != element.put().id()) {
            return false;
        }
        let words = element.words();
        // Compared all at once: as a rule they are the same.
        let mut different = 0;
        for (word, saved) in &saved.words {
            let Some(found) = word.read(words) else { return false };
            different |= found ^ saved;
        }
        different == 0 && saved.rest_matches(element)
    }
}

/// Tells elements apart by the values of some fields, mostly: a number that is made of a few of them.
#[derive(Clone, Debug, Default)]
pub struct Fingerprint {
    words: Vec<Word>,
    slots: Vec<u32>,
}

impl Fingerprint {
    /// How many words, and how many slots, are looked at at most.
    const PARTS: usize = 8;

    /// Made of the values of these fields, of each only the beginning.
    pub fn of<'a>(accessors: impl IntoIterator<Item = &'a Accessor>) -> Self {
        let mut fingerprint = Self::default();
        for accessor in accessors {
            match accessor.place {
                Place::Fixed { offset, len } | Place::Bits { offset, len, .. } => {
                    fingerprint.words.extend(Word::covering(offset, len.min(WORD as u32)));
                }
                Place::Slot(slot) => fingerprint.slots.push(slot),
                Place::Nowhere => {}
            }
        }
        fingerprint.words.truncate(Self::PARTS);
        // Most texts are made of numbers.
        let slots = if fingerprint.words.is_empty() { Self::PARTS } else { 0 };
        fingerprint.slots.truncate(slots);
        fingerprint
    }

    /// The number of `element`. Its highest bits are the best.
    #[inline]
    pub fn take(&self, element: &Element) -> u64 {
        // Each with a factor of its own, so that none waits for another.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let (mut number, mut factor) = (0u64, STEP);
        let mut add = |value: u64| {
            number = number.wrapping_add(value.wrapping_mul(factor));
            factor = factor.wrapping_add(STEP << 1);
        };
        let words = element.words();
        for word in &self.words {
            add(word.read(words).unwrap_or_default());
        }
        for slot in &self.slots {
            let bytes = element.slot(*slot);
            // Names of containers and pods differ in their ends.
            let end = bytes.last_chunk().map_or(0, |end| u64::from_ne_bytes(*end));
            add(end ^ bytes.len() as u64);
        }
        number
    }
}

/// Parts of this many bytes are not compared by words.
const LONG: u32 = 64;

/// What a footprint has saved of an element.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    words: Vec<(Word, u64)>,
    /// Offset and length of long parts, of which the bytes come first in `bytes`.
    long: Vec<(u32, u32)>,
    blocks: Vec<Block>,
    spans: Vec<SavedSpan>,
    bytes: Vec<u8>,
    /// What stands for the values of all other slots; 0 where there are none.
    put: u32,
    is_something: bool,
}

/// Where the value of a slot was, counted from the beginning of its block.
#[derive(Clone, Copy, Debug)]
struct SavedSpan {
    packed: u64,
    /// What counts of a span: only its length if the value is empty, which may be anywhere then.
    counts: u64,
}

impl SavedSpan {
    fn new(start: u32, len: u32) -> Self {
        let counts = match len {
            0 => u64::MAX << 32,
            _ => u64::MAX,
        };
        Self {
            packed: Span { start, len }.packed() & counts,
            counts,
        }
    }

    /// 0 if `found` is the same in a block that begins at `begin`.
    #[inline]
    fn difference(self, found: Span, begin: u32) -> u64 {
        (found.packed() ^ self.packed.wrapping_add(begin.into())) & self.counts
    }
}

/// Slots whose values lie side by side.
#[derive(Clone, Debug)]
struct Block {
    slots: Range<u32>,
    /// The slot with which the block begins, if not all are empty.
    begin: u32,
    /// Bytes of the block.
    len: u32,
}

impl Saved {
    fn clear(&mut self) {
        self.words.clear();
        self.long.clear();
        self.blocks.clear();
        self.spans.clear();
        self.bytes.clear();
        self.put = 0;
    }

    /// Adds the value of a slot, after those of all slots before.
    fn add_slot(&mut self, slot: u32, element: &Element) {
        let Span { start, len } = element.span(slot);
        let follows = self.blocks.last_mut().filter(|block| {
            block.slots.end == slot
                && (len == 0 || block.len == 0 || element.span(block.begin).start + block.len == start)
        });
        let relative = match follows {
            Some(block) => {
                if block.len == 0 {
                    block.begin = slot;
                }
                let relative = block.len;
                block.slots.end += 1;
                block.len += len;
                relative
            }
            None => {
                self.blocks.push(Block {
                    slots: slot..slot + 1,
                    begin: slot,
                    len,
                });
                0
            }
        };
        self.spans.push(SavedSpan::new(relative, len));
        self.bytes.extend_from_slice(element.slot(slot));
    }

    #[inline]
    fn rest_matches(&self, element: &Element) -> bool {
        let mut bytes = self.bytes.as_slice();
        let mut is_next = |found: &[u8]| match bytes.split_at_checked(found.len()) {
            Some((expected, others)) => {
                bytes = others;
                expected == found
            }
            None => false,
        };
        for (offset, len) in &self.long {
            if !is_next(element.fixed(*offset, *len)) {
                return false;
            }
        }
        let mut spans = self.spans.as_slice();
        for block in &self.blocks {
            let found = element.spans(block.slots.clone());
            let Some((expected, others)) = spans.split_at_checked(found.len()) else {
                return false;
            };
            spans = others;
            let begin = element.span(block.begin).start;
            let different = found.iter().zip(expected).fold(0, |different, (found, expected)| {
                different | expected.difference(*found, begin)
            });
            if different != 0 || !is_next(element.between(begin, begin + block.len)) {
                return false;
            }
        }
        true
    }
}
