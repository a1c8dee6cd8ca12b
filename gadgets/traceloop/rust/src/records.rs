//! Records as the eBPF program writes them.

use api::helpers::from_c_string;

/// Bytes of a record.
const SIZE: usize = 160;
/// The same with the kernel's padding of samples.
pub const RECORD: usize = (SIZE + 4).next_multiple_of(8) - 4;
/// Bytes of a content that fit into a record.
const CONTENT: usize = 128;

pub const ARGS: usize = 6;

/// By what the records of one call belong together: the time at which it began, and who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub monotonic_ts: u64,
    pub pid: u32,
}

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    /// A call begins.
    Enter {
        key: Key,
        at: At,
        args: [u64; ARGS],
    },
    /// It returns.
    Exit { key: Key, at: At, ret: i64 },
    /// What an argument points to.
    Continuation { key: Key, index: u8, content: Content },
}

/// What both ends of a call have.
#[derive(Debug, PartialEq, Eq)]
pub struct At {
    pub boot_ts: u64,
    pub cpu: u16,
    pub id: u16,
    pub comm: String,
}

/// What an argument points to.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// To nothing that could be read.
    Unreadable,
    /// To these bytes, or to more.
    Bytes { bytes: Vec<u8>, is_whole: bool },
}

impl Record {
    /// `None` if it is of no known type.
    pub fn decode(bytes: &[u8; RECORD]) -> Option<Self> {
        let word = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let half = |at: usize| bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let kind = half(0);
        if kind == 2 {
            let key = Key {
                monotonic_ts: word(136),
                pid: half(156),
            };
            let length = usize::try_from(word(144)).unwrap_or(usize::MAX);
            let mut there = &bytes[4..4 + length.min(CONTENT)];
            let is_whole = length <= CONTENT;
            if !is_whole {
                // Texts that are cut off have a NUL at their end all the same.
                there = there.strip_suffix(b"\0").unwrap_or(there);
            }
            let content = match bytes[153] {
                0 => Content::Bytes {
                    bytes: there.to_vec(),
                    is_whole,
                },
                _ => Content::Unreadable,
            };
            let index = bytes[152];
            return Some(Self::Continuation { key, index, content });
        }
        let key = Key {
            monotonic_ts: word(56),
            pid: half(72),
        };
        let at = At {
            boot_ts: word(64),
            cpu: short(76),
            id: short(78),
            comm: from_c_string(&bytes[80..96]),
        };
        match kind {
            0 => Some(Self::Enter {
                key,
                at,
                args: std::array::from_fn(|index| word(8 + 8 * index)),
            }),
            1 => Some(Self::Exit {
                key,
                at,
                ret: word(8) as i64,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_decoded() {
        assert_eq!(RECORD, 164);
        let mut bytes = [0; RECORD];
        bytes[8] = 3;
        bytes[56] = 9;
        bytes[64] = 10;
        bytes[72] = 42;
        bytes[76] = 1;
        bytes[78] = 59;
        bytes[80..82].copy_from_slice(b"sh");
        let key = Key { monotonic_ts: 9, pid: 42 };
        let at = || At {
            boot_ts: 10,
            cpu: 1,
            id: 59,
            comm: "sh".to_string(),
        };
        let args = [3, 0, 0, 0, 0, 0];
        assert_eq!(Record::decode(&bytes), Some(Record::Enter { key, at: at(), args }));
        bytes[0] = 1;
        bytes[8..16].copy_from_slice(&(-2_i64).to_le_bytes());
        assert_eq!(Record::decode(&bytes), Some(Record::Exit { key, at: at(), ret: -2 }));
        bytes[0] = 3;
        assert_eq!(Record::decode(&bytes), None);
    }

    #[test]
    fn contents_are_as_long_as_they_say() {
        let content = |length: u64, failed: u8, last: u8| {
            let mut bytes = [b'x'; RECORD];
            bytes[..4].copy_from_slice(&2_u32.to_le_bytes());
            bytes[131] = last;
            bytes[144..152].copy_from_slice(&length.to_le_bytes());
            bytes[153] = failed;
            match Record::decode(&bytes) {
                Some(Record::Continuation { content, .. }) => content,
                other => panic!("{other:?}"),
            }
        };
        let bytes = |len: usize, is_whole| Content::Bytes {
            bytes: vec![b'x'; len],
            is_whole,
        };
        assert_eq!(content(3, 0, b'x'), bytes(3, true));
        assert_eq!(content(128, 0, b'x'), bytes(128, true));
        assert_eq!(content(u64::MAX, 0, b'x'), bytes(128, false));
        assert_eq!(content(129, 0, 0), bytes(127, false));
        assert_eq!(content(3, 1, b'x'), Content::Unreadable);
    }
}
