//! What the section of a uprobe or static probe names, and the files that this is in a container.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ld_cache;
use crate::containers::Root;
use crate::{Error, Result, ResultExt};

const LD_CACHE: &str = "/etc/ld.so.cache";

/// Where dynamic linkers look by themselves: musl's always, glibc's when its cache does not know a library.
const LIBRARY_DIRECTORIES: [&str; 9] = [
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/lib64",
    "/usr/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];

/// A program or a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binary {
    /// The file at this absolute path.
    Path(String),
    /// The library of this name, such as `libc`.
    Library(String),
}

/// Where in a binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// At the entry of a function, or at its return.
    Function {
        /// Its name.
        name: String,
        /// Whether the program runs at its return.
        on_return: bool,
    },
    /// The same at all functions whose names match.
    Functions {
        /// A name, in which `*` and `?` are wildcards.
        pattern: String,
        /// Whether the program runs at their return.
        on_return: bool,
    },
    /// At both ends of each call of all functions whose names match.
    Sessions {
        /// A name, in which `*` and `?` are wildcards.
        pattern: String,
    },
    /// Everywhere that this static probe is.
    Static {
        /// Who provides it.
        provider: String,
        /// Its name.
        name: String,
    },
}

/// Where a program is attached in every container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The file.
    pub binary: Binary,
    /// Where in it.
    pub point: Point,
}

impl Target {
    /// Whether `family` (the section's part before the first `/`, without `.s`) is one of these.
    pub(in crate::ebpf::attach) fn is_family(family: &str) -> bool {
        matches!(
            family,
            "uprobe" | "uretprobe" | "uprobe.multi" | "uretprobe.multi" | "uprobe.session" | "usdt"
        )
    }

    /// Reads what is behind a section's family.
    pub(in crate::ebpf::attach) fn parse(family: &str, target: &str) -> Result<Self> {
        let (file, rest) = target
            .split_once(':')
            .filter(|(file, rest)| !file.is_empty() && !rest.is_empty())
            .ok_or_else(|| Error::invalid(format!("invalid section name {target:?}")).with_hint(FORMS))?;
        let binary = match (file.starts_with('/'), file.contains('/')) {
            (true, _) => Binary::Path(file.to_owned()),
            (false, false) => Binary::Library(file.to_owned()),
            (false, true) => {
                return Err(Error::invalid(format!(
                    "section name must be either an absolute path or a library name: {file:?}"
                ))
                .with_hint(FORMS));
            }
        };
        let on_return = family.starts_with("uret");
        let point = match family {
            "usdt" => match rest.split_once(':') {
                Some((provider, name)) if !provider.is_empty() && !name.is_empty() => Point::Static {
                    provider: provider.to_owned(),
                    name: name.to_owned(),
                },
                _ => return Err(Error::invalid(format!("invalid USDT section name: {target:?}")).with_hint(FORMS)),
            },
            _ if family.ends_with(".multi") => Point::Functions {
                pattern: rest.to_owned(),
                on_return,
            },
            "uprobe.session" => Point::Sessions {
                pattern: rest.to_owned(),
            },
            _ => Point::Function {
                name: rest.to_owned(),
                on_return,
            },
        };
        Ok(Self { binary, point })
    }

    /// Whether the section asks for one link at many places.
    pub(in crate::ebpf) fn is_multi(&self) -> bool {
        matches!(self.point, Point::Functions { .. })
    }

    /// Whether the program runs at both ends of a call, which has no substitute on kernels that do not know it.
    pub(in crate::ebpf) fn is_session(&self) -> bool {
        matches!(self.point, Point::Sessions { .. })
    }
}

const FORMS: &str =
    "uprobe//PATH:FUNCTION, uprobe/LIBRARY:FUNCTION, usdt//PATH:PROVIDER:PROBE or usdt/LIBRARY:PROVIDER:PROBE";

impl Binary {
    /// The paths in `root` at which the file can be.
    ///
    /// # Errors
    ///
    /// There is no library of that name.
    pub(super) fn paths(&self, root: &Root) -> Result<Vec<PathBuf>> {
        let name = match self {
            Self::Path(path) => return Ok(vec![path.into()]),
            Self::Library(name) => name,
        };
        let mut cause = None;
        let mut paths = cached(root, name).unwrap_or_else(|error| {
            cause = Some(error);
            Vec::new()
        });
        if paths.is_empty() {
            paths = in_directories(root, name);
        }
        if paths.is_empty() {
            let error = Error::not_found(format!("library {name:?} not found"));
            return Err(match cause {
                Some(cause) => error.with_hint(cause.to_string()),
                None => error,
            });
        }
        Ok(paths)
    }
}

/// The library's files according to the dynamic linker's cache; none if there is no cache.
fn cached(root: &Root, name: &str) -> Result<Vec<PathBuf>> {
    let Ok(file) = root.file(Path::new(LD_CACHE)) else {
        return Ok(Vec::new());
    };
    let mut cache = Vec::new();
    file.take(ld_cache::MAX_SIZE)
        .read_to_end(&mut cache)
        .context(LD_CACHE)?;
    let paths = ld_cache::lookup(&cache, name).context(LD_CACHE)?;
    Ok(paths
        .into_iter()
        .map(|path| PathBuf::from(OsStr::from_bytes(path)))
        .collect())
}

fn in_directories(root: &Root, name: &str) -> Vec<PathBuf> {
    // What musl's distributions call its libc: libc.musl-x86_64.so.1.
    let musl = format!("{name}.musl-");
    let mut found = Vec::new();
    for directory in LIBRARY_DIRECTORIES.map(Path::new) {
        let Ok(mut names) = root.list(directory) else { continue };
        names.sort_unstable();
        let files = names.into_iter().filter(|file| {
            let file = file.as_bytes();
            ld_cache::is_library(file, name) || file.starts_with(musl.as_bytes())
        });
        found.extend(files.map(|file| directory.join(file)));
    }
    found.truncate(ld_cache::MAX_PATHS);
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn targets() {
        let path = || Binary::Path("/bin/app".into());
        let function = |name: &str, on_return| Point::Function {
            name: name.into(),
            on_return,
        };
        for (family, target, binary, point) in [
            ("uprobe", "/bin/app:main", path(), function("main", false)),
            (
                "uretprobe",
                "/bin/app:main.(*T).f",
                path(),
                function("main.(*T).f", true),
            ),
            (
                "uprobe",
                "libc:malloc",
                Binary::Library("libc".into()),
                function("malloc", false),
            ),
            ("uprobe", "/bin/app:ns::f", path(), function("ns::f", false)),
            (
                "uretprobe.multi",
                "/bin/app:get_*",
                path(),
                Point::Functions {
                    pattern: "get_*".into(),
                    on_return: true,
                },
            ),
            (
                "uprobe.session",
                "/bin/app:get_*",
                path(),
                Point::Sessions {
                    pattern: "get_*".into(),
                },
            ),
            (
                "usdt",
                "libc:libc:setjmp",
                Binary::Library("libc".into()),
                Point::Static {
                    provider: "libc".into(),
                    name: "setjmp".into(),
                },
            ),
        ] {
            assert!(Target::is_family(family));
            assert_eq!(Target::parse(family, target).unwrap(), Target { binary, point });
        }
    }

    #[test]
    fn bad_targets_are_refused_with_the_known_words() {
        for (family, target, expected) in [
            ("uprobe", "libc", "invalid section name \"libc\""),
            ("uprobe", "libc:", "invalid section name \"libc:\""),
            ("uprobe", "", "invalid section name \"\""),
            (
                "uprobe",
                "usr/bin/x:main",
                "section name must be either an absolute path or a library name: \"usr/bin/x\"",
            ),
            ("usdt", "libc:probe", "invalid USDT section name: \"libc:probe\""),
            ("usdt", "libc:libc:", "invalid USDT section name: \"libc:libc:\""),
        ] {
            assert_eq!(Target::parse(family, target).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn libraries_without_a_cache() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("lib")).unwrap();
        fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        for file in [
            "lib/libc.musl-x86_64.so.1",
            "usr/lib/libssl.so.3",
            "usr/lib/libsslx.so.3",
        ] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let paths = |name: &str| Binary::Library(name.into()).paths(&root);
        assert_eq!(paths("libc").unwrap(), [Path::new("/lib/libc.musl-x86_64.so.1")]);
        assert_eq!(paths("libssl").unwrap(), [Path::new("/usr/lib/libssl.so.3")]);
        assert_eq!(paths("libz").unwrap_err().to_string(), "library \"libz\" not found");
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/ld.so.cache"), "nonsense").unwrap();
        assert_eq!(paths("libssl").unwrap(), [Path::new("/usr/lib/libssl.so.3")]);
        let error = paths("libz").unwrap_err();
        assert!(error.hint().unwrap().contains("malformed ld.so.cache"), "{error:?}");
    }
}
