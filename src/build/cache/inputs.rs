//! What a compilation depends on: the files that were read, and the names at which no file was found.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::text;
use crate::build::clang::Target;
use crate::image::Digest;
use crate::private_dir::read_bounded;

/// No source file is larger.
const MAX_FILE: u64 = 64 << 20;
/// More names are not watched: such a source is not cached.
const MAX_ABSENT: usize = 20_000;

/// In a source with one of these, the object depends on more than the text of what is included.
const UNPREDICTABLE: [&str; 6] = [
    "__DATE__",
    "__TIME__",
    "__TIMESTAMP__",
    "__has_include",
    "__has_embed",
    ".incbin",
];

/// When an answer holds. Relative paths are relative to the source's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Conditions {
    /// What was read.
    files: Vec<Input>,
    /// Where an included file was looked for, or would have been, and none was.
    absent: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Input {
    path: String,
    digest: Digest,
}

impl Conditions {
    /// The conditions of a compilation in `dir` for which clang wrote `list`. Files below `headers` are ours and do not count.
    ///
    /// # Errors
    /// When they cannot be told in full, or when a file has changed since `unchanged_since`, so that nobody knows what was read.
    pub(super) fn collect(list: &[u8], dir: &Path, headers: &Path, unchanged_since: SystemTime) -> io::Result<Self> {
        let mut files = Vec::new();
        let mut names = BTreeSet::new();
        let mut search = search_path();
        search.insert(PathBuf::new());
        for name in parse_list(list)? {
            let path = Path::new(OsStr::from_bytes(&name));
            if let Ok(ours) = path.strip_prefix(headers) {
                names.extend(own_names(ours));
                continue;
            }
            let full = dir.join(path);
            let metadata = fs::metadata(&full)?;
            let changed = [metadata.modified()?, changed_at(&metadata)];
            if changed.iter().any(|time| *time >= unchanged_since) {
                return Err(io::Error::other(format!(
                    "{} was changed at the time of the build",
                    path.display()
                )));
            }
            let content = read_bounded(&full, MAX_FILE)?;
            scan(&content, path, &mut names)?;
            search.extend(path.parent().map(Path::to_owned));
            files.push(Input {
                path: text(path.as_os_str())?,
                digest: Digest::of(&content),
            });
        }
        if search.len().saturating_mul(names.len()) > MAX_ABSENT {
            return Err(io::Error::other("too many included files"));
        }
        let mut absent = Vec::new();
        for place in search
            .iter()
            .flat_map(|place| names.iter().map(|name| place.join(name)))
        {
            if !exists(&dir.join(&place)) {
                absent.push(text(place.as_os_str())?);
            }
        }
        Ok(Self { files, absent })
    }

    /// Whether everything is as it was; if not, what has changed.
    pub(super) fn check(&self, dir: &Path) -> Result<(), String> {
        for Input { path, digest } in &self.files {
            match read_bounded(&dir.join(path), MAX_FILE) {
                Ok(content) if Digest::of(&content) == *digest => {}
                Ok(_) => return Err(format!("{path} has changed")),
                Err(e) => return Err(format!("{path}: {e}")),
            }
        }
        match self.absent.iter().find(|path| exists(&dir.join(path))) {
            Some(path) => Err(format!("{path} is new")),
            None => Ok(()),
        }
    }
}

/// Whether clang would find something there. What cannot be looked at counts as there.
fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

fn changed_at(metadata: &fs::Metadata) -> SystemTime {
    use std::os::unix::fs::MetadataExt;
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let nanoseconds = u64::try_from(metadata.ctime_nsec()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds) + std::time::Duration::from_nanos(nanoseconds)
}

/// The directories that clang searches besides those of the files themselves and of our headers.
fn search_path() -> BTreeSet<PathBuf> {
    let mut dirs = BTreeSet::from([
        PathBuf::from(format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH)),
        "/usr/local/include".into(),
        "/usr/include".into(),
    ]);
    for variable in ["CPATH", "C_INCLUDE_PATH"] {
        let value = std::env::var_os(variable).unwrap_or_default();
        dirs.extend(std::env::split_paths(&value));
    }
    dirs
}

/// The names under which a header of ours can be included.
fn own_names(path: &Path) -> impl Iterator<Item = PathBuf> {
    let of_target = Target::ALL
        .into_iter()
        .find_map(|target| path.strip_prefix(Path::new("gadget").join(target.name())).ok());
    [Some(path), of_target].into_iter().flatten().map(Path::to_owned)
}

/// The file names in what clang writes for make: `object: a.c b.h`, with `\` before a space or a line's end, and `$$` for `$`.
fn parse_list(list: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let damaged = || io::Error::other("clang's list of dependencies cannot be read");
    let start = list.windows(2).position(|pair| pair == b": ").ok_or_else(damaged)?;
    let mut names = Vec::new();
    let mut name = Vec::new();
    let mut bytes = list.iter().skip(start + 2).copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek().copied()) {
            (b'\\', Some(b'\n')) => {
                bytes.next();
                names.push(std::mem::take(&mut name));
            }
            (b'\\', Some(next @ (b' ' | b'#'))) => {
                bytes.next();
                name.push(next);
            }
            (b'$', Some(b'$')) => {
                bytes.next();
                name.push(b'$');
            }
            (b' ' | b'\n', _) => names.push(std::mem::take(&mut name)),
            _ => name.push(byte),
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    if names.is_empty() {
        return Err(damaged());
    }
    Ok(names)
}

/// Adds the names that `content` includes.
fn scan(content: &[u8], path: &Path, names: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    // The system's headers ask for each other in many ways; they change with their package, and then together.
    let of_system = path.starts_with("/usr");
    let text = String::from_utf8_lossy(content);
    if !of_system && let Some(word) = UNPREDICTABLE.iter().find(|word| text.contains(**word)) {
        return Err(io::Error::other(format!("{} has {word}", path.display())));
    }
    for line in text.lines() {
        let Some(directive) = line.trim_start().strip_prefix('#') else {
            continue;
        };
        let directive = directive.trim_start();
        let Some(rest) = ["include_next", "include", "import", "embed"]
            .into_iter()
            .find_map(|word| directive.strip_prefix(word))
        else {
            continue;
        };
        match included_name(rest.trim_start()) {
            Some(name) => {
                names.insert(name.into());
            }
            None if of_system => {}
            None => {
                return Err(io::Error::other(format!(
                    "{} includes a file whose name is computed",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

fn included_name(text: &str) -> Option<&str> {
    let (rest, end) = match text.strip_prefix('"') {
        Some(rest) => (rest, '"'),
        None => (text.strip_prefix('<')?, '>'),
    };
    rest.split_once(end).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_for_make_are_read_as_clang_writes_them() {
        let names = |list: &str| -> Vec<String> {
            parse_list(list.as_bytes())
                .unwrap()
                .into_iter()
                .map(|name| String::from_utf8(name).unwrap())
                .collect()
        };
        assert_eq!(
            names("object: program.bpf.c /h/a.h \\\n  with\\ space.h d$$.h x\\#y.h\n"),
            ["program.bpf.c", "/h/a.h", "with space.h", "d$.h", "x#y.h"]
        );
        for damaged in ["", "object:", "object: \n"] {
            assert!(parse_list(damaged.as_bytes()).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn includes_are_found_and_computed_ones_refused() {
        let scanned = |text: &str, path: &str| {
            let mut names = BTreeSet::new();
            scan(text.as_bytes(), Path::new(path), &mut names).map(|()| names)
        };
        let names = scanned("#include <a/b.h>\n  #  include \"../c.h\" // x\nint include;\n", "p.c").unwrap();
        assert_eq!(names, BTreeSet::from(["a/b.h".into(), "../c.h".into()]));
        for bad in [
            "#include NAME\n",
            "char *when = __DATE__;\n",
            "#if __has_include(<x.h>)\n#endif\n",
        ] {
            assert!(scanned(bad, "p.c").is_err(), "{bad}");
            assert!(scanned(bad, "/usr/include/x.h").is_ok(), "{bad}");
        }
    }
}
