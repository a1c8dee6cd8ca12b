//! The plain tar archives that the build script embeds in the library: regular files in the ustar form, nothing else.
//!
//! The file stands alone (only `std`), because the crate's build script includes it too.

const BLOCK: usize = 512;
/// The longest name a header holds without extensions.
const MAX_NAME: usize = 100;

/// Appends the file `name` to `archive`. Owner, mode and time are fixed, so that equal contents give equal archives.
///
/// # Errors
/// When the name is longer than a header can hold.
pub fn append(archive: &mut Vec<u8>, name: &str, data: &[u8]) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("{name:?} does not fit into a tar header"));
    }
    let mut header = [0u8; BLOCK];
    let mut field = |offset: usize, text: &str| header[offset..offset + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, "0000644\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", data.len()));
    field(136, "00000000000\0");
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(&header);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

/// Ends `archive`. An archive without files is valid.
pub fn finish(archive: &mut Vec<u8>) {
    archive.resize(archive.len() + 2 * BLOCK, 0);
}

/// The names and contents of the files in `archive`, in order.
///
/// # Errors
/// When `archive` is not what [`append`] and [`finish`] write.
pub fn read(archive: &[u8]) -> Result<Vec<(&str, &[u8])>, String> {
    let damaged = || "damaged tar archive".to_owned();
    let mut files = Vec::new();
    let mut rest = archive;
    loop {
        let (header, after) = rest.split_at_checked(BLOCK).ok_or_else(damaged)?;
        if header.iter().all(|&byte| byte == 0) {
            return Ok(files);
        }
        let name = header[..MAX_NAME].split(|&byte| byte == 0).next().unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| damaged())?;
        let size = std::str::from_utf8(&header[124..135]).map_err(|_| damaged())?;
        let size = usize::from_str_radix(size, 8).map_err(|_| damaged())?;
        let (data, after) = after.split_at_checked(size).ok_or_else(damaged)?;
        rest = after.get(size.next_multiple_of(BLOCK) - size..).ok_or_else(damaged)?;
        files.push((name, data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let mut archive = Vec::new();
        append(&mut archive, "a/one", b"1").unwrap();
        append(&mut archive, "two", &[2; 512]).unwrap();
        append(&mut archive, "empty", b"").unwrap();
        finish(&mut archive);
        let files = read(&archive).unwrap();
        assert_eq!(files, [("a/one", &b"1"[..]), ("two", &[2; 512]), ("empty", b"")]);
        assert!(append(&mut archive, &"x".repeat(101), b"").is_err());
        assert!(read(&archive[..700]).is_err());
        assert!(read(b"").is_err());
    }

    #[test]
    fn other_tools_read_it() {
        let mut archive = Vec::new();
        append(&mut archive, "dir/file.txt", b"hello\n").unwrap();
        finish(&mut archive);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.tar"), &archive).unwrap();
        let tar = std::process::Command::new("tar")
            .args(["xf", "a.tar"])
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(tar.success());
        assert_eq!(std::fs::read(dir.path().join("dir/file.txt")).unwrap(), b"hello\n");
    }
}
