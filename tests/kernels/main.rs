//! Every kind of program on every kernel: the cases run on this machine's kernel, and inside QEMU on Debian's.
//!
//! The virtual machine has nothing but an initramfs: this test binary, `ig`, the gadgets' images and busybox. It runs the same
//! cases as this machine, with this difference: there a case that fails is a failure unless [`cases`] says which version of Linux
//! it needs, here the kernel may be one that was built or locked down without something.
//!
//! `IG_TEST_KERNELS` names the kernels (`5.10 6.1 denied 6.12 newest`; one of them by default; `denied` is 6.1 with a security module that
//! refuses ring buffers). `IG_TEST_KERNELS_TABLE` is a file for the table of what ran where.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../fake_docker/mod.rs"]
mod fake_docker;

mod arm64;
mod cases;
mod denied;
mod gadgets;
mod guests;
mod table;
mod vm;
