//! What a program's section, and the gadget's configuration, say about where it is attached.

use libbpf_rs::{ProgramAttachType, ProgramType};

use super::interface::InterfaceHook;
use super::iter::IterKind;
use super::netns::{NetfilterHook, NetnsHook};
use super::perf_event::PerfSettings;
use super::uprobe::Target;
#[cfg(test)]
use super::uprobe::{Binary, Point};
use crate::metadata::config::Config;
use crate::{Error, Result};

/// The target that means: load, but do not attach.
pub const DISABLED: &str = "gadget_program_disabled";

const SECTIONS: &str = "this version attaches tracepoint/GROUP/NAME, raw_tracepoint/NAME, tp_btf/NAME, kprobe/FUNCTION, \
     kretprobe/FUNCTION, kprobe.multi/PATTERN, kprobe.session/PATTERN, ksyscall/NAME, uprobe/FILE:FUNCTION, uretprobe/FILE:FUNCTION, \
     uprobe.multi/FILE:PATTERN, uprobe.session/FILE:PATTERN, usdt/FILE:PROVIDER:PROBE, fentry/FUNCTION, fexit/FUNCTION, \
     fmod_ret/FUNCTION, freplace/PROGRAM, lsm/HOOK, lsm_cgroup/HOOK, perf_event/NAME, socket…, classifier/ingress/NAME, \
     classifier/egress/NAME, tc/ingress, tc/egress, xdp, flow_dissector, sk_lookup, netfilter, sockops, cgroup/…, cgroup_skb/…, \
     sk_skb/…, sk_msg, struct_ops/NAME, syscall and iter/KIND";

/// Families that are resolved through BTF when the object is loaded.
const TRACING: [&str; 5] = ["tp_btf", "fentry", "fexit", "fmod_ret", "lsm"];

/// Families that a gadget cannot use, and what they would need.
const NEEDS_MORE: &[(&str, &str)] = &[
    ("lirc_mode2", "an infrared receiver"),
    ("lwt_", "a route to be attached to"),
    ("sk_reuseport", "the socket that it decides for"),
    ("xdp_devmap", "an entry of a device map"),
    ("xdp_cpumap", "an entry of a CPU map"),
    ("action", "a filter of tc that names it as its action"),
    ("netkit", "a netkit device that was made for it"),
];

/// The same for second parts of sections.
const NEEDS_MORE_BELOW: [(&str, &str); 2] = [
    ("devmap", "an entry of a device map"),
    ("cpumap", "an entry of a CPU map"),
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
    /// Entry and return of all kernel functions whose names match, by one program.
    KprobeSession {
        /// A name, in which `*` and `?` are wildcards.
        pattern: String,
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
    /// The control group of every container, or the root with the host.
    Cgroup,
    /// The root control group.
    Sockops,
    /// The network namespace of every container.
    Netns(NetnsHook),
    /// The host's end of the interface of every container, or one that is named.
    Interface(InterfaceHook),
    /// A socket map.
    SockMap {
        /// Its name; none if the gadget does not say.
        map: Option<String>,
    },
    /// A member of a struct of operations, which is attached as a whole.
    StructOps,
    /// A function of another program, which it takes the place of.
    Freplace {
        /// Name of that program; none if it is the one that has the function.
        program: Option<String>,
        /// Name of the function.
        function: String,
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
    /// Reads the section of program `name`; `attach_to` is the configuration's target, if it gives one.
    pub fn parse(name: &str, section: &str, attach_to: Option<&str>, config: &Config) -> Self {
        // libbpf's mark of programs that are loaded on demand.
        let section = section.strip_prefix('?').unwrap_or(section);
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
            "kprobe.session" if named(target) => Section::KprobeSession {
                pattern: target.to_owned(),
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
            "cgroup" | "cgroup_skb" | "lsm_cgroup" => Section::Cgroup,
            "classifier" | "tc" | "tcx" => classifier(section),
            "flow_dissector" => Section::Netns(NetnsHook::FlowDissector),
            "sk_lookup" => Section::Netns(NetnsHook::SkLookup),
            "netfilter" => match NetfilterHook::read(name, config) {
                Ok(hook) => Section::Netns(NetnsHook::Netfilter(hook)),
                Err(error) => Section::Invalid {
                    reason: error.to_string(),
                },
            },
            "struct_ops" => Section::StructOps,
            "freplace" if named(target) => match target.split_once(':') {
                Some((program, function)) => Section::Freplace {
                    program: Some(program.to_owned()),
                    function: function.to_owned(),
                },
                None => Section::Freplace {
                    program: None,
                    function: target.to_owned(),
                },
            },
            "sk_skb" if ["stream_parser", "stream_verdict", "verdict"].contains(&own) => Section::SockMap { map: None },
            _ if plain.starts_with("sk_msg") => Section::SockMap { map: None },
            _ if plain.starts_with("sockops") => Section::Sockops,
            _ if plain.starts_with("socket") => Section::Netns(NetnsHook::Socket),
            "xdp" | "xdp.frags" if NEEDS_MORE_BELOW.iter().any(|(below, _)| own == *below) => {
                let needs = NEEDS_MORE_BELOW.iter().find(|(below, _)| own == *below);
                let needs = needs.map(|(_, needs)| *needs).unwrap_or_default();
                Section::unsupported(format!("section {section:?} needs {needs}"))
            }
            _ if plain.starts_with("xdp") && !plain.starts_with("xdp_devmap") && !plain.starts_with("xdp_cpumap") => {
                Section::Interface(InterfaceHook::Xdp)
            }
            _ => match NEEDS_MORE.iter().find(|(known, _)| plain.starts_with(known)) {
                Some((_, needs)) => Section::unsupported(format!("section {section:?} needs {needs}")),
                None => Section::unsupported(format!("unsupported section name {section:?}")),
            },
        }
    }

    /// The type, and where it matters the attach type, that a program must be given before it is loaded, because libbpf does not
    /// know the section's name or knows it for something else.
    pub(in crate::ebpf) fn load_as(&self, section: &str) -> Option<(ProgramType, Option<ProgramAttachType>)> {
        // 0, which says nothing.
        let none = Some(ProgramAttachType::CgroupInetIngress);
        match self {
            Section::PerfEvent(_) => Some((ProgramType::PerfEvent, None)),
            Section::Sockops => Some((ProgramType::SockOps, Some(ProgramAttachType::CgroupSockOps))),
            Section::Netns(NetnsHook::Socket) => Some((ProgramType::SocketFilter, none)),
            Section::Netns(NetnsHook::FlowDissector) => {
                Some((ProgramType::FlowDissector, Some(ProgramAttachType::FlowDissector)))
            }
            Section::Netns(NetnsHook::SkLookup) => Some((ProgramType::SkLookup, Some(ProgramAttachType::SkLookup))),
            // Its direction may be turned round when it is attached.
            Section::Interface(InterfaceHook::Ingress | InterfaceHook::Egress) => Some((ProgramType::SchedCls, none)),
            Section::Interface(InterfaceHook::Xdp) if !matches!(section, "xdp" | "xdp.frags") => {
                Some((ProgramType::Xdp, Some(ProgramAttachType::Xdp)))
            }
            Section::SockMap { .. } if section.starts_with("sk_msg") => {
                Some((ProgramType::SkMsg, Some(ProgramAttachType::SkMsgVerdict)))
            }
            _ => None,
        }
    }

    /// Whether the program asks for one link at many places of a binary.
    pub(in crate::ebpf) fn is_uprobe_multi(&self) -> bool {
        matches!(self, Section::Uprobe(target) if target.is_multi())
    }

    /// Whether the program is attached in containers, as they come and go.
    pub fn is_in_places(&self) -> bool {
        matches!(
            self,
            Section::Uprobe(_) | Section::Netns(_) | Section::Interface(_) | Section::Cgroup
        )
    }

    /// Whether the program is attached to network interfaces by tc or XDP.
    pub fn is_on_interfaces(&self) -> bool {
        matches!(self, Section::Interface(_))
    }

    fn unsupported(reason: String) -> Self {
        Section::Unsupported { reason }
    }

    /// Refuses what [`attach`] could not attach, for the program `name`.
    pub(in crate::ebpf) fn check(&self, name: &str) -> Result<()> {
        match self {
            Section::Invalid { reason } => Err(Error::invalid(reason.clone())),
            Section::SockMap { map: None } => Err(Error::invalid(format!(
                "no map for program {name:?}: a program of a socket map needs GADGET_SK_TARGET_MAP({name}, MAP)"
            ))),
            Section::Unsupported { reason } => {
                Err(Error::unsupported(format!("{reason} for program {name:?}")).with_hint(SECTIONS))
            }
            _ => Ok(()),
        }
    }
}

/// A classifier's section: `classifier/DIRECTION/NAME`, where upstream wants all three, and libbpf's `tc/DIRECTION`.
fn classifier(section: &str) -> Section {
    let parts: Vec<&str> = section.split('/').collect();
    let direction = match parts[..] {
        ["classifier", direction, _] | ["tc" | "tcx", direction] | ["tc" | "tcx", direction, _] => direction,
        _ => {
            return Section::Invalid {
                reason: format!(
                    "invalid section name {section:?}: expected classifier/ingress/NAME or classifier/egress/NAME"
                ),
            };
        }
    };
    match direction {
        "ingress" => Section::Interface(InterfaceHook::Ingress),
        "egress" => Section::Interface(InterfaceHook::Egress),
        _ => Section::Invalid {
            reason: format!("unsupported hook type {direction:?} in section {section:?}"),
        },
    }
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
            ("socket1", None, Section::Netns(NetnsHook::Socket)),
            ("socket/dns", Some("gadget_program_disabled"), Section::Disabled),
            ("flow_dissector", None, Section::Netns(NetnsHook::FlowDissector)),
            ("?sk_lookup/echo", None, Section::Netns(NetnsHook::SkLookup)),
            (
                "classifier/ingress/in",
                None,
                Section::Interface(InterfaceHook::Ingress),
            ),
            ("tc/egress", None, Section::Interface(InterfaceHook::Egress)),
            ("xdp.frags", None, Section::Interface(InterfaceHook::Xdp)),
            ("xdp_count", None, Section::Interface(InterfaceHook::Xdp)),
            ("sockops_all", None, Section::Sockops),
            ("cgroup_skb/egress", None, Section::Cgroup),
            ("sk_skb/stream_verdict", None, Section::SockMap { map: None }),
            ("sk_msg", None, Section::SockMap { map: None }),
            ("struct_ops/ssthresh", None, Section::StructOps),
            (
                "freplace/count",
                None,
                Section::Freplace {
                    program: None,
                    function: "count".into(),
                },
            ),
            (
                "freplace/count",
                Some("other:count"),
                Section::Freplace {
                    program: Some("other".into()),
                    function: "count".into(),
                },
            ),
            (
                "kprobe.session/vfs_*",
                None,
                Section::KprobeSession {
                    pattern: "vfs_*".into(),
                },
            ),
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
                Section::parse("p", section, attach_to, &Config::default()),
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
            "xdp_devmap/x",
            "xdp/cpumap",
            "action",
            "netkit/primary",
            "sk_skb",
            "freplace",
            "",
            "iter",
            "iter/unix",
        ] {
            let Section::Unsupported { reason } = Section::parse("p", section, None, &Config::default()) else {
                panic!("{section}")
            };
            let named = section.strip_prefix("iter").unwrap_or(section).trim_start_matches('/');
            assert!(reason.contains(&format!("{named:?}")), "{reason}");
        }
    }

    #[test]
    fn classifiers_and_socket_maps_are_refused_with_the_known_words() {
        for (section, expected) in [
            ("classifier/ingress", "invalid section name \"classifier/ingress\""),
            ("classifier", "invalid section name \"classifier\""),
            ("tc", "invalid section name \"tc\""),
            ("classifier/both/x", "unsupported hook type \"both\""),
            ("netfilter", "netfilter.family of program \"p\" is \"\""),
            ("sk_msg", "GADGET_SK_TARGET_MAP"),
        ] {
            let error = Section::parse("p", section, None, &Config::default())
                .check("p")
                .unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
