//! The minimal kernel BTF of one object.
//!
//! libbpf searches all types of the kernel for each type that an object relocates against, which is more than half of the time
//! that loading takes. One pass over the kernel's BTF collects the types of the names an object asks for with what they embed
//! by value; what pointers point to does not matter to relocations, so every pointer becomes `void *`. libbpf is handed the
//! result in place of the kernel's own BTF. Attaching by BTF id (tp_btf, iterators, …) still uses the kernel's.

use std::collections::{BTreeMap, HashMap};

use super::kernel::KernelBtf;
use super::{Btf, BtfKind, BtfType, CoreRelocations, ExtraStruct, TypeId, essential_name};
use crate::Result;

/// Enumerators of `enum bpf_func_id` whose names begin with this exist exactly where ring buffers do.
const RING_BUFFER_HELPERS: &str = "BPF_FUNC_ringbuf_";

impl KernelBtf {
    /// The whole BTF, without ring buffer helpers if `perf` asks for that.
    fn whole(&self, options: MinimalOptions<'_>) -> Result<Vec<u8>> {
        let mut bytes = self.bytes().to_vec();
        if options.without_ring_buffer {
            // Shorten the names at their front: no program asks for `PF_FUNC_ringbuf_reserve`.
            let btf = self.parse()?;
            let types_start = btf.types.as_ptr() as usize - self.bytes().as_ptr() as usize;
            for func_id in btf
                .types()
                .filter(|t| t.kind == BtfKind::Enum && btf.name(t) == "bpf_func_id")
            {
                let at = types_start + btf.offsets[func_id.id as usize - 1] as usize + 12;
                for (i, [name, _]) in func_id.records::<2>().enumerate() {
                    if btf.string(name).starts_with(RING_BUFFER_HELPERS) {
                        bytes[at + i * 8..at + i * 8 + 4].copy_from_slice(&(name + 1).to_le_bytes());
                    }
                }
            }
        }
        Ok(bytes)
    }
}

/// What to change while collecting.
#[derive(Clone, Copy, Debug, Default)]
pub struct MinimalOptions<'e> {
    /// Leave out the helpers of the ring buffer, so that gadget code takes the perf buffer's way.
    pub without_ring_buffer: bool,
    /// A struct that is to be found although the kernel has none of this name.
    pub extra: Option<&'e ExtraStruct>,
}

/// The BTF to relocate an object against, or `None` when libbpf should look for itself: a named type may live in a module.
pub fn minimal(kernel: &KernelBtf, wanted: &CoreRelocations, options: MinimalOptions<'_>) -> Result<Option<Vec<u8>>> {
    let with_extra = |btf: Vec<u8>| match options.extra {
        Some(extra) => extra.append_to(&btf).map(Some),
        None => Ok(Some(btf)),
    };
    let changes = options.without_ring_buffer || options.extra.is_some();
    if wanted.needs_whole_kernel {
        return match changes || !kernel.is_shown_by_the_kernel() {
            true => kernel.whole(options).and_then(with_extra),
            false => Ok(None),
        };
    }
    let btf = kernel.parse()?;
    let mut collector = Collector::new(&btf, options);
    let missing = match options.extra {
        Some(extra) => {
            let mut of_kernel = wanted.clone();
            of_kernel.names.remove(extra.name);
            collector.collect(&of_kernel)
        }
        None => collector.collect(wanted),
    };
    if missing && kernel.is_shown_by_the_kernel() && has_modules() && !changes {
        return Ok(None);
    }
    with_extra(collector.write())
}

fn has_modules() -> bool {
    std::fs::read_dir("/sys/kernel/btf").is_ok_and(|entries| entries.count() > 1)
}

/// Which names are wanted, decided by the first two bytes alone for most of the kernel's types.
struct NameFilter<'w> {
    /// By the first two bytes: 0, or one more than the index of the group of names that begin with them.
    by_start: Vec<u16>,
    groups: Vec<Vec<WantedName<'w>>>,
}

struct WantedName<'w> {
    name: &'w str,
    found: bool,
}

impl<'w> NameFilter<'w> {
    fn new(wanted: &'w CoreRelocations) -> Self {
        let mut by_start = vec![0; 1 << 16];
        let mut groups: Vec<Vec<WantedName<'w>>> = Vec::new();
        for name in &wanted.names {
            let group = &mut by_start[Self::start(name.as_bytes())];
            if *group == 0 {
                groups.push(Vec::new());
                // There are no more groups than pairs of bytes, less that of the empty name.
                *group = u16::try_from(groups.len()).unwrap_or(u16::MAX);
            }
            groups[usize::from(*group) - 1].push(WantedName { name, found: false });
        }
        Self { by_start, groups }
    }

    fn start(name: &[u8]) -> usize {
        let first = name.first().copied().unwrap_or(0);
        let second = name.get(1).copied().unwrap_or(0);
        usize::from(first) << 8 | usize::from(second)
    }

    /// The wanted name which is the essential one of the name that `strings` begins with, up to the first zero.
    #[inline]
    fn find(&mut self, strings: &[u8]) -> Option<&mut WantedName<'w>> {
        let group = usize::from(self.by_start[Self::start(strings)]).checked_sub(1)?;
        self.groups[group].iter_mut().find(|wanted| {
            let Some(rest) = strings.strip_prefix(wanted.name.as_bytes()) else {
                return false;
            };
            match rest.first() {
                Some(0) | None => true,
                Some(b'_') => {
                    let name = strings.split(|byte| *byte == 0).next().unwrap_or_default();
                    std::str::from_utf8(name).is_ok_and(|name| essential_name(name) == wanted.name)
                }
                Some(_) => false,
            }
        })
    }

    fn lacks_some(&self) -> bool {
        self.groups.iter().flatten().any(|wanted| !wanted.found)
    }
}

/// Types to keep, and what they become.
struct Collector<'b, 'k> {
    btf: &'b Btf<'k>,
    options: MinimalOptions<'b>,
    /// Number of every kept type in the new BTF; numbers follow the kernel's order.
    kept: BTreeMap<TypeId, TypeId>,
}

impl<'b, 'k> Collector<'b, 'k> {
    fn new(btf: &'b Btf<'k>, options: MinimalOptions<'b>) -> Self {
        Self {
            btf,
            options,
            kept: BTreeMap::new(),
        }
    }

    /// Keeps the wanted types and what they embed. Whether some name was not found.
    fn collect(&mut self, wanted: &CoreRelocations) -> bool {
        let mut filter = NameFilter::new(wanted);
        let mut queue = Vec::new();
        for (i, at) in self.btf.offsets.iter().enumerate() {
            let name_off = super::word(self.btf.types, *at as usize);
            if name_off == 0 {
                continue;
            }
            let strings = self.btf.strings.get(name_off as usize..).unwrap_or_default();
            if let Some(wanted) = filter.find(strings) {
                let id = i as TypeId + 1;
                if let Some(t) = self.btf.get(id)
                    && !matches!(
                        t.kind,
                        BtfKind::Func | BtfKind::Var | BtfKind::Datasec | BtfKind::DeclTag
                    )
                {
                    wanted.found = true;
                    queue.push(id);
                }
            }
        }
        while let Some(id) = queue.pop() {
            let Some(t) = self.btf.get(id) else { continue };
            if self.kept.insert(id, 0).is_some() {
                continue;
            }
            match t.kind {
                BtfKind::Struct | BtfKind::Union => queue.extend(self.btf.members(&t).map(|m| m.type_id)),
                BtfKind::Array => queue.extend([t.array_element(), t.word(1)]),
                BtfKind::Typedef | BtfKind::Const | BtfKind::Volatile | BtfKind::Restrict | BtfKind::TypeTag => {
                    queue.push(t.target());
                }
                _ => {}
            }
        }
        for (i, new) in self.kept.values_mut().enumerate() {
            *new = i as TypeId + 1;
        }
        filter.lacks_some()
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Writer::default();
        for id in self.kept.keys() {
            if let Some(t) = self.btf.get(*id) {
                self.write_type(&t, &mut out);
            }
        }
        out.finish()
    }

    fn new_id(&self, old: TypeId) -> TypeId {
        self.kept.get(&old).copied().unwrap_or(0)
    }

    fn write_type(&self, t: &BtfType<'_>, out: &mut Writer) {
        let btf = self.btf;
        let name = out.string(btf.string_bytes(t.name_off));
        match t.kind {
            BtfKind::Struct | BtfKind::Union => {
                out.words(&[name, t.info, t.size()]);
                for [name, type_id, offset] in t.records::<3>() {
                    let name = out.string(btf.string_bytes(name));
                    out.words(&[name, self.new_id(type_id), offset]);
                }
            }
            BtfKind::Enum => {
                let records: Vec<[u32; 2]> = t
                    .records::<2>()
                    .filter(|[name, _]| self.keeps_enumerator(btf.string(*name)))
                    .collect();
                out.words(&[name, t.info & !0xffff | records.len() as u32, t.size()]);
                for [name, value] in records {
                    let name = out.string(btf.string_bytes(name));
                    out.words(&[name, value]);
                }
            }
            BtfKind::Enum64 => {
                out.words(&[name, t.info, t.size()]);
                for [name, low, high] in t.records::<3>() {
                    let name = out.string(btf.string_bytes(name));
                    out.words(&[name, low, high]);
                }
            }
            BtfKind::Array => {
                out.words(&[
                    name,
                    t.info,
                    t.size(),
                    self.new_id(t.array_element()),
                    self.new_id(t.word(1)),
                    t.word(2),
                ]);
            }
            BtfKind::Int => out.words(&[name, t.info, t.size(), t.word(0)]),
            BtfKind::Float | BtfKind::Fwd => out.words(&[name, t.info, t.size_or_type]),
            // What is behind a pointer is of no interest, and a variable may have the name of a type that is wanted.
            BtfKind::Ptr | BtfKind::FuncProto | BtfKind::Var | BtfKind::Datasec | BtfKind::DeclTag => {
                out.words(&[0, (BtfKind::Ptr as u32) << 24, 0]);
            }
            _ => out.words(&[name, t.info, self.new_id(t.target())]),
        }
    }

    fn keeps_enumerator(&self, name: &str) -> bool {
        !(self.options.without_ring_buffer && name.starts_with(RING_BUFFER_HELPERS))
    }
}

#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    known: HashMap<Vec<u8>, u32>,
}

impl Writer {
    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn string(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if let Some(offset) = self.known.get(text) {
            return *offset;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(text);
        self.strings.push(0);
        self.known.insert(text.to_owned(), offset);
        offset
    }

    fn finish(mut self) -> Vec<u8> {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        let mut out = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, self.types.len(), self.types.len(), self.strings.len()] {
            out.extend_from_slice(&(word as u32).to_le_bytes());
        }
        out.append(&mut self.types);
        out.append(&mut self.strings);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Builder;
    use super::*;

    fn kernel() -> KernelBtf {
        let mut b = Builder::default();
        let int = b.int("int", 4, 1);
        let unrelated = b.structure("unrelated", 4, &[("x", int, 0)]);
        let inner = b.structure("inner", 8, &[("a", int, 0), ("b", int, 32)]);
        let pointer = b.pointer(unrelated);
        let typedef = b.typedef("inner_t", inner);
        b.structure("outer", 24, &[("p", pointer, 0), ("i", typedef, 64)]);
        b.enumeration(
            "bpf_func_id",
            false,
            &[("BPF_FUNC_map_lookup_elem", 1), ("BPF_FUNC_ringbuf_reserve", 131)],
        );
        KernelBtf::from_bytes(b.build())
    }

    fn wanted(names: &[&str]) -> CoreRelocations {
        CoreRelocations {
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            needs_whole_kernel: false,
            ..CoreRelocations::default()
        }
    }

    #[test]
    fn keeps_what_is_embedded_and_nothing_else() {
        let bytes = minimal(&kernel(), &wanted(&["outer"]), MinimalOptions::default())
            .unwrap()
            .unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        let mut names: Vec<&str> = btf.types().map(|t| btf.name(&t)).collect();
        names.sort_unstable();
        assert_eq!(names, ["", "inner", "inner_t", "int", "outer"]);
        let outer = btf.find(BtfKind::Struct, "outer").unwrap();
        let members: Vec<_> = btf.members(&outer).collect();
        assert_eq!(
            btf.get(members[0].type_id).unwrap().target(),
            0,
            "pointers become void *"
        );
        assert_eq!(btf.name(&btf.resolve(members[1].type_id).unwrap()), "inner");
        assert_eq!(members[1].bit_offset, 64);
    }

    #[test]
    fn a_variable_may_have_the_name_of_a_type() {
        let mut b = Builder::default();
        let int = b.int("int", 4, 1);
        let wanted_type = b.structure("wanted", 4, &[("x", int, 0)]);
        let variable = b.variable("wanted", wanted_type, 1);
        b.section("wanted", &[(variable, 4)]);
        let kernel = KernelBtf::from_bytes(b.build());
        let bytes = minimal(&kernel, &wanted(&["wanted"]), MinimalOptions::default())
            .unwrap()
            .unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        let found = btf.find(BtfKind::Struct, "wanted").unwrap();
        assert_eq!(btf.members(&found).count(), 1);
    }

    #[test]
    fn perf_buffers_hide_the_ring_buffer_helpers() {
        let options = MinimalOptions {
            without_ring_buffer: true,
            extra: None,
        };
        for (whole, expected) in [(false, 1), (true, 2)] {
            let mut wanted = wanted(&["bpf_func_id"]);
            wanted.needs_whole_kernel = whole;
            let bytes = minimal(&kernel(), &wanted, options).unwrap().unwrap();
            let btf = Btf::parse(&bytes).unwrap();
            let ids = btf.enumerators(&btf.find(BtfKind::Enum, "bpf_func_id").unwrap());
            assert_eq!(ids.len(), expected);
            assert!(
                ids.iter().all(|(name, _)| !name.starts_with(RING_BUFFER_HELPERS)),
                "{ids:?}"
            );
            assert_eq!(ids[0], ("BPF_FUNC_map_lookup_elem", 1));
        }
    }

    #[test]
    fn names_are_found_with_and_without_flavour() {
        let wanted = wanted(&["a", "ab", "abc", "abd_e"]);
        let mut filter = NameFilter::new(&wanted);
        let mut find = |text: &[u8]| filter.find(text).map(|wanted| wanted.name);
        for (text, expected) in [
            (&b"a\0b\0"[..], Some("a")),
            (b"ab\0c", Some("ab")),
            (b"ab", Some("ab")),
            (b"abc___o\0", Some("abc")),
            (b"abc_o\0", None),
            (b"abcd\0", None),
            (b"abd_e\0", Some("abd_e")),
            (b"abd\0", None),
            (b"b\0", None),
            (b"", None),
        ] {
            assert_eq!(find(text), expected, "{}", text.escape_ascii());
        }
        assert!(filter.lacks_some());
    }

    #[test]
    fn works_on_the_running_kernel() {
        let Some(kernel) = KernelBtf::running().unwrap() else {
            assert!(
                std::env::var_os("IG_TEST_ALLOW_SKIP").is_some(),
                "this kernel shows no BTF"
            );
            println!("SKIPPED: this kernel shows no BTF");
            return;
        };
        let bytes = minimal(
            &kernel,
            &wanted(&["task_struct", "bpf_func_id"]),
            MinimalOptions::default(),
        )
        .unwrap()
        .unwrap();
        assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
        let btf = Btf::parse(&bytes).unwrap();
        let full = kernel.parse().unwrap();
        let task = |btf: &Btf<'_>| {
            let task = btf.find(BtfKind::Struct, "task_struct").unwrap();
            let offset = btf.members(&task).find(|m| m.name == "nsproxy").map(|m| m.bit_offset);
            (task.size(), offset)
        };
        assert_eq!(task(&btf), task(&full));
    }
}
