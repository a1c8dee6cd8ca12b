//! Memory of code that only a start needs.
//!
//! A run first reads the command line, an image, types and containers, and then does one small thing for hours. The code of the first
//! part, several megabytes, would stay mapped all that time, and count as resident. Given back, the kernel can use its memory for
//! something else; what is needed again is mapped again when it is executed, a few dozen pages that the page cache mostly has.

use std::ffi::c_void;

/// Gives back the memory of all code. Best effort.
pub(super) fn give_back_code() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    for (start, len) in maps.lines().filter_map(code) {
        // SAFETY: the range is a private mapping of a file that is executable and cannot be written to. Nothing in there was ever
        // changed (position-independent code has no relocations), so that the file has the same bytes when they are read again.
        let result = unsafe { libc::madvise(start as *mut c_void, len, libc::MADV_DONTNEED) };
        if result != 0 {
            tracing::debug!("giving back code: {}", std::io::Error::last_os_error());
        }
    }
}

/// Start and length of the mapping that a line of `/proc/self/maps` describes, if it is code of a file.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    let (_offset, _device, inode) = (words.next()?, words.next()?, words.next()?);
    if permissions != "r-xp" || inode == "0" {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let [start, end] = [start, end].map(|number| usize::from_str_radix(number, 16).ok());
    let (start, end) = (start?, end?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kilobytes of the code of this program that are resident.
    fn resident() -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let exe = std::env::current_exe().unwrap();
        let mut lines = maps.lines();
        lines
            .find(|line| line.contains("r-xp") && line.ends_with(exe.to_str().unwrap()))
            .expect("the program has code");
        let line = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn code_goes_and_comes_back() {
        // Other tests run beside this one and bring some back at once.
        let gone = (0..100).any(|_| {
            let before = resident();
            give_back_code();
            resident() < before
        });
        assert!(gone);
        assert!(resident() > 0, "what runs is there");
    }

    #[test]
    fn only_code_of_files_is_given_back() {
        let code = |permissions, inode| {
            code(&format!(
                "55d0c8a00000-55d0c8b00000 {permissions} 00001000 fe:00 {inode}    /usr/bin/ig"
            ))
        };
        assert_eq!(code("r-xp", 7), Some((0x55d0_c8a0_0000, 0x10_0000)));
        for (permissions, inode) in [("rwxp", 7), ("r--p", 7), ("rw-p", 7), ("r-xs", 7), ("r-xp", 0)] {
            assert_eq!(code(permissions, inode), None, "{permissions} {inode}");
        }
        assert_eq!(super::code(""), None);
        assert_eq!(super::code("7f00-6f00 r-xp 0 0 1 x"), None);
    }
}
