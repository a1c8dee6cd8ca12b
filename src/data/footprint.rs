//! Footprints: the bytes that some fields of an element occupy, to tell whether they are the same as in an earlier element.

use std::ops::Range;

use super::accessor::{Accessor, until_nul};
use super::element::{Element, Span};
use super::field::Place;
use super::kind::{Kind, Scalar};
use super::word::{WORD, Word};

/// Where some fields are.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    /// Those of fixed size that are short. Neighbours share words.
    words: Vec<Word>,
    /// The others of fixed size.
    parts: Vec<Part>,
    /// Runs of slots with numbers that follow each other.
    slots: Vec<Range<u32>>,
    /// What tells elements apart, mostly: words, or slots if there are none.
    telling: (Vec<Word>, Vec<u32>),
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

    /// Makes it one with the next one, if they are neighbours.
    fn takes_in(&mut self, next: Self) -> bool {
        let is_neighbour = next.offset <= self.offset + self.len && !next.until_nul && !self.until_nul;
        if is_neighbour {
            self.len = self.len.max(next.offset + next.len - self.offset);
        }
        is_neighbour
    }

    /// Whether it is cheaper to look at all of it. What follows a NUL is nearly always zero.
    fn is_short(self) -> bool {
        self.len <= if self.until_nul { SHORT_TEXT } else { SHORT }
    }
}

impl Footprint {
    /// How many words or slots tell elements apart at most.
    const TELLING: usize = 8;

    /// The footprint of the fields that `accessors` access. `varying` are those of them that are known to change.
    pub fn of(accessors: &[Accessor], varying: &[Accessor]) -> Self {
        let mut footprint = Self::default();
        let (mut parts, mut slots) = (Vec::new(), Vec::new());
        for accessor in accessors {
            match accessor.place {
                Place::Fixed { offset, len } | Place::Bits { offset, len, .. } => parts.push(Part {
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
        parts.sort_unstable();
        parts.dedup_by(|next, last| next == last || last.takes_in(*next));
        for part in parts {
            if !part.is_short() {
                footprint.parts.push(part);
                continue;
            }
            Word::add_covering(part.offset, part.len, &mut footprint.words);
        }
        let (words, slots) = &mut footprint.telling;
        for accessor in varying {
            match accessor.place {
                // Of a text only the beginning.
                Place::Fixed { offset, len } | Place::Bits { offset, len, .. } => {
                    Word::add_covering(offset, len.min(WORD as u32), words);
                }
                Place::Slot(slot) => slots.push(slot),
                Place::Nowhere => {}
            }
        }
        words.truncate(Self::TELLING);
        // Most texts are made of numbers.
        slots.truncate(if words.is_empty() { Self::TELLING } else { 0 });
        footprint
    }

    /// A number that tells elements apart, mostly. Its highest bits are the best.
    #[inline]
    pub fn number(&self, element: &Element) -> u64 {
        // Each with a factor of its own, so that none waits for another.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let (mut number, mut factor) = (0u64, STEP);
        let mut add = |value: u64| {
            number = number.wrapping_add(value.wrapping_mul(factor));
            factor = factor.wrapping_add(STEP << 1);
        };
        let (words, slots) = &self.telling;
        let found = element.words();
        for word in words {
            add(word.read(found));
        }
        for slot in slots {
            let put = element.put();
            if put.has(*slot) {
                // One stands for all.
                add(put.id().into());
                break;
            }
            let bytes = element.slot(*slot);
            // Names of containers and pods differ in their ends.
            let end = bytes.last_chunk().map_or(0, |end| u64::from_ne_bytes(*end));
            add(end ^ bytes.len() as u64);
        }
        number
    }

    /// Replaces `saved` by what is there in `element`.
    pub fn save(&self, element: &Element, saved: &mut Saved) {
        saved.clear();
        let words = element.words();
        saved.words.extend(self.words.iter().map(|word| word.read(words)));
        for part in &self.parts {
            let len = part.len_in(element);
            if len > SHORT {
                saved.long.push((part.offset, len));
                saved.bytes.extend_from_slice(element.fixed(part.offset, len));
                continue;
            }
            for word in Word::covering(part.offset, len) {
                saved.texts.push((word, word.read(words)));
            }
        }
        let put = element.put();
        if !self.slots.is_empty() {
            saved.put = put.id();
        }
        for slot in self.slots.iter().cloned().flatten() {
            if !put.has(slot) {
                saved.add_slot(slot, element);
            }
        }
        saved.has_rest = !(saved.texts.is_empty() && saved.long.is_empty() && saved.blocks.is_empty());
        saved.is_something = true;
    }

    /// Whether `element` has there what was saved. Values of variable length that lie elsewhere relative to each other may count as others.
    #[inline]
    pub fn matches(&self, element: &Element, saved: &Saved) -> bool {
        // What is only announced is not to be taken for empty.
        if !saved.is_something || (!self.slots.is_empty() && saved.put != element.put().id()) {
            return false;
        }
        let words = element.words();
        // Compared all at once: as a rule they are the same.
        let pairs = self.words.iter().zip(&saved.words);
        let different = pairs.fold(0, |different, (word, saved)| different | (word.read(words) ^ saved));
        different == 0 && (!saved.has_rest || saved.rest_matches(element))
    }
}

/// Longer parts are not compared by words.
const SHORT: u32 = 64;
/// The same for texts, where most of a part does not count.
const SHORT_TEXT: u32 = 32;

/// What a footprint has saved of an element.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    words: Vec<u64>,
    /// What stands for the values of slots that have been put there; 0 where there are none, and where no slots are looked at.
    put: u32,
    /// Words of texts that have room for more.
    texts: Vec<(Word, u64)>,
    /// Offset and length of long parts, of which the bytes come first in `bytes`.
    long: Vec<(u32, u32)>,
    blocks: Vec<Block>,
    spans: Vec<SavedSpan>,
    bytes: Vec<u8>,
    is_something: bool,
    /// There is more than words and what was put there.
    has_rest: bool,
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
        self.texts.clear();
        self.put = 0;
        self.long.clear();
        self.blocks.clear();
        self.spans.clear();
        self.bytes.clear();
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

    fn rest_matches(&self, element: &Element) -> bool {
        let words = element.words();
        if self.texts.iter().any(|(word, saved)| word.read(words) != *saved) {
            return false;
        }
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
            if different != 0 || (block.len > 0 && !is_next(element.between(begin, begin + block.len))) {
                return false;
            }
        }
        true
    }
}
