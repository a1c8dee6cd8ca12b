//! What the kernel's BPF has: types of programs and maps, and features beyond them.

use libbpf_rs::MapType;

use super::{Fact, Status};
use crate::ebpf::features::{Feature, PROGRAMS, may_load};

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

pub(super) fn features() -> Vec<Fact> {
    Feature::ALL
        .into_iter()
        .map(|feature| {
            let status = feature.is_there().map_or(Status::Unknown, Status::of);
            let fact = Fact::new("features", feature.name(), status).remedy(feature.advice());
            match status {
                Status::Unknown => fact.detail("only trying tells"),
                _ => fact,
            }
        })
        .collect()
}
