//! Programs of the root control group: all groups are below it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use libbpf_rs::{Link, ProgramMut};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::failed;
use crate::{Error, Result, ResultExt};

/// Where version 2 of control groups is mounted, alone or beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

pub(super) fn attach(program: &ProgramMut<'_>, family: &str) -> Result<Link> {
    let root = root()?.ok_or_else(|| Error::unsupported(format!("no cgroup v2 mount found (looked in {MOUNTS:?})")))?;
    program
        .attach_cgroup(root.as_raw_fd())
        .map_err(|error| failed(&format!("{family} on the root control group"), &error))
}

/// The root of version 2 of control groups, if that is mounted.
pub(in crate::ebpf) fn root() -> Result<Option<File>> {
    let is_root = |path: &&str| statfs(Path::new(*path)).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
    MOUNTS
        .into_iter()
        .find(is_root)
        .map(|path| File::open(path).with_context(|| format!("opening {path}")))
        .transpose()
}
