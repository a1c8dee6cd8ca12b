//! `/etc/ld.so.cache`: where the dynamic linker finds libraries.

use crate::symbols::elf::binary::{Fields, c_string};
use crate::{Error, Result};

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;

/// A larger cache is not read.
pub(super) const MAX_SIZE: u64 = 16 << 20;
/// At most so many files are taken for one library.
pub(super) const MAX_PATHS: usize = 64;

/// Whether the file name `file` is one of library `name`: `libc` has `libc.so.6`, `libc.so.6` only itself.
pub(super) fn is_library(file: &[u8], name: &str) -> bool {
    match file.strip_prefix(name.as_bytes()) {
        Some(rest) if name.contains(".so") => rest.is_empty(),
        Some(rest) => rest.starts_with(b".so"),
        None => false,
    }
}

/// The files of library `name` in the order of the cache, for all architectures.
pub(super) fn lookup<'c>(cache: &'c [u8], name: &str) -> Result<Vec<&'c [u8]>> {
    let malformed = || Error::invalid("malformed ld.so.cache");
    // Each table has its strings: the old one behind its entries, the new one anywhere, counted from its own beginning.
    let (table, header, entry, strings) = if cache.starts_with(NEW_MAGIC) {
        (cache, NEW_HEADER, NEW_ENTRY, cache)
    } else if cache.starts_with(OLD_MAGIC) {
        let end = old_end(cache).ok_or_else(malformed)?;
        let embedded = end.checked_next_multiple_of(8).and_then(|at| cache.get(at..));
        match embedded.filter(|new| new.starts_with(NEW_MAGIC)) {
            Some(new) => (new, NEW_HEADER, NEW_ENTRY, new),
            None => (cache, OLD_HEADER, OLD_ENTRY, cache.get(end..).ok_or_else(malformed)?),
        }
    } else {
        return Err(malformed());
    };
    let fields = Fields {
        bytes: table,
        wide: false,
    };
    let count = fields.u32(if header == NEW_HEADER { 20 } else { 12 })?;
    let entries = table.get(header..).ok_or_else(malformed)?.chunks_exact(entry);
    let mut found: Vec<&[u8]> = Vec::new();
    for raw in entries.take(count as usize) {
        let fields = Fields {
            bytes: raw,
            wide: false,
        };
        let (key, value) = (fields.u32(4)?, fields.u32(8)?);
        if c_string(strings, u64::from(key)).is_some_and(|key| is_library(key, name))
            && let Some(path) = c_string(strings, u64::from(value))
            && path.starts_with(b"/")
            && !found.contains(&path)
        {
            found.push(path);
            if found.len() == MAX_PATHS {
                break;
            }
        }
    }
    Ok(found)
}

/// Where the entries of the old table end.
fn old_end(cache: &[u8]) -> Option<usize> {
    let count = Fields {
        bytes: cache,
        wide: false,
    };
    let count = count.u32(12).ok()? as usize;
    count
        .checked_mul(OLD_ENTRY)?
        .checked_add(OLD_HEADER)
        .filter(|end| *end <= cache.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::elf::binary::testing::damage;

    const LIBRARIES: [(&str, &str); 4] = [
        ("libssl.so.3", "/lib/libssl.so.3"),
        ("libssl.so.1.1", "/opt/libssl.so.1.1"),
        ("libc.so.6", "/lib64/libc.so.6"),
        ("libc.so.6", "/lib32/libc.so.6"),
    ];

    fn strings(base: u32) -> (Vec<u8>, Vec<(u32, u32)>) {
        let (mut bytes, mut at) = (Vec::new(), Vec::new());
        let mut put = |text: &str| {
            let offset = base + bytes.len() as u32;
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
            offset
        };
        for (key, value) in LIBRARIES {
            at.push((put(key), put(value)));
        }
        (bytes, at)
    }

    fn new_format() -> Vec<u8> {
        let (strings, at) = strings((NEW_HEADER + LIBRARIES.len() * NEW_ENTRY) as u32);
        let mut cache = NEW_MAGIC.to_vec();
        cache.extend((LIBRARIES.len() as u32).to_le_bytes());
        cache.extend((strings.len() as u32).to_le_bytes());
        cache.resize(NEW_HEADER, 0);
        for (key, value) in at {
            for number in [3, key, value, 0, 0, 0] {
                cache.extend(number.to_le_bytes());
            }
        }
        cache.extend(strings);
        cache
    }

    fn old_format() -> Vec<u8> {
        let (strings, at) = strings(0);
        let mut cache = OLD_MAGIC.to_vec();
        cache.push(0);
        cache.extend((LIBRARIES.len() as u32).to_le_bytes());
        for (key, value) in at {
            for number in [3, key, value] {
                cache.extend(number.to_le_bytes());
            }
        }
        cache.extend(strings);
        cache
    }

    fn embedded() -> Vec<u8> {
        // No old entries, and the new table at the next multiple of eight.
        let mut cache = OLD_MAGIC.to_vec();
        cache.resize(OLD_HEADER, 0);
        cache.extend(new_format());
        cache
    }

    #[test]
    fn all_formats() {
        for cache in [new_format(), old_format(), embedded()] {
            let paths = |name: &str| -> Vec<String> {
                let found = lookup(&cache, name).unwrap();
                found
                    .iter()
                    .map(|path| String::from_utf8_lossy(path).into_owned())
                    .collect()
            };
            assert_eq!(paths("libc"), ["/lib64/libc.so.6", "/lib32/libc.so.6"]);
            assert_eq!(paths("libssl"), ["/lib/libssl.so.3", "/opt/libssl.so.1.1"]);
            assert_eq!(paths("libssl.so.3"), ["/lib/libssl.so.3"]);
            assert!(paths("libss").is_empty());
            assert!(paths("libssl.so").is_empty());
        }
    }

    #[test]
    fn damaged_caches_do_no_harm() {
        assert!(lookup(b"", "libc").is_err());
        assert!(lookup(b"not a cache at all", "libc").is_err());
        for cache in [new_format(), old_format(), embedded()] {
            damage(&cache, |bytes| {
                let _ = lookup(&bytes, "libc");
            });
        }
    }

    #[test]
    fn the_machines_own_cache() {
        let cache = std::fs::read("/etc/ld.so.cache").unwrap();
        let found = lookup(&cache, "libc").unwrap();
        assert!(found.iter().any(|path| path.ends_with(b"/libc.so.6")));
    }
}
