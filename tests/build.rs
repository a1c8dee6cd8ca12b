//! Building gadgets from source through the library, with a real compiler.

use std::path::Path;

use inspektor_gadget::build::{BuildEvent, BuildOptions, Built, Target, build_gadget};
use inspektor_gadget::ebpf::btf::BtfKind;
use inspektor_gadget::ebpf::inspect::object::ObjectFile;

/// A tracer in the smallest C that has everything a build looks at.
const TRACER: &str = r#"
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned short __u16;
typedef unsigned char __u8;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
#include <bpf/bpf_helpers.h>
struct event { __u64 timestamp_raw; };
struct { __uint(type, 27); __uint(max_entries, 262144); } events SEC(".maps");
const void *gadget_tracer_open___events___event __attribute__((unused));
const struct event *unused_event __attribute__((unused));
const volatile __u32 target_pid = 0;
const void *gadget_param_target_pid __attribute__((unused));
SEC("tracepoint/syscalls/sys_enter_openat")
int enter(void *ctx)
{
	struct event event = { bpf_ktime_get_boot_ns() };
	if (target_pid && target_pid != (bpf_get_current_pid_tgid() >> 32))
		return 0;
	bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
"#;

fn gadget(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

fn build(path: &Path) -> inspektor_gadget::Result<Built> {
    build_gadget(&BuildOptions::for_path(path), &mut |_| {})
}

fn message(files: &[(&str, &str)]) -> String {
    build(gadget(files).path()).unwrap_err().to_string()
}

#[test]
fn builds_for_both_architectures_and_the_same_everywhere() {
    let files = [("program.bpf.c", TRACER), ("gadget.yaml", "name: open\n")];
    let first = build(gadget(&files).path()).unwrap();
    assert_eq!(
        first.objects.keys().collect::<Vec<_>>(),
        [&Target::Amd64, &Target::Arm64]
    );
    assert_eq!(first.metadata.as_deref(), Some(&b"name: open\n"[..]));
    assert_eq!(first.warnings, Vec::<String>::new());
    let object = ObjectFile::parse(&first.objects[&Target::Amd64]).unwrap();
    assert!(object.programs.contains_key("enter"));
    assert!(!object.sections.iter().any(|name| name.contains(".debug")));
    let second = build(gadget(&files).path()).unwrap();
    assert_eq!(
        first.objects, second.objects,
        "the directory leaves no trace in the object"
    );
}

#[test]
fn the_gadget_api_and_vmlinux_are_there() {
    let source = r#"
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

struct event {
	gadget_timestamp timestamp_raw;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(open, events, event);

SEC("tracepoint/syscalls/sys_enter_openat")
int enter_openat(struct syscall_trace_enter *ctx)
{
	struct event *event;

	if (gadget_should_discard_data_current())
		return 0;
	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"#;
    let built = build(gadget(&[("program.bpf.c", source)]).path()).unwrap();
    assert_eq!(built.warnings, Vec::<String>::new());
    for object in built.objects.values() {
        let object = ObjectFile::parse(object).unwrap();
        assert_eq!(object.maps["events"].map_type, 27);
        assert!(
            object
                .btf
                .unwrap()
                .find(BtfKind::Var, "gadget_tracer_open___events___event")
                .is_some()
        );
    }
}

#[test]
fn a_single_file_builds() {
    let dir = gadget(&[("x.bpf.c", TRACER)]);
    let built = build(&dir.path().join("x.bpf.c")).unwrap();
    assert_eq!(built.objects.len(), 2);
    assert_eq!(built.metadata, None);
}

#[test]
fn an_empty_program_and_metadata_alone_build() {
    let built = build(gadget(&[("program.bpf.c", "")]).path()).unwrap();
    assert_eq!(built.objects.len(), 2);
    let built = build(gadget(&[("gadget.yaml", "name: x\n")]).path()).unwrap();
    assert!(built.objects.is_empty() && built.metadata.is_some());
}

#[test]
fn diagnostics_reach_the_user_with_file_and_line() {
    let text = message(&[("program.bpf.c", "int x = ;\n")]);
    assert!(
        text.starts_with("local build: clang compile for amd64: running ["),
        "{text}"
    );
    assert!(
        text.contains("]: exit status 1: program.bpf.c:1:9: error: expected expression\n"),
        "{text}"
    );
    let dir = gadget(&[(
        "program.bpf.c",
        "static int unused;\nint f(void) { int x; return 0; }\n",
    )]);
    let built = build(dir.path()).unwrap();
    assert_eq!(
        built.warnings.len(),
        1,
        "the same for both architectures: {:?}",
        built.warnings
    );
    assert!(
        built.warnings[0].starts_with("program.bpf.c:2:19: warning: unused variable 'x'"),
        "{}",
        built.warnings[0]
    );
}

#[test]
fn commands_are_reported_in_order() {
    let dir = gadget(&[("program.bpf.c", "")]);
    let mut lines = Vec::new();
    build_gadget(&BuildOptions::for_path(dir.path()), &mut |event| {
        if let BuildEvent::Command(line) = event {
            lines.push(line.to_owned());
        }
    })
    .unwrap();
    assert_eq!(lines.len(), 2);
    for (line, arch) in lines.iter().zip(["-D __TARGET_ARCH_x86 ", "-D __TARGET_ARCH_arm64 "]) {
        assert!(
            line.contains(" -target bpf -Wall -g -O2 ") && line.contains(" -c program.bpf.c "),
            "{line}"
        );
        assert!(line.contains(arch), "{line}");
    }
}

#[test]
fn wrong_options_are_refused_with_their_reason() {
    let program = ("program.bpf.c", "");
    assert_eq!(
        message(&[program, ("build.yaml", "wasm: a.txt")]),
        "building build pipeline: unsupported wasm file type: a.txt"
    );
    assert_eq!(
        message(&[program, ("build.yaml", "wasm: -x.go")]),
        "building build pipeline: wrong build option detected: flags are not accepted: \"-x.go\""
    );
    assert_eq!(
        message(&[program, ("build.yaml", "wasm: '@x.go'")]),
        "building build pipeline: wrong build option detected: response file are not accepted: \"@x.go\""
    );
    let text = message(&[program, ("build.yaml", "wasm: go/program.go")]);
    assert!(
        text.starts_with("local build: go build wasm: open ")
            && text.ends_with("/go/program.go: no such file or directory"),
        "{text}"
    );
    let text = message(&[
        program,
        ("build.yaml", "wasm: go/program.go"),
        ("go/program.go", "package main"),
    ]);
    assert!(text.contains("there is no go.mod for"), "{text}");
    let text = message(&[program, ("build.yaml", "wasm: x.wasm")]);
    assert!(
        text.starts_with("reading wasm module: open ") && text.ends_with("/x.wasm: no such file or directory"),
        "{text}"
    );
    assert_eq!(
        message(&[program, ("build.yaml", "wasm: x.wasm"), ("x.wasm", "text")]),
        "reading wasm module: x.wasm is not a wasm module"
    );
}

#[test]
fn a_prebuilt_wasm_module_is_taken_as_it_is() {
    let module = "\0asm\u{1}\0\0\0";
    let dir = gadget(&[("build.yaml", "wasm: prog.wasm"), ("prog.wasm", module)]);
    assert_eq!(build(dir.path()).unwrap().wasm.as_deref(), Some(module.as_bytes()));
}

#[test]
fn metadata_is_validated_by_default() {
    let wrong = [
        ("program.bpf.c", TRACER),
        ("gadget.yaml", "params: {ebpf: {nosuch: {key: k}}}\n"),
    ];
    assert_eq!(
        message(&wrong),
        "validating metadata file: variable \"nosuch\" not found in eBPF object: not found"
    );
    let dir = gadget(&wrong);
    let options = BuildOptions {
        validate_metadata: false,
        ..BuildOptions::for_path(dir.path())
    };
    build_gadget(&options, &mut |_| {}).unwrap();
    assert_eq!(
        message(&[("program.bpf.c", ""), ("gadget.yaml", "name: a\n  b: c: d\n")]),
        "validating metadata file: decoding metadata file: yaml: line 2: mapping values are not allowed in this context (column 4)"
    );
    assert_eq!(
        message(&[("program.bpf.c", ""), ("gadget.yaml", "")]),
        "validating metadata file: decoding metadata file: EOF"
    );
}

#[test]
fn metadata_is_created_when_asked_for() {
    let dir = gadget(&[("program.bpf.c", TRACER)]);
    let options = BuildOptions {
        update_metadata: true,
        ..BuildOptions::for_path(dir.path())
    };
    let built = build_gadget(&options, &mut |_| {}).unwrap();
    let written = std::fs::read(dir.path().join("gadget.yaml")).unwrap();
    assert_eq!(built.metadata.as_deref(), Some(&*written));
    let text = String::from_utf8(written).unwrap();
    assert!(
        text.contains("datasources:\n  open:\n    fields:\n      timestamp_raw:\n"),
        "{text}"
    );
    assert!(
        text.contains("params:\n  ebpf:\n    target_pid:\n      key: target_pid\n"),
        "{text}"
    );

    let dir = gadget(&[("gadget.yaml", "name: x\n")]);
    let options = BuildOptions {
        update_metadata: true,
        ..BuildOptions::for_path(dir.path())
    };
    assert_eq!(
        build_gadget(&options, &mut |_| {}).unwrap_err().to_string(),
        "updating metadata file: loading spec: no eBPF object file found: file does not exist"
    );
}

#[test]
fn generated_files_are_kept_where_asked() {
    use std::os::unix::fs::MetadataExt;
    let (dir, output) = (gadget(&[("program.bpf.c", TRACER)]), tempfile::tempdir().unwrap());
    let root = nix::unistd::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(output.path(), Some(4242), Some(4343)).unwrap();
    }
    let options = BuildOptions {
        output: Some(output.path().to_owned()),
        ..BuildOptions::for_path(dir.path())
    };
    let built = build_gadget(&options, &mut |_| {}).unwrap();
    for (target, object) in &built.objects {
        let path = output.path().join(target.object_name());
        assert_eq!(&std::fs::read(&path).unwrap(), object);
        if root {
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (4242, 4343));
        }
    }
    let options = BuildOptions {
        output: Some("/nonexistent".into()),
        ..options
    };
    let text = build_gadget(&options, &mut |_| {}).unwrap_err().to_string();
    assert_eq!(text, "stat /nonexistent: no such file or directory");
}

#[test]
fn a_missing_compiler_is_named_with_the_way_to_get_it() {
    // A process of its own: the search path belongs to the whole process.
    if let Some(dir) = std::env::var_os("TEST_BUILD_WITHOUT_CLANG") {
        let error = build(Path::new(&dir)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "local build: clang compile for amd64: exec: \"clang\": executable file not found in $PATH"
        );
        assert!(error.hint().unwrap().contains("apt install clang"));
        println!("checked");
        return;
    }
    let dir = gadget(&[("program.bpf.c", "")]);
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_missing_compiler_is_named_with_the_way_to_get_it",
            "--nocapture",
        ])
        .env("TEST_BUILD_WITHOUT_CLANG", dir.path())
        .env("PATH", "/nonexistent")
        .env_remove("CLANG")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("checked"));
}
