//! Whatever can be wrong with what `ig` is given: each has a message that names the cause and the way out, and status 1.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::docker::Container;
use common::{Ig, Live, Ran, gadget, gadget_source, public_copy};
use inspektor_gadget::image::{Arch, PackInput, Reference, Store, pack};

/// What the small gadgets here have in common.
const HEAD: &str = r#"
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>
struct event { gadget_timestamp timestamp_raw; };
GADGET_TRACER_MAP(events, 1024 * 256);
char LICENSE[] SEC("license") = "GPL";
"#;

#[test]
fn sources_that_cannot_run() {
    let Some(ig) = Ig::new() else { return };
    let tracer = "GADGET_TRACER(open, events, event);\n";
    for (source, parts) in [
        (
            "GADGET_TRACER(open, nosuch, event);\n".to_owned(),
            &[
                "map \"nosuch\" not found",
                "hint: define the map",
                "GADGET_TRACER_MAP(nosuch",
            ][..],
        ),
        (
            "GADGET_TRACER(open, events, nosuch);\n".to_owned(),
            &["finding struct \"nosuch\"", "not found", "hint: define `struct nosuch`"],
        ),
        (
            format!("{tracer}SEC(\"nosuchfamily/x\") int prog(void *ctx) {{ return 0; }}\n"),
            &[
                "unsupported section name \"nosuchfamily/x\"",
                "program \"prog\"",
                "hint: ",
                "tracepoint/GROUP/NAME",
            ],
        ),
        (
            format!("{tracer}SEC(\"tracepoint/syscalls/nosuch\") int prog(void *ctx) {{ return 0; }}\n"),
            &[
                "attaching eBPF program \"prog\"",
                "tracepoint syscalls/nosuch does not exist",
                "hint: the kernel may be",
            ],
        ),
        (
            format!(
                "{tracer}SEC(\"tracepoint/syscalls/sys_enter_openat\")\n\
                 int refused(struct syscall_trace_enter *ctx)\n{{\n\tint *address = (int *)ctx->args[1];\n\treturn *address;\n}}\n"
            ),
            &[
                "program \"refused\" was refused by the kernel's verifier at `return *address; @ program.bpf.c:",
                "R1 invalid mem access 'scalar'",
                "hint: run with `-v`",
            ],
        ),
        (
            "int x = ;\n".to_owned(),
            &[
                "clang compile for amd64",
                "program.bpf.c:10:9: error: expected expression",
            ],
        ),
    ] {
        let dir = gadget(&format!("{HEAD}{source}"));
        let ran = ig.run([
            "run".as_ref(),
            dir.path().as_os_str(),
            "--timeout".as_ref(),
            "1".as_ref(),
        ]);
        assert_eq!(ran.stdout.trim(), "", "{source}");
        ran.fails_with(parts);
    }
    ig.line("run ./nosuch")
        .fails_with(&["./nosuch", "no such file or directory"]);
    let empty = tempfile::tempdir().unwrap();
    ig.run(["run".as_ref(), empty.path().as_os_str()])
        .fails_with(&["at least one of ebpf source (program.bpf.c)"]);
}

#[test]
fn the_whole_verifier_log_is_there_when_asked_for() {
    let Some(ig) = Ig::new() else { return };
    let dir = gadget(&format!(
        "{HEAD}GADGET_TRACER(open, events, event);\nSEC(\"tracepoint/syscalls/sys_enter_openat\")\n\
         int refused(struct syscall_trace_enter *ctx) {{ return *(int *)ctx->args[1]; }}\n"
    ));
    let ran = ig.run(["run".as_ref(), dir.path().as_os_str(), "-v".as_ref()]);
    ran.fails_with(&["level=debug", "processed ", "R1 invalid mem access 'scalar'"]);
}

/// Puts an image with this object into the store, as if it had been pulled.
fn store(ig: &Ig, name: &str, object: &[u8]) {
    let image = pack(PackInput {
        objects: Arch::ALL.map(|arch| (arch, object.to_vec())).into(),
        metadata: Some(b"name: broken\n".to_vec()),
        builder_version: "v0.1.0".into(),
        created: "2023-11-14T22:13:20Z".into(),
        ..PackInput::default()
    });
    let reference = Reference::parse(name).unwrap();
    Store::open(ig.store()).add(&image.unwrap(), Some(&reference)).unwrap();
}

/// Compiles without the headers of gadgets and, if wanted, without debug information.
fn compile(source: &str, debug: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("x.bpf.c"), dir.path().join("x.o"));
    fs::write(&input, source).unwrap();
    let names = std::iter::once("clang".to_owned()).chain((11..=30).rev().map(|version| format!("clang-{version}")));
    let compiled = std::env::var("CLANG").into_iter().chain(names).find_map(|clang| {
        let mut command = Command::new(clang);
        command
            .args(["-O2", "-target", "bpf", debug, "-c", "-o"])
            .arg(&output)
            .arg(&input);
        command.status().ok().filter(|status| status.success())
    });
    assert!(compiled.is_some(), "clang is needed for this test");
    fs::read(&output).unwrap()
}

#[test]
fn objects_that_are_none() {
    let Some(ig) = Ig::new() else { return };
    let program = "__attribute__((section(\"tracepoint/syscalls/sys_enter_openat\"), used)) int f(void *c) { return 0; }\n\
                   char l[] __attribute__((section(\"license\"), used)) = \"GPL\";\n";
    let mut other_machine = compile(program, "-g");
    other_machine[18] = 62; // x86-64
    let cut = compile(program, "-g")[..200].to_vec();
    for (name, object, parts) in [
        (
            "noelf",
            b"this is no ELF file, just words".to_vec(),
            &["ELF", "hint: rebuild the image"][..],
        ),
        ("empty", Vec::new(), &["hint: rebuild the image"]),
        ("cut", cut, &["hint: rebuild the image"]),
        ("machine", other_machine, &["hint: "]),
        (
            "nobtf",
            compile(program, "-g0"),
            &["BTF", "hint: compile with clang's `-g`"],
        ),
    ] {
        store(&ig, name, &object);
        ig.line(&format!("run {name} --verify-image=false --pull never --timeout 1"))
            .fails_with(parts);
    }
}

fn blobs(ig: &Ig) -> Vec<PathBuf> {
    let mut blobs: Vec<PathBuf> = fs::read_dir(ig.store().join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    blobs.sort_by_key(|path| fs::metadata(path).unwrap().len());
    blobs
}

#[test]
fn a_damaged_store_is_said() {
    let Some(ig) = Ig::new() else { return };
    ig.build("open", &gadget_source("lab_open/3"));
    let run = "run open --verify-image=false --pull never --timeout 1 -o none";
    ig.line(run).ok();
    let mut damaged = 0;
    for path in blobs(&ig) {
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0x40;
        fs::write(&path, &bad).unwrap();
        let ran = ig.line(run);
        // Blobs of the other architecture are not read.
        if ran.status == Some(1) {
            damaged += 1;
            ran.fails_with(&[path.file_name().unwrap().to_str().unwrap(), "hint: "]);
        } else {
            ran.ok();
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(damaged >= 3, "index, manifest and layer: {damaged}");
    ig.line(run).ok();

    let layer = blobs(&ig).pop().unwrap();
    for path in blobs(&ig).iter().rev().take(2) {
        fs::remove_file(path).unwrap();
    }
    ig.line(run).fails_with(&["sha256", "hint: "]);
    assert!(!layer.exists());
    // A build repairs it.
    ig.build("open", &gadget_source("lab_open/3"));
    ig.line(run).ok();

    fs::write(ig.store().join("index.json"), "{\"schemaVersion\":2,").unwrap();
    for line in [run, "image list"] {
        ig.line(line)
            .fails_with(&["index.json is damaged", "hint: ", "move the file away"]);
    }
}

/// A server on a free port that answers every connection with these bytes, or never.
fn server(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            match answer {
                None => open.push(stream),
                Some(answer) => {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request);
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        }
    });
    host
}

#[test]
fn registries_that_do_not_help() {
    let Some(ig) = Ig::new() else { return };
    let unauthorized =
        "HTTP/1.1 401 x\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let absent = "HTTP/1.1 404 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let broken = "HTTP/1.1 500 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let insecure = |host: &str| format!("--insecure-registries {host}");
    for (host, options, parts) in [
        (
            server(Some(unauthorized)),
            true,
            &["FetchReference", "401", "hint: "][..],
        ),
        (server(Some(absent)), true, &["/x:v1: not found", "hint: "]),
        (server(Some(broken)), true, &["500"]),
        (
            server(Some(
                "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )),
            false,
            &[
                "http: server gave HTTP response to HTTPS client",
                "hint: ",
                "--insecure-registries",
            ],
        ),
        ("127.0.0.1:1".to_owned(), false, &["connection refused", "hint: "]),
        (
            "nosuch.invalid".to_owned(),
            false,
            &["nosuch.invalid", "no such host", "hint: "],
        ),
    ] {
        let options = if options { insecure(&host) } else { String::new() };
        let ran = ig.line(&format!("run {host}/x:v1 --verify-image=false {options}"));
        ran.fails_with(&["pulling image", &host]).fails_with(parts);
    }
    assert_eq!(
        ig.line("image list").ok().stdout.lines().count(),
        1,
        "nothing is left of a failed pull"
    );
}

#[test]
fn a_registry_that_never_answers() {
    let Some(ig) = Ig::new() else { return };
    let host = server(None);
    let start = Instant::now();
    ig.line(&format!(
        "run {host}/x:v1 --verify-image=false --insecure-registries {host}"
    ))
    .fails_with(&["time-out", &host, "hint: "]);
    assert!(start.elapsed() < Duration::from_secs(50), "{:?}", start.elapsed());
}

#[test]
fn names_that_are_no_references() {
    let Some(ig) = Ig::new() else { return };
    for name in ["Bad Name", "x:", "x@sha256:12", "../x:y", "-"] {
        let ran = ig.run(["run", "--pull", "never", "--verify-image=false", "--", name]);
        assert_eq!(ran.status, Some(1), "{name}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("Error: ") && ran.stderr.contains(name),
            "{name}: {}",
            ran.stderr
        );
    }
    ig.run(["run", "Bad Name", "--pull", "never"])
        .fails_with(&["invalid reference format", "hint: an image is named like trace_open"]);
    ig.line("run nosuch --pull never").fails_with(&[
        "\"ghcr.io/inspektor-gadget/gadget/nosuch:latest\" on local registry: not found",
        "hint: ",
        "--pull missing",
    ]);
}

#[test]
fn words_that_the_command_line_has_not_got() {
    let Some(ig) = Ig::new() else { return };
    for (line, error) in [
        ("--host --timeout 1 --badflag", "unknown flag: --badflag"),
        (
            "--pid abc",
            r#"invalid argument "abc" for "--pid" flag: invalid value "abc" as "pid": expected numeric value: strconv.ParseUint: parsing "abc": invalid syntax"#,
        ),
        (
            "--host=maybe",
            r#"invalid argument "maybe" for "--host" flag: invalid value "maybe" as "host": expected 'true' or 'false', got: "maybe""#,
        ),
        (
            "--timeout abc",
            r#"invalid argument "abc" for "-t, --timeout" flag: strconv.ParseInt: parsing "abc": invalid syntax"#,
        ),
        (
            "--pull sometimes",
            r#"invalid argument "sometimes" for "--pull" flag: invalid value "sometimes" as "pull": valid values are: always, missing, never"#,
        ),
        ("trace_exec", "accepts 1 arg(s), received 2"),
    ] {
        let ran = ig.line(&format!("run trace_open {line}"));
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(1), ""), "{line}");
        assert_eq!(ran.stderr.lines().next(), Some(&*format!("Error: {error}")), "{line}");
    }
}

#[test]
fn root_is_needed_to_run_and_not_for_help() {
    let Some(_root) = Ig::new() else { return };
    let (_dir, ig) = public_copy();
    let as_nobody = |line: &str| -> Ran {
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
            .arg(&ig)
            .args(line.split_whitespace())
            .current_dir("/")
            .env("HOME", "/nonexistent")
            .output();
        output.expect("setpriv (package util-linux)").into()
    };
    for line in ["run trace_open", "run ./mygadget --host"] {
        as_nobody(line).fails_with(&[
            "ig must be run as root to be able to run eBPF programs",
            "hint: try again with sudo",
        ]);
    }
    for line in [
        "run --help",
        "--help",
        "image --help",
        "list-containers --help",
        "version",
    ] {
        let ran = as_nobody(line).ok();
        assert!(
            !ran.stdout.is_empty() && ran.stderr.is_empty(),
            "{line}: {}",
            ran.stderr
        );
    }
}

/// The mounts that the host has of the file systems that `ig` uses.
fn mounts() -> Vec<String> {
    let wanted = [" - bpf ", " - tracefs ", " - debugfs "];
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|line| wanted.iter().any(|part| line.contains(part)))
        .map(str::to_owned)
        .collect()
}

/// A machine on which neither bpffs nor tracefs is mounted.
const NOTHING_MOUNTED: &str = "
for dir in /sys/fs/bpf /sys/kernel/tracing /sys/kernel/debug/tracing /sys/kernel/debug; do
    while umount -l $dir 2>/dev/null; do :; done
done
[ ! -e /sys/kernel/tracing/events ] && grep -v -E ' - (bpf|tracefs) ' /proc/self/mountinfo >/dev/null";

#[test]
fn missing_file_systems_are_mounted_where_the_host_does_not_see_it() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start(
        "mounts",
        "while true; do cat /etc/passwd >/dev/null; usleep 100000; done",
    );
    let before = mounts();
    let words = [
        "run",
        "trace_open",
        "--pull",
        "never",
        "-c",
        &container.name,
        "-o",
        "json",
        "-v",
    ];
    let live = Live::spawn(&mut ig.command_after(NOTHING_MOUNTED, env!("CARGO_BIN_EXE_ig"), words));
    live.wait_running();
    // Its mounts are in a namespace of its own: neither in ours nor in the one it was started in.
    assert_eq!(mounts(), before);
    live.wait_event("an open in a container that ran before", |event| {
        event["fname"] == "/etc/passwd"
    });
    let ran = live.stop().ok();
    assert!(
        ran.stderr.contains("mounted in a mount namespace of our own"),
        "{}",
        ran.stderr
    );
    assert_eq!(mounts(), before);
}

#[test]
fn auto_mount_mounts_on_the_host() {
    let Some(ig) = Ig::new() else { return };
    let before = mounts();
    // The host of this test is the mount namespace in which the shell goes on after `ig` has ended.
    let script = r#""$0" run trace_open --pull never --host --timeout 1 -o none --auto-mount-filesystems && cat /proc/self/mountinfo"#;
    let mut command = ig.command_after(NOTHING_MOUNTED, "sh", ["-c", script, env!("CARGO_BIN_EXE_ig")]);
    let ran = Ran::from(command.output().unwrap()).ok();
    for kind in [" - tracefs ", " - bpf "] {
        assert!(ran.stdout.contains(kind), "no {kind:?} in {}", ran.stdout);
    }
    assert_eq!(mounts(), before, "nothing leaks out of the test");
}

#[test]
fn two_builds_of_one_name_at_once() {
    let Some(ig) = Ig::new() else { return };
    let sources = ["lab_open/1", "lab_open/3"].map(gadget_source);
    let builds: Vec<Live> = sources
        .iter()
        .map(|source| {
            let words = [
                "image".as_ref(),
                "build".as_ref(),
                "-t".as_ref(),
                "same".as_ref(),
                source.as_os_str(),
            ];
            Live::spawn(&mut ig.command(words))
        })
        .collect();
    let digests: Vec<String> = builds
        .into_iter()
        .map(|build| {
            build
                .ended()
                .ok()
                .stderr
                .trim_end()
                .rsplit_once('@')
                .unwrap()
                .1
                .to_owned()
        })
        .collect();
    let list = ig.line("image list").ok().stdout;
    let listed: Vec<&str> = list.lines().filter(|line| line.starts_with("same ")).collect();
    let [line] = listed[..] else { panic!("{list}") };
    assert!(
        digests.iter().any(|digest| line.contains(digest.as_str())),
        "{line}, {digests:?}"
    );
    ig.line("run same --verify-image=false --pull never --timeout 1 -o none")
        .ok();
}

#[test]
fn a_killed_build_leaves_the_store_readable() {
    let Some(ig) = Ig::new() else { return };
    let source = gadget_source("lab_open/2");
    let kept = ig.build("kept", &source);
    // How long a build takes here tells when it can be hit.
    let start = Instant::now();
    ig.build("measured", &source);
    let whole = start.elapsed();
    for step in 1..=8u32 {
        let words = [
            "image".as_ref(),
            "build".as_ref(),
            "-t".as_ref(),
            "killed".as_ref(),
            source.as_os_str(),
        ];
        let build = Live::spawn(&mut ig.command(words));
        std::thread::sleep(whole * step / 8);
        let _ = nix::sys::signal::kill(build.pid(), nix::sys::signal::Signal::SIGKILL);
        drop(build);
        let list = ig.line("image list").ok().stdout;
        assert!(list.contains(&format!("kept latest {kept} ")), "{list}");
    }
    ig.line("run kept --verify-image=false --pull never --timeout 1 -o none")
        .ok();
    ig.build("killed", &source);
    ig.line("run killed --verify-image=false --pull never --timeout 1 -o none")
        .ok();
}

#[test]
fn a_full_disk_leaves_the_store_readable() {
    let Some(ig) = Ig::new() else { return };
    let (small, large) = (gadget_source("lab_open/1"), large_gadget());
    // Both commands in one mount namespace: the small disk is gone with it.
    let setup = "mount -t tmpfs -o size=160k none /var/lib/ig";
    let script = r#""$0" image build -t small "$1" && "$0" image build -t large "$2"; echo "status $?"; "$0" image list &&
        "$0" run small --verify-image=false --pull never --timeout 1 -o none"#;
    let words: [&std::ffi::OsStr; 5] = [
        "-c".as_ref(),
        script.as_ref(),
        env!("CARGO_BIN_EXE_ig").as_ref(),
        small.as_os_str(),
        large.path().as_os_str(),
    ];
    let ran = Ran::from(ig.command_after(setup, "sh", words).output().unwrap()).ok();
    assert!(ran.stdout.contains("status 1\n"), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("\nsmall latest sha256:") && !ran.stdout.contains("\nlarge "),
        "{}",
        ran.stdout
    );
}

/// A gadget whose object is larger than the small disk.
fn large_gadget() -> tempfile::TempDir {
    gadget(&format!("{HEAD}const volatile char large[300000] = {{1}};\n"))
}

#[test]
fn a_build_without_a_compiler_names_the_package() {
    let Some(ig) = Ig::new() else { return };
    let source = gadget_source("lab_open/1");
    let words = [
        "image".as_ref(),
        "build".as_ref(),
        "-t".as_ref(),
        "x".as_ref(),
        source.as_os_str(),
    ];
    let mut command = ig.command_after("PATH=/nonexistent; unset CLANG", env!("CARGO_BIN_EXE_ig"), words);
    Ran::from(command.output().unwrap()).fails_with(&[
        "exec: \"clang\": executable file not found in $PATH",
        "hint: ",
        "apt install clang",
    ]);
}
