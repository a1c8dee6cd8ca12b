//! Programs whose target was resolved through BTF when they were loaded.

use libbpf_rs::{Link, ProgramMut};

use super::failed;
use crate::Result;

pub(super) fn attach(program: &ProgramMut<'_>, name: &str) -> Result<Link> {
    program
        .attach_trace()
        .map_err(|error| failed(&format!("tracepoint {name}"), &error))
}
