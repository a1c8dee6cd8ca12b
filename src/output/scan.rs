//! Looking through text from outside a block or a word at a time, because nearly all of it needs no escaping.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// Bytes of a block.
pub(super) const BLOCK: usize = 16;

/// How many of the first `wanted` bytes of `block`, 16 at most, come before one that is not printable ASCII other than `"` and `\`.
#[inline]
pub(super) fn plain_in_block(block: &[u8; BLOCK], wanted: usize) -> usize {
    (special_of_block(block) | u32::MAX << wanted).trailing_zeros() as usize
}

/// Length of the prefix of `bytes` that is printable ASCII other than `"` and `\`.
#[inline]
pub(super) fn plain_prefix(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let mut at = 0;
    for block in blocks {
        match special_of_block(block) {
            0 => at += BLOCK,
            hits => return at + hits.trailing_zeros() as usize,
        }
    }
    let mut words = bytes[at..].chunks_exact(8);
    for word in &mut words {
        let Ok(word) = <[u8; 8]>::try_from(word) else {
            break;
        };
        let hits = special(u64::from_le_bytes(word));
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = words.remainder();
    if let (false, Some(word)) = (rest.is_empty(), bytes.last_chunk::<8>()) {
        // The last bytes together with some that are known to be plain.
        let known = 8 - rest.len();
        let hits = special(u64::from_le_bytes(*word)) >> (8 * known);
        return match hits {
            0 => bytes.len(),
            _ => at + hits.trailing_zeros() as usize / 8,
        };
    }
    at + rest.iter().position(|byte| !is_plain(*byte)).unwrap_or(rest.len())
}

#[inline]
fn is_plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'
}

/// A bit for each byte of `block` that is not plain.
#[cfg(target_arch = "x86_64")]
#[inline]
fn special_of_block(block: &[u8; BLOCK]) -> u32 {
    // SAFETY: there is no x86-64 without SSE2.
    unsafe { special_by_sse2(block) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn special_by_sse2(block: &[u8; BLOCK]) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    let block = u128::from_le_bytes(*block);
    let block = _mm_set_epi64x((block >> 64) as i64, block as i64);
    let is = |byte: u8| _mm_cmpeq_epi8(block, _mm_set1_epi8(byte as i8));
    // As a signed number, what is above U+007F is below everything else.
    let outside = _mm_cmplt_epi8(block, _mm_set1_epi8(0x20));
    let special = _mm_or_si128(_mm_or_si128(is(b'"'), is(b'\\')), _mm_or_si128(outside, is(0x7f)));
    _mm_movemask_epi8(special) as u32
}

/// A bit for each byte of `block` that is not plain; bits above the lowest one may be missing.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn special_of_block(block: &[u8; BLOCK]) -> u32 {
    let block = u128::from_le_bytes(*block);
    let first = |hits: u64| match hits {
        0 => 0,
        hits => 1 << (hits.trailing_zeros() / 8),
    };
    first(special(block as u64)) | first(special((block >> 64) as u64)) << 8
}

/// Marks the bytes of `word` that are not plain. Marks above the lowest one may be wrong, because a borrow or carry of a byte
/// spreads to those above it only.
#[inline]
fn special(word: u64) -> u64 {
    // Bytes above U+007F, which the word itself marks, need not be right in the others.
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    let control = word.wrapping_sub(ONES * 0x20);
    let delete = word.wrapping_add(ONES);
    (word | control | quote | backslash | delete) & HIGH
}

/// The first character of `bytes` and its length in bytes; `None` and 1 when the first byte begins no valid character. `bytes`
/// must not be empty.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> (Option<char>, usize) {
    let len = match bytes.first() {
        Some(0..=0x7f) => 1,
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => return (None, 1),
    };
    match bytes.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok()) {
        Some(text) => (text.chars().next(), len),
        None => (None, 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_byte_at_a_time_would_find(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let slow = bytes.iter().position(|byte| !is_plain(*byte)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_prefix(&bytes), slow);
        }

        #[test]
        fn mostly_plain_text_too(text in "[ -~]{0,40}", at in 0usize..40, byte: u8) {
            let mut bytes = text.into_bytes();
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
            let slow = bytes.iter().position(|byte| !is_plain(*byte)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_prefix(&bytes), slow);
        }

        #[test]
        fn decodes_as_the_standard_library(text: String) {
            let mut rest = text.as_bytes();
            for expected in text.chars() {
                let (found, len) = decode(rest);
                prop_assert_eq!((found, len), (Some(expected), expected.len_utf8()));
                rest = &rest[len..];
            }
        }
    }

    #[test]
    fn every_byte_is_classified() {
        for byte in 0..=255u8 {
            assert_eq!(plain_prefix(&[byte; 8]) == 8, is_plain(byte), "{byte}");
        }
    }
}
