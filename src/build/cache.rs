//! The build cache: what clang made of a source, for as long as everything that clang read is the same.
//!
//! An entry is one file, named after the *question*: this program's version and headers, the architecture, the compiler, its arguments
//! and environment, the source's place. In it are the *conditions* under which its answer holds, and the answer: the stripped object and
//! what the compiler had to say. The conditions are the digests of all files that clang read, and the names at which it looked for
//! an included file without finding one, so that a header that appears earlier on the search path is noticed, too.
//!
//! Invariants:
//! - An entry counts only in a directory that nobody but us can write to, and only when its checksum is right.
//! - Entries appear complete, by rename, or not at all.
//! - Whatever is wrong with the cache, the build goes on without it.
//!
//! What is not seen: another compiler behind a script of the same text, and configuration files of clang's own.

mod inputs;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use self::inputs::Conditions;
use super::clang::{self, Target};
use super::headers;
use crate::image::{Digest, Hasher};
use crate::places;
use crate::private_dir::{self, UNFINISHED, ensure_private, read_bounded};

/// How an entry begins; another form of entries gets another number.
const MAGIC: &str = "ig-build-cache 1";
const SUFFIX: &str = ".entry";

/// More entries than this are not kept; each architecture of each source has one.
const MAX_ENTRIES: usize = 128;
/// More bytes than this are not kept.
const MAX_BYTES: u64 = 256 << 20;
/// No entry is larger.
const MAX_ENTRY: u64 = 64 << 20;
/// The clock of file times is coarser than ours by at most this.
const CLOCK_STEP: Duration = Duration::from_millis(10);

/// What clang gets from its environment.
const ENVIRONMENT: [&str; 12] = [
    "CCC_ADD_ARGS",
    "CCC_OVERRIDE_OPTIONS",
    "CLANG_NO_DEFAULT_CONFIG",
    "COMPILER_PATH",
    "CPATH",
    "C_INCLUDE_PATH",
    "GCC_EXEC_PREFIX",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PATH",
    "SOURCE_DATE_EPOCH",
];

/// What a compiler made of one source for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compiled {
    /// The object without DWARF.
    pub(super) object: Vec<u8>,
    /// What the compiler had to say though it succeeded.
    pub(super) diagnostics: String,
}

/// A directory with answers, for one source and one compiler.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    source_dir: PathBuf,
    /// What the questions about all architectures share.
    common: Digest,
}

/// The question that an entry answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(String);

/// What an entry says before the object.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    conditions: Conditions,
    diagnostics: String,
}

impl Cache {
    /// The cache in `dir` for sources in `source_dir` and this compiler; `None`, with a debug line, when it cannot be trusted or
    /// used.
    pub(super) fn open(dir: &Path, compiler: &Path, source_dir: &Path) -> Option<Self> {
        Self::try_open(dir, compiler, source_dir)
            .inspect_err(|why| tracing::debug!("building without the cache {}: {why}", dir.display()))
            .ok()
    }

    fn try_open(dir: &Path, compiler: &Path, source_dir: &Path) -> io::Result<Self> {
        ensure_private(dir)?;
        let source_dir = fs::canonicalize(source_dir)?;
        let mut question = Question::default();
        question.add("program", env!("CARGO_PKG_VERSION").as_bytes());
        question.add("headers", headers::digest().hex().as_bytes());
        question.add("compiler", &identity(compiler)?);
        question.add("directory", source_dir.as_os_str().as_bytes());
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                question.add(name, value.as_bytes());
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            source_dir,
            common: question.finish(),
        })
    }

    /// What is asked when `source` is to be compiled for `target`.
    pub(super) fn key(&self, target: Target, source: &Path) -> Key {
        let mut question = Question::default();
        question.add("common", self.common.hex().as_bytes());
        question.add("target", target.name().as_bytes());
        // Where headers and object are differs from build to build, and does not show in the object.
        let (headers, object) = (Path::new("<headers>"), Path::new("<object>"));
        for argument in clang::arguments(target, headers, source, object) {
            question.add("argument", argument.as_bytes());
        }
        Key(question.finish().hex())
    }

    /// The answer, if it is known and still holds.
    pub(super) fn find(&self, key: &Key) -> Option<Compiled> {
        let path = self.path(key);
        let bytes = match read_bounded(&path, MAX_ENTRY) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => {
                tracing::debug!("build cache: reading {}: {e}", path.display());
                return None;
            }
        };
        let Some((head, object)) = decode(&bytes) else {
            tracing::debug!("build cache: {} is damaged and will be replaced", path.display());
            return None;
        };
        if let Err(change) = head.conditions.check(&self.source_dir) {
            tracing::debug!("build cache: {change}");
            return None;
        }
        // The least recently used are dropped first.
        let now = fs::FileTimes::new().set_modified(SystemTime::now());
        let _ = fs::File::options()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_times(now));
        Some(Compiled {
            object: object.to_owned(),
            diagnostics: head.diagnostics,
        })
    }

    /// The arguments that make clang write down in `file` what it reads.
    pub(super) fn dependency_arguments(file: &Path) -> [OsString; 5] {
        ["-MD".into(), "-MF".into(), file.into(), "-MT".into(), "object".into()]
    }

    /// Keeps an answer. `dependencies` is the file that clang wrote because of [`Self::dependency_arguments`], `headers` where our
    /// headers were, `started` when clang was started.
    pub(super) fn keep(
        &self,
        key: &Key,
        compiled: &Compiled,
        dependencies: &Path,
        headers: &Path,
        started: SystemTime,
    ) {
        let unchanged_since = started.checked_sub(CLOCK_STEP).unwrap_or(started);
        let kept = fs::read(dependencies)
            .and_then(|list| Conditions::collect(&list, &self.source_dir, headers, unchanged_since))
            .and_then(|conditions| self.write(key, conditions, compiled));
        match kept {
            Ok(()) => self.tidy_up(MAX_ENTRIES, MAX_BYTES),
            Err(why) => tracing::debug!("build cache: not kept: {why}"),
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{}{SUFFIX}", key.0))
    }

    fn write(&self, key: &Key, conditions: Conditions, compiled: &Compiled) -> io::Result<()> {
        let head = Head {
            conditions,
            diagnostics: compiled.diagnostics.clone(),
        };
        let mut body = serde_json::to_vec(&head)?;
        body.push(b'\n');
        body.extend_from_slice(&compiled.object);
        if body.len() as u64 > MAX_ENTRY / 2 {
            return Err(io::Error::other("too large"));
        }
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.dir)?;
        writeln!(file, "{MAGIC} {}", Digest::of(&body).hex())?;
        file.write_all(&body)?;
        // A crash may leave an empty or partial file of that name; its checksum tells.
        file.persist(self.path(key))?;
        Ok(())
    }

    /// Removes the oldest entries until the rest is within bounds.
    fn tidy_up(&self, max_entries: usize, max_bytes: u64) {
        private_dir::tidy_up(&self.dir, SUFFIX, max_entries, max_bytes);
    }
}

/// Collects the parts of a question, each with its name and length, so that no two questions look alike.
#[derive(Default)]
struct Question(Hasher);

impl Question {
    fn add(&mut self, what: &str, value: &[u8]) {
        self.0.update(format!("{what} {}\n", value.len()).as_bytes());
        self.0.update(value);
    }

    fn finish(self) -> Digest {
        self.0.finish()
    }
}

/// The checked parts of an entry.
fn decode(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let (first, body) = split_line(bytes)?;
    let digest = std::str::from_utf8(first)
        .ok()?
        .strip_prefix(MAGIC)?
        .strip_prefix(' ')?;
    if Digest::of(body).hex() != digest {
        return None;
    }
    let (head, object) = split_line(body)?;
    Some((serde_json::from_slice(head).ok()?, object))
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// What tells one compiler from another without running it: the file behind its name, and a script's text.
fn identity(compiler: &Path) -> io::Result<Vec<u8>> {
    let file = fs::canonicalize(which(compiler)?)?;
    let metadata = fs::metadata(&file)?;
    let mut identity = file.as_os_str().as_bytes().to_vec();
    let numbers = [
        metadata.dev() as i64,
        metadata.ino() as i64,
        metadata.len() as i64,
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ];
    for number in numbers {
        identity.extend_from_slice(&number.to_le_bytes());
    }
    const SCRIPT: u64 = 64 << 10;
    if metadata.len() <= SCRIPT {
        identity.extend_from_slice(&read_bounded(&file, SCRIPT)?);
    }
    // One program under several names (a multi-call binary) is several compilers.
    identity.extend_from_slice(compiler.as_os_str().as_bytes());
    Ok(identity)
}

/// Where the program is that a name stands for.
fn which(program: &Path) -> io::Result<PathBuf> {
    if program.is_absolute() {
        return Ok(program.to_owned());
    }
    if program.components().count() > 1 {
        return Err(io::Error::other("the compiler's path is relative"));
    }
    places::program(program).ok_or_else(|| io::Error::other("the compiler is not on the PATH"))
}

/// `path` as text, for an entry.
fn text(path: &OsStr) -> io::Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| io::Error::other(format!("{} is not UTF-8", path.display())))
}
