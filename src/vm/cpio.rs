//! Archives in the format that the kernel unpacks as its first file system ("newc").

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use crate::{Error, Result, ResultExt};

const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inode: u32,
    directories: BTreeSet<PathBuf>,
}

impl Archive {
    /// Adds a directory and those above it.
    pub fn directory(&mut self, path: &str) {
        let mut whole = PathBuf::new();
        for part in Path::new(path).components() {
            if let Component::Normal(part) = part {
                whole.push(part);
                if self.directories.insert(whole.clone()) {
                    self.entry(&whole.to_string_lossy(), DIRECTORY | 0o755, 0, b"");
                }
            }
        }
    }

    /// Adds a file, whose directory is made.
    ///
    /// # Errors
    ///
    /// It is larger than the format can say: 4 GiB.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let len = u32::try_from(content.len());
        let len = len.map_err(|_| Error::invalid(format!("{path} is too large for an initial file system")))?;
        if let Some(parent) = Path::new(path).parent() {
            self.directory(&parent.to_string_lossy());
        }
        self.entry(path.trim_start_matches('/'), FILE | mode, len, content);
        Ok(())
    }

    /// Adds a copy of a file of this machine.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is too large.
    pub fn copy(&mut self, from: &Path, to: &str) -> Result<()> {
        let reading = || format!("reading {}", from.display());
        let content = fs::read(from).with_context(reading)?;
        let mode = fs::metadata(from).with_context(reading)?.permissions().mode() & 0o777;
        self.file(to, mode, &content)
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, 0, b"");
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, len: u32, content: &[u8]) {
        self.inode += 1;
        let header = [
            self.inode,
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            len,
            0, // device
            0,
            0,
            0,
            name.len() as u32 + 1,
            0, // checksum
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in header {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.file("/a/b/c", 0o755, b"hello").unwrap();
        archive.directory("/a/b");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let at = |name: &str| text.find(&format!("{name}\0")).unwrap();
        assert!(at("0a") < at("a/b") && at("a/b") < at("a/b/c") && at("a/b/c") < at("hello"));
        assert_eq!(text.matches("070701").count(), 4, "{text}");
        assert_eq!(bytes.len() % 4, 0);
        assert!(Archive::default().copy(Path::new("/nosuchfile"), "/x").is_err());
    }
}
