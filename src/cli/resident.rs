//! Memory of what only a start needs.
//!
//! A run first reads the command line, an image, types and containers, and then does one small thing for hours. The code of the first
//! part and what it reads of the program's constants (the bundled catalogue is among them), several megabytes, would stay mapped all
//! that time, and count as resident. Given back, the kernel can use its memory for something else; what is needed again is mapped again
//! when it is touched, a few dozen pages that the page cache mostly has.

use std::ffi::c_void;

/// Gives back the memory of all code and constants. Best effort.
pub(super) fn give_back() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    for (start, len) in Mappings::new(&maps) {
        // SAFETY: the range is a private mapping of a file that cannot be written to, and none of its pages was ever changed: not even
        // by the loader, whose relocations would have made pages of our own. So the file has the same bytes when they are read again.
        let result = unsafe { libc::madvise(start as *mut c_void, len, libc::MADV_DONTNEED) };
        if result != 0 {
            tracing::debug!("giving back memory: {}", std::io::Error::last_os_error());
        }
    }
}

/// Start and length of the mappings in a `/proc/PID/smaps` that are nothing but what is in a file.
struct Mappings<'a> {
    lines: std::str::Lines<'a>,
    /// The one that is being read, unless something speaks against it.
    candidate: Option<(usize, usize)>,
}

impl<'a> Mappings<'a> {
    fn new(smaps: &'a str) -> Self {
        Self {
            lines: smaps.lines(),
            candidate: None,
        }
    }
}

impl Iterator for Mappings<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        loop {
            let Some(line) = self.lines.next() else {
                return self.candidate.take();
            };
            match line.split_once(':') {
                // Pages of our own, in memory or elsewhere.
                Some(("Anonymous" | "Swap", pages)) if pages.trim() != "0 kB" => self.candidate = None,
                Some((key, _)) if !key.contains('-') => {}
                _ => {
                    if let Some(found) = std::mem::replace(&mut self.candidate, file(line)) {
                        return Some(found);
                    }
                }
            }
        }
    }
}

/// Start and length of the mapping that begins with this line, if it is a private one of a file that cannot be written to.
fn file(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    let (_offset, _device, inode) = (words.next()?, words.next()?, words.next()?);
    if !matches!(permissions, "r-xp" | "r--p") || inode == "0" {
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
            give_back();
            resident() < before
        });
        assert!(gone);
        assert!(resident() > 0, "what runs is there");
    }

    #[test]
    fn only_what_is_in_files_is_given_back() {
        let mapping = |permissions: &str, inode: u32, pages: &str| {
            format!(
                "55d0c8a00000-55d0c8b00000 {permissions} 00001000 fe:00 {inode}    /usr/bin/ig\n\
                 Size:               1024 kB\nAnonymous:             {}\nSwap:                  {}\nVmFlags: rd ex mr mw me\n",
                pages.split('/').next().unwrap(),
                pages.split('/').nth(1).unwrap(),
            )
        };
        let kept = [
            mapping("rwxp", 7, "0 kB/0 kB"),
            mapping("r--p", 7, "4 kB/0 kB"),
            mapping("r--p", 7, "0 kB/4 kB"),
            mapping("rw-p", 7, "0 kB/0 kB"),
            mapping("r-xs", 7, "0 kB/0 kB"),
            mapping("r-xp", 0, "0 kB/0 kB"),
            "7f00-6f00 r-xp 0 0 1 x\n".to_owned(),
        ]
        .concat();
        let given = mapping("r-xp", 7, "0 kB/0 kB") + &kept + &mapping("r--p", 7, "0 kB/0 kB");
        let range = (0x55d0_c8a0_0000, 0x10_0000);
        assert_eq!(Mappings::new(&given).collect::<Vec<_>>(), [range, range]);
        assert_eq!(Mappings::new(&kept).next(), None);
        assert_eq!(Mappings::new("").next(), None);
    }
}
