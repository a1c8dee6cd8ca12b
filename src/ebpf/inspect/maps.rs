//! The maps of an object: what BTF says of those that it declares, and those that hold its variables.

use crate::ebpf::btf::{Btf, BtfKind, TypeId};

/// A map as the object declares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// The kernel's number of the map type.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Type of the key; 0 if not declared.
    pub key_type: TypeId,
    /// Type of the value; 0 if not declared.
    pub value_type: TypeId,
}

impl Map {
    /// The map that holds a section of variables: an array with one value of `size` bytes.
    pub(super) fn of_variables(size: u32) -> Self {
        Self {
            map_type: 2,
            key_size: 4,
            value_size: size,
            ..Self::default()
        }
    }

    /// A map as the members of its declaration describe it: `int (*type)[N]` for numbers, `T *key` for types.
    pub(in crate::ebpf) fn declared(btf: &Btf<'_>, ty: TypeId) -> Self {
        let mut map = Self::default();
        let Some(declaration) = btf.resolve(ty).filter(|t| t.kind == BtfKind::Struct) else {
            return map;
        };
        // A declaration has some ten members.
        for member in btf.members(&declaration).take(64) {
            let Some(pointer) = btf.resolve(member.type_id).filter(|t| t.kind == BtfKind::Ptr) else {
                continue;
            };
            let target = pointer.target();
            let number = btf
                .resolve(target)
                .filter(|t| t.kind == BtfKind::Array)
                .map_or(0, |array| array.array_len());
            match member.name {
                "type" => map.map_type = number,
                "key_size" => map.key_size = number,
                "value_size" => map.value_size = number,
                "key" => {
                    map.key_type = target;
                    map.key_size = btf.size_of(target).unwrap_or(0);
                }
                "value" => {
                    map.value_type = target;
                    map.value_size = btf.size_of(target).unwrap_or(0);
                }
                _ => {}
            }
        }
        map
    }
}

/// The name that a map type has in listings.
pub fn map_type_name(map_type: u32) -> String {
    const NAMES: [&str; 34] = [
        "UnspecifiedMap",
        "Hash",
        "Array",
        "ProgramArray",
        "PerfEventArray",
        "PerCPUHash",
        "PerCPUArray",
        "StackTrace",
        "CGroupArray",
        "LRUHash",
        "LRUCPUHash",
        "LPMTrie",
        "ArrayOfMaps",
        "HashOfMaps",
        "DevMap",
        "SockMap",
        "CPUMap",
        "XSKMap",
        "SockHash",
        "CGroupStorage",
        "ReusePortSockArray",
        "PerCPUCGroupStorage",
        "Queue",
        "Stack",
        "SkStorage",
        "DevMapHash",
        "StructOpsMap",
        "RingBuf",
        "InodeStorage",
        "TaskStorage",
        "BloomFilter",
        "UserRingbuf",
        "CgroupStorage",
        "Arena",
    ];
    match NAMES.get(map_type as usize) {
        Some(name) => (*name).to_owned(),
        None => format!("MapType({map_type})"),
    }
}
