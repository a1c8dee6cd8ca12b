//! The system calls of attaching that neither libbpf-rs nor nix offers in a form that fits: programs here are descriptors that outlive
//! the borrow of their object, because containers come and go on another thread.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Options for a link, all of them off.
pub(super) fn link_options() -> libbpf_sys::bpf_link_create_opts {
    libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    }
}

/// Creates a link, which ends when the descriptor is closed. `target` is a descriptor or an index, as `kind` says.
///
/// What `options` points to must live until this returns, with as many elements as it says.
pub(super) fn create_link(
    program: BorrowedFd<'_>,
    target: i32,
    kind: libbpf_sys::bpf_attach_type,
    options: &libbpf_sys::bpf_link_create_opts,
) -> nix::Result<OwnedFd> {
    // SAFETY: the callers' arrays live longer than this call; the kernel checks all else.
    let fd = unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), target, kind, options) };
    owned(fd)
}

/// Loads a program of a few instructions that needs no types.
pub(super) fn load(
    kind: libbpf_sys::bpf_prog_type,
    name: &CStr,
    attach_type: libbpf_sys::bpf_attach_type,
    instructions: &[libbpf_sys::bpf_insn],
) -> nix::Result<OwnedFd> {
    let mut options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as libbpf_sys::size_t,
        expected_attach_type: attach_type,
        ..Default::default()
    };
    // SAFETY: all pointers are to values that outlive the call, and the count is that of the instructions.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            kind,
            name.as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as libbpf_sys::size_t,
            &raw mut options,
        )
    };
    owned(fd)
}

/// Attaches without a link, so that the program stays until it is [detached](detach).
pub(super) fn attach(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    kind: libbpf_sys::bpf_attach_type,
) -> nix::Result<()> {
    // SAFETY: descriptors that are open, and numbers.
    let result = unsafe { libbpf_sys::bpf_prog_attach(program.as_raw_fd(), target.as_raw_fd(), kind, 0) };
    status(result)
}

/// Takes `program` off again.
pub(super) fn detach(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    kind: libbpf_sys::bpf_attach_type,
) -> nix::Result<()> {
    // SAFETY: descriptors that are open, and numbers.
    let result = unsafe { libbpf_sys::bpf_prog_detach2(program.as_raw_fd(), target.as_raw_fd(), kind) };
    status(result)
}

/// Has `program` look at every packet of a socket.
pub(super) fn attach_filter(socket: BorrowedFd<'_>, program: BorrowedFd<'_>) -> nix::Result<()> {
    let program = program.as_raw_fd();
    // SAFETY: the option's value is an int of the size that is said; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// Binds a packet socket to all protocols on all interfaces of its namespace.
pub(super) fn bind_to_all_packets(socket: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: zeroes are a value of this plain struct.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: a whole address of the length that is said; the kernel only reads it.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

fn owned(fd: i32) -> nix::Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::from_raw(-fd));
    }
    // SAFETY: the descriptor is new, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn status(result: i32) -> nix::Result<()> {
    if result < 0 {
        Err(Errno::from_raw(-result))
    } else {
        Ok(())
    }
}
