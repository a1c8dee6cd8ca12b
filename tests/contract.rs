//! What programs can rely on: schemas that events fit, flags and fields as JSON, explanations, and an exit status that tells of
//! losses.

mod common;
#[path = "common/json_schema.rs"]
mod json_schema;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Ig, Live, Ran, gadget, gadget_source, public_copy};
use inspektor_gadget::image::Catalogue;
use json_schema::validate;
use nix::sys::signal::Signal;
use serde_json::Value;

/// `ig` as a user without any privilege, where the store is empty.
fn unprivileged(line: &str) -> Ran {
    let (_dir, copy) = public_copy();
    let mut command = Command::new(copy);
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(65534).gid(65534);
    }
    let output = command
        .args(line.split_whitespace())
        .env("HOME", "/nonexistent")
        .output();
    output.unwrap().into()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Things that gadgets look at, with names that are not nice. What needs a privilege and fails is looked at, too.
fn work() {
    let ugly = Path::new("/nosuch").join(ugly_name());
    let ugly = ugly.as_os_str();
    let _ = std::fs::File::open(ugly);
    let _ = Command::new("/bin/true").arg(ugly).status();
    let _ = Command::new("/bin/sh")
        .args([
            "-c",
            "cat /etc/passwd >/dev/null; kill -0 $$; mount -t nosuch nosuch /nosuch 2>/dev/null",
        ])
        .status();
    if let Ok(dir) = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")) {
        let (file, link) = (dir.path().join("file"), dir.path().join(ugly_name()));
        let _ = std::fs::write(&file, "text").and_then(|()| std::fs::hard_link(&file, link));
        // To the disk at once.
        let _ = std::fs::File::open(&file).and_then(|file| file.sync_all());
    }
    // A query for the address of www.example.test, which nobody answers.
    let query = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x04test\0\0\x01\0\x01";
    let _ = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(query, "127.77.0.53:53"));
    if let Ok(listener) = std::net::TcpListener::bind("127.0.0.1:0") {
        let mut stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _ = stream.write_all(b"text");
    }
}

/// Gadgets that say nothing before the end, or only of programs that do what nobody should.
const SILENT: [&str; 2] = ["deadlock", "traceloop"];

fn ugly_name() -> &'static OsStr {
    OsStr::from_bytes(b"\xff\x1b[2J\"\\\n\xe2\x80\xa8")
}

/// What takes longer, for gadgets about which [`work`] says nothing.
fn rare_work() {
    // A process of a container that takes more memory than it may.
    let line = "run --rm --network none -m 6m --memory-swap 6m busybox tail /dev/zero";
    let _ = Command::new("docker").args(line.split(' ')).output();
}

/// A line with an event, or an array with at least one.
fn is_full(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("[]")
}

#[test]
fn events_of_every_catalogue_gadget_fit_its_schema() {
    let Some(ig) = Ig::new() else { return };
    let names = Catalogue::bundled().names().unwrap();
    assert!(!names.is_empty());
    for name in names {
        let schema = json(&ig.line(&format!("schema {name} --pull never")).ok().stdout);
        let mut command = ig.command(["run", &name, "--pull", "never", "-o", "json", "-v"]);
        // What concerns no container has no containers to select.
        if ig
            .line(&format!("run {name} --pull never --help"))
            .ok()
            .stdout
            .contains("--host")
        {
            command.arg("--host");
        }
        let live = Live::spawn(&mut command);
        if let Err(log) = live.running_or_failed() {
            // Texts that a gadget renders have no other form.
            if log.contains("output mode \\\"json\\\"") || log.contains("output mode \"json\"") {
                let is_text = |schema: &Value| schema["properties"]["text"].is_object();
                let several = schema["$defs"].as_object();
                let rendered = is_text(&schema) || several.is_some_and(|schemas| schemas.values().any(is_text));
                assert!(rendered, "{name}: {log}");
                continue;
            }
            // What this kernel lacks is the kernel's affair, but the gadget's check must say so too.
            let checked = ig.line(&format!("doctor {name} --pull never"));
            checked.fails_with(&["cannot run on this machine"]);
            println!("{name} cannot run here: {}", log.lines().last().unwrap_or_default());
            continue;
        }
        // Some gadgets have nothing to say on some machines, but then they say that in every report.
        let mut tries = 0;
        if SILENT.contains(&name.as_str()) {
            work();
        } else {
            common::eventually(&format!("an event of {name}"), || {
                work();
                tries += 1;
                if tries == 10 {
                    rare_work();
                }
                let lines = live.lines();
                let reports = lines.iter().filter(|line| line.starts_with('[')).count();
                (lines.iter().any(|line| is_full(line)) || (tries > 20 && reports > 2)).then_some(())
            });
        }
        let ran = live.stop().ok();
        for line in ran.stdout.lines() {
            if let Err(why) = validate(&schema, &json(line)) {
                panic!("{name}: {why}");
            }
        }
        // A schema that everything fits would say nothing.
        let Some(full) = ran.stdout.lines().find(|line| is_full(line)) else {
            println!("{name} has nothing to say here");
            continue;
        };
        let mut bent = json(full);
        let event = if bent.is_array() { &mut bent[0] } else { &mut bent };
        event["unheard-of"] = Value::Null;
        assert!(validate(&schema, &bent).is_err());
    }
}

#[test]
fn recorded_events_of_upstream_fit_too() {
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/samples");
    let mut seen = 0;
    for entry in std::fs::read_dir(samples).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some((gadget, _)) = name.split_once('.').filter(|_| name.ends_with(".jsonl")) else {
            continue;
        };
        let schema = json(&unprivileged(&format!("schema {gadget} --pull never")).ok().stdout);
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            validate(&schema, &json(line)).unwrap();
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn a_command_line_becomes_its_schema_by_another_word() {
    let flags = "trace_open --host --pid 1 --pull never --timeout 3 -o json --annotate open.fname:json.skip=true";
    let ran = unprivileged(&format!("schema {flags}")).ok();
    assert_eq!(ran.stdout.lines().count(), 1, "-o json is one line");
    let schema = json(&ran.stdout);
    assert!(schema["properties"]["fname"].is_null());
    assert_eq!(schema["properties"]["proc"]["properties"]["pid"]["maximum"], u32::MAX);
    unprivileged("schema trace_open --pull never --nosuch").fails_with(&["unknown flag: --nosuch"]);
    unprivileged("schema nosuch --pull never").fails_with(&["nosuch", "not found"]);
    let page = unprivileged("schema --help").ok().stdout;
    assert!(page.contains("ig schema GADGET [flags]"), "{page}");
}

#[test]
fn help_as_json_lists_flags_and_fields() {
    let ran = unprivileged("run trace_open --pull never --help -o json").ok();
    assert_eq!(ran.stdout.lines().count(), 1);
    let info = json(&ran.stdout);
    assert_eq!(info["imageName"], "trace_open");
    let param = |key: &str| {
        let params = info["params"].as_array().unwrap();
        let mut found = params.iter().filter(|param| param["key"] == key);
        let param = found.next().unwrap_or_else(|| panic!("no {key}"));
        assert!(found.next().is_none(), "{key} is there twice");
        param
    };
    for (key, prefix, scope) in [
        ("explain", Value::Null, "command"),
        ("pull", "operator.oci.".into(), "operator"),
        ("containername", "operator.LocalManager.".into(), "operator"),
        ("pid", "operator.oci.ebpf.".into(), "gadget"),
        ("fields", "operator.cli.".into(), "operator"),
    ] {
        assert_eq!(
            (&param(key)["prefix"], &param(key)["scope"]),
            (&prefix, &scope.into()),
            "{key}"
        );
        assert!(!param(key)["description"].as_str().unwrap().is_empty());
    }
    assert_eq!(
        param("pull")["possibleValues"],
        serde_json::json!(["always", "missing", "never"])
    );
    assert_eq!(param("containername")["alias"], "c");
    assert_eq!(param("containername")["alternativeKey"], "runtime-containername");
    assert_eq!(
        (&param("pid")["typeHint"], &param("pid")["defaultValue"]),
        (&"uint32".into(), &"0".into())
    );
    let source = &info["dataSources"][0];
    assert_eq!((&source["name"], &source["type"]), (&"open".into(), &"single".into()));
    let fields = source["fields"].as_array().unwrap();
    let comm = fields.iter().find(|field| field["fullName"] == "proc.comm").unwrap();
    assert_eq!(
        (&comm["name"], &comm["kind"], &comm["parent"]),
        (&"comm".into(), &"CString".into(), &"proc".into())
    );
    assert_eq!(comm["annotations"]["columns.alias"], "comm");
    let raw = fields
        .iter()
        .find(|field| field["fullName"] == "timestamp_raw")
        .unwrap();
    assert!(raw["flags"].as_array().unwrap().contains(&"hidden".into()));

    let pretty = unprivileged("run trace_open --pull never -h -o jsonpretty").ok().stdout;
    assert_eq!(json(&pretty), info);
    let page = unprivileged("run trace_open --pull never --help -o columns")
        .ok()
        .stdout;
    assert!(page.contains("Usage:") && page.contains("--explain"), "{page}");
}

#[test]
fn explanations_name_reasons_and_load_nothing() {
    let explain = |line: &str| {
        let ran = unprivileged(&format!("run {line} --pull never")).ok();
        let note = |name: &str| {
            let all = json(&ran.stdout)["operators"].as_array().unwrap().clone();
            let note = all.into_iter().find(|note| note["name"] == name).unwrap();
            (note["on"].as_bool().unwrap(), note["why"].as_str().unwrap().to_owned())
        };
        (note("UidGidResolver"), note("LocalManager"), note("formatters"))
    };
    // JSON reads everything.
    let (uid, containers, formatters) = explain("--explain trace_open -o json");
    assert_eq!(uid, (true, "json reads proc.creds.user, proc.creds.group".into()));
    assert!(
        containers.0
            && containers
                .1
                .starts_with("only events of selected containers pass, in the kernel; json reads ")
    );
    assert!(formatters.0);
    let (_, containers, _) = explain("trace_open -o json --host --explain=true");
    assert!(
        containers.1.starts_with("events of the whole host pass; "),
        "{containers:?}"
    );

    let page = unprivileged("run trace_open --pull never --explain --host --fields fname,proc.creds.user")
        .ok()
        .stdout;
    let line = |name: &str| {
        let line = page.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        line("UidGidResolver"),
        "UidGidResolver on columns reads proc.creds.user"
    );
    assert!(line("LocalManager").starts_with("LocalManager off events of the whole host pass; nobody reads "));
    assert!(line("formatters").starts_with("formatters off nobody reads "));
    assert_eq!(line("cli"), "cli on shows open as columns");
    unprivileged("run trace_open --pull never --explain --fields nosuch").fails_with(&["nosuch"]);
}

#[test]
fn a_parameter_with_the_name_of_a_flag_is_a_named_error() {
    let source = std::fs::read_to_string(gadget_source("lab_open/3/program.bpf.c")).unwrap();
    let source = format!("{source}\nconst volatile bool explain = false;\nGADGET_PARAM(explain);\n");
    let dir = gadget(&source);
    let path = dir.path().to_str().unwrap().to_owned();
    let Some(ig) = Ig::new() else { return };
    ig.line(&format!("run {path} --timeout 1")).fails_with(&[
        "flag --explain belongs to both the command itself and operator.oci.ebpf.explain",
        "hint: give the gadget's parameter another key in its gadget.yaml",
    ]);
}

/// Runs trace_open of one process that opens a thousand files while `ig` sleeps and its buffer has room for a few.
fn lose(ig: &Ig, flags: &str) -> Ran {
    let mut shell = Command::new("/bin/sh")
        .args([
            "-c",
            "read go; i=0; while [ $i -lt 1000 ]; do true </dev/null; i=$((i+1)); done; echo done",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let live = ig.start(&format!(
        "run trace_open --pull never --host --pid {} --buffer-size 4096 -o json {flags}",
        shell.id()
    ));
    live.signal(Signal::SIGSTOP);
    shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut said = String::new();
    shell.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "done\n");
    shell.wait().unwrap();
    live.signal(Signal::SIGCONT);
    live.stop()
}

#[test]
fn losses_are_said_and_fail_only_when_asked() {
    let Some(ig) = Ig::new() else { return };
    let ran = lose(&ig, "").ok();
    let said = ran
        .stderr
        .lines()
        .find(|line| line.contains("open: lost "))
        .expect("a summary");
    assert!(said.contains("the event buffer was full"), "{said}");
    let seen = ran.stdout.lines().count();
    let lost: usize = said
        .split_once("lost ")
        .unwrap()
        .1
        .split_once(' ')
        .unwrap()
        .0
        .parse()
        .unwrap();
    assert_eq!(seen + lost, 1000, "{said}");

    let ran = lose(&ig, "--fail-on-loss");
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("open: lost ") && ran.stderr.contains("Error: events were lost"),
        "{}",
        ran.stderr
    );
}

#[test]
fn without_losses_nothing_is_said_and_all_is_well() {
    let Some(ig) = Ig::new() else { return };
    let live = ig.start("run --fail-on-loss trace_open --pull never --host --comm true -o json");
    common::eventually("an event", || {
        work();
        (!live.lines().is_empty()).then_some(())
    });
    let ran = live.stop().ok();
    assert!(!ran.stderr.contains("lost"), "{}", ran.stderr);
    // Another failure is 1, whatever is said about losses.
    ig.line("run trace_open --fail-on-loss --fields nosuch")
        .fails_with(&["nosuch"]);
}
