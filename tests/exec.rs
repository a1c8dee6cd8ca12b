//! trace_exec on the live kernel, with containers that live for a moment only.

mod common;

use std::collections::BTreeMap;
use std::process::Command;

use common::docker::{Container, docker, unique};
use common::{Ig, Live};
use serde_json::Value;

fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The words of `echo` and of 21 arguments for it, each of its own length.
fn echo_with_21_arguments() -> Vec<String> {
    let arguments = (1..=21).map(|n| "x".repeat(n));
    std::iter::once("echo".to_owned()).chain(arguments).collect()
}

fn trace_exec(ig: &Ig, container: &Container, options: &str, script: &str) -> Vec<String> {
    let live = ig.start(&format!("run trace_exec --pull never -c {} {options}", container.name));
    container.exec(script);
    let ran = live.stop().ok();
    ran.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn all_arguments_are_seen() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("echo", "cp /bin/busybox /bin/busybox-tells; sleep 100000");
    let words = echo_with_21_arguments().join(" ");
    let script = format!("/bin/busybox-tells {words}");
    let lines = trace_exec(
        &ig,
        &container,
        "--annotate exec.args:columns.width=40 --fields proc.comm,args_size,args,error",
        &script,
    );
    let of_it: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words[0] == "busybox-tells")
        .collect();
    let [row] = &of_it[..] else { panic!("{lines:?}") };
    // Each string with the zero at its end.
    assert_eq!(row[1], (script.len() + 1).to_string());
    // Joined by the gadget's own code, and cut at the width of the column.
    assert_eq!(row[2..5], ["/bin/busybox-tells", "echo", "x"], "{row:?}");
    assert!(lines.iter().all(|line| !line.contains('\u{a0}')), "{lines:?}");
    let text = row[2..].join(" ");
    assert!(
        text.ends_with('…') && script.starts_with(text.trim_end_matches('…')),
        "no error: {row:?}"
    );
}

#[test]
fn arguments_are_joined() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("joined", "cp /bin/busybox /bin/busybox-tells; sleep 100000");
    let words = echo_with_21_arguments();
    let script = format!("/bin/busybox-tells {}", words.join(" "));
    let lines = trace_exec(&ig, &container, "-o json", &script);
    let told: Vec<Value> = lines
        .iter()
        .map(|line| event(line))
        .filter(|event| event["proc"]["comm"] == "busybox-tells")
        .collect();
    let [told] = &told[..] else { panic!("{lines:?}") };
    assert_eq!(told["args"], script.replace(' ', "\u{a0}"));
}

#[test]
fn failures_are_shown_when_asked_for() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("fails");
    let script = "/nosuch/program argument; true";
    let failed = |lines: &[String]| -> Vec<Value> {
        let events = lines.iter().map(|line| event(line));
        events
            .filter(|event| {
                event["args"]
                    .as_str()
                    .is_some_and(|args| args.starts_with("/nosuch/program"))
            })
            .collect()
    };
    let lines = trace_exec(&ig, &container, "-o json --ignore-failed=false", script);
    let [exec] = &failed(&lines)[..] else {
        panic!("{lines:?}")
    };
    assert_eq!((&exec["error"], &exec["error_raw"]), (&"ENOENT".into(), &2.into()));
    // The process that tried is still the shell.
    assert_eq!(exec["proc"]["comm"], "sh");
    assert_eq!(exec["runtime"]["containerName"], *container.name);
    let lines = trace_exec(&ig, &container, "-o json", script);
    assert!(failed(&lines).is_empty(), "{lines:?}");
}

#[test]
fn an_optional_program_that_cannot_be_attached_is_named_once() {
    let Some(ig) = Ig::new() else { return };
    let kprobes = std::path::Path::new("/sys/bus/event_source/devices/kprobe").exists();
    let ran = ig.line("run trace_exec --pull never --host --timeout 1 -o none").ok();
    let warnings: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.contains("level=warning"))
        .collect();
    if kprobes {
        assert_eq!(warnings, Vec::<&str>::new());
        return;
    }
    let [warning] = warnings[..] else {
        panic!("{warnings:?}")
    };
    for part in [
        "security_bprm_check",
        "no kprobes",
        "file",
        "file_from_rootfs",
        "fupper_layer",
        "fctime",
        "inode",
    ] {
        assert!(warning.contains(part), "no {part:?} in: {warning}");
    }
}

/// Name of the container → how often `true` was executed in it.
fn counts(stdout: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in stdout.lines() {
        let event = event(line);
        if event["proc"]["comm"] == "true" {
            let name = event["runtime"]["containerName"].as_str().unwrap_or_default();
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

#[test]
fn sixty_short_lived_containers_have_their_names() {
    let Some(ig) = Ig::with_docker() else { return };
    let names: Vec<String> = (0..60).map(|n| unique(&format!("sixty-{n}"))).collect();
    let selected = &names[37];
    let all = ig.start("run trace_exec --pull never -o json");
    let one = ig.start(&format!("run trace_exec --pull never -o json -c {selected}"));
    for name in &names {
        docker(&["run", "--rm", "--network", "none", "--name", name, "busybox", "true"]);
    }
    let last = |live: &Live, name: &str| {
        live.wait_event(name, |event| {
            event["proc"]["comm"] == "true" && event["runtime"]["containerName"] == name
        });
    };
    last(&all, &names[59]);
    last(&one, selected);

    let seen = counts(&all.stop().ok().stdout);
    for name in &names {
        assert_eq!(seen.get(name), Some(&1), "{name}; seen: {seen:?}");
    }
    let seen = counts(&one.stop().ok().stdout);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(selected.clone(), 1)]);
}

#[test]
fn names_that_docker_chose_are_right() {
    let Some(ig) = Ig::with_docker() else { return };
    let live = ig.start("run trace_exec --pull never -o json");
    for _ in 0..3 {
        let id = docker(&["run", "-d", "--network", "none", "busybox", "true"]);
        let name = docker(&["inspect", "-f", "{{.Name}}", &id]);
        let event = live.wait_event("the exec", |event| event["runtime"]["containerId"] == *id);
        let removed = Command::new("docker").args(["rm", "-f", &id]).output().unwrap();
        assert!(removed.status.success());
        assert_eq!(
            format!("/{}", event["runtime"]["containerName"].as_str().unwrap()),
            name
        );
        assert_eq!(event["runtime"]["containerImageName"], "busybox");
    }
    live.stop().ok();
}
