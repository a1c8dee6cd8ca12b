//! Programs and libraries as ELF files.
//!
//! These files belong to containers, which may have made them to do harm. Nothing in them is trusted: the file is read in
//! pieces (it may shrink meanwhile), no piece is larger than its limit and the file itself, and every number is checked.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::{Error, Result, ResultExt};

/// Sections and segments are at most so many.
const MAX_HEADERS: u64 = 65_536;
/// The names of all sections together.
const MAX_SECTION_NAMES: u64 = 4 << 20;

const SHT_NOBITS: u32 = 8;
const PT_LOAD: u32 = 1;
const PF_X: u32 = 1;

/// Where a binary's bytes come from.
pub(crate) trait Source {
    /// How many bytes there are.
    fn size(&self) -> Result<u64>;
    /// Fills `buffer` from `offset` on.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;
}

impl Source for File {
    fn size(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        Ok(FileExt::read_exact_at(self, buffer, offset)?)
    }
}

/// A segment that is mapped when the binary runs.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    offset: u64,
    /// Bytes that come from the file.
    size: u64,
    executable: bool,
}

/// A section's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    name: u32,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// Number of another section; of symbols, that of their names.
    pub(crate) link: u32,
}

/// An ELF file whose headers have been read.
pub(crate) struct Binary<S> {
    source: S,
    size: u64,
    wide: bool,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    section_names: Vec<u8>,
    /// Where the tables of segments and of sections are: offset, size.
    tables: Vec<(u64, u64)>,
}

impl<S: Source> Binary<S> {
    /// Reads the headers.
    pub(crate) fn parse(source: S) -> Result<Self> {
        let size = source.size()?;
        let mut binary = Self {
            source,
            size,
            wide: true,
            segments: Vec::new(),
            sections: Vec::new(),
            section_names: Vec::new(),
            tables: Vec::new(),
        };
        let ident = binary.read(0, 16, 16).context("not an ELF file")?;
        let wide = match ident.get(4) {
            _ if !ident.starts_with(b"\x7fELF") => return Err(Error::invalid("not an ELF file")),
            Some(1) => false,
            Some(2) => true,
            _ => return Err(Error::invalid("not an ELF file: unknown class")),
        };
        if ident.get(5) != Some(&1) {
            return Err(Error::unsupported("an ELF file of another byte order"));
        }
        binary.wide = wide;
        binary.read_headers().context("malformed ELF file")?;
        Ok(binary)
    }

    fn read_headers(&mut self) -> Result<()> {
        let header = self.read(0, if self.wide { 64 } else { 52 }, 64)?;
        let header = self.fields(&header);
        let (segments, sections, counts) = match self.wide {
            true => (header.word(32)?, header.word(40)?, 54),
            false => (header.word(28)?, header.word(32)?, 42),
        };
        let (segment_size, segment_count) = (header.u16(counts)?, header.u16(counts + 2)?);
        let (section_size, section_count) = (header.u16(counts + 4)?, header.u16(counts + 6)?);
        let names = header.u16(counts + 8)?;
        let (mut section_count, mut names) = (u64::from(section_count), u32::from(names));
        // Numbers that do not fit are in the first section's header.
        if sections != 0 && (section_count == 0 || names == 0xffff) {
            let first = self.read(sections, u64::from(section_size), 256)?;
            let first = self.section(&first)?;
            if section_count == 0 {
                section_count = first.size;
            }
            if names == 0xffff {
                names = first.link;
            }
        }
        let table = self.table(segments, u64::from(segment_count), u64::from(segment_size))?;
        for raw in table.chunks_exact(usize::from(segment_size.max(1))) {
            let fields = self.fields(raw);
            let (offset, address, size, flags) = match self.wide {
                true => (fields.word(8)?, fields.word(16)?, fields.word(32)?, fields.u32(4)?),
                false => (fields.word(4)?, fields.word(8)?, fields.word(16)?, fields.u32(24)?),
            };
            if fields.u32(0)? == PT_LOAD {
                self.segments.push(Segment {
                    address,
                    offset,
                    size,
                    executable: flags & PF_X != 0,
                });
            }
        }
        if sections == 0 {
            return Ok(());
        }
        let table = self.table(sections, section_count, u64::from(section_size))?;
        for raw in table.chunks_exact(usize::from(section_size.max(1))) {
            let section = self.section(raw)?;
            self.sections.push(section);
        }
        if let Some(names) = self.sections.get(names as usize).copied() {
            self.section_names = self.content(&names, MAX_SECTION_NAMES)?;
        }
        Ok(())
    }

    fn table(&mut self, offset: u64, count: u64, entry_size: u64) -> Result<Vec<u8>> {
        if count > MAX_HEADERS {
            return Err(Error::invalid("too many headers"));
        }
        self.tables.push((offset, count * entry_size));
        self.read(offset, count * entry_size, MAX_HEADERS * 64)
    }

    fn section(&self, raw: &[u8]) -> Result<Section> {
        let fields = self.fields(raw);
        let (address, offset, size, link) = match self.wide {
            true => (fields.word(16)?, fields.word(24)?, fields.word(32)?, fields.u32(40)?),
            false => (fields.word(12)?, fields.word(16)?, fields.word(20)?, fields.u32(24)?),
        };
        Ok(Section {
            name: fields.u32(0)?,
            kind: fields.u32(4)?,
            flags: fields.word(8)?,
            address,
            offset,
            size,
            link,
        })
    }

    /// The section of this name.
    pub(crate) fn section_named(&self, name: &str) -> Option<Section> {
        self.sections
            .iter()
            .find(|section| c_string(&self.section_names, u64::from(section.name)) == Some(name.as_bytes()))
            .copied()
    }

    /// All sections with their names.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&[u8], Section)> {
        self.sections.iter().map(|section| {
            let name = c_string(&self.section_names, u64::from(section.name)).unwrap_or_default();
            (name, *section)
        })
    }

    /// Where the tables of segments and of sections are: offset and size.
    pub(crate) fn tables(&self) -> &[(u64, u64)] {
        &self.tables
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The segments with code: address, offset in the file, size there.
    pub(crate) fn code_segments(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let code = self.segments.iter().filter(|segment| segment.executable);
        code.map(|segment| (segment.address, segment.offset, segment.size))
    }

    /// The section with this number.
    pub(crate) fn section_at(&self, index: u32) -> Option<Section> {
        self.sections.get(index as usize).copied()
    }

    /// The first section of this kind.
    pub(crate) fn section_of_kind(&self, kind: u32) -> Option<Section> {
        self.sections.iter().find(|section| section.kind == kind).copied()
    }

    /// All bytes of a section, which may be at most `limit`.
    pub(crate) fn content(&self, section: &Section, limit: u64) -> Result<Vec<u8>> {
        if section.kind == SHT_NOBITS {
            return Ok(Vec::new());
        }
        self.read(section.offset, section.size, limit)
    }

    /// `size` bytes from `offset` on, which may be at most `limit`.
    pub(crate) fn read(&self, offset: u64, size: u64, limit: u64) -> Result<Vec<u8>> {
        if size > limit {
            return Err(Error::invalid(format!("{size} bytes where at most {limit} are read")));
        }
        if offset.checked_add(size).is_none_or(|end| end > self.size) {
            return Err(Error::invalid("something is beyond the end of the file"));
        }
        let size = usize::try_from(size).map_err(|_| Error::invalid("too large for this machine"))?;
        let mut bytes = vec![0; size];
        self.source.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Whether numbers and addresses have 64 bits.
    pub(crate) fn is_wide(&self) -> bool {
        self.wide
    }

    /// Reads numbers of this binary's width.
    pub(crate) fn fields<'b>(&self, bytes: &'b [u8]) -> Fields<'b> {
        Fields { bytes, wide: self.wide }
    }

    /// Where in the file the byte is that is mapped at `address`.
    pub(crate) fn file_offset(&self, address: u64) -> Option<u64> {
        self.offset_where(address, |_| true)
    }

    /// The same for an address that can be executed.
    pub(crate) fn code_offset(&self, address: u64) -> Option<u64> {
        self.offset_where(address, |segment| segment.executable)
    }

    fn offset_where(&self, address: u64, wanted: impl Fn(&Segment) -> bool) -> Option<u64> {
        self.segments
            .iter()
            .filter(|segment| wanted(segment))
            .find_map(|segment| {
                let within = address.checked_sub(segment.address)?;
                let offset = segment.offset.checked_add(within)?;
                // A header may say anything.
                (within < segment.size && offset < self.size).then_some(offset)
            })
    }
}

/// Numbers in a slice, at offsets that may be wrong.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'b> {
    pub(crate) bytes: &'b [u8],
    pub(crate) wide: bool,
}

impl Fields<'_> {
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N]> {
        at.checked_add(N)
            .and_then(|end| self.bytes.get(at..end))
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| Error::invalid("a number is beyond the end of its table"))
    }

    pub(crate) fn u8(self, at: usize) -> Result<u8> {
        self.array::<1>(at).map(|[byte]| byte)
    }

    pub(crate) fn u16(self, at: usize) -> Result<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(self, at: usize) -> Result<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(self, at: usize) -> Result<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// A number as wide as an address.
    pub(crate) fn word(self, at: usize) -> Result<u64> {
        match self.wide {
            true => self.u64(at),
            false => self.u32(at).map(u64::from),
        }
    }
}

/// The text that begins at `offset` and ends before a zero byte.
pub(crate) fn c_string(bytes: &[u8], offset: u64) -> Option<&[u8]> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    rest.get(..end)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    impl Source for Vec<u8> {
        fn size(&self) -> Result<u64> {
            Ok(self.len() as u64)
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
            let start = offset as usize;
            match self.get(start..start + buffer.len()) {
                Some(bytes) => buffer.copy_from_slice(bytes),
                None => return Err(Error::invalid("short")),
            }
            Ok(())
        }
    }

    /// Makes small ELF files: one executable segment at 0x1000 that maps the whole file, and the given sections.
    pub(crate) struct ElfBuilder {
        pub(crate) wide: bool,
        sections: Vec<(String, u32, u64, u32, Vec<u8>)>,
        /// Numbers of sections that are marked as compressed.
        compressed: Vec<u32>,
    }

    /// Where the segment is mapped.
    pub(crate) const BASE: u64 = 0x1000;

    impl ElfBuilder {
        pub(crate) fn new(wide: bool) -> Self {
            Self {
                wide,
                sections: vec![(String::new(), 0, 0, 0, Vec::new())],
                compressed: Vec::new(),
            }
        }

        /// Adds a section; returns its number.
        pub(crate) fn section(&mut self, name: &str, kind: u32, address: u64, link: u32, content: Vec<u8>) -> u32 {
            self.sections.push((name.into(), kind, address, link, content));
            self.sections.len() as u32 - 1
        }

        /// Adds a section that says of itself that it unpacks to `size` bytes.
        pub(crate) fn compressed_section(&mut self, name: &str, kind: u32, size: u64, packed: &[u8]) {
            let mut content = self.word(1);
            content.extend(self.word(size));
            content.extend(self.word(1));
            content.extend(packed);
            let number = self.section(name, kind, 0, 0, content);
            self.compressed.push(number);
        }

        pub(crate) fn word(&self, value: u64) -> Vec<u8> {
            match self.wide {
                true => value.to_le_bytes().to_vec(),
                false => (value as u32).to_le_bytes().to_vec(),
            }
        }

        /// Adds functions as symbols of `kind` (2: all, 11: dynamic). Those at address 0 are undefined.
        pub(crate) fn symbols(&mut self, kind: u32, functions: &[(&str, u64)]) {
            let mut names = vec![0];
            let mut symbols = vec![0; if self.wide { 24 } else { 16 }];
            for (name, address) in functions {
                let (at, defined) = ((names.len() as u32).to_le_bytes(), u16::from(*address != 0));
                names.extend_from_slice(name.as_bytes());
                names.push(0);
                let section = defined.to_le_bytes();
                symbols.extend(at);
                match self.wide {
                    true => {
                        symbols.extend([0x12, 0, section[0], section[1]]);
                        symbols.extend(address.to_le_bytes());
                        symbols.extend([0; 8]);
                    }
                    false => {
                        symbols.extend((*address as u32).to_le_bytes());
                        symbols.extend([0, 0, 0, 0, 0x12, 0, section[0], section[1]]);
                    }
                }
            }
            let link = self.section(".names", 3, 0, 0, names);
            let name = if kind == 2 { ".symtab" } else { ".dynsym" };
            self.section(name, kind, 0, link, symbols);
        }

        pub(crate) fn build(mut self) -> Vec<u8> {
            let mut names = Vec::new();
            let names_index = self.section(".shstrtab", 3, 0, 0, Vec::new());
            let offsets: Vec<u32> = self
                .sections
                .iter()
                .map(|(name, ..)| {
                    let at = names.len() as u32;
                    names.extend_from_slice(name.as_bytes());
                    names.push(0);
                    at
                })
                .collect();
            self.sections[names_index as usize].4 = names;
            let (header, segment, section) = if self.wide { (64, 56, 64) } else { (52, 32, 40) };
            let mut at = header + segment;
            let mut table = Vec::new();
            let mut contents = Vec::new();
            for (number, ((_, kind, address, link, content), name)) in self.sections.iter().zip(offsets).enumerate() {
                let mut raw = [name.to_le_bytes(), kind.to_le_bytes()].concat();
                let compressed = self.compressed.contains(&(number as u32));
                raw.extend(self.word(if compressed { 0x800 } else { 0 }));
                for value in [*address, at as u64, content.len() as u64] {
                    raw.extend(self.word(value));
                }
                raw.extend(link.to_le_bytes());
                raw.resize(section, 0);
                table.extend(raw);
                contents.extend_from_slice(content);
                at += content.len();
            }
            let size = (at + table.len()) as u64;
            let mut elf = b"\x7fELF".to_vec();
            elf.extend([if self.wide { 2 } else { 1 }, 1, 1]);
            elf.resize(16, 0);
            elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
            for value in [0, header as u64, at as u64] {
                elf.extend(self.word(value));
            }
            elf.extend([0; 4]);
            for value in [header, segment, 1, section, self.sections.len(), names_index as usize] {
                elf.extend((value as u16).to_le_bytes());
            }
            elf.extend(1u32.to_le_bytes());
            if self.wide {
                elf.extend(5u32.to_le_bytes());
            }
            for value in [0, BASE, BASE, size, size] {
                elf.extend(self.word(value));
            }
            if !self.wide {
                elf.extend(5u32.to_le_bytes());
            }
            elf.resize(header + segment, 0);
            elf.extend(contents);
            elf.extend(table);
            elf
        }
    }

    /// Calls `look` with `bytes` cut off everywhere and with every bit turned; it must not panic.
    pub(crate) fn damage(bytes: &[u8], look: impl Fn(Vec<u8>)) {
        for end in 0..bytes.len() {
            look(bytes[..end].to_vec());
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 1 << bit;
                look(damaged);
            }
            let mut damaged = bytes.to_vec();
            damaged[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff);
            look(damaged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{BASE, ElfBuilder};
    use super::*;

    #[test]
    fn headers_of_both_widths() {
        for wide in [true, false] {
            let mut elf = ElfBuilder::new(wide);
            elf.section(".mine", 1, 0x2000, 0, b"content".to_vec());
            let binary = Binary::parse(elf.build()).unwrap();
            assert_eq!(binary.is_wide(), wide);
            let section = binary.section_named(".mine").unwrap();
            assert_eq!(section.address, 0x2000);
            assert_eq!(binary.content(&section, 7).unwrap(), b"content");
            assert!(
                binary
                    .content(&section, 6)
                    .unwrap_err()
                    .to_string()
                    .contains("at most 6")
            );
            assert!(binary.section_named(".other").is_none());
            assert_eq!(binary.file_offset(BASE + 5), Some(5));
            assert_eq!(binary.code_offset(BASE + 5), Some(5));
            assert_eq!(binary.file_offset(BASE - 1), None);
            assert_eq!(binary.file_offset(BASE + 0x10_0000), None);
        }
    }

    #[test]
    fn what_is_no_binary_is_refused() {
        for (bytes, expected) in [
            (&b""[..], "not an ELF file"),
            (b"#!/bin/sh\necho hello, world", "not an ELF file"),
            (b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0", "byte order"),
            (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0", "malformed ELF file"),
        ] {
            let error = Binary::parse(bytes.to_vec()).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let own = File::open("/proc/self/exe").unwrap();
        assert!(Binary::parse(own).unwrap().section_named(".text").is_some());
    }
}
