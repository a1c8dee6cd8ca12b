//! Gadgets whose own code chooses functions of the kernel: they need kprobes.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::cases::{CELL, ig, in_vm, kernel};
use super::common::{Ig, Live, eventually};
use super::gadgets::{limited, start};

/// Starts a gadget whose code has been compiled: in emulation that takes longer than anybody waits.
fn start_compiled(ig: &Ig, gadget: &str, flags: &[&str]) -> Live {
    ig.run(["run", gadget, "--verify-image=false", "--pull=never", "--help"])
        .ok();
    start(ig, gadget, flags)
}

/// Watches a directory with inotify.
fn watch(directory: &Path) -> fs::File {
    // SAFETY: numbers.
    let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is new, and nobody else owns it.
    let group = unsafe { OwnedFd::from_raw_fd(fd) };
    let text = std::ffi::CString::new(directory.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the path ends with a NUL and lives until the call returns.
    let wd = unsafe { libc::inotify_add_watch(fd, text.as_ptr(), libc::IN_MODIFY) };
    assert_eq!(wd, 1, "{}", std::io::Error::last_os_error());
    fs::File::from(group)
}

#[test]
fn notifications_of_inotify() {
    let Some(ig) = ig() else { return };
    let live = start_compiled(ig, "fsnotify", &["--host", "--inotify-only"]);
    if limited("fsnotify", "ring", (5, 8), &live) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut watching = watch(dir.path());
    let script = "echo something >>\"$0\"/noticed";
    let mut shell = Command::new("sh")
        .args(["-c", script])
        .arg(dir.path())
        .spawn()
        .expect("a shell");
    assert!(watching.read(&mut [0; 1024]).expect("an event") > 0);
    let event = live.wait_event("the write", |event| {
        event["name"] == "noticed" && event["i_mask"].as_str().is_some_and(|mask| mask.contains("IN_MODIFY"))
    });
    assert_eq!(event["type"], "inotify");
    assert_eq!(
        (&event["tracee"]["pid"], &event["tracee"]["comm"]),
        (&shell.id().into(), &"sh".into())
    );
    let us = std::process::id();
    assert_eq!(
        (&event["tracee"]["ppid"], &event["tracer"]["pid"]),
        (&us.into(), &us.into())
    );
    assert_eq!(
        (&event["fa_type"], &event["fa_response"], &event["fa_mask"]),
        (&"UNKNOWN".into(), &"na".into(), &"".into())
    );
    let namespace = fs::metadata("/proc/self/ns/mnt").expect("a namespace").ino();
    assert_eq!(
        (&event["tracee_mntns_id"], &event["tracer_mntns_id"]),
        (&namespace.into(), &namespace.into())
    );
    let inode = |path: &Path| fs::metadata(path).expect("it is there").ino() as u32;
    assert_eq!(
        (&event["i_ino_dir"], &event["i_wd"]),
        (&inode(dir.path()).into(), &1.into())
    );
    // Older kernels do not say it.
    let expected = inode(&dir.path().join("noticed"));
    assert!(
        event["i_ino"] == expected || kernel() < (5, 11) && event["i_ino"] == 0,
        "{event}"
    );
    shell.wait().expect("our own child");
    live.stop().ok();
    println!("{CELL}\tfsnotify\tring\tpass");
}

/// A process that wants to open a file, which needs an answer: no.
fn refused(path: &Path) -> u32 {
    // SAFETY: numbers.
    let fd = unsafe { libc::fanotify_init(libc::FAN_CLASS_CONTENT, libc::O_RDONLY as u32) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is new, and nobody else owns it.
    let group = unsafe { OwnedFd::from_raw_fd(fd) };
    let text = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the path ends with a NUL and lives until the call returns.
    let marked = unsafe {
        libc::fanotify_mark(
            fd,
            libc::FAN_MARK_ADD,
            libc::FAN_OPEN_PERM,
            libc::AT_FDCWD,
            text.as_ptr(),
        )
    };
    assert_eq!(marked, 0, "{}", std::io::Error::last_os_error());
    let mut child = Command::new("cat")
        .arg(path)
        .stderr(Stdio::null())
        .spawn()
        .expect("cat");
    let mut group = fs::File::from(group);
    // An event: the descriptor of the file is at 16, after length, version and mask.
    let mut event = [0; 24];
    group.read_exact(&mut event).expect("an event");
    let file = i32::from_ne_bytes([event[16], event[17], event[18], event[19]]);
    let answer = [file.to_ne_bytes(), libc::FAN_DENY.to_ne_bytes()].concat();
    group.write_all(&answer).expect("it is read");
    // SAFETY: the kernel has opened it for us.
    drop(unsafe { OwnedFd::from_raw_fd(file) });
    assert!(!child.wait().expect("our own child").success());
    child.id()
}

#[test]
fn questions_of_fanotify() {
    let Some(ig) = ig() else { return };
    let live = start_compiled(ig, "fsnotify", &["--host", "--fanotify-only"]);
    if limited("fsnotify, fanotify", "ring", (5, 8), &live) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("refused");
    fs::write(&path, "").expect("a file");
    let child = refused(&path);
    for (kind, response) in [("fanotify", "na"), ("fa_resp", "deny")] {
        let event = live.wait_event(kind, |event| event["type"] == kind && event["tracee"]["pid"] == child);
        assert_eq!(
            (&event["fa_mask"], &event["fa_type"], &event["fa_response"]),
            (
                &"FAN_OPEN_PERM".into(),
                &"FANOTIFY_EVENT_TYPE_PATH_PERM".into(),
                &response.into()
            )
        );
        assert_eq!(event["name"], path.to_str().expect("UTF-8"));
        assert_eq!(
            (&event["tracer"]["pid"], &event["fa_pid"]),
            (&std::process::id().into(), &child.into())
        );
    }
    live.stop().ok();
    println!("{CELL}\tfsnotify, fanotify\tring\tpass");
}

/// Where the virtual machine has a disk with a file system.
const DISK: &str = "/dev/nvme0n1";

#[test]
fn slow_operations() {
    let Some(ig) = ig() else { return };
    let live = start_compiled(ig, "trace_fsslower", &["--host", "--filesystem", "ext4"]);
    if limited("trace_fsslower", "ring", (5, 8), &live) || !in_vm() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    eventually("the disk", || Path::new(DISK).exists().then_some(()));
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some(DISK), dir.path(), Some("ext4"), flags, None::<&str>).expect("a file system");
    let script = "dd if=/dev/zero of=slow bs=4096 seek=1 count=1 conv=fsync 2>/dev/null; \
                  dd if=slow bs=8192 of=/dev/null 2>/dev/null; stat -f . >/dev/null";
    let status = Command::new("sh").args(["-c", script]).current_dir(dir.path()).status();
    assert!(status.is_ok_and(|status| status.success()));
    for (op, comm, file, offset, size) in [
        ("F_OPEN", "dd", "slow", 0, 0),
        ("F_WRITE", "dd", "slow", 4096, 4096),
        ("F_FSYNC", "dd", "slow", 0, i64::MAX),
        ("F_READ", "dd", "slow", 0, 8192),
        ("F_STATFS", "stat", "/", 0, 0),
    ] {
        let event = live.wait_event(op, |event| {
            event["op"] == op && event["proc"]["comm"] == comm && event["file"] == file
        });
        assert_eq!(
            (&event["offset"], &event["size"]),
            (&offset.into(), &size.into()),
            "{event}"
        );
        assert!(event["delta_us"].as_u64().is_some(), "{event}");
    }
    nix::mount::umount(dir.path()).expect("nobody uses it");
    live.stop().ok();
    let live = start_compiled(ig, "trace_fsslower", &["--host", "--min", "3600000000"]);
    live.wait_running();
    fs::write(dir.path().join("quick"), "").expect("a file");
    assert_eq!(live.stop().ok().stdout, "", "nothing takes an hour");
    println!("{CELL}\ttrace_fsslower\tring\tpass");
}
