//! A copy of a binary in memory that has what names are found by, and holes in place of all else.
//!
//! The copy is ours alone: whoever owns the binary can neither shorten nor change it while it is mapped.

use std::ffi::CStr;
use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::elf::binary::{Binary, Source};
use crate::{Error, Result, ResultExt};

const NAME: &CStr = c"ig-symbols";
const ELF_HEADER: u64 = 64;

/// Sections with tables of symbols are copied up to this size, each.
const MAX_SECTION: u64 = 256 << 20;
/// Sections with debugging information are copied if they are not larger together.
const MAX_DEBUG: u64 = 256 << 20;
/// All that is copied of one file, and how large that may be.
const MAX_COPY: u64 = 1 << 30;
const MAX_FILE: u64 = 64 << 30;
/// How much is copied at once.
const CHUNK: u64 = 1 << 20;

const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_NOTE: u32 = 7;
const SHT_NOBITS: u32 = 8;
const SHT_DYNSYM: u32 = 11;

/// Copies what matters of `binary`.
pub(super) fn copy<S: Source>(binary: &Binary<S>) -> Result<File> {
    if binary.size() > MAX_FILE {
        return Err(Error::invalid("too large for a binary"));
    }
    let mut budget = MAX_COPY;
    let copy = File::from(memfd_create(NAME, MFdFlags::MFD_CLOEXEC).context("creating a memory file")?);
    copy.set_len(binary.size())?;
    copy_range(binary, &copy, 0, ELF_HEADER.min(binary.size()), &mut budget)?;
    for (offset, size) in binary.tables() {
        copy_range(binary, &copy, *offset, *size, &mut budget)?;
    }
    let is_debug = |name: &[u8]| name.starts_with(b".debug_") || name.starts_with(b".zdebug_");
    let debug: u64 = binary
        .sections()
        .filter(|(name, _)| is_debug(name))
        .fold(0, |sum, (_, section)| sum.saturating_add(section.size));
    for (name, section) in binary.sections() {
        let of_symbols =
            matches!(section.kind, SHT_SYMTAB | SHT_STRTAB | SHT_NOTE | SHT_DYNSYM) && section.size <= MAX_SECTION;
        let of_debugging = is_debug(name) && debug <= MAX_DEBUG || name.starts_with(b".gnu_debug");
        if section.kind != SHT_NOBITS && (of_symbols || of_debugging) {
            copy_range(binary, &copy, section.offset, section.size, &mut budget)?;
        }
    }
    Ok(copy)
}

fn copy_range<S: Source>(binary: &Binary<S>, to: &File, offset: u64, size: u64, budget: &mut u64) -> Result<()> {
    // Sections may overlap as they like.
    *budget = budget
        .checked_sub(size)
        .ok_or_else(|| Error::invalid("too many symbols"))?;
    let mut done = 0;
    while done < size {
        let len = CHUNK.min(size - done);
        // The parser checks ends; an overflow is beyond them.
        let at = offset.saturating_add(done);
        to.write_all_at(&binary.read(at, len, CHUNK)?, at)?;
        done += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::elf::binary::testing::{BASE, ElfBuilder, damage};
    use super::*;

    #[test]
    fn symbols_are_copied_and_code_is_not() {
        let mut elf = ElfBuilder::new(true);
        elf.section(".text", 1, BASE, 0, vec![0xcc; 100]);
        elf.symbols(2, &[("function", BASE + 8)]);
        let bytes = elf.build();
        let copy = copy(&Binary::parse(bytes.clone()).unwrap()).unwrap();
        let mut copied = vec![0; bytes.len()];
        FileExt::read_exact_at(&copy, &mut copied, 0).unwrap();
        assert!(!copied.windows(4).any(|bytes| bytes == [0xcc; 4]), "no code");
        let binary = Binary::parse(copied).unwrap();
        let mut found = Vec::new();
        super::super::elf::table::scan(&binary, SHT_SYMTAB, &mut |symbol| {
            found.push((symbol.name.to_vec(), symbol.address));
            true
        })
        .unwrap();
        assert!(found.contains(&(b"function".to_vec(), BASE + 8)), "{found:?}");
        damage(&bytes, |bytes| {
            if let Ok(binary) = Binary::parse(bytes) {
                let _ = super::copy(&binary);
            }
        });
    }
}
