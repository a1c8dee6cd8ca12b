//! A gadget's own code in the running program: its log, its errors, what it emits, its cache, and the catalogue's guests.
//!
//! What each host function does is tested beside them; here are small guests in the text form of wasm.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::docker::Container;
use common::{Ig, Ran};

const METADATA: &str = "name: guest\ndatasources:\n  reports:\n    fields:\n      text:\n        annotations:\n          columns.width: 20\n";

/// The functions that the guests here import, and what all have.
const COMMON: &str = r#"
    (import "ig" "gadgetLog" (func $log (param i32 i64)))
    (import "ig" "newDataSource" (func $newDataSource (param i64 i32) (result i32)))
    (import "ig" "dataSourceAddField" (func $addField (param i32 i64 i32) (result i32)))
    (import "ig" "dataSourceNewPacketSingle" (func $newPacket (param i32) (result i32)))
    (import "ig" "dataSourceEmitAndRelease" (func $emit (param i32 i32) (result i32)))
    (import "ig" "fieldSet" (func $set (param i32 i32 i32 i64) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "gadgetAPIVersion") (result i64) i64.const 1)
    (data (i32.const 0) "init") (data (i32.const 8) "start") (data (i32.const 16) "stop")
    (data (i32.const 24) "reports") (data (i32.const 32) "text")
"#;

/// A gadget of a module with these functions, and nothing else.
fn gadget(body: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let wasm = wat::parse_str(format!("(module {COMMON} {body})")).unwrap();
    fs::write(dir.path().join("program.wasm"), wasm).unwrap();
    fs::write(dir.path().join("build.yaml"), "wasm: program.wasm\n").unwrap();
    fs::write(dir.path().join("gadget.yaml"), METADATA).unwrap();
    dir
}

fn run(ig: &Ig, gadget: &Path, options: &str) -> Ran {
    let options = options.split_whitespace().map(Into::into);
    let words = ["run".into(), gadget.as_os_str().to_owned()].into_iter().chain(options);
    ig.run(words)
}

/// A function of the life cycle with this body.
fn function(name: &str, body: &str) -> String {
    format!("(func (export \"{name}\") (result i32) {body})")
}

#[test]
fn each_function_of_the_life_cycle_is_called_once() {
    let Some(ig) = Ig::new() else { return };
    let logs = |name: &str, text: &str| {
        function(
            name,
            &format!("(call $log (i32.const 2) (i64.const {text})) (i32.const 0)"),
        )
    };
    let body = [
        logs("gadgetInit", "0x400000000"),
        logs("gadgetStart", "0x500000008"),
        logs("gadgetStop", "0x400000010"),
    ];
    let dir = gadget(&body.concat());
    let ran = run(&ig, dir.path(), "--timeout 1").ok();
    let messages: Vec<&str> = ran
        .stderr
        .lines()
        .filter_map(|line| line.split("level=info msg=").nth(1))
        .filter(|message| ["init", "start", "stop"].contains(message))
        .collect();
    assert_eq!(messages, ["init", "start", "stop"], "{}", ran.stderr);
}

#[test]
fn what_is_emitted_at_the_stop_is_shown() {
    let Some(ig) = Ig::new() else { return };
    let body = format!(
        "(global $ds (mut i32) (i32.const 0)) (global $text (mut i32) (i32.const 0)) {} {}",
        function(
            "gadgetInit",
            "(global.set $ds (call $newDataSource (i64.const 0x700000018) (i32.const 1)))
            (global.set $text (call $addField (global.get $ds) (i64.const 0x400000020) (i32.const 12))) (i32.const 0)"
        ),
        function(
            "gadgetStop",
            "(local $p i32) (local.set $p (call $newPacket (global.get $ds)))
            (drop (call $set (global.get $text) (local.get $p) (i32.const 12) (i64.const 0x500000008)))
            (call $emit (global.get $ds) (local.get $p))"
        )
    );
    let dir = gadget(&body);
    let ran = run(&ig, dir.path(), "--timeout 1 -o json").ok();
    assert_eq!(ran.stdout, "{\"text\":\"start\"}\n");
    let ran = run(&ig, dir.path(), "--timeout 1").ok();
    let lines: Vec<&str> = ran.stdout.lines().map(str::trim_end).collect();
    assert_eq!(lines, ["TEXT", "start"]);
}

#[test]
fn what_a_guest_does_wrong_ends_the_gadget_by_name() {
    let Some(ig) = Ig::new() else { return };
    // As a Go panic: the reason goes to standard error, then the program exits.
    let panics = "(data (i32.const 100) \"panic: no such thing\\n\") (data (i32.const 200) \"\\64\\00\\00\\00\\15\\00\\00\\00\")";
    let panic = "(drop (call $write (i32.const 2) (i32.const 200) (i32.const 1) (i32.const 300))) (call $exit (i32.const 2)) (i32.const 0)";
    let oci = "initializing and preparing operators: instantiating operator \"oci\": instantiating operator \"wasm\": ";
    for (name, body, told) in [
        (
            "gadgetInit",
            "(i32.const 1)",
            format!("{oci}initializing wasm: initializing wasm guest: gadgetInit failed"),
        ),
        (
            "gadgetPreStart",
            "unreachable",
            "pre-starting operators: pre-starting operator \"oci\": pre-starting operator \"wasm\": calling gadgetPreStart: unreachable"
                .to_owned(),
        ),
        (
            "gadgetStart",
            "(i32.const 7)",
            "starting operators: starting operator \"oci\": starting operator \"wasm\": gadgetStart failed".to_owned(),
        ),
        (
            "gadgetStart",
            panic,
            "calling gadgetStart: module closed with exit_code(2): the guest said: panic: no such thing".to_owned(),
        ),
        (
            "gadgetStop",
            "(i32.const 1)",
            "stopping operators: stopping operator \"wasm\": gadgetStop failed".to_owned(),
        ),
    ] {
        let dir = gadget(&format!("{panics} {}", function(name, body)));
        run(&ig, dir.path(), "--timeout 1").fails_with(&[&told]);
    }
    let broken = gadget("");
    fs::write(broken.path().join("program.wasm"), b"\0asm\x01\0\0\0\xff").unwrap();
    run(&ig, broken.path(), "--timeout 1").fails_with(&["initializing wasm: instantiating wasm: "]);
}

#[test]
fn compiled_modules_are_kept_where_only_we_can_write() {
    let Some(ig) = Ig::new() else { return };
    let dir = gadget(&function("gadgetInit", "(i32.const 0)"));
    let cache = ig.store().with_file_name("wasm-cache");
    let entries = || -> Vec<_> {
        let listing = fs::read_dir(&cache).into_iter().flatten().flatten();
        listing.map(|entry| entry.path()).collect()
    };
    run(&ig, dir.path(), "--timeout 1").ok();
    let [entry] = &entries()[..] else {
        panic!("{:?}", entries())
    };
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    let whole = fs::read(entry).unwrap();
    fs::write(entry, b"damaged").unwrap();
    run(&ig, dir.path(), "--timeout 1").ok();
    assert_eq!(fs::read(entry).unwrap().len(), whole.len(), "made anew");
    // What others can write to is neither read nor written.
    fs::remove_file(entry).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    run(&ig, dir.path(), "--timeout 1").ok();
    assert_eq!(entries(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn mounts_are_shown_as_calls() {
    let Some(ig) = Ig::with_docker() else { return };
    // Without the capability docker's filter refuses the call before anybody sees it.
    let container = Container::start_with("mounts", &["--cap-add", "SYS_ADMIN"], "sleep 100000");
    let live = ig.start(&format!("run trace_mount --pull never -c {} -o json", container.name));
    container.exec("mount /mnt /mnt; true");
    let event = live.wait_event("the call", |event| event["op"] == "MOUNT" && event["dest"] == "/mnt");
    live.stop().ok();
    assert_eq!((&event["error"], &event["src"]), (&"ENOENT".into(), &"/mnt".into()));
    assert_eq!(event["runtime"]["containerName"], *container.name);
    let call = event["call"].as_str().unwrap();
    let flags = event["flags"].as_str().unwrap();
    let fs = event["fs"].as_str().unwrap();
    assert_eq!(call, format!("mount(\"/mnt\", \"/mnt\", \"{fs}\", {flags}, \"\") = 2"));
    assert!(flags.starts_with("MS_"), "{flags}");
}

/// Writes 256 bytes to a flight recorder whenever somebody writes something.
const RECORDER: &str = r#"// SPDX-License-Identifier: GPL-2.0-only
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

struct record {
	__u32 a, b;
	__u8 c, rest[247];
};

SEC("tracepoint/syscalls/sys_enter_write")
int enter_write(void *ctx)
{
	struct record record = { .a = 42, .b = 42, .c = 43 };

	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &record,
			      sizeof(record));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"#;

#[test]
fn a_flight_recorder_is_read_at_the_stop() {
    let Some(ig) = Ig::new() else { return };
    // Each check that fails returns its number.
    let check = |number: u32, condition: &str| {
        format!("(if (i32.eqz {condition}) (then (call $tell (i32.const {number})) (return (i32.const 1))))")
    };
    let read = |bytes: u64| format!("(call $read (global.get $reader) (i64.const {}))", bytes << 32 | 4096);
    let stop = [
        "(local $n i32)".to_owned(),
        check(2, &format!("(i32.eq {} (i32.const 1))", read(4096))),
        check(3, "(i32.eqz (call $pause (global.get $reader)))"),
        check(4, &format!("(i32.eq {} (i32.const 1))", read(259))),
        check(5, &format!("(i32.eqz {})", read(260))),
        check(
            6,
            "(i32.and (i32.eq (i32.load (i32.const 4096)) (i32.const 42)) (i32.eq (i32.load (i32.const 4100)) (i32.const 42)))",
        ),
        check(7, "(i32.eq (i32.load8_u (i32.const 4104)) (i32.const 43))"),
        format!(
            "(loop $more (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $more (i32.and (i32.lt_u (local.get $n) (i32.const 100000)) (i32.eqz {}))))",
            read(4096)
        ),
        check(8, "(i32.gt_u (local.get $n) (i32.const 1))"),
        check(9, &format!("(i32.eq {} (i32.const 2))", read(4096))),
        check(10, "(i32.eqz (call $resume (global.get $reader)))"),
        check(11, "(i32.eqz (call $close (global.get $reader)))"),
        check(12, "(i32.eq (call $close (global.get $reader)) (i32.const 1))"),
        "(call $log (i32.const 2) (i64.const 0x400000010)) (i32.const 0)".to_owned(),
    ];
    let body = format!(
        "(global $reader (mut i32) (i32.const 0))
        (func $tell (param i32) (i32.store8 (i32.const 600) (i32.add (local.get 0) (i32.const 64))) (call $log (i32.const 0) (i64.const 0x100000258)))
        (data (i32.const 500) \"events\") {} {}",
        function(
            "gadgetStart",
            "(global.set $reader (call $newReader (call $getMap (i64.const 0x6000001f4)) (i32.const 4096) (i32.const 1)))
            (i32.eqz (global.get $reader))"
        ),
        function("gadgetStop", &stop.concat())
    );
    let imports = r#"
        (import "ig" "getMap" (func $getMap (param i64) (result i32)))
        (import "ig" "newPerfReader" (func $newReader (param i32 i32 i32) (result i32)))
        (import "ig" "perfReaderPause" (func $pause (param i32) (result i32)))
        (import "ig" "perfReaderResume" (func $resume (param i32) (result i32)))
        (import "ig" "perfReaderRead" (func $read (param i32 i64) (result i32)))
        (import "ig" "perfReaderClose" (func $close (param i32) (result i32)))"#;
    let dir = tempfile::tempdir().unwrap();
    let wasm = wat::parse_str(format!("(module {imports} {COMMON} {body})")).unwrap_or_else(|error| panic!("{error}"));
    fs::write(dir.path().join("program.wasm"), wasm).unwrap();
    fs::write(dir.path().join("build.yaml"), "wasm: program.wasm\n").unwrap();
    fs::write(dir.path().join("program.bpf.c"), RECORDER).unwrap();
    let ran = run(&ig, dir.path(), "--timeout 2").ok();
    assert!(ran.stderr.contains("level=info msg=stop"), "{}", ran.stderr);
}

#[test]
fn a_new_gadget_in_rust_works_as_it_is() {
    let Some(ig) = Ig::with_docker() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut command = ig.command(["gadget", "new", "mine", "--lang", "rust"]);
    let ran = Ran::from(command.current_dir(dir.path()).output().unwrap()).ok();
    assert_eq!(ran.stdout, "Wrote mine; run it with `sudo ig run ./mine`\n");
    ig.build("mine", &dir.path().join("mine"));
    let container = Container::start("mine", "while true; do cat /etc/passwd >/tmp/copy; usleep 100000; done");
    let live = ig.start(&format!("run mine --verify-image=false -c {} -o json", container.name));
    live.wait_event("a read", |event| {
        event["filename"] == "/etc/passwd" && event["access"] == "read"
    });
    live.wait_event("a write", |event| {
        event["filename"] == "/tmp/copy" && event["access"] == "write"
    });
    live.stop().ok();
}
