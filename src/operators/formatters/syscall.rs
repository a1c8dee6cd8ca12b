//! System call numbers and their names.

use super::syscall_table::{AMD64, ARM64};
use crate::operators::host::Architecture;

/// The names on `architecture`.
pub(super) fn table(architecture: Architecture) -> &'static [&'static str] {
    match architecture {
        Architecture::Amd64 => AMD64,
        Architecture::Arm64 => ARM64,
    }
}

/// Appends the name of system call `number` in `table`, `SYS_UNKNOWN` for what has none.
pub(super) fn append(table: &[&str], number: u64, out: &mut Vec<u8>) {
    let name = usize::try_from(number).ok().and_then(|number| table.get(number));
    let name = name.filter(|name| !name.is_empty()).unwrap_or(&"SYS_UNKNOWN");
    out.extend_from_slice(name.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t3_names_by_architecture() {
        let name = |table, number| {
            let mut out = Vec::new();
            append(table, number, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(name(AMD64, 60), "SYS_EXIT");
        assert_eq!(name(AMD64, 292), "SYS_DUP3");
        assert_eq!(name(AMD64, 1_000_000), "SYS_UNKNOWN");
        assert_eq!(name(AMD64, u64::MAX), "SYS_UNKNOWN");
        assert_eq!(name(AMD64, 400), "SYS_UNKNOWN", "a gap in the numbers");
        assert_eq!(name(ARM64, 64), "SYS_WRITE");
        assert_eq!(name(ARM64, 79), "SYS_NEWFSTATAT");
    }
}
