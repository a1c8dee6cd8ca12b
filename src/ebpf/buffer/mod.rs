//! Event buffers: how records come from the kernel to us.
//!
//! A [`Reader`] hands records to a callback; [`drain`] decides when to read. Ring buffers are shared by all CPUs and keep the
//! order of events; perf buffers are per CPU and are used where the kernel has no ring buffer (before 5.8).

pub mod drain;
mod mapping;
pub(crate) mod per_cpu;
mod perf;
mod quiet;
pub(crate) mod ring;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use libbpf_rs::{MapCore, MapHandle, MapType};

use super::features::Feature;
use crate::{Error, Result};

/// Gadgets ask for small ring buffers that lose events in any burst; ours are at least this large, in bytes.
pub const MIN_RING_BYTES: u32 = 4 << 20;
/// Size in bytes of a perf buffer of one CPU when nothing else is asked for.
const PERF_BYTES: u32 = 1 << 20;
/// Buffers larger than this (in bytes) are refused.
const MAX_BYTES: u32 = 1 << 30;

/// The kind of an event buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// One ring buffer for all CPUs.
    Ring,
    /// A perf buffer per CPU.
    Perf,
}

/// What the user wants of event buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferSettings {
    /// The kind; by default the ring buffer if the kernel has it.
    pub kind: Option<BufferKind>,
    /// Size in bytes (per CPU for perf buffers) instead of the default.
    pub bytes: Option<u32>,
}

impl BufferSettings {
    /// Settings with a size that is refused when it cannot be one.
    pub fn new(kind: Option<BufferKind>, bytes: Option<u64>) -> Result<Self> {
        let bytes = match bytes {
            None => None,
            Some(bytes) => match u32::try_from(bytes) {
                Ok(bytes) if (1..=MAX_BYTES).contains(&bytes) => Some(bytes),
                _ => {
                    return Err(Error::invalid(format!(
                        "buffer size must be between 1 and {MAX_BYTES} bytes, got {bytes}"
                    )));
                }
            },
        };
        Ok(Self { kind, bytes })
    }

    /// The kind to use on this kernel.
    pub fn kind(&self) -> Result<BufferKind> {
        match self.kind {
            Some(BufferKind::Ring) if Feature::RingBuffer.is_there() == Some(false) => {
                Err(Feature::RingBuffer.missing())
            }
            Some(kind) => Ok(kind),
            None if Feature::RingBuffer.is_there() == Some(false) => Ok(BufferKind::Perf),
            None => Ok(BufferKind::Ring),
        }
    }

    /// The size in bytes of a ring buffer that the gadget declares with `declared` bytes: a power of two and of pages.
    pub fn ring_bytes(&self, declared: u32) -> u32 {
        let wanted = self.bytes.unwrap_or(declared.max(MIN_RING_BYTES));
        wanted.clamp(page_size(), MAX_BYTES).next_power_of_two()
    }

    /// The number of pages of a perf buffer of one CPU: a power of two.
    fn perf_pages(&self) -> usize {
        (self.bytes.unwrap_or(PERF_BYTES).div_ceil(page_size()) as usize).next_power_of_two()
    }
}

pub(super) fn page_size() -> u32 {
    // 4 KiB is the right answer on all machines but some arm64 ones, where the kernel rounds for us.
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(4096)
}

/// Called with every record. The slice is valid during the call only.
pub type OnRecord = Box<dyn FnMut(&[u8])>;

/// Reads one event buffer.
pub trait Reader {
    /// The descriptor that becomes readable when there are records after there were none.
    fn wake_fd(&self) -> BorrowedFd<'_>;
    /// Reads at most about `max` records and returns how many it was.
    fn read(&mut self, max: usize) -> Result<usize>;
    /// Whether the descriptor need not become readable with each record, because the buffer is going to be read anyway. Records that were
    /// written while it was set may never make it readable: the buffer has to be read once more after it was unset.
    fn set_quiet(&mut self, quiet: bool) -> Result<()> {
        let _ = quiet;
        Ok(())
    }
    /// Bytes that were read so far.
    fn bytes_read(&self) -> u64;
    /// Size of the buffer in bytes.
    fn capacity(&self) -> usize;
    /// Records that the kernel reported as lost when they were written to the buffer.
    fn lost(&self) -> u64;
}

/// Opens the buffer `map`.
pub fn reader(map: &MapHandle, settings: &BufferSettings, on_record: OnRecord) -> Result<Box<dyn Reader>> {
    match map.map_type() {
        MapType::RingBuf => Ok(Box::new(ring::RingReader::new(map, on_record)?)),
        MapType::PerfEventArray => Ok(Box::new(perf::PerfReader::new(map, settings.perf_pages(), on_record)?)),
        other => Err(Error::invalid(format!(
            "map {:?} of type {other:?} carries no events",
            map.name()
        ))),
    }
}

/// How long the reader of a buffer sleeps between two reads while events come, at the most and at the least.
const SLEEP: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(5));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes_are_powers_of_two_and_never_small() {
        let settings = BufferSettings::default();
        assert_eq!(settings.ring_bytes(256 * 1024), MIN_RING_BYTES);
        assert_eq!(settings.ring_bytes(16 << 20), 16 << 20);
        let asked = |bytes| BufferSettings::new(None, Some(bytes)).unwrap().ring_bytes(1 << 24);
        assert_eq!(asked(1), page_size());
        assert_eq!(asked(100_000), 131_072);
        assert_eq!(asked(1 << 30), 1 << 30);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for bytes in [0, (1 << 30) + 1, u64::MAX] {
            assert!(BufferSettings::new(None, Some(bytes)).is_err(), "{bytes}");
        }
    }

    #[test]
    fn perf_pages_are_powers_of_two() {
        let pages = |bytes| {
            BufferSettings::new(Some(BufferKind::Perf), Some(bytes))
                .unwrap()
                .perf_pages()
        };
        assert_eq!(pages(1), 1);
        assert!(pages(3 * u64::from(page_size())) == 4);
    }
}
