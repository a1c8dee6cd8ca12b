//! Compiling small programs in tests.

use std::process::Command;

/// The object that clang makes of `source`, with DWARF in it.
pub(crate) fn compile_with_dwarf(source: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t.bpf.c"), source).unwrap();
    let output = Command::new(super::clang::find().expect("these tests need clang"))
        .args(["-target", "bpf", "-g", "-O2", "-c", "t.bpf.c", "-o", "t.o"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(dir.path().join("t.o")).unwrap()
}

/// The object that a build makes of `source`.
pub(crate) fn compile(source: &str) -> Vec<u8> {
    super::strip::strip_dwarf(&compile_with_dwarf(source)).unwrap()
}
