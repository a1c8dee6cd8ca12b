//! Tables of symbols.

use super::binary::{Binary, Source, c_string};
use crate::{Error, Result};

/// `SHT_SYMTAB`: all symbols, if the binary is not stripped.
pub(crate) const SHT_SYMTAB: u32 = 2;
/// `SHT_DYNSYM`: those that the dynamic linker needs.
pub(crate) const SHT_DYNSYM: u32 = 11;
const STT_FUNC: u8 = 2;

/// The names of one table's symbols together.
const MAX_NAMES: u64 = 64 << 20;
/// Symbols of one table.
const MAX_SYMBOLS: u64 = 10_000_000;
/// How many symbols are read at once.
const CHUNK: u64 = 4096;

/// The address of a symbol of any kind.
pub(crate) fn address<S: Source>(binary: &Binary<S>, name: &str) -> Result<Option<u64>> {
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
pub(crate) fn has_undefined_dynamic_symbols<S: Source>(binary: &Binary<S>) -> Result<bool> {
    let mut found = false;
    scan(binary, SHT_DYNSYM, &mut |symbol| {
        found |= !symbol.is_defined && !symbol.name.is_empty();
        !found
    })?;
    Ok(found)
}

/// A symbol of a table.
pub(crate) struct Symbol<'n> {
    pub(crate) name: &'n [u8],
    /// 0 also for what is not defined here.
    pub(crate) address: u64,
    pub(crate) is_function: bool,
    pub(crate) is_defined: bool,
}

/// Calls `look` with the symbols of a table as long as it wants more.
pub(crate) fn scan<S: Source>(binary: &Binary<S>, kind: u32, look: &mut dyn FnMut(Symbol<'_>) -> bool) -> Result<()> {
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
