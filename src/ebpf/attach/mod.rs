//! Attaching programs: one file per program family.
//!
//! A program's section says its family and its target; the gadget's configuration can say another target. A family that this
//! version does not attach is refused by name.

mod iter;
mod kprobe;
mod raw_tracepoint;
mod tp_btf;
mod tracepoint;

use std::os::fd::BorrowedFd;

use libbpf_rs::{Link, ProgramMut};

pub use self::iter::IterKind;

use super::print;
use crate::{Error, Result, ResultExt};

/// The target that means: load, but do not attach.
pub const DISABLED: &str = "gadget_program_disabled";

const SECTIONS: &str = "this version attaches tracepoint/GROUP/NAME, raw_tracepoint/NAME, tp_btf/NAME, kprobe/FUNCTION, \
     kretprobe/FUNCTION and iter/KIND";

/// Where a program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// Nowhere, because the gadget says so.
    Disabled,
    /// A kernel tracepoint through perf.
    Tracepoint {
        /// Group, such as `syscalls`.
        group: String,
        /// Name in the group.
        name: String,
    },
    /// A kernel tracepoint with its raw arguments.
    RawTracepoint {
        /// Name of the tracepoint.
        name: String,
    },
    /// A kernel tracepoint with typed arguments; the target is resolved at load.
    TpBtf {
        /// Name of the tracepoint.
        name: String,
    },
    /// Entry or return of a kernel function.
    Kprobe {
        /// Name of the function.
        symbol: String,
        /// Whether the program runs at the function's return.
        on_return: bool,
    },
    /// An iterator, which runs when it is read; what it goes through is resolved at load.
    Iter {
        /// What it goes through.
        kind: IterKind,
    },
    /// Something that this version does not attach, or a section that does not say enough.
    Unsupported {
        /// Why, as the end of a sentence that begins with the program's name.
        reason: String,
    },
}

impl Section {
    /// Reads a section name; `attach_to` is the configuration's target, if it gives one.
    pub fn parse(section: &str, attach_to: Option<&str>) -> Self {
        let (family, own) = section.split_once('/').unwrap_or((section, ""));
        let target = attach_to.unwrap_or(own);
        if target == DISABLED {
            return Section::Disabled;
        }
        match family {
            "tracepoint" | "tp" => {
                let mut parts = target.split('/');
                match (parts.next(), parts.next()) {
                    (Some(group), Some(name)) if !group.is_empty() && !name.is_empty() => Section::Tracepoint {
                        group: group.to_owned(),
                        name: name.to_owned(),
                    },
                    _ => Section::unsupported(format!(
                        "section {section:?} does not name a tracepoint: expected tracepoint/GROUP/NAME"
                    )),
                }
            }
            "raw_tracepoint" | "raw_tp" if !target.is_empty() => Section::RawTracepoint {
                name: target.to_owned(),
            },
            "tp_btf" if !own.is_empty() => Section::TpBtf { name: own.to_owned() },
            "kprobe" | "kretprobe" if !target.is_empty() => Section::Kprobe {
                symbol: target.to_owned(),
                on_return: family == "kretprobe",
            },
            "iter" | "iter.s" => match IterKind::parse(own) {
                Some(kind) => Section::Iter { kind },
                None => Section::unsupported(format!("unsupported iter type {own:?}")),
            },
            _ => Section::unsupported(format!("unsupported section name {section:?}")),
        }
    }

    fn unsupported(reason: String) -> Self {
        Section::Unsupported { reason }
    }

    /// Refuses what [`attach`] could not attach, for the program `name`.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        match self {
            Section::Unsupported { reason } => {
                Err(Error::unsupported(format!("{reason} for program {name:?}")).with_hint(SECTIONS))
            }
            _ => Ok(()),
        }
    }
}

/// Attaches a loaded program. `None` when it is disabled. The program is detached when the link is dropped. `iterated_map` is the
/// map that it walks, if it is an iterator over a map's elements.
pub fn attach(
    program: &ProgramMut<'_>,
    section: &Section,
    iterated_map: Option<BorrowedFd<'_>>,
) -> Result<Option<Link>> {
    let name = program.name().to_string_lossy().into_owned();
    let (result, log) = print::capture(|| match section {
        Section::Disabled => {
            tracing::debug!("program {name:?} is disabled: not attached");
            Ok(None)
        }
        Section::Tracepoint { group, name } => tracepoint::attach(program, group, name).map(Some),
        Section::RawTracepoint { name } => raw_tracepoint::attach(program, name).map(Some),
        Section::TpBtf { name } => tp_btf::attach(program, name).map(Some),
        Section::Kprobe { symbol, on_return } => kprobe::attach(program, symbol, *on_return).map(Some),
        Section::Iter { kind } => iter::attach(program, *kind, iterated_map).map(Some),
        Section::Unsupported { .. } => section.check(&name).map(|()| None),
    });
    drop(log);
    result.with_context(|| format!("attaching eBPF program {name:?}"))
}

/// An attach error of libbpf as ours, saying what was looked for.
fn failed(what: &str, error: &libbpf_rs::Error) -> Error {
    let kind = match error.kind() {
        libbpf_rs::ErrorKind::NotFound => crate::ErrorKind::NotFound,
        libbpf_rs::ErrorKind::PermissionDenied => crate::ErrorKind::Permission,
        _ => crate::ErrorKind::Unsupported,
    };
    Error::new(kind, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_say_family_and_target() {
        let tracepoint = |group: &str, name: &str| Section::Tracepoint {
            group: group.into(),
            name: name.into(),
        };
        let kprobe = |symbol: &str, on_return| Section::Kprobe {
            symbol: symbol.into(),
            on_return,
        };
        for (section, attach_to, expected) in [
            (
                "tracepoint/syscalls/sys_enter_openat",
                None,
                tracepoint("syscalls", "sys_enter_openat"),
            ),
            (
                "tp/sched/sched_process_exec",
                None,
                tracepoint("sched", "sched_process_exec"),
            ),
            (
                "raw_tp/sys_enter",
                None,
                Section::RawTracepoint {
                    name: "sys_enter".into(),
                },
            ),
            (
                "raw_tracepoint/sys_exit",
                None,
                Section::RawTracepoint {
                    name: "sys_exit".into(),
                },
            ),
            (
                "tp_btf/sched_switch",
                None,
                Section::TpBtf {
                    name: "sched_switch".into(),
                },
            ),
            (
                "tp_btf/sched_switch",
                Some("elsewhere"),
                Section::TpBtf {
                    name: "sched_switch".into(),
                },
            ),
            ("kprobe/do_unlinkat", None, kprobe("do_unlinkat", false)),
            ("kretprobe/do_unlinkat", Some("vfs_unlink"), kprobe("vfs_unlink", true)),
            ("kprobe/gadget_program_disabled", None, Section::Disabled),
            ("iter/task", None, Section::Iter { kind: IterKind::Task }),
            (
                "iter.s/task_file",
                None,
                Section::Iter {
                    kind: IterKind::TaskFile,
                },
            ),
            ("iter/udp", Some("tcp"), Section::Iter { kind: IterKind::Udp }),
            ("iter/tcp", Some("gadget_program_disabled"), Section::Disabled),
            (
                "tp_btf/sched_switch",
                Some("gadget_program_disabled"),
                Section::Disabled,
            ),
        ] {
            assert_eq!(Section::parse(section, attach_to), expected, "{section}");
        }
    }

    #[test]
    fn sections_that_say_too_little_or_too_much_are_refused_by_name() {
        for section in [
            "tracepoint/openat",
            "tracepoint/",
            "kprobe",
            "program1",
            "fentry.s/x",
            "xdp",
            "",
            "iter",
            "iter/unix",
        ] {
            let Section::Unsupported { reason } = Section::parse(section, None) else {
                panic!("{section}")
            };
            let named = section.strip_prefix("iter").unwrap_or(section).trim_start_matches('/');
            assert!(reason.contains(&format!("{named:?}")), "{reason}");
        }
    }
}
