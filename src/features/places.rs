//! File systems and container runtimes.

use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, FsType, SECURITYFS_MAGIC, TRACEFS_MAGIC, statfs};

use super::{Fact, Status};

const FILE_SYSTEMS: &str = "file systems";
const RUNTIMES: &str = "runtimes";

/// A file system, where it may be mounted, and what brings it.
const WANTED: [(&str, FsType, &[&str], &str); 4] = [
    (
        "bpffs",
        BPF_FS_MAGIC,
        &["/sys/fs/bpf"],
        "mount -t bpf bpf /sys/fs/bpf, or --auto-mount-filesystems",
    ),
    (
        "tracefs",
        TRACEFS_MAGIC,
        &["/sys/kernel/tracing", "/sys/kernel/debug/tracing"],
        "mount -t tracefs tracefs /sys/kernel/tracing, or --auto-mount-filesystems",
    ),
    (
        "cgroup2",
        CGROUP2_SUPER_MAGIC,
        &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    ),
    (
        "securityfs",
        SECURITYFS_MAGIC,
        &["/sys/kernel/security"],
        "mount -t securityfs securityfs /sys/kernel/security",
    ),
];

/// The sockets of container runtimes at their usual places.
const SOCKETS: [(&str, &[&str]); 4] = [
    ("docker", &["/run/docker.sock", "/var/run/docker.sock"]),
    ("containerd", &["/run/containerd/containerd.sock"]),
    ("cri-o", &["/run/crio/crio.sock"]),
    ("podman", &["/run/podman/podman.sock"]),
];

pub(super) fn file_systems() -> Vec<Fact> {
    WANTED
        .into_iter()
        .map(|(name, magic, places, remedy)| {
            let found = places
                .iter()
                .find(|place| statfs(Path::new(place)).is_ok_and(|fs| fs.filesystem_type() == magic));
            Fact::new(FILE_SYSTEMS, name, Status::of(found.is_some()))
                .detail(found.copied().unwrap_or_default())
                .remedy(remedy)
        })
        .collect()
}

pub(super) fn runtimes() -> Vec<Fact> {
    SOCKETS
        .into_iter()
        .map(|(name, places)| {
            let socket = places.iter().find(|place| Path::new(place).exists());
            let (status, detail) = match socket {
                None => (Status::No, format!("no socket at {}", places[0])),
                Some(place) => match UnixStream::connect(place) {
                    Ok(_) => (Status::Yes, (*place).to_owned()),
                    Err(error) => (Status::No, format!("{place}: {error}")),
                },
            };
            Fact::new(RUNTIMES, name, status).detail(detail)
        })
        .collect()
}
