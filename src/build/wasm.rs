//! The gadget's own code: a module that is there already, or is built from Go or Rust with the tools on this machine.
//!
//! Go builds with `-modfile`, so that nothing is written to the source directory: neither the requirements that `-mod=mod` completes
//! nor the checksums. A copy of the tree would do that too, but breaks what refers to directories beside it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::pipeline::{BuildEvent, describe};
use super::source::{Source, os_error};
use crate::{Error, Result, ResultExt, places};

const GO_TO_INSTALL: &str =
    "install Go 1.24 or newer from your distribution or from the Go project, and see that `go` is on the PATH";
const RUST_TO_INSTALL: &str = "install Rust with rustup, then `rustup target add wasm32-wasip1`";

/// Where tools are that `sudo` takes from the PATH.
const USUAL_PLACES: [&str; 3] = ["/usr/local/go/bin", "/usr/lib/go/bin", "/root/.cargo/bin"];

/// How the module comes into being, by the suffix of what build.yaml names.
enum Kind {
    Go,
    Rust,
    Prebuilt,
}

fn kind(name: &str) -> Option<Kind> {
    match Path::new(name).extension()?.to_str()? {
        "go" => Some(Kind::Go),
        "rs" => Some(Kind::Rust),
        "wasm" => Some(Kind::Prebuilt),
        _ => None,
    }
}

/// Whether something can be done with what build.yaml names.
pub(super) fn is_supported(name: &str) -> bool {
    kind(name).is_some()
}

/// The module of `source`, if it has one.
pub(super) fn build(source: &Source, report: &mut dyn FnMut(BuildEvent<'_>)) -> Result<Option<Vec<u8>>> {
    let Some(name) = &source.wasm else { return Ok(None) };
    let path = std::path::absolute(source.dir.join(name))?;
    match kind(name) {
        Some(Kind::Go) => build_go(&path, report).context("go build wasm").context("local build"),
        Some(Kind::Rust) => build_rust(&path, report).context("cargo build").context("local build"),
        _ => read_module(&path, name).context("reading wasm module"),
    }
    .map(Some)
}

fn read_module(path: &Path, name: &str) -> Result<Vec<u8>> {
    let module = std::fs::read(path).map_err(|e| os_error("open", path, &e))?;
    match module.starts_with(b"\0asm") {
        true => Ok(module),
        false => Err(Error::invalid(format!("{name} is not a wasm module"))),
    }
}

fn temporary() -> Result<tempfile::TempDir> {
    let parent = std::path::absolute(std::env::temp_dir())?;
    let mut builder = tempfile::Builder::new();
    builder
        .prefix("gadget-build-")
        .tempdir_in(parent)
        .context("creating temporary directory")
}

fn build_go(file: &Path, report: &mut dyn FnMut(BuildEvent<'_>)) -> Result<Vec<u8>> {
    let (dir, base) = split(file)?;
    std::fs::metadata(file).map_err(|e| os_error("open", file, &e))?;
    let module = module_root(dir).ok_or_else(|| {
        Error::not_found(format!("there is no go.mod for {}", file.display())).with_hint(
            "make one beside the code: `go mod init example.com/my-gadget`, then `go get github.com/inspektor-gadget/inspektor-gadget`",
        )
    })?;
    let temporary = temporary()?;
    let (module_file, out) = (temporary.path().join("go.mod"), temporary.path().join("program.wasm"));
    let copy = |name: &str| std::fs::copy(module.join(name), temporary.path().join(name));
    copy("go.mod").map_err(|e| os_error("read", &module.join("go.mod"), &e))?;
    if module.join("go.sum").exists() {
        copy("go.sum").map_err(|e| os_error("read", &module.join("go.sum"), &e))?;
    }
    let go = tool("go");
    let arguments: [OsString; 13] = [
        "build".into(),
        "-C".into(),
        dir.into(),
        "-mod=mod".into(),
        concat("-modfile=", &module_file),
        "-trimpath".into(),
        "-buildvcs=false".into(),
        "-o".into(),
        out.clone().into(),
        "-buildmode=c-shared".into(),
        "-ldflags".into(),
        "-w -s".into(),
        base.into(),
    ];
    let mut command = Command::new(&go);
    command
        .args(&arguments)
        .envs([
            ("CGO_ENABLED", "0"),
            ("GOOS", "wasip1"),
            ("GOARCH", "wasm"),
            ("GOWORK", "off"),
        ])
        .env("GOFLAGS", "");
    run(&mut command, "go", GO_TO_INSTALL, report)?;
    read_module(&out, "what go built")
}

/// The directory of the Go module that `dir` is in.
fn module_root(dir: &Path) -> Option<&Path> {
    dir.ancestors().find(|dir| dir.join("go.mod").is_file())
}

fn build_rust(file: &Path, report: &mut dyn FnMut(BuildEvent<'_>)) -> Result<Vec<u8>> {
    let (dir, _) = split(file)?;
    std::fs::metadata(file).map_err(|e| os_error("open", file, &e))?;
    // The source is in `src/`, the manifest beside that.
    let manifest = dir.parent().unwrap_or(dir).join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|e| os_error("open", &manifest, &e))?;
    let name = package_name(&text)
        .ok_or_else(|| Error::invalid(format!("{} names no package", manifest.display())))
        .context("reading package name from Cargo.toml")?;
    let temporary = temporary()?;
    let mut command = Command::new(tool("cargo"));
    command
        .args(["build", "--target", "wasm32-wasip1", "--release", "--manifest-path"])
        .arg(&manifest)
        .env("CARGO_TARGET_DIR", temporary.path())
        // What cargo sets for programs that it runs is about them.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    run(&mut command, "cargo", RUST_TO_INSTALL, report)?;
    let out = temporary.path().join("wasm32-wasip1/release");
    // The compiler names the file after the library, in which there is no hyphen.
    let module = [name.to_owned(), name.replace('-', "_")]
        .map(|name| out.join(format!("{name}.wasm")))
        .into_iter()
        .find(|module| module.exists())
        .ok_or_else(|| {
            Error::not_found(format!("package {name:?} did not become a module {name}.wasm"))
                .with_hint("set `crate-type = [\"cdylib\"]` in section [lib] of Cargo.toml")
        })
        .context("copying wasm output")?;
    read_module(&module, "what cargo built")
}

/// The package's name: the text between the first pair of double quotes of the first line that begins with `name`.
fn package_name(manifest: &str) -> Option<&str> {
    let line = manifest.lines().find(|line| {
        let rest = line.strip_prefix("name");
        rest.is_some_and(|rest| rest.trim_start().starts_with('='))
    })?;
    line.split('"').nth(1).filter(|name| !name.is_empty())
}

fn split(file: &Path) -> Result<(&Path, &std::ffi::OsStr)> {
    match (file.parent(), file.file_name()) {
        (Some(dir), Some(base)) => Ok((dir, base)),
        _ => Err(Error::invalid(format!("{} is no file", file.display()))),
    }
}

fn concat(flag: &str, path: &Path) -> OsString {
    let mut text = OsString::from(flag);
    text.push(path);
    text
}

/// The program `name`: from the PATH, else from where it usually is.
fn tool(name: &str) -> PathBuf {
    let usual = || {
        let mut files = USUAL_PLACES.iter().map(|dir| Path::new(dir).join(name));
        files.find(|file| file.is_file())
    };
    places::program(name).or_else(usual).unwrap_or_else(|| name.into())
}

fn run(command: &mut Command, name: &str, hint: &'static str, report: &mut dyn FnMut(BuildEvent<'_>)) -> Result<()> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    report(BuildEvent::Command(&line));
    let output = match command.output() {
        Ok(output) => output,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(
                Error::not_found(format!("exec: {name:?}: executable file not found in $PATH")).with_hint(hint),
            );
        }
        Err(e) => return Err(Error::from(e).context(format!("running {name}"))),
    };
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if !text.is_empty() {
        report(BuildEvent::Output(&text));
    }
    if !output.status.success() {
        let status = describe(output.status);
        let error = Error::invalid(format!("running [{line}]: {status}: {text}"));
        return Err(match text.contains("wasm32-wasip1") && text.contains("target") {
            true => error.with_hint(hint),
            false => error,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_name_is_on_the_first_such_line() {
        let manifest = "[package]\nname = \"my-gadget\"\nversion = \"0.1.0\"\n[lib]\nname = \"other\"\n";
        assert_eq!(package_name(manifest), Some("my-gadget"));
        assert_eq!(package_name("name=\"a\""), Some("a"));
        assert_eq!(package_name("names = \"a\"\nname = a"), None);
    }

    #[test]
    fn the_suffix_decides() {
        for name in ["go/main.go", "rust/src/lib.rs", "program.wasm"] {
            assert!(is_supported(name), "{name}");
        }
        for name in ["a.txt", "wasm", ".go", "main.GO"] {
            assert!(!is_supported(name), "{name}");
        }
    }
}
