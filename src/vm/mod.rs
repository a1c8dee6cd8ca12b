//! A small machine in QEMU: a Linux kernel and a first file system with nothing but what is to be run there.
//!
//! Gadgets are tested so on kernels that this machine does not run. Nothing is installed and nothing is downloaded: QEMU, the kernel and
//! a static busybox have to be there. The machine has no disk, no network, and this machine's architecture.

mod cpio;
mod kernel;
mod machine;
mod program;

pub use cpio::Archive;
pub use kernel::find_kernel;
pub use machine::{Machine, last_lines};
pub use program::{add_program, find_busybox};

/// The lines of a script that make the file systems of the kernel available, for the beginning of `/init`.
pub const MOUNTS: &str = "\
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup";
