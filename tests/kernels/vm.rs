//! Boots kernels in QEMU and runs the cases there.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use inspektor_gadget::vm::{Archive, MOUNTS};

use super::cases;
use super::common::traced::{self, TRACED};
use super::common::{Ig, Ran, skip};
use super::gadgets::bundled;
use super::table::Table;

/// How long one kernel may take, in software emulation on a busy machine.
const LIMIT: Duration = Duration::from_secs(1800);

/// What the first process of the virtual machine says with the status of the cases.
const VERDICT: &str = "CASES-ENDED-WITH:";

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
@MOUNTS@
ip link set lo up
export PATH=/bin HOME=/root IG_TEST_IN_VM=1 IG_TEST_IMAGES=/images.tar IG_TEST_CATALOGUE='@BUNDLED@'
/cases --skip vm:: --skip arm64:: --test-threads=1 --nocapture 2>&1
echo "CASES-ENDED-WITH:$?"
poweroff -f
"#;

#[test]
fn other_kernels() {
    let Some(ig) = Ig::new() else { return };
    let wanted = std::env::var("IG_TEST_KERNELS").unwrap_or_else(|_| "6.1".to_owned());
    if Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
        return skip("qemu-system-x86_64");
    }
    let images = cases::images(&ig);
    let (initramfs, disk) = (initramfs(&images), disk());
    let mut failed = Vec::new();
    let mut table = Table::default();
    for Configuration {
        name,
        directory,
        parameters,
    } in configurations(&wanted)
    {
        println!("--- Linux {name} in QEMU");
        let start = Instant::now();
        let output = boot(&directory.join("vmlinuz"), &initramfs, &disk, parameters);
        for line in output.lines().filter(|line| shown(line)) {
            println!("{name}: {line}");
        }
        println!("--- Linux {name} took {:?}", start.elapsed());
        table.add(&name, &output);
        if !output.contains(&format!("{VERDICT}0")) {
            println!("{output}");
            failed.push(name);
        }
    }
    let table = table.render();
    println!("{table}");
    assert!(failed.is_empty(), "cases failed on Linux {failed:?}");
    if let Some(path) = std::env::var_os("IG_TEST_KERNELS_TABLE") {
        write_table(Path::new(&path), &table);
    }
}

/// `ig gadget test --kernel` boots a machine of its own.
#[test]
fn declared_cases() {
    let Some(ig) = Ig::new() else { return };
    if Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
        return skip("qemu-system-x86_64");
    }
    let (_, directory) = kernels("6.1").pop().expect("it was asked for");
    let gadget = Path::new(env!("CARGO_MANIFEST_DIR")).join("gadgets/trace_open");
    let mut command = ig.command(["gadget", "test", "--kernel"]);
    command.arg(directory.join("vmlinuz")).arg(gadget);
    let ran = Ran::from(command.output().expect("ig can be run"));
    assert!(ran.status == Some(0), "{}{}", ran.stdout, ran.stderr);
    for line in ["ok      a file that is read (", "ok      only what fails (", "3 passed"] {
        assert!(ran.stdout.contains(line), "{}", ran.stdout);
    }
}

/// Replaces what stands in the file below the line that says so.
fn write_table(path: &Path, table: &str) {
    const BELOW: &str = "<!-- Written by `make kernels-table`: do not edit below this line. -->\n";
    let text = fs::read_to_string(path).expect("the document");
    let (above, _) = text.split_once(BELOW).expect("the line below which the table is");
    fs::write(path, format!("{above}{BELOW}\n{table}")).expect("the document");
}

/// A kernel and how it is started.
struct Configuration {
    name: String,
    directory: PathBuf,
    /// More of its command line. What the kernel does not know becomes the environment of the first process.
    parameters: &'static str,
}

/// The wanted kernels; `denied` is 6.1 told to refuse ring buffers.
fn configurations(wanted: &str) -> Vec<Configuration> {
    let versions: Vec<&str> = wanted.split_whitespace().collect();
    let mut names: Vec<&str> = versions
        .iter()
        .map(|name| if *name == "denied" { "6.1" } else { name })
        .collect();
    names.dedup();
    let found = kernels(&names.join(" "));
    let directory = |version: &str| {
        let found = found.iter().find(|(name, _)| name == version);
        found.map(|(_, directory)| directory.clone()).expect("it was asked for")
    };
    versions
        .into_iter()
        .map(|version| match version {
            "denied" => Configuration {
                name: "6.1 without ring buffers".to_owned(),
                directory: directory("6.1"),
                parameters: "IG_TEST_NO_RING_BUFFERS=1",
            },
            version => Configuration {
                name: version.to_owned(),
                directory: directory(version),
                parameters: "",
            },
        })
        .collect()
}

/// Packs what a machine of the Vagrantfile needs into the file that `IG_TEST_VM_BUNDLE` names.
#[test]
fn bundle() {
    let Some(target) = std::env::var_os("IG_TEST_VM_BUNDLE") else {
        return;
    };
    let Some(ig) = Ig::new() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name);
    fs::copy(cases::images(&ig), at("images.tar")).expect("room");
    let cases = std::env::current_exe().expect("this is a program");
    for (program, name) in [(Path::new(env!("CARGO_BIN_EXE_ig")), "ig"), (cases.as_path(), "cases")] {
        let stripped = tempfile::tempdir().expect("a temporary directory");
        fs::copy(strip(program, stripped.path()), at(name)).expect("room");
    }
    traced::compile(&["-static"], &at("traced"));
    for (name, text) in [
        ("place", env!("CARGO_BIN_EXE_ig")),
        ("traced-place", TRACED),
        ("catalogue", &bundled().join(" ")),
    ] {
        fs::write(at(name), text).expect("room");
    }
    let status = Command::new("tar")
        .arg("-C")
        .arg(directory.path())
        .arg("-cf")
        .arg(&target)
        .arg(".")
        .status();
    assert!(status.is_ok_and(|status| status.success()), "tar");
}

fn shown(line: &str) -> bool {
    line.contains(cases::CELL) || line.starts_with("test ") || line.starts_with("test result")
}

/// The directories of the wanted kernels, fetched if they are not there.
fn kernels(wanted: &str) -> Vec<(String, PathBuf)> {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/testenv/kernels.sh");
    let output = Command::new(script)
        .args(wanted.split_whitespace())
        .stderr(Stdio::inherit())
        .output()
        .expect("the script can be run");
    assert!(output.status.success(), "kernels could not be fetched");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(version, directory)| (version.to_owned(), PathBuf::from(directory)))
        .collect()
}

/// The first file system: everything that the cases need.
fn initramfs(images: &Path) -> tempfile::NamedTempFile {
    let mut archive = Archive::default();
    for directory in ["/proc", "/sys", "/dev", "/tmp", "/root", "/var/lib/ig", "/run", "/etc"] {
        archive.directory(directory);
    }
    let init = INIT
        .replace("@MOUNTS@", MOUNTS)
        .replace("@BUNDLED@", &bundled().join(" "));
    archive.file("/init", 0o755, init.as_bytes()).expect("room");
    archive
        .file("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")
        .expect("room");
    archive.file("/etc/group", 0o644, b"root:x:0:\n").expect("room");
    archive.copy(&which("busybox"), "/bin/busybox").expect("room");
    let ig = Path::new(env!("CARGO_BIN_EXE_ig"));
    let cases = std::env::current_exe().expect("this is a program");
    let stripped = tempfile::tempdir().expect("a temporary directory");
    for (program, at) in [(ig, env!("CARGO_BIN_EXE_ig")), (cases.as_path(), "/cases")] {
        archive.copy(&strip(program, stripped.path()), at).expect("room");
        for library in libraries(program) {
            archive.copy(&library, &library.to_string_lossy()).expect("room");
        }
    }
    archive.copy(images, "/images.tar").expect("room");
    let traced = stripped.path().join("traced");
    traced::compile(&["-static"], &traced);
    archive.copy(&traced, TRACED).expect("room");
    scratch(archive)
}

/// The archive as a file.
pub(crate) fn scratch(archive: Archive) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), archive.finish()).expect("room for an initramfs");
    file
}

fn strip(program: &Path, directory: &Path) -> PathBuf {
    let target = directory.join(program.file_name().expect("a program"));
    let status = Command::new("strip").arg("-o").arg(&target).arg(program).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "strip {}",
        program.display()
    );
    target
}

/// The shared libraries of `program` with the loader.
fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd");
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{program} is not installed"))
}

/// A disk with an empty ext4 file system.
fn disk() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let status = mke2fs
        .args(["-q", "-F", "-t", "ext4"])
        .arg(file.path())
        .arg("16M")
        .status();
    assert!(status.is_ok_and(|status| status.success()), "mke2fs");
    file
}

/// Boots `kernel` with more `parameters` and `disk`, which stays as it is; what it printed until it ended or was ended.
fn boot(
    kernel: &Path,
    initramfs: &tempfile::NamedTempFile,
    disk: &tempfile::NamedTempFile,
    parameters: &str,
) -> String {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "1536"])
        .args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs.path())
        // The one kind of disk that needs no modules.
        .args(["-device", "nvme,drive=disk,serial=cases", "-drive"])
        .arg(format!(
            "file={},if=none,id=disk,format=raw,snapshot=on",
            disk.path().display()
        ))
        .arg("-append")
        .arg(format!(
            "console=ttyS0 quiet panic=-1 lsm=lockdown,capability,landlock,yama,apparmor,bpf {parameters}"
        ));
    console_of(qemu)
}

/// What a machine prints until it ends or is ended.
pub(crate) fn console_of(mut qemu: Command) -> String {
    let mut qemu = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU can be run");
    let mut console = qemu.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        let _ = console.read_to_end(&mut output);
        String::from_utf8_lossy(&output).replace('\r', "")
    });
    let deadline = Instant::now() + LIMIT;
    while qemu.try_wait().expect("our own child").is_none() {
        if Instant::now() > deadline {
            println!("not ended after {LIMIT:?}");
            let _ = qemu.kill();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    reader.join().expect("the reader does not panic")
}
