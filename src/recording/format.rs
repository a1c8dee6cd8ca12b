//! The bytes of a recording: header, blocks, entries. Pure; see the [module's documentation](super) for the layout.

use super::sparse;
use crate::data::LossPlace;
use crate::{Error, Result};

/// The version that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;
/// Length of the file's header.
pub(super) const FILE_HEADER: usize = 16;
/// Length of a block's header.
pub(super) const BLOCK_HEADER: usize = 24;
/// Payloads of heads and ends are never longer.
pub(super) const MAX_HEAD: u32 = 64 << 20;
/// Payloads of stream blocks are never longer.
pub(super) const MAX_STREAM: u32 = 16 << 20;
/// Length of what precedes the payload of an entry.
pub(super) const ENTRY_HEADER: usize = 8;
/// Payloads of entries are never longer.
pub(super) const MAX_ENTRY: usize = 8 << 20;

const MAGIC: [u8; 8] = *b"\x89IGREC\r\n";

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockType {
    Head,
    Stream,
    End,
    /// Something of a later version.
    Unknown(u16),
}

impl BlockType {
    fn number(self) -> u16 {
        match self {
            Self::Head => 1,
            Self::Stream => 2,
            Self::End => 3,
            Self::Unknown(number) => number,
        }
    }

    fn from_number(number: u16) -> Self {
        match number {
            1 => Self::Head,
            2 => Self::Stream,
            3 => Self::End,
            other => Self::Unknown(other),
        }
    }
}

/// What precedes the payload of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) block_type: BlockType,
    /// Whether a reader that does not know the type may skip the block.
    pub(super) optional: bool,
    /// Whether the payload is packed with zstd.
    pub(super) packed: bool,
    /// Length of the payload in the file.
    pub(super) stored: u32,
    /// Length of the payload when it is unpacked.
    pub(super) length: u32,
    pub(super) events: u32,
    /// CRC of the payload in the file.
    pub(super) crc: u32,
}

const OPTIONAL: u16 = 1;
const PACKED: u16 = 2;

/// What is wrong with a block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Only zeroes, as some file systems leave at the end of a file after a crash.
    Zeroes,
    /// The checksum does not fit, or what it says cannot be.
    Damaged,
}

impl BlockHeader {
    pub(super) fn encode(&self) -> [u8; BLOCK_HEADER] {
        let mut flags = 0;
        if self.optional {
            flags |= OPTIONAL;
        }
        if self.packed {
            flags |= PACKED;
        }
        let mut bytes = [0; BLOCK_HEADER];
        bytes[0..2].copy_from_slice(&self.block_type.number().to_le_bytes());
        bytes[2..4].copy_from_slice(&flags.to_le_bytes());
        let numbers = [self.stored, self.length, self.events, self.crc];
        for (target, number) in bytes[4..20].chunks_exact_mut(4).zip(numbers) {
            target.copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; BLOCK_HEADER]) -> Result<Self, BadHeader> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(BadHeader::Zeroes);
        }
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if number(20) != crc32fast::hash(&bytes[..20]) {
            return Err(BadHeader::Damaged);
        }
        let flags = u16::from_le_bytes([bytes[2], bytes[3]]);
        let header = Self {
            block_type: BlockType::from_number(u16::from_le_bytes([bytes[0], bytes[1]])),
            optional: flags & OPTIONAL != 0,
            packed: flags & PACKED != 0,
            stored: number(4),
            length: number(8),
            events: number(12),
            crc: number(16),
        };
        let limit = match header.block_type {
            BlockType::Head | BlockType::End => MAX_HEAD,
            BlockType::Stream => MAX_STREAM,
            // It is skipped without being read.
            BlockType::Unknown(_) => return Ok(header),
        };
        let fits = header.stored <= limit && header.length <= limit;
        if !fits || (!header.packed && header.stored != header.length) {
            return Err(BadHeader::Damaged);
        }
        Ok(header)
    }
}

/// The file's header.
pub(super) fn file_header() -> [u8; FILE_HEADER] {
    let mut bytes = [0; FILE_HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Whether a file that begins with `bytes` is a recording, of whatever version and state.
pub(super) fn is_recording(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Checks the first bytes of a file.
///
/// # Errors
///
/// It is no recording, one of another version, or damaged.
pub(super) fn check_file_header(bytes: &[u8]) -> Result<()> {
    if !is_recording(bytes) {
        return Err(
            Error::invalid("not a recording").with_hint("recordings are made with `ig run GADGET --record FILE`")
        );
    }
    let Ok(header) = <[u8; FILE_HEADER]>::try_from(bytes) else {
        return Err(Error::invalid("cut off within its header"));
    };
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if number(12) != crc32fast::hash(&header[..12]) {
        return Err(Error::invalid("damaged at byte 0: the checksum of its header is wrong"));
    }
    match number(8) {
        VERSION => Ok(()),
        other => Err(Error::unsupported(format!(
            "it has format version {other}, and this ig reads version {VERSION}"
        ))),
    }
}

/// One thing that happened, in the order of a stream.
///
/// In a stream block: length of the payload (4 bytes), index of the data source in the head (2), kind (1), zero (1), payload. Kinds from
/// 128 on may be skipped by whoever does not know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Kind 0: a record of a single data source, as the kernel wrote it.
    Record(&'a [u8]),
    /// Kind 1: so many records were lost (8 bytes), and where (1 byte: 0 in the kernel's buffer, 1 while recording).
    Loss(LossPlace, u64),
    /// Kind 2: records of an array data source, or packed elements, that belong together, each with its length (4 bytes) before it.
    Batch(&'a [u8]),
    /// Kind 3: JSON of a [`Change`](crate::containers::journal::Change) of what is known about containers.
    Containers(&'a [u8]),
    /// Kind 4: JSON of the names of users and groups that hold from now on.
    Names(&'a [u8]),
    /// Kind 5: records that were held back were looked at again.
    Released,
    /// Kind 6: a record of a single data source without its zeroes: its length (4 bytes), a bit for each 32 bytes of it, eight to a byte and
    /// the first in the lowest bit, and those 32 bytes, of which the last may be fewer, whose bits are set.
    Sparse(&'a [u8]),
    /// Kind 128: JSON of a [stack with its texts](crate::operators::RecordedStack).
    Stack(&'a [u8]),
    /// Something of a later version that may be skipped.
    Skipped,
}

const RECORD: u8 = 0;
const LOSS: u8 = 1;
const BATCH: u8 = 2;
const CONTAINERS: u8 = 3;
const NAMES: u8 = 4;
const RELEASED: u8 = 5;
const SPARSE: u8 = 6;
/// The first of the kinds that may be skipped.
const STACK: u8 = 128;
/// From here on kinds are of later versions.
const LATER_KINDS: u8 = STACK + 1;

/// Appends an entry whose payload has been split into `parts`.
#[inline]
fn append(source: u16, kind: u8, parts: [&[u8]; 2], out: &mut Vec<u8>) {
    let length = (parts[0].len() + parts[1].len()) as u32;
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let [s0, s1] = source.to_le_bytes();
    out.extend_from_slice(&[l0, l1, l2, l3, s0, s1, kind, 0]);
    out.extend_from_slice(parts[0]);
    out.extend_from_slice(parts[1]);
}

/// Appends a record; shorter than [`MAX_ENTRY`].
#[inline]
pub(super) fn append_record(source: u16, record: &[u8], out: &mut Vec<u8>) {
    append(source, RECORD, [record, &[]], out);
}

/// Appends a loss.
pub(super) fn append_loss(source: u16, place: LossPlace, count: u64, out: &mut Vec<u8>) {
    append(
        source,
        LOSS,
        [&count.to_le_bytes(), &[u8::from(place == LossPlace::Recording)]],
        out,
    );
}

/// Appends a batch, its records as [`append_batch_record`] made them.
pub(super) fn append_batch(source: u16, records: &[u8], out: &mut Vec<u8>) {
    append(source, BATCH, [records, &[]], out);
}

/// Appends one record of a batch.
pub(super) fn append_batch_record(record: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    out.extend_from_slice(record);
}

/// Appends what became known about containers.
pub(super) fn append_containers(json: &[u8], out: &mut Vec<u8>) {
    append(0, CONTAINERS, [json, &[]], out);
}

/// Appends names of users and groups.
pub(super) fn append_names(json: &[u8], out: &mut Vec<u8>) {
    append(0, NAMES, [json, &[]], out);
}

/// Appends a stack with its texts.
pub(super) fn append_stack(json: &[u8], out: &mut Vec<u8>) {
    append(0, STACK, [json, &[]], out);
}

/// Appends that records which were held back were looked at again.
pub(super) fn append_released(source: u16, out: &mut Vec<u8>) {
    append(source, RELEASED, [&[], &[]], out);
}

/// The entry at the start of `bytes`, its data source, and what follows; `None` at the end.
///
/// # Errors
///
/// Whatever is there is no entry.
#[inline]
pub(super) fn next_entry(bytes: &[u8]) -> Result<Option<(u16, Entry<'_>, &[u8])>> {
    let Some((header, rest)) = bytes.split_first_chunk::<ENTRY_HEADER>() else {
        return match bytes {
            [] => Ok(None),
            _ => Err(Error::invalid("an entry is cut off")),
        };
    };
    let [l0, l1, l2, l3, s0, s1, kind, _] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let Some((payload, rest)) = rest.split_at_checked(length) else {
        return Err(Error::invalid("an entry is longer than its block"));
    };
    let entry = match kind {
        RECORD => Entry::Record(payload),
        LOSS => loss(payload)?,
        BATCH => Entry::Batch(payload),
        CONTAINERS => Entry::Containers(payload),
        NAMES => Entry::Names(payload),
        RELEASED => Entry::Released,
        SPARSE => Entry::Sparse(payload),
        STACK => Entry::Stack(payload),
        LATER_KINDS.. => Entry::Skipped,
        other => {
            return Err(Error::unsupported(format!("an entry of kind {other}"))
                .with_hint("the recording was made by a later version of ig"));
        }
    };
    Ok(Some((u16::from_le_bytes([s0, s1]), entry, rest)))
}

fn loss(payload: &[u8]) -> Result<Entry<'_>> {
    match *payload {
        [a, b, c, d, e, f, g, h, place] => Ok(Entry::Loss(
            if place == 0 {
                LossPlace::Buffer
            } else {
                LossPlace::Recording
            },
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        )),
        _ => Err(Error::invalid("an entry about a loss has a wrong length")),
    }
}

/// The records of a batch.
#[derive(Clone, Debug)]
pub(super) struct BatchRecords<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for BatchRecords<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (record, rest) = rest.split_at(length.min(rest.len()));
        self.0 = rest;
        Some(record)
    }
}

/// The entries of a block's payload without their payloads: where each begins.
pub(super) fn entry_length(bytes: &[u8]) -> usize {
    match bytes.first_chunk::<4>() {
        Some(length) => (ENTRY_HEADER + u32::from_le_bytes(*length) as usize).min(bytes.len()),
        None => bytes.len(),
    }
}

/// Appends a whole entry; of a record only what there is in it.
pub(super) fn append_packed(entry: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if let Ok(Some((source, Entry::Record(record), _))) = next_entry(entry) {
        append(source, SPARSE, [&[], &[]], out);
        if sparse::pack(record, out) {
            let length = (out.len() - start - ENTRY_HEADER) as u32;
            out[start..start + 4].copy_from_slice(&length.to_le_bytes());
            return;
        }
        out.truncate(start);
    }
    out.extend_from_slice(entry);
}

/// How many events the entry at the start of `bytes` holds.
pub(super) fn entry_events(bytes: &[u8]) -> u32 {
    match next_entry(bytes) {
        Ok(Some((_, Entry::Record(_) | Entry::Sparse(_), _))) => 1,
        Ok(Some((_, Entry::Batch(records), _))) => BatchRecords(records).count() as u32,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BlockHeader {
        BlockHeader {
            block_type: BlockType::Stream,
            optional: false,
            packed: true,
            stored: 100,
            length: 200,
            events: 3,
            crc: 7,
        }
    }

    #[test]
    fn headers_survive_and_notice_every_flipped_bit() {
        let bytes = header().encode();
        assert_eq!(BlockHeader::decode(&bytes), Ok(header()));
        for bit in 0..BLOCK_HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BlockHeader::decode(&flipped), Err(BadHeader::Damaged), "bit {bit}");
        }
        assert_eq!(BlockHeader::decode(&[0; BLOCK_HEADER]), Err(BadHeader::Zeroes));
        for wrong in [
            BlockHeader {
                length: MAX_STREAM + 1,
                ..header()
            },
            BlockHeader {
                packed: false,
                ..header()
            },
        ] {
            assert_eq!(BlockHeader::decode(&wrong.encode()), Err(BadHeader::Damaged));
        }
    }

    #[test]
    fn files_of_others_are_told_apart() {
        let good = file_header();
        check_file_header(&good).unwrap();
        let error = |bytes: &[u8]| check_file_header(bytes).unwrap_err().to_string();
        assert_eq!(error(b""), "not a recording");
        assert_eq!(error(b"\x7fELF............."), "not a recording");
        assert_eq!(error(&good[..12]), "cut off within its header");
        let mut later = good;
        later[8] = 9;
        assert!(error(&later).contains("checksum"));
        let crc = crc32fast::hash(&later[..12]);
        later[12..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(error(&later), "it has format version 9, and this ig reads version 1");
    }

    #[test]
    fn entries_come_back_in_order() {
        let mut batch = Vec::new();
        append_batch_record(b"one", &mut batch);
        append_batch_record(b"", &mut batch);
        let mut bytes = Vec::new();
        append_record(3, b"abc", &mut bytes);
        append_loss(1, LossPlace::Buffer, u64::MAX, &mut bytes);
        append_loss(1, LossPlace::Recording, 2, &mut bytes);
        append_batch(2, &batch, &mut bytes);
        append_containers(b"{}", &mut bytes);
        append_names(b"[]", &mut bytes);
        append_released(4, &mut bytes);
        append_stack(b"{}", &mut bytes);
        append(0, 200, [b"later", b""], &mut bytes);
        let (mut whole, mut sparse) = (Vec::new(), Vec::new());
        append_record(3, &[0; 600], &mut whole);
        append_packed(&whole, &mut sparse);
        bytes.extend(&sparse);
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        let mut events = 0;
        while let Some((source, entry, after)) = next_entry(rest).unwrap() {
            events += entry_events(rest);
            assert_eq!(entry_length(rest), rest.len() - after.len());
            found.push((source, entry));
            rest = after;
        }
        assert_eq!(events, 4);
        assert_eq!(
            found,
            [
                (3, Entry::Record(b"abc")),
                (1, Entry::Loss(LossPlace::Buffer, u64::MAX)),
                (1, Entry::Loss(LossPlace::Recording, 2)),
                (2, Entry::Batch(&batch)),
                (0, Entry::Containers(b"{}")),
                (0, Entry::Names(b"[]")),
                (4, Entry::Released),
                (0, Entry::Stack(b"{}")),
                (0, Entry::Skipped),
                (3, Entry::Sparse(&[0x58, 2, 0, 0, 0, 0, 0])),
            ]
        );
        assert_eq!(BatchRecords(&batch).collect::<Vec<_>>(), [&b"one"[..], b""]);
        for entry in [&bytes[..11], &bytes[11..28]] {
            let mut same = Vec::new();
            append_packed(entry, &mut same);
            assert_eq!(same, entry, "there is nothing to leave out");
        }
        for cut in 1..11 {
            assert!(next_entry(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut unknown = Vec::new();
        append(0, 99, [b"", b""], &mut unknown);
        assert!(next_entry(&unknown).unwrap_err().to_string().contains("kind 99"));
    }
}
