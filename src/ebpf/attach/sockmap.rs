//! Programs of socket maps: they run for the sockets that are in the map which `GADGET_SK_TARGET_MAP` names.

use std::os::fd::{AsFd, OwnedFd};

use super::sites::{Attachment, LoadedProgram};
use super::sys;
use crate::{Error, Result};

/// Taken off the map when this is dropped. Links on socket maps came with Linux 6.10 only.
struct OnMap {
    program: LoadedProgram,
    map: OwnedFd,
}

pub(super) fn attach(program: LoadedProgram, map: OwnedFd) -> Result<Attachment> {
    sys::attach(program.fd.as_fd(), map.as_fd(), program.attach_type)
        .map_err(|error| Error::from(error).context("attaching to the socket map"))?;
    Ok(Attachment::new(OnMap { program, map }))
}

impl Drop for OnMap {
    fn drop(&mut self) {
        let (program, map) = (self.program.fd.as_fd(), self.map.as_fd());
        if let Err(error) = sys::detach(program, map, self.program.attach_type) {
            tracing::debug!("program {:?}: taking it off its socket map: {error}", self.program.name);
        }
    }
}
