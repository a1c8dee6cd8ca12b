//! Raw tracepoints.

use libbpf_rs::{Link, ProgramMut};

use super::failed;
use crate::Result;

pub(super) fn attach(program: &ProgramMut<'_>, name: &str) -> Result<Link> {
    program
        .attach_raw_tracepoint(name)
        .map_err(|error| failed(&format!("raw tracepoint {name}"), &error))
}
