//! The names of the kernel's symbols.

use std::io::{BufRead, BufReader};

/// Whether exactly one symbol of the running kernel has this name. Two functions of one name cannot be told apart by it.
pub(super) fn has_one(name: &str) -> bool {
    match std::fs::File::open("/proc/kallsyms") {
        Ok(file) => is_once(BufReader::with_capacity(1 << 16, file), name.as_bytes()),
        Err(error) => {
            tracing::debug!("reading /proc/kallsyms: {error}");
            false
        }
    }
}

/// Whether `name` is the third word of exactly one line. A line of another form ends the search.
fn is_once(mut symbols: impl BufRead, name: &[u8]) -> bool {
    let mut found = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        match symbols.read_until(b'\n', &mut line) {
            Ok(0) => return found && !name.is_empty(),
            Err(_) => return false,
            Ok(_) => {}
        }
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        match (words.next(), words.next(), words.next()) {
            (Some(_), Some(_), Some(symbol)) if symbol == name => {
                if found {
                    return false;
                }
                found = true;
            }
            (Some(_), Some(_), Some(_)) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_there_once_or_it_does_not_count() {
        let symbols =
            b"0000000000000000 T do_exit\n0000000000000000 t twice\n0 t twice\n0 d mod_var\t[mod]\n".as_slice();
        assert!(is_once(symbols, b"do_exit"));
        assert!(is_once(symbols, b"mod_var"), "the module is no part of the name");
        assert!(!is_once(symbols, b"twice"));
        assert!(!is_once(symbols, b"do_exi"));
        assert!(!is_once(symbols, b""));
        assert!(!is_once(b"0 T a\nbroken\n0 T b\n".as_slice(), b"b"));
    }
}
