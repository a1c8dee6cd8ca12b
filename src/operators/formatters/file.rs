//! File modes and the flags of `open`.

/// Appends a mode as `-rwxr-xr-x`. The letters before the permissions are for bits 31 to 19, where Go's file modes (not the
/// kernel's) say what a file is: for the kernel's numbers it is always `-`.
pub(super) fn append_mode(mode: u32, out: &mut Vec<u8>) {
    let start = out.len();
    for (i, letter) in b"dalTLDpSugct?".iter().enumerate() {
        if mode & (1 << (31 - i)) != 0 {
            out.push(*letter);
        }
    }
    if out.len() == start {
        out.push(b'-');
    }
    for (i, letter) in b"rwxrwxrwx".iter().enumerate() {
        out.push(if mode & (1 << (8 - i)) != 0 { *letter } else { b'-' });
    }
}

const FLAGS: [(u32, &str); 14] = [
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o10000, "O_DSYNC"),
    (0o20000, "O_FASYNC"),
    (0o40000, "O_DIRECT"),
    (0o100000, "O_LARGEFILE"),
    (0o200000, "O_DIRECTORY"),
    (0o400000, "O_NOFOLLOW"),
    (0o1000000, "O_NOATIME"),
    (0o2000000, "O_CLOEXEC"),
];

/// Appends the flags of `open` joined by `|`: the access mode, then what is set. The numbers are those of x86.
pub(super) fn append_flags(flags: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(match flags & 3 {
        0 => b"O_RDONLY",
        1 => b"O_WRONLY",
        2 => b"O_RDWR",
        _ => b"",
    });
    for (bit, name) in FLAGS {
        if flags & bit != 0 {
            if out.len() > start {
                out.push(b'|');
            }
            out.extend_from_slice(name.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(append: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        append(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn t6_modes() {
        for (mode, expected) in [
            (0o644, "-rw-r--r--"),
            (33188, "-rw-r--r--"),
            (0o040755, "-rwxr-xr-x"),
            (0o104755, "-rwxr-xr-x"),
            (0, "----------"),
            (1 << 31 | 0o700, "drwx------"),
        ] {
            assert_eq!(text(|out| append_mode(mode, out)), expected);
        }
    }

    #[test]
    fn t7_flags() {
        for (flags, expected) in [
            (0, "O_RDONLY"),
            (1, "O_WRONLY"),
            (577, "O_WRONLY|O_CREAT|O_TRUNC"),
            (0o102, "O_RDWR|O_CREAT"),
            (3, ""),
            (0o103, "O_CREAT"),
            (0o2000000, "O_RDONLY|O_CLOEXEC"),
            (0o2000001 | 1 << 31, "O_WRONLY|O_CLOEXEC"),
        ] {
            assert_eq!(text(|out| append_flags(flags, out)), expected);
        }
    }
}
