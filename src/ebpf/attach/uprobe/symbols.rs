//! Functions by their names.

use super::binary::{Binary, Source, c_string};
use super::gopclntab;
use crate::ebpf::attach::kprobe_multi::matches;
use crate::{Error, Result, ResultExt};

const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
const STT_FUNC: u8 = 2;

/// The names of one table's symbols together.
const MAX_NAMES: u64 = 64 << 20;
/// Symbols of one table.
const MAX_SYMBOLS: u64 = 10_000_000;
/// How many symbols are read at once.
const CHUNK: u64 = 4096;
/// A pattern that matches more functions was not meant.
const MAX_MATCHES: usize = 10_000;

/// What is looked for in a binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'n> {
    /// The function of this name.
    Name(&'n str),
    /// All functions whose names match, `*` and `?` being wildcards.
    Pattern(&'n str),
}

impl<'n> Wanted<'n> {
    /// What `pattern` stands for; without a wildcard one name.
    pub(super) fn matching(pattern: &'n str) -> Self {
        match pattern.contains(['*', '?']) {
            true => Self::Pattern(pattern),
            false => Self::Name(pattern),
        }
    }

    fn matches(self, name: &[u8]) -> bool {
        match self {
            Self::Name(wanted) => wanted.as_bytes() == name,
            Self::Pattern(pattern) => matches(pattern.as_bytes(), name),
        }
    }
}

/// Offsets in the file at which the wanted functions begin, in ascending order, without duplicates.
///
/// The function of a name is looked for among all symbols, then among dynamic ones, and at last, unless a return is to be
/// probed, in the tables of Go's runtime: Go moves its stacks, so that return probes would break its programs.
pub(super) fn offsets<S: Source>(binary: &Binary<S>, wanted: Wanted<'_>, on_return: bool) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for kind in [SHT_SYMTAB, SHT_DYNSYM] {
        scan(binary, kind, &mut |symbol| {
            if symbol.is_function && symbol.address != 0 && wanted.matches(symbol.name) {
                found.extend(binary.file_offset(symbol.address));
            }
            match wanted {
                Wanted::Name(_) => found.is_empty(),
                Wanted::Pattern(_) => found.len() <= MAX_MATCHES,
            }
        })
        .context("reading symbols")?;
        if !found.is_empty() && matches!(wanted, Wanted::Name(_)) {
            break;
        }
    }
    if found.is_empty()
        && let Wanted::Name(name) = wanted
        && gopclntab::is_go(binary)
    {
        if on_return {
            return Err(Error::unsupported(format!(
                "symbol {name:?} not found, and functions of Go have no return probes"
            )));
        }
        found.extend(gopclntab::offset(binary, name).context("reading Go's function table")?);
    }
    if found.len() > MAX_MATCHES {
        return Err(Error::invalid(format!("more than {MAX_MATCHES} functions match")));
    }
    found.sort_unstable();
    found.dedup();
    match (found.is_empty(), wanted) {
        (false, _) => Ok(found),
        (true, Wanted::Name(name)) => Err(Error::not_found(format!("symbol {name:?} not found"))),
        (true, Wanted::Pattern(pattern)) => Err(Error::not_found(format!("no function matches {pattern:?}"))),
    }
}

/// The address of a symbol of any kind.
pub(super) fn address<S: Source>(binary: &Binary<S>, name: &str) -> Result<Option<u64>> {
    let mut found = None;
    scan(binary, SHT_SYMTAB, &mut |symbol| {
        if symbol.name == name.as_bytes() && symbol.address != 0 {
            found = Some(symbol.address);
        }
        found.is_none()
    })?;
    Ok(found)
}

/// Whether the dynamic linker has to find symbols for it.
pub(super) fn has_undefined_dynamic_symbols<S: Source>(binary: &Binary<S>) -> Result<bool> {
    let mut found = false;
    scan(binary, SHT_DYNSYM, &mut |symbol| {
        found |= !symbol.is_defined && !symbol.name.is_empty();
        !found
    })?;
    Ok(found)
}

struct Symbol<'n> {
    name: &'n [u8],
    /// 0 also for what is not defined here.
    address: u64,
    is_function: bool,
    is_defined: bool,
}

/// Calls `look` with the symbols of a table as long as it wants more.
fn scan<S: Source>(binary: &Binary<S>, kind: u32, look: &mut dyn FnMut(Symbol<'_>) -> bool) -> Result<()> {
    let Some(table) = binary.section_of_kind(kind) else {
        return Ok(());
    };
    let entry_size: u64 = if binary.is_wide() { 24 } else { 16 };
    let count = table.size / entry_size;
    if count > MAX_SYMBOLS {
        return Err(Error::invalid(format!("more than {MAX_SYMBOLS} symbols")));
    }
    let names = binary
        .section_at(table.link)
        .ok_or_else(|| Error::invalid("the symbols have no names"))?;
    let names = binary.content(&names, MAX_NAMES)?;
    for first in (0..count).step_by(CHUNK as usize) {
        let offset = first
            .checked_mul(entry_size)
            .and_then(|offset| table.offset.checked_add(offset))
            .ok_or_else(|| Error::invalid("the symbols are beyond the end of the file"))?;
        let chunk = binary.read(offset, CHUNK.min(count - first) * entry_size, CHUNK * entry_size)?;
        for raw in chunk.chunks_exact(entry_size as usize) {
            let fields = binary.fields(raw);
            let (info, section, address) = match binary.is_wide() {
                true => (fields.u8(4)?, fields.u16(6)?, fields.word(8)?),
                false => (fields.u8(12)?, fields.u16(14)?, fields.word(4)?),
            };
            let symbol = Symbol {
                name: c_string(&names, u64::from(fields.u32(0)?)).unwrap_or_default(),
                address: if section == 0 { 0 } else { address },
                is_function: info & 0xf == STT_FUNC,
                is_defined: section != 0,
            };
            if !look(symbol) {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::binary::testing::{BASE, ElfBuilder, damage};
    use super::*;

    fn named(bytes: Vec<u8>, name: &str) -> Result<Vec<u64>> {
        offsets(&Binary::parse(bytes)?, Wanted::Name(name), false)
    }

    #[test]
    fn functions_of_both_tables_and_widths() {
        for wide in [true, false] {
            let mut elf = ElfBuilder::new(wide);
            elf.symbols(2, &[("local", BASE + 8), ("elsewhere", 0xdead_0000)]);
            elf.symbols(11, &[("imported", 0), ("exported", BASE + 16), ("exporter", BASE + 24)]);
            let bytes = elf.build();
            assert_eq!(named(bytes.clone(), "local").unwrap(), [8]);
            assert_eq!(named(bytes.clone(), "exported").unwrap(), [16]);
            for missing in ["imported", "elsewhere", "loca", ""] {
                let error = named(bytes.clone(), missing).unwrap_err().to_string();
                assert_eq!(error, format!("symbol {missing:?} not found"));
            }
            let binary = Binary::parse(bytes.clone()).unwrap();
            assert_eq!(offsets(&binary, Wanted::Pattern("*o*"), true).unwrap(), [8, 16, 24]);
            assert_eq!(offsets(&binary, Wanted::Pattern("export??"), false).unwrap(), [16, 24]);
            assert_eq!(
                offsets(&binary, Wanted::Pattern("x*"), true).unwrap_err().to_string(),
                "no function matches \"x*\""
            );
            assert!(has_undefined_dynamic_symbols(&binary).unwrap());
            assert_eq!(address(&binary, "local").unwrap(), Some(BASE + 8));
            damage(&bytes, |bytes| {
                let _ = named(bytes.clone(), "exporter");
                if let Ok(binary) = Binary::parse(bytes) {
                    let _ = offsets(&binary, Wanted::Pattern("*"), false);
                }
            });
        }
    }
}
