//! Loading a gadget’s eBPF object: BTF, markers, variables, maps, attachment and event buffers.

pub mod inspect;
