//! Sparse records: those of the kernel without their zeroes, as [`Entry::Sparse`](super::Entry::Sparse) has them. Texts have room for
//! much more than they mostly are, so that most of a record is nothing.

use super::format::MAX_ENTRY;
use crate::{Error, Result};

/// Bytes of a chunk: few enough to leave most zeroes out, and enough to be worth a bit.
const CHUNK: usize = 32;
/// Bytes of a record that a byte of bits is about.
const IN_BYTE: usize = 8 * CHUNK;
/// Chunks that are unpacked in one go: as many as a word has bits.
const IN_GROUP: usize = u64::BITS as usize;

/// Appends `record`. `false`, and nothing happens, if that would not be shorter than the record itself.
pub(super) fn pack(record: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    let bits = out.len();
    out.resize(bits + record.len().div_ceil(IN_BYTE), 0);
    for (index, chunk) in record.chunks(CHUNK).enumerate() {
        if is_something(chunk) {
            out[bits + index / 8] |= 1 << (index % 8);
            out.extend_from_slice(chunk);
        }
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

/// Makes sparse records whole, one after the other in the same memory: only what is other than before is written there.
#[derive(Debug, Default)]
pub(super) struct Unpacker {
    groups: Vec<[[u8; CHUNK]; IN_GROUP]>,
    /// The chunks in there that are not zero.
    bits: Vec<u64>,
}

impl Unpacker {
    /// The record that was packed.
    ///
    /// # Errors
    ///
    /// Nobody packed it so.
    pub(super) fn unpack(&mut self, sparse: &[u8]) -> Result<&[u8]> {
        match self.try_unpack(sparse) {
            Some(length) => Ok(&self.groups.as_flattened().as_flattened()[..length]),
            None => Err(Error::invalid("a sparse record does not hold what it says")),
        }
    }

    /// Returns the length of the record.
    fn try_unpack(&mut self, sparse: &[u8]) -> Option<usize> {
        let (length, rest) = sparse.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_ENTRY {
            return None;
        }
        let (bits, mut chunks) = rest.split_at_checked(length.div_ceil(IN_BYTE))?;
        let groups = length.div_ceil(CHUNK * IN_GROUP);
        if self.groups.len() < groups {
            self.groups.resize(groups, [[0; CHUNK]; IN_GROUP]);
            self.bits.resize(groups, 0);
        }
        let (mut whole, short) = (length / CHUNK, length % CHUNK);
        for ((group, before), bits) in self.groups.iter_mut().zip(&mut self.bits).zip(bits.chunks(8)) {
            let bits = word(bits);
            for index in ones(*before & !bits) {
                group[index] = [0; CHUNK];
            }
            // Even when something turns out to be wrong, what was written is known.
            *before |= bits;
            for index in ones(bits) {
                let next = chunks.split_first_chunk().filter(|_| index < whole);
                chunks = match next {
                    Some((chunk, others)) => {
                        group[index] = *chunk;
                        others
                    }
                    // Only the last one of the record may be short.
                    None if index == whole && short > 0 => {
                        let (chunk, others) = chunks.split_at_checked(short)?;
                        group[index].get_mut(..chunk.len())?.copy_from_slice(chunk);
                        others
                    }
                    None => return None,
                };
            }
            *before = bits;
            whole = whole.saturating_sub(IN_GROUP);
        }
        chunks.is_empty().then_some(length)
    }
}

/// Bits of a group; what is not there is zero.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// The numbers of the bits that are set.
#[inline]
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (index < IN_GROUP).then_some(index)
    })
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
        assert_eq!(Unpacker::default().unpack(sparse).unwrap(), record);
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
        let mut unpacker = Unpacker::default();
        let mut refused = |sparse: &[u8]| unpacker.unpack(sparse).is_err();
        for cut in 0..sparse.len() {
            assert!(refused(&sparse[..cut]), "cut at {cut}");
        }
        sparse.push(0);
        assert!(refused(&sparse), "something follows");
        sparse.pop();
        sparse[5] |= 0x80;
        assert!(refused(&sparse), "a chunk beyond the end");
        assert!(refused(&u32::MAX.to_le_bytes()));
        let end = CHUNK as u8;
        assert!(!refused(&[end, 0, 0, 0, 0]) && refused(&[end, 0, 0, 0, 2]));
        let mut too_long = (MAX_ENTRY as u32 + 1).to_le_bytes().to_vec();
        too_long.resize(4 + (MAX_ENTRY + 1).div_ceil(IN_BYTE), 0);
        assert!(refused(&too_long));
    }

    fn record(runs: Vec<(usize, Vec<u8>)>) -> Vec<u8> {
        let mut record = Vec::new();
        for (zeroes, bytes) in runs {
            record.resize(record.len() + zeroes, 0);
            record.extend(bytes);
        }
        record
    }

    fn records() -> impl Strategy<Value = Vec<u8>> {
        let run = (0..100_usize, prop::collection::vec(any::<u8>(), 0..100));
        prop::collection::vec(run, 0..10).prop_map(record)
    }

    proptest! {
        #[test]
        fn every_record_comes_back(record in records()) {
            there_and_back(&record);
        }

        #[test]
        fn nothing_is_left_of_the_records_before(
            records in prop::collection::vec((records(), any::<bool>(), any::<prop::sample::Index>()), 1..10),
        ) {
            let mut unpacker = Unpacker::default();
            for (record, is_damaged, place) in records {
                let mut sparse = Vec::new();
                if !pack(&record, &mut sparse) {
                    continue;
                }
                if is_damaged {
                    sparse.truncate(place.index(sparse.len()));
                    prop_assert!(unpacker.unpack(&sparse).is_err());
                } else {
                    prop_assert_eq!(unpacker.unpack(&sparse).unwrap(), record);
                }
            }
        }

        #[test]
        fn nothing_is_believed(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0..2000_u32) {
            let mut sparse = length.to_le_bytes().to_vec();
            sparse.extend(bytes);
            if let Ok(record) = Unpacker::default().unpack(&sparse) {
                prop_assert_eq!(record.len(), length as usize);
            }
        }
    }
}
