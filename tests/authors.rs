//! What is there for those who write gadgets: `ig run --watch`, `ig gadget test`, `--profile-guest`, and builds without a network.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Ig, Live, Ran, eventually, gadget_source};
use nix::unistd::{Pid, getpgid};

/// A gadget that reports its own version with each call of getpgid(2), and the process that is asked for.
const CALLS: &str = r#"// SPDX-License-Identifier: GPL-2.0-only
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>

struct event {
	__u32 version;
	__u32 target;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(calls, events, event);

SEC("tracepoint/syscalls/sys_enter_getpgid")
int enter_getpgid(struct syscall_trace_enter *ctx)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (!event)
		return 0;
	event->version = VERSION;
	event->target = ctx->args[0];
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"#;

fn write_version(dir: &Path, version: &str) {
    fs::write(dir.join("program.bpf.c"), CALLS.replace("VERSION", version)).unwrap();
}

/// Calls getpgid for processes that there are not, until the gadget of this version has seen one.
#[track_caller]
fn wait_version(live: &Live, version: u32, target: u32) {
    let line = format!("{{\"target\":{target},\"version\":{version}}}");
    eventually(&line, || {
        assert!(getpgid(Some(Pid::from_raw(target.cast_signed()))).is_err());
        live.has_line(&line).then_some(())
    });
}

#[test]
fn a_watched_source_is_built_and_restarted() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    write_version(dir.path(), "1");
    let mut command = ig.command(["run", "--watch", "-o", "json", "-v"]);
    let live = Live::spawn(command.arg(dir.path()));
    wait_version(&live, 1, 1_000_000_001);
    write_version(dir.path(), "2");
    wait_version(&live, 2, 1_000_000_002);
    // What does not build changes nothing.
    write_version(dir.path(), "2 oops_on_purpose");
    live.wait_log("oops_on_purpose");
    live.wait_log("does not build");
    wait_version(&live, 2, 1_000_000_003);
    // And the next change that does, counts again.
    write_version(dir.path(), "4");
    wait_version(&live, 4, 1_000_000_004);
    let ran = live.stop().ok();
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn only_sources_can_be_watched() {
    let Some(ig) = Ig::new() else { return };
    ig.line("run --watch no_such_gadget").fails_with(&[
        "flag --watch: no_such_gadget is no file or directory",
        "hint: only sources",
    ]);
    ig.line("run --watch").fails_with(&["there is no source to watch"]);
    ig.line("run --watch / --record x")
        .fails_with(&["--watch and --record exclude each other"]);
    ig.line("top top_process --watch")
        .fails_with(&["unknown flag: --watch"]);
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gadgets").join(name)
}

fn gadget_test(ig: &Ig, dir: &Path, options: &[&str]) -> Ran {
    let mut command = ig.command(["gadget", "test"]);
    Ran::from(command.arg(dir).args(options).output().unwrap())
}

/// The verdicts and names of the cases, without their times.
fn verdicts(ran: &Ran) -> Vec<&str> {
    let lines = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("ok ") || line.starts_with("FAILED "));
    lines.filter_map(|line| Some(line.rsplit_once(" (")?.0)).collect()
}

#[test]
fn bundled_gadgets_do_what_they_declare() {
    let Some(ig) = Ig::new() else { return };
    for (name, cases) in [
        (
            "trace_open",
            [
                "ok      a file that is read",
                "ok      a file that is created",
                "ok      only what fails",
            ]
            .as_slice(),
        ),
        (
            "trace_exec",
            &[
                "ok      arguments are joined",
                "ok      failed attempts on request",
                "ok      and not otherwise",
            ],
        ),
        (
            "trace_mount",
            &["ok      a file system comes and goes", "ok      a mount that fails"],
        ),
    ] {
        let declared = fs::read_to_string(bundled(name).join("test.yaml")).unwrap();
        let dir = with_cases(&bundled(name), &declared);
        let ran = gadget_test(&ig, dir.path(), &[]);
        assert_eq!(verdicts(&ran), cases, "{name}: {}{}", ran.stdout, ran.stderr);
        let ran = ran.ok();
        assert!(
            ran.stdout.ends_with(&format!("{} passed\n", cases.len())),
            "{}",
            ran.stdout
        );
    }
}

/// A copy of a gadget's source with these cases, and with the module that is built already.
fn with_cases(source: &Path, cases: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    if dir.path().join("program.wasm").exists() {
        fs::write(dir.path().join("build.yaml"), "wasm: program.wasm\n").unwrap();
    }
    fs::write(dir.path().join("test.yaml"), cases).unwrap();
    dir
}

#[test]
fn a_case_that_fails_says_what_came_nearest() {
    let Some(ig) = Ig::new() else { return };
    let dir = with_cases(
        &bundled("trace_open"),
        r#"cases:
  - name: what does not happen
    workload: while true; do cat /etc/passwd; sleep 0.2; done
    timeout: 5s
    expect:
      - source: open
        fields: {fname: /etc/passwd, error: EXDEV, fd: {min: 0}}
  - name: what must not happen
    workload: cat /etc/passwd
    expect:
      - fields: {fname: /etc/passwd}
        count: 0
  - name: what cannot be run
    workload: no-such-program-anywhere
    timeout: 2
    expect: [{fields: {fname: /what/nobody/opens}}]
  - name: no setup
    setup: echo "not today"; exit 4
    expect: [{}]
  - name: no such flag
    params: {no-such-flag: 1}
    expect: [{}]
  - name: no such source
    expect: [{source: close}]
  - name: what happens
    setup: touch file
    workload: cat file
    expect: [{fields: {fname: file}, varies: [timestamp_raw]}]
"#,
    );
    let ran = gadget_test(&ig, dir.path(), &[]).fails_with(&["Error: 6 of 7 cases failed"]);
    let has = |text: &str| assert!(ran.stdout.contains(text), "no {text:?} in {}", ran.stdout);
    has("FAILED  what does not happen");
    has(
        "        expected an event of data source \"open\" with\n            fname: \"/etc/passwd\"\n            error: \"EXDEV\"\n            fd: 0 or more\n",
    );
    has("of which 0 fit; the nearest of the others:\n            error: \"\", expected \"EXDEV\"\n            {");
    has("        expected exactly 0 events with\n            fname: \"/etc/passwd\"\n");
    has("; one that fits:\n            {");
    has("the workload cannot be run");
    has("it cannot be run: the setup failed: it ended with status 4: not today");
    has("it cannot be run: unknown flag: --no-such-flag");
    has("it cannot be run: the gadget has no data source \"close\", it has: open");
    has("ok      what happens");
}

#[test]
fn what_is_missing_for_tests_is_said() {
    let Some(ig) = Ig::new() else { return };
    let without = with_cases(&bundled("trace_open"), "");
    let fails = |dir: &Path, options: &[&str], parts: &[&str]| gadget_test(&ig, dir, options).fails_with(parts);
    fails(without.path(), &[], &["test.yaml: the file is empty"]);
    fails(
        &gadget_source("lab_open/1"),
        &[],
        &["test.yaml does not exist", "hint: docs/testing-gadgets.md"],
    );
    let open = bundled("trace_open");
    fails(
        &open,
        &["--kernel", "/no/vmlinuz"],
        &["flag --kernel: there is no kernel /no/vmlinuz", "hint: "],
    );
    fails(
        &open,
        &["--kernel", "0.99"],
        &["flag --kernel: there is no kernel 0.99: no ", "/boot/vmlinuz-0.99*"],
    );
    fails(&open, &["--kernel", "6.1", "--recording", "x"], &["exclude each other"]);
    fails(&open, &["--image", "/etc/passwd"], &["image archive /etc/passwd: "]);
    let case = "cases:\n- name: a\n  workload: cat x\n  repeat: 3\n";
    fails(
        with_cases(&open, case).path(),
        &[],
        &["test.yaml: yaml: line 4: unknown key \"repeat\": expected one of name, setup, workload, "],
    );
    let words = [
        Path::new("gadget"),
        "test".as_ref(),
        "--kernel=/etc/passwd".as_ref(),
        &open,
    ];
    let mut command = ig.command_after("PATH=/no/such/directory", env!("CARGO_BIN_EXE_ig"), words);
    Ran::from(command.output().unwrap()).fails_with(&[
        "\"busybox\": executable file not found",
        "hint: install a static busybox",
    ]);
}

#[test]
fn recordings_are_judged_through_what_the_gadget_is_now() {
    let Some(ig) = Ig::new() else { return };
    let place = "/no-such-place-of-this-test";
    // The gadget as it was: without code of its own, hence without the call as a text.
    let before = with_cases(&bundled("trace_mount"), "");
    fs::remove_file(before.path().join("build.yaml")).unwrap();
    let metadata = before.path().join("gadget.yaml");
    let text = fs::read_to_string(&metadata).unwrap();
    fs::write(&metadata, text.split("      call:\n").next().unwrap()).unwrap();
    let recording = before.path().join("mounts.igrec");
    let mut command = ig.command(["run", "--host", "-o", "json", "-v", "--record"]);
    let live = Live::spawn(command.arg(&recording).arg(before.path()));
    live.wait_running();
    let status = std::process::Command::new("busybox")
        .args(["mount", "-t", "tmpfs", "recorded", place])
        .output();
    assert!(!status.expect("busybox is there").status.success());
    let event = live.wait_event("the mount", |event| event["dest"] == place);
    assert_eq!(event.get("call"), None, "nobody makes it");
    live.stop().ok();

    let cases = r#"cases:
  - name: the call
    expect:
      - source: mount
        fields: {src: recorded, error: ENOENT, call: {regex: '^mount\("recorded", "/no-such-place-of-this-test", "tmpfs", .* = 2$'}}
        varies: [timestamp_raw]
        count: 1
"#;
    let now = with_cases(&bundled("trace_mount"), cases);
    let file = recording.to_str().unwrap();
    let ran = gadget_test(&ig, now.path(), &["--recording", file]).ok();
    assert_eq!(verdicts(&ran), ["ok      the call"]);
    // The same as a case's own recording, from an image in place of the source.
    fs::copy(&recording, now.path().join("own.igrec")).unwrap();
    let own = cases.replace("    expect:", "    recording: own.igrec\n    expect:");
    fs::write(now.path().join("test.yaml"), own).unwrap();
    ig.build("mounts", now.path());
    let archive = now.path().join("image.tar");
    let mut export = ig.command(["image", "export", "mounts"]);
    Ran::from(export.arg(&archive).output().unwrap()).ok();
    fs::remove_file(now.path().join("program.bpf.c")).unwrap();
    let ran = gadget_test(&ig, now.path(), &["--image", archive.to_str().unwrap()]).ok();
    assert_eq!(verdicts(&ran), ["ok      the call"]);
    // As it was, the gadget has no such text.
    fs::write(before.path().join("test.yaml"), cases).unwrap();
    let ran = gadget_test(&ig, before.path(), &["--recording", file]).fails_with(&["1 of 1 cases failed"]);
    assert!(ran.stdout.contains("call: there is no such field"), "{}", ran.stdout);
}

#[test]
fn a_profile_says_where_the_time_of_code_went() {
    let Some(ig) = Ig::new() else { return };
    let ran = ig
        .line("run trace_mount --pull never --host --profile-guest --timeout 1")
        .ok();
    let table: Vec<Vec<&str>> = ran
        .stderr
        .lines()
        .skip_while(|line| !line.starts_with("guest profile: "))
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        table[0],
        ["FUNCTION", "OF", "CALLS", "OWN", "TOTAL", "OWN/CALL"],
        "{}",
        ran.stderr
    );
    let calls = |function: &str, of: &str| {
        let row = table.iter().find(|row| row.len() == 6 && row[..2] == [function, of]);
        let row = row.unwrap_or_else(|| panic!("no {function} in {}", ran.stderr));
        row[2].parse::<u64>().unwrap()
    };
    assert_eq!(calls("gadgetInit", "guest"), 1);
    assert_eq!(calls("dataSourceSubscribe", "host"), 1);
    assert!(calls("dataSourceGetField", "host") > 3);
    let ran = ig.line("run trace_mount --pull never --host --timeout 1").ok();
    assert!(!ran.stderr.contains("guest profile"), "{}", ran.stderr);
    let ran = ig
        .line("run trace_open --pull never --host --profile-guest --timeout 1")
        .ok();
    assert!(
        ran.stderr.contains("the gadget has no code of its own"),
        "{}",
        ran.stderr
    );
}

#[test]
fn go_is_built_without_a_network_once_its_modules_are_there() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = gadget_source("lab_open/4");
    for name in ["build.yaml", "gadget.yaml", "program.bpf.c", "go.mod", "go/main.go"] {
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        fs::copy(source.join(name), dir.path().join(name)).unwrap();
    }
    let before = fs::read(dir.path().join("go.mod")).unwrap();
    // Fills the cache, if it is not filled yet.
    ig.build("online", dir.path());
    let offline = |modules: Option<&Path>| {
        // Not even a loopback interface that is up.
        let words = ["--net", env!("CARGO_BIN_EXE_ig"), "image", "build", "-t", "offline"];
        let mut command = ig.command_after("", "unshare", words);
        command.arg(dir.path()).env("GOPROXY", "off").env("GOFLAGS", "-mod=mod");
        if let Some(modules) = modules {
            command.env("GOMODCACHE", modules);
        }
        Ran::from(command.output().unwrap())
    };
    offline(None).ok();
    assert!(!dir.path().join("go.sum").exists(), "nothing of the user's is written");
    assert_eq!(fs::read(dir.path().join("go.mod")).unwrap(), before);
    let empty = tempfile::tempdir().unwrap();
    offline(Some(empty.path())).fails_with(&["go build wasm: running [", "module lookup disabled by GOPROXY=off"]);
}
