//! The build cache: `ig run ./gadget` calls the compiler only when there is something to compile.
//!
//! `ig run PATH --help` builds the gadget and stops before the kernel, which is all that is needed here.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{Ig, Ran};

const PROGRAM: &str = r#"
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>
#include "own.h"

struct event {
	gadget_timestamp timestamp_raw;
	__u32 FIELD;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(open, events, event);

SEC("tracepoint/syscalls/sys_enter_openat")
int enter_openat(struct syscall_trace_enter *ctx)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (!event)
		return 0;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->FIELD = 1;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"#;

/// A gadget, and a compiler that counts how often it is called.
struct Room {
    ig: Ig,
    dir: tempfile::TempDir,
}

impl Room {
    fn new() -> Option<Self> {
        let room = Self {
            ig: Ig::new()?,
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(room.gadget()).unwrap();
        fs::write(room.gadget().join("program.bpf.c"), PROGRAM).unwrap();
        fs::write(room.gadget().join("own.h"), "#define FIELD first\n").unwrap();
        let real = inspektor_gadget::build::clang::find().expect("clang");
        let compiler = room.compiler();
        let script = format!(
            "#!/bin/sh\necho x >> {}\nexec {} \"$@\"\n",
            room.calls_file().display(),
            real.display()
        );
        fs::write(&compiler, script).unwrap();
        fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755)).unwrap();
        Some(room)
    }

    fn gadget(&self) -> PathBuf {
        self.dir.path().join("mygadget")
    }

    fn compiler(&self) -> PathBuf {
        self.dir.path().join("counting-clang")
    }

    fn calls_file(&self) -> PathBuf {
        self.dir.path().join("calls")
    }

    /// Where the program keeps its cache.
    fn cache(&self) -> PathBuf {
        self.ig.store().with_file_name("build-cache")
    }

    fn run_path(&self, path: &Path) -> Ran {
        let args = ["-v".as_ref(), "run".as_ref(), path.as_os_str(), "--help".as_ref()];
        let mut command = self.ig.command(args);
        command.env("CLANG", self.compiler()).output().unwrap().into()
    }

    /// Builds the gadget; how often was the compiler called, and what does the gadget look like?
    #[track_caller]
    fn build(&self) -> (usize, Ran) {
        let _ = fs::remove_file(self.calls_file());
        let ran = self.run_path(&self.gadget()).ok();
        let calls = fs::read_to_string(self.calls_file()).unwrap_or_default();
        (calls.lines().count(), ran)
    }

    #[track_caller]
    fn builds(&self, calls: usize, field: &str) {
        let (called, ran) = self.build();
        assert_eq!(called, calls, "calls of the compiler; {}", ran.stderr);
        assert!(ran.stdout.contains(field), "{}", ran.stdout);
    }
}

/// One call for each architecture.
const ALL: usize = 2;

#[test]
fn the_second_run_does_not_compile() {
    let Some(room) = Room::new() else { return };
    room.builds(ALL, "first");
    room.builds(0, "first");
    // Metadata is read every time.
    fs::write(room.gadget().join("gadget.yaml"), "name: x\ndatasources:\n  open:\n    fields:\n      first:\n        annotations:\n          description: Seen from the yaml\n").unwrap();
    room.builds(0, "Seen from the yaml");
    // A single file is another source.
    let single = room.run_path(&room.gadget().join("program.bpf.c")).ok();
    assert!(single.stdout.contains("first"));
    room.builds(0, "first");
}

#[test]
fn what_the_compiler_read_decides() {
    let Some(room) = Room::new() else { return };
    room.builds(ALL, "first");
    fs::write(room.gadget().join("own.h"), "#define FIELD second\n").unwrap();
    room.builds(ALL, "second");
    room.builds(0, "second");
    // Found before the embedded header of that name.
    let shadow = room.gadget().join("include/gadget");
    fs::create_dir_all(&shadow).unwrap();
    fs::write(shadow.join("unrelated.h"), "").unwrap();
    room.builds(0, "second");
    fs::remove_file(room.gadget().join("own.h")).unwrap();
    let ran = room.run_path(&room.gadget());
    ran.fails_with(&["own.h", "file not found"]);
}

#[test]
fn warnings_are_said_every_time() {
    let Some(room) = Room::new() else { return };
    fs::write(
        room.gadget().join("own.h"),
        "#define FIELD first\n#warning look at this\n",
    )
    .unwrap();
    for calls in [ALL, 0] {
        let (called, ran) = room.build();
        assert_eq!(called, calls);
        assert!(ran.stderr.contains("look at this"), "{}", ran.stderr);
    }
}

#[test]
fn damaged_entries_are_replaced() {
    let Some(room) = Room::new() else { return };
    room.builds(ALL, "first");
    let mut entries = 0;
    for entry in fs::read_dir(room.cache()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        entries += 1;
    }
    assert_eq!(entries, ALL);
    room.builds(ALL, "first");
    room.builds(0, "first");
}

#[test]
fn a_cache_that_others_can_write_to_is_left_alone() {
    let Some(room) = Room::new() else { return };
    room.builds(ALL, "first");
    fs::set_permissions(room.cache(), fs::Permissions::from_mode(0o777)).unwrap();
    let (called, ran) = room.build();
    assert_eq!(called, ALL);
    assert!(ran.stderr.contains("others can write to it"), "{}", ran.stderr);
}

#[test]
fn a_cache_that_cannot_be_written_does_not_stop_a_build() {
    let Some(room) = Room::new() else { return };
    let gadget = room.gadget();
    let args = ["run".as_ref(), gadget.as_os_str(), "--help".as_ref()];
    let mut command = room
        .ig
        .command_after("mount -o remount,bind,ro /var/lib/ig", env!("CARGO_BIN_EXE_ig"), args);
    let ran = Ran::from(command.env("CLANG", room.compiler()).output().unwrap()).ok();
    assert!(ran.stdout.contains("first"), "{}", ran.stdout);
    assert!(!room.cache().exists());
}
