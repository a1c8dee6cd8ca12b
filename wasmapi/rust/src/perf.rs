//! Perf buffers that the gadget reads itself, also flight recorders.

use crate::helpers::BufPtr;
use crate::host;
use crate::map::Map;

/// Reads the perf buffers behind a map of type `PerfEventArray`, one of each CPU. Closed when dropped.
#[derive(Debug)]
pub struct PerfReader(pub u32);

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// There is none left.
    Drained,
    /// The reader is not paused, the buffer is too small for the record, or the reader is closed.
    Failed,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Drained => "there is no record left",
            Self::Failed => "reading a record failed",
        })
    }
}

impl std::error::Error for ReadError {}

impl From<ReadError> for String {
    fn from(error: ReadError) -> Self {
        error.to_string()
    }
}

impl PerfReader {
    /// Buffers of `size` bytes per CPU. Those that are overwritable keep the newest records, and are read while they are paused.
    pub fn new(map: &Map, size: u32, is_overwritable: bool) -> Result<Self, String> {
        match host::new_perf_reader(map.handle, size, u32::from(is_overwritable)) {
            0 => Err("creating a perf reader failed".to_string()),
            handle => Ok(Self(handle)),
        }
    }

    /// Keeps programs from writing.
    pub fn pause(&self) -> Result<(), String> {
        match host::perf_reader_pause(self.0) {
            0 => Ok(()),
            _ => Err("pausing a perf reader failed".to_string()),
        }
    }

    /// Lets programs write again.
    pub fn resume(&self) -> Result<(), String> {
        match host::perf_reader_resume(self.0) {
            0 => Ok(()),
            _ => Err("resuming a perf reader failed".to_string()),
        }
    }

    /// Reads one record. The kernel pads it: `n` bytes come as `(n + 4).next_multiple_of(8) - 4`.
    pub fn read(&self, to: &mut [u8]) -> Result<(), ReadError> {
        match host::perf_reader_read(self.0, BufPtr::bytes_mut(to).0) {
            0 => Ok(()),
            2 => Err(ReadError::Drained),
            _ => Err(ReadError::Failed),
        }
    }
}

impl Drop for PerfReader {
    fn drop(&mut self) {
        host::perf_reader_close(self.0);
    }
}
