//! What is read from files that containers control, on bytes: for whoever wants to know without attaching anything, and for fuzzing.

use super::symbols::{self, Wanted};
use super::{ld_cache, usdt, usdt_args};
use crate::symbols::elf::binary::{Binary, Source};
use crate::symbols::elf::gopclntab;
use crate::{Error, Result};

impl Source for &[u8] {
    fn size(&self) -> Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let start = usize::try_from(offset).ok();
        let bytes = start.and_then(|start| self.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(bytes.ok_or_else(|| Error::invalid("the file ends too early"))?);
        Ok(())
    }
}

/// Offsets in the ELF file at which functions begin, or from which they return: of the one called `name`, or of all that match it if it has
/// `*` or `?`.
pub fn functions(elf: &[u8], name: &str, on_return: bool) -> Result<Vec<u64>> {
    let wanted = if name.contains(['*', '?']) {
        Wanted::Pattern(name)
    } else {
        Wanted::Name(name)
    };
    symbols::offsets(&Binary::parse(elf)?, wanted, on_return)
}

/// Offsets in the ELF file of a static probe, and its arguments as they are written there.
pub fn static_probes(elf: &[u8], provider: &str, name: &str) -> Result<Vec<(u64, String)>> {
    let places = usdt::locations(&Binary::parse(elf)?, provider, name)?;
    Ok(places
        .into_iter()
        .map(|place| (place.offset, place.arguments))
        .collect())
}

/// Offset in the ELF file of a function of a Go program, by the program's own table.
pub fn go_function(elf: &[u8], name: &str) -> Result<Option<u64>> {
    gopclntab::offset(&Binary::parse(elf)?, name)
}

/// Paths that an `ld.so.cache` has for the library `name`.
pub fn libraries<'c>(cache: &'c [u8], name: &str) -> Result<Vec<&'c [u8]>> {
    ld_cache::lookup(cache, name)
}

/// How many arguments the text of a static probe says, in the form of this machine.
pub fn arguments(text: &str) -> Result<usize> {
    usdt_args::count(text)
}
