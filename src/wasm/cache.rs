//! Compiled modules on disk.
//!
//! An entry is named after what it was made of: the module, the engine, the processor's features. It counts only in a directory
//! that nobody but us can write to, and only when its checksum is right. Entries appear complete or not at all. Whatever is wrong
//! with the cache, modules are compiled.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use memmap2::MmapOptions;

use crate::private_dir::{UNFINISHED, ensure_private, tidy_up};

const SUFFIX: &str = ".code";
/// Bytes of the checksum at the end: a CRC-32, because a cryptographic hash would take longer than everything else that is done with an
/// entry, and against somebody who can write to the directory neither would help.
const CHECKSUM: usize = 4;
/// No entry is larger.
const MAX_ENTRY: u64 = 256 << 20;
/// More entries than this are not kept.
const MAX_ENTRIES: usize = 64;
/// More bytes than this are not kept.
const MAX_BYTES: u64 = 512 << 20;

/// A directory with compiled modules.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

/// What an entry was made of.
#[derive(Debug)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn of(engine: &str, wasm: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(engine.len() as u64).to_le_bytes());
        hasher.update(engine.as_bytes());
        hasher.update(wasm);
        Self(hasher.finalize().to_hex().to_string())
    }
}

impl Cache {
    /// The cache in `dir`; `None`, with a debug line, when it cannot be trusted or used.
    pub(super) fn open(dir: &Path) -> Option<Self> {
        ensure_private(dir)
            .inspect_err(|why| tracing::debug!("compiling without the cache {}: {why}", dir.display()))
            .ok()?;
        Some(Self { dir: dir.to_owned() })
    }

    /// The compiled module, if there is one.
    pub(super) fn find(&self, key: &Key) -> Option<Bytes> {
        let path = self.path(key);
        let entry = match map(&path) {
            Ok(entry) => entry,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!("wasm cache: {}: {error}", path.display());
                }
                return None;
            }
        };
        let whole = entry
            .split_last_chunk::<CHECKSUM>()
            .filter(|(code, checksum)| checksum_of(code) == **checksum);
        let Some((code, _)) = whole else {
            tracing::debug!("wasm cache: {} is damaged and will be replaced", path.display());
            return None;
        };
        // The least recently used are dropped first.
        let now = FileTimes::new().set_modified(SystemTime::now());
        let _ = File::options()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_times(now));
        Some(entry.slice(..code.len()))
    }

    /// Keeps a compiled module, if that is possible.
    pub(super) fn keep(&self, key: &Key, code: &[u8]) {
        match self.write(key, code) {
            Ok(()) => tidy_up(&self.dir, SUFFIX, MAX_ENTRIES, MAX_BYTES),
            Err(why) => tracing::debug!("wasm cache: not kept: {why}"),
        }
    }

    fn write(&self, key: &Key, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.dir)?;
        file.write_all(code)?;
        file.write_all(&checksum_of(code))?;
        file.persist(self.path(key))?;
        Ok(())
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{}{SUFFIX}", key.0))
    }
}

/// The content of a regular file of at most [`MAX_ENTRY`] bytes, without a copy.
fn map(path: &Path) -> io::Result<Bytes> {
    // Looked at before it is opened: opening a FIFO would wait.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > MAX_ENTRY {
        return Err(io::Error::other("it is too large"));
    }
    // SAFETY: nobody but us can write to the directory, and we never write to an entry that has its name: it is replaced by another
    // file.
    let map = unsafe { MmapOptions::new().populate().map(&File::open(path)?)? };
    Ok(Bytes::from_owner(map))
}

fn checksum_of(code: &[u8]) -> [u8; CHECKSUM] {
    crc32fast::hash(code).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_entry_is_found_until_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let key = Key::of("engine", b"module");
        assert_eq!(cache.find(&key), None);
        cache.keep(&key, b"code");
        assert_eq!(cache.find(&key).as_deref(), Some(b"code".as_slice()));
        assert_eq!(cache.find(&Key::of("engine2", b"module")), None);
        assert_eq!(cache.find(&Key::of("enginem", b"odule")), None);
        for damage in [b"cod3".as_slice(), b"", b"x"] {
            std::fs::write(cache.path(&key), damage).unwrap();
            assert_eq!(cache.find(&key), None);
        }
        cache.keep(&key, b"code");
        assert!(cache.find(&key).is_some());
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Cache::open(dir.path()).is_none());
        assert!(Cache::open(Path::new("/proc/nowhere/cache")).is_none());
    }
}
