//! Values of some fields, taken from one element and put into others at once.

use super::accessor::Accessor;
use super::element::{Element, Span};
use super::field::Place;
use super::put::Put;

/// See the module documentation. Only for elements of the data source that the accessors are of.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Stands for those in slots.
    put: Put,
    /// Those of fixed size, neighbours together.
    fixed: Vec<(u32, Vec<u8>)>,
    bytes: Vec<u8>,
    /// Where in `bytes` the values of slots are, for runs of them from a first one on.
    spans: Vec<(u32, Vec<Span>)>,
}

impl Values {
    /// Takes the values of the fields that `accessors` access. Bitfields are left out.
    pub fn take<'a>(accessors: impl IntoIterator<Item = &'a Accessor>, element: &Element) -> Self {
        let mut values = Self::default();
        for accessor in accessors {
            match accessor.place {
                Place::Fixed { offset, len } => {
                    let bytes = element.fixed(offset, len);
                    match values.fixed.last_mut() {
                        Some((start, run)) if *start + run.len() as u32 == offset => run.extend_from_slice(bytes),
                        _ => values.fixed.push((offset, bytes.to_vec())),
                    }
                }
                Place::Slot(slot) => {
                    let bytes = element.slot(slot);
                    let span = Span {
                        start: values.bytes.len() as u32,
                        len: bytes.len() as u32,
                    };
                    values.bytes.extend_from_slice(bytes);
                    match values.spans.last_mut() {
                        Some((first, run)) if *first + run.len() as u32 == slot => run.push(span),
                        _ => values.spans.push((slot, vec![span])),
                    }
                }
                Place::Bits { .. } | Place::Nowhere => {}
            }
        }
        // Between several runs there could be slots of others.
        if let [(first, run)] = &values.spans[..] {
            values.put = Put::new(*first..*first + run.len() as u32);
        }
        values
    }

    /// Puts the values into `element`.
    #[inline]
    pub fn put(&self, element: &mut Element) {
        for (offset, bytes) in &self.fixed {
            element.fixed_mut(*offset, bytes.len() as u32).copy_from_slice(bytes);
        }
        element.write_slots(&self.bytes, &self.spans, self.put);
    }
}
