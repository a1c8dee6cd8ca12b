//! Accessors: how values are read from and written to elements.
//!
//! Names are looked up once; an accessor is a place and a kind. It may only be used with elements of the data source that made
//! it.

use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;

use super::element::Element;
use super::field::Place;
use super::kind::{Kind, Scalar};
use crate::{Error, Result};

/// Untyped access to one field.
#[derive(Clone, Copy, Debug)]
pub struct Accessor {
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) static_member: bool,
    load: Load,
}

/// How most numbers are read and written, in one step.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// Four bytes from this offset, unsigned.
    Four(u32),
    /// The eight bytes of a number.
    Eight(u32),
    /// In some other way.
    Other,
}

impl Accessor {
    pub(super) fn new(place: Place, kind: Kind, static_member: bool) -> Self {
        let load = match (place, kind) {
            (Place::Fixed { offset, len: 4 }, Kind::One(Scalar::Uint32)) => Load::Four(offset),
            (Place::Fixed { offset, len: 8 }, Kind::One(Scalar::Uint64 | Scalar::Int64 | Scalar::Float64)) => {
                Load::Eight(offset)
            }
            _ => Load::Other,
        };
        Self {
            place,
            kind,
            static_member,
            load,
        }
    }

    /// The kind of the field.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The value's bytes as they are; empty for fields without a value.
    #[inline]
    pub fn bytes<'e>(&self, element: &'e Element) -> &'e [u8] {
        match self.place {
            Place::Fixed { offset, len } | Place::Bits { offset, len, .. } => element.fixed(offset, len),
            Place::Slot(slot) => element.slot(slot),
            Place::Nowhere => &[],
        }
    }

    /// All bytes of the element from those of the value on, and how many are the value's. Who may look at what follows can do without
    /// asking how many there are.
    #[inline]
    pub(crate) fn with_rest<'e>(&self, element: &'e Element) -> (&'e [u8], usize) {
        let (start, len) = match self.place {
            Place::Fixed { offset, len } | Place::Bits { offset, len, .. } => (offset, len),
            Place::Slot(slot) => {
                let span = element.span(slot);
                (span.start, span.len)
            }
            Place::Nowhere => (0, 0),
        };
        (element.from(start), len as usize)
    }

    /// The bytes of a text: for C strings up to the first NUL, else all of them.
    #[inline]
    pub fn text<'e>(&self, element: &'e Element) -> &'e [u8] {
        let bytes = self.bytes(element);
        match self.kind {
            Kind::One(Scalar::CString) => until_nul(bytes),
            _ => bytes,
        }
    }

    /// Whether a bool field is true, that is, its byte equals 1.
    #[inline]
    pub fn bool(&self, element: &Element) -> bool {
        match self.place {
            Place::Bits { .. } => self.bits(element) & 1 == 1,
            _ => self.bytes(element) == [1],
        }
    }

    /// The value of an integer field as a 64-bit pattern: sign-extended if the kind is signed. 0 if the field's width is not
    /// that of an integer.
    #[inline]
    pub fn bits(&self, element: &Element) -> u64 {
        match self.load(element) {
            Some(value) => value,
            None => self.bits_of_any(element),
        }
    }

    /// The value of an unsigned number of four bytes, or of any number of eight, as 64 bits; `None` for all others, and where the element has no place
    /// for it.
    #[inline]
    pub(crate) fn load(&self, element: &Element) -> Option<u64> {
        match self.load {
            Load::Four(offset) => element.at(offset).map(|bytes| u64::from(u32::from_ne_bytes(*bytes))),
            Load::Eight(offset) => element.at(offset).map(|bytes| u64::from_ne_bytes(*bytes)),
            Load::Other => None,
        }
    }

    /// Overwrites a number that [`load`](Self::load) reads with the low bytes of `value`. `false`, and nothing happens, for all others.
    #[inline]
    pub(crate) fn store(&self, element: &mut Element, value: u64) -> bool {
        match self.load {
            Load::Four(offset) => element
                .at_mut(offset)
                .map(|bytes| *bytes = (value as u32).to_ne_bytes()),
            Load::Eight(offset) => element.at_mut(offset).map(|bytes| *bytes = value.to_ne_bytes()),
            Load::Other => None,
        }
        .is_some()
    }

    fn bits_of_any(&self, element: &Element) -> u64 {
        let signed = matches!(self.kind, Kind::One(scalar) if scalar.is_signed());
        if let Place::Bits {
            offset,
            len,
            shift,
            width,
        } = self.place
        {
            return cut_bits(element.fixed(offset, len), shift, width, signed);
        }
        match *self.bytes(element) {
            [a] if signed => i64::from(a as i8) as u64,
            [a] => u64::from(a),
            [a, b] if signed => i64::from(i16::from_ne_bytes([a, b])) as u64,
            [a, b] => u64::from(u16::from_ne_bytes([a, b])),
            [a, b, c, d] if signed => i64::from(i32::from_ne_bytes([a, b, c, d])) as u64,
            [a, b, c, d] => u64::from(u32::from_ne_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            _ => 0,
        }
    }

    /// The value of an integer field; an unsigned one above `i64::MAX` saturates.
    #[inline]
    pub fn i64(&self, element: &Element) -> i64 {
        let bits = self.bits(element);
        if self.kind == Kind::One(Scalar::Uint64) {
            i64::try_from(bits).unwrap_or(i64::MAX)
        } else {
            bits as i64
        }
    }

    /// The value of a floating point field; 0 for other kinds.
    pub fn f64(&self, element: &Element) -> f64 {
        match *self.bytes(element) {
            [a, b, c, d] => f64::from(f32::from_ne_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => f64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            _ => 0.0,
        }
    }

    /// Sets the value. Static texts are padded with zeroes; every other value of fixed size must have exactly that size.
    pub fn set(&self, element: &mut Element, value: &[u8]) -> Result<()> {
        match self.place {
            Place::Nowhere => Err(Error::invalid("field cannot contain a value")),
            Place::Bits { .. } => Err(Error::invalid("bitfields cannot be set")),
            Place::Slot(slot) => {
                element.write_slot(slot, |buffer| buffer.extend_from_slice(value));
                Ok(())
            }
            Place::Fixed { offset, len } => {
                let padded = self.static_member && self.kind.is_text() && value.len() < len as usize;
                if value.len() != len as usize && !padded {
                    return Err(Error::invalid(format!(
                        "invalid field length, expected {len}, got {}",
                        value.len()
                    )));
                }
                let target = element.fixed_mut(offset, len);
                target[..value.len()].copy_from_slice(value);
                target[value.len()..].fill(0);
                Ok(())
            }
        }
    }

    /// Overwrites the low bytes of an integer field of any width.
    #[inline]
    pub fn set_bits(&self, element: &mut Element, bits: u64) {
        if !self.store(element, bits) {
            self.set_bits_of_any(element, bits);
        }
    }

    fn set_bits_of_any(&self, element: &mut Element, bits: u64) {
        if let Place::Fixed { offset, len } = self.place {
            let target = element.fixed_mut(offset, len);
            match target.len() {
                1 => target.copy_from_slice(&(bits as u8).to_ne_bytes()),
                2 => target.copy_from_slice(&(bits as u16).to_ne_bytes()),
                4 => target.copy_from_slice(&(bits as u32).to_ne_bytes()),
                8 => target.copy_from_slice(&bits.to_ne_bytes()),
                _ => {}
            }
        }
    }

    /// Lets `write` append the value of a field of variable length to the element's own buffer, without a copy. Does nothing for
    /// fields of fixed size.
    #[inline]
    pub fn write(&self, element: &mut Element, write: impl FnOnce(&mut Vec<u8>)) {
        if let Place::Slot(slot) = self.place {
            element.write_slot(slot, write);
        }
    }
}

/// `width` bits of little-endian `bytes` (at most 8) after the lowest `shift`.
fn cut_bits(bytes: &[u8], shift: u8, width: u8, signed: bool) -> u64 {
    let mut word = [0; 8];
    let len = bytes.len().min(8);
    word[..len].copy_from_slice(&bytes[..len]);
    let unused = 64 - u32::from(width).clamp(1, 64);
    let value = (u64::from_le_bytes(word) >> (shift & 63)) << unused;
    if signed {
        ((value as i64) >> unused) as u64
    } else {
        value >> unused
    }
}

/// The part of `bytes` before the first NUL, found a word at a time.
#[inline]
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes)
}

/// Typed access to one field; the type was checked when the accessor was made.
#[derive(Debug)]
pub struct Typed<T> {
    accessor: Accessor,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Typed<T> {}

impl<T: Value> Typed<T> {
    /// Access that is known to be to a value of this type.
    pub(super) fn new(accessor: Accessor) -> Self {
        Self {
            accessor,
            value: PhantomData,
        }
    }

    /// The value in `element`.
    #[inline]
    pub fn get<'e>(&self, element: &'e Element) -> T::Read<'e> {
        T::read(&self.accessor, element)
    }
}

/// A Rust type that fields can be read as.
pub trait Value {
    /// What reading gives.
    type Read<'e>;
    /// Whether fields of `kind` can be read as this type.
    fn accepts(kind: Kind) -> bool;
    /// Reads the value.
    fn read<'e>(accessor: &Accessor, element: &'e Element) -> Self::Read<'e>;
}

macro_rules! integer_value {
    ($($type:ty => $scalar:ident),*) => {$(
        impl Value for $type {
            type Read<'e> = $type;
            fn accepts(kind: Kind) -> bool {
                kind == Kind::One(Scalar::$scalar)
            }
            #[inline]
            fn read(accessor: &Accessor, element: &Element) -> $type {
                accessor.bits(element) as $type
            }
        }
    )*};
}

integer_value!(u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64, i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64);

impl Value for bool {
    type Read<'e> = bool;
    fn accepts(kind: Kind) -> bool {
        kind == Kind::One(Scalar::Bool)
    }
    fn read(accessor: &Accessor, element: &Element) -> bool {
        accessor.bool(element)
    }
}

impl Value for f64 {
    type Read<'e> = f64;
    fn accepts(kind: Kind) -> bool {
        matches!(kind, Kind::One(Scalar::Float32 | Scalar::Float64))
    }
    fn read(accessor: &Accessor, element: &Element) -> f64 {
        accessor.f64(element)
    }
}

impl Value for Text {
    type Read<'e> = Cow<'e, str>;
    fn accepts(kind: Kind) -> bool {
        kind.is_text()
    }
    fn read<'e>(accessor: &Accessor, element: &'e Element) -> Cow<'e, str> {
        String::from_utf8_lossy(accessor.text(element))
    }
}

/// Stands for text in [`Typed`]; read as `Cow<str>`, invalid UTF-8 replaced.
#[derive(Debug)]
pub struct Text;
