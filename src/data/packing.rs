//! Packings: the values of an element's own fields as one piece of bytes, for elements that are made of no record.

use super::accessor::Accessor;
use super::element::Element;

/// The fields of a data source that its producer fills one by one. Packed, each value has its length (4 bytes, little-endian) before
/// it.
#[derive(Clone, Debug, Default)]
pub struct Packing {
    fields: Vec<Accessor>,
}

impl Packing {
    /// The packing of these fields, in this order.
    pub fn of(fields: impl IntoIterator<Item = Accessor>) -> Self {
        Self {
            fields: fields.into_iter().collect(),
        }
    }

    /// Appends the values of `element`.
    pub fn pack(&self, element: &Element, out: &mut Vec<u8>) {
        for field in &self.fields {
            let value = field.bytes(element);
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
    }

    /// Sets the values of `element` to what was packed. What is not there, or of another length than the field's, is left as it is.
    pub fn unpack(&self, mut packed: &[u8], element: &mut Element) {
        for field in &self.fields {
            let Some((length, rest)) = packed.split_first_chunk::<4>() else {
                return;
            };
            let Some((value, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else {
                return;
            };
            packed = rest;
            // A value of the wrong length is none.
            let _ = field.set(element, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSource, NewField, Scalar, SourceType};

    #[test]
    fn values_come_back_and_damaged_ones_do_not() {
        let mut source = DataSource::new("processes", SourceType::Array, None);
        let fields: Vec<Accessor> = [
            ("pid", Scalar::Uint32),
            ("comm", Scalar::String),
            ("cpu", Scalar::Float64),
        ]
        .into_iter()
        .map(|(name, kind)| {
            let id = source.add_field(NewField::new(name, kind)).unwrap();
            source.accessor(id)
        })
        .collect();
        let packing = Packing::of(fields.clone());
        let mut element = Element::new(source.layout());
        for (field, value) in fields
            .iter()
            .zip([&7_u32.to_ne_bytes()[..], b"cat", &0.5_f64.to_ne_bytes()])
        {
            field.set(&mut element, value).unwrap();
        }
        let mut packed = Vec::new();
        packing.pack(&element, &mut packed);
        assert_eq!(packed.len(), 3 * 4 + 4 + 3 + 8);

        let values = |packed: &[u8]| {
            let mut element = Element::new(source.layout());
            packing.unpack(packed, &mut element);
            let text = String::from_utf8_lossy(fields[1].text(&element)).into_owned();
            (fields[0].bits(&element), text, fields[2].f64(&element))
        };
        assert_eq!(values(&packed), (7, "cat".to_owned(), 0.5));
        assert_eq!(values(&packed[..packed.len() - 1]), (7, "cat".to_owned(), 0.0));
        assert_eq!(values(&packed[..9]), (7, String::new(), 0.0));
        let mut wrong = packed.clone();
        wrong[0] = 2;
        assert_eq!(values(&wrong).0, 0);
        for len in 0..packed.len() {
            values(&packed[..len]);
        }
    }
}
