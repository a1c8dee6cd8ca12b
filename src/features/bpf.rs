//! What the kernel's BPF has: types of programs and maps, and features beyond them.

use std::sync::OnceLock;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, ProgramType};

use super::kernel::has_uprobes;
use super::{Fact, Status};
use crate::ebpf::attach::has_kprobes;
use crate::ebpf::buffer::ring_buffer_supported;

/// Types of programs, as their sections begin, and the first version of Linux that has them.
const PROGRAMS: &[(&str, ProgramType, &str)] = &[
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

/// Types of maps and the first version of Linux that has them.
const MAPS: &[(&str, MapType, &str)] = &[
    ("hash", MapType::Hash, "3.19"),
    ("array", MapType::Array, "3.19"),
    ("perf_event_array", MapType::PerfEventArray, "4.3"),
    ("percpu_hash", MapType::PercpuHash, "4.6"),
    ("percpu_array", MapType::PercpuArray, "4.6"),
    ("stack_trace", MapType::StackTrace, "4.6"),
    ("lru_hash", MapType::LruHash, "4.10"),
    ("lpm_trie", MapType::LpmTrie, "4.11"),
    ("hash_of_maps", MapType::HashOfMaps, "4.12"),
    ("sockmap", MapType::Sockmap, "4.14"),
    ("sk_storage", MapType::SkStorage, "5.2"),
    ("ringbuf", MapType::RingBuf, "5.8"),
    ("inode_storage", MapType::InodeStorage, "5.10"),
    ("task_storage", MapType::TaskStorage, "5.11"),
];

pub(super) fn programs() -> Vec<Fact> {
    PROGRAMS
        .iter()
        .map(|(name, kind, since)| fact("programs", name, kind.is_supported(), since))
        .collect()
}

pub(super) fn maps() -> Vec<Fact> {
    MAPS.iter()
        .map(|(name, kind, since)| fact("maps", name, kind.is_supported(), since))
        .collect()
}

fn fact(area: &'static str, name: &str, supported: libbpf_rs::Result<bool>, since: &str) -> Fact {
    match supported {
        Ok(true) => Fact::new(area, name, Status::Yes),
        // libbpf does not tell a refusal from a lack.
        Ok(false) if !may_load() => Fact::new(area, name, Status::Unknown).detail("only root can find out"),
        Ok(false) => Fact::new(area, name, Status::No).detail(format!(
            "this kernel refuses it; Linux has it from {since} on, unless built or locked down otherwise"
        )),
        Err(error) => Fact::new(area, name, Status::Unknown).detail(error.to_string()),
    }
}

/// Whether this process may create a map at all.
fn may_load() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| probe_map(MapType::Array).is_some())
}

fn probe_map(kind: MapType) -> Option<MapHandle> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    MapHandle::create(kind, Some("ig_probe"), 4, 4, 1, &options).ok()
}

pub(super) fn features() -> Vec<Fact> {
    const AREA: &str = "features";
    let ring_buffer = if may_load() {
        Status::of(ring_buffer_supported())
    } else {
        Status::Unknown
    };
    vec![
        Fact::new(AREA, "ring buffer", ring_buffer)
            .remedy("none is needed: perf buffers are used; ring buffers came with Linux 5.8"),
        Fact::new(AREA, "batched map operations", batch_operations())
            .remedy("none is needed: entries are read one by one; batches came with Linux 5.6"),
        Fact::new(AREA, "kprobes", Status::of(has_kprobes()))
            .remedy("use a kernel with CONFIG_KPROBE_EVENTS, or gadgets that do with tracepoints"),
        Fact::new(AREA, "uprobes", Status::of(has_uprobes())).remedy("use a kernel with CONFIG_UPROBE_EVENTS"),
    ]
}

/// Whether the kernel can look many entries of a map up at once: asked of a map with one entry.
fn batch_operations() -> Status {
    let Some(map) = probe_map(MapType::Hash) else {
        return Status::Unknown;
    };
    if map.update(&[1; 4], &[1; 4], MapFlags::ANY).is_err() {
        return Status::Unknown;
    }
    let entries = map.lookup_batch(2, MapFlags::ANY, MapFlags::ANY);
    Status::of(entries.is_ok_and(|mut entries| entries.next().is_some()))
}
