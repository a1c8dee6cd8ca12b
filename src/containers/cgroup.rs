//! Where a process is in the cgroup hierarchies.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use tracing::debug;

use super::Cgroup;
use super::host::Host;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Where cgroup2 is usually mounted: unified, hybrid.
const MOUNT_POINTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Reads the cgroup of the host's process `pid`. Paths are relative to the host's root cgroup.
///
/// An unreadable cgroup2 mount leaves the path empty and the id 0; only the paths in `/proc` must be there.
pub fn of_process(host: &Host, pid: u32) -> Result<Cgroup> {
    let path = host.proc(pid, "cgroup");
    let text = read_in_host_namespace(host, &path).with_context(|| format!("reading {}", path.display()))?;
    let (v1, v2) = parse(&text)?;
    let mut cgroup = Cgroup {
        v1,
        v2,
        ..Cgroup::default()
    };
    if let Err(error) = locate(&mut cgroup) {
        debug!("cgroup of process {pid}: {error}");
    }
    Ok(cgroup)
}

/// The systemd v1 path and the v2 path in the text of a `/proc/<pid>/cgroup` file; a root path counts as none.
fn parse(text: &str) -> Result<(String, String)> {
    let (mut v1, mut v2) = (String::new(), String::new());
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        if let Some(path) = line.strip_prefix("1:name=systemd:") {
            v1 = path.to_owned();
        } else if let Some(path) = line.strip_prefix("0::") {
            v2 = path.to_owned();
        }
    }
    for path in [&mut v1, &mut v2] {
        if path == "/" {
            path.clear();
        }
    }
    if v1.is_empty() && v2.is_empty() {
        return Err(Error::not_found("cgroup path not found in /proc/PID/cgroup"));
    }
    Ok((v1, v2))
}

/// Fills the path and the id from the v2 path.
fn locate(cgroup: &mut Cgroup) -> Result<()> {
    let mount = mount_point()?;
    let path = mount.join(cgroup.v2.trim_start_matches('/'));
    fs::metadata(&path).with_context(|| format!("looking for {}", path.display()))?;
    cgroup.id = id(&path)?;
    cgroup.path = path.to_string_lossy().into_owned();
    Ok(())
}

/// Where cgroup2 is mounted.
pub(crate) fn mount_point() -> Result<PathBuf> {
    MOUNT_POINTS
        .iter()
        .map(Path::new)
        .find(|path| statfs(*path).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC))
        .map(Path::to_owned)
        .ok_or_else(|| Error::not_found(format!("no cgroup v2 mount found (looked in {MOUNT_POINTS:?})")))
}

/// The kernel's id of the cgroup2 directory `path`.
///
/// It is the directory's inode number too, on every kernel with 64-bit inode numbers, and that is how it is read.
fn id(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(path)
        .with_context(|| format!("reading the id of {}", path.display()))?
        .ino())
}

/// Whether `/proc/<pid>/cgroup` must be read by a thread that has [entered](enter_host_namespace) the host's cgroup namespace.
fn is_elsewhere(host: &Host) -> bool {
    let namespace_of = |pid: u32| host.namespace(pid, "cgroup");
    let own = Host::new("/").namespace(std::process::id(), "cgroup");
    let root = namespace_of(1).or_else(|_| namespace_of(2));
    matches!((own, root), (Ok(own), Ok(root)) if own != root)
}

/// Moves the calling thread to the host's cgroup namespace if it is in another: only there are the paths in
/// `/proc/<pid>/cgroup` the host's. No other work may run on that thread.
pub(crate) fn enter_host_namespace(host: &Host) -> Result<()> {
    if !is_elsewhere(host) {
        return Ok(());
    }
    let namespace = fs::File::open(host.proc(1, "ns/cgroup")).context("opening the host's cgroup namespace")?;
    nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWCGROUP)
        .context("entering the host's cgroup namespace")
}

/// Reads a `/proc/<pid>/cgroup` file as the host's cgroup namespace shows it.
fn read_in_host_namespace(host: &Host, path: &Path) -> Result<String> {
    if !is_elsewhere(host) {
        return Ok(fs::read_to_string(path)?);
    }
    // A thread of its own, so that no other work ever runs in a foreign namespace.
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<String> {
            enter_host_namespace(host)?;
            Ok(fs::read_to_string(path)?)
        });
        reader
            .join()
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Other, "the reader's thread ended early")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        assert_eq!(
            parse("0::/a/b\n1:name=systemd:/c\n").unwrap(),
            ("/c".to_owned(), "/a/b".to_owned())
        );
        assert_eq!(
            parse("9:name=systemd:/c\n0::/x\n").unwrap(),
            (String::new(), "/x".to_owned())
        );
        assert_eq!(
            parse("1:name=systemd:/c\n0::/\n").unwrap(),
            ("/c".to_owned(), String::new())
        );
        for none in ["0::/\n", "", "0::/a", "2:pids:/a\n"] {
            let error = parse(none).unwrap_err().to_string();
            assert_eq!(error, "cgroup path not found in /proc/PID/cgroup");
        }
    }

    #[test]
    fn a_missing_process_is_named() {
        let error = of_process(&Host::new("/"), u32::MAX).unwrap_err().to_string();
        assert!(error.starts_with("reading /proc/4294967295/cgroup: "), "{error}");
    }
}
