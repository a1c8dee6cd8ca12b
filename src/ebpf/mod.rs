//! Loading a gadget’s eBPF object: BTF, markers, variables, maps, attachment and event buffers.

pub mod btf;
pub mod elf;
pub mod fields;
pub mod markers;
pub mod params;
