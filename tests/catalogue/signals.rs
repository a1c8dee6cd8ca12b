//! trace_signal.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::common::Ig;
use super::common::docker::Container;
use super::{assert_only_of, mount_namespace, start, start_for};

/// A shell that stops itself with a signal after it has sent some to a child. Returns both pids.
fn shell_that_kills() -> (u32, u32) {
    let script = "sleep 1000 & echo $!; kill -0 $!; kill -USR1 $!; wait $!; kill -KILL $$";
    let child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn();
    let child = child.expect("a shell");
    let shell = child.id();
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (shell, text.trim().parse().expect("a pid"))
}

/// Nothing but what the events of a shell are told apart by.
fn facts(event: &Value) -> (Value, Value, Value, Value) {
    let fact = |key: &str| event[key].clone();
    (fact("sig"), fact("sig_raw"), fact("tpid"), fact("error"))
}

fn fact(sig: &str, number: u32, to: u32) -> (Value, Value, Value, Value) {
    (json!(sig), json!(number), json!(to), json!(""))
}

#[test]
fn signals_of_the_host() {
    let Some(ig) = Ig::new() else { return };
    let live = start(&ig, "trace_signal", "--host");
    let (shell, child) = shell_that_kills();
    let us = std::process::id();
    // The kernel tells the thread that started it.
    let thread = u32::try_from(nix::unistd::gettid().as_raw()).unwrap();
    let last = live.wait_event("the end of the shell", |event| {
        event["proc"]["pid"] == shell && event["sig"] == "SIGCHLD"
    });
    assert_eq!(
        (&last["tpid"], &last["proc"]["parent"]["pid"]),
        (&json!(thread), &json!(us))
    );
    let ran = live.stop().ok();
    let events: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |pid: u32| events.iter().filter(move |event| event["proc"]["pid"] == pid);
    assert_eq!(
        of(shell).map(facts).collect::<Vec<_>>(),
        [
            fact("SIGUSR1", 10, child),
            fact("SIGKILL", 9, shell),
            fact("SIGCHLD", 17, thread),
        ]
    );
    // A process that ends has left its mount namespace by then.
    let ends: Vec<_> = of(child).collect();
    assert_eq!(
        ends.iter().map(|event| facts(event)).collect::<Vec<_>>(),
        [fact("SIGCHLD", 17, shell)]
    );
    let namespace = mount_namespace("self");
    for event in of(shell).chain(ends) {
        assert_eq!(event["proc"]["mntns_id"], namespace, "{event}");
    }
}

#[test]
fn signals_that_are_asked_for() {
    let Some(ig) = Ig::new() else { return };
    let live = start(&ig, "trace_signal", "--host --signal 10 --comm sh");
    let (shell, child) = shell_that_kills();
    live.wait_event("the signal", |event| event["proc"]["pid"] == shell);
    let ran = live.stop().ok();
    for line in ran.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&event["sig"], &event["proc"]["comm"]),
            (&json!("SIGUSR1"), &json!("sh"))
        );
        assert!(event["proc"]["pid"] != shell || event["tpid"] == child);
    }
}

#[test]
fn calls_of_kill() {
    let Some(ig) = Ig::new() else { return };
    let live = start(&ig, "trace_signal", "--host --kill-only --comm sh");
    let failing = Command::new("sh")
        .args(["-c", "kill -TERM 4194300; kill -0 $$"])
        .output()
        .unwrap();
    assert!(failing.status.success());
    let failed = live.wait_event("the call that fails", |event| event["tpid"] == 4_194_300);
    assert_eq!(
        (&failed["sig"], &failed["error"], &failed["error_raw"]),
        (&json!("SIGTERM"), &json!("ESRCH"), &json!(3))
    );
    let shell = failed["proc"]["pid"].clone();
    let checked = live.wait_event("the call that does not", |event| event["tpid"] == shell);
    assert_eq!(
        facts(&checked),
        fact("signal#0", 0, u32::try_from(shell.as_u64().unwrap()).unwrap())
    );
    let ran = live.stop().ok();
    assert!(!ran.stdout.contains("SIGCHLD"), "only what is sent by a call");

    let live = start(&ig, "trace_signal", "--host --kill-only --failed");
    Command::new("sh")
        .args(["-c", "kill -0 $$; kill -HUP 4194301"])
        .output()
        .unwrap();
    live.wait_event("the call that fails", |event| event["tpid"] == 4_194_301);
    let ran = live.stop().ok();
    for line in ran.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_ne!(event["error_raw"], 0);
    }
}

#[test]
fn signals_of_a_container() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("signals");
    let live = start_for(&ig, &container, "trace_signal", "");
    shell_that_kills();
    container.exec("sleep 1000 & kill $!; wait $!; true");
    let event = live.wait_event("the signal", |event| event["sig"] == "SIGTERM");
    assert_eq!(event["proc"]["comm"], "sh");
    // The child tells its parent when it has left the container's namespace.
    let end = live.wait_event("the end of the child", |end| {
        end["sig"] == "SIGCHLD" && end["proc"]["pid"] == event["tpid"]
    });
    assert_eq!(end["tpid"], event["proc"]["pid"]);
    assert_eq!(end["proc"]["mntns_id"], mount_namespace(container.pid()));
    assert_only_of(&container, &live.stop().ok().stdout);
}
