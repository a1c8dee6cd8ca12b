//! Functions of Go programs, which keep a table of them even when stripped of all symbols.

use super::binary::{Binary, Fields, Section, Source, c_string};
use super::table;
use crate::{Error, Result};

const MAX_TABLE: u64 = 64 << 20;
const MAX_FUNCTIONS: u64 = 1_000_000;
/// The names of the section, the latter in position-independent programs of older compilers.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// In which word of Go's module data the address of the program's text is.
const MODULE_TEXT_WORD: usize = 22;

/// The table's layouts, by the version of Go that began to write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Go12,
    Go116,
    Go118,
}

impl Layout {
    fn from_magic(magic: u32) -> Option<Self> {
        match magic {
            0xffff_fffb => Some(Self::Go12),
            0xffff_fffa => Some(Self::Go116),
            // 1.20 changed what is behind the functions only.
            0xffff_fff0 | 0xffff_fff1 => Some(Self::Go118),
            _ => None,
        }
    }
}

fn section<S: Source>(binary: &Binary<S>) -> Option<Section> {
    SECTIONS.into_iter().find_map(|name| binary.section_named(name))
}

/// Whether this is a Go program.
pub(crate) fn is_go<S: Source>(binary: &Binary<S>) -> bool {
    section(binary).is_some()
}

/// Where in the file the function `name` begins.
pub(crate) fn offset<S: Source>(binary: &Binary<S>, name: &str) -> Result<Option<u64>> {
    let Some(section) = section(binary) else {
        return Ok(None);
    };
    let bytes = binary.content(&section, MAX_TABLE)?;
    let table = Table::parse(&bytes)?;
    let Some(entry) = table.entry(name.as_bytes())? else {
        return Ok(None);
    };
    let address = match table.layout {
        Layout::Go118 => text_start(binary, &table)?.checked_add(entry),
        _ => Some(entry),
    };
    Ok(address.and_then(|address| binary.code_offset(address)))
}

/// The address that entries of newer tables are counted from.
fn text_start<S: Source>(binary: &Binary<S>, table: &Table<'_>) -> Result<u64> {
    if let Some(module) = binary.section_named(".go.module") {
        let word = if table.fields.wide { 8 } else { 4 };
        let size = (MODULE_TEXT_WORD + 1) * word;
        let data = binary.read(module.offset, size as u64, size as u64)?;
        let fields = Fields {
            bytes: &data,
            wide: table.fields.wide,
        };
        // Zero where the dynamic linker fills it in.
        match fields.word(MODULE_TEXT_WORD * word)? {
            0 => {}
            text => return Ok(text),
        }
    }
    match table.header_word(2)? {
        0 => {}
        text => return Ok(text),
    }
    if let Some(text) = table::address(binary, "runtime.text")? {
        return Ok(text);
    }
    // With C code inside, the section does not begin with Go's.
    if table::has_undefined_dynamic_symbols(binary)? {
        return Err(Error::unsupported("this program does not say where its Go code begins"));
    }
    let text = binary.section_named(".text");
    Ok(text.ok_or_else(|| Error::invalid("there is no code"))?.address)
}

/// The functions of a Go program by address.
pub(crate) struct GoFunctions {
    /// Addresses in ascending order, and where the names are.
    entries: Vec<(u64, u32)>,
    names: Vec<u8>,
}

impl GoFunctions {
    /// Reads the table. `None` if this is no Go program.
    pub(crate) fn load<S: Source>(binary: &Binary<S>) -> Result<Option<Self>> {
        let Some(section) = section(binary) else {
            return Ok(None);
        };
        let bytes = binary.content(&section, MAX_TABLE)?;
        let table = Table::parse(&bytes)?;
        let base = match table.layout {
            Layout::Go118 => text_start(binary, &table)?,
            _ => 0,
        };
        let mut entries = Vec::new();
        table.walk(|entry, name| {
            entries.extend(base.checked_add(entry).map(|address| (address, name)));
            true
        })?;
        entries.sort_unstable();
        let names = table.names()?.to_vec();
        Ok(Some(Self { entries, names }))
    }

    /// The function that `address` is in: the last that begins at or before it.
    pub(crate) fn at(&self, address: u64) -> Option<&[u8]> {
        let behind = self.entries.partition_point(|(entry, _)| *entry <= address);
        let (_, name) = self.entries.get(behind.checked_sub(1)?)?;
        c_string(&self.names, u64::from(*name)).filter(|name| !name.is_empty())
    }
}

struct Table<'b> {
    fields: Fields<'b>,
    layout: Layout,
}

impl<'b> Table<'b> {
    fn parse(bytes: &'b [u8]) -> Result<Self> {
        let fields = Fields { bytes, wide: true };
        let layout = Layout::from_magic(fields.u32(0)?).ok_or_else(|| Error::invalid("unknown version"))?;
        let wide = match fields.u8(7)? {
            8 => true,
            4 => false,
            size => return Err(Error::invalid(format!("pointers of {size} bytes"))),
        };
        Ok(Self {
            fields: Fields { bytes, wide },
            layout,
        })
    }

    fn word_size(&self) -> usize {
        if self.fields.wide { 8 } else { 4 }
    }

    /// The header's numbers, which begin behind magic, zeros and sizes.
    fn header_word(&self, index: usize) -> Result<u64> {
        self.fields.word(8 + index * self.word_size())
    }

    fn tail(&self, offset: u64) -> Result<&'b [u8]> {
        usize::try_from(offset)
            .ok()
            .and_then(|offset| self.fields.bytes.get(offset..))
            .ok_or_else(|| Error::invalid("a table is beyond the end"))
    }

    /// The names of functions, each with a zero at its end.
    fn names(&self) -> Result<&'b [u8]> {
        match self.layout {
            Layout::Go12 => self.tail(0),
            Layout::Go116 => self.tail(self.header_word(2)?),
            Layout::Go118 => self.tail(self.header_word(3)?),
        }
    }

    /// The entry of the function `name`: an address, or in newer tables its distance from the text's beginning.
    fn entry(&self, name: &[u8]) -> Result<Option<u64>> {
        let names = self.names()?;
        let mut found = None;
        self.walk(|entry, at| {
            if c_string_is(names, at, name) {
                found = Some(entry);
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// Calls `look` with the entry of each function, and where its name is among the names, as long as it wants more.
    fn walk(&self, mut look: impl FnMut(u64, u32) -> bool) -> Result<()> {
        let count = self.header_word(0)?;
        if count > MAX_FUNCTIONS {
            return Err(Error::invalid(format!("more than {MAX_FUNCTIONS} functions")));
        }
        let (functions, list) = match self.layout {
            Layout::Go12 => (0, 8 + self.word_size() as u64),
            Layout::Go116 => (self.header_word(6)?, self.header_word(6)?),
            Layout::Go118 => (self.header_word(7)?, self.header_word(7)?),
        };
        let (functions, list) = (self.tail(functions)?, self.tail(list)?);
        let in_functions = Fields {
            bytes: functions,
            ..self.fields
        };
        // The list has pairs of entry and offset of the function's data, where entry and name are again.
        let (pair, name_at) = match self.layout {
            Layout::Go118 => (8, 4),
            _ => (2 * self.word_size(), self.word_size()),
        };
        for raw in list.chunks_exact(pair).take(count as usize) {
            let fields = Fields {
                bytes: raw,
                ..self.fields
            };
            let (entry, data) = match self.layout {
                Layout::Go118 => (u64::from(fields.u32(0)?), u64::from(fields.u32(4)?)),
                _ => (fields.word(0)?, fields.word(self.word_size())?),
            };
            let Some(at) = usize::try_from(data).ok().and_then(|data| data.checked_add(name_at)) else {
                continue;
            };
            let Ok(name) = in_functions.u32(at) else { continue };
            if !look(entry, name) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whether the text at `offset` is `wanted`, without looking for the end of a longer one.
fn c_string_is(bytes: &[u8], offset: u32, wanted: &[u8]) -> bool {
    let start = offset as usize;
    start
        .checked_add(wanted.len() + 1)
        .and_then(|end| bytes.get(start..end))
        .and_then(|text| c_string(text, 0))
        == Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::super::binary::testing::{BASE, ElfBuilder, damage};
    use super::*;

    const FUNCTIONS: [(&str, u64); 3] = [("runtime.main", 0x20), ("main.work", 0x40), ("main.worker", 0x60)];

    /// A table in which entries are `base` and more; `text` is what its header says about the text's beginning.
    fn table(layout: Layout, wide: bool, base: u64, text: u64) -> Vec<u8> {
        let word = |value: u64| match wide {
            true => value.to_le_bytes().to_vec(),
            false => (value as u32).to_le_bytes().to_vec(),
        };
        let size = if wide { 8 } else { 4 };
        let magic: u32 = match layout {
            Layout::Go12 => 0xffff_fffb,
            Layout::Go116 => 0xffff_fffa,
            Layout::Go118 => 0xffff_fff1,
        };
        let mut names = Vec::new();
        let name_offsets = FUNCTIONS.map(|(name, _)| {
            let at = names.len() as u32;
            names.extend_from_slice(name.as_bytes());
            names.push(0);
            at
        });
        let header = 8 + size
            * match layout {
                Layout::Go12 => 1,
                Layout::Go116 => 7,
                Layout::Go118 => 8,
            };
        let names_at = if layout == Layout::Go12 { 0 } else { header };
        let (list_at, shift) = match layout {
            Layout::Go12 => (header, header as u32), // names come behind it, at a distance that is added below
            _ => (header + names.len(), 0),
        };
        let entry_size = if layout == Layout::Go118 { 4 } else { size };
        let list_size = FUNCTIONS.len() * 2 * entry_size + entry_size;
        let data_size = entry_size + 4;
        let names_behind = (list_size + FUNCTIONS.len() * data_size) as u32;
        let mut list = Vec::new();
        let mut data = Vec::new();
        for (index, (_, entry)) in FUNCTIONS.iter().enumerate() {
            let at = list_size + index * data_size + if layout == Layout::Go12 { header } else { 0 };
            let name = match layout {
                Layout::Go12 => name_offsets[index] + shift + names_behind,
                _ => name_offsets[index],
            };
            match layout {
                Layout::Go118 => {
                    list.extend([(*entry as u32).to_le_bytes(), (at as u32).to_le_bytes()].concat());
                    data.extend((*entry as u32).to_le_bytes());
                }
                _ => {
                    list.extend([word(base + entry), word(at as u64)].concat());
                    data.extend(word(base + entry));
                }
            }
            data.extend(name.to_le_bytes());
        }
        list.resize(list_size, 0xff);
        let mut bytes = magic.to_le_bytes().to_vec();
        bytes.extend([0, 0, 1, size as u8]);
        bytes.extend(word(FUNCTIONS.len() as u64));
        match layout {
            Layout::Go12 => {}
            Layout::Go116 => {
                for value in [0, names_at as u64, 0, 0, 0, list_at as u64] {
                    bytes.extend(word(value));
                }
            }
            Layout::Go118 => {
                for value in [0, text, names_at as u64, 0, 0, 0, list_at as u64] {
                    bytes.extend(word(value));
                }
            }
        }
        if layout != Layout::Go12 {
            bytes.extend(&names);
        }
        bytes.extend(list);
        bytes.extend(data);
        if layout == Layout::Go12 {
            bytes.extend(names);
        }
        bytes
    }

    fn find(elf: Vec<u8>, name: &str) -> Result<Option<u64>> {
        offset(&Binary::parse(elf)?, name)
    }

    #[test]
    fn tables_of_all_versions_and_widths() {
        for wide in [true, false] {
            for layout in [Layout::Go12, Layout::Go116, Layout::Go118] {
                let mut elf = ElfBuilder::new(wide);
                elf.section(".gopclntab", 1, 0, 0, table(layout, wide, BASE, BASE));
                let bytes = elf.build();
                for (name, entry) in FUNCTIONS {
                    assert_eq!(
                        find(bytes.clone(), name).unwrap(),
                        Some(entry),
                        "{layout:?} {wide} {name}"
                    );
                }
                assert_eq!(find(bytes.clone(), "main.wor").unwrap(), None);
                let functions = GoFunctions::load(&Binary::parse(bytes.clone()).unwrap())
                    .unwrap()
                    .unwrap();
                for (distance, expected) in [
                    (0x1f, None),
                    (0x20, Some("runtime.main")),
                    (0x5f, Some("main.work")),
                    (0x99, Some("main.worker")),
                ] {
                    let found = functions
                        .at(BASE + distance)
                        .map(|name| String::from_utf8_lossy(name).into_owned());
                    assert_eq!(found.as_deref(), expected, "{layout:?} {wide} {distance:x}");
                }
                damage(&bytes, |bytes| {
                    let _ = find(bytes, "main.worker");
                });
            }
        }
    }

    #[test]
    fn the_beginning_of_the_text_is_found_in_several_places() {
        let elf = || {
            let mut elf = ElfBuilder::new(true);
            elf.section(".gopclntab", 1, 0, 0, table(Layout::Go118, true, 0, 0));
            elf
        };
        let module = |text: u64| {
            let mut data = vec![0; MODULE_TEXT_WORD * 8];
            data.extend(text.to_le_bytes());
            data
        };
        let mut with = elf();
        with.section(".go.module", 1, 0, 0, module(BASE + 1));
        assert_eq!(find(with.build(), "main.work").unwrap(), Some(0x41));
        let mut with = elf();
        with.section(".go.module", 1, 0, 0, module(0));
        with.symbols(2, &[("runtime.text", BASE + 2)]);
        assert_eq!(find(with.build(), "main.work").unwrap(), Some(0x42));
        let mut with = elf();
        with.section(".text", 1, BASE + 3, 0, Vec::new());
        assert_eq!(find(with.build(), "main.work").unwrap(), Some(0x43));
        let mut with = elf();
        with.section(".text", 1, BASE, 0, Vec::new());
        with.symbols(11, &[("malloc", 0)]);
        assert!(find(with.build(), "main.work").is_err());
    }
}
