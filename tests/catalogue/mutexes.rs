//! deadlock.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::common::{Ig, traced};
use super::{mount_namespace, start};

/// The program of the test, which does nothing yet.
struct Circle(Child);

impl Circle {
    fn start(path: &std::path::Path, args: &[&str]) -> Self {
        let child = Command::new(path).args(args).stdin(Stdio::piped()).spawn();
        Self(child.expect("the program"))
    }

    fn go(&mut self) {
        let stdin = self.0.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"go\n").expect("it reads");
    }
}

impl Drop for Circle {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn mutexes_that_are_taken_in_a_circle() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("igcircle");
    traced::compile_source("circle.c", &["-pthread"], &path);
    let (mut circle, mut ordered) = (Circle::start(&path, &[]), Circle::start(&path, &["ordered"]));
    let live = start(&ig, "deadlock", "--host --comm igcircle --map-fetch-interval 100ms");
    ordered.go();
    circle.go();
    let pid = circle.0.id();
    let event = live.wait_event("the circle", |event| event["pid"] == pid);
    assert_eq!((&event["nodes"], &event["comm"]), (&json!(3), &json!("igcircle")));
    assert_eq!(event["mntns_id"], mount_namespace("self"));
    // A pair of stacks for each step.
    let ids = event["stack_ids"].as_str().unwrap();
    let pairs: Vec<&str> = ids.trim_matches(['[', ']']).split("], [").collect();
    assert_eq!(pairs.len(), 3, "{ids}");
    for pair in pairs {
        let (first, second) = pair.split_once(", ").unwrap();
        assert!(first.parse::<u64>().is_ok() && second.parse::<u64>().is_ok(), "{ids}");
    }
    // Neither is it told of again, nor is there anything to tell of the other process.
    let ran = live.stop().ok();
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
}
