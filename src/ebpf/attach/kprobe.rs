//! Entry and return of kernel functions.

use libbpf_rs::{Link, ProgramMut};

use super::failed;
use crate::ebpf::features::Feature;
use crate::{Error, Result};

/// What this architecture puts in front of the names of system calls.
#[cfg(target_arch = "x86_64")]
const SYSCALL_PREFIX: &str = "__x64_";
#[cfg(target_arch = "aarch64")]
const SYSCALL_PREFIX: &str = "__arm64_";

pub(super) fn attach(program: &ProgramMut<'_>, symbol: &str, on_return: bool) -> Result<Link> {
    let first = match program.attach_kprobe(on_return, symbol) {
        Ok(link) => return Ok(link),
        Err(error) => error,
    };
    if let Ok(link) = program.attach_kprobe(on_return, format!("{SYSCALL_PREFIX}{symbol}")) {
        return Ok(link);
    }
    Err(if Feature::Kprobes.is_there() == Some(false) {
        Feature::Kprobes.missing().context(format!("kprobe on {symbol}"))
    } else if first.kind() == libbpf_rs::ErrorKind::NotFound {
        Error::not_found(format!("kernel function {symbol:?} does not exist or cannot be probed"))
    } else {
        failed(&format!("kprobe on {symbol}"), &first)
    })
}
