//! Buffers of the kernel's in our memory.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A piece of a buffer in our memory.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) address: NonNull<c_void>,
    len: usize,
}

// SAFETY: a mapping is not tied to a thread; it is accessed through `&self` by atomic operations, and as slices only by `Ring`,
// which sees to it that they do not change meanwhile.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(super) fn new(map: BorrowedFd<'_>, offset: usize, len: usize, protection: i32) -> std::io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        match NonNull::new(address) {
            Some(address) if address.as_ptr() != libc::MAP_FAILED => Ok(Self { address, len }),
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    /// The word at byte `offset`, a multiple of 8.
    pub(super) fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= self.len);
        // SAFETY: the word is inside the mapping, which is aligned to a page; everybody accesses it atomically.
        unsafe { AtomicU64::from_ptr(self.address.as_ptr().byte_add(offset).cast()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, and nothing borrows from it any more.
        unsafe { libc::munmap(self.address.as_ptr(), self.len) };
    }
}
