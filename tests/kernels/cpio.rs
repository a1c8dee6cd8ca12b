//! Archives in the format that the kernel unpacks as its first file system ("newc").

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// An archive that is being written.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
    directories: BTreeSet<PathBuf>,
}

impl Archive {
    /// Adds a directory and those above it.
    pub(crate) fn directory(&mut self, path: &str) {
        let mut whole = PathBuf::new();
        for part in Path::new(path).components() {
            if let Component::Normal(part) = part {
                whole.push(part);
                if self.directories.insert(whole.clone()) {
                    self.entry(&whole.to_string_lossy(), DIRECTORY | 0o755, b"");
                }
            }
        }
    }

    /// Adds a file, whose directory is made.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        if let Some(parent) = Path::new(path).parent() {
            self.directory(&parent.to_string_lossy());
        }
        self.entry(path.trim_start_matches('/'), FILE | mode, content);
    }

    /// Adds a copy of a file of this machine.
    pub(crate) fn copy(&mut self, from: &Path, to: &str) {
        let content = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        let mode = fs::metadata(from).expect("it was just read").permissions().mode() & 0o777;
        self.file(to, mode, &content);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        let header = [
            self.inode,
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            u32::try_from(content.len()).expect("files here are small"),
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
