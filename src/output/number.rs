//! Numbers as text.

use std::io::Write;

/// Numbers below this have at most eight digits.
const BLOCK: u64 = 100_000_000;
/// What makes digits of the numbers 0 to 9 in the bytes of a word.
const ZEROES: u64 = 0x3030_3030_3030_3030;

/// Appends `value` in decimal.
#[inline]
pub(crate) fn append_u64(value: u64, out: &mut Vec<u8>) {
    // Results, descriptors and flags are mostly this small.
    match value {
        0..10 => out.push(b'0' + value as u8),
        _ => append_digits(value, out),
    }
}

/// Appends `value`, which is not 0. Digits are appended in whole blocks, of which the end is then cut off: that costs less than a piece
/// of any size.
#[inline(never)]
fn append_digits(value: u64, out: &mut Vec<u8>) {
    const TWO_BLOCKS: u64 = BLOCK * BLOCK;
    let len = out.len();
    match value {
        0..BLOCK => {
            // Zeroes at the front are the low bytes of the word.
            let digits = digits(value as u32);
            let zeroes = digits.trailing_zeros() / 8;
            out.extend_from_slice(&((digits | ZEROES) >> (8 * zeroes)).to_le_bytes());
            out.truncate(len + 8 - zeroes as usize);
        }
        BLOCK..TWO_BLOCKS => {
            let (high, low) = (digits((value / BLOCK) as u32), digits((value % BLOCK) as u32));
            let zeroes = high.trailing_zeros() / 8;
            let text = u128::from(low | ZEROES) << 64 | u128::from(high | ZEROES);
            out.extend_from_slice(&(text >> (8 * zeroes)).to_le_bytes());
            out.truncate(len + 16 - zeroes as usize);
        }
        _ => {
            append_digits(value / TWO_BLOCKS, out);
            let rest = value % TWO_BLOCKS;
            out.extend_from_slice(&eight_digits((rest / BLOCK) as u32));
            out.extend_from_slice(&eight_digits((rest % BLOCK) as u32));
        }
    }
}

/// The digits of `number`, which is below 100,000,000, as characters.
#[inline]
pub(crate) fn eight_digits(number: u32) -> [u8; 8] {
    (digits(number) | ZEROES).to_le_bytes()
}

/// The digits of `number`, which is below 100,000,000, as the bytes of a word, the first one lowest. Parts of the number lie side by side
/// in the word and are divided all at once, by multiplying: by 100 (exact below 43,699), then by 10 (exact below 179).
#[inline]
fn digits(number: u32) -> u64 {
    let halves = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = ((halves * 5_243) >> 19) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (halves - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - 10 * tens) << 8
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
    fn all_digits_are_there() {
        let numbers = (0..10_000)
            .chain((0..100_000_000).step_by(9_973))
            .chain([99_999_999, 99_990_000]);
        for number in numbers {
            assert_eq!(eight_digits(number), *format!("{number:08}").as_bytes());
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
