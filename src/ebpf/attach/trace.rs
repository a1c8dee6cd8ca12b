//! Programs whose target was resolved through BTF when they were loaded: BTF tracepoints, entry, exit and return values of
//! functions, security hooks.

use libbpf_rs::{Link, ProgramMut};

use super::failed;
use crate::Result;

pub(super) fn attach(program: &ProgramMut<'_>, family: &str, target: &str) -> Result<Link> {
    let (link, hint) = match family {
        "lsm" => (
            program.attach_lsm(),
            "BPF must be among the security modules that the kernel started with (lsm=...,bpf)",
        ),
        "tp_btf" => (program.attach_trace(), "the kernel must have this tracepoint"),
        _ => (
            program.attach_trace(),
            "the kernel must be able to trace functions (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS)",
        ),
    };
    link.map_err(|error| failed(&format!("{family} {target}"), &error).with_hint(hint))
}
