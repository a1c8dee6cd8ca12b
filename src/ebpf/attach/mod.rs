//! Attaching programs: one file per program family.
//!
//! A program's section says its family and its target; the gadget's configuration can say another target. A family that this
//! version does not attach is refused by name.

pub(in crate::ebpf) mod cgroup;
mod iter;
mod kprobe;
mod kprobe_multi;
mod perf_event;
mod raw_tracepoint;
mod trace;
mod tracepoint;
pub(in crate::ebpf) mod uprobe;

use std::os::fd::BorrowedFd;

use libbpf_rs::{Link, ProgramInput, ProgramMut, ProgramType};

pub use self::iter::IterKind;
pub(crate) use self::kprobe::has_kprobes;
pub use self::perf_event::PerfSettings;
pub use self::uprobe::{Binary, Point, Target};
use super::print;
use crate::metadata::config::Config;
use crate::{Error, Result, ResultExt};

/// The target that means: load, but do not attach.
pub const DISABLED: &str = "gadget_program_disabled";

const SECTIONS: &str = "this version attaches tracepoint/GROUP/NAME, raw_tracepoint/NAME, tp_btf/NAME, kprobe/FUNCTION, \
     kretprobe/FUNCTION, kprobe.multi/PATTERN, ksyscall/NAME, uprobe/FILE:FUNCTION, uretprobe/FILE:FUNCTION, uprobe.multi/FILE:PATTERN, \
     usdt/FILE:PROVIDER:PROBE, fentry/FUNCTION, fexit/FUNCTION, fmod_ret/FUNCTION, lsm/HOOK, \
     perf_event/NAME, sockops, cgroup/…, cgroup_skb/…, syscall and iter/KIND";

/// Families that are resolved through BTF when the object is loaded.
const TRACING: [&str; 5] = ["tp_btf", "fentry", "fexit", "fmod_ret", "lsm"];

/// Families that a gadget cannot use, and what they would need.
const NEEDS_MORE: &[(&str, &str)] = &[
    ("lirc_mode2", "an infrared receiver"),
    ("lwt_", "a route to be attached to"),
    ("sk_reuseport", "the socket that it decides for"),
    ("xdp_devmap", "an entry of a device map"),
    ("xdp_cpumap", "an entry of a CPU map"),
];

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
    /// A place that is found through BTF when the object is loaded.
    Tracing {
        /// `tp_btf`, `fentry`, `fexit`, `fmod_ret` or `lsm`.
        family: &'static str,
        /// Name of the tracepoint, function or hook.
        target: String,
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
    /// Entry or return of all kernel functions whose names match.
    KprobeMulti {
        /// A name, in which `*` and `?` are wildcards.
        pattern: String,
        /// Whether the program runs at the functions' return.
        on_return: bool,
    },
    /// Entry or return of a system call.
    Ksyscall {
        /// Its name, such as `openat`.
        name: String,
        /// Whether the program runs at its return.
        on_return: bool,
    },
    /// A place in a program or library, in every container.
    Uprobe(Target),
    /// A perf event on every CPU.
    PerfEvent(PerfSettings),
    /// The root control group.
    Cgroup {
        /// Which hook, as the section names it.
        family: String,
    },
    /// Nowhere: the program is run once, when everything is attached.
    RunOnce,
    /// A place that the configuration describes wrongly.
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// Something that this version does not attach, or a section that does not say enough.
    Unsupported {
        /// Why, as the end of a sentence that begins with the program's name.
        reason: String,
    },
}

impl Section {
    /// Reads a section name; `attach_to` is the configuration's target, if it gives one.
    pub fn parse(section: &str, attach_to: Option<&str>, config: &Config) -> Self {
        let (family, own) = section.split_once('/').unwrap_or((section, ""));
        let target = attach_to.unwrap_or(own);
        if target == DISABLED {
            return Section::Disabled;
        }
        // `.s` programs may sleep; that matters for loading only.
        let plain = family.strip_suffix(".s").unwrap_or(family);
        let named = |target: &str| !target.is_empty();
        match plain {
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
            "raw_tracepoint" | "raw_tp" | "raw_tracepoint.w" | "raw_tp.w" if named(target) => Section::RawTracepoint {
                name: target.to_owned(),
            },
            // Their place is settled by the section alone: it is resolved when the object is loaded.
            "tp_btf" | "fentry" | "fexit" | "fmod_ret" | "lsm" if named(own) => Section::Tracing {
                family: TRACING.into_iter().find(|known| *known == plain).unwrap_or_default(),
                target: own.to_owned(),
            },
            "kprobe" | "kretprobe" if family == plain && named(target) => Section::Kprobe {
                symbol: target.to_owned(),
                on_return: plain == "kretprobe",
            },
            "kprobe.multi" | "kretprobe.multi" if named(target) => Section::KprobeMulti {
                pattern: target.to_owned(),
                on_return: plain == "kretprobe.multi",
            },
            "ksyscall" | "kretsyscall" if named(target) => Section::Ksyscall {
                name: target.to_owned(),
                on_return: plain == "kretsyscall",
            },
            _ if Target::is_family(plain) => match Target::parse(plain, target) {
                Ok(target) => Section::Uprobe(target),
                Err(error) => Section::Invalid {
                    reason: error.to_string(),
                },
            },
            "perf_event" => match PerfSettings::read(own, config) {
                Ok(settings) => Section::PerfEvent(settings),
                Err(error) => Section::Invalid {
                    reason: error.to_string(),
                },
            },
            "syscall" => Section::RunOnce,
            "iter" => match IterKind::parse(own) {
                Some(kind) => Section::Iter { kind },
                None => Section::unsupported(format!("unsupported iter type {own:?}")),
            },
            "cgroup" | "cgroup_skb" => Section::Cgroup {
                family: section.to_owned(),
            },
            _ if plain.starts_with("sockops") => Section::Cgroup {
                family: "sockops".to_owned(),
            },
            _ => match NEEDS_MORE.iter().find(|(known, _)| plain.starts_with(known)) {
                Some((_, needs)) => Section::unsupported(format!("section {section:?} needs {needs}")),
                None => Section::unsupported(format!("unsupported section name {section:?}")),
            },
        }
    }

    /// The type that a program must be given before it is loaded, because libbpf does not know the section's name.
    pub(super) fn program_type(&self) -> Option<ProgramType> {
        match self {
            Section::PerfEvent(_) => Some(ProgramType::PerfEvent),
            Section::Cgroup { family } if family == "sockops" => Some(ProgramType::SockOps),
            _ => None,
        }
    }

    /// Whether the program asks for one link at many places of a binary.
    pub(super) fn is_uprobe_multi(&self) -> bool {
        matches!(self, Section::Uprobe(target) if target.is_multi())
    }

    /// Whether the program is attached in containers, as they come and go.
    pub fn is_in_places(&self) -> bool {
        matches!(self, Section::Uprobe(_))
    }

    fn unsupported(reason: String) -> Self {
        Section::Unsupported { reason }
    }

    /// Refuses what [`attach`] could not attach, for the program `name`.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        match self {
            Section::Invalid { reason } => Err(Error::invalid(reason.clone())),
            Section::Unsupported { reason } => {
                Err(Error::unsupported(format!("{reason} for program {name:?}")).with_hint(SECTIONS))
            }
            _ => Ok(()),
        }
    }
}

/// Attaches a loaded program. Nothing when it is disabled or has run. The program is detached when the links are dropped.
/// `iterated_map` is the map that it walks, if it is an iterator over a map's elements.
pub fn attach(
    program: &mut ProgramMut<'_>,
    section: &Section,
    iterated_map: Option<BorrowedFd<'_>>,
) -> Result<Vec<Link>> {
    let name = program.name().to_string_lossy().into_owned();
    let one = |link: Result<Link>| link.map(|link| vec![link]);
    let (result, log) = print::capture(|| match section {
        Section::Disabled => {
            tracing::debug!("program {name:?} is disabled: not attached");
            Ok(Vec::new())
        }
        Section::Tracepoint { group, name } => one(tracepoint::attach(program, group, name)),
        Section::RawTracepoint { name } => one(raw_tracepoint::attach(program, name)),
        Section::Tracing { family, target } => one(trace::attach(program, family, target)),
        Section::Kprobe { symbol, on_return } => one(kprobe::attach(program, symbol, *on_return)),
        Section::KprobeMulti { pattern, on_return } => one(kprobe_multi::attach(program, pattern, *on_return)),
        Section::Ksyscall { name, on_return } => one(kprobe_multi::attach_syscall(program, name, *on_return)),
        // By a follower, in every place.
        Section::Uprobe(_) => Ok(Vec::new()),
        Section::PerfEvent(settings) => perf_event::attach(program, *settings),
        Section::Cgroup { family } => one(cgroup::attach(program, family)),
        Section::Iter { kind } => one(iter::attach(program, *kind, iterated_map)),
        Section::RunOnce => run_once(program).map(|()| Vec::new()),
        Section::Invalid { .. } | Section::Unsupported { .. } => section.check(&name).map(|()| Vec::new()),
    });
    drop(log);
    result.with_context(|| format!("attaching eBPF program {name:?}"))
}

/// Runs a program of section `syscall`.
fn run_once(program: &ProgramMut<'_>) -> Result<()> {
    let output = program
        .test_run(ProgramInput::default())
        .map_err(|error| failed("running it", &error).with_hint("programs of section syscall need Linux 5.14"))?;
    match output.return_value as i32 {
        0 => Ok(()),
        code => Err(Error::new(crate::ErrorKind::Other, format!("it returned {code}"))),
    }
}

/// An attach error of libbpf as ours, saying what was looked for.
fn failed(what: &str, error: &libbpf_rs::Error) -> Error {
    let kind = match error.kind() {
        libbpf_rs::ErrorKind::NotFound => crate::ErrorKind::NotFound,
        libbpf_rs::ErrorKind::PermissionDenied => crate::ErrorKind::Permission,
        _ => crate::ErrorKind::Unsupported,
    };
    // With its causes: the last one is the kernel's word.
    Error::new(kind, format!("{what}: {error:#}"))
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
                Section::Tracing {
                    family: "tp_btf",
                    target: "sched_switch".into(),
                },
            ),
            (
                "tp_btf/sched_switch",
                Some("elsewhere"),
                Section::Tracing {
                    family: "tp_btf",
                    target: "sched_switch".into(),
                },
            ),
            ("kprobe/do_unlinkat", None, kprobe("do_unlinkat", false)),
            ("kretprobe/do_unlinkat", Some("vfs_unlink"), kprobe("vfs_unlink", true)),
            (
                "fentry.s/do_unlinkat",
                Some("elsewhere"),
                Section::Tracing {
                    family: "fentry",
                    target: "do_unlinkat".into(),
                },
            ),
            (
                "kretprobe.multi/tcp_*",
                None,
                Section::KprobeMulti {
                    pattern: "tcp_*".into(),
                    on_return: true,
                },
            ),
            (
                "ksyscall/openat",
                None,
                Section::Ksyscall {
                    name: "openat".into(),
                    on_return: false,
                },
            ),
            (
                "uprobe.s//bin/app:main",
                Some("libc:malloc"),
                Section::Uprobe(Target {
                    binary: Binary::Library("libc".into()),
                    point: Point::Function {
                        name: "malloc".into(),
                        on_return: false,
                    },
                }),
            ),
            (
                "usdt/libc:libc:setjmp",
                Some("gadget_program_disabled"),
                Section::Disabled,
            ),
            ("syscall", None, Section::RunOnce),
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
            assert_eq!(
                Section::parse(section, attach_to, &Config::default()),
                expected,
                "{section}"
            );
        }
    }

    #[test]
    fn sections_that_say_too_little_or_too_much_are_refused_by_name() {
        for section in [
            "tracepoint/openat",
            "tracepoint/",
            "kprobe",
            "program1",
            "fentry",
            "lwt_in",
            "sk_reuseport/migrate",
            "xdp",
            "",
            "iter",
            "iter/unix",
        ] {
            let Section::Unsupported { reason } = Section::parse(section, None, &Config::default()) else {
                panic!("{section}")
            };
            let named = section.strip_prefix("iter").unwrap_or(section).trim_start_matches('/');
            assert!(reason.contains(&format!("{named:?}")), "{reason}");
        }
    }
}
