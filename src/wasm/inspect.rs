//! What a module says about itself without being run.

use super::abi;
use crate::{Error, Result};

/// The section with the imports.
const IMPORTS: u8 = 2;

/// The names of the host functions that `wasm` imports, in the module's order.
///
/// # Errors
///
/// When it is no module, or is damaged up to the end of its imports.
pub fn upcalls(wasm: &[u8]) -> Result<Vec<String>> {
    let body = wasm
        .strip_prefix(b"\0asm\x01\0\0\0")
        .ok_or_else(|| Error::invalid("it is not a wasm module"))?;
    let mut module = Bytes(body);
    names(&mut module).ok_or_else(|| Error::invalid("the wasm module is damaged"))
}

fn names(module: &mut Bytes<'_>) -> Option<Vec<String>> {
    while !module.0.is_empty() {
        let section = module.byte()?;
        let len = module.number()?;
        let body = module.take(len)?;
        if section == IMPORTS {
            return imports(&mut Bytes(body));
        }
    }
    Some(Vec::new())
}

fn imports(section: &mut Bytes<'_>) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for _ in 0..section.number()? {
        let (module, name) = (section.name()?, section.name()?);
        match section.byte()? {
            // A function, by its type.
            0 => {
                section.number()?;
                if module == abi::MODULE.as_bytes() {
                    found.push(String::from_utf8_lossy(name).into_owned());
                }
            }
            // A table: the type of its elements, then its limits.
            1 => {
                section.byte()?;
                section.limits()?;
            }
            2 => section.limits()?,
            // A global: its type, and whether it changes.
            3 => {
                section.take(2)?;
            }
            _ => return None,
        }
    }
    Some(found)
}

/// What is left of a module.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, len: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len as usize)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of up to 32 bits, seven in each byte.
    fn number(&mut self) -> Option<u32> {
        let mut number = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(len)
    }

    fn limits(&mut self) -> Option<()> {
        let has_maximum = self.byte()? & 1 != 0;
        self.number()?;
        if has_maximum {
            self.number()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_named_in_their_order() {
        let wasm = wat::parse_str(
            r#"(module (import "ig" "gadgetLog" (func (param i32 i64))) (import "env" "m" (memory 1 2))
                (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))
                (import "env" "t" (table 1 funcref)) (import "env" "g" (global i32))
                (import "ig" "getMap" (func (param i64) (result i32))))"#,
        )
        .unwrap();
        assert_eq!(upcalls(&wasm).unwrap(), ["gadgetLog", "getMap"]);
        assert_eq!(upcalls(b"\0asm\x01\0\0\0").unwrap(), Vec::<String>::new());
        assert!(upcalls(b"\x7fELF").is_err());
        // Cut anywhere before the end of its imports it is damaged, or has none yet.
        for end in 8..wasm.len() {
            let _ = upcalls(&wasm[..end]);
        }
        assert!(upcalls(b"\0asm\x01\0\0\0\x02\xff\xff\xff\xff\xff\x0f").is_err());
    }

    /// The catalogue's guest calls what upstream's does.
    #[test]
    fn f17_upcalls_of_a_rust_guest() {
        let wasm = include_bytes!("../../gadgets/trace_mount/program.wasm");
        let mut names = upcalls(wasm).unwrap();
        names.sort();
        let expected = [
            "dataSourceAddField",
            "dataSourceGetField",
            "dataSourceSubscribe",
            "fieldGetBuffer",
            "fieldGetScalar",
            "fieldSet",
            "gadgetLog",
            "gadgetShouldLog",
            "getDataSource",
        ];
        assert_eq!(names, expected);
    }
}
