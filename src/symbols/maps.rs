//! What a process has mapped, and the files behind that.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::containers::Root;
use crate::{Error, Result, ResultExt};

/// Bytes of `/proc/PID/maps` that are read: of a process that has mapped more, the rest has no names.
const MAX_MAPS: u64 = 16 << 20;

/// A mapping that code can be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// As the process sees it.
    pub(super) path: PathBuf,
}

/// The executable mappings of files, in ascending order.
pub(super) fn read(proc: &Path, pid: u32) -> Result<Vec<Mapping>> {
    use std::io::Read;

    let path = proc.join(pid.to_string()).join("maps");
    let mut text = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_MAPS).read_to_end(&mut text))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(parse(&text))
}

fn parse(text: &[u8]) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = text.split(|byte| *byte == b'\n').filter_map(parse_line).collect();
    mappings.sort_by_key(|mapping| mapping.start);
    mappings
}

/// `start-end permissions offset device inode path`
fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut words = line.splitn(6, |byte| *byte == b' ');
    let mut text = || words.next().and_then(|word| std::str::from_utf8(word).ok());
    let (range, permissions, offset, _device, inode) = (text()?, text()?, text()?, text()?, text()?);
    let (start, end) = range.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    if permissions.as_bytes().get(2) != Some(&b'x') || inode == "0" {
        return None;
    }
    let path = words.next()?.trim_ascii_start();
    Some(Mapping {
        start: number(start)?,
        end: number(end)?,
        offset: number(offset)?,
        path: PathBuf::from(OsStr::from_bytes(path)),
    })
}

/// The mapping that `address` is in.
pub(super) fn find(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let behind = mappings.partition_point(|mapping| mapping.start <= address);
    let mapping = mappings.get(behind.checked_sub(1)?)?;
    (address < mapping.end).then_some(mapping)
}

/// Opens the file that is mapped, even if it has been deleted; where the kernel does not let us, the file that is at its path now,
/// in the process's own root.
pub(super) fn open(proc: &Path, pid: u32, mapping: &Mapping) -> Result<File> {
    let process = proc.join(pid.to_string());
    let link = process
        .join("map_files")
        .join(format!("{:x}-{:x}", mapping.start, mapping.end));
    open_regular(&link).or_else(|_| Root::open(&process.join("root"))?.file(&mapping.path))
}

/// Opens what a magic link leads to if that is a regular file: nothing else may be opened, or things may happen.
fn open_regular(link: &Path) -> Result<File> {
    let found = File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
        .open(link)?;
    if !found.metadata()?.is_file() {
        return Err(Error::invalid("not a regular file"));
    }
    use std::os::fd::AsRawFd;
    Ok(File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?)
}

/// When the executable of a process was changed last: seconds and nanoseconds since the Unix epoch.
pub(super) fn executable_changed(proc: &Path, pid: u32) -> Result<(u64, u32)> {
    let metadata = std::fs::metadata(proc.join(pid.to_string()).join("exe"))?;
    Ok((metadata.mtime() as u64, metadata.mtime_nsec() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
55d0aa000000-55d0aa002000 r--p 00000000 08:01 1234                       /usr/bin/a program
55d0aa002000-55d0aa004000 r-xp 00002000 08:01 1234                       /usr/bin/a program
7f0000000000-7f0000001000 r-xp 00000000 00:00 0                          [vdso]
7f1000000000-7f1000001000 rwxp 00001000 00:2a 77                         /lib/\xff.so (deleted)
nonsense
7f2000000000-7f2000001000 r-xp
";

    #[test]
    fn executable_mappings_of_files() {
        let mappings = parse(TEXT);
        assert_eq!(mappings.len(), 2, "{mappings:?}");
        let found = find(&mappings, 0x55d0_aa00_2abc).unwrap();
        assert_eq!(
            (found.offset, found.path.as_path()),
            (0x2000, Path::new("/usr/bin/a program"))
        );
        assert_eq!(find(&mappings, 0x7f10_0000_0fff).unwrap().offset, 0x1000);
        for nowhere in [0, 0x55d0_aa00_1fff, 0x55d0_aa00_4000, u64::MAX] {
            assert!(find(&mappings, nowhere).is_none(), "{nowhere:x}");
        }
        assert!(parse(b"").is_empty());
    }

    #[test]
    fn our_own_code_is_in_a_file_that_can_be_opened() {
        let (proc, pid) = (Path::new("/proc"), std::process::id());
        let mappings = read(proc, pid).unwrap();
        let here = find(&mappings, executable_changed as fn(_, _) -> _ as usize as u64).unwrap();
        let file = open(proc, pid, here).unwrap();
        let own = std::fs::metadata("/proc/self/exe").unwrap();
        assert_eq!(file.metadata().unwrap().ino(), own.ino());
        assert_eq!(
            executable_changed(proc, pid).unwrap(),
            (own.mtime() as u64, own.mtime_nsec() as u32)
        );
        assert!(read(proc, u32::MAX).is_err());
    }
}
