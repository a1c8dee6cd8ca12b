//! Filters on the live kernel: what passes, what is handed down, what is said about mistakes, and the tracer's own events.

mod common;

use std::process::{Command, Stdio};

use common::Ig;
use common::docker::{Container, Waiting};
use inspektor_gadget::gadget::Gadget;
use inspektor_gadget::image::{GadgetImage, PullPolicy, ResolveOptions, Resolver, StoreChoice};
use inspektor_gadget::operators::TermPlace;
use serde_json::Value;

fn image(name: &str) -> GadgetImage {
    let dir = tempfile::tempdir().unwrap();
    let options = ResolveOptions {
        store: StoreChoice::Dir(dir.path().join("empty")),
        pull: PullPolicy::Never,
        ..ResolveOptions::default()
    };
    Resolver::new(options).unwrap().resolve(name).unwrap()
}

/// Where the terms of a filter are decided.
fn places(gadget: &str, filter: &str, params: &[(&str, &str)]) -> Vec<TermPlace> {
    let image = image(gadget);
    let mut gadget = Gadget::builder(&image).build().unwrap();
    gadget.set_param("filter", filter).unwrap();
    for (name, value) in params {
        gadget.set_param(name, value).unwrap();
    }
    let explanation = gadget.explain().unwrap();
    explanation.terms.into_iter().map(|term| term.place).collect()
}

/// The events of a run on `container` while a shell in it runs `script`.
fn events(ig: &Ig, line: &str, container: &Container, script: &str) -> Vec<Value> {
    let mut work = Waiting::start(container, script);
    let live = ig.start(&format!("run {line} -o json"));
    work.go();
    let ran = live.stop().ok();
    assert!(!ran.stderr.contains("lost"), "{}", ran.stderr);
    ran.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn conditions_select_events() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("filter");
    let name = &container.name;
    let script = "{ cat /etc/passwd /etc/hostname /etc/nosuch; head -n1 /etc/passwd; } >/dev/null 2>&1";
    let of = |filter: &str| -> Vec<(String, String)> {
        let events = events(&ig, &format!("trace_open -c {name} {filter}"), &container, script);
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        events
            .iter()
            .map(|event| (text(&event["proc"], "comm"), text(event, "fname")))
            .filter(|(_, fname)| fname.starts_with("/etc/") && !fname.starts_with("/etc/ld"))
            .collect()
    };
    let pair = |comm: &str, fname: &str| (comm.to_owned(), fname.to_owned());
    assert_eq!(of("--filter proc.comm==head"), [pair("head", "/etc/passwd")]);
    assert_eq!(
        of(r#"-E proc.comm=="head"&&!(fname!="/etc/passwd")"#),
        [pair("head", "/etc/passwd")]
    );
    assert_eq!(
        of("-F fname~^/etc/(passwd|hostname)$,proc.comm!=head"),
        [pair("cat", "/etc/passwd"), pair("cat", "/etc/hostname")]
    );
    assert_eq!(
        of("--filter.open error==ENOENT,fname~nosuch"),
        [pair("cat", "/etc/nosuch")],
        "a field that an operator adds"
    );
}

#[test]
fn terms_are_decided_as_early_as_they_can_be() {
    let kernel = |param: &str| TermPlace::Kernel(param.to_owned());
    assert_eq!(
        places(
            "trace_open",
            "proc.comm==cat,fname~x,error==ENOENT,proc.pid==7,proc.creds.uid==0,runtime.containerName==web",
            &[]
        ),
        [
            kernel("comm"),
            TermPlace::Raw,
            TermPlace::Enriched,
            kernel("pid"),
            kernel("uid"),
            kernel("containername"),
        ]
    );
    assert_eq!(
        places(
            "trace_open",
            "proc.pid==7,runtime.containerName==web",
            &[("pid", "5"), ("host", "true")]
        ),
        [TermPlace::Raw, TermPlace::Enriched]
    );
    // The gadget's own code writes what it says. A program that is executed changes the name of its process.
    assert_eq!(
        places(
            "trace_exec",
            "proc.comm==cat,proc.pid==7,args~x,runtime.containerName==web",
            &[]
        ),
        [
            TermPlace::Raw,
            kernel("pid"),
            TermPlace::Enriched,
            kernel("containername")
        ]
    );
    assert_eq!(
        places("trace_mount", "proc.comm==mount,dest==/mnt,call~MS_BIND", &[]),
        [kernel("comm"), TermPlace::Raw, TermPlace::Enriched]
    );
}

/// A recording of a gadget with code, of some programs that were executed.
fn recorded_programs(ig: &Ig) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recording");
    let live = ig.start(&format!("run trace_exec --host -o json --record {}", path.display()));
    for word in ["one", "two", "three"] {
        let status = Command::new("echo").arg(word).stdout(Stdio::null()).status().unwrap();
        assert!(status.success());
        assert!(Command::new("true").arg(word).status().unwrap().success());
    }
    live.wait_event("the last program", |event| event["args"] == "true\u{a0}three");
    live.stop().ok();
    dir
}

#[test]
fn what_the_code_of_a_gadget_declares_changes_the_place_and_not_the_result() {
    let Some(ig) = Ig::new() else { return };
    let dir = recorded_programs(&ig);
    let replay = |options: &str| {
        let path = dir.path().join("recording");
        ig.line(&format!("replay {} -o json {options}", path.display()))
            .ok()
            .stdout
    };
    for filter in [
        "proc.comm==echo",
        "proc.comm!=echo,error_raw==0",
        "args~e$",
        "loginuid>=0,args!~two",
    ] {
        let early = replay(&format!("--filter {filter}"));
        let late = replay(&format!(
            r"--filter {filter} --annotate exec:wasm.writes=args\,proc\,error_raw\,loginuid"
        ));
        assert_eq!(early, late, "{filter}");
        assert!(early.contains("three"), "{filter}: {early}");
    }
}

#[test]
fn a_write_that_is_not_declared_is_refused_and_counted() {
    let Some(ig) = Ig::new() else { return };
    let dir = recorded_programs(&ig);
    let replay = |declared: &str| {
        let path = dir.path().join("recording");
        ig.line(&format!(
            "replay {} -o json --annotate exec:wasm.writes={declared}",
            path.display()
        ))
    };
    let ran = replay("cwd");
    let events = ran.stdout.lines().count();
    assert!(events > 1);
    ran.fails_with(&[
        "wasm: fieldSet: writing field ",
        &format!(
            "stopping operators: stopping operator \"wasm\": the module was refused {events} times, first: writing field \"args\" of \
             data source \"exec\", which is not declared"
        ),
        "hint: name all fields that it writes in annotation wasm.writes",
    ]);
    replay("arg").fails_with(&["annotation wasm.writes of datasource exec: field \"arg\" not found"]);
}

/// What the kernel does not send does not count as an event.
#[test]
fn the_kernel_sends_only_what_it_was_asked_for() {
    let Some(_ig) = Ig::new() else { return };
    let image = image("trace_open");
    let delivered = |filter: &str| -> u64 {
        let mut gadget = Gadget::builder(&image).host().build().unwrap();
        gadget.set_param("filter", filter).unwrap();
        gadget.subscribe("open", ["fname"], |_| ()).unwrap();
        gadget.set_include_self(true);
        let running = gadget.start().unwrap();
        for _ in 0..100 {
            std::fs::File::open("/etc/hostname").unwrap();
        }
        running.stop().unwrap().events()
    };
    assert_eq!(delivered("proc.pid==1073741823"), 0, "no process has this id");
    assert!(delivered("fname==/nosuch") >= 100);
}

#[test]
fn a_container_is_selected_by_the_name_in_its_events() {
    let Some(ig) = Ig::with_docker() else { return };
    let (wanted, other) = (Container::idle("wanted"), Container::idle("other"));
    for host in ["", "--host"] {
        let line = format!("trace_open {host} --filter runtime.containerName=={}", wanted.name);
        let mut noise = Waiting::start(&other, "cat /etc/passwd >/dev/null");
        let mut work = Waiting::start(&wanted, "cat /etc/hostname >/dev/null");
        let live = ig.start(&format!("run {line} -o json"));
        noise.go();
        work.go();
        let ran = live.stop().ok();
        let events: Vec<Value> = ran
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(
            events.iter().any(|event| event["fname"] == "/etc/hostname"),
            "{}",
            ran.stdout
        );
        for event in &events {
            assert_eq!(event["runtime"]["containerName"], *wanted.name, "{host}");
        }
    }
}

#[test]
fn mistakes_are_pointed_at() {
    let Some(ig) = Ig::new() else { return };
    let ran = ig.line("run trace_open --host --timeout 1 --filter comm==cat");
    assert_eq!(ran.status, Some(1));
    assert_eq!(
        ran.stderr,
        "Error: initializing and preparing operators: instantiating operator \"filter\": field \"comm\" not found in \
         datasource open\n | comm==cat\n | ^\nhint: did you mean `proc.comm` or `proc.parent.comm`?\n"
    );
    assert_eq!(ran.stdout, "");
    for (filter, line) in [
        ("fname==x,proc.pid>abc", "\n | proc.pid>abc\n | .........^\n"),
        ("proc.comm~[", "\n | proc.comm~[\n | ..........^\n"),
        ("fname", "\n | fname\n | .....^\n"),
        (
            "proc==1",
            "unsupported field type for comparison: Bytes\n | proc==1\n | ^\n",
        ),
    ] {
        ig.run(["run", "trace_open", "--host", "--timeout", "1", "--filter", filter])
            .fails_with(&["instantiating operator \"filter\": ", line]);
    }
    let ran = ig.run(["run", "trace_open", "--host", "--filter-expr", "nosuch == 1"]);
    assert_eq!(ran.status, Some(1));
    assert_eq!(
        ran.stderr,
        "Error: initializing and preparing operators: instantiating operator \"filter\": compiling filter expression \"nosuch \
         == 1\" for datasource open: compiling filter expression: unknown name nosuch (1:1)\n | nosuch == 1\n | ^\n"
    );
    // Events of single data sources have no order and no number.
    ig.line("run trace_open --host --timeout 1 --sort fname")
        .fails_with(&["unknown flag: --sort"]);
    ig.line("run trace_open --host --timeout 1 --max-entries 1")
        .fails_with(&["unknown flag: --max-entries"]);
}

#[test]
fn the_tracer_does_not_show_itself() {
    let Some(_ig) = Ig::new() else { return };
    let image = image("trace_open");
    let own = u64::from(std::process::id());
    let pids = |include: bool| -> Vec<u64> {
        let mut gadget = Gadget::builder(&image).host().build().unwrap();
        gadget.set_include_self(include);
        let (to, from) = std::sync::mpsc::channel();
        let pid = gadget.data_source("open").unwrap().field("proc.pid").unwrap().any();
        gadget
            .subscribe("open", ["proc.pid"], move |event| to.send(pid.bits(event)).unwrap())
            .unwrap();
        let running = gadget.start().unwrap();
        std::fs::File::open("/etc/hostname").unwrap();
        std::process::Command::new("cat")
            .arg("/etc/hostname")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        let report = running.stop().unwrap();
        assert!(!report.lost_anything(), "what is left out is no loss");
        from.iter().collect()
    };
    let without = pids(false);
    assert!(!without.is_empty() && !without.contains(&own), "{without:?}");
    assert!(pids(true).contains(&own));
}

/// Says of every write whose it is. What `ig` shows is written, so that without further ado each event would make the next.
const WRITES: &str = r#"
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/macros.h>
#include <gadget/types.h>

struct event {
	struct gadget_process proc;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(NAME, events, event);

SEC("tracepoint/syscalls/sys_enter_write")
int on_write(void *ctx)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (!event)
		return 0;
	gadget_process_populate(&event->proc);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"#;

/// Runs the gadget of writes, its data source called `name`, until its output has been written several times. Started by `unshare`
/// with these options, if there are any. Returns the names of the threads that were seen writing.
fn writers(ig: &Ig, name: &str, unshare: &[&str]) -> Vec<String> {
    let gadget = common::gadget(&WRITES.replace("NAME", name));
    // A copy whose name nobody else has.
    let program = gadget.path().join(format!("ig-{name}"));
    std::fs::copy(env!("CARGO_BIN_EXE_ig"), &program).unwrap();
    let mut words = vec![program.to_str().unwrap(), "run", gadget.path().to_str().unwrap()];
    words.extend(["--host", "-o", "json"]);
    if !unshare.is_empty() {
        words.splice(..0, ["unshare"].iter().chain(unshare).copied());
    }
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut child = ig
        .command_after("", words[0], &words[1..])
        .stdout(out.reopen().unwrap())
        .spawn()
        .unwrap();
    let mut sizes = Vec::new();
    common::eventually("events come in several writes", || {
        let echo = std::process::Command::new("/bin/echo").output().unwrap();
        assert!(echo.status.success());
        let size = out.as_file().metadata().unwrap().len();
        if sizes.last() != Some(&size) {
            sizes.push(size);
        }
        (sizes.len() > 4).then_some(())
    });
    let mut pid = child.id();
    if !unshare.is_empty() {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        pid = children.trim().parse().unwrap();
    }
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(child.wait().unwrap().success());
    let text = std::fs::read_to_string(out.path()).unwrap();
    text.lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["proc"]["comm"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// In a pid namespace of its own `ig` has another id than the kernel's programs see.
#[test]
fn a_run_does_not_show_its_own_output_being_written() {
    let Some(ig) = Ig::new() else { return };
    for (name, unshare) in [("writes1", &[][..]), ("writes2", &["--pid", "--fork"])] {
        let names = writers(&ig, name, unshare);
        assert!(names.iter().any(|writer| writer == "echo"), "{names:?}");
        let own: Vec<&String> = names.iter().filter(|writer| writer.contains(name)).collect();
        assert!(own.is_empty(), "{own:?}");
    }
}

/// The values of a field in each report of a gadget that lists processes.
fn reports(ig: &Ig, options: &str, field: &str) -> Vec<Vec<Value>> {
    let path = common::gadget_source("lab_process");
    let live = ig.start(&format!(
        "run {} -o json --interval 100ms --env-vars IG_LAB_WHERE {options}",
        path.display()
    ));
    common::eventually("three reports", || (live.lines().len() >= 3).then_some(()));
    let ran = live.stop().ok();
    assert!(!ran.stderr.contains("lost"), "nothing went wrong: {}", ran.stderr);
    let values = |line: &str| -> Vec<Value> {
        let report: Vec<Value> = serde_json::from_str(line).unwrap();
        report.into_iter().map(|mut process| process[field].take()).collect()
    };
    ran.stdout.lines().map(values).collect()
}

#[test]
fn arrays_are_sorted_and_cut() {
    let Some(ig) = Ig::new() else { return };
    for report in reports(&ig, "--sort -pid", "pid") {
        assert!(
            report.len() > 10 && report.is_sorted_by(|a, b| a.as_u64() > b.as_u64()),
            "{report:?}"
        );
    }
    for report in reports(&ig, "--sort processes:pid --max-entries 2", "pid") {
        assert_eq!(report, [1, 2]);
    }
    for report in reports(&ig, "--max-entries processes:3 --filter pid>1", "pid") {
        assert!(report.len() == 3 && !report.contains(&Value::from(1)), "{report:?}");
    }
    let path = common::gadget_source("lab_process");
    for (options, error) in [
        (
            "--sort nosuch",
            "pre-starting operators: pre-starting operator \"sort\": field nosuch not found\n",
        ),
        (
            "--max-entries -5",
            "pre-starting operators: pre-starting operator \"limiter\": invalid value of max-entries for data source \
             \"processes\": -5\n",
        ),
        (
            "--max-entries abc",
            "initializing and preparing operators: instantiating operator \"limiter\": parsing max-entries (\"abc\"): \
             converting abc to int: strconv.Atoi: parsing \"abc\": invalid syntax\n",
        ),
    ] {
        ig.line(&format!("run {} --env-vars IG_LAB_WHERE {options}", path.display()))
            .fails_with(&[&format!("Error: {error}")]);
    }
}
