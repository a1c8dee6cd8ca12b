//! What a run needs from the host: privileges, and bpffs and tracefs at their places.
//!
//! Where one of them is not mounted, `--auto-mount-filesystems` mounts it on the host as upstream does. Without that flag
//! the host is left as it is: we move into a mount namespace of our own and mount there. That namespace is a *slave* of the
//! host's, so what the host mounts later (a container's root, say) is still seen, and nothing of ours leaks out. Our own
//! mount namespace id is then not the host's any more.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::ArgMatches;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, DEBUGFS_MAGIC, FsType, TRACEFS_MAGIC, statfs};

use crate::{Error, ErrorKind, Result, ResultExt};

/// What the user wants done about the host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostOptions {
    /// Mount missing file systems on the host itself.
    pub(super) auto_mount_filesystems: bool,
    /// On WSL2, look for the procfs of the host.
    pub(super) auto_wsl_workaround: bool,
}

impl HostOptions {
    /// What the flags of every command say.
    pub(super) fn from_matches(matches: &ArgMatches) -> Self {
        Self {
            auto_mount_filesystems: matches.get_flag("auto-mount-filesystems"),
            auto_wsl_workaround: matches.get_flag("auto-wsl-workaround"),
        }
    }
}

/// How the host is seen from this process.
#[derive(Clone, Debug)]
pub(super) struct HostView {
    /// The root of the host's file system: `$HOST_ROOT`, or `/`.
    pub(super) root: PathBuf,
}

struct Filesystem {
    /// What it is called in messages.
    name: &'static str,
    /// The type to mount.
    kind: &'static str,
    magic: FsType,
    /// Where it may be; mounted at the first.
    places: &'static [&'static str],
}

const BPFFS: Filesystem = Filesystem {
    name: "bpffs",
    kind: "bpf",
    magic: BPF_FS_MAGIC,
    places: &["/sys/fs/bpf"],
};
const DEBUGFS: Filesystem = Filesystem {
    name: "debugfs",
    kind: "debugfs",
    magic: DEBUGFS_MAGIC,
    places: &["/sys/kernel/debug"],
};
const TRACEFS: Filesystem = Filesystem {
    name: "tracefs",
    kind: "tracefs",
    magic: TRACEFS_MAGIC,
    places: &["/sys/kernel/tracing", "/sys/kernel/debug/tracing"],
};

impl Filesystem {
    fn mounted_at(&self) -> Option<&'static str> {
        self.places
            .iter()
            .copied()
            .find(|place| statfs(*place).is_ok_and(|fs| fs.filesystem_type() == self.magic))
    }

    fn mount(&self) -> Result<()> {
        let place = self.places.first().copied().unwrap_or_default();
        mount_at(self.kind, Path::new(place))
    }
}

fn mount_at(kind: &str, place: &Path) -> Result<()> {
    mount(Some("none"), place, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting {}", place.display()))
}

/// Where tracefs is mounted, if it is.
pub(super) fn find_tracefs() -> Option<PathBuf> {
    TRACEFS.mounted_at().map(PathBuf::from)
}

/// Refuses to go on without root's privileges.
///
/// # Errors
///
/// `initializing runtime: ig must be run as root to be able to run eBPF programs`
pub(super) fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(not_root(std::env::args_os().next().as_deref()))
}

fn not_root(program: Option<&OsStr>) -> Error {
    let program = program
        .map(Path::new)
        .and_then(Path::file_name)
        .unwrap_or("ig".as_ref());
    Error::new(
        ErrorKind::Permission,
        format!(
            "{} must be run as root to be able to run eBPF programs",
            program.to_string_lossy()
        ),
    )
    .context("initializing runtime")
    .with_hint("try again with sudo")
}

/// Makes sure that bpffs and tracefs can be used, and says where the host is.
///
/// Must be called while the process has only one thread: the others would stay in the host's mount namespace.
///
/// # Errors
///
/// What could not be mounted and why; on WSL2, that the host's procfs is not visible.
pub(super) fn prepare(options: &HostOptions) -> Result<HostView> {
    let missing = |filesystems: &'static [Filesystem]| filesystems.iter().filter(|fs| fs.mounted_at().is_none());
    if options.auto_mount_filesystems {
        for filesystem in missing(&[BPFFS, TRACEFS]) {
            filesystem.mount()?;
        }
        for filesystem in missing(&[DEBUGFS]) {
            // Nothing of ours reads debugfs, so a kernel without it is good enough.
            if let Err(e) = filesystem.mount() {
                tracing::debug!("{e}");
            }
        }
    } else {
        let missing: Vec<&Filesystem> = missing(&[BPFFS, TRACEFS]).collect();
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(|fs| fs.name).collect();
            let names = names.join(" and ");
            match mount_privately(&missing) {
                Ok(()) => tracing::debug!("{names} not mounted on the host, mounted in a mount namespace of our own"),
                // Without bpffs nothing can be pinned, but everything can run.
                Err(e) if find_tracefs().is_some() => tracing::debug!("{names} not mounted on the host: {e}"),
                Err(e) => {
                    return Err(e
                        .context(format!(
                            "{names} not mounted on the host, and not in a mount namespace of our own either"
                        ))
                        .with_hint(
                            "mount tracefs on the host, or let --auto-mount-filesystems do it; both need CAP_SYS_ADMIN",
                        ));
                }
            }
        }
    }
    if find_tracefs().is_none() {
        return Err(Error::unsupported(
            "tracefs is mounted neither at /sys/kernel/tracing nor at /sys/kernel/debug/tracing",
        )
        .with_hint("did you try --auto-mount-filesystems?"));
    }
    let root = std::env::var_os("HOST_ROOT")
        .filter(|root| !root.is_empty())
        .map_or_else(|| "/".into(), PathBuf::from);
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let (root, _) = visible_host(root, &release, options.auto_wsl_workaround)?;
    Ok(HostView { root })
}

fn mount_privately(missing: &[&Filesystem]) -> Result<()> {
    let threads = fs::read_dir("/proc/self/task")
        .context("reading /proc/self/task")?
        .count();
    if threads != 1 {
        return Err(Error::new(
            ErrorKind::Other,
            format!("the process already has {threads} threads"),
        ));
    }
    enter_private_namespace()?;
    missing.iter().try_for_each(|filesystem| filesystem.mount())
}

/// Moves the calling thread into a copy of its mount namespace that receives mounts and sends none.
fn enter_private_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unsharing the mount namespace")?;
    let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, slave, None::<&str>).context("detaching the mounts from the host's")
}

/// The host's root and procfs. On WSL2 the latter may be hidden behind Docker Desktop's virtual machine.
fn visible_host(root: PathBuf, release: &str, workaround: bool) -> Result<(PathBuf, PathBuf)> {
    let procfs = root.join("proc");
    let own_link = procfs.join("self");
    let is_visible = fs::read_link(&own_link).is_ok();
    if !workaround {
        if release.ends_with("-WSL2") && !is_visible {
            return Err(Error::not_found(format!(
                "{} not found on WSL2 (did you try --auto-wsl-workaround?)",
                own_link.display()
            )));
        }
        return Ok((root, procfs));
    }
    if is_visible || root == Path::new("/") {
        return Ok((root, procfs));
    }
    mount(Some("/proc"), &procfs, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("mounting {}", procfs.display()))?;
    let pid = find_lifecycle_server(&procfs)?.ok_or_else(|| Error::not_found("lifecycle-server process not found"))?;
    let root = PathBuf::from(format!("/proc/{pid}/root/"));
    let procfs = root.join("proc");
    Ok((root, procfs))
}

/// The process of Docker Desktop that sees the virtual machine's own file system.
fn find_lifecycle_server(procfs: &Path) -> Result<Option<u32>> {
    let entries = fs::read_dir(procfs).with_context(|| format!("reading {}", procfs.display()))?;
    for entry in entries {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Processes may end while we look at them.
        let read = |file: &str| -> io::Result<Vec<u8>> { fs::read(entry.path().join(file)) };
        let (Ok(command), Ok(cgroup)) = (read("cmdline"), read("cgroup")) else {
            continue;
        };
        let program = command.split(|b| *b == 0).next().unwrap_or_default();
        if program == b"/usr/bin/lifecycle-server" && String::from_utf8_lossy(&cgroup).contains("/podruntime/docker") {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::linux::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_program_is_named_as_it_was_called() {
        let error = not_root(Some("/usr/local/bin/ig-test".as_ref()));
        assert_eq!(
            error.to_string(),
            "initializing runtime: ig-test must be run as root to be able to run eBPF programs"
        );
        assert_eq!(error.kind(), ErrorKind::Permission);
    }

    #[test]
    fn wsl_without_a_visible_procfs_is_said() {
        let root = tempfile::tempdir().unwrap();
        let error = visible_host(root.path().into(), "5.15.90.1-microsoft-standard-WSL2", false).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}/proc/self not found on WSL2 (did you try --auto-wsl-workaround?)",
                root.path().display()
            )
        );
        visible_host(root.path().into(), "6.1.0-18-amd64", false).unwrap();
        let (root, procfs) = visible_host("/".into(), "5.15.90.1-microsoft-standard-WSL2", true).unwrap();
        assert_eq!((root.as_path(), procfs.as_path()), (Path::new("/"), Path::new("/proc")));
    }

    #[test]
    fn the_lifecycle_server_is_recognised() {
        let procfs = tempfile::tempdir().unwrap();
        let process = |pid: &str, cmdline: &[u8], cgroup: &str| {
            let dir = procfs.path().join(pid);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("cmdline"), cmdline).unwrap();
            fs::write(dir.join("cgroup"), cgroup).unwrap();
        };
        process("12", b"/usr/bin/lifecycle-server\0-x\0", "0::/elsewhere\n");
        process("13", b"/bin/sh\0", "0::/podruntime/docker\n");
        process("self", b"/usr/bin/lifecycle-server\0", "0::/podruntime/docker\n");
        assert_eq!(find_lifecycle_server(procfs.path()).unwrap(), None);
        process("14", b"/usr/bin/lifecycle-server\0-x\0", "0::/podruntime/docker\n");
        assert_eq!(find_lifecycle_server(procfs.path()).unwrap(), Some(14));
    }

    #[test]
    #[ignore = "needs root"]
    fn private_mounts_do_not_reach_the_host() {
        let place = tempfile::tempdir().unwrap();
        let is_tracefs = |path: &Path| statfs(path).unwrap().filesystem_type() == TRACEFS_MAGIC;
        std::thread::scope(|scope| {
            // Unsharing moves only the calling thread, which here is a thread of its own.
            let inside = scope.spawn(|| {
                let before = fs::metadata("/proc/thread-self/ns/mnt").unwrap().st_ino();
                enter_private_namespace().unwrap();
                mount_at("tracefs", place.path()).unwrap();
                assert_ne!(fs::metadata("/proc/thread-self/ns/mnt").unwrap().st_ino(), before);
                is_tracefs(place.path())
            });
            assert!(inside.join().unwrap());
        });
        assert!(!is_tracefs(place.path()));
    }

    #[test]
    #[ignore = "needs root"]
    fn a_mount_that_fails_is_named() {
        let error = mount_at("tracefs", Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().starts_with("mounting /nonexistent: "), "{error}");
    }
}
