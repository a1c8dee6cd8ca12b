//! Values of some fields, taken from one element and put into others at once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::accessor::Accessor;
use super::element::{Element, Stamp};
use super::field::Place;

/// See the module documentation. Only for elements of the data source that the accessors are of.
#[derive(Clone, Debug, Default)]
pub struct Values {
    fixed: Vec<(u32, Box<[u8]>)>,
    bytes: Vec<u8>,
    /// Slot, start in `bytes`, length.
    spans: Vec<(u32, u32, u32)>,
    stamp: Stamp,
}

impl Values {
    /// Takes the values of the fields that `accessors` access. Bitfields are left out.
    pub fn take<'a>(accessors: impl IntoIterator<Item = &'a Accessor>, element: &Element) -> Self {
        let mut values = Self::default();
        for accessor in accessors {
            match accessor.place {
                Place::Fixed { offset, len } => values.fixed.push((offset, element.fixed(offset, len).into())),
                Place::Slot(slot) => {
                    let bytes = element.slot(slot);
                    values.spans.push((slot, values.bytes.len() as u32, bytes.len() as u32));
                    values.bytes.extend_from_slice(bytes);
                }
                Place::Bits { .. } | Place::Nowhere => {}
            }
        }
        values.stamp = values.new_stamp();
        values
    }

    /// A stamp of its own, if the values lie side by side.
    fn new_stamp(&self) -> Stamp {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let slots = range(self.spans.iter().map(|(slot, ..)| (*slot, 1)));
        let fixed = range(self.fixed.iter().map(|(offset, bytes)| (*offset, bytes.len() as u32)));
        match (slots, fixed) {
            (Some(slots), Some(fixed)) => Stamp {
                id: LAST.fetch_add(1, Ordering::Relaxed) + 1,
                slots,
                fixed,
            },
            _ => Stamp::default(),
        }
    }

    /// Puts the values into `element`.
    #[inline]
    pub fn put(&self, element: &mut Element) {
        for (offset, bytes) in &self.fixed {
            element.fixed_mut(*offset, bytes.len() as u32).copy_from_slice(bytes);
        }
        element.write_slots(&self.bytes, &self.spans);
        element.set_stamp(self.stamp);
    }
}

/// Begin and end of what these parts (begin and length) cover together; `None` if something between them is nobody's.
fn range(parts: impl Iterator<Item = (u32, u32)>) -> Option<(u32, u32)> {
    let mut parts: Vec<(u32, u32)> = parts.collect();
    parts.sort_unstable();
    let mut parts = parts.into_iter();
    let Some((first, len)) = parts.next() else {
        return Some((0, 0));
    };
    let end = parts.try_fold(first + len, |end, (begin, len)| (begin == end).then_some(end + len));
    Some((first, end?))
}
