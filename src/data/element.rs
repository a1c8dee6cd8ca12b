//! Elements: the values of one event.
//!
//! An element is one buffer, reused from event to event so that the steady state allocates nothing. Its front is the *fixed
//! part* (static structs as the kernel wrote them, then added values of fixed size), at offsets known before the first event.
//! Values of variable length follow, in the order in which they were written; slots say where.

use std::ops::Range;

use super::put::Put;
use super::word::{WORD, Word};

/// Where the parts of a data source's elements are.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    fixed: u32,
    /// Size of the structs that a record fills: what the fixed part begins with.
    front: u32,
    slots: u32,
}

impl Layout {
    /// Reserves `size` bytes of the fixed part and returns their offset.
    pub(super) fn add_fixed(&mut self, size: u32) -> u32 {
        let offset = self.fixed;
        self.fixed += size;
        offset
    }

    /// Reserves `size` bytes of the fixed part for a struct of records and returns their offset.
    pub(super) fn add_struct(&mut self, size: u32) -> u32 {
        let offset = self.add_fixed(size);
        // After an added field, the struct is not the record's to fill.
        if offset == self.front {
            self.front += size;
        }
        offset
    }

    pub(super) fn add_slot(&mut self) -> u32 {
        self.slots += 1;
        self.slots - 1
    }

    /// Size in bytes of the fixed part.
    pub fn fixed_len(&self) -> usize {
        self.fixed as usize
    }
}

/// A handle on one whole static struct of a data source, with which a producer fills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container {
    pub(super) offset: u32,
    pub(super) size: u32,
}

impl Container {
    /// Size of the struct in bytes.
    pub fn size(&self) -> usize {
        self.size as usize
    }
}

/// Where in an element a value of variable length is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Span {
    /// Both as one number, the start in its lower half.
    #[inline]
    pub(super) fn packed(self) -> u64 {
        u64::from(self.len) << 32 | u64::from(self.start)
    }
}

/// The values of one event. See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct Element {
    bytes: Vec<u8>,
    slots: Vec<Span>,
    /// As the layout has them.
    fixed: u32,
    front: u32,
    /// From here on the front is zero: what is often much larger than a record need not be zeroed for each.
    written: u32,
    put: Put,
}

impl Element {
    /// An element with every value zero or empty.
    pub fn new(layout: &Layout) -> Self {
        let mut element = Self::default();
        element.reset(layout, &[]);
        element
    }

    /// Makes this the element of a new event whose static structs hold `record`: a short record is padded with zeroes, what
    /// exceeds the structs is left out. All other values are zero or empty afterwards.
    #[inline]
    pub fn reset(&mut self, layout: &Layout, record: &[u8]) {
        self.fit(layout);
        let (front, added) = self.bytes.split_at_mut(self.front as usize);
        let len = record.len().min(front.len());
        front[..len].copy_from_slice(&record[..len]);
        if let Some(old) = front.get_mut(len..self.written as usize) {
            old.fill(0);
        }
        self.written = len as u32;
        added.fill(0);
        self.slots.clear();
        self.slots.resize(layout.slots as usize, Span::default());
        self.put = Put::default();
    }

    /// Makes room for a new event.
    #[inline]
    fn fit(&mut self, layout: &Layout) {
        // In whole words, so that all of it can be read by words.
        let len = layout.fixed_len().next_multiple_of(WORD);
        if (self.fixed, self.front) == (layout.fixed, layout.front) {
            self.bytes.truncate(len);
        } else {
            (self.fixed, self.front, self.written) = (layout.fixed, layout.front, 0);
            self.bytes.clear();
            self.bytes.resize(len, 0);
        }
    }

    /// Shows the first `needed` bytes of `record`, padded with zeroes. Everything else is what it was: only a [`reset`](Self::reset) makes
    /// this the element of an event.
    #[inline]
    pub(super) fn preview(&mut self, layout: &Layout, record: &[u8], needed: usize) {
        self.fit(layout);
        let front = &mut self.bytes[..self.front as usize];
        let needed = needed.min(front.len());
        let len = record.len().min(needed);
        front[..len].copy_from_slice(&record[..len]);
        front[len..needed].fill(0);
        self.written = self.written.max(needed as u32);
    }

    /// Fills a static struct: a short record is padded with zeroes, a long one is cut.
    pub fn set_container(&mut self, container: Container, record: &[u8]) {
        let target = self.fixed_mut(container.offset, container.size);
        let len = record.len().min(target.len());
        target[..len].copy_from_slice(&record[..len]);
        target[len..].fill(0);
    }

    pub(super) fn fixed(&self, offset: u32, len: u32) -> &[u8] {
        &self.bytes[offset as usize..(offset + len) as usize]
    }

    #[inline]
    pub(super) fn fixed_mut(&mut self, offset: u32, len: u32) -> &mut [u8] {
        if offset < self.front {
            self.written = self.written.max((offset + len).min(self.front));
        }
        &mut self.bytes[offset as usize..(offset + len) as usize]
    }

    /// A part of the fixed part, if this element has it.
    #[inline]
    pub(super) fn get_fixed(&self, offset: u32, len: u32) -> Option<&[u8]> {
        self.bytes.get(self.fixed_range(offset, len)?)
    }

    /// See [`get_fixed`](Self::get_fixed).
    #[inline]
    pub(super) fn get_fixed_mut(&mut self, offset: u32, len: u32) -> Option<&mut [u8]> {
        self.fixed_range(offset, len)?;
        Some(self.fixed_mut(offset, len))
    }

    #[inline]
    fn fixed_range(&self, offset: u32, len: u32) -> Option<std::ops::Range<usize>> {
        let start = offset as usize;
        let end = start.checked_add(len as usize)?;
        (end <= self.fixed as usize).then_some(start..end)
    }

    /// The value of a slot, if this element has it.
    #[inline]
    pub(super) fn get_slot(&self, slot: u32) -> Option<&[u8]> {
        self.slots.get(slot as usize).map(|_| self.slot(slot))
    }

    /// The bytes of a slot that this element has, for a new value of `len` bytes: in the place of the old value if that is long
    /// enough, else at the end. `None` when the element would become larger than `limit` bytes.
    pub(super) fn slot_for(&mut self, slot: u32, len: usize, limit: usize) -> Option<&mut [u8]> {
        let span = self.slots.get_mut(slot as usize)?;
        self.put.overwrite(slot);
        let mut start = span.start as usize;
        if len > span.len as usize {
            start = self.bytes.len();
            let end = start.checked_add(len).filter(|end| *end <= limit)?;
            self.bytes.resize(end, 0);
        }
        *span = Span {
            start: start as u32,
            len: len as u32,
        };
        self.bytes.get_mut(start..start + len)
    }

    pub(super) fn slot(&self, slot: u32) -> &[u8] {
        let span = self.span(slot);
        &self.bytes[span.start as usize..(span.start + span.len) as usize]
    }

    #[inline]
    pub(super) fn span(&self, slot: u32) -> Span {
        self.slots[slot as usize]
    }

    /// Where the values of some slots are.
    #[inline]
    pub(super) fn spans(&self, slots: Range<u32>) -> &[Span] {
        &self.slots[slots.start as usize..slots.end as usize]
    }

    /// `N` bytes of the fixed part, if this element has them.
    #[inline]
    pub(super) fn at<const N: usize>(&self, offset: u32) -> Option<&[u8; N]> {
        self.get_fixed(offset, N as u32)?.first_chunk()
    }

    /// The element by words. What does not fill one at its end is left out, but never anything of the fixed part.
    #[inline]
    pub(super) fn words(&self) -> &[[u8; WORD]] {
        self.bytes.as_chunks().0
    }

    /// Writes values into words of the fixed part.
    #[inline]
    pub(super) fn write_words(&mut self, values: &[(Word, u64)]) {
        let words = self.bytes.as_chunks_mut().0;
        for (word, value) in values {
            word.write(*value, words);
            let start = word.index * WORD as u32;
            if start < self.front {
                self.written = self.written.max((start + WORD as u32).min(self.front));
            }
        }
    }

    /// The bytes from a place on.
    #[inline]
    pub(super) fn from(&self, start: u32) -> &[u8] {
        &self.bytes[start as usize..]
    }

    /// See [`at`](Self::at).
    #[inline]
    pub(super) fn at_mut<const N: usize>(&mut self, offset: u32) -> Option<&mut [u8; N]> {
        self.get_fixed_mut(offset, N as u32)?.first_chunk_mut()
    }

    /// The bytes between two places that spans said.
    #[inline]
    pub(super) fn between(&self, start: u32, end: u32) -> &[u8] {
        &self.bytes[start as usize..end as usize]
    }

    /// Lets `write` append the value of a slot; what the slot held before is forgotten.
    pub(super) fn write_slot(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.put.overwrite(slot);
        debug_assert!(self.bytes.len() >= start, "a writer may only append");
        self.slots[slot as usize] = Span {
            start: start as u32,
            len: self.bytes.len().saturating_sub(start) as u32,
        };
    }

    /// Appends the values of many slots with one copy; `spans` says which part of `bytes` is whose, for runs of slots from a first one on.
    /// From then on they are known as `put`.
    pub(super) fn write_slots(&mut self, bytes: &[u8], spans: &[(u32, Vec<Span>)], put: Put) {
        let base = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        for (first, spans) in spans {
            for (slot, span) in self.slots[*first as usize..].iter_mut().zip(spans) {
                *slot = Span {
                    start: base + span.start,
                    len: span.len,
                };
            }
        }
        self.put = put;
    }

    /// Values are going to be put into it: it is to be known already whose they are.
    #[inline]
    pub(super) fn announce(&mut self, put: Put) {
        self.put = put;
    }

    /// The values that were put into it and are still there.
    #[inline]
    pub(super) fn put(&self) -> &Put {
        &self.put
    }

    /// A copy for a data source of layout `to`, which has the fields of this one's (of layout `from`) at the same places and maybe
    /// others after them; those are zero or empty.
    pub fn copied(&self, from: &Layout, to: &Layout) -> Self {
        let mut copy = Self::default();
        copy.reset(to, &[]);
        let shared = from.fixed_len().min(self.bytes.len()).min(copy.bytes.len());
        copy.bytes[..shared].copy_from_slice(&self.bytes[..shared]);
        copy.written = copy.front;
        for slot in 0..self.slots.len().min(copy.slots.len()) as u32 {
            let value = self.slot(slot);
            if !value.is_empty() {
                copy.write_slot(slot, |buffer| buffer.extend_from_slice(value));
            }
        }
        copy
    }

    /// Bytes of memory that the element keeps.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSource, NewField, Scalar, SourceType};

    #[test]
    fn nothing_of_an_event_is_left_in_the_next() {
        let mut source = DataSource::new("large", SourceType::Single, None);
        let container = source.add_static_fields(64, &[]).unwrap();
        let added = source.add_field(NewField::new("added", Scalar::Uint32)).unwrap();
        let text = source.add_field(NewField::new("text", Scalar::String)).unwrap();
        let (added, text) = (source.accessor(added), source.accessor(text));
        let layout = source.layout();
        let mut element = Element::new(layout);
        let mut reused = |change: &dyn Fn(&mut Element), record: &[u8]| {
            change(&mut element);
            element.reset(layout, record);
            assert_eq!(element.bytes, Element::with_record(layout, record).bytes);
            assert_eq!((added.bits(&element), text.bytes(&element)), (0, &b""[..]));
        };
        reused(&|_| {}, &[1; 64]);
        reused(&|_| {}, &[2; 10]);
        reused(&|element| element.fixed_mut(40, 8).fill(3), &[4; 5]);
        reused(&|element| added.set_bits(element, 5), &[]);
        reused(&|element| text.set(element, b"text").unwrap(), &[6; 64]);
        reused(&|element| element.set_container(container, &[7; 64]), &[8; 1]);
        reused(&|element| element.preview(layout, &[8; 40], 20), &[9; 10]);
        reused(&|element| element.preview(layout, &[8; 10], 99), &[]);
        // A record does not reach the fields that operators add.
        reused(&|_| {}, &[9; 100]);
    }

    impl Element {
        fn with_record(layout: &Layout, record: &[u8]) -> Self {
            let mut element = Self::default();
            element.reset(layout, record);
            element
        }
    }

    #[test]
    fn copies_have_what_operators_added() {
        let mut source = DataSource::new("batch", SourceType::Array, None);
        source.add_static_fields(8, &[]).unwrap();
        let added = source.add_field(NewField::new("added", Scalar::Uint32)).unwrap();
        let added = source.accessor(added);
        let from = source.layout().clone();
        let mut element = Element::with_record(&from, &[1; 8]);
        added.set_bits(&mut element, 7);
        source.add_field(NewField::new("more", Scalar::Uint64)).unwrap();
        let mut copy = element.copied(&from, source.layout());
        assert_eq!((added.bits(&copy), copy.fixed(0, 8)), (7, &[1; 8][..]));
        copy.reset(source.layout(), &[]);
        assert_eq!(copy.bytes, [0; 24], "20 bytes, in whole words");
    }
}
