//! A second perf event for each buffer of a CPU, which writes to the same buffer and wakes nobody.
//!
//! The event that a perf event array has for a CPU decides whether a record wakes the reader: with each record, which costs an interrupt, or
//! only when half the buffer is full, which would keep single records waiting. So there are both, and the array gets the one or the other: while
//! the reader comes by itself, on its timer, nobody has to wake it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use libbpf_sys::perf_event_attr;

use super::perf::software_event;
use crate::ebpf::perf_event;
use crate::{Error, ErrorKind, Result};

// Of the kernel's linux/perf_event.h: `_IO('$', 5)`, and the bit `watermark` of the attributes.
const PERF_EVENT_IOC_SET_OUTPUT: libc::Ioctl = 0x2405;

/// The pairs of events, by CPU.
#[derive(Debug)]
pub(super) struct Quiet {
    map: MapHandle,
    events: Vec<Pair>,
    /// Whether the quiet ones are in the array.
    on: bool,
}

#[derive(Debug)]
struct Pair {
    cpu: u32,
    /// libbpf's, which wakes with each record. Open as long as the buffer is.
    loud: RawFd,
    quiet: OwnedFd,
}

impl Quiet {
    /// Opens a quiet event beside each of the `loud` ones (CPU, descriptor). `bytes` is the size of a buffer.
    ///
    /// The loud ones must stay open as long as this lives.
    pub(super) fn new(map: &MapHandle, loud: &[(u32, RawFd)], bytes: usize, read_format: u64) -> Result<Self> {
        let events = loud
            .iter()
            .map(|(cpu, loud)| {
                Ok(Pair {
                    cpu: *cpu,
                    loud: *loud,
                    quiet: open(*cpu, *loud, bytes, read_format)?,
                })
            })
            .collect::<io::Result<Vec<Pair>>>()
            .map_err(|error| Error::from_source(ErrorKind::Io, error))?;
        Ok(Self {
            map: MapHandle::try_from(map).map_err(|error| Error::from_source(ErrorKind::Io, error))?,
            events,
            on: false,
        })
    }

    /// Has records wake nobody, or the reader. One that is being written at this moment may still do the other.
    pub(super) fn set(&mut self, on: bool) -> Result<()> {
        if self.on == on {
            return Ok(());
        }
        for pair in &self.events {
            let event = if on { pair.quiet.as_raw_fd() } else { pair.loud };
            self.map
                .update(&pair.cpu.to_ne_bytes(), &event.to_ne_bytes(), MapFlags::ANY)
                .map_err(|error| {
                    Error::from_source(ErrorKind::Io, error).context("changing the events of a perf buffer")
                })?;
        }
        self.on = on;
        Ok(())
    }

    /// The events, which count what they could not write.
    pub(super) fn events(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.events.iter().map(|pair| pair.quiet.as_fd())
    }
}

/// An event of `cpu` that writes to the buffer of the event `of`.
fn open(cpu: u32, of: RawFd, bytes: usize, read_format: u64) -> io::Result<OwnedFd> {
    let mut attributes: perf_event_attr = software_event(read_format);
    attributes.set_watermark(1);
    attributes.__bindgen_anon_2.wakeup_watermark = u32::try_from(bytes / 2).unwrap_or(u32::MAX);
    let event = perf_event::open(&attributes, cpu)?;
    // SAFETY: takes two descriptors, both open.
    let redirected = unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_OUTPUT, of) };
    if redirected < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(event)
}
