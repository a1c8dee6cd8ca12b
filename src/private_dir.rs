//! Directories of ours whose content is trusted because nobody else can write to them: caches of what is costly to make.
//!
//! Entries are files that appear complete, by rename from a name that begins with [`UNFINISHED`], or not at all.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How the names of files begin that are being written.
pub(crate) const UNFINISHED: &str = ".new-";
/// What nobody finished in this time was left behind by a crash.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Makes sure that `dir` is a directory that only we can write to, creating it where it is missing.
pub(crate) fn ensure_private(dir: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(dir) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = dir.parent() {
                fs::create_dir_all(parent)?;
            }
            match fs::DirBuilder::new().mode(0o700).create(dir) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => fs::symlink_metadata(dir)?,
            }
        }
        Err(e) => return Err(e),
    };
    if !metadata.is_dir() {
        return Err(io::Error::other("it is no directory"));
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("others can write to it"));
    }
    Ok(())
}

/// The content of a regular file of at most `max` bytes.
pub(crate) fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a FIFO would wait.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other(format!("{} is no regular file", path.display())));
    }
    let mut content = Vec::new();
    fs::File::open(path)?.take(max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > max {
        return Err(io::Error::other(format!("{} is too large", path.display())));
    }
    Ok(content)
}

/// Removes the oldest of the entries of `dir` whose names end in `suffix` until the rest is within bounds, and what crashes left
/// behind.
pub(crate) fn tidy_up(dir: &Path, suffix: &str, max_entries: usize, max_bytes: u64) {
    let Ok(listing) = fs::read_dir(dir) else { return };
    let mut entries = Vec::new();
    for file in listing.flatten() {
        let (name, Ok(metadata)) = (file.file_name(), file.metadata()) else {
            continue;
        };
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        if name.as_bytes().starts_with(UNFINISHED.as_bytes()) {
            if modified.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(file.path());
            }
        } else if name.as_bytes().ends_with(suffix.as_bytes()) {
            entries.push((modified, metadata.len(), file.path()));
        }
    }
    entries.sort_unstable_by(|a, b| b.cmp(a));
    let mut bytes = 0u64;
    for (at, (_, size, path)) in entries.iter().enumerate() {
        bytes = bytes.saturating_add(*size);
        if at >= max_entries || bytes > max_bytes {
            let _ = fs::remove_file(path);
        }
    }
}
