//! Drops DWARF from a BPF object, keeping everything a loader reads: code, maps, BTF, symbols and their relocations.
//!
//! clang is then the only program a build needs. The file stands alone (only `std`), because the crate's build script includes
//! it too. The same input always gives the same output; input is checked, since objects may come from anywhere.
//!
//! Besides `.debug_*` it drops `.llvm_addrsig`, a note to linkers made of symbol indices that would be wrong afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

const EHDR_SIZE: usize = 64;
const SHDR_SIZE: usize = 64;
const SYM_SIZE: usize = 24;
const REL_SIZE: usize = 16;
const RELA_SIZE: usize = 24;

const ET_REL: u16 = 1;
const EM_BPF: u16 = 247;

const SHT_NULL: u32 = 0;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_RELA: u32 = 4;
const SHT_NOBITS: u32 = 8;
const SHT_REL: u32 = 9;
const SHT_GROUP: u32 = 17;
const SHT_SYMTAB_SHNDX: u32 = 18;
const SHF_INFO_LINK: u64 = 0x40;
/// Section indices from here on are special values (absolute, common), not sections.
const SHN_LORESERVE: u16 = 0xff00;

/// Why an object cannot be stripped.
#[derive(Debug, PartialEq, Eq)]
pub struct StripError(String);

impl fmt::Display for StripError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StripError {}

type Result<T> = std::result::Result<T, StripError>;

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(StripError(message.into()))
}

/// The object `elf` without DWARF.
///
/// # Errors
/// When `elf` is not a little-endian 64-bit relocatable BPF object, is damaged, or has section groups or extended section
/// numbers, which compilers do not emit for BPF.
pub fn strip_dwarf(elf: &[u8]) -> Result<Vec<u8>> {
    let object = Object::parse(elf)?;
    let kept: Vec<usize> = (0..object.sections.len()).filter(|&i| !object.is_removed(i)).collect();
    let mut section_map: BTreeMap<usize, usize> = BTreeMap::new();
    for (new, &old) in kept.iter().enumerate() {
        section_map.insert(old, new);
    }
    let symbols = object.symbols(&section_map)?;
    object.write(&kept, &section_map, &symbols)
}

#[derive(Clone, Copy)]
struct Section<'a> {
    name: &'a [u8],
    sh_type: u32,
    flags: u64,
    addr: u64,
    size: u64,
    link: u32,
    info: u32,
    align: u64,
    entsize: u64,
    /// Empty for sections without bytes in the file.
    data: &'a [u8],
}

struct Object<'a> {
    elf: &'a [u8],
    sections: Vec<Section<'a>>,
    /// Index of the string table that has the sections' names.
    names: usize,
    symtab: Option<usize>,
}

/// The symbols that stay: their records with section numbers already mapped, their names, and where each old one went.
struct Symbols<'a> {
    records: Vec<[u8; SYM_SIZE]>,
    names: Vec<&'a [u8]>,
    map: BTreeMap<usize, usize>,
    first_global: usize,
}

impl<'a> Object<'a> {
    fn parse(elf: &'a [u8]) -> Result<Self> {
        if elf.get(..4) != Some(b"\x7fELF".as_slice()) {
            return fail("not an ELF file");
        }
        if elf.len() < EHDR_SIZE {
            return fail("ELF header is cut short");
        }
        if elf[4] != 2 || elf[5] != 1 || u16_at(elf, 16)? != ET_REL || u16_at(elf, 18)? != EM_BPF {
            return fail("not a little-endian 64-bit relocatable BPF object");
        }
        let (table, count, names) = (u64_at(elf, 40)?, u16_at(elf, 60)?, u16_at(elf, 62)?);
        if u16_at(elf, 56)? != 0 || usize::from(u16_at(elf, 58)?) != SHDR_SIZE || count == 0 || names >= count {
            return fail("unusable ELF header");
        }
        let headers = bytes(elf, table, u64::from(count) * SHDR_SIZE as u64)?;
        let mut sections = Vec::with_capacity(count.into());
        for header in headers.chunks_exact(SHDR_SIZE) {
            let sh_type = u32_at(header, 4)?;
            let size = u64_at(header, 32)?;
            let data = match sh_type {
                SHT_NULL | SHT_NOBITS => &[],
                SHT_GROUP | SHT_SYMTAB_SHNDX => return fail(format!("section type {sh_type} is not supported")),
                _ => bytes(elf, u64_at(header, 24)?, size)?,
            };
            let align = u64_at(header, 48)?;
            if align > 4096 || (align != 0 && !align.is_power_of_two()) {
                return fail(format!("section alignment {align} makes no sense"));
            }
            sections.push(Section {
                name: &[],
                sh_type,
                flags: u64_at(header, 8)?,
                addr: u64_at(header, 16)?,
                size,
                link: u32_at(header, 40)?,
                info: u32_at(header, 44)?,
                align,
                entsize: u64_at(header, 56)?,
                data,
            });
        }
        let names = usize::from(names);
        let table = sections[names];
        for (section, header) in sections.iter_mut().zip(headers.chunks_exact(SHDR_SIZE)) {
            section.name = string(table.data, u32_at(header, 0)?)?;
        }
        let mut symtabs = (0..sections.len()).filter(|&i| sections[i].sh_type == SHT_SYMTAB);
        let symtab = symtabs.next();
        if symtabs.next().is_some() {
            return fail("more than one symbol table");
        }
        let object = Object {
            elf,
            sections,
            names,
            symtab,
        };
        if object.is_removed(names) {
            return fail("the string table is among the debugging sections");
        }
        Ok(object)
    }

    fn section(&self, index: u32) -> Result<&Section<'a>> {
        match usize::try_from(index).ok().and_then(|i| self.sections.get(i)) {
            Some(section) => Ok(section),
            None => fail(format!("section number {index} is out of range")),
        }
    }

    fn is_removed(&self, index: usize) -> bool {
        let is_debug = |name: &[u8]| name.starts_with(b".debug_") || name == b".llvm_addrsig";
        let name = self.sections[index].name;
        let target = name.strip_prefix(b".rela").or_else(|| name.strip_prefix(b".rel"));
        is_debug(name) || target.is_some_and(is_debug)
    }

    fn symbols(&self, section_map: &BTreeMap<usize, usize>) -> Result<Symbols<'a>> {
        let mut symbols = Symbols {
            records: Vec::new(),
            names: Vec::new(),
            map: BTreeMap::new(),
            first_global: 0,
        };
        let Some(index) = self.symtab else {
            return Ok(symbols);
        };
        let table = self.sections[index];
        let strings = self.section(table.link)?;
        if !table.data.len().is_multiple_of(SYM_SIZE) || strings.sh_type != SHT_STRTAB {
            return fail("damaged symbol table");
        }
        for (old, record) in table.data.chunks_exact(SYM_SIZE).enumerate() {
            let section = u16_at(record, 6)?;
            let new_section = if section >= SHN_LORESERVE {
                section
            } else {
                self.section(section.into())?;
                match section_map.get(&section.into()) {
                    Some(&new) => u16::try_from(new).map_err(|_| StripError("too many sections".into()))?,
                    None => continue,
                }
            };
            if old < table.info as usize {
                symbols.first_global += 1;
            }
            let mut copy = [0; SYM_SIZE];
            copy.copy_from_slice(record);
            copy[6..8].copy_from_slice(&new_section.to_le_bytes());
            symbols.map.insert(old, symbols.records.len());
            symbols.records.push(copy);
            symbols.names.push(string(strings.data, u32_at(record, 0)?)?);
        }
        Ok(symbols)
    }

    fn write(&self, kept: &[usize], section_map: &BTreeMap<usize, usize>, symbols: &Symbols<'a>) -> Result<Vec<u8>> {
        let symbol_strings = self.symtab.map(|index| self.sections[index].link as usize);
        let mut section_names: Vec<&[u8]> = kept.iter().map(|&i| self.sections[i].name).collect();
        // clang keeps both kinds of names in one table.
        let shared = symbol_strings == Some(self.names);
        if shared {
            section_names.extend_from_slice(&symbols.names);
        }
        let section_strings = Strings::new(&section_names);
        let own_strings = (!shared).then(|| Strings::new(&symbols.names));
        let symbol_names = own_strings.as_ref().unwrap_or(&section_strings);

        let mut out = self.elf[..EHDR_SIZE].to_vec();
        let mut headers = Vec::with_capacity(kept.len() * SHDR_SIZE);
        for &index in kept {
            let section = self.sections[index];
            let data = if index == self.names {
                section_strings.data.clone()
            } else if Some(index) == symbol_strings {
                symbol_names.data.clone()
            } else if Some(index) == self.symtab {
                symbols.write(symbol_names)
            } else {
                self.contents(index, symbols)?
            };
            let (offset, size) = match section.sh_type {
                SHT_NULL => (0, section.size),
                SHT_NOBITS => (align_to(&mut out, section.align), section.size),
                _ => (align_to(&mut out, section.align), data.len() as u64),
            };
            out.extend_from_slice(&data);
            let link = self.mapped(section.link, section_map)?;
            let info = match section.sh_type {
                SHT_REL | SHT_RELA => self.mapped(section.info, section_map)?,
                SHT_SYMTAB => symbols.first_global as u32,
                _ if section.flags & SHF_INFO_LINK != 0 => self.mapped(section.info, section_map)?,
                _ => section.info,
            };
            headers.extend_from_slice(&section_strings.offset(section.name).to_le_bytes());
            headers.extend_from_slice(&section.sh_type.to_le_bytes());
            headers.extend_from_slice(&section.flags.to_le_bytes());
            headers.extend_from_slice(&section.addr.to_le_bytes());
            headers.extend_from_slice(&offset.to_le_bytes());
            headers.extend_from_slice(&size.to_le_bytes());
            headers.extend_from_slice(&link.to_le_bytes());
            headers.extend_from_slice(&info.to_le_bytes());
            headers.extend_from_slice(&section.align.to_le_bytes());
            headers.extend_from_slice(&section.entsize.to_le_bytes());
        }
        let table = align_to(&mut out, 8);
        out.extend_from_slice(&headers);
        let count = kept.len() as u16;
        let names = section_map.get(&self.names).copied().unwrap_or_default() as u16;
        out[40..48].copy_from_slice(&table.to_le_bytes());
        out[60..62].copy_from_slice(&count.to_le_bytes());
        out[62..64].copy_from_slice(&names.to_le_bytes());
        Ok(out)
    }

    fn mapped(&self, index: u32, section_map: &BTreeMap<usize, usize>) -> Result<u32> {
        self.section(index)?;
        match section_map.get(&(index as usize)) {
            Some(&new) => Ok(new as u32),
            None => fail("a section that stays belongs to a debugging section"),
        }
    }

    /// The bytes of a section, with symbol numbers mapped if it holds relocations.
    fn contents(&self, index: usize, symbols: &Symbols<'a>) -> Result<Vec<u8>> {
        let section = self.sections[index];
        let mut data = section.data.to_vec();
        let entry = match section.sh_type {
            SHT_REL => REL_SIZE,
            SHT_RELA => RELA_SIZE,
            _ => return Ok(data),
        };
        if !data.len().is_multiple_of(entry) || Some(section.link as usize) != self.symtab {
            return fail("damaged relocation section");
        }
        for relocation in data.chunks_exact_mut(entry) {
            let old = u32_at(relocation, 12)? as usize;
            let Some(&new) = symbols.map.get(&old) else {
                return fail(format!("a relocation refers to symbol {old}, which does not stay"));
            };
            relocation[12..16].copy_from_slice(&(new as u32).to_le_bytes());
        }
        Ok(data)
    }
}

impl Symbols<'_> {
    fn write(&self, names: &Strings) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.records.len() * SYM_SIZE);
        for (record, name) in self.records.iter().zip(&self.names) {
            data.extend_from_slice(&names.offset(name).to_le_bytes());
            data.extend_from_slice(&record[4..]);
        }
        data
    }
}

/// A string table in which a name that another one ends with takes no room of its own.
struct Strings {
    data: Vec<u8>,
    offsets: BTreeMap<Vec<u8>, u32>,
}

impl Strings {
    fn new(names: &[&[u8]]) -> Self {
        let mut reversed: Vec<Vec<u8>> = names.iter().map(|name| name.iter().rev().copied().collect()).collect();
        // In descending order a name comes right after the longer ones that end with it.
        reversed.sort_unstable_by(|a, b| b.cmp(a));
        reversed.dedup();
        let mut data = vec![0];
        let mut offsets = BTreeMap::from([(Vec::new(), 0)]);
        let mut previous: Vec<u8> = Vec::new();
        for name in reversed.into_iter().filter(|name| !name.is_empty()) {
            let forward: Vec<u8> = name.iter().rev().copied().collect();
            if previous.starts_with(&name) {
                offsets.insert(forward, (data.len() - 1 - name.len()) as u32);
            } else {
                offsets.insert(forward.clone(), data.len() as u32);
                data.extend_from_slice(&forward);
                data.push(0);
                previous = name;
            }
        }
        Self { data, offsets }
    }

    fn offset(&self, name: &[u8]) -> u32 {
        self.offsets.get(name).copied().unwrap_or_default()
    }
}

fn align_to(out: &mut Vec<u8>, align: u64) -> u64 {
    let align = usize::try_from(align).unwrap_or(1).max(1);
    out.resize(out.len().next_multiple_of(align), 0);
    out.len() as u64
}

fn range(offset: u64, size: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(usize::try_from(size).ok()?)?)
}

fn bytes(data: &[u8], offset: u64, size: u64) -> Result<&[u8]> {
    match range(offset, size).and_then(|range| data.get(range)) {
        Some(bytes) => Ok(bytes),
        None => fail(format!("{size} bytes at offset {offset} are outside the file")),
    }
}

fn array_at<const N: usize>(data: &[u8], offset: u64) -> Result<[u8; N]> {
    let mut array = [0; N];
    array.copy_from_slice(bytes(data, offset, N as u64)?);
    Ok(array)
}

fn u16_at(data: &[u8], offset: u64) -> Result<u16> {
    array_at(data, offset).map(u16::from_le_bytes)
}

fn u32_at(data: &[u8], offset: u64) -> Result<u32> {
    array_at(data, offset).map(u32::from_le_bytes)
}

fn u64_at(data: &[u8], offset: u64) -> Result<u64> {
    array_at(data, offset).map(u64::from_le_bytes)
}

/// The NUL-terminated string at `offset` of a string table.
fn string(table: &[u8], offset: u32) -> Result<&[u8]> {
    let rest = table.get(offset as usize..).unwrap_or_default();
    match rest.iter().position(|&byte| byte == 0) {
        Some(end) => Ok(&rest[..end]),
        // An object without any name may have an empty table.
        None if offset == 0 => Ok(&[]),
        None => fail("a name is outside its string table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

    const SOURCE: &str = r#"
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
struct { int (*type)[1]; int (*max_entries)[16]; u32 *key; u64 *value; } counts SEC(".maps");
static long (*const lookup)(void *map, const void *key) = (void *)1;
const volatile u32 wanted = 7;
u64 seen;
__attribute__((noinline)) static int helper(u32 key) { u64 *v = (u64 *)lookup(&counts, &key); if (v) (*v)++; return !!v; }
SEC("tracepoint/syscalls/sys_enter_openat") int enter(void *ctx) { seen += wanted; return helper(wanted); }
SEC("raw_tp/sched_switch") int leave(void *ctx) { return helper(2); }
char LICENSE[] SEC("license") = "GPL";
"#;

    fn compile() -> Vec<u8> {
        crate::build::testing::compile_with_dwarf(SOURCE)
    }

    fn section(elf: &[u8], name: &str) -> Option<Vec<u8>> {
        let file = object::File::parse(elf).unwrap();
        file.section_by_name(name).map(|s| s.data().unwrap().to_vec())
    }

    #[test]
    fn drops_dwarf_and_keeps_the_rest() {
        let full = compile();
        let stripped = strip_dwarf(&full).unwrap();
        assert!(section(&full, ".debug_info").is_some());
        for name in [
            ".BTF",
            ".BTF.ext",
            ".maps",
            "license",
            ".rodata",
            "tracepoint/syscalls/sys_enter_openat",
        ] {
            assert_eq!(
                section(&stripped, name).unwrap(),
                section(&full, name).unwrap(),
                "{name}"
            );
        }
        let file = object::File::parse(&*stripped).unwrap();
        for section in file.sections() {
            let name = section.name().unwrap();
            assert!(!name.contains("debug") && name != ".llvm_addrsig", "{name}");
        }
        let symbol = file.symbol_by_name("enter").unwrap();
        let home = file.section_by_index(symbol.section_index().unwrap()).unwrap();
        assert_eq!(home.name().unwrap(), "tracepoint/syscalls/sys_enter_openat");
        // Relocations still name what they named.
        let targets: Vec<_> = home
            .relocations()
            .map(|(_, relocation)| match relocation.target() {
                object::RelocationTarget::Symbol(index) => {
                    file.symbol_by_index(index).unwrap().name().unwrap().to_owned()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(
            targets.contains(&"wanted".to_owned()) && targets.contains(&"seen".to_owned()),
            "{targets:?}"
        );
        assert_eq!(
            strip_dwarf(&stripped).unwrap(),
            stripped,
            "stripping twice changes nothing"
        );
        assert_eq!(
            strip_dwarf(&full).unwrap(),
            stripped,
            "the same input gives the same output"
        );
    }

    #[test]
    fn libbpf_opens_the_result() {
        let stripped = strip_dwarf(&compile()).unwrap();
        let object = libbpf_rs::ObjectBuilder::default().open_memory(&stripped).unwrap();
        let mut programs: Vec<_> = object
            .progs()
            .map(|p| p.name().to_string_lossy().into_owned())
            .collect();
        programs.sort();
        assert_eq!(programs, ["enter", "leave"]);
        assert!(object.maps().any(|m| m.name() == "counts"));
    }

    #[test]
    fn is_as_small_as_the_llvm_tool_makes_it() {
        let full = compile();
        let Some(tool) = ["llvm-strip", "llvm-strip-19", "llvm-strip-16"]
            .into_iter()
            .find(|tool| {
                std::process::Command::new(tool)
                    .arg("--version")
                    .output()
                    .is_ok_and(|output| output.status.success())
            })
        else {
            eprintln!("skipped: no llvm-strip here to compare with");
            return;
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &full).unwrap();
        assert!(
            std::process::Command::new(tool)
                .arg("-g")
                .arg(file.path())
                .status()
                .unwrap()
                .success()
        );
        let theirs = std::fs::metadata(file.path()).unwrap().len();
        let ours = strip_dwarf(&full).unwrap().len() as u64;
        assert!(ours * 10 <= theirs * 11, "ours: {ours}, llvm-strip: {theirs}");
    }

    #[test]
    fn refuses_other_files() {
        assert_eq!(strip_dwarf(b"").unwrap_err().to_string(), "not an ELF file");
        assert_eq!(
            strip_dwarf(b"\x7fELF").unwrap_err().to_string(),
            "ELF header is cut short"
        );
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(
            strip_dwarf(&own).unwrap_err().to_string(),
            "not a little-endian 64-bit relocatable BPF object"
        );
    }

    #[test]
    fn damaged_objects_never_panic() {
        let full = compile();
        for length in (0..full.len()).step_by(97) {
            assert!(strip_dwarf(&full[..length]).is_err());
        }
        let table = u64_at(&full, 40).unwrap() as usize;
        let positions = (0..EHDR_SIZE).chain(table..full.len());
        for position in positions {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = full.clone();
                damaged[position] = value;
                // Either outcome is fine; what counts is that there is one.
                let _ = strip_dwarf(&damaged);
            }
        }
    }

    #[test]
    fn names_share_their_tails() {
        let strings = Strings::new(&[b".rel.text", b".text", b"", b"text", b"other"]);
        let at = |name: &[u8]| string(&strings.data, strings.offset(name)).unwrap().to_vec();
        for name in [&b".rel.text"[..], b".text", b"", b"text", b"other"] {
            assert_eq!(at(name), name);
        }
        assert_eq!(strings.data.len(), 1 + ".rel.text\0other\0".len());
    }
}
