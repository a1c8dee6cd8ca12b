//! Programs to be traced, compiled from `tests/traced`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the gadgets under `tests/gadgets/attach` look for the program.
pub(crate) const TRACED: &str = "/var/tmp/ig-test-traced";

/// Compiles `traced.c` to `output`.
#[track_caller]
pub(crate) fn compile(flags: &[&str], output: &Path) {
    compile_source("traced.c", flags, output);
}

/// Compiles a program of `tests/traced` to `output`.
#[track_caller]
pub(crate) fn compile_source(source: &str, flags: &[&str], output: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traced").join(source);
    // A program that runs cannot be written to, but another can take its place.
    let fresh = PathBuf::from(format!("{}.{}", output.display(), std::process::id()));
    let status = Command::new("gcc")
        .args(["-O1", "-o"])
        .arg(&fresh)
        .args(flags)
        .arg(source)
        .status()
        .expect("gcc can be run");
    assert!(status.success(), "gcc {flags:?}");
    std::fs::rename(fresh, output).expect("the compiled program");
}

/// Compiles a Go program of `tests/traced` to `output`, without symbols. `false` if there is no Go, which has been said.
#[track_caller]
pub(crate) fn compile_go(source: &str, output: &Path) -> bool {
    let Some(go) = ["go", "/usr/local/go/bin/go"].into_iter().find(|go| {
        let version = Command::new(go).arg("version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    }) else {
        super::skip("go (package golang-go)");
        return false;
    };
    let built = Command::new(go)
        .args(["build", "-ldflags=-s -w", "-o"])
        .arg(output)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traced").join(source))
        .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"))
        .env("GO111MODULE", "off")
        .status();
    assert!(built.is_ok_and(|status| status.success()), "go build {source}");
    true
}
