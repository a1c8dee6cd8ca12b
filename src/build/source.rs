//! What a gadget is built from: the files that build.yaml names, or the usual ones.

use std::io;
use std::path::{Path, PathBuf};

use crate::metadata::yaml::{self, Value};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Name of the file that says what to build, where it is not called otherwise.
pub const BUILD_FILE: &str = "build.yaml";
const EBPF_SOURCE: &str = "program.bpf.c";
const METADATA: &str = "gadget.yaml";
const EBPF_SUFFIX: &str = ".bpf.c";

/// The parts of a gadget's source. File names are relative to the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The directory, as the user wrote it.
    pub dir: PathBuf,
    /// The eBPF program in C, if there is one.
    pub ebpf: Option<String>,
    /// The wasm module or its source, if there is one.
    pub wasm: Option<String>,
    /// The metadata file, which need not exist.
    pub metadata: String,
}

/// The contents of build.yaml.
#[derive(Debug)]
struct BuildFile {
    ebpf: String,
    wasm: String,
    metadata: String,
}

impl Default for BuildFile {
    fn default() -> Self {
        Self {
            ebpf: EBPF_SOURCE.to_owned(),
            wasm: String::new(),
            metadata: METADATA.to_owned(),
        }
    }
}

/// Whether `text` looks like the path of a gadget's source rather than the name of an image: it begins with `./`, `../` or `/`,
/// or is a `*.bpf.c` file.
pub fn is_source_path(text: &str) -> bool {
    text == "."
        || text == ".."
        || ["./", "../", "/"].iter().any(|prefix| text.starts_with(prefix))
        || is_ebpf_source(text)
}

fn is_ebpf_source(name: &str) -> bool {
    name.ends_with(EBPF_SUFFIX)
}

impl Source {
    /// Finds out what is to be built at `path`: a directory, or a single `*.bpf.c` file.
    ///
    /// `build_file` is the file in place of `<path>/build.yaml`; it must exist. A single `x.bpf.c` has its metadata in
    /// `x.yaml`, and `program.bpf.c` in `gadget.yaml`.
    ///
    /// # Errors
    /// When a file that is named does not exist, build.yaml is damaged, or there is nothing to build.
    pub fn find(path: &Path, build_file: Option<&Path>) -> Result<Self> {
        if let Some(source) = Self::single_file(path) {
            return Ok(source);
        }
        let file = read_build_file(path, build_file)?;
        let changing = |e: &io::Error| os_error("chdir", path, e).context("changing directory");
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(changing(&io::ErrorKind::NotADirectory.into())),
            Err(e) => return Err(changing(&e)),
        }
        let exists = |name: &str| !name.is_empty() && path.join(name).exists();
        let ebpf = exists(&file.ebpf).then(|| file.ebpf.clone());
        if ebpf.is_none() && file.ebpf != EBPF_SOURCE {
            return Err(Error::not_found(format!("source file {:?} not found", file.ebpf)));
        }
        if ebpf.is_none() && !exists(&file.metadata) && !exists(&file.wasm) && !has_go_files(&path.join("go"), 0) {
            return Err(Error::not_found(format!(
                "at least one of ebpf source ({EBPF_SOURCE}), metadata ({METADATA}), .go files (present in go folder) or wasm \
                 module is required"
            )));
        }
        Ok(Self {
            dir: path.to_owned(),
            ebpf,
            wasm: (!file.wasm.is_empty()).then_some(file.wasm),
            metadata: file.metadata,
        })
    }

    fn single_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str().filter(|name| is_ebpf_source(name))?;
        if !path.is_file() {
            return None;
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let metadata = match name {
            EBPF_SOURCE => METADATA.to_owned(),
            _ => format!("{}.yaml", name.trim_end_matches(EBPF_SUFFIX)),
        };
        Some(Self {
            dir: dir.unwrap_or(Path::new(".")).to_owned(),
            ebpf: Some(name.to_owned()),
            wasm: None,
            metadata,
        })
    }

    /// Where the metadata file is or would be.
    pub fn metadata_path(&self) -> PathBuf {
        self.dir.join(&self.metadata)
    }
}

fn read_build_file(path: &Path, build_file: Option<&Path>) -> Result<BuildFile> {
    let file = build_file.map_or_else(|| path.join(BUILD_FILE), Path::to_owned);
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(e)
            if build_file.is_none() && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(BuildFile::default());
        }
        Err(e) => return Err(os_error("open", &file, &e).context("reading build file")),
    };
    parse_build_file(&bytes).context("unmarshaling build.yaml")
}

fn parse_build_file(bytes: &[u8]) -> Result<BuildFile> {
    let mut file = BuildFile::default();
    let Some(root) = yaml::parse(bytes)?.filter(|root| !root.is_null()) else {
        return Ok(file);
    };
    let Some(entries) = root.as_map() else {
        return Err(yaml::error_at(
            root.line,
            format_args!("expected a mapping, found {}", root.describe()),
        ));
    };
    for (key, node) in entries {
        let member = match key.as_str() {
            "ebpfsource" => &mut file.ebpf,
            "wasm" => &mut file.wasm,
            "metadata" => &mut file.metadata,
            _ => continue,
        };
        match &node.value {
            // Nothing after the colon leaves the default.
            _ if node.is_null() => {}
            Value::Scalar(scalar) => *member = scalar.text.clone(),
            _ => {
                return Err(yaml::error_at(
                    node.line,
                    format_args!("{key}: expected a file name, found {}", node.describe()),
                ));
            }
        }
    }
    Ok(file)
}

fn has_go_files(dir: &Path, depth: usize) -> bool {
    // Symbolic links may lead in circles.
    if depth > 32 {
        return false;
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        path.extension().is_some_and(|extension| extension == "go") || (path.is_dir() && has_go_files(&path, depth + 1))
    })
}

/// `operation path: what the system said`, in lower case as Go programs print it.
pub(super) fn os_error(operation: &str, path: &Path, error: &io::Error) -> Error {
    let errno = match error.kind() {
        io::ErrorKind::NotADirectory => Some(nix::libc::ENOTDIR),
        _ => error.raw_os_error(),
    };
    let text = match errno {
        Some(errno) => {
            let mut text = nix::errno::Errno::from_raw(errno).desc().to_owned();
            if let Some(first) = text.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            text
        }
        None => error.to_string(),
    };
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Permission,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("{operation} {}: {text}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        dir
    }

    fn find(files: &[(&str, &str)]) -> Result<Source> {
        Source::find(dir(files).path(), None)
    }

    #[test]
    fn defaults_and_build_yaml() {
        let source = find(&[("program.bpf.c", "")]).unwrap();
        assert_eq!(
            (source.ebpf.as_deref(), source.wasm.as_deref()),
            (Some("program.bpf.c"), None)
        );
        let source = find(&[("gadget.yaml", "")]).unwrap();
        assert_eq!(source.ebpf, None);
        let source = find(&[
            (
                "build.yaml",
                "ebpfsource: x.bpf.c\nwasm: prog.wasm\nmetadata: m.yaml\ncflags: -O3\n",
            ),
            ("x.bpf.c", ""),
        ])
        .unwrap();
        assert_eq!(
            (source.ebpf.as_deref(), source.wasm.as_deref()),
            (Some("x.bpf.c"), Some("prog.wasm"))
        );
        assert_eq!(source.metadata, "m.yaml");
        assert!(find(&[("go/sub/program.go", "")]).is_ok());
    }

    #[test]
    fn missing_parts_are_named() {
        let message = |files: &[(&str, &str)]| find(files).unwrap_err().to_string();
        assert_eq!(
            message(&[]),
            "at least one of ebpf source (program.bpf.c), metadata (gadget.yaml), .go files (present in go folder) or wasm module \
             is required"
        );
        assert_eq!(
            message(&[("build.yaml", "ebpfsource: x.c")]),
            "source file \"x.c\" not found"
        );
        assert_eq!(
            message(&[("build.yaml", "ebpfsource: ''"), ("program.bpf.c", "")]),
            "source file \"\" not found"
        );
        assert!(message(&[("build.yaml", "a: [")]).starts_with("unmarshaling build.yaml: yaml: line "));
        assert_eq!(
            message(&[("build.yaml", "wasm: [a]")]),
            "unmarshaling build.yaml: yaml: line 1: wasm: expected a file name, found a list"
        );
        let nowhere = |file: Option<&str>| {
            Source::find(Path::new("nosuchdir"), file.map(Path::new))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            nowhere(None),
            "changing directory: chdir nosuchdir: no such file or directory"
        );
        assert_eq!(
            nowhere(Some("nosuch.yaml")),
            "reading build file: open nosuch.yaml: no such file or directory"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        let message = Source::find(file.path(), None).unwrap_err().to_string();
        assert!(message.ends_with(": not a directory"), "{message}");
    }

    #[test]
    fn a_single_file_is_a_gadget() {
        let dir = dir(&[
            ("x.bpf.c", ""),
            ("program.bpf.c", ""),
            ("build.yaml", "ebpfsource: nosuch"),
        ]);
        let source = Source::find(&dir.path().join("x.bpf.c"), None).unwrap();
        assert_eq!(
            (source.ebpf.as_deref(), source.metadata.as_str()),
            (Some("x.bpf.c"), "x.yaml")
        );
        assert_eq!(source.dir, dir.path());
        let source = Source::find(&dir.path().join("program.bpf.c"), None).unwrap();
        assert_eq!(source.metadata, "gadget.yaml");
    }

    #[test]
    fn paths_can_be_told_from_image_names() {
        for path in ["./mygadget", "../x", "/tmp/g", ".", "x.bpf.c"] {
            assert!(is_source_path(path), "{path}");
        }
        for name in ["trace_open", "ghcr.io/a/b:latest", "mygadget", "x.c"] {
            assert!(!is_source_path(name), "{name}");
        }
    }
}
