//! An arm64 machine in QEMU: a cross-built `ig` runs a bundled gadget there.
//!
//! `make test-arm64` builds the program and says in `IG_TEST_ARM64` where it is. Nothing is done without.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use inspektor_gadget::vm::{Archive, MOUNTS};

use super::vm::{console_of, scratch};

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
@MOUNTS@
uname -rm
ig run trace_open --pull never --host -v -o json --timeout 120 >/events 2>/log &
tries=0
until grep -q '"fname":"/etc/only-this-is-opened"' /events || [ $tries = 100 ]; do
    cat /etc/only-this-is-opened
    tries=$((tries + 1))
    sleep 1
done
grep '"fname":"/etc/only-this-is-opened"' /events | head -n 1 || cat /log
echo "ARM64-ENDED"
poweroff -f
"#;

#[test]
fn trace_open() {
    let Some(ig) = std::env::var_os("IG_TEST_ARM64").map(PathBuf::from) else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/testenv/arm64.sh");
    let output = Command::new(script)
        .stderr(Stdio::inherit())
        .output()
        .expect("the script can be run");
    assert!(output.status.success(), "an arm64 system could not be fetched");
    let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let root = directory.join("root");
    let mut archive = Archive::default();
    for directory in ["/proc", "/sys", "/dev", "/tmp", "/root", "/var/lib/ig", "/run"] {
        archive.directory(directory);
    }
    archive
        .file("/init", 0o755, INIT.replace("@MOUNTS@", MOUNTS).as_bytes())
        .expect("room");
    archive.file("/etc/only-this-is-opened", 0o644, b"").expect("room");
    archive.copy(&find(&root, "busybox"), "/bin/busybox").expect("room");
    archive.copy(&ig, "/bin/ig").expect("room");
    archive
        .copy(&find(&root, "ld-linux-aarch64.so.1"), "/lib/ld-linux-aarch64.so.1")
        .expect("room");
    for library in [
        "libc.so.6",
        "libm.so.6",
        "libgcc_s.so.1",
        "libdl.so.2",
        "libpthread.so.0",
        "librt.so.1",
    ] {
        archive
            .copy(&find(&root, library), &format!("/lib/aarch64-linux-gnu/{library}"))
            .expect("room");
    }
    let initramfs = scratch(archive);
    let mut qemu = Command::new("qemu-system-aarch64");
    qemu.args([
        "-machine",
        "virt",
        "-cpu",
        "max,pauth-impdef=on",
        "-smp",
        "2",
        "-m",
        "1536",
    ])
    .args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-kernel"])
    .arg(directory.join("vmlinuz"))
    .arg("-initrd")
    .arg(initramfs.path())
    .args(["-append", "console=ttyAMA0 quiet panic=-1"]);
    let console = console_of(qemu);
    println!("{console}");
    assert!(console.contains("aarch64"), "it is an arm64 machine");
    assert!(
        console.contains("\"fname\":\"/etc/only-this-is-opened\""),
        "the open was seen"
    );
}

/// The program or library of this name below `root`: scripts of other packages are called after programs.
fn find(root: &Path, name: &str) -> PathBuf {
    let output = Command::new("find")
        .arg(root)
        .args(["-name", name, "-not", "-type", "d", "-not", "-path", "*/share/*"])
        .output()
        .expect("find");
    let found = String::from_utf8_lossy(&output.stdout);
    let first = found
        .lines()
        .next()
        .unwrap_or_else(|| panic!("no {name} below {}", root.display()));
    PathBuf::from(first)
}
