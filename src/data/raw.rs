//! Access by width, as a gadget's own code has it.
//!
//! Such code says as what it reads a value, and what counts is only that the value is that wide: a `u32` may be read as an `f32`.
//! Nothing is believed: the accessor may be of another data source than the element, the field may have been added after the element
//! was made, and a value may be of any length.

use super::accessor::Accessor;
use super::element::Element;
use super::field::Place;
use super::kind::{Kind, Scalar};

/// No element gets larger than this through values that a gadget's own code sets.
const MAX_ELEMENT: usize = 16 << 20;

/// Why a value cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawError {
    /// The field cannot carry a value, or this element has no place for it.
    NoPlace,
    /// Values of this kind cannot be accessed so.
    Kind,
    /// The value is of another length.
    Length,
    /// The element would become too large.
    TooLarge,
}

impl std::fmt::Display for RawError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoPlace => "the element has no place for this field",
            Self::Kind => "values of this kind cannot be accessed so",
            Self::Length => "the field's value is of another length",
            Self::TooLarge => "the element would become larger than 16 MiB",
        })
    }
}

impl Accessor {
    /// The value's bytes as they are.
    #[inline]
    pub fn raw<'e>(&self, element: &'e Element) -> Result<&'e [u8], RawError> {
        match self.place {
            Place::Fixed { offset, len } | Place::Bits { offset, len, .. } => element.get_fixed(offset, len),
            Place::Slot(slot) => element.get_slot(slot),
            Place::Nowhere => Some([].as_slice()),
        }
        .ok_or(RawError::NoPlace)
    }

    /// The value as 64 bits: integers extended by their sign if `scalar` has one, floating point numbers as their bits.
    #[inline]
    pub fn raw_scalar(&self, element: &Element, scalar: Scalar) -> Result<u64, RawError> {
        let bytes = self.raw(element)?;
        let width = scalar.size().ok_or(RawError::Kind)?;
        if bytes.len() != width {
            return Err(RawError::Length);
        }
        if let Place::Bits { .. } = self.place {
            return Ok(self.bits(element));
        }
        // Copies of a length that is known are no calls.
        let value = match *bytes {
            [a] => u64::from(a),
            [a, b] => u64::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => return Err(RawError::Kind),
        };
        Ok(match scalar {
            Scalar::Bool => u64::from(value == 1),
            _ if scalar.is_signed() => {
                let unused = 64 - 8 * width as u32;
                (((value << unused) as i64) >> unused) as u64
            }
            _ => value,
        })
    }

    /// Overwrites a value that is as wide as `scalar` with the low bytes of `value`.
    #[inline]
    pub fn set_raw_scalar(&self, element: &mut Element, scalar: Scalar, value: u64) -> Result<(), RawError> {
        let width = scalar.size().ok_or(RawError::Kind)?;
        let value = match scalar {
            Scalar::Bool => u64::from(value != 0),
            _ => value,
        };
        let target = match self.place {
            Place::Fixed { offset, len } => element.get_fixed_mut(offset, len).ok_or(RawError::NoPlace)?,
            Place::Slot(slot) => {
                if element.get_slot(slot).ok_or(RawError::NoPlace)?.len() != width {
                    return Err(RawError::Length);
                }
                element.slot_for(slot, width, MAX_ELEMENT).ok_or(RawError::TooLarge)?
            }
            Place::Bits { .. } | Place::Nowhere => return Err(RawError::NoPlace),
        };
        if target.len() != width {
            return Err(RawError::Length);
        }
        match target.len() {
            1 => target.copy_from_slice(&(value as u8).to_le_bytes()),
            2 => target.copy_from_slice(&(value as u16).to_le_bytes()),
            4 => target.copy_from_slice(&(value as u32).to_le_bytes()),
            8 => target.copy_from_slice(&value.to_le_bytes()),
            _ => return Err(RawError::Kind),
        }
        Ok(())
    }

    /// Replaces the value by `len` bytes that `fill` writes. Static texts are padded with zeroes; other values of fixed size must
    /// have exactly that size.
    pub fn set_raw(&self, element: &mut Element, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), RawError> {
        match self.place {
            Place::Slot(slot) => {
                element.get_slot(slot).ok_or(RawError::NoPlace)?;
                fill(element.slot_for(slot, len, MAX_ELEMENT).ok_or(RawError::TooLarge)?);
                Ok(())
            }
            Place::Fixed { offset, len: size } => {
                let padded = self.static_member && self.kind.is_text() && len < size as usize;
                if len != size as usize && !padded {
                    return Err(RawError::Length);
                }
                let (value, rest) = element
                    .get_fixed_mut(offset, size)
                    .and_then(|target| target.split_at_mut_checked(len))
                    .ok_or(RawError::NoPlace)?;
                fill(value);
                rest.fill(0);
                Ok(())
            }
            Place::Bits { .. } | Place::Nowhere => Err(RawError::NoPlace),
        }
    }
}

/// The scalar of upstream's wire number, if there is one.
pub fn scalar_of(number: u32) -> Option<Scalar> {
    match Kind::from_wire(number)? {
        Kind::One(scalar) => Some(scalar),
        Kind::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSource, NewField, SourceType, StaticField};

    fn source() -> DataSource {
        let mut source = DataSource::new("s", SourceType::Single, None);
        let members = [
            StaticField::new("n", Scalar::Int32, 0, 4),
            StaticField::new("text", Scalar::CString, 4, 8),
        ];
        source.add_static_fields(12, &members).unwrap();
        source.add_field(NewField::new("added", Scalar::String)).unwrap();
        source.add_field(NewField::new("flag", Scalar::Bool)).unwrap();
        source
    }

    fn set(accessor: Accessor, element: &mut Element, value: &[u8]) -> Result<(), RawError> {
        accessor.set_raw(element, value.len(), |target| target.copy_from_slice(value))
    }

    #[test]
    fn only_the_width_counts() {
        let source = source();
        let mut element = Element::new(source.layout());
        let n = source.field("n").unwrap().any();
        n.set_raw_scalar(&mut element, Scalar::Float32, 0xffff_ffff_c000_0000)
            .unwrap();
        assert_eq!(n.raw_scalar(&element, Scalar::Uint32), Ok(0xc000_0000));
        assert_eq!(n.raw_scalar(&element, Scalar::Int32), Ok(0xffff_ffff_c000_0000));
        assert_eq!(n.raw_scalar(&element, Scalar::Uint64), Err(RawError::Length));
        assert_eq!(n.raw_scalar(&element, Scalar::Bytes), Err(RawError::Kind));
        assert_eq!(set(n, &mut element, b"ab"), Err(RawError::Length));
        let flag = source.field("flag").unwrap().any();
        flag.set_raw_scalar(&mut element, Scalar::Uint8, 2).unwrap();
        assert_eq!(flag.raw_scalar(&element, Scalar::Bool), Ok(0));
        flag.set_raw_scalar(&mut element, Scalar::Bool, 256).unwrap();
        assert_eq!(flag.raw_scalar(&element, Scalar::Bool), Ok(1));
    }

    #[test]
    fn numbers_of_four_and_eight_bytes_are_loaded_at_once() {
        let mut source = source();
        let mut add = |name: &str, kind: Scalar| source.add_field(NewField::new(name, kind)).unwrap();
        let [four, eight, signed] = [
            add("four", Scalar::Uint32),
            add("eight", Scalar::Int64),
            add("signed", Scalar::Int32),
        ];
        let before = Element::new(source.layout());
        let late = source.add_field(NewField::new("late", Scalar::Uint64)).unwrap();
        let mut element = Element::new(source.layout());
        for (id, scalar, value, bits, loaded) in [
            (four, Scalar::Uint32, u64::MAX, 0xffff_ffff, true),
            (eight, Scalar::Int64, u64::MAX - 1, u64::MAX - 1, true),
            (signed, Scalar::Int32, 7, 7, false),
        ] {
            let accessor = source.accessor(id);
            accessor.set_raw_scalar(&mut element, scalar, value).unwrap();
            assert_eq!(accessor.load(&element), loaded.then_some(bits));
            assert_eq!(accessor.bits(&element), bits);
        }
        let text = source.field("text").unwrap().any();
        assert_eq!(text.load(&element), None);
        for scalar in [Scalar::String, Scalar::CString, Scalar::Bytes] {
            assert_eq!(text.set_raw_scalar(&mut element, scalar, 1), Err(RawError::Kind));
        }
        let late = source.accessor(late);
        assert_eq!(late.load(&before), None, "the element has no place for it");
        assert_eq!(
            late.set_raw_scalar(&mut before.clone(), Scalar::Uint64, 1),
            Err(RawError::NoPlace)
        );
        assert_eq!(late.load(&element), Some(0));
    }

    #[test]
    fn static_texts_are_padded_and_never_cut() {
        let source = source();
        let mut element = Element::new(source.layout());
        let text = source.field("text").unwrap().any();
        set(text, &mut element, b"12345678").unwrap();
        assert_eq!(text.raw(&element), Ok(b"12345678".as_slice()));
        assert_eq!(set(text, &mut element, b"123456789"), Err(RawError::Length));
        set(text, &mut element, b"abc").unwrap();
        assert_eq!(text.raw(&element), Ok(b"abc\0\0\0\0\0".as_slice()));
    }

    #[test]
    fn values_of_any_length_are_bounded() {
        let source = source();
        let mut element = Element::new(source.layout());
        let added = source.field("added").unwrap().any();
        for round in 0..1000_usize {
            set(added, &mut element, &vec![7; 10 + round % 2]).unwrap();
        }
        assert!(
            element.capacity() < 1 << 16,
            "a shorter value goes where the longer one was"
        );
        assert_eq!(set(added, &mut element, &vec![0; MAX_ELEMENT]), Err(RawError::TooLarge));
        set(added, &mut element, b"abcd").unwrap();
        assert_eq!(added.raw_scalar(&element, Scalar::Uint32), Ok(0x6463_6261));
        added.set_raw_scalar(&mut element, Scalar::Uint32, 0).unwrap();
        assert_eq!(added.raw(&element), Ok([0; 4].as_slice()));
    }

    #[test]
    fn a_foreign_element_has_no_place() {
        let source = source();
        let old = Element::new(DataSource::new("t", SourceType::Single, None).layout());
        for name in ["n", "text", "added", "flag"] {
            let accessor = source.field(name).unwrap().any();
            let mut element = old.clone();
            assert_eq!(accessor.raw(&element), Err(RawError::NoPlace));
            assert_eq!(
                set(accessor, &mut element, b"x"),
                Err(match name {
                    "n" | "flag" if name == "n" => RawError::Length,
                    _ => RawError::NoPlace,
                })
            );
        }
    }
}
