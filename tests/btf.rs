//! Kernels that show no BTF, imitated by a mount over the place where this one shows it.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Ig, Live, gadget_source};

const SHOWN: &str = "/sys/kernel/btf/vmlinux";
const HIDE: &str = "mount -t tmpfs none /sys/kernel/btf";

/// `ig` on a kernel that shows no BTF.
fn hidden(ig: &Ig, line: &str) -> Command {
    ig.command_after(HIDE, env!("CARGO_BIN_EXE_ig"), line.split_whitespace())
}

/// The gadget sees a file being opened.
fn traces(ig: &Ig, line: &str) {
    let live = Live::spawn(hidden(ig, line).args(["--host", "--include-self", "-o", "json", "-v"]));
    live.wait_running();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a file that is opened");
    std::fs::write(&path, "").unwrap();
    let path = path.to_string_lossy().into_owned();
    live.wait_event("the open", |event| {
        ["fname", "filename"].iter().any(|field| event[field] == *path)
    });
    let ran = live.stop().ok();
    assert!(!ran.stderr.contains("left out"), "{}", ran.stderr);
}

fn uname(flag: &str) -> String {
    let output = Command::new("uname").arg(flag).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A directory in the form of btfhub-archive with this kernel's BTF under another release.
fn archive(dir: &Path, release: &str) -> PathBuf {
    let text = std::fs::read_to_string("/etc/os-release").unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap().trim_matches('"').to_owned()
    };
    let archive = dir.join("archive");
    let place = archive.join(value("ID")).join(value("VERSION_ID")).join(uname("-m"));
    std::fs::create_dir_all(&place).unwrap();
    let name = format!("{release}.btf");
    std::fs::copy(SHOWN, place.join(&name)).unwrap();
    let packed = Command::new("tar")
        .current_dir(&place)
        .args(["-c", "-J", "--remove-files", "-f", &format!("{name}.tar.xz"), &name])
        .env("XZ_OPT", "-0")
        .status();
    assert!(packed.unwrap().success());
    archive
}

#[test]
fn btf_comes_from_a_file_or_the_directory_for_it() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kernel.btf");
    std::fs::copy(SHOWN, &file).unwrap();
    common::Ran::from(hidden(&ig, "run trace_open --pull never --host").output().unwrap()).fails_with(&[
        "this kernel does not show its types",
        "--btf FILE",
        &format!("/var/lib/ig/btf/{}.btf", uname("-r")),
        "--btfgen",
    ]);
    traces(&ig, &format!("run trace_open --pull never --btf {}", file.display()));
    let doctor = hidden(&ig, "doctor").arg("--btf").arg(&file).output().unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains(&format!("{}, ", file.display())), "{doctor}");

    let place = ig.store().with_file_name("btf");
    std::fs::create_dir(&place).unwrap();
    std::fs::copy(SHOWN, place.join(format!("{}.btf", uname("-r")))).unwrap();
    traces(&ig, "run trace_open --pull never");

    std::fs::write(&file, "no BTF").unwrap();
    ig.line(&format!("run trace_open --pull never --host --btf {}", file.display()))
        .fails_with(&["--btf: reading BTF from", "kernel.btf"]);
}

#[test]
fn btf_comes_with_an_image() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, release) in [("with", uname("-r")), ("without", "0.0.0-other".to_owned())] {
        let archive = archive(&dir.path().join(name), &release);
        let (source, archive) = (gadget_source("lab_open/3"), archive.to_string_lossy().into_owned());
        let source = source.to_string_lossy();
        let build = [
            "image",
            "build",
            "-t",
            name,
            &source,
            "--btfgen",
            "--btfhub-archive",
            &archive,
        ];
        let built = ig.run(build).ok();
        assert!(built.stderr.contains("no BTF for arm64"), "{}", built.stderr);
    }
    traces(&ig, "run with --verify-image=false --pull never");
    let without = hidden(&ig, "run without --verify-image=false --pull never --host").output();
    common::Ran::from(without.unwrap()).fails_with(&["getting BTF file: BTF file", "not found", "--btf FILE"]);
    // A kernel that shows its types needs neither.
    ig.line("run without --verify-image=false --pull never --host --timeout 1 -o none")
        .ok();
}
