//! Functions by their names.

use crate::ebpf::attach::kprobe_multi::matches;
use crate::symbols::elf::binary::{Binary, Source};
use crate::symbols::elf::gopclntab;
use crate::symbols::elf::table::{SHT_DYNSYM, SHT_SYMTAB, scan};
use crate::{Error, Result, ResultExt};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::elf::binary::testing::{BASE, ElfBuilder, damage};
    use crate::symbols::elf::table::{address, has_undefined_dynamic_symbols};

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
