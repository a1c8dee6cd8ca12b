//! `ig run` on the live kernel: where gadgets come from, how runs end, and what they show.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::docker::{Container, Waiting};
use common::namespaces::Namespaces;
use common::{Ig, gadget_source};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Opens a file again and again.
const BUSY: &str = "while true; do cat /etc/passwd >/dev/null; usleep 100000; done";

fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn source_runs_in_one_step() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("source", BUSY);
    let dir = tempfile::tempdir().unwrap();
    let (mygadget, single) = (dir.path().join("mygadget"), dir.path().join("x.bpf.c"));
    std::fs::create_dir(&mygadget).unwrap();
    let source = gadget_source("lab_open/3/program.bpf.c");
    std::fs::copy(&source, mygadget.join("program.bpf.c")).unwrap();
    std::fs::copy(&source, &single).unwrap();
    for path in ["./mygadget", "./x.bpf.c"] {
        let mut command = ig.command(["run", path, "-c", &container.name, "-o", "json", "-v"]);
        let live = common::Live::spawn(command.current_dir(dir.path()));
        live.wait_running();
        live.wait_event("the open", |event| event["filename"] == "/etc/passwd");
        live.stop().ok();
    }
    // Just built from the user's own files, they need no other trust, and take no name.
    let list = ig.line("image list").ok().stdout;
    assert_eq!(list.lines().count(), 1, "{list}");
}

#[test]
fn bundled_gadgets_need_neither_store_nor_network() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("bundled", BUSY);
    for (gadget, field, value) in [("trace_open", "fname", "/etc/passwd"), ("trace_exec", "args", "cat")] {
        let live = ig.start(&format!("run {gadget} --pull never -c {} -o json", container.name));
        live.wait_event(gadget, |event| {
            event["runtime"]["containerName"] == *container.name
                && event[field].as_str().is_some_and(|text| text.starts_with(value))
        });
        live.stop().ok();
    }
    assert!(!ig.store().exists(), "running a bundled gadget writes nothing");
}

#[test]
fn a_stored_image_wins_over_the_bundled_one() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("wins", BUSY);
    ig.build("trace_open", &gadget_source("lab_open/3"));
    ig.line("run trace_open --pull never").fails_with(&[
        "verifying gadget signature",
        "--verify-image=false",
        "ig image remove trace_open",
    ]);
    let live = ig.start(&format!(
        "run trace_open --pull never --verify-image=false -c {} -o json",
        container.name
    ));
    live.wait_event("an event of the stored gadget", |event| {
        event["filename"] == "/etc/passwd"
    });
    live.stop().ok();
    ig.line("image remove trace_open").ok();
    ig.line("run trace_open --pull never --timeout 1 -o none").ok();
}

#[test]
fn a_run_ends_when_its_time_is_over() {
    let Some(ig) = Ig::new() else { return };
    let start = Instant::now();
    let ran = ig.line("run trace_open --host --timeout 1 -o none").ok();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

#[test]
fn an_interrupt_ends_a_run_and_loses_nothing() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("interrupt");
    let mut work = Waiting::start(&container, "for i in $(seq 1000); do true </etc/passwd; done");
    let live = ig.start(&format!("run trace_open -c {} --fields fname", container.name));
    work.go();
    let start = Instant::now();
    live.signal(Signal::SIGINT);
    let ran = live.ended().ok();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let opens = ran
        .stdout
        .lines()
        .filter(|line| line.trim_end() == "/etc/passwd")
        .count();
    assert_eq!(opens, 1000, "what had happened before the interrupt is printed");
    assert!(!ran.stderr.contains("lost"), "{}", ran.stderr);

    let live = ig.start("run trace_open --host -o none");
    live.signal(Signal::SIGTERM);
    live.ended().ok();
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let Some(ig) = Ig::with_docker() else { return };
    let _container = Container::start("second", "while true; do true </etc/passwd; done");
    // Nobody reads what it prints, so that it cannot end in good order.
    let mut child = ig
        .command(["run", "trace_open", "-v", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("running...") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
    }
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    // A full pipe is known by a writer that waits.
    common::eventually("the pipe is full", || {
        let stacks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        stacks
            .flatten()
            .any(|task| {
                let blocked = std::fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
                let syscall = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
                blocked.contains("pipe") || syscall.starts_with("1 0x1 ")
            })
            .then_some(())
    });
    nix::sys::signal::kill(pid, Signal::SIGINT).unwrap();
    let stuck = Instant::now() + Duration::from_millis(500);
    while Instant::now() < stuck {
        assert!(
            child.try_wait().unwrap().is_none(),
            "one interrupt lets it finish its work"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    nix::sys::signal::kill(pid, Signal::SIGINT).unwrap();
    let start = Instant::now();
    let status = child.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_reader_that_has_gone_ends_the_run_quietly() {
    let Some(ig) = Ig::with_docker() else { return };
    let _container = Container::start("head", BUSY);
    let mut child = ig
        .command(["run", "trace_open", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(1, child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(event(&line)["fname"].is_string());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!((child.wait().unwrap().code(), log.as_str()), (Some(0), ""));
}

#[test]
fn the_host_is_traced_when_asked_for() {
    let Some(ig) = Ig::with_docker() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("on-the-host");
    let container = Container::start("host", BUSY);
    let live = ig.start("run trace_open --host -o json");
    let _ = std::fs::File::open(&path);
    let event = live.wait_event("an open of this process", |event| {
        event["proc"]["pid"] == std::process::id() && event["fname"] == path.to_str().unwrap()
    });
    assert_eq!(
        event["runtime"]["containerName"], "",
        "a process of the host is in no container"
    );
    live.wait_event("an open of the container", |event| {
        event["runtime"]["containerName"] == *container.name
    });
    live.stop().ok();

    let live = ig.start(&format!("run trace_open -c {} -o json", container.name));
    for _ in 0..100 {
        let _ = std::fs::File::open(&path);
    }
    live.wait_event("an open of the container", |event| event["fname"] == "/etc/passwd");
    let ran = live.stop().ok();
    for line in ran.stdout.lines() {
        assert_eq!(
            self::event(line)["runtime"]["containerName"],
            *container.name,
            "without --host: {line}"
        );
    }
}

/// The header and the first line of a container's opens with these fields.
fn columns(ig: &Ig, container: &Container, fields: &str) -> (Vec<String>, Vec<String>, String) {
    let live = ig.start(&format!("run trace_open -c {} --fields={fields}", container.name));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut header = None;
    let row = live.wait("an event", |line| match header {
        None => {
            header = Some(words(line));
            None
        }
        Some(_) => line.contains("/etc/passwd").then(|| words(line)),
    });
    let ran = live.stop().ok();
    (header.unwrap(), row, ran.stderr)
}

#[test]
fn fields_choose_the_columns() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("fields", BUSY);
    let defaults = [
        "COMM",
        "PID",
        "TID",
        "TID",
        "FD",
        "FNAME",
        "FPATH",
        "RUNTIME.CONTAINERNAME",
        "ERROR",
        "MODE",
    ];
    let (header, row, _) = columns(&ig, &container, "fname,proc.comm,fd");
    assert_eq!(header, ["FNAME", "COMM", "FD"]);
    assert_eq!(row, ["/etc/passwd", "cat", "3"]);
    let (header, row, _) = columns(&ig, &container, "+flags");
    assert_eq!(header, [&defaults[..], &["FLAGS"]].concat());
    assert_eq!(row.last().unwrap(), "O_RDONLY");
    let (header, ..) = columns(&ig, &container, "-mode,-error");
    assert_eq!(header, defaults[..8]);
    let (header, ..) = columns(&ig, &container, "open:fname,FD");
    assert_eq!(header, ["FNAME", "FD"]);
}

#[test]
fn an_ambiguous_field_is_always_the_same_one() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("ambiguous", BUSY);
    for _ in 0..3 {
        let (header, row, log) = columns(&ig, &container, "comm,fname");
        assert_eq!(header, ["COMM", "FNAME"]);
        assert_eq!(row, ["cat", "/etc/passwd"], "the process and not its parent");
        let note = r#"--fields: \"comm\" fits several columns (proc.comm, proc.parent.comm); showing proc.comm"#;
        assert_eq!(log.matches(note).count(), 1, "{log}");
    }
}

#[test]
fn wrong_fields_and_modes_are_errors() {
    let Some(ig) = Ig::new() else { return };
    for (line, parts) in [
        (
            "--fields fnmae",
            ["column \"fnmae\" is invalid", "hint: did you mean `fname`?"],
        ),
        ("--fields +cmm", ["column \"cmm\" is invalid", "`proc.comm`"]),
        (
            "--fields xyzzyxyzzy",
            [
                "column \"xyzzyxyzzy\" is invalid",
                "hint: the available fields are: error, ",
            ],
        ),
        (
            "--fields nosuch:fname",
            [
                "unknown data source \"nosuch\"",
                "hint: the gadget's data sources are: open",
            ],
        ),
        (
            "-o bad",
            [
                "output mode \"bad\"",
                "hint: supported modes are: columns, json, jsonpretty, none, yaml",
            ],
        ),
        ("-o raw", ["output mode \"raw\"", "hint: supported modes are: columns"]),
        (
            "-o nosuch:json",
            [
                "unknown data source \"nosuch\"",
                "hint: the gadget's data sources are: open",
            ],
        ),
    ] {
        let ran = ig.line(&format!("run trace_open --pull never --host --timeout 1 {line}"));
        assert_eq!(ran.stdout, "", "{line}");
        ran.fails_with(&parts);
    }
}

#[test]
fn output_modes() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("modes", BUSY);
    let start = |mode: &str| ig.start(&format!("run trace_open --pull never -c {} -o {mode}", container.name));
    let (pretty, yaml) = (start("jsonpretty"), start("yaml"));
    let none = start("none");
    for live in [&pretty, &yaml] {
        for _ in 0..2 {
            live.wait_line("/etc/passwd");
        }
    }
    assert_eq!(none.stop().ok().stdout, "");

    let text = pretty.stop().ok().stdout;
    let values: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("whole JSON values one after the other");
    assert!(
        values
            .iter()
            .any(|value| value["fname"] == "/etc/passwd" && value["proc"]["comm"] == "cat")
    );
    assert!(text.starts_with("{\n  \"error\": \"\",\n"), "{text}");

    use saphyr::LoadableYamlNode as _;
    let text = yaml.stop().ok().stdout;
    assert!(text.starts_with("---\nerror: \"\"\n"), "{text}");
    let documents = saphyr::Yaml::load_from_str(&text).expect("YAML");
    assert_eq!(documents.len(), text.matches("---\n").count());
    let cat = documents
        .iter()
        .find(|document| document["fname"].as_str() == Some("/etc/passwd"))
        .expect("the open of cat");
    assert_eq!(cat["proc"]["comm"].as_str(), Some("cat"));
    assert_eq!(cat["fd"].as_integer(), Some(3));
    assert_eq!(cat["runtime"]["containerName"].as_str(), Some(&*container.name));
}

#[test]
fn help_of_an_image_lists_its_flags() {
    let Some(ig) = Ig::new() else { return };
    let page = ig.line("run trace_open --pull never --help").ok().stdout;
    for flag in [
        "--failed",
        "--paths",
        "--pid uint32",
        "--comm string",
        "-c, --containername",
        "--host",
        "-o, --output",
        "--fields",
        "--timeout",
        "--verify-image",
    ] {
        assert!(page.contains(flag), "no {flag} in: {page}");
    }
    assert!(
        page.contains("runtime.containerName,proc.comm,proc.pid,proc.tid,proc.parent.tid,fd,fname"),
        "{page}"
    );
    let exec = ig.line("run trace_exec --pull never --help").ok().stdout;
    assert!(
        exec.contains("--ignore-failed") && !exec.contains("--failed "),
        "{exec}"
    );
}

#[test]
fn docker_can_be_chosen_and_must_be_there_then() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("chosen", BUSY);
    for options in ["-r docker", "-r docker --docker-socketpath /var/run/docker.sock"] {
        let live = ig.start(&format!("run trace_open -c {} -o json {options}", container.name));
        live.wait_event("an open", |event| event["runtime"]["runtimeName"] == "docker");
        live.stop().ok();
    }
    for options in ["", "-r docker", "--host"] {
        ig.line(&format!(
            "run trace_open --docker-socketpath /nonexistent.sock --timeout 1 {options}"
        ))
        .fails_with(&["docker", "/nonexistent.sock", "hint: is the docker daemon running?"]);
    }
    ig.line("run trace_open -r nosuch --timeout 1").fails_with(&[
        "runtime \"nosuch\" is not supported",
        "hint: supported values are: docker",
    ]);
}

/// Hides docker's socket from `ig`, as on a machine without docker.
const NO_DOCKER: &str = "mount -t tmpfs none /run";

#[test]
fn without_docker_the_host_can_be_traced() {
    let Some(ig) = Ig::new() else { return };
    let run = |line: &str| {
        let command = ig
            .command_after(NO_DOCKER, env!("CARGO_BIN_EXE_ig"), line.split_whitespace())
            .output();
        common::Ran::from(command.unwrap())
    };
    run("run trace_open --timeout 1").fails_with(&["docker", "--host"]);
    run("run trace_open -r docker --timeout 1").fails_with(&["docker", "hint: "]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("without-docker");
    let words = "run trace_open --host -o json -v".split_whitespace();
    let live = common::Live::spawn(&mut ig.command_after(NO_DOCKER, env!("CARGO_BIN_EXE_ig"), words));
    live.wait_running();
    let _ = std::fs::File::open(&path);
    live.wait_event("an open", |event| event["fname"] == path.to_str().unwrap());
    live.stop().ok();
}

/// Stands before docker's socket until it is closed.
struct Proxy {
    path: std::path::PathBuf,
    streams: Arc<Mutex<Option<Vec<UnixStream>>>>,
    _dir: tempfile::TempDir,
}

impl Proxy {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let streams = Arc::new(Mutex::new(Some(Vec::new())));
        let open = Arc::clone(&streams);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, daemon) = (client.unwrap(), UnixStream::connect("/run/docker.sock").unwrap());
                let Some(open) = &mut *open.lock().unwrap() else { return };
                for (from, to) in [(&client, &daemon), (&daemon, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    open.push(from.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self {
            path,
            streams,
            _dir: dir,
        }
    }

    /// What a daemon's end looks like: the socket is gone and every connection is closed.
    fn close(&self) {
        std::fs::remove_file(&self.path).unwrap();
        for stream in self.streams.lock().unwrap().take().unwrap() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

#[test]
fn docker_may_go_away_while_a_gadget_runs() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("survivor", BUSY);
    let proxy = Proxy::start();
    let live = ig.start(&format!(
        "run trace_open -c {} -o json --docker-socketpath {}",
        container.name,
        proxy.path.display()
    ));
    live.wait_event("an open before", |event| event["fname"] == "/etc/passwd");
    proxy.close();
    live.wait_log("docker went away");
    let before = live.lines().len();
    let mut count = 0;
    live.wait("opens afterwards", |line| {
        count += 1;
        (count > before + 5 && event(line)["runtime"]["containerName"] == *container.name).then_some(())
    });
    let ran = live.stop().ok();
    let warnings: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.contains("level=warning"))
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

/// The events of trace_open with `options` while `work` does something in `container`.
fn opens(ig: &Ig, container: &Container, options: &str, work: impl FnOnce()) -> Vec<Value> {
    let live = ig.start(&format!("run trace_open -c {} -o json {options}", container.name));
    work();
    let ran = live.stop().ok();
    ran.stdout.lines().map(event).collect()
}

fn named<'e>(events: &'e [Value], fname: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["fname"] == fname).collect()
}

#[test]
fn trace_open_resolves_links_with_paths() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("paths", "ln -s /dev/null /dev/null2; sleep 100000");
    let work = || drop(container.exec_as("1000:1111", "cat /dev/null2"));
    let events = opens(&ig, &container, "--paths", work);
    let [open] = named(&events, "/dev/null2")[..] else {
        panic!("{events:?}")
    };
    let expected = serde_json::json!({
        "fname": "/dev/null2", "fpath": "/dev/null", "fd": 3, "flags": "O_RDONLY", "flags_raw": 0,
        "mode": "----------", "mode_raw": 0, "error": "", "error_raw": 0,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&open[key], value, "{key}");
    }
    let process = &open["proc"];
    assert_eq!(process["comm"], "cat");
    assert_eq!(
        (&process["creds"]["uid"], &process["creds"]["gid"]),
        (&1000.into(), &1111.into())
    );
    let events = opens(&ig, &container, "", work);
    assert_eq!(named(&events, "/dev/null2")[0]["fpath"], "", "not without --paths");
}

#[test]
fn trace_open_decodes_flags_and_mode() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("flags");
    let script = "true <>/created; true >/truncated; cd /bin && true <busybox";
    // `<>` is O_RDWR|O_CREAT with mode 0666; `>` is O_WRONLY|O_CREAT|O_TRUNC.
    let events = opens(&ig, &container, "", || drop(container.exec(script)));
    let [open] = named(&events, "/created")[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&open["flags_raw"], &open["flags"]),
        (&66.into(), &"O_RDWR|O_CREAT".into())
    );
    assert_eq!(
        (&open["mode_raw"], &open["mode"]),
        (&0o666.into(), &"-rw-rw-rw-".into())
    );
    let [open] = named(&events, "/truncated")[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&open["flags_raw"], &open["flags"]),
        (&577.into(), &"O_WRONLY|O_CREAT|O_TRUNC".into())
    );
    assert_eq!(named(&events, "busybox").len(), 1, "a relative path is kept as it is");
}

#[test]
fn trace_open_of_the_host_decodes_any_mode() {
    use std::os::unix::fs::OpenOptionsExt;
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let live = ig.start(&format!("run trace_open --host --pid {} -o json", std::process::id()));
    for (name, mode, raw, text) in [("a", 0o644, 420, "-rw-r--r--"), ("b", 0o761, 497, "-rwxrw---x")] {
        let path = dir.path().join(name);
        let mut options = std::fs::OpenOptions::new();
        // Rust adds O_CLOEXEC, which the flags show too.
        options
            .read(true)
            .write(true)
            .create(true)
            .mode(mode)
            .open(&path)
            .unwrap();
        let open = live.wait_event("the open", |event| event["fname"] == path.to_str().unwrap());
        assert_eq!((&open["mode_raw"], &open["mode"]), (&raw.into(), &text.into()));
        assert_eq!(open["flags_raw"], 0o2_000_000 | 66);
        assert_eq!(open["flags"], "O_RDWR|O_CREAT|O_CLOEXEC");
    }
    live.stop().ok();
}

#[test]
fn trace_open_shows_failures_only() {
    let Some(ig) = Ig::with_docker() else { return };
    // Not a file that docker itself opens to find users and groups.
    let container = Container::start("failed", "echo >/there; sleep 100000");
    let work = || drop(container.exec("cat /there; cat /nosuch 2>/dev/null; true"));
    let events = opens(&ig, &container, "--failed", work);
    let [open] = named(&events, "/nosuch")[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&open["error"], &open["error_raw"], &open["fd"]),
        (&"ENOENT".into(), &2.into(), &0.into())
    );
    assert!(named(&events, "/there").is_empty(), "{events:?}");
    let events = opens(&ig, &container, "", work);
    assert_eq!(
        (named(&events, "/nosuch").len(), named(&events, "/there").len()),
        (1, 1)
    );
}

#[test]
fn filters_show_what_fits_and_nothing_else() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("filters");
    let mut shell = Waiting::start(
        &container,
        "for i in 1 2 3; do true </etc/passwd; done; cat /etc/group >/dev/null",
    );
    // The shell's process id on the host: the one of the container that is not its first process.
    let pid = shell_pid(&container);
    let named_run = |options: &str| ig.start(&format!("run trace_open -c {} -o json {options}", container.name));
    let fits = [
        format!("--pid {pid}"),
        format!("--tid {pid}"),
        "--uid 0".to_owned(),
        "--gid 0".to_owned(),
        "--comm sh".to_owned(),
        format!("--pid {pid} --tid {pid} --uid 0 --gid 0 --comm sh"),
    ];
    let does_not = [
        format!("--pid {}", pid + 50),
        format!("--tid {}", pid + 50),
        "--uid 123456".to_owned(),
        "--gid 789012".to_owned(),
        "--comm s".to_owned(),
        format!("--pid {pid} --comm s"),
    ];
    let fitting: Vec<_> = fits.iter().map(|options| named_run(options)).collect();
    let others: Vec<_> = does_not.iter().map(|options| named_run(options)).collect();
    shell.go();
    for (live, options) in fitting.into_iter().zip(&fits) {
        let events: Vec<Value> = live.stop().ok().stdout.lines().map(event).collect();
        assert_eq!(named(&events, "/etc/passwd").len(), 3, "{options}");
        // A child has another id and, with busybox, another name.
        let child = named(&events, "/etc/group").len();
        let by_user = !options.contains("id ") || options.starts_with("--uid") || options.starts_with("--gid");
        assert_eq!(child, usize::from(by_user && !options.contains("comm")), "{options}");
    }
    for (live, options) in others.into_iter().zip(&does_not) {
        assert_eq!(live.stop().ok().stdout, "", "{options}");
    }
    // Other users and groups can be selected, too.
    for options in ["--uid 123456", "--gid 789012"] {
        let work = || {
            container.exec("true </bin/busybox");
            container.exec_as("123456:789012", "true </bin");
        };
        let events = opens(&ig, &container, options, work);
        assert_eq!(
            (named(&events, "/bin").len(), named(&events, "/bin/busybox").len()),
            (1, 0),
            "{options}"
        );
    }
}

fn shell_pid(container: &Container) -> u64 {
    let first = container.pid();
    let namespace = |pid: &str| std::fs::read_link(Path::new("/proc").join(pid).join("ns/pid")).ok();
    let wanted = namespace(&first.to_string()).unwrap();
    let pids: Vec<u64> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let pid: u64 = name.parse().ok()?;
            let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            (namespace(&name)? == wanted && pid != first && command.contains("read word")).then_some(pid)
        })
        .collect();
    let [pid] = pids[..] else { panic!("{pids:?}") };
    pid
}

#[test]
fn more_namespaces_than_the_kernels_filter_holds() {
    let Some(ig) = Ig::with_docker() else { return };
    let selected = Container::start("selected", BUSY);
    let other = Container::start("other", "while true; do cat /etc/group >/dev/null; usleep 100000; done");
    let live = ig.start(&format!("run trace_open --pull never -c {} -o json", selected.name));
    live.wait_event("the open before", |event| event["fname"] == "/etc/passwd");
    // New namespaces are decided as fast as they come, so that the set fills only while nobody decides.
    live.signal(Signal::SIGSTOP);
    let namespaces = Namespaces::fill(4300);
    live.signal(Signal::SIGCONT);
    live.wait_log("filtering in user space from now on");
    let switched = live.lines().len();
    common::eventually("an open after the switch", || {
        let lines = live.lines();
        lines[switched..]
            .iter()
            .any(|line| line.contains("/etc/passwd"))
            .then_some(())
    });
    drop(namespaces);
    let ran = live.stop().ok();
    for line in ran.stdout.lines() {
        let event = event(line);
        assert_eq!(event["runtime"]["containerName"], selected.name.as_str(), "{line}");
    }
    drop(other);
}

#[test]
fn help_of_a_gadget_needs_no_root() {
    let Some(ig) = Ig::new() else { return };
    let (_dir, copy) = common::public_copy();
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy);
    command
        .args(["run", "trace_open", "--pull", "never", "--help"])
        .env("HOME", "/nonexistent");
    let output = command.output().expect("setpriv can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("--failed"), "{text}");
    drop(ig);
}
