//! Types of a kernel or an object: read, walked, and reduced to what an object asks for.

use inspektor_gadget::ebpf::btf::{Btf, BtfKind, CoreRelocations, KernelBtf, MinimalOptions, minimal};
use inspektor_gadget::ebpf::convention;
use inspektor_gadget::ebpf::fields::struct_fields_of;

pub fn run(data: &[u8]) {
    let btf = match Btf::parse(data) {
        Ok(btf) => btf,
        Err(error) => return super::assert_said(&error),
    };
    let mut names = std::collections::BTreeSet::new();
    for t in btf.types() {
        let name = btf.name(&t);
        if t.id % 3 == 0 && !name.is_empty() {
            names.insert(name.to_owned());
        }
        btf.size_of(t.id);
        btf.resolve(t.id);
        btf.enumerators(&t);
        if t.kind == BtfKind::Struct {
            let _ = struct_fields_of(&btf, &t);
        }
    }
    match convention::discover(&btf) {
        Ok(sources) => {
            for source in &sources {
                let _ = convention::member_names(&btf, source);
            }
        }
        Err(error) => super::assert_said(&error),
    }
    convention::parameters(&btf);
    let wanted = CoreRelocations {
        names,
        needs_whole_kernel: data.len().is_multiple_of(5),
        members: Default::default(),
    };
    for without_ring_buffer in [false, true] {
        let kernel = KernelBtf::from_bytes(data.to_vec());
        let options = MinimalOptions {
            without_ring_buffer,
            extra: None,
        };
        if let Ok(Some(reduced)) = minimal(&kernel, &wanted, options) {
            Btf::parse(&reduced).expect("what was written can be read");
        }
    }
}
