//! Reading ring buffers.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use libbpf_rs::{MapCore, MapHandle, RingBuffer, RingBufferBuilder};

use super::{OnRecord, Reader};
use crate::{Error, ErrorKind, Result};

/// Each record takes this many bytes of the buffer besides its own, and is padded to a multiple of it.
const HEADER: u64 = 8;

pub(super) struct RingReader {
    ring: RingBuffer<'static>,
    bytes: Rc<Cell<u64>>,
    capacity: usize,
}

impl RingReader {
    pub(super) fn new(map: &MapHandle, mut on_record: OnRecord) -> Result<Self> {
        let bytes = Rc::new(Cell::new(0));
        let counter = Rc::clone(&bytes);
        let mut builder = RingBufferBuilder::new();
        let failed = |error: libbpf_rs::Error| {
            Error::new(ErrorKind::Io, format!("opening ring buffer {:?}: {error}", map.name()))
        };
        builder
            .add(map, move |record| {
                counter.set(counter.get() + record.len().next_multiple_of(8) as u64 + HEADER);
                on_record(record);
                0
            })
            .map_err(failed)?;
        let ring = builder.build().map_err(failed)?;
        Ok(Self {
            ring,
            bytes,
            capacity: map.max_entries() as usize,
        })
    }
}

impl Reader for RingReader {
    fn wake_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: libbpf keeps its epoll descriptor open as long as the ring buffer manager lives, which `self` owns.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }

    fn read(&mut self, max: usize) -> Result<usize> {
        match self.ring.consume_raw_n(max) {
            count if count >= 0 => Ok(count as usize),
            error => Err(std::io::Error::from_raw_os_error(-error).into()),
        }
    }

    fn bytes_read(&self) -> u64 {
        self.bytes.get()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn lost(&self) -> u64 {
        0
    }
}
