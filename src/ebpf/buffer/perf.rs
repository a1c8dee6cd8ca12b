//! Reading perf buffers.

use std::cell::{Cell, RefCell};
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use libbpf_rs::{MapCore, MapHandle, PerfBuffer, PerfBufferBuilder};

use super::{OnRecord, Reader, page_size};
use crate::{Error, ErrorKind, Result};

#[derive(Default)]
struct Counters {
    records: Cell<usize>,
    bytes: Cell<u64>,
    lost: Cell<u64>,
}

pub(super) struct PerfReader {
    perf: PerfBuffer<'static>,
    counters: Rc<Counters>,
    capacity: usize,
    /// The CPU whose buffer is read next, so that a busy one does not starve the others.
    next_cpu: usize,
}

impl PerfReader {
    pub(super) fn new(map: &MapHandle, pages: usize, on_record: OnRecord) -> Result<Self> {
        let counters = Rc::new(Counters::default());
        let (for_samples, for_losses) = (Rc::clone(&counters), Rc::clone(&counters));
        let on_record = RefCell::new(on_record);
        let perf = PerfBufferBuilder::new(map)
            .pages(pages)
            .sample_cb(move |_cpu, record: &[u8]| {
                for_samples.records.set(for_samples.records.get() + 1);
                for_samples.bytes.set(for_samples.bytes.get() + record.len() as u64);
                (on_record.borrow_mut())(record);
            })
            .lost_cb(move |_cpu, count| for_losses.lost.set(for_losses.lost.get().saturating_add(count)))
            .build()
            .map_err(|error| {
                Error::new(
                    ErrorKind::Io,
                    format!("opening perf buffer {:?} of {pages} pages: {error}", map.name()),
                )
                .with_hint("use a smaller --buffer-size")
            })?;
        Ok(Self {
            perf,
            counters,
            capacity: pages * page_size() as usize,
            next_cpu: 0,
        })
    }
}

impl Reader for PerfReader {
    fn wake_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: libbpf keeps its epoll descriptor open as long as the perf buffer lives, which `self` owns.
        unsafe { BorrowedFd::borrow_raw(self.perf.epoll_fd()) }
    }

    fn read(&mut self, max: usize) -> Result<usize> {
        let before = self.counters.records.get();
        let cpus = self.perf.buffer_cnt();
        for _ in 0..cpus {
            self.next_cpu = (self.next_cpu + 1) % cpus;
            self.perf
                .consume_buffer(self.next_cpu)
                .map_err(|error| Error::new(ErrorKind::Io, format!("reading perf buffer: {error}")))?;
            if self.counters.records.get() - before >= max {
                break;
            }
        }
        Ok(self.counters.records.get() - before)
    }

    fn bytes_read(&self) -> u64 {
        self.counters.bytes.get()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn lost(&self) -> u64 {
        self.counters.lost.get()
    }
}
