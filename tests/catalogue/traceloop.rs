//! traceloop, and the data source that tells of containers.

use serde_json::Value;

use super::common::Ig;
use super::common::docker::{Container, Waiting, docker};
use super::{mount_namespace, start, start_for};

/// The calls among what was printed.
fn calls(stdout: &str) -> Vec<Value> {
    let lines = stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|event| event.get("syscall").is_some()).collect()
}

#[track_caller]
fn find(calls: &[Value], what: &str, fits: impl Fn(&Value, &str) -> bool) -> usize {
    let found = calls
        .iter()
        .position(|call| fits(call, call["parameters"].as_str().unwrap()));
    found.unwrap_or_else(|| panic!("no {what} among {calls:#?}"))
}

#[test]
fn the_last_calls_of_a_container() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("traceloop");
    let _other = Container::start(
        "traceloop-other",
        "while true; do cat /etc/hostname >/dev/null; usleep 100000; done",
    );
    let mut shell = Waiting::start(
        &container,
        "echo looped >/file; cat /file /missing >/dev/null 2>&1; true",
    );
    let live = start_for(&ig, &container, "traceloop", "");
    shell.go();
    let ran = live.stop().ok();
    let calls = calls(&ran.stdout);
    let open = find(&calls, "open", |call, parameters| {
        call["comm"] == "cat"
            && parameters.contains("filename=\"/file\"")
            && call["syscall"].as_str().unwrap().starts_with("open")
    });
    let fd = calls[open]["ret"].as_str().unwrap();
    assert!(fd.parse::<u32>().is_ok(), "{}", calls[open]);
    let missing = find(&calls, "open that fails", |call, parameters| {
        call["comm"] == "cat"
            && parameters.contains("filename=\"/missing\"")
            && call["syscall"].as_str().unwrap().starts_with("open")
    });
    assert_eq!(calls[missing]["ret"], "-1 (no such file or directory)");
    // What the shell wrote to the file before.
    let write = find(&calls, "write", |call, parameters| {
        call["syscall"] == "write" && parameters.contains("buf=\"looped\\n\"") && parameters.contains("count=7")
    });
    assert_eq!(calls[write]["ret"], "7");
    let exit = find(&calls, "end", |call, _| {
        call["comm"] == "cat" && call["syscall"] == "exit_group"
    });
    assert_eq!(calls[exit]["ret"], "X");
    // The container's first process still sleeps in a call that began before.
    assert!(
        write < open && open < missing && missing < exit,
        "{write} {open} {missing} {exit}"
    );
    let namespace = mount_namespace(container.pid());
    for call in &calls {
        assert_eq!(
            (&call["runtime"]["containerName"], &call["mntns_id"]),
            (&Value::from(&*container.name), &Value::from(namespace)),
            "{call}"
        );
        assert!(
            call["pid"].as_u64() > Some(0) && !call["syscall"].as_str().unwrap().is_empty(),
            "{call}"
        );
    }
}

#[test]
fn calls_that_are_asked_for_of_a_container_that_comes_and_goes() {
    let Some(ig) = Ig::with_docker() else { return };
    let live = start(&ig, "traceloop", "--syscall-filters mkdir,rmdir");
    let container = Container::idle("traceloop-new");
    let told = |kind: &str| {
        let event = live.wait_event(kind, |event| {
            event["event_type"] == kind && event["container_id"] == *container.id
        });
        assert_eq!(event["name"], *container.name);
        assert!(event["mntns_id"].as_u64() > Some(0), "{event}");
        event["mntns_id"].clone()
    };
    let namespace = told("CREATED");
    container.exec("mkdir /made; rmdir /made; cat /etc/hostname >/dev/null");
    docker(&["rm", "-f", &container.id]);
    assert_eq!(told("DELETED"), namespace);
    let ran = live.stop().ok();
    let calls = calls(&ran.stdout);
    for call in &calls {
        assert!(
            ["mkdir", "rmdir"].contains(&call["syscall"].as_str().unwrap()),
            "{call}"
        );
    }
    let of_container: Vec<Value> = calls.into_iter().filter(|call| call["mntns_id"] == namespace).collect();
    let made = find(&of_container, "mkdir", |call, parameters| {
        call["syscall"] == "mkdir" && parameters.starts_with("pathname=\"/made\", mode=")
    });
    assert_eq!(of_container[made]["ret"], "0");
    let removed = find(&of_container, "rmdir", |call, _| call["syscall"] == "rmdir");
    assert!(made < removed && of_container[removed]["ret"] == "0");
}

#[test]
fn only_system_calls_that_there_are() {
    let Some(ig) = Ig::new() else { return };
    ig.line("run traceloop --pull never --host --timeout 1 --syscall-filters no_such_call")
        .fails_with(&["gadgetStart", "syscall-filters: there is no system call"]);
}
