//! An eBPF object that nobody has checked: what is shown of it, and what is read before libbpf opens it.

use inspektor_gadget::ebpf::btf::{Btf, CoreRelocations};
use inspektor_gadget::ebpf::elf::GadgetElf;
use inspektor_gadget::ebpf::inspect::extra_info;

pub fn run(data: &[u8]) {
    if let Err(error) = extra_info(data) {
        super::assert_said(&error);
    }
    match GadgetElf::parse(data) {
        Ok(elf) => {
            if let Ok(btf) = Btf::parse(elf.btf) {
                let _ = CoreRelocations::parse(&btf, elf.btf_ext);
            }
        }
        Err(error) => super::assert_said(&error),
    }
}
