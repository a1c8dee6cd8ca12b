//! Entry and return of kernel functions.

use std::path::Path;

use libbpf_rs::{Link, ProgramMut};

use super::failed;
use crate::{Error, Result};

/// Where the kernel says that it can do kprobes, by perf event and by tracefs.
const KPROBE_PMU: &str = "/sys/bus/event_source/devices/kprobe/type";

/// What this architecture puts in front of the names of system calls.
#[cfg(target_arch = "x86_64")]
const SYSCALL_PREFIX: &str = "__x64_";
#[cfg(target_arch = "aarch64")]
const SYSCALL_PREFIX: &str = "__arm64_";

/// Whether the kernel has kprobes, by perf event or by tracefs.
pub(crate) fn has_kprobes() -> bool {
    Path::new(KPROBE_PMU).exists()
        || crate::ebpf::tracefs().is_some_and(|tracefs| tracefs.join("kprobe_events").exists())
}

pub(super) fn attach(program: &ProgramMut<'_>, symbol: &str, on_return: bool) -> Result<Link> {
    let first = match program.attach_kprobe(on_return, symbol) {
        Ok(link) => return Ok(link),
        Err(error) => error,
    };
    if let Ok(link) = program.attach_kprobe(on_return, format!("{SYSCALL_PREFIX}{symbol}")) {
        return Ok(link);
    }
    Err(if !has_kprobes() {
        Error::unsupported(format!(
            "kprobe on {symbol}: this kernel has no kprobes (CONFIG_KPROBE_EVENTS)"
        ))
    } else if first.kind() == libbpf_rs::ErrorKind::NotFound {
        Error::not_found(format!("kernel function {symbol:?} does not exist or cannot be probed"))
    } else {
        failed(&format!("kprobe on {symbol}"), &first)
    })
}
