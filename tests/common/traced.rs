//! Programs to be traced, compiled from `tests/traced`.

use std::path::{Path, PathBuf};
use std::process::Command;

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
