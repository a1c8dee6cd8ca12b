//! perf_event_open(2).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use libbpf_sys::perf_event_attr;

/// Opens the event that `attr` describes, for all processes, on one CPU. `attr.size` must be the size of the structure.
///
/// # Errors
///
/// The kernel's.
pub(super) fn open(attr: &perf_event_attr, cpu: u32) -> io::Result<OwnedFd> {
    debug_assert_eq!(attr.size as usize, size_of::<perf_event_attr>());
    let (every_process, no_group): (libc::pid_t, libc::c_int) = (-1, -1);
    // SAFETY: `attr` is a whole structure that the kernel only reads, during the call; what it points to is the caller's, and lives as
    // long as the borrow.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const *attr,
            every_process,
            cpu as libc::c_int,
            no_group,
            libbpf_sys::PERF_FLAG_FD_CLOEXEC as libc::c_ulong,
        )
    };
    let fd = nix::errno::Errno::result(fd)?;
    // SAFETY: the kernel has just returned this descriptor, which nobody else owns; descriptors fit into an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
