//! The host as seen from here: its root, its `/proc`, and the identity of its namespaces.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use tracing::debug;

use crate::{Error, ErrorKind, Result, ResultExt};

/// Inode number of the first pid namespace, the same in every kernel.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Where the host's file system is visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    root: PathBuf,
    proc: PathBuf,
}

/// Inode numbers of the host's own namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostNamespaces {
    /// Mount namespace.
    pub mnt: u64,
    /// Network namespace.
    pub net: u64,
}

impl Host {
    /// The host under `$HOST_ROOT`, or under `/` when that is unset or empty.
    pub fn from_env() -> Self {
        let root = std::env::var_os("HOST_ROOT").filter(|root| !root.is_empty());
        Self::new(root.unwrap_or_else(|| "/".into()))
    }

    /// The host under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let proc = root.join("proc");
        Self { root, proc }
    }

    /// The directory under which the host's root file system is visible.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The host's `/proc`.
    pub fn proc_dir(&self) -> &Path {
        &self.proc
    }

    /// `name` in the `/proc` directory of the host's process `pid`.
    pub fn proc(&self, pid: u32, name: &str) -> PathBuf {
        self.proc.join(pid.to_string()).join(name)
    }

    /// Inode number of the namespace `kind` (`mnt`, `net`, …) of the host's process `pid`.
    pub fn namespace(&self, pid: u32, kind: &str) -> Result<u64> {
        let path = self.proc(pid, "ns").join(kind);
        let metadata = fs::metadata(&path).with_context(|| format!("reading namespace {}", path.display()))?;
        Ok(metadata.ino())
    }

    /// The host's own namespaces.
    ///
    /// Those of pid 1; where they cannot be read, those of the kernel's first thread (pid 2), and at last our own.
    pub fn namespaces(&self) -> Result<HostNamespaces> {
        let of = |pid: &str| -> std::io::Result<HostNamespaces> {
            let ino = |kind| Ok::<_, std::io::Error>(fs::metadata(self.proc.join(pid).join("ns").join(kind))?.ino());
            Ok(HostNamespaces {
                mnt: ino("mnt")?,
                net: ino("net")?,
            })
        };
        let error = match of("1") {
            Ok(namespaces) => return Ok(namespaces),
            Err(error) => error,
        };
        // Pid 2 is kthreadd only in the initial pid namespace; elsewhere it can be anything.
        let kthreadd = fs::read_to_string(self.proc(2, "comm")).is_ok_and(|comm| comm.trim_end() == "kthreadd");
        if kthreadd && let Ok(namespaces) = of("2") {
            debug!("namespaces of pid 1 cannot be read ({error}): taking those of kthreadd for the host's");
            return Ok(namespaces);
        }
        debug!("namespaces of pid 1 cannot be read ({error}): taking our own for the host's");
        of("self").context("reading the host's namespaces")
    }

    /// The host's network namespace, from the same processes as [`namespaces`](Self::namespaces).
    pub fn network_namespace(&self) -> Result<File> {
        let wanted = self.namespaces()?.net;
        let of = |pid: &str| File::open(self.proc.join(pid).join("ns/net"));
        for pid in ["1", "2", "self"] {
            let Ok(namespace) = of(pid) else { continue };
            if namespace.metadata()?.ino() == wanted {
                return Ok(namespace);
            }
        }
        Err(Error::not_found(
            "opening the host's network namespace: no process of the host can be asked",
        ))
    }

    /// The id that the kernel's programs see our own process by.
    ///
    /// # Errors
    ///
    /// We are in a pid namespace of our own, and the host's `/proc` is not that of the initial one.
    pub fn own_pid(&self) -> Result<u32> {
        let is_initial = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.ino() == INITIAL_PID_NAMESPACE);
        if is_initial(Path::new("/proc/self/ns/pid")) {
            return Ok(std::process::id());
        }
        // What `self` links to is the reader's id in the namespace that the file system was mounted for.
        let path = self.proc.join("self");
        // A process of the initial namespace is seen nowhere else.
        if ![1, 2].iter().any(|pid| is_initial(&self.proc(*pid, "ns/pid"))) {
            return Err(Error::invalid(format!(
                "{} is not of the initial pid namespace",
                self.proc.display()
            )));
        }
        let target = fs::read_link(&path).with_context(|| format!("reading {}", path.display()))?;
        let pid = target.to_str().and_then(|pid| pid.parse().ok());
        pid.ok_or_else(|| Error::invalid(format!("reading {}: no process id", path.display())))
    }

    /// The parent of the host's process `pid`.
    pub fn parent(&self, pid: u32) -> Result<u32> {
        let path = self.proc(pid, "status");
        let status = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
            .ok_or_else(|| Error::invalid(format!("reading {}: no PPid", path.display())))
    }

    /// When the `/proc` directory of the host's process `pid` was made, in nanoseconds since the Unix epoch.
    pub fn proc_time(&self, pid: u32) -> Result<i64> {
        let modified = fs::metadata(self.proc(pid, "")).and_then(|metadata| metadata.modified())?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Resolves the absolute path `path` of the host, symlinks included, to a path of ours that never leaves the host's root.
    ///
    /// Parts that do not exist are taken as they are.
    pub fn secure_join(&self, path: &Path) -> Result<PathBuf> {
        const MAX_LINKS: usize = 255;

        let mut links = 0;
        let mut todo: Vec<OsString> = parts(path);
        let mut done: Vec<OsString> = Vec::new();
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(part);
            let here = self.root.join(done.iter().collect::<PathBuf>());
            let Ok(target) = fs::read_link(&here) else { continue };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("resolving {}: too many symbolic links", path.display()),
                ));
            }
            done.pop();
            if target.is_absolute() {
                done.clear();
            }
            todo.extend(parts(&target));
        }
        Ok(self.root.join(done.iter().collect::<PathBuf>()))
    }
}

/// The components of `path` that matter for walking down from the root, last first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// Nanoseconds since boot, time in suspend included: the clock of event timestamps.
pub(super) fn boot_ns() -> u64 {
    clock(nix::time::ClockId::CLOCK_BOOTTIME)
}

/// Nanoseconds between boot and the Unix epoch, to be added to a boot time to give a wall-clock time.
pub(super) fn boot_to_wall_ns() -> i64 {
    clock(nix::time::ClockId::CLOCK_REALTIME) as i64 - boot_ns() as i64
}

fn clock(id: nix::time::ClockId) -> u64 {
    // Both clocks exist on every kernel that this program can run on.
    id.now()
        .map(|time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn own_namespaces_are_readable() {
        let host = Host::new("/");
        let own = host.namespace(std::process::id(), "mnt").unwrap();
        assert_eq!(own, fs::metadata("/proc/self/ns/mnt").unwrap().ino());
        let namespaces = host.namespaces().unwrap();
        assert!(namespaces.mnt != 0 && namespaces.net != 0 && namespaces.mnt != namespaces.net);
        assert!(
            host.namespace(std::process::id(), "nosuch")
                .unwrap_err()
                .to_string()
                .contains("/ns/nosuch")
        );
        assert_eq!(
            host.parent(std::process::id()).unwrap(),
            std::os::unix::process::parent_id()
        );
        assert_eq!(host.own_pid().unwrap(), std::process::id());
        assert_eq!(
            host.network_namespace().unwrap().metadata().unwrap().ino(),
            namespaces.net
        );
    }

    #[test]
    fn joins_stay_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("run/real")).unwrap();
        fs::create_dir_all(root.join("var")).unwrap();
        symlink("/run", root.join("var/run")).unwrap();
        symlink("../../../../etc", root.join("run/up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let host = Host::new(root);
        for (path, expected) in [
            ("/run/docker.sock", "run/docker.sock"),
            ("/var/run/docker.sock", "run/docker.sock"),
            ("/../../x", "x"),
            ("/run/up/passwd", "etc/passwd"),
            ("/run/real/../a", "run/a"),
        ] {
            assert_eq!(
                host.secure_join(Path::new(path)).unwrap(),
                root.join(expected),
                "{path}"
            );
        }
        let error = host.secure_join(Path::new("/loop/x")).unwrap_err().to_string();
        assert!(error.contains("too many symbolic links"), "{error}");
    }

    #[test]
    fn clocks_agree() {
        let wall = std::time::SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as i64;
        let ours = boot_ns() as i64 + boot_to_wall_ns();
        assert!((wall - ours).abs() < 1_000_000_000, "{wall} {ours}");
    }
}
