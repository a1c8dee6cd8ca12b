//! What the loader reads from a gadget's ELF itself, before libbpf opens it: BTF sections and variables.

use std::collections::BTreeMap;

use object::read::elf::{ElfFile64, FileHeader, SectionHeader};
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, elf};

use crate::{Error, Result};

/// A global variable with storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The section it is in: `.rodata`, `.data`, `.bss` or one of these with a suffix.
    pub section: String,
    /// Byte offset in the section.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
    /// The compiled value; zeroes for `.bss`.
    pub initial: Vec<u8>,
}

/// The parts of a gadget's ELF that the loader looks at.
#[derive(Clone, Debug)]
pub struct GadgetElf<'a> {
    /// Contents of `.BTF`.
    pub btf: &'a [u8],
    /// Contents of `.BTF.ext`; empty if there is none.
    pub btf_ext: &'a [u8],
    /// Settable variables by name.
    pub variables: BTreeMap<String, Variable>,
}

impl<'a> GadgetElf<'a> {
    /// Reads an eBPF object.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let bad = |cause: object::Error| {
            Error::invalid(format!("the eBPF layer is not a valid ELF object: {cause}"))
                .with_hint("rebuild the image with `ig image build`")
        };
        let file = ElfFile64::<LittleEndian>::parse(bytes).map_err(bad)?;
        let machine = file.elf_header().e_machine(LittleEndian);
        if machine != elf::EM_BPF && machine != elf::EM_NONE {
            return Err(Error::invalid(format!(
                "the eBPF layer is an ELF object for machine {}, not for eBPF",
                machine.0
            ))
            .with_hint("rebuild the image with `ig image build`"));
        }
        let section = |name: &str| file.section_by_name(name).and_then(|section| section.data().ok());
        let btf = section(".BTF").filter(|data| !data.is_empty()).ok_or_else(|| {
            Error::invalid("missing types in ebpf spec: the object has no BTF")
                .with_hint("compile with clang's `-g`, and do not strip the .BTF section")
        })?;
        let mut variables = BTreeMap::new();
        for symbol in file.symbols() {
            let (Some(index), Ok(name)) = (symbol.section_index(), symbol.name()) else {
                continue;
            };
            let Ok(section) = file.section_by_index(index) else {
                continue;
            };
            let section_name = section.name().unwrap_or_default();
            if !is_data_section(section_name) || symbol.size() == 0 || !symbol.is_global() || name.is_empty() {
                continue;
            }
            let (offset, size) = (symbol.address() as usize, symbol.size() as usize);
            let no_bits = section.elf_section_header().sh_type(LittleEndian) == elf::SHT_NOBITS;
            let end = offset.checked_add(size).filter(|end| *end as u64 <= section.size());
            let initial = match (end, no_bits) {
                (None, _) => continue,
                (Some(_), true) => Vec::new(),
                (Some(end), false) => match section.data().ok().and_then(|data| data.get(offset..end)) {
                    Some(data) => data.to_vec(),
                    None => continue,
                },
            };
            variables.insert(
                name.to_owned(),
                Variable {
                    section: section_name.to_owned(),
                    offset,
                    size,
                    initial,
                },
            );
        }
        Ok(Self {
            btf,
            btf_ext: section(".BTF.ext").unwrap_or_default(),
            variables,
        })
    }
}

/// Whether the variables of the section `name` become a map of that name.
pub(super) fn is_data_section(name: &str) -> bool {
    [".rodata", ".data", ".bss"].iter().any(|kind| {
        name.strip_prefix(kind)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong_with_an_object() {
        for (bytes, expected) in [
            (&b""[..], "not a valid ELF object"),
            (b"\x7fELF", "not a valid ELF object"),
            (
                b"hello, world, this is no object at all, not even a bit of one....",
                "not a valid ELF object",
            ),
        ] {
            let error = GadgetElf::parse(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        let error = GadgetElf::parse(&own).unwrap_err().to_string();
        assert!(error.contains("not for eBPF"), "{error}");
    }
}
