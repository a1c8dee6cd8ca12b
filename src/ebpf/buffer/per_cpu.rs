//! Perf buffers that are read one record at a time, when their reader wants: also flight recorders, which overwrite what is oldest
//! and are read while they are paused.
//!
//! There is one buffer per CPU. A buffer that overwrites is written backwards, so that its newest record comes first.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use libbpf_sys::perf_event_attr;

use super::mapping::Mapping;
use super::page_size;
use crate::ebpf::perf_event;
use crate::{Error, ErrorKind, Result};

// Of the kernel's linux/perf_event.h.
const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_BPF_OUTPUT: u64 = 10;
const PERF_SAMPLE_RAW: u64 = 1 << 10;
const PERF_RECORD_SAMPLE: u32 = 9;
/// Byte offsets in the first page.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;
/// Type, misc, size.
const HEADER: u64 = 8;
/// A buffer of one CPU is not larger, in bytes.
const LARGEST: u32 = 64 << 20;
/// How often a reader that waits looks.
const LOOK: Duration = Duration::from_millis(5);

/// What reading gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The data of a record, with the kernel's padding.
    Record(Vec<u8>),
    /// So many records were lost here.
    Lost,
    /// There is nothing more.
    Drained,
}

/// The buffers of all CPUs behind one map.
#[derive(Debug)]
pub(crate) struct PerCpuReader {
    map: MapHandle,
    buffers: Vec<CpuBuffer>,
    overwrites: bool,
    paused: bool,
    /// Of flight recorders: what the pause found, in the order in which it is to be read.
    found: VecDeque<Vec<u8>>,
}

#[derive(Debug)]
struct CpuBuffer {
    cpu: u32,
    event: OwnedFd,
    memory: Memory,
    /// Of a flight recorder: where the records began at the last pause.
    seen: u64,
}

/// The first page and the data, which is a power of two.
#[derive(Debug)]
struct Memory {
    mapping: Mapping,
    data: usize,
    capacity: u64,
}

impl PerCpuReader {
    /// Opens buffers of at least `bytes` bytes each, and lets programs write to them.
    pub(crate) fn new(map: MapHandle, bytes: u32, overwrites: bool) -> Result<Self> {
        if map.map_type() != MapType::PerfEventArray {
            return Err(Error::invalid(format!(
                "map {:?} is no array of perf events",
                map.name()
            )));
        }
        if bytes == 0 || bytes > LARGEST {
            return Err(Error::invalid(format!(
                "a buffer has between 1 and {LARGEST} bytes, not {bytes}"
            )));
        }
        let pages = bytes.div_ceil(page_size()).next_power_of_two() as usize;
        let mut buffers = Vec::new();
        for cpu in 0..map.max_entries() {
            match CpuBuffer::open(cpu, pages, overwrites) {
                Ok(buffer) => buffers.push(buffer),
                // The CPU is off.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(Error::from(error).context(format!("opening the buffer of CPU {cpu}"))),
            }
        }
        let mut reader = Self {
            map,
            buffers,
            overwrites,
            paused: true,
            found: VecDeque::new(),
        };
        reader.resume()?;
        Ok(reader)
    }

    /// Bytes of memory that the buffers take.
    pub(crate) fn bytes(&self) -> usize {
        self.buffers.iter().map(|buffer| buffer.memory.capacity as usize).sum()
    }

    /// Lets programs write again.
    pub(crate) fn resume(&mut self) -> Result<()> {
        for buffer in &self.buffers {
            let descriptor = buffer.event.as_raw_fd().to_ne_bytes();
            self.map
                .update(&buffer.cpu.to_ne_bytes(), &descriptor, MapFlags::ANY)
                .map_err(|error| Error::new(ErrorKind::Io, format!("map {:?}: {error}", self.map.name())))?;
        }
        self.paused = false;
        self.found.clear();
        Ok(())
    }

    /// Keeps programs from writing.
    pub(crate) fn pause(&mut self) -> Result<()> {
        for buffer in &self.buffers {
            // What is not there cannot be written to either.
            let _ = self.map.delete(&buffer.cpu.to_ne_bytes());
        }
        if !self.paused && self.overwrites {
            for buffer in self.buffers.iter_mut().rev() {
                buffer.take_backwards(&mut self.found);
            }
        }
        self.paused = true;
        Ok(())
    }

    /// The next record. A flight recorder must be paused, and is then drained at some time; of other buffers it is waited for one until
    /// `stopped` says that there is no point in it.
    pub(crate) fn read(&mut self, stopped: impl Fn() -> bool) -> Result<Next> {
        if self.overwrites {
            if !self.paused {
                return Err(Error::invalid(
                    "a buffer that is overwritten can only be read while it is paused",
                ));
            }
            return Ok(self.found.pop_front().map_or(Next::Drained, Next::Record));
        }
        loop {
            for buffer in self.buffers.iter_mut().rev() {
                if let Some(next) = buffer.take_next() {
                    return Ok(next);
                }
            }
            if stopped() {
                return Err(Error::invalid("the gadget is being stopped"));
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for PerCpuReader {
    fn drop(&mut self) {
        let _ = self.pause();
    }
}

impl CpuBuffer {
    fn open(cpu: u32, pages: usize, overwrites: bool) -> std::io::Result<Self> {
        let mut attr = perf_event_attr {
            type_: PERF_TYPE_SOFTWARE,
            size: size_of::<perf_event_attr>() as u32,
            config: PERF_COUNT_SW_BPF_OUTPUT,
            sample_type: PERF_SAMPLE_RAW,
            ..perf_event_attr::default()
        };
        attr.__bindgen_anon_1.sample_period = 1;
        attr.__bindgen_anon_2.wakeup_watermark = 1;
        attr.set_watermark(1);
        attr.set_write_backward(u64::from(overwrites));
        let event = perf_event::open(&attr, cpu)?;
        let page = page_size() as usize;
        // The kernel overwrites what is mapped so that its reader cannot tell it how far it is.
        let protection = match overwrites {
            true => libc::PROT_READ,
            false => libc::PROT_READ | libc::PROT_WRITE,
        };
        let mapping = Mapping::new(event.as_fd(), 0, page * (1 + pages), protection)?;
        Ok(Self {
            cpu,
            event,
            memory: Memory {
                mapping,
                data: page,
                capacity: (page * pages) as u64,
            },
            seen: 0,
        })
    }

    /// Appends the records that were written since the last time, the newest first.
    fn take_backwards(&mut self, found: &mut VecDeque<Vec<u8>>) {
        let head = self.memory.mapping.word(DATA_HEAD).load(Ordering::Acquire);
        // Positions count down. What is older than one round was overwritten.
        let written = self.seen.wrapping_sub(head).min(self.memory.capacity);
        self.seen = head;
        let mut at = 0;
        while at + HEADER <= written {
            let Some((kind, size)) = self.memory.header(head.wrapping_add(at)) else {
                return;
            };
            if at + size > written {
                return;
            }
            if kind == PERF_RECORD_SAMPLE {
                found.extend(self.memory.sample(head.wrapping_add(at), size));
            }
            at += size;
        }
    }

    /// Takes the oldest record out.
    fn take_next(&mut self) -> Option<Next> {
        let head = self.memory.mapping.word(DATA_HEAD).load(Ordering::Acquire);
        let tail = self.memory.mapping.word(DATA_TAIL);
        let at = tail.load(Ordering::Relaxed);
        if head.wrapping_sub(at) < HEADER {
            return None;
        }
        let Some((kind, size)) = self.memory.header(at) else {
            tail.store(head, Ordering::Release);
            return Some(Next::Lost);
        };
        let next = match kind {
            PERF_RECORD_SAMPLE => self.memory.sample(at, size).map_or(Next::Lost, Next::Record),
            _ => Next::Lost,
        };
        tail.store(at.wrapping_add(size), Ordering::Release);
        Some(next)
    }
}

impl Memory {
    /// Eight bytes at a position, which is a multiple of eight.
    fn word(&self, position: u64) -> [u8; 8] {
        let offset = (position & (self.capacity - 1) & !7) as usize;
        let word = self.mapping.word(self.data + offset);
        word.load(Ordering::Relaxed).to_ne_bytes()
    }

    /// Type and size of the record at a position, if there is one.
    fn header(&self, position: u64) -> Option<(u32, u64)> {
        let [a, b, c, d, _, _, low, high] = self.word(position);
        let size = u64::from(u16::from_ne_bytes([low, high]));
        (size >= HEADER && size % 8 == 0).then(|| (u32::from_ne_bytes([a, b, c, d]), size))
    }

    /// The data of the sample of `size` bytes at a position.
    fn sample(&self, position: u64, size: u64) -> Option<Vec<u8>> {
        let mut body = Vec::with_capacity(size as usize);
        for offset in (HEADER..size).step_by(8) {
            body.extend_from_slice(&self.word(position.wrapping_add(offset)));
        }
        let len = u32::from_ne_bytes(*body.first_chunk()?) as usize;
        Some(body.get(4..4usize.checked_add(len)?)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> Option<MapHandle> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let cpus = libbpf_rs::num_possible_cpus().unwrap() as u32;
        MapHandle::create(MapType::PerfEventArray, Some("test"), 4, 4, cpus, &options).ok()
    }

    #[test]
    fn a_flight_recorder_is_read_while_it_is_paused() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let map = map().expect("root may create maps");
        let mut reader = PerCpuReader::new(map, 4096, true).unwrap();
        assert!(reader.read(|| true).is_err());
        reader.pause().unwrap();
        assert_eq!(reader.read(|| true).unwrap(), Next::Drained);
        assert_eq!(reader.read(|| true).unwrap(), Next::Drained);
        reader.resume().unwrap();
    }

    #[test]
    fn sizes_and_maps_are_checked() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let map = map().expect("root may create maps");
        assert!(PerCpuReader::new(MapHandle::try_from(&map).unwrap(), 0, true).is_err());
        let mut reader = PerCpuReader::new(map, 1, false).unwrap();
        assert!(reader.read(|| true).unwrap_err().to_string().contains("being stopped"));
    }
}
