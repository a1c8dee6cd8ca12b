//! The kernel's symbols, as `/proc/kallsyms` lists them.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::{Error, Result, ResultExt};

/// What an address before all symbols is called.
pub const UNKNOWN: &str = "[unknown]";

/// Lines are shorter; a file that has longer ones is not what it should be.
const MAX_LINE: u64 = 4096;

/// All symbols, by address.
#[derive(Debug, Default)]
pub struct KernelSymbols {
    /// Addresses in ascending order, those of equal ones in file order, and where the names begin.
    symbols: Vec<(u64, u32)>,
    /// The names, each followed by a line feed.
    names: String,
}

impl KernelSymbols {
    /// Reads the symbols of the running kernel.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or the kernel hides the addresses.
    pub fn running(proc: &Path) -> Result<Self> {
        let path = proc.join("kallsyms");
        let file = std::fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let symbols = Self::read(file).with_context(|| format!("reading {}", path.display()))?;
        if symbols.symbols.iter().all(|(address, _)| *address == 0) {
            return Err(Error::unsupported("the kernel hides the addresses of its symbols")
                .with_hint("run as root, with kernel.kptr_restrict not above 1"));
        }
        Ok(symbols)
    }

    /// Reads lines of address, type, name and maybe module.
    pub fn read(from: impl Read) -> Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 16, from);
        let mut all = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            let len = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
            if len == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            let mut words = text.split_ascii_whitespace();
            let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next()) else {
                return Err(Error::invalid(format!(
                    "line {:?} has less than 3 fields",
                    text.trim_end()
                )));
            };
            let address = u64::from_str_radix(address, 16)
                .map_err(|error| Error::invalid(format!("address {address:?}: {error}")))?;
            let at = u32::try_from(all.names.len()).map_err(|_| Error::invalid("too many symbols"))?;
            all.symbols.push((address, at));
            all.names.push_str(name);
            all.names.push('\n');
        }
        all.symbols.sort_by_key(|(address, _)| *address);
        all.symbols.shrink_to_fit();
        Ok(all)
    }

    /// The name of the last symbol at or before `address`.
    pub fn name(&self, address: u64) -> &str {
        let behind = self.symbols.partition_point(|(symbol, _)| *symbol <= address);
        behind
            .checked_sub(1)
            .and_then(|index| self.symbols.get(index))
            .and_then(|(_, at)| self.names.get(*at as usize..))
            .and_then(|rest| rest.split('\n').next())
            .unwrap_or(UNKNOWN)
    }

    /// Appends the text of a stack: each name up to the first address of 0, with `; ` behind it.
    pub fn append_stack(&self, addresses: impl IntoIterator<Item = u64>, out: &mut Vec<u8>) {
        for address in addresses.into_iter().take_while(|address| *address != 0) {
            out.extend_from_slice(self.name(address).as_bytes());
            out.extend_from_slice(b"; ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
ffffffff00000200 T funcB
ffffffff00000100 T funcA
ffffffff00000100 t alias_of_a
ffffffff00000300 t in_module\t[module]
";

    #[test]
    fn the_last_symbol_at_or_before_an_address() {
        let symbols = KernelSymbols::read(LINES.as_bytes()).unwrap();
        for (address, expected) in [
            (0, UNKNOWN),
            (0xffff_ffff_0000_00ff, UNKNOWN),
            (0xffff_ffff_0000_0100, "alias_of_a"),
            (0xffff_ffff_0000_01ff, "alias_of_a"),
            (0xffff_ffff_0000_0200, "funcB"),
            (u64::MAX, "in_module"),
        ] {
            assert_eq!(symbols.name(address), expected, "{address:x}");
        }
    }

    /// Acceptance check 23.6 of the eBPF specification.
    #[test]
    fn texts_of_stacks() {
        let lines = "123456 T funcB\nabcdef T funcA\n";
        let symbols = KernelSymbols::read(lines.as_bytes()).unwrap();
        let text = |addresses: &[u64]| {
            let mut out = Vec::new();
            symbols.append_stack(addresses.iter().copied(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(&[0xab_cdef, 0x12_3456, 0x1, 0, 0x12_3456]),
            "funcA; funcB; [unknown]; "
        );
        assert_eq!(text(&[0]), "");
        assert_eq!(text(&[0xab_cdf0]), "funcA; ");
    }

    #[test]
    fn bad_lines_are_named() {
        for (lines, expected) in [
            ("12 T\n", "line \"12 T\" has less than 3 fields"),
            ("xyz T name\n", "address \"xyz\": "),
            ("\n", "has less than 3 fields"),
        ] {
            let error = KernelSymbols::read(lines.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(KernelSymbols::read(&b""[..]).unwrap().name(5), UNKNOWN);
    }
}
