//! Elements: the values of one event.
//!
//! An element is one buffer, reused from event to event so that the steady state allocates nothing. Its front is the *fixed
//! part* (static structs as the kernel wrote them, then added values of fixed size), at offsets known before the first event.
//! Values of variable length follow, in the order in which they were written; slots say where.

use super::source::Container;

/// Where the parts of a data source's elements are.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    fixed: u32,
    slots: u32,
}

impl Layout {
    /// Reserves `size` bytes of the fixed part and returns their offset.
    pub(super) fn add_fixed(&mut self, size: u32) -> u32 {
        let offset = self.fixed;
        self.fixed += size;
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

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    len: u32,
}

/// The values of one event. See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct Element {
    bytes: Vec<u8>,
    /// Length of the fixed part.
    fixed: u32,
    slots: Vec<Span>,
}

impl Element {
    /// An element with every value zero or empty.
    pub fn new(layout: &Layout) -> Self {
        let mut element = Self::default();
        element.reset(layout, &[]);
        element
    }

    /// Makes this the element of a new event whose first static struct holds `record`: a short record is padded with zeroes, what
    /// exceeds the fixed part is left out. All other values are zero or empty afterwards.
    pub fn reset(&mut self, layout: &Layout, record: &[u8]) {
        let fixed = layout.fixed_len();
        self.bytes.clear();
        self.bytes.extend_from_slice(&record[..record.len().min(fixed)]);
        self.bytes.resize(fixed, 0);
        self.fixed = layout.fixed;
        self.slots.clear();
        self.slots.resize(layout.slots as usize, Span::default());
    }

    /// Fills a static struct: a short record is padded with zeroes, a long one is cut.
    pub fn set_container(&mut self, container: Container, record: &[u8]) {
        let start = container.offset as usize;
        let target = &mut self.bytes[start..start + container.size()];
        let len = record.len().min(target.len());
        target[..len].copy_from_slice(&record[..len]);
        target[len..].fill(0);
    }

    pub(super) fn fixed(&self, offset: u32, len: u32) -> &[u8] {
        &self.bytes[offset as usize..(offset + len) as usize]
    }

    pub(super) fn fixed_mut(&mut self, offset: u32, len: u32) -> &mut [u8] {
        &mut self.bytes[offset as usize..(offset + len) as usize]
    }

    /// A part of the fixed part, if this element has it.
    pub(super) fn get_fixed(&self, offset: u32, len: u32) -> Option<&[u8]> {
        self.bytes.get(self.fixed_range(offset, len)?)
    }

    /// See [`get_fixed`](Self::get_fixed).
    pub(super) fn get_fixed_mut(&mut self, offset: u32, len: u32) -> Option<&mut [u8]> {
        let range = self.fixed_range(offset, len)?;
        self.bytes.get_mut(range)
    }

    fn fixed_range(&self, offset: u32, len: u32) -> Option<std::ops::Range<usize>> {
        let end = offset.checked_add(len).filter(|end| *end <= self.fixed)?;
        Some(offset as usize..end as usize)
    }

    /// The value of a slot, if this element has it.
    pub(super) fn get_slot(&self, slot: u32) -> Option<&[u8]> {
        self.slots.get(slot as usize).map(|_| self.slot(slot))
    }

    /// The bytes of a slot that this element has, for a new value of `len` bytes: in the place of the old value if that is long
    /// enough, else at the end. `None` when the element would become larger than `limit` bytes.
    pub(super) fn slot_for(&mut self, slot: u32, len: usize, limit: usize) -> Option<&mut [u8]> {
        let span = self.slots.get_mut(slot as usize)?;
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
        let span = self.slots[slot as usize];
        &self.bytes[span.start as usize..(span.start + span.len) as usize]
    }

    /// Lets `write` append the value of a slot; what the slot held before is forgotten.
    pub(super) fn write_slot(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        debug_assert!(self.bytes.len() >= start, "a writer may only append");
        self.slots[slot as usize] = Span {
            start: start as u32,
            len: self.bytes.len().saturating_sub(start) as u32,
        };
    }

    /// Writes many slots with one copy: `bytes` is appended, and each of `spans` (slot, start, length) says which part of it is
    /// whose.
    pub(super) fn write_slots(&mut self, bytes: &[u8], spans: &[(u32, u32, u32)]) {
        let base = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        for (slot, start, len) in spans {
            self.slots[*slot as usize] = Span {
                start: base + start,
                len: *len,
            };
        }
    }

    /// A copy for a data source of layout `to`, which has the fields of this one's (of layout `from`) at the same places and maybe
    /// others after them; those are zero or empty.
    pub fn copied(&self, from: &Layout, to: &Layout) -> Self {
        let mut copy = Self::default();
        copy.reset(to, &self.bytes[..from.fixed_len().min(self.bytes.len())]);
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
