//! A copy of a binary in memory that has what names are found by, and holes in place of all else.
//!
//! The copy is ours alone: whoever owns the binary can neither shorten nor change it while it is mapped.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use flate2::read::ZlibDecoder;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::elf::binary::{Binary, Section, Source};
use crate::{Error, Result, ResultExt};

const NAME: &CStr = c"ig-symbols";
const ELF_HEADER: u64 = 64;

/// Sections with tables of symbols are copied up to this size, each.
const MAX_SECTION: u64 = 256 << 20;
/// Sections with debugging information are copied if they are not larger together.
const MAX_DEBUG: u64 = 256 << 20;
/// What compressed sections with symbols or names may be once they are unpacked, all together. Nobody compresses these.
const MAX_UNPACKED_SYMBOLS: u64 = 16 << 20;
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
const SHF_COMPRESSED: u64 = 0x800;

/// See the module documentation.
pub(super) struct Copy {
    pub(super) file: File,
    /// Whether its debugging information is there and may be read.
    pub(super) has_debugging: bool,
}

/// Copies what matters of `binary`.
pub(super) fn copy<S: Source>(binary: &Binary<S>) -> Result<Copy> {
    if binary.size() > MAX_FILE {
        return Err(Error::invalid("too large for a binary"));
    }
    let (of_symbols, others): (Vec<Section>, Vec<Section>) = binary
        .sections()
        .map(|(_, section)| section)
        .filter(|section| section.flags & SHF_COMPRESSED != 0 && section.kind != SHT_NOBITS)
        .partition(is_of_symbols);
    check_unpacked(binary, &of_symbols, MAX_UNPACKED_SYMBOLS)?;
    let unpacked = check_unpacked(binary, &others, MAX_DEBUG);
    if let Err(error) = &unpacked {
        tracing::debug!("debugging information: {error}");
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
    let has_debugging = debug <= MAX_DEBUG && unpacked.is_ok();
    for (name, section) in binary.sections() {
        let of_symbols = is_of_symbols(&section) && section.size <= MAX_SECTION;
        let of_debugging = is_debug(name) && has_debugging || name.starts_with(b".gnu_debug");
        if section.kind != SHT_NOBITS && (of_symbols || of_debugging) {
            copy_range(binary, &copy, section.offset, section.size, &mut budget)?;
        }
    }
    Ok(Copy {
        file: copy,
        has_debugging,
    })
}

fn is_of_symbols(section: &Section) -> bool {
    matches!(section.kind, SHT_SYMTAB | SHT_STRTAB | SHT_NOTE | SHT_DYNSYM)
}

/// Whether compressed sections are at most `limit` bytes together once they are unpacked, and none is larger than it says: whoever unpacks one
/// asks for the memory that it says, and goes on to its end.
fn check_unpacked<S: Source>(binary: &Binary<S>, sections: &[Section], limit: u64) -> Result<()> {
    let (header_size, size_at) = if binary.is_wide() { (24, 8) } else { (12, 4) };
    let mut left = limit;
    for section in sections {
        // One without a header is left alone.
        if section.size < header_size {
            continue;
        }
        let header = binary.read(section.offset, header_size, header_size)?;
        let says = binary.fields(&header).word(size_at)?;
        left = left
            .checked_sub(says)
            .ok_or_else(|| Error::invalid("compressed sections are too large"))?;
        let packed = Content {
            binary,
            at: section.offset + header_size,
            // What is beyond the end of the file is found out in reading.
            end: section.offset.saturating_add(section.size),
        };
        // What is damaged ends before.
        let mut unpacked = ZlibDecoder::new(packed).take(says + 1);
        let _ = io::copy(&mut unpacked, &mut io::sink());
        if unpacked.limit() == 0 {
            return Err(Error::invalid("a compressed section is larger than it says"));
        }
    }
    Ok(())
}

/// Reads a part of a binary.
struct Content<'b, S> {
    binary: &'b Binary<S>,
    at: u64,
    end: u64,
}

impl<S: Source> Read for Content<'_, S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = (self.end - self.at).min(into.len() as u64).min(CHUNK);
        let bytes = self.binary.read(self.at, len, CHUNK).map_err(io::Error::other)?;
        into[..bytes.len()].copy_from_slice(&bytes);
        self.at += len;
        Ok(bytes.len())
    }
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
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::super::elf::binary::testing::{BASE, ElfBuilder, damage};
    use super::*;

    #[test]
    fn sections_that_lie_about_their_size_are_not_unpacked() {
        let packed = |len: usize| {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&vec![0; len]).unwrap();
            encoder.finish().unwrap()
        };
        let copied = |name: &str, kind: u32, says: u64, packed: &[u8]| {
            [true, false].map(|wide| {
                let mut elf = ElfBuilder::new(wide);
                elf.symbols(2, &[("function", BASE + 8)]);
                elf.compressed_section(name, kind, says, packed);
                copy(&Binary::parse(elf.build()).unwrap()).map(|copy| copy.has_debugging)
            })
        };
        for (says, len, expected) in [
            (100_000, 100_000, true),
            (100_001, 100_000, true),
            (99_999, 100_000, false),
            (0, 100_000, false),
            (0x8000_0000, 10, false),
        ] {
            for has_debugging in copied(".debug_info", 1, says, &packed(len)) {
                assert_eq!(has_debugging.unwrap(), expected, "{says} {len}");
            }
            for copied in copied(".symtab_too", SHT_SYMTAB, says, &packed(len)) {
                assert_eq!(copied.is_ok(), expected, "{says} {len}");
            }
        }
        assert!(copied(".debug_info", 1, 10, b"no stream").map(|copy| copy.unwrap())[0]);
        let mut elf = ElfBuilder::new(true);
        elf.compressed_section(".debug_info", 1, 100, &packed(100));
        damage(&elf.build(), |bytes| {
            if let Ok(binary) = Binary::parse(bytes) {
                let _ = copy(&binary);
            }
        });
    }

    #[test]
    fn symbols_are_copied_and_code_is_not() {
        let mut elf = ElfBuilder::new(true);
        elf.section(".text", 1, BASE, 0, vec![0xcc; 100]);
        elf.symbols(2, &[("function", BASE + 8)]);
        let bytes = elf.build();
        let copy = copy(&Binary::parse(bytes.clone()).unwrap()).unwrap();
        assert!(copy.has_debugging);
        let mut copied = vec![0; bytes.len()];
        FileExt::read_exact_at(&copy.file, &mut copied, 0).unwrap();
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
