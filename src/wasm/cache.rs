//! Compiled modules on disk.
//!
//! An entry is named after what it was made of: the module, the engine, the processor's features. It counts only in a directory
//! that nobody but us can write to, and only when its checksum is right. Entries appear complete or not at all. Whatever is wrong
//! with the cache, modules are compiled.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::private_dir::{UNFINISHED, ensure_private, read_bounded, tidy_up};

const SUFFIX: &str = ".code";
const CHECKSUM: usize = 32;
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
    pub(super) fn find(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.path(key);
        let mut entry = match read_bounded(&path, MAX_ENTRY) {
            Ok(entry) => entry,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!("wasm cache: {}: {error}", path.display());
                }
                return None;
            }
        };
        let body = entry.len().checked_sub(CHECKSUM)?;
        let (code, checksum) = entry.split_at(body);
        if blake3::hash(code).as_bytes() != checksum {
            tracing::debug!("wasm cache: {} is damaged and will be replaced", path.display());
            return None;
        }
        // The least recently used are dropped first.
        let now = std::fs::FileTimes::new().set_modified(SystemTime::now());
        let _ = std::fs::File::options()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_times(now));
        entry.truncate(body);
        Some(entry)
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
        file.write_all(blake3::hash(code).as_bytes())?;
        file.persist(self.path(key))?;
        Ok(())
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{}{SUFFIX}", key.0))
    }
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
