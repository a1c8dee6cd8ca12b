//! Numbers as text.

use std::io::Write;

/// Appends `value` in decimal.
#[inline]
pub(crate) fn append_u64(value: u64, out: &mut Vec<u8>) {
    const BLOCK: u64 = 100_000_000;
    // Results, descriptors and flags are mostly this small.
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    if value >= BLOCK {
        append_u64(value / BLOCK, out);
        return out.extend_from_slice(&eight_digits((value % BLOCK) as u32));
    }
    // All eight digits without the zeroes at their front, which are the low bytes of the word.
    let word = u64::from_le_bytes(eight_digits(value as u32));
    let zeroes = (word ^ 0x3030_3030_3030_3030).trailing_zeros() / 8;
    let end = out.len() + 8 - zeroes as usize;
    out.extend_from_slice(&(word >> (8 * zeroes)).to_le_bytes());
    out.truncate(end);
}

/// The digits of `number`, which is below 100,000,000. Each pair of them depends on two divisions only.
#[inline]
pub(crate) fn eight_digits(number: u32) -> [u8; 8] {
    let (high, low) = (number / 10_000, number % 10_000);
    let pair = |number: u32| [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
    let [[a, b], [c, d], [e, f], [g, h]] = [high / 100, high % 100, low / 100, low % 100].map(pair);
    [a, b, c, d, e, f, g, h]
}

/// Appends `value` in decimal.
#[inline]
pub(crate) fn append_i64(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    append_u64(value.unsigned_abs(), out);
}

/// Appends `bytes` as lower-case hex digits.
pub(crate) fn append_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// A floating point number in the width in which it was measured: the shortest digits of 0.1 differ between the two.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Float {
    /// 4 bytes.
    Single(f32),
    /// 8 bytes.
    Double(f64),
}

impl Float {
    fn is_finite(self) -> bool {
        match self {
            Float::Single(value) => value.is_finite(),
            Float::Double(value) => value.is_finite(),
        }
    }

    /// Whether JSON writes the number with an exponent.
    fn needs_exponent(self) -> bool {
        match self {
            Float::Single(value) => value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21),
            Float::Double(value) => value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21),
        }
    }

    /// Appends the shortest digits that read back as the same number, without an exponent.
    fn append_shortest(self, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = match self {
            Float::Single(value) => write!(out, "{value}"),
            Float::Double(value) => write!(out, "{value}"),
        };
    }

    /// Appends the number as JSON writes it; `null` for what JSON has no number for.
    pub(crate) fn append_json(self, out: &mut Vec<u8>) {
        if !self.is_finite() {
            out.extend_from_slice(b"null");
        } else if self.needs_exponent() {
            let start = out.len();
            let _ = match self {
                Float::Single(value) => write!(out, "{value:e}"),
                Float::Double(value) => write!(out, "{value:e}"),
            };
            if let Some(e) = out[start..].iter().position(|byte| *byte == b'e')
                && out.get(start + e + 1) != Some(&b'-')
            {
                out.insert(start + e + 1, b'+');
            }
        } else {
            self.append_shortest(out);
        }
    }

    /// Appends the number with `precision` decimals, half rounded to even; a negative precision means the shortest digits.
    pub(crate) fn append_fixed(self, precision: i32, out: &mut Vec<u8>) {
        let value = match self {
            Float::Single(value) => f64::from(value),
            Float::Double(value) => value,
        };
        if value.is_nan() {
            out.extend_from_slice(b"NaN");
        } else if value.is_infinite() {
            out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
        } else if let Ok(precision) = usize::try_from(precision) {
            let _ = write!(out, "{value:.precision$}");
        } else {
            self.append_shortest(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn integers_are_those_of_the_standard_library(value: i64, shift in 0_u32..64) {
            let value = value >> shift;
            prop_assert_eq!(text(|out| append_i64(value, out)), value.to_string());
            prop_assert_eq!(text(|out| append_u64(value as u64, out)), (value as u64).to_string());
        }
    }

    #[test]
    fn integers_at_the_edges() {
        let powers = (0..20).map(|digits| 10_u64.pow(digits));
        for value in powers.flat_map(|power| [power - 1, power, power + 1]).chain([u64::MAX]) {
            assert_eq!(text(|out| append_u64(value, out)), value.to_string());
        }
        for value in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(text(|out| append_i64(value, out)), value.to_string());
        }
    }

    #[test]
    fn j3_floats_in_json() {
        for (value, expected) in [
            (1e21, "1e+21"),
            (1e-7, "1e-7"),
            (-2.5e-9, "-2.5e-9"),
            (100.0, "100"),
            (0.0, "0"),
            (1e20, "100000000000000000000"),
            (f64::NAN, "null"),
            (f64::NEG_INFINITY, "null"),
        ] {
            assert_eq!(text(|out| Float::Double(value).append_json(out)), expected);
        }
        assert_eq!(text(|out| Float::Single(0.1).append_json(out)), "0.1");
        assert_eq!(
            text(|out| Float::Double(f64::from(0.1f32)).append_json(out)),
            "0.10000000149011612"
        );
    }

    #[test]
    fn k10_floats_in_columns() {
        let fixed = |value, precision| text(|out| Float::Double(value).append_fixed(precision, out));
        assert_eq!(fixed(2.5, 0), "2");
        assert_eq!(fixed(3.5, 0), "4");
        assert_eq!(fixed(3.15159, 2), "3.15");
        assert_eq!(fixed(3.15159, -1), "3.15159");
        assert_eq!(fixed(f64::INFINITY, 2), "+Inf");
    }
}
