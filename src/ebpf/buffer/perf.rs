//! Reading perf buffers.
//!
//! Opened through libbpf's raw interface, because the kernel says in a record how much was lost only once there is room for
//! one: what was lost at the very end is known from the event's own counter alone (Linux 6.0), which has to be asked for when
//! the buffer is opened.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr::{NonNull, null};

use libbpf_rs::{MapCore, MapHandle};
use libbpf_sys::{
    LIBBPF_PERF_EVENT_CONT, bpf_perf_event_ret, perf_buffer, perf_buffer__buffer_cnt, perf_buffer__buffer_fd,
    perf_buffer__consume_buffer, perf_buffer__epoll_fd, perf_buffer__free, perf_buffer__new_raw, perf_event_attr,
    perf_event_header, size_t,
};

use super::quiet::Quiet;
use super::{OnRecord, Reader, page_size};
use crate::{Error, ErrorKind, Result};

// Of the kernel's linux/perf_event.h.
const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_BPF_OUTPUT: u64 = 10;
const PERF_SAMPLE_RAW: u64 = 1 << 10;
const PERF_FORMAT_LOST: u64 = 1 << 4;
const PERF_RECORD_LOST: u32 = 2;
const PERF_RECORD_SAMPLE: u32 = 9;

/// What libbpf hands to the callback.
struct Sink {
    on_record: OnRecord,
    records: usize,
    bytes: u64,
    /// As far as lost records tell.
    lost: u64,
}

pub(super) struct PerfReader {
    buffer: NonNull<perf_buffer>,
    /// Owned; libbpf holds a pointer to it as long as `buffer` lives.
    sink: NonNull<Sink>,
    /// Whether the events count what they lose.
    counts_lost: bool,
    capacity: usize,
    /// Events that wake nobody; `None` where they cannot be had.
    quiet: Option<Quiet>,
    /// The CPU whose buffer is read next, so that a busy one does not starve the others.
    next_cpu: usize,
}

impl PerfReader {
    pub(super) fn new(map: &MapHandle, pages: usize, on_record: OnRecord) -> Result<Self> {
        let sink = Box::new(Sink {
            on_record,
            records: 0,
            bytes: 0,
            lost: 0,
        });
        let sink = NonNull::from(Box::leak(sink));
        let opened = open(map, pages, sink, PERF_FORMAT_LOST)
            .map(|buffer| (buffer, true))
            // Before 6.0 the format is unknown.
            .or_else(|_| open(map, pages, sink, 0).map(|buffer| (buffer, false)));
        match opened {
            Ok((buffer, counts_lost)) => {
                let mut reader = Self {
                    buffer,
                    sink,
                    counts_lost,
                    capacity: pages * page_size() as usize,
                    quiet: None,
                    next_cpu: 0,
                };
                reader.quiet = reader.quiet_events(map);
                Ok(reader)
            }
            Err(error) => {
                // SAFETY: the pointer came from `Box::leak` above, and no buffer exists that could use it.
                drop(unsafe { Box::from_raw(sink.as_ptr()) });
                Err(Error::new(
                    ErrorKind::Io,
                    format!("opening perf buffer {:?} of {pages} pages: {error}", map.name()),
                )
                .with_hint("use a smaller --buffer-size"))
            }
        }
    }

    fn sink(&self) -> &Sink {
        // SAFETY: the sink lives as long as `self`; the callback changes it only inside `read`, which borrows `self` mutably.
        unsafe { self.sink.as_ref() }
    }

    fn cpus(&self) -> usize {
        // SAFETY: the buffer is valid until `drop`.
        unsafe { perf_buffer__buffer_cnt(self.buffer.as_ptr()) as usize }
    }

    /// A second event for each CPU. Without them every record wakes the reader, which is slower and as good.
    fn quiet_events(&self, map: &MapHandle) -> Option<Quiet> {
        let cpus = online_cpus()?;
        if cpus.len() != self.cpus() {
            return None;
        }
        let loud: Vec<(u32, RawFd)> = cpus
            .into_iter()
            .zip(0..)
            // SAFETY: the buffer is valid until `drop`, and the index is below the count.
            .map(|(cpu, at)| (cpu, unsafe { perf_buffer__buffer_fd(self.buffer.as_ptr(), at) }))
            .collect();
        let format = if self.counts_lost { PERF_FORMAT_LOST } else { 0 };
        Quiet::new(map, &loud, self.capacity, format)
            .inspect_err(|error| {
                tracing::debug!(
                    "perf buffer {:?} wakes its reader with every record: {error}",
                    map.name()
                )
            })
            .ok()
    }

    /// What the events of all CPUs have lost, by their own count.
    fn counted_lost(&self) -> Option<u64> {
        let mut lost = 0u64;
        for cpu in 0..self.cpus() {
            // SAFETY: the buffer is valid until `drop`, and the index is below the count.
            let fd = unsafe { perf_buffer__buffer_fd(self.buffer.as_ptr(), cpu as size_t) };
            if fd < 0 {
                return None;
            }
            // SAFETY: libbpf keeps the descriptor open as long as the buffer lives.
            lost = lost.saturating_add(lost_of(unsafe { BorrowedFd::borrow_raw(fd) })?);
        }
        for event in self.quiet.iter().flat_map(Quiet::events) {
            lost = lost.saturating_add(lost_of(event)?);
        }
        Some(lost)
    }
}

/// What an event could not write, by its own count.
fn lost_of(event: BorrowedFd<'_>) -> Option<u64> {
    // The value of the event, then what it lost.
    let mut counters = [0; 16];
    let read = nix::unistd::read(event, &mut counters).ok()?;
    let count = counters.get(8..read)?;
    Some(u64::from_ne_bytes(count.try_into().ok()?))
}

/// The numbers of the CPUs that are online, which are those that have a buffer.
fn online_cpus() -> Option<Vec<u32>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    cpu_list(text.trim())
}

/// The numbers in a list like `0-3,8`.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?.min(1 << 16));
    }
    Some(cpus)
}

/// What a perf event is that eBPF programs write to.
pub(super) fn software_event(read_format: u64) -> perf_event_attr {
    let mut attr = perf_event_attr {
        type_: PERF_TYPE_SOFTWARE,
        size: size_of::<perf_event_attr>() as u32,
        config: PERF_COUNT_SW_BPF_OUTPUT,
        sample_type: PERF_SAMPLE_RAW,
        read_format,
        ..perf_event_attr::default()
    };
    attr.__bindgen_anon_1.sample_period = 1;
    attr
}

fn open(map: &MapHandle, pages: usize, sink: NonNull<Sink>, read_format: u64) -> std::io::Result<NonNull<perf_buffer>> {
    let mut attr = software_event(read_format);
    attr.__bindgen_anon_2.wakeup_events = 1;
    // SAFETY: `attr` is read during the call only; `sink` outlives the buffer, see `PerfReader`.
    let buffer = unsafe {
        perf_buffer__new_raw(
            map.as_fd().as_raw_fd(),
            pages as size_t,
            &raw mut attr,
            Some(on_event),
            sink.as_ptr().cast::<c_void>(),
            null(),
        )
    };
    NonNull::new(buffer).ok_or_else(std::io::Error::last_os_error)
}

/// Called by libbpf with every record of a buffer.
unsafe extern "C" fn on_event(context: *mut c_void, _cpu: c_int, event: *mut perf_event_header) -> bpf_perf_event_ret {
    // SAFETY: `context` is the sink that was given to `perf_buffer__new_raw`; nobody else uses it while records are read.
    let sink = unsafe { &mut *context.cast::<Sink>() };
    // SAFETY: libbpf hands over a whole record, whose length is in its header.
    let record = unsafe {
        let len = usize::from((*event).size);
        std::slice::from_raw_parts(event.cast::<u8>().cast_const(), len)
    };
    let body = record.get(size_of::<perf_event_header>()..).unwrap_or_default();
    // SAFETY: as above; the header is inside the record.
    match unsafe { (*event).type_ } {
        PERF_RECORD_SAMPLE => {
            if let Some(data) = sample(body) {
                sink.records += 1;
                sink.bytes += record.len() as u64;
                (sink.on_record)(data);
            }
        }
        PERF_RECORD_LOST => {
            let count = body
                .get(8..16)
                .and_then(|count| count.try_into().ok())
                .map_or(0, u64::from_ne_bytes);
            sink.lost = sink.lost.saturating_add(count);
        }
        _ => {}
    }
    LIBBPF_PERF_EVENT_CONT
}

/// The data of a raw sample: a 4-byte length, then as many bytes.
fn sample(body: &[u8]) -> Option<&[u8]> {
    let len = u32::from_ne_bytes(body.get(..4)?.try_into().ok()?) as usize;
    body.get(4..4usize.checked_add(len)?)
}

impl Reader for PerfReader {
    fn wake_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: libbpf keeps its epoll descriptor open as long as the perf buffer lives, which `self` owns.
        unsafe { BorrowedFd::borrow_raw(perf_buffer__epoll_fd(self.buffer.as_ptr())) }
    }

    fn read(&mut self, max: usize) -> Result<usize> {
        let before = self.sink().records;
        let cpus = self.cpus();
        for _ in 0..cpus {
            self.next_cpu = (self.next_cpu + 1) % cpus;
            // SAFETY: the buffer is valid until `drop`, and the index is below the count.
            let result = unsafe { perf_buffer__consume_buffer(self.buffer.as_ptr(), self.next_cpu as size_t) };
            if result < 0 {
                let error = std::io::Error::from_raw_os_error(-result);
                return Err(Error::from_source(ErrorKind::Io, error).context("reading perf buffer"));
            }
            if self.sink().records - before >= max {
                break;
            }
        }
        Ok(self.sink().records - before)
    }

    fn set_quiet(&mut self, quiet: bool) -> Result<()> {
        match &mut self.quiet {
            Some(events) => events.set(quiet),
            None => Ok(()),
        }
    }

    fn bytes_read(&self) -> u64 {
        self.sink().bytes
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn lost(&self) -> u64 {
        let counted = if self.counts_lost { self.counted_lost() } else { None };
        counted.unwrap_or(self.sink().lost)
    }
}

impl Drop for PerfReader {
    fn drop(&mut self) {
        // SAFETY: both were made in `new`, are freed once, and the buffer, which uses the sink, goes first.
        unsafe {
            perf_buffer__free(self.buffer.as_ptr());
            drop(Box::from_raw(self.sink.as_ptr()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpu_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(cpu_list("0"), Some(vec![0]));
        assert_eq!(cpu_list(""), None);
        assert_eq!(cpu_list("x-2"), None);
    }

    #[test]
    fn samples_carry_their_length() {
        assert_eq!(sample(&[2, 0, 0, 0, 7, 8, 0, 0]), Some(&[7, 8][..]));
        assert_eq!(sample(&[9, 0, 0, 0, 7, 8, 0, 0]), None);
        assert_eq!(sample(&[2, 0]), None);
        assert_eq!(sample(&[255, 255, 255, 255, 1]), None);
    }
}
