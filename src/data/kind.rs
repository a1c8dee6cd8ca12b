//! The kinds of values that a field can hold.

use std::fmt;

/// The kind of a single value. Discriminants are upstream's wire numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Scalar {
    /// No value: a pure parent, or bytes whose type nobody understands.
    Invalid = 0,
    /// One byte; true only when it equals 1.
    Bool = 1,
    /// Signed, 1 byte.
    Int8 = 2,
    /// Signed, 2 bytes.
    Int16 = 3,
    /// Signed, 4 bytes.
    Int32 = 4,
    /// Signed, 8 bytes.
    Int64 = 5,
    /// Unsigned, 1 byte.
    Uint8 = 6,
    /// Unsigned, 2 bytes.
    Uint16 = 7,
    /// Unsigned, 4 bytes.
    Uint32 = 8,
    /// Unsigned, 8 bytes.
    Uint64 = 9,
    /// IEEE 754, 4 bytes.
    Float32 = 10,
    /// IEEE 754, 8 bytes.
    Float64 = 11,
    /// Text of any length; every byte counts.
    String = 12,
    /// Text up to the first NUL, or the whole buffer when there is none.
    CString = 13,
    /// Bytes of any length.
    Bytes = 14,
}

impl Scalar {
    /// Size in bytes of one value, `None` for kinds of variable length.
    pub const fn size(self) -> Option<usize> {
        match self {
            Scalar::Bool | Scalar::Int8 | Scalar::Uint8 => Some(1),
            Scalar::Int16 | Scalar::Uint16 => Some(2),
            Scalar::Int32 | Scalar::Uint32 | Scalar::Float32 => Some(4),
            Scalar::Int64 | Scalar::Uint64 | Scalar::Float64 => Some(8),
            Scalar::Invalid | Scalar::String | Scalar::CString | Scalar::Bytes => None,
        }
    }

    /// Whether values are integers, signed or not.
    pub const fn is_integer(self) -> bool {
        self.is_signed() || matches!(self, Scalar::Uint8 | Scalar::Uint16 | Scalar::Uint32 | Scalar::Uint64)
    }

    /// Whether values are signed integers.
    pub const fn is_signed(self) -> bool {
        matches!(self, Scalar::Int8 | Scalar::Int16 | Scalar::Int32 | Scalar::Int64)
    }

    /// The integer kind of `size` bytes, if there is one.
    pub const fn integer(size: usize, signed: bool) -> Option<Self> {
        Some(match (size, signed) {
            (1, true) => Scalar::Int8,
            (2, true) => Scalar::Int16,
            (4, true) => Scalar::Int32,
            (8, true) => Scalar::Int64,
            (1, false) => Scalar::Uint8,
            (2, false) => Scalar::Uint16,
            (4, false) => Scalar::Uint32,
            (8, false) => Scalar::Uint64,
            _ => return None,
        })
    }

    const fn from_wire(number: u32) -> Option<Self> {
        use Scalar::*;
        const ALL: [Scalar; 15] = [
            Invalid, Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64, Float32, Float64, String, CString,
            Bytes,
        ];
        if (number as usize) < ALL.len() {
            Some(ALL[number as usize])
        } else {
            None
        }
    }
}

/// The kind of a field: one value, or an array of values packed without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One value.
    One(Scalar),
    /// As many values as fit into the buffer; there is no element count.
    Array(Scalar),
}

impl Kind {
    const ARRAY_BIT: u32 = 0x1000_0000;

    /// Upstream's wire number: the scalar's, with bit 28 set for arrays.
    pub const fn to_wire(self) -> u32 {
        match self {
            Kind::One(scalar) => scalar as u32,
            Kind::Array(scalar) => scalar as u32 | Self::ARRAY_BIT,
        }
    }

    /// The kind with this wire number, if there is one.
    pub const fn from_wire(number: u32) -> Option<Self> {
        match Scalar::from_wire(number & !Self::ARRAY_BIT) {
            Some(scalar) if number & Self::ARRAY_BIT != 0 => Some(Kind::Array(scalar)),
            Some(scalar) => Some(Kind::One(scalar)),
            None => None,
        }
    }

    /// Size in bytes of a value whose size does not vary.
    pub const fn fixed_size(self) -> Option<usize> {
        match self {
            Kind::One(scalar) => scalar.size(),
            Kind::Array(_) => None,
        }
    }

    /// Whether the field holds one text.
    pub const fn is_text(self) -> bool {
        matches!(self, Kind::One(Scalar::String | Scalar::CString))
    }
}

impl From<Scalar> for Kind {
    fn from(scalar: Scalar) -> Self {
        Kind::One(scalar)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::One(scalar) => write!(f, "{scalar:?}"),
            Kind::Array(scalar) => write!(f, "[]{scalar:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_numbers_are_upstreams() {
        assert_eq!(Kind::One(Scalar::Bytes).to_wire(), 14);
        assert_eq!(Kind::Array(Scalar::CString).to_wire(), 0x1000_000D);
        for number in (0..15).flat_map(|n| [n, n | 0x1000_0000]) {
            assert_eq!(Kind::from_wire(number).unwrap().to_wire(), number);
        }
        assert_eq!(Kind::from_wire(15), None);
        assert_eq!(Kind::from_wire(0x2000_0001), None);
    }
}
