//! The file system that a process sees: files in there, without ever leaving it.
//!
//! Who is inside may put anything anywhere. Symbolic links are followed as the process would follow them, and nothing but
//! regular files is opened: no device, no pipe that never answers.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::{Error, Result, ResultExt};

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;
/// Entries of a directory that are looked at.
const MAX_ENTRIES: usize = 65_536;

/// The root directory of a process.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
}

impl Root {
    /// The root in which `path` (such as `/proc/1/root`) is `/`.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_at(nix::fcntl::AT_FDCWD, path).with_context(|| format!("opening {}", path.display()))
    }

    /// The same relative to an open directory.
    pub(super) fn open_at(directory: impl AsFd, path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            directory: openat(directory, path, flags, Mode::empty())?,
        })
    }

    /// Opens the regular file at `path` for reading.
    ///
    /// # Errors
    ///
    /// There is none, or it is something else than a file.
    pub fn file(&self, path: &Path) -> Result<File> {
        let opened = (|| {
            let found = self.find(path, OFlag::empty())?;
            let kind = SFlag::from_bits_truncate(fstat(&found)?.st_mode) & SFlag::S_IFMT;
            if kind != SFlag::S_IFREG {
                return Err(Error::invalid("not a regular file"));
            }
            // The descriptor stands for the file itself: nobody can put another one in its place.
            Ok(File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?)
        })();
        opened.with_context(|| format!("opening {}", path.display()))
    }

    /// The names of the entries of the directory `path`, as many as are reasonable.
    pub fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let found = self.find(path, OFlag::O_DIRECTORY)?;
        let mut directory = Dir::open(
            format!("/proc/self/fd/{}", found.as_raw_fd()).as_str(),
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let mut names = Vec::new();
        for entry in directory.iter().take(MAX_ENTRIES) {
            names.push(std::ffi::OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned());
        }
        Ok(names)
    }

    /// What is at `path`, without opening it.
    fn find(&self, path: &Path, flags: OFlag) -> Result<OwnedFd> {
        let flags = flags | OFlag::O_PATH | OFlag::O_CLOEXEC;
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(&self.directory, path, how) {
            // Before Linux 5.6, or forbidden where a sandbox does not know the call.
            Err(Errno::ENOSYS | Errno::EPERM) => self.walk(path, flags),
            found => Ok(found?),
        }
    }

    /// Finds `path` step by step, for kernels that cannot be told where the root is.
    fn walk(&self, path: &Path, flags: OFlag) -> Result<OwnedFd> {
        let step = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut links = 0;
        let mut todo = reversed(path);
        // The directories on the way, the root not among them.
        let mut way: Vec<OwnedFd> = Vec::new();
        while let Some(part) = todo.pop() {
            if part == ".." {
                way.pop();
                continue;
            }
            let here = way.last().unwrap_or(&self.directory);
            let next = openat(here, part.as_os_str(), step, Mode::empty())?;
            let kind = SFlag::from_bits_truncate(fstat(&next)?.st_mode) & SFlag::S_IFMT;
            if kind != SFlag::S_IFLNK {
                way.push(next);
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP.into());
            }
            let target = PathBuf::from(readlinkat(&next, &CString::default() as &std::ffi::CStr)?);
            if target.is_absolute() {
                way.clear();
            }
            todo.extend(reversed(&target));
        }
        let found = match way.pop() {
            Some(found) => found,
            None => self.directory.try_clone()?,
        };
        if flags.contains(OFlag::O_DIRECTORY)
            && SFlag::from_bits_truncate(fstat(&found)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR
        {
            return Err(Errno::ENOTDIR.into());
        }
        Ok(found)
    }
}

/// The parts of a path that matter, last first.
fn reversed(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn content(found: Result<OwnedFd>) -> Result<String> {
        let found = found?;
        let mut text = String::new();
        File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn paths_stay_inside_with_and_without_openat2() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        fs::create_dir_all(inside.join("usr/lib")).unwrap();
        fs::write(inside.join("usr/lib/library"), "library").unwrap();
        fs::write(inside.join("file"), "inner").unwrap();
        fs::write(dir.path().join("file"), "outer").unwrap();
        symlink("usr/lib", inside.join("lib")).unwrap();
        symlink("/usr/lib/library", inside.join("absolute")).unwrap();
        symlink("../../../../file", inside.join("usr/up")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        let root = Root::open(&inside).unwrap();
        for (path, expected) in [
            ("/lib/library", "library"),
            ("/absolute", "library"),
            ("/usr/up", "inner"),
            ("/../file", "inner"),
            ("/lib/../../file", "inner"),
            ("file", "inner"),
        ] {
            let path = Path::new(path);
            assert_eq!(content(root.find(path, OFlag::empty())).unwrap(), expected, "{path:?}");
            assert_eq!(content(root.walk(path, OFlag::empty())).unwrap(), expected, "{path:?}");
        }
        for path in ["/loop", "/nothing", "/file/x"] {
            let path = Path::new(path);
            assert!(root.find(path, OFlag::empty()).is_err(), "{path:?}");
            assert!(root.walk(path, OFlag::empty()).is_err(), "{path:?}");
        }
        assert!(root.walk(Path::new("/file"), OFlag::O_DIRECTORY).is_err());
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), Mode::S_IRWXU).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let error = root.file(Path::new("/pipe")).unwrap_err().to_string();
        assert_eq!(error, "opening /pipe: not a regular file");
        assert!(root.file(Path::new("/")).is_err());
        assert!(root.file(Path::new("/file")).is_ok());
        let mut names = root.list(Path::new("/")).unwrap();
        names.sort();
        assert_eq!(names, [".", "..", "file", "pipe"]);
        assert!(root.list(Path::new("/file")).is_err());
    }
}
