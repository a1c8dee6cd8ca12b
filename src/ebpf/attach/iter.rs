//! Iterators: programs that run when somebody reads, once for each thing of a kind in the kernel.

use std::os::fd::BorrowedFd;

use libbpf_rs::{IterOpts, Link, MapIterOpts, ProgramMut};

use super::failed;
use crate::{Error, Result};

/// What an iterator goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IterKind {
    /// All tasks of the reader's pid namespace.
    Task,
    /// All open files of all tasks of the reader's pid namespace.
    TaskFile,
    /// TCP sockets of one network namespace.
    Tcp,
    /// UDP sockets of one network namespace.
    Udp,
    /// The kernel's symbols.
    Ksym,
    /// The elements of one map.
    MapElement,
}

impl IterKind {
    /// All kinds, by the name that follows `iter/` in a section.
    pub const NAMES: [(&str, IterKind); 6] = [
        ("task", IterKind::Task),
        ("task_file", IterKind::TaskFile),
        ("tcp", IterKind::Tcp),
        ("udp", IterKind::Udp),
        ("ksym", IterKind::Ksym),
        ("bpf_map_elem", IterKind::MapElement),
    ];

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| *kind)
    }

    /// Whether one reading shows one network namespace: that of the thread that begins it.
    pub fn is_per_network_namespace(self) -> bool {
        matches!(self, IterKind::Tcp | IterKind::Udp)
    }

    /// Whether one reading shows one pid namespace: that of the thread that begins it.
    pub fn is_per_pid_namespace(self) -> bool {
        matches!(self, IterKind::Task | IterKind::TaskFile)
    }
}

/// Makes the link from which the iterator is opened. `map` is the map to walk, for the kind that walks one.
pub(super) fn attach(program: &ProgramMut<'_>, kind: IterKind, map: Option<BorrowedFd<'_>>) -> Result<Link> {
    let options = match (kind, map) {
        (IterKind::MapElement, Some(fd)) => IterOpts::Map(MapIterOpts::from_fd(fd)),
        (IterKind::MapElement, None) => {
            let name = program.name().to_string_lossy();
            return Err(Error::invalid("no map to iterate over").with_hint(format!(
                "say which one in the program: GADGET_ITER_TARGET_MAP({name}, the_map)"
            )));
        }
        _ => IterOpts::None,
    };
    program
        .attach_iter_with_opts(options)
        .map_err(|error| failed("iterator", &error))
}
