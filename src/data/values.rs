//! Values of some fields, taken from one element and put into others at once.

use super::accessor::Accessor;
use super::element::Element;
use super::field::Place;

/// See the module documentation. Only for elements of the data source that the accessors are of.
#[derive(Clone, Debug, Default)]
pub struct Values {
    fixed: Vec<(u32, Box<[u8]>)>,
    bytes: Vec<u8>,
    /// Slot, start in `bytes`, length.
    spans: Vec<(u32, u32, u32)>,
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
        values
    }

    /// Puts the values into `element`.
    #[inline]
    pub fn put(&self, element: &mut Element) {
        for (offset, bytes) in &self.fixed {
            element.fixed_mut(*offset, bytes.len() as u32).copy_from_slice(bytes);
        }
        element.write_slots(&self.bytes, &self.spans);
    }
}
