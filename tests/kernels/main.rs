//! Every kind of program on every kernel: the cases run on this machine's kernel, and inside QEMU on Debian's.
//!
//! The virtual machine has nothing but an initramfs: this test binary, `ig`, the gadgets' images and busybox. It runs the same
//! cases as this machine, with this difference: there a case that fails is a failure unless [`cases`] says which version of Linux
//! it needs, here the kernel may be one that was built or locked down without something.
//!
//! `IG_TEST_KERNELS` names the kernels (`5.10 6.1 6.12 newest`; one of them by default).

#[path = "../common/mod.rs"]
mod common;

mod cases;
mod cpio;
mod vm;
