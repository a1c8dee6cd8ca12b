//! Notices when the files of a gadget's source change.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::source::os_error;
use crate::{Error, Result, ResultExt};

/// So long nothing more has to happen before a change counts as complete: editors write several files, and in several steps.
const QUIET_MS: u16 = 150;
/// A change counts as complete after so many events whatever follows.
const MOST_EVENTS: usize = 10_000;
/// A source has not more directories.
const MOST_DIRECTORIES: usize = 4096;

/// Watches the directory of a gadget's source.
///
/// Directories below it are watched too, new ones as well. What is hidden, `target`, backups of editors and `Cargo.lock`, which a build
/// may write, do not count. Of a single file the directory that it is in is watched, and none below.
#[derive(Debug)]
pub struct SourceWatch {
    inotify: Inotify,
    directories: HashMap<WatchDescriptor, PathBuf>,
    recursive: bool,
}

impl SourceWatch {
    /// Begins to watch the source at `path`: a directory, or a single file. Changes from now on count.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is too large to be the source of a gadget.
    pub fn new(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| os_error("open", path, &e))?;
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let mut watch = Self {
            inotify: Inotify::init(flags).context("inotify")?,
            directories: HashMap::new(),
            recursive: metadata.is_dir(),
        };
        match (metadata.is_dir(), path.parent()) {
            (true, _) => watch.add(path)?,
            (false, Some(parent)) if parent != Path::new("") => watch.add(parent)?,
            (false, _) => watch.add(Path::new("."))?,
        }
        Ok(watch)
    }

    /// Waits until something has changed, and then until nothing more does for a moment.
    ///
    /// # Errors
    ///
    /// The directory is gone, or a new one cannot be watched.
    pub fn wait(&mut self) -> Result<()> {
        let mut changed = false;
        let mut seen = 0;
        loop {
            let timeout = match changed {
                true => PollTimeout::from(QUIET_MS),
                false => PollTimeout::NONE,
            };
            if !self.wait_readable(timeout)? || seen > MOST_EVENTS {
                return Ok(());
            }
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN | Errno::EINTR) => continue,
                Err(error) => return Err(error).context("inotify"),
            };
            seen += events.len();
            for event in &events {
                changed |= self.counts(event)?;
            }
            if self.directories.is_empty() {
                return Err(Error::not_found("the directory of the source is gone"));
            }
        }
    }

    /// Whether there is something to read, as soon as there is or the time is over.
    fn wait_readable(&self, timeout: PollTimeout) -> Result<bool> {
        let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            // Whoever waits without end asks again.
            Err(Errno::EINTR) => Ok(true),
            Err(error) => Err(error).context("inotify"),
        }
    }

    /// Whether the event is a change of the source.
    fn counts(&mut self, event: &InotifyEvent) -> Result<bool> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return Ok(true);
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.directories.remove(&event.wd);
            return Ok(true);
        }
        let (Some(name), Some(directory)) = (&event.name, self.directories.get(&event.wd)) else {
            return Ok(false);
        };
        if !is_source(name) {
            return Ok(false);
        }
        let appeared = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        if self.recursive && event.mask.contains(AddWatchFlags::IN_ISDIR) && event.mask.intersects(appeared) {
            let path = directory.join(name);
            match self.add(&path) {
                // It may be gone again.
                Err(_) if !path.exists() => {}
                result => result?,
            }
        }
        Ok(true)
    }

    /// Watches a directory, and those below it. A directory is watched before it is listed, so that none is missed that is made meanwhile.
    fn add(&mut self, directory: &Path) -> Result<()> {
        let mask = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_ONLYDIR;
        let mut waiting = vec![directory.to_owned()];
        while let Some(directory) = waiting.pop() {
            if self.directories.len() >= MOST_DIRECTORIES {
                return Err(Error::invalid(format!(
                    "{} has more than {MOST_DIRECTORIES} directories",
                    directory.display()
                ))
                .with_hint("watch the directory of the gadget alone"));
            }
            let watched = self.inotify.add_watch(&directory, mask);
            let wd = watched.with_context(|| format!("watching {}", directory.display()))?;
            if self.recursive {
                let entries = std::fs::read_dir(&directory).map_err(|e| os_error("open", &directory, &e))?;
                for entry in entries.flatten() {
                    // Symbolic links are not followed: they may lead in circles.
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_source(&entry.file_name()) {
                        waiting.push(entry.path());
                    }
                }
            }
            self.directories.insert(wd, directory);
        }
        Ok(())
    }
}

/// Whether a file or directory of this name is a part of a source.
fn is_source(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    !name.starts_with('.') && !name.ends_with('~') && !matches!(&*name, "target" | "Cargo.lock")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn builds_and_editors_are_no_changes() {
        for name in ["program.bpf.c", "gadget.yaml", "lib.rs", "src"] {
            assert!(is_source(OsStr::new(name)), "{name}");
        }
        for name in [".git", ".program.bpf.c.swp", "program.bpf.c~", "target", "Cargo.lock"] {
            assert!(!is_source(OsStr::new(name)), "{name}");
        }
    }

    /// Sends a word for each change.
    fn watched(path: &Path) -> mpsc::Receiver<()> {
        let mut watch = SourceWatch::new(path).unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || while watch.wait().is_ok() && sender.send(()).is_ok() {});
        receiver
    }

    #[test]
    fn changes_are_seen_also_in_new_directories() {
        const PATIENCE: Duration = Duration::from_secs(60);
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("go")).unwrap();
        let changes = watched(dir.path());
        fs::write(dir.path().join(".hidden"), "").unwrap();
        fs::write(dir.path().join("go/main.go"), "").unwrap();
        changes.recv_timeout(PATIENCE).unwrap();
        fs::create_dir_all(dir.path().join("rust/src")).unwrap();
        changes.recv_timeout(PATIENCE).unwrap();
        fs::write(dir.path().join("rust/src/lib.rs"), "").unwrap();
        changes.recv_timeout(PATIENCE).unwrap();
        fs::rename(dir.path().join("go/main.go"), dir.path().join("go/other.go")).unwrap();
        changes.recv_timeout(PATIENCE).unwrap();
        // Nobody counts what does not count: the next word is that of the last change.
        while changes.try_recv().is_ok() {}
        fs::write(dir.path().join("Cargo.lock"), "").unwrap();
        fs::write(dir.path().join("program.bpf.c"), "").unwrap();
        changes.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn a_directory_that_goes_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = SourceWatch::new(dir.path()).unwrap();
        dir.close().unwrap();
        // The last event may be a change still.
        let error = std::iter::repeat_with(|| watch.wait())
            .find_map(std::result::Result::err)
            .unwrap();
        assert_eq!(error.to_string(), "the directory of the source is gone");
        assert!(SourceWatch::new(Path::new("/nosuchdirectory")).is_err());
    }
}
