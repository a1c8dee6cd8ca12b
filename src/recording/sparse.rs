//! Sparse records: those of the kernel without their zeroes. Texts have room for much more than they mostly are, so that most of a
//! record is nothing.
//!
//! A sparse record is the record's length (4 bytes), then a bit for each of its [chunks](CHUNK), eight to a byte and the first in the
//! lowest bit, then the chunks whose bits are set, back to back. All others are zero. The last chunk of a record may be short.

use super::format::MAX_ENTRY;
use crate::{Error, Result};

/// Bytes of a chunk: few enough to leave most zeroes out, and enough to be worth a bit.
const CHUNK: usize = 32;
/// Bytes of a record that a byte of bits is about.
const GROUP: usize = 8 * CHUNK;

/// Appends `record`. `false`, and nothing happens, if that would not be shorter than the record itself.
pub(super) fn pack(record: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    for group in record.chunks(GROUP) {
        let bit = |(index, chunk)| u8::from(is_something(chunk)) << index;
        out.push(group.chunks(CHUNK).enumerate().map(bit).sum());
    }
    for chunk in record.chunks(CHUNK).filter(|chunk| is_something(chunk)) {
        out.extend_from_slice(chunk);
    }
    let is_shorter = out.len() - start < record.len();
    if !is_shorter {
        out.truncate(start);
    }
    is_shorter
}

/// Whether any byte of a chunk is not zero.
fn is_something(chunk: &[u8]) -> bool {
    match <&[u8; CHUNK]>::try_from(chunk) {
        Ok(chunk) => *chunk != [0; CHUNK],
        Err(_) => chunk.iter().any(|byte| *byte != 0),
    }
}

/// Replaces `record` by the one that was packed.
///
/// # Errors
///
/// Nobody packed it so.
pub(super) fn unpack(sparse: &[u8], record: &mut Vec<u8>) -> Result<()> {
    match try_unpack(sparse, record) {
        Some(()) => Ok(()),
        None => Err(Error::invalid("a sparse record does not hold what it says")),
    }
}

#[inline]
fn try_unpack(sparse: &[u8], record: &mut Vec<u8>) -> Option<()> {
    let (length, rest) = sparse.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_ENTRY {
        return None;
    }
    let (bits, mut chunks) = rest.split_at_checked(length.div_ceil(GROUP))?;
    record.clear();
    record.resize(length, 0);
    for (bits, group) in bits.iter().zip(record.chunks_mut(GROUP)) {
        let mut left = *bits;
        while left != 0 {
            let target = group.get_mut(left.trailing_zeros() as usize * CHUNK..)?;
            left &= left - 1;
            if let (Some(target), Some((chunk, others))) =
                (target.first_chunk_mut(), chunks.split_first_chunk::<CHUNK>())
            {
                *target = *chunk;
                chunks = others;
            } else {
                // The last one, if it is short.
                let (chunk, others) = chunks.split_at_checked(target.len().min(CHUNK))?;
                target.copy_from_slice(chunk);
                chunks = others;
            }
        }
    }
    chunks.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(record: &[u8]) -> Option<usize> {
        let mut sparse = b"before".to_vec();
        if !pack(record, &mut sparse) {
            assert_eq!(sparse, b"before");
            return None;
        }
        let sparse = &sparse[6..];
        let mut again = vec![7; 100];
        unpack(sparse, &mut again).unwrap();
        assert_eq!(again, record);
        Some(sparse.len())
    }

    #[test]
    fn zeroes_are_left_out() {
        let mut record = vec![0; 1000];
        assert_eq!(there_and_back(&record), Some(4 + 4));
        record[0] = 1;
        record[31] = 1;
        record[999] = 1;
        assert_eq!(there_and_back(&record), Some(4 + 4 + 32 + 8));
        record[512] = 1;
        assert_eq!(there_and_back(&record), Some(4 + 4 + 64 + 8));
    }

    #[test]
    fn what_has_none_stays() {
        for length in [0, 1, 4, 31, 32, 33, 64, 1000] {
            assert_eq!(there_and_back(&vec![1; length]), None, "{length}");
        }
        assert_eq!(there_and_back(&[0; 5]), None);
        assert_eq!(there_and_back(&[0; 6]), Some(5));
    }

    #[test]
    fn what_nobody_packed_is_refused() {
        let mut record = vec![0; 300];
        record[40] = 1;
        record[299] = 2;
        let mut sparse = Vec::new();
        assert!(pack(&record, &mut sparse));
        let mut out = Vec::new();
        let mut refused = |sparse: &[u8]| unpack(sparse, &mut out).is_err();
        for cut in 0..sparse.len() {
            assert!(refused(&sparse[..cut]), "cut at {cut}");
        }
        sparse.push(0);
        assert!(refused(&sparse), "something follows");
        sparse.pop();
        sparse[5] |= 0x80;
        assert!(refused(&sparse), "a chunk beyond the end");
        assert!(refused(&u32::MAX.to_le_bytes()));
        let mut too_long = (MAX_ENTRY as u32 + 1).to_le_bytes().to_vec();
        too_long.resize(4 + (MAX_ENTRY + 1).div_ceil(GROUP), 0);
        assert!(refused(&too_long));
    }

    proptest! {
        #[test]
        fn every_record_comes_back(runs in prop::collection::vec((0..100_usize, prop::collection::vec(any::<u8>(), 0..100)), 0..10)) {
            let mut record = Vec::new();
            for (zeroes, bytes) in runs {
                record.resize(record.len() + zeroes, 0);
                record.extend(bytes);
            }
            there_and_back(&record);
        }

        #[test]
        fn nothing_is_believed(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0..2000_u32) {
            let mut sparse = length.to_le_bytes().to_vec();
            sparse.extend(bytes);
            let mut record = Vec::new();
            let _ = unpack(&sparse, &mut record);
        }
    }
}
