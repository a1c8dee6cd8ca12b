//! Loading a gadget’s eBPF object: BTF, markers, variables, maps, attachment and event buffers.

mod apart;
pub mod attach;
pub mod btf;
pub mod buffer;
pub mod convention;
pub mod elf;
pub mod features;
pub mod fetch;
pub mod fields;
mod handoff;
pub mod inspect;
mod kernel_stacks;
mod load;
mod loaded;
pub mod markers;
pub mod object;
pub mod params;
mod perf_event;
mod print;
pub mod schema;
pub mod sockets;
mod sources;
pub mod trace_pipe;
pub mod tracer;

use std::path::{Path, PathBuf};

/// Where tracefs is mounted, if it is.
pub(crate) fn tracefs() -> Option<PathBuf> {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.join("events").is_dir())
        .map(Path::to_owned)
}

pub use load::LoadOptions;
pub use loaded::{Loaded, LossCounter};
