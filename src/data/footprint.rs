//! Footprints: the bytes that some fields of an element occupy, to tell whether they are the same as in an earlier element.

use super::accessor::Accessor;
use super::element::Element;
use super::field::Place;

/// Where some fields are. Neighbours in the fixed part are compared at once.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    fixed: Vec<(u32, u32)>,
    slots: Vec<u32>,
}

impl Footprint {
    /// The footprint of these fields.
    pub fn of(accessors: &[Accessor]) -> Self {
        let mut footprint = Self::default();
        for accessor in accessors {
            match accessor.place {
                Place::Fixed { offset, len } | Place::Bits { offset, len, .. } => footprint.fixed.push((offset, len)),
                Place::Slot(slot) => footprint.slots.push(slot),
                Place::Nowhere => {}
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
    pub fn save(&self, element: &Element, saved: &mut Vec<u8>) {
        saved.clear();
        for (offset, len) in &self.fixed {
            saved.extend_from_slice(element.fixed(*offset, *len));
        }
        for slot in &self.slots {
            let bytes = element.slot(*slot);
            saved.extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
            saved.extend_from_slice(bytes);
        }
    }

    /// Whether `element` has there what was saved.
    #[inline]
    pub fn matches(&self, element: &Element, saved: &[u8]) -> bool {
        let mut rest = saved;
        let mut next_is = |bytes: &[u8]| match rest.split_at_checked(bytes.len()) {
            Some((head, tail)) if head == bytes => {
                rest = tail;
                true
            }
            _ => false,
        };
        self.fixed
            .iter()
            .all(|(offset, len)| next_is(element.fixed(*offset, *len)))
            && self.slots.iter().all(|slot| {
                let bytes = element.slot(*slot);
                next_is(&(bytes.len() as u32).to_ne_bytes()) && next_is(bytes)
            })
            && rest.is_empty()
    }
}
