//! A file that is replaced by a new one when it has become too large, and what becomes of the old ones.
//!
//! `events.log` becomes `events-2026-11-21T10-37-40.123.log`, in UTC. Old files are compressed and removed by a thread, so that nobody
//! who writes waits for it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::FileSettings;
use crate::{Error, Result, ResultExt};

const TIME: &str = "%Y-%m-%dT%H-%M-%S%.3f";
const GZIP: &str = ".gz";

/// See the module documentation.
#[derive(Debug)]
pub(super) struct RotatingFile {
    settings: FileSettings,
    /// None after an error; the next write tries again.
    file: Option<File>,
    size: u64,
    tidying: Vec<JoinHandle<()>>,
    /// Held by the thread that tidies up.
    tidy: Arc<Mutex<()>>,
}

impl RotatingFile {
    pub(super) fn open(settings: &FileSettings) -> Result<Self> {
        let mut rotating = Self {
            settings: settings.clone(),
            file: None,
            size: 0,
            tidying: Vec::new(),
            tidy: Arc::default(),
        };
        rotating.reopen()?;
        Ok(rotating)
    }

    /// Opens the file, or makes it.
    fn reopen(&mut self) -> Result<&mut File> {
        let path = &self.settings.path;
        let opening = || format!("opening {}", path.display());
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(dir);
            made.with_context(opening)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.with_context(opening)?;
        self.size = file.metadata().with_context(opening)?.len();
        Ok(self.file.insert(file))
    }

    /// Appends whole lines, to a new file if the old one would become too large.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<()> {
        if self.file.is_some() && self.size > 0 && self.size + lines.len() as u64 > self.settings.max_size {
            self.rotate()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.reopen()?,
        };
        file.write_all(lines)
            .with_context(|| format!("writing {}", self.settings.path.display()))?;
        self.size += lines.len() as u64;
        Ok(())
    }

    /// Begins a new file.
    pub(super) fn rotate(&mut self) -> Result<()> {
        self.file = None;
        let names = Names::of(&self.settings.path)?;
        let mut time = Timestamp::now();
        let mut backup = names.backup(time);
        // Several in one millisecond are told apart by their times.
        while backup.exists() || with_gzip(&backup).exists() {
            time += Duration::from_millis(1);
            backup = names.backup(time);
        }
        match fs::rename(&self.settings.path, &backup) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::from(error).context(format!("renaming {}", self.settings.path.display())));
            }
        }
        self.reopen()?;
        self.tidy_up(names);
        Ok(())
    }

    fn tidy_up(&mut self, names: Names) {
        self.tidying.retain(|thread| !thread.is_finished());
        // One is at work and one waits for it: that one will see everything.
        if self.tidying.len() > 1 {
            return;
        }
        let (settings, tidy) = (self.settings.clone(), Arc::clone(&self.tidy));
        let thread = std::thread::Builder::new().name("logs".to_owned()).spawn(move || {
            let _one = tidy.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = names.tidy_up(&settings, Timestamp::now()) {
                tracing::warn!("logs: tidying up: {error}");
            }
        });
        match thread {
            Ok(thread) => self.tidying.push(thread),
            Err(error) => tracing::warn!("logs: tidying up: {error}"),
        }
    }
}

impl Drop for RotatingFile {
    fn drop(&mut self) {
        for thread in self.tidying.drain(..) {
            // It has said itself what went wrong.
            let _ = thread.join();
        }
    }
}

fn with_gzip(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(GZIP);
    name.into()
}

/// The names of old files.
#[derive(Clone, Debug)]
struct Names {
    dir: PathBuf,
    /// What precedes the time, and what follows it.
    prefix: String,
    suffix: String,
}

/// An old file.
#[derive(Debug)]
struct Backup {
    time: Timestamp,
    path: PathBuf,
    compressed: bool,
}

impl Names {
    fn of(path: &Path) -> Result<Self> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| Error::invalid(format!("{} is no name of a log file", path.display())))?;
        let (stem, suffix) = match name.rfind('.') {
            Some(dot) => name.split_at(dot),
            None => (name, ""),
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        Ok(Self {
            dir: dir.unwrap_or(Path::new(".")).to_owned(),
            prefix: format!("{stem}-"),
            suffix: suffix.to_owned(),
        })
    }

    fn backup(&self, time: Timestamp) -> PathBuf {
        let time = time.to_zoned(TimeZone::UTC).strftime(TIME);
        self.dir.join(format!("{}{time}{}", self.prefix, self.suffix))
    }

    /// The old files, newest first.
    fn backups(&self) -> Result<Vec<Backup>> {
        let mut backups = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let (plain, compressed) = match name.strip_suffix(GZIP) {
                Some(plain) => (plain, true),
                None => (name, false),
            };
            let time = plain
                .strip_prefix(&*self.prefix)
                .and_then(|rest| rest.strip_suffix(&*self.suffix));
            let Some(time) = time.and_then(|time| DateTime::strptime(TIME, time).ok()) else {
                continue;
            };
            let Ok(time) = time.to_zoned(TimeZone::UTC) else {
                continue;
            };
            backups.push(Backup {
                time: time.timestamp(),
                path: entry.path(),
                compressed,
            });
        }
        backups.sort_by_key(|backup| std::cmp::Reverse(backup.time));
        Ok(backups)
    }

    /// Removes what is too old or too much, and compresses the rest if that is wanted.
    fn tidy_up(&self, settings: &FileSettings, now: Timestamp) -> Result<()> {
        let mut kept = 0;
        let mut last = None;
        for backup in self.backups()? {
            // A compressed file and the one it is made of count as one.
            kept += usize::from(last != Some(backup.time));
            last = Some(backup.time);
            let age = Duration::try_from(now.duration_since(backup.time)).unwrap_or_default();
            let too_many = settings.max_backups.is_some_and(|most| kept > most);
            if too_many || settings.max_age.is_some_and(|oldest| age > oldest) {
                fs::remove_file(&backup.path).with_context(|| format!("removing {}", backup.path.display()))?;
            } else if settings.compress && !backup.compressed {
                compress(&backup.path).with_context(|| format!("compressing {}", backup.path.display()))?;
            }
        }
        Ok(())
    }
}

/// Replaces `path` by its compressed form.
fn compress(path: &Path) -> Result<()> {
    let mut source = File::open(path)?;
    let metadata = source.metadata()?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let target = tempfile::Builder::new()
        .prefix(".compressing-")
        .permissions(metadata.permissions())
        .tempfile_in(dir)?;
    let mut encoder = GzEncoder::new(target.as_file(), Compression::default());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    // Belongs to whom the log belongs; where that is not allowed, it is ours.
    let _ = std::os::unix::fs::fchown(target.as_file(), Some(metadata.uid()), Some(metadata.gid()));
    target.persist(with_gzip(path)).map_err(|error| error.error)?;
    fs::remove_file(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn settings(dir: &Path) -> FileSettings {
        FileSettings {
            path: dir.join("deep/events.log"),
            max_size: 10,
            max_age: None,
            max_backups: None,
            compress: false,
        }
    }

    fn names(settings: &FileSettings) -> Vec<String> {
        let dir = settings.path.parent().unwrap();
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn read(path: &Path) -> String {
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut text = String::new();
            GzDecoder::new(File::open(path).unwrap())
                .read_to_string(&mut text)
                .unwrap();
            text
        } else {
            fs::read_to_string(path).unwrap()
        }
    }

    /// The contents of all files, oldest first.
    fn contents(settings: &FileSettings) -> Vec<String> {
        let mut backups = Names::of(&settings.path).unwrap().backups().unwrap();
        backups.reverse();
        let mut texts: Vec<String> = backups.iter().map(|backup| read(&backup.path)).collect();
        texts.push(read(&settings.path));
        texts
    }

    #[test]
    fn a_full_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let mut file = RotatingFile::open(&settings).unwrap();
        for line in ["1234\n", "5678\n", "9\n", "longer than all\n", "x\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        drop(file);
        assert_eq!(contents(&settings), ["1234\n5678\n", "9\n", "longer than all\n", "x\n"]);
        for name in names(&settings) {
            let time = name.strip_prefix("events-").and_then(|name| name.strip_suffix(".log"));
            assert!(
                name == "events.log" || DateTime::strptime(TIME, time.unwrap()).is_ok(),
                "{name}"
            );
        }
        assert_eq!(fs::metadata(&settings.path).unwrap().mode() & 0o777, 0o600);
        // What is there already counts.
        let mut file = RotatingFile::open(&settings).unwrap();
        file.write(b"12345678\n").unwrap();
        assert_eq!(contents(&settings).last().unwrap(), "12345678\n");
    }

    #[test]
    fn a_rotation_can_be_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let mut file = RotatingFile::open(&settings).unwrap();
        file.write(b"a\n").unwrap();
        file.rotate().unwrap();
        file.write(b"b\n").unwrap();
        assert_eq!(contents(&settings), ["a\n", "b\n"]);
        // Somebody else has moved it away.
        fs::remove_file(&settings.path).unwrap();
        file.rotate().unwrap();
        file.write(b"c\n").unwrap();
        assert_eq!(contents(&settings), ["a\n", "c\n"]);
    }

    #[test]
    fn old_files_are_compressed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let settings = FileSettings {
            max_backups: Some(2),
            compress: true,
            ..settings(dir.path())
        };
        let mut file = RotatingFile::open(&settings).unwrap();
        for number in 0..6 {
            file.write(format!("{number}\n").as_bytes()).unwrap();
            file.rotate().unwrap();
        }
        file.write(b"last\n").unwrap();
        drop(file);
        // The last to tidy up has seen all of them only if none came later; so once more.
        Names::of(&settings.path)
            .unwrap()
            .tidy_up(&settings, Timestamp::now())
            .unwrap();
        assert_eq!(contents(&settings), ["4\n", "5\n", "last\n"]);
        let names = names(&settings);
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(
            names.iter().filter(|name| name.ends_with(".log.gz")).count() == 2,
            "{names:?}"
        );
        let mode = fs::metadata(settings.path.with_file_name(&names[0])).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_have_an_end_of_life() {
        let dir = tempfile::tempdir().unwrap();
        let settings = FileSettings {
            max_age: Some(Duration::from_secs(86_400)),
            ..settings(dir.path())
        };
        drop(RotatingFile::open(&settings).unwrap());
        let names_of = Names::of(&settings.path).unwrap();
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let foreign = [
            "events-.log",
            "events-2020.log",
            "other-2020-01-01T00-00-00.000.log",
            "events-x.gz",
        ];
        for name in [
            "events-2026-11-20T09-59-59.000.log.gz",
            "events-2026-11-20T10-00-01.000.log.gz",
            "events-2026-11-21T09-00-00.123.log",
        ]
        .iter()
        .chain(&foreign)
        {
            fs::write(settings.path.with_file_name(name), "").unwrap();
        }
        names_of.tidy_up(&settings, now).unwrap();
        let left = names(&settings);
        assert!(
            foreign.iter().all(|name| left.iter().any(|left| left == name)),
            "{left:?}"
        );
        assert!(!left.iter().any(|name| name.contains("09-59-59")), "{left:?}");
        assert_eq!(left.len(), 2 + 1 + foreign.len(), "{left:?}");
        assert_eq!(
            names_of.backup("2026-11-21T09:00:00.123Z".parse().unwrap()),
            settings.path.with_file_name("events-2026-11-21T09-00-00.123.log")
        );
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("deep"), "").unwrap();
        let error = RotatingFile::open(&settings(dir.path())).unwrap_err().to_string();
        assert!(error.starts_with("opening ") && error.contains("events.log"), "{error}");
    }
}
