//! Programs of control groups: on that of every selected container, and on the root with the host, which is above all.
//!
//! Only `sockops` programs are on the root in any case: connections are looked at wherever they are made.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::sites::{Attachment, LoadedProgram, Sites};
use super::sys;
use crate::containers::Place;
use crate::containers::cgroup::mount_point;
use crate::{Error, Result, ResultExt};

/// Attaches to the root of the hierarchy.
pub(super) fn attach_to_root(program: &LoadedProgram) -> Result<Attachment> {
    let root = mount_point().map_err(|error| Error::unsupported(error.to_string()))?;
    let directory = File::open(&root).with_context(|| format!("opening {}", root.display()))?;
    attach(program, &directory).with_context(|| format!("attaching to {}", root.display()))
}

/// Attaches for a moment to a group that is empty.
pub(super) fn attempt(program: &LoadedProgram) -> Result<()> {
    let root = mount_point().map_err(|error| Error::unsupported(error.to_string()))?;
    let path = root.join(format!("ig-{}", std::process::id()));
    let _removed = Removed(&path);
    std::fs::create_dir(&path).with_context(|| format!("creating control group {}", path.display()))?;
    let directory = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    attach(program, &directory).map(drop)
}

struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(self.0) {
            tracing::debug!("removing {}: {error}", self.0.display());
        }
    }
}

fn attach(program: &LoadedProgram, directory: &File) -> Result<Attachment> {
    let target = directory.as_raw_fd();
    sys::create_link(program.fd.as_fd(), target, program.attach_type, &sys::link_options())
        .map(Attachment::new)
        .map_err(|error| match error {
            // What another has put there without a link is alone there.
            Errno::EPERM => Error::from(error).with_hint(
                "another program is attached to this control group or one above, and lets nobody be beside it",
            ),
            _ => error.into(),
        })
}

/// The control groups of a run.
#[derive(Default)]
pub(super) struct ControlGroups {
    /// What is attached to the root runs for all groups, and must not be on theirs as well.
    at_root: AtomicBool,
}

impl Sites for ControlGroups {
    type Site = File;
    type Program = LoadedProgram;

    fn name(program: &LoadedProgram) -> &str {
        &program.name
    }

    fn find(&self, place: &Place) -> Result<Vec<(u64, File)>> {
        if place.container().is_none() {
            self.at_root.store(true, Ordering::Relaxed);
        } else if self.at_root.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let path = place.control_group()?;
        let directory = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let inode = directory.metadata()?.ino();
        Ok(vec![(inode, directory)])
    }

    fn attach(&self, program: &LoadedProgram, _inode: u64, directory: &File) -> Result<Attachment> {
        attach(program, directory)
    }
}
