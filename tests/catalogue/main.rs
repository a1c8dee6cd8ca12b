//! What the gadgets of the catalogue say of a workload: the values that it must produce, on the host and in a container that is
//! selected. What needs kprobes is in `tests/kernels`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/json_schema.rs"]
mod json_schema;

mod capabilities;
mod costs;
mod dns;
mod files;
mod histograms;
mod memory;
mod mutexes;
mod network;
mod processes;
mod seccomp;
mod signals;
mod sockets;
mod stacks;
mod traceloop;

use std::os::unix::fs::MetadataExt;

use common::docker::Container;
use common::{Ig, Live};
use serde_json::Value;

/// The elements of an array that was printed on a line.
fn array(line: &str) -> Vec<Value> {
    match serde_json::from_str(line) {
        Ok(Value::Array(elements)) => elements,
        other => panic!("no array: {line}: {other:?}"),
    }
}

/// Waits for an element of an array.
#[track_caller]
fn wait_element(live: &Live, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    live.wait(what, |line| array(line).into_iter().find(|element| fits(element)))
}

/// Runs `gadget` until the next call of `stop`.
#[track_caller]
fn start(ig: &Ig, gadget: &str, flags: &str) -> Live {
    ig.start(&format!("run {gadget} --pull never -o json {flags}"))
}

/// Runs `gadget` for one container.
#[track_caller]
fn start_for(ig: &Ig, container: &Container, gadget: &str, flags: &str) -> Live {
    start(ig, gadget, &format!("-c {} {flags}", container.name))
}

/// Everything that was printed is of this container.
#[track_caller]
fn assert_only_of(container: &Container, stdout: &str) {
    let mut seen = 0;
    for line in stdout.lines() {
        let events = match serde_json::from_str(line).expect("JSON") {
            Value::Array(elements) => elements,
            event => vec![event],
        };
        for event in events {
            assert_eq!(event["runtime"]["containerName"], *container.name, "{event}");
            assert_eq!(event["runtime"]["containerId"], *container.id);
            seen += 1;
        }
    }
    assert!(seen > 0, "nothing was printed");
}

/// The mount namespace of a process.
fn mount_namespace(pid: impl std::fmt::Display) -> u64 {
    std::fs::metadata(format!("/proc/{pid}/ns/mnt"))
        .expect("the process runs")
        .ino()
}
