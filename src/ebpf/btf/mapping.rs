//! The kernel's BTF without a copy of it.

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// The bytes of `/sys/kernel/btf/vmlinux` as they are in the kernel. Linux 6.16 and later can show them like this.
///
/// Reading the file copies 5 MB and more, one page per system call; mapped, it costs neither that time nor memory.
#[derive(Debug)]
pub(super) struct Mapping {
    address: NonNull<c_void>,
    len: usize,
}

// SAFETY: the mapping is not tied to a thread, and nobody writes to it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the whole of `file`, which must be one that the kernel never changes; `None` if it cannot be mapped.
    pub(super) fn of_kernel_file(file: &File) -> Option<Self> {
        let len = usize::try_from(file.metadata().ok()?.len())
            .ok()
            .filter(|len| *len > 0)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return None;
        }
        NonNull::new(address).map(|address| Self { address, len })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is `len` bytes long, lives as long as `self`, and neither shrinks nor changes: it shows read-only
        // memory of the kernel.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr().cast::<u8>(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, and nothing borrows from it any more.
        unsafe { libc::munmap(self.address.as_ptr(), self.len) };
    }
}
