//! Footprints: the bytes that some fields of an element occupy, to tell whether they are the same as in an earlier element.

use std::ops::Range;

use super::accessor::Accessor;
use super::element::Element;
use super::field::Place;

/// Where some fields are. Neighbours in the fixed part are compared at once.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    fixed: Vec<(u32, u32)>,
    /// Runs of slots with numbers that follow each other.
    slots: Vec<Range<u32>>,
}

impl Footprint {
    /// The footprint of these fields.
    pub fn of(accessors: &[Accessor]) -> Self {
        let mut footprint = Self::default();
        let mut slots = Vec::new();
        for accessor in accessors {
            match accessor.place {
                Place::Fixed { offset, len } | Place::Bits { offset, len, .. } => footprint.fixed.push((offset, len)),
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
        footprint.fixed.sort_unstable();
        footprint.fixed.dedup_by(|next, last| {
            let adjacent = next.0 <= last.0 + last.1;
            if adjacent {
                last.1 = last.1.max(next.0 + next.1 - last.0);
            }
            adjacent
        });
        footprint
    }

    /// Replaces `saved` by what is there in `element`.
    pub fn save(&self, element: &Element, saved: &mut Saved) {
        saved.fixed.clear();
        for (offset, len) in &self.fixed {
            saved.fixed.extend_from_slice(element.fixed(*offset, *len));
        }
        saved.lengths.clear();
        saved.values.clear();
        for slot in self.slots.iter().cloned().flatten() {
            let bytes = element.slot(slot);
            saved.lengths.push(bytes.len() as u32);
            saved.values.extend_from_slice(bytes);
        }
        saved.is_something = true;
    }

    /// Whether `element` has there what was saved.
    #[inline]
    pub fn matches(&self, element: &Element, saved: &Saved) -> bool {
        if !saved.is_something {
            return false;
        }
        let mut rest = saved.fixed.as_slice();
        let fixed = self.fixed.iter().all(|(offset, len)| {
            let Some((head, tail)) = rest.split_at_checked(*len as usize) else {
                return false;
            };
            rest = tail;
            head == element.fixed(*offset, *len)
        });
        fixed && self.slots_match(element, saved)
    }

    /// Values that were written one after the other lie side by side, and are compared at once.
    #[inline]
    fn slots_match(&self, element: &Element, saved: &Saved) -> bool {
        let mut lengths = saved.lengths.as_slice();
        let mut rest = saved.values.as_slice();
        let mut side_by_side_match = |start: u32, end: u32| {
            let Some((head, tail)) = rest.split_at_checked((end - start) as usize) else {
                return false;
            };
            rest = tail;
            head == element.between(start, end)
        };
        let (mut start, mut end) = (0, 0);
        for run in &self.slots {
            let spans = element.spans(run.clone());
            let Some((expected, others)) = lengths.split_at_checked(spans.len()) else {
                return false;
            };
            lengths = others;
            for (span, length) in spans.iter().zip(expected) {
                if span.len != *length {
                    return false;
                }
                if span.start != end && span.len != 0 {
                    if !side_by_side_match(start, end) {
                        return false;
                    }
                    (start, end) = (span.start, span.start);
                }
                end += span.len;
            }
        }
        side_by_side_match(start, end)
    }
}

/// What a footprint has saved of an element.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    fixed: Vec<u8>,
    lengths: Vec<u32>,
    values: Vec<u8>,
    is_something: bool,
}
