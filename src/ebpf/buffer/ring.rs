//! Reading ring buffers.
//!
//! Not through libbpf: that maps the data twice in a row, so that every record is in one piece, and all of both counts as
//! resident memory from the beginning. Here the data is mapped once, and the one record in thousands that goes on at the front
//! is put together in memory of our own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use libbpf_rs::{MapCore, MapHandle};

use super::mapping::Mapping;
use super::{OnRecord, Reader, page_size};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Each record takes this many bytes of the buffer besides its own, and is padded to a multiple of it.
const HEADER: u64 = 8;
/// The record is still being written.
const BUSY: u32 = 1 << 31;
/// The record was given up by who wrote it.
const DISCARDED: u32 = 1 << 30;
/// After so many bytes the kernel is told what has been read. Each time takes the word away from the CPUs that write.
const GIVE_BACK: u64 = 32 * 1024;

/// A ring buffer of the kernel's with us as its only reader.
#[derive(Debug)]
pub(crate) struct Ring {
    map: OwnedFd,
    /// The page with the reader's position, which we write.
    consumer: Mapping,
    /// The page with the writers' position, then the data.
    producer: Mapping,
    page: usize,
    /// Size of the data in bytes, a power of two.
    capacity: u64,
    position: u64,
    /// Where records that wrap around are put together.
    joined: Vec<u8>,
}

impl Ring {
    /// Opens the ring buffer `map`.
    pub(crate) fn new(map: &MapHandle) -> Result<Self> {
        map.as_fd()
            .try_clone_to_owned()
            .map_err(Error::from)
            .and_then(|fd| Self::open(fd, map.max_entries()))
            .with_context(|| format!("opening ring buffer {:?}", map.name()))
    }

    /// Opens what is laid out like a ring buffer with `capacity` bytes of data.
    fn open(map: OwnedFd, capacity: u32) -> Result<Self> {
        if !capacity.is_power_of_two() || u64::from(capacity) <= HEADER {
            return Err(Error::invalid(format!("{capacity} bytes are no size of one")));
        }
        let page = page_size() as usize;
        let consumer = Mapping::new(map.as_fd(), 0, page, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = Mapping::new(map.as_fd(), page, page + capacity as usize, libc::PROT_READ)?;
        let mut ring = Self {
            map,
            consumer,
            producer,
            page,
            capacity: capacity.into(),
            position: 0,
            joined: Vec::new(),
        };
        ring.position = ring.consumer.word(0).load(Ordering::Acquire);
        Ok(ring)
    }

    /// The descriptor that is readable while there are records.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// Bytes that were read so far, headers and padding included.
    fn bytes_read(&self) -> u64 {
        self.position
    }

    /// Calls `on_record` with the records that are there, at most `max` of them, and returns how many it was.
    pub(crate) fn consume(&mut self, max: usize, mut on_record: impl FnMut(&[u8])) -> Result<usize> {
        let mut count = 0;
        let mut given_back = self.position;
        let result = loop {
            if count >= max {
                break Ok(count);
            }
            let at = self.position & (self.capacity - 1);
            let header = if self.position == self.written() {
                BUSY
            } else {
                self.header(at).load(Ordering::SeqCst)
            };
            if header & BUSY != 0 {
                if given_back == self.position {
                    break Ok(count);
                }
                // The kernel wakes a reader that has read everything before: say so, and only then look whether that still holds.
                self.give_back();
                given_back = self.position;
                continue;
            }
            let len = u64::from(header & !DISCARDED);
            if len > self.capacity - HEADER {
                break Err(Error::new(ErrorKind::Io, "a record is larger than its ring buffer"));
            }
            if header & DISCARDED == 0 {
                let start = at + HEADER;
                let first = len.min(self.capacity - start);
                if first == len {
                    on_record(self.data(start, len));
                } else {
                    let mut joined = std::mem::take(&mut self.joined);
                    joined.clear();
                    joined.extend_from_slice(self.data(start, first));
                    joined.extend_from_slice(self.data(0, len - first));
                    on_record(&joined);
                    self.joined = joined;
                }
                count += 1;
            }
            self.position += (len + HEADER).next_multiple_of(HEADER);
            if self.position - given_back >= GIVE_BACK {
                self.give_back();
                given_back = self.position;
            }
        };
        if given_back != self.position {
            self.give_back();
        }
        result
    }

    fn give_back(&self) {
        self.consumer.word(0).store(self.position, Ordering::SeqCst);
    }

    /// The position up to which records are written, or being written.
    fn written(&self) -> u64 {
        self.producer.word(0).load(Ordering::SeqCst)
    }

    /// The first half of the header at offset `at` of the data, a multiple of 8 below the capacity.
    fn header(&self, at: u64) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(HEADER) && at < self.capacity);
        // SAFETY: the data begins a page behind the start of the mapping, so that the word is inside it, and aligned; the kernel
        // changes it as a whole.
        unsafe { AtomicU32::from_ptr(self.producer.address.as_ptr().byte_add(self.page + at as usize).cast()) }
    }

    /// A part of the data that belongs to a record which is complete and was not given back.
    fn data(&self, at: u64, len: u64) -> &[u8] {
        assert!(at + len <= self.capacity);
        // SAFETY: the range is inside the mapping, and the kernel leaves complete records alone until they are given back, which
        // `consume` does only after it is done with them.
        unsafe {
            let start = self.producer.address.as_ptr().byte_add(self.page + at as usize);
            std::slice::from_raw_parts(start.cast::<u8>(), len as usize)
        }
    }
}

pub(super) struct RingReader {
    ring: Ring,
    on_record: OnRecord,
}

impl RingReader {
    pub(super) fn new(map: &MapHandle, on_record: OnRecord) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(map)?,
            on_record,
        })
    }
}

impl Reader for RingReader {
    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.ring.fd()
    }

    fn read(&mut self, max: usize) -> Result<usize> {
        self.ring.consume(max, &mut self.on_record)
    }

    fn bytes_read(&self) -> u64 {
        self.ring.bytes_read()
    }

    fn capacity(&self) -> usize {
        self.ring.capacity as usize
    }

    fn lost(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    const CAPACITY: u32 = 4096;

    /// A ring buffer in a file, and the part of the kernel.
    struct Writer {
        file: File,
        page: u64,
        position: u64,
    }

    impl Writer {
        fn new() -> (Self, Ring) {
            let page = u64::from(page_size());
            let file = File::from(memfd_create(c"ring", MFdFlags::MFD_CLOEXEC).unwrap());
            file.set_len(2 * page + u64::from(CAPACITY)).unwrap();
            let ring = Ring::open(file.try_clone().unwrap().into(), CAPACITY).unwrap();
            (
                Self {
                    file,
                    page,
                    position: 0,
                },
                ring,
            )
        }

        /// Writes at the ring's offset `at`, around its end if need be.
        fn put(&self, at: u64, bytes: &[u8]) {
            for (i, byte) in bytes.iter().enumerate() {
                let at = (at + i as u64) % u64::from(CAPACITY);
                self.file.write_all_at(&[*byte], 2 * self.page + at).unwrap();
            }
        }

        /// Adds a record, and returns where it is.
        fn add(&mut self, data: &[u8], flags: u32) -> u64 {
            let at = self.position;
            self.put(at, &(data.len() as u32 | flags).to_ne_bytes());
            self.put(at + HEADER, data);
            self.position += (data.len() as u64 + HEADER).next_multiple_of(HEADER);
            self.file.write_all_at(&self.position.to_ne_bytes(), self.page).unwrap();
            at
        }

        fn given_back(&self) -> u64 {
            let mut word = [0; 8];
            self.file.read_exact_at(&mut word, 0).unwrap();
            u64::from_ne_bytes(word)
        }
    }

    fn read(ring: &mut Ring, max: usize) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let count = ring.consume(max, |record| records.push(record.to_vec())).unwrap();
        assert_eq!(count, records.len());
        records
    }

    #[test]
    fn records_of_all_lengths_arrive_across_the_end() {
        let (mut writer, mut ring) = Writer::new();
        for len in (0..300).chain(3000..3100) {
            let data: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
            writer.add(&data, 0);
            assert_eq!(read(&mut ring, 10), [data], "{len}");
            assert_eq!(writer.given_back(), writer.position);
        }
        assert!(writer.position > 10 * u64::from(CAPACITY));
        assert_eq!(ring.bytes_read(), writer.position);
        assert_eq!(read(&mut ring, 10), [[0; 0]; 0]);
    }

    #[test]
    fn reads_no_more_than_asked_and_gives_that_back() {
        let (mut writer, mut ring) = Writer::new();
        for i in 0..5 {
            writer.add(&[i; 8], 0);
        }
        assert_eq!(read(&mut ring, 2), [[0; 8], [1; 8]]);
        assert_eq!(writer.given_back(), 32);
        assert_eq!(read(&mut ring, 9), [[2; 8], [3; 8], [4; 8]]);
    }

    #[test]
    fn stops_at_a_record_that_is_being_written_and_skips_one_that_was_given_up() {
        let (mut writer, mut ring) = Writer::new();
        writer.add(b"one", 0);
        writer.add(b"never", DISCARDED);
        let busy = writer.add(b"two", BUSY);
        writer.add(b"three", 0);
        assert_eq!(read(&mut ring, 9), [b"one".to_vec()]);
        assert_eq!(writer.given_back(), busy);
        writer.put(busy, &3u32.to_ne_bytes());
        assert_eq!(read(&mut ring, 9), [b"two".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn impossible_lengths_and_sizes_are_errors() {
        let (mut writer, mut ring) = Writer::new();
        let at = writer.add(b"", 0);
        writer.put(at, &(CAPACITY - 7).to_ne_bytes());
        assert!(ring.consume(1, |_| {}).is_err());
        let file = || memfd_create(c"ring", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(Ring::open(file(), 0).is_err() && Ring::open(file(), 5000).is_err());
    }
}
