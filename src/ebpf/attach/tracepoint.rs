//! Tracepoints through perf events.

use libbpf_rs::{Link, ProgramMut, TracepointCategory};

use super::failed;
use crate::{Error, Result};

pub(super) fn attach(program: &ProgramMut<'_>, group: &str, name: &str) -> Result<Link> {
    program
        .attach_tracepoint(TracepointCategory::Custom(group.to_owned()), name)
        .map_err(|error| {
            if error.kind() != libbpf_rs::ErrorKind::NotFound {
                return failed(&format!("tracepoint {group}/{name}"), &error);
            }
            let found = crate::ebpf::tracefs().is_some_and(|tracefs| tracefs.join("events").join(group).is_dir());
            if found {
                Error::not_found(format!("tracepoint {group}/{name} does not exist in this kernel")).with_hint(
                    "the kernel may be too old, too new, or built without the feature that has this tracepoint",
                )
            } else {
                Error::not_found(format!("tracepoint {group}/{name}: no such group of tracepoints"))
                    .with_hint("is tracefs mounted? try --auto-mount-filesystems")
            }
        })
}
