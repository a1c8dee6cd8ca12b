//! Filters on the live kernel: what passes, what is handed down, what is said about mistakes, and the tracer's own events.

mod common;

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
    // The one who calls execve has another name than the one whom the event is about.
    assert_eq!(
        places("trace_exec", "proc.comm==cat,proc.pid==7", &[]),
        [TermPlace::Raw, kernel("pid")]
    );
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

/// `ig` opens files while it runs, such as the user database whose names it shows.
#[test]
fn a_run_has_no_event_of_its_own() {
    let Some(ig) = Ig::new() else { return };
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut child = ig
        .command(["run", "trace_open", "--host", "-o", "json", "--timeout", "3"])
        .stdout(out.reopen().unwrap())
        .spawn()
        .unwrap();
    let own = u64::from(child.id());
    let cat = || {
        let cat = std::process::Command::new("cat").arg("/etc/hostname").output().unwrap();
        assert!(cat.status.success());
    };
    let ended = common::eventually("the run ends", || {
        cat();
        child.try_wait().unwrap()
    });
    assert!(ended.success());
    let text = std::fs::read_to_string(out.path()).unwrap();
    let pids: Vec<u64> = text
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["proc"]["pid"].as_u64().unwrap()
        })
        .collect();
    assert!(!pids.is_empty() && !pids.contains(&own), "{own} in {pids:?}");
}
