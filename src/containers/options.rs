//! What a collection is asked to look at.

use std::fmt;
use std::path::PathBuf;

use super::host::Host;
use crate::{Error, Result};

/// A container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuntimeKind {
    /// containerd
    Containerd,
    /// CRI-O
    CriO,
    /// docker
    Docker,
    /// podman
    Podman,
}

impl RuntimeKind {
    /// All of them, in the order in which they are listed to users.
    pub const ALL: [Self; 4] = [Self::Docker, Self::Containerd, Self::CriO, Self::Podman];

    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// The runtime called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Parses a comma-separated list of names, as given with `-r`. Blanks around names are ignored, duplicates dropped.
    pub fn parse_list(text: &str) -> Result<Vec<Self>> {
        let mut kinds = Vec::new();
        for name in text.split(',').map(str::trim) {
            let kind = Self::from_name(name).ok_or_else(|| {
                Error::invalid(format!("runtime {name:?} is not supported"))
                    .context("invalid argument '--runtime / -r'")
                    .with_hint("supported values are: docker, containerd, cri-o, podman")
            })?;
            if kinds.contains(&kind) {
                tracing::info!("Ignoring duplicated runtime {name:?} from {text:?}");
            } else {
                kinds.push(kind);
            }
        }
        Ok(kinds)
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to do about a runtime whose socket does not exist when the collection is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingSocket {
    /// An error if the runtime or its socket was named explicitly; else the runtime is left out, with a debug line.
    #[default]
    Check,
    /// A warning; the runtime is used as soon as it appears.
    Wait,
}

/// How the kernel hook hands over its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookBuffer {
    /// A ring buffer where the kernel has it, else a perf buffer.
    #[default]
    Auto,
    /// A ring buffer (Linux 5.8).
    Ring,
    /// A perf buffer.
    Perf,
}

/// What a [`Collection`](super::Collection) looks at, and how.
#[derive(Clone, Debug)]
pub struct CollectionOptions {
    /// The runtimes to ask.
    pub runtimes: Vec<RuntimeKind>,
    /// Whether the user named the runtimes: then one that cannot be used is an error.
    pub explicit_runtimes: bool,
    /// docker's socket on the host. Empty: `$INSPEKTOR_GADGET_DOCKER_SOCKETPATH`, or else docker's own default.
    pub docker_socket: PathBuf,
    /// Whether the user named docker's socket: then one that does not exist is an error.
    pub explicit_docker_socket: bool,
    /// What to do about a missing socket.
    pub missing_socket: MissingSocket,
    /// Where the host is.
    pub host: Host,
    /// Whether to read each container's cgroup paths and OCI configuration too. Events do without.
    pub details: bool,
    /// Whether to watch the kernel for new mount namespaces. Without, a container is known only after its runtime has
    /// announced its start, and a short-lived one possibly never.
    pub hook: bool,
    /// How the hook's records come to user space.
    pub hook_buffer: HookBuffer,
    /// BTF to relocate the hook's programs against, in place of the kernel's own.
    pub btf: Option<PathBuf>,
}

/// docker's own default.
pub const DOCKER_SOCKET: &str = "/run/docker.sock";

impl Default for CollectionOptions {
    fn default() -> Self {
        Self {
            runtimes: RuntimeKind::ALL.to_vec(),
            explicit_runtimes: false,
            docker_socket: DOCKER_SOCKET.into(),
            explicit_docker_socket: false,
            missing_socket: MissingSocket::default(),
            host: Host::from_env(),
            details: false,
            hook: true,
            hook_buffer: HookBuffer::default(),
            btf: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_lists() {
        use RuntimeKind::*;
        assert_eq!(RuntimeKind::parse_list("docker, cri-o,docker").unwrap(), [Docker, CriO]);
        for bad in ["foo", "docker,", ""] {
            let error = RuntimeKind::parse_list(bad).unwrap_err().to_string();
            let name = bad.rsplit(',').next().unwrap();
            assert_eq!(
                error,
                format!("invalid argument '--runtime / -r': runtime {name:?} is not supported")
            );
        }
    }
}
