//! trace_oomkill.

use std::process::Command;

use serde_json::json;

use super::common::Ig;
use super::common::docker::{Container, unique};
use super::{assert_only_of, start};

/// A container that may have 6 MiB and wants more; it ends when its only process is killed.
fn greedy(name: &str) {
    let line = format!("run --rm --network none -m 6m --memory-swap 6m --name {name} busybox tail /dev/zero");
    let status = Command::new("docker")
        .args(line.split(' '))
        .status()
        .expect("docker can be run");
    assert_eq!(status.code(), Some(137), "it was not killed");
}

#[test]
fn a_container_runs_out_of_memory() {
    let Some(ig) = Ig::with_docker() else { return };
    let (name, other) = (unique("greedy"), unique("other"));
    let live = start(&ig, "trace_oomkill", &format!("-c {name}"));
    greedy(&other);
    greedy(&name);
    let event = live.wait_event("the victim", |event| event["tcomm"] == "tail");
    assert_eq!(event["runtime"]["containerName"], *name);
    assert_eq!(
        (&event["fprocess"]["comm"], &event["fprocess"]["pid"]),
        (&json!("tail"), &event["tpid"])
    );
    assert_eq!(event["fprocess"]["mntns_id"], event["tmntns_id"]);
    assert_eq!(event["pages"], (6 << 20) / 4096);
    let id = event["runtime"]["containerId"].as_str().unwrap().to_owned();
    let ran = live.stop().ok();
    assert_only_of(&Container { name, id }, &ran.stdout);
    assert!(
        !ran.stderr.contains("multiple fields"),
        "whose container it is, is clear: {}",
        ran.stderr
    );
}
