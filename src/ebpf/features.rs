//! What the running kernel's BPF can do, asked in one place, and the words for what it cannot.
//!
//! Each answer is asked for once, by creating the smallest thing of its kind and dropping it. The loader, the container hook and `ig doctor`
//! all ask here, so that they agree, and say the same for the same cause.

use std::path::Path;
use std::sync::OnceLock;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, ProgramType};
use nix::sys::utsname::uname;

use super::attach::uprobe;
use crate::Error;

/// Something that not every kernel can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// One buffer for the events of all CPUs.
    RingBuffer,
    /// Taking many entries out of a map with one call.
    BatchOperations,
    /// Programs at kernel functions, through perf events or tracefs.
    Kprobes,
    /// One link at many kernel functions.
    KprobeMulti,
    /// One link at both ends of kernel functions.
    KprobeSession,
    /// Programs at functions of programs and libraries.
    Uprobes,
    /// One link at many places of a binary.
    UprobeMulti,
    /// What a static probe's arguments are told through.
    UsdtArguments,
    /// Programs that write what they go through.
    Iterators,
    /// Programs of section `syscall`.
    SyscallPrograms,
    /// Memory of maps and programs that counts as the control group's, not as locked memory.
    MemoryAccounting,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::RingBuffer,
        Self::BatchOperations,
        Self::Kprobes,
        Self::KprobeMulti,
        Self::KprobeSession,
        Self::Uprobes,
        Self::UprobeMulti,
        Self::UsdtArguments,
        Self::Iterators,
        Self::SyscallPrograms,
        Self::MemoryAccounting,
    ];

    /// Its name: a plural.
    pub fn name(self) -> &'static str {
        match self {
            Self::RingBuffer => "ring buffers",
            Self::BatchOperations => "batched map operations",
            Self::Kprobes => "kprobes",
            Self::KprobeMulti => "kprobe.multi links",
            Self::KprobeSession => "kprobe.session links",
            Self::Uprobes => "uprobes",
            Self::UprobeMulti => "uprobe.multi links",
            Self::UsdtArguments => "arguments of static probes",
            Self::Iterators => "iterators",
            Self::SyscallPrograms => "programs of section syscall",
            Self::MemoryAccounting => "memory accounting by control group",
        }
    }

    /// The first version of Linux that has it, and what to do without.
    fn since(self) -> (&'static str, &'static str) {
        match self {
            Self::RingBuffer => ("5.8", "perf buffers do the same (--buffer-kind perf)"),
            Self::BatchOperations => ("5.6", "entries are then taken one by one"),
            Self::Kprobes => (
                "4.1",
                "use a kernel with CONFIG_KPROBE_EVENTS, or gadgets that do with tracepoints",
            ),
            Self::KprobeMulti => ("5.18", "they also need CONFIG_FPROBE"),
            Self::KprobeSession => ("6.10", "they also need CONFIG_FPROBE"),
            Self::Uprobes => ("4.1", "use a kernel with CONFIG_UPROBE_EVENTS"),
            Self::UprobeMulti => ("6.6", "one probe after the other is attached then"),
            Self::UsdtArguments => ("5.15", "probes without arguments work"),
            Self::Iterators => ("5.8", "they also need the kernel's BTF"),
            Self::SyscallPrograms => ("5.14", "gadgets cannot run code at their start then"),
            Self::MemoryAccounting => ("5.11", "the limit of locked memory counts then (ulimit -l unlimited)"),
        }
    }

    /// Whether the kernel has it. `None` if only a more privileged process can find out, or only trying.
    pub fn is_there(self) -> Option<bool> {
        static ANSWERS: [OnceLock<Option<bool>>; Feature::ALL.len()] = [const { OnceLock::new() }; Feature::ALL.len()];
        let answer = Self::ALL.iter().position(|known| *known == self)?;
        *ANSWERS.get(answer)?.get_or_init(|| self.probe())
    }

    fn probe(self) -> Option<bool> {
        match self {
            Self::RingBuffer => {
                let page = super::buffer::page_size();
                let created = create(MapType::RingBuf, 0, 0, page).is_some();
                (created || may_load()).then_some(created)
            }
            Self::BatchOperations => batch_operations(),
            Self::Kprobes => Some(
                Path::new("/sys/bus/event_source/devices/kprobe/type").exists()
                    || super::tracefs().is_some_and(|tracefs| tracefs.join("kprobe_events").exists()),
            ),
            Self::Uprobes => Some(
                Path::new("/sys/bus/event_source/devices/uprobe/type").exists()
                    || super::tracefs().is_some_and(|tracefs| tracefs.join("uprobe_events").exists()),
            ),
            Self::UprobeMulti => may_load().then(uprobe::probe_multi),
            Self::SyscallPrograms => may_load().then(|| ProgramType::Syscall.is_supported().unwrap_or(false)),
            Self::KprobeMulti
            | Self::KprobeSession
            | Self::UsdtArguments
            | Self::Iterators
            | Self::MemoryAccounting => {
                let (since, _) = self.since();
                // Nothing smaller than the thing itself would tell.
                older_than(since).filter(|older| *older).map(|_| false)
            }
        }
    }

    /// Which kernels have it, and what to do on others.
    pub fn advice(self) -> String {
        let (since, without) = self.since();
        format!("{} came with Linux {since}; {without}", self.name())
    }

    /// What is said when a kernel without it is asked for it.
    pub fn missing(self) -> Error {
        Error::unsupported(format!("this kernel has no {}", self.name())).with_hint(self.advice())
    }
}

/// Types of programs, as their sections begin, and the first version of Linux that has them.
pub const PROGRAMS: &[(&str, ProgramType, &str)] = &[
    ("socket", ProgramType::SocketFilter, "3.19"),
    ("kprobe", ProgramType::Kprobe, "4.1"),
    ("classifier", ProgramType::SchedCls, "4.1"),
    ("tracepoint", ProgramType::Tracepoint, "4.7"),
    ("xdp", ProgramType::Xdp, "4.8"),
    ("perf_event", ProgramType::PerfEvent, "4.9"),
    ("cgroup_skb", ProgramType::CgroupSkb, "4.10"),
    ("sockops", ProgramType::SockOps, "4.13"),
    ("sk_skb", ProgramType::SkSkb, "4.14"),
    ("raw_tracepoint", ProgramType::RawTracepoint, "4.17"),
    ("sk_msg", ProgramType::SkMsg, "4.17"),
    ("flow_dissector", ProgramType::FlowDissector, "4.20"),
    ("fentry, fexit", ProgramType::Tracing, "5.5"),
    ("struct_ops", ProgramType::StructOps, "5.6"),
    ("freplace", ProgramType::Ext, "5.6"),
    ("lsm", ProgramType::Lsm, "5.7"),
    ("sk_lookup", ProgramType::SkLookup, "5.9"),
    ("syscall", ProgramType::Syscall, "5.14"),
    ("netfilter", ProgramType::Netfilter, "6.4"),
];

/// Sections whose programs came later than their type, or are called otherwise.
const SECTIONS: &[(&str, &str)] = &[
    ("iter", "5.8"),
    ("iter.s", "5.18"),
    ("tp_btf", "5.5"),
    ("fmod_ret", "5.7"),
    ("lsm.s", "5.11"),
    ("fentry.s", "5.11"),
    ("fexit.s", "5.11"),
    ("fmod_ret.s", "5.11"),
    ("kretprobe", "4.1"),
    ("tp", "4.7"),
    ("raw_tp", "4.17"),
    ("tc", "4.1"),
    ("cgroup", "4.10"),
];

/// The first version of Linux that has programs of `section`, if this kernel is older.
pub fn too_old_for(section: &str) -> Option<&'static str> {
    let family = section.split('/').next().unwrap_or(section);
    let since = SECTIONS
        .iter()
        .find(|(known, _)| *known == family)
        .map(|(_, since)| *since)
        .or_else(|| {
            let of_type = |known: &str| known.split(", ").any(|known| known == family);
            PROGRAMS
                .iter()
                .find(|(known, ..)| of_type(known))
                .map(|(.., since)| *since)
        })?;
    (older_than(since) == Some(true)).then_some(since)
}

/// Whether the running kernel is older than a version like `5.8`.
fn older_than(version: &str) -> Option<bool> {
    let name = uname().ok()?;
    Some(numbers(&name.release().to_string_lossy())? < numbers(version)?)
}

/// The first two numbers of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether this process may create a map at all.
pub fn may_load() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| create(MapType::Array, 4, 4, 1).is_some())
}

fn create(kind: MapType, key: u32, value: u32, entries: u32) -> Option<MapHandle> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    MapHandle::create(kind, Some("ig_probe"), key, value, entries, &options).ok()
}

/// Asked of a map with one entry.
fn batch_operations() -> Option<bool> {
    let map = create(MapType::Hash, 4, 4, 1)?;
    map.update(&[1; 4], &[1; 4], MapFlags::ANY).ok()?;
    let entries = map.lookup_batch(2, MapFlags::ANY, MapFlags::ANY);
    Some(entries.is_ok_and(|mut entries| entries.next().is_some()))
}

/// Why the kernel takes no program or map from this process.
pub fn not_allowed(error: &dyn std::fmt::Display) -> Error {
    Error::new(
        crate::ErrorKind::Permission,
        format!("the kernel does not allow it: {error}"),
    )
    .with_hint(what_is_needed())
}

/// What the kernel wants to see before it takes programs and maps from a process.
pub fn what_is_needed() -> String {
    let memory = match older_than(Feature::MemoryAccounting.since().0) {
        Some(true) => ", and enough locked memory (ulimit -l unlimited), as which kernels before 5.11 count maps",
        _ => "",
    };
    format!(
        "loading eBPF needs CAP_BPF and CAP_PERFMON, or root, and a kernel that is not locked down against it{memory}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(numbers("5.10.0-32-cloud-amd64") > numbers("5.8"));
        assert!(numbers("6.1-rc1") < numbers("6.12"));
        assert_eq!(numbers("newest"), None);
        assert_eq!(older_than("2.6"), Some(false));
        assert_eq!(older_than("999.0"), Some(true));
    }

    #[test]
    fn what_is_missing_is_said_with_its_version() {
        let error = Feature::RingBuffer.missing();
        assert_eq!(error.to_string(), "this kernel has no ring buffers");
        assert_eq!(
            error.hint(),
            Some("ring buffers came with Linux 5.8; perf buffers do the same (--buffer-kind perf)")
        );
        for feature in Feature::ALL {
            let (since, _) = feature.since();
            assert!(
                numbers(since).is_some() && feature.advice().contains(since),
                "{feature:?}"
            );
        }
        for (_, since) in SECTIONS {
            assert!(numbers(since).is_some(), "{since}");
        }
    }
}
