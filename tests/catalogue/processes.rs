//! top_process and top_cpu_throttle.

use std::process::{Child, Command};

use serde_json::{Value, json};

use super::common::Ig;
use super::common::docker::Container;
use super::{array, assert_only_of, mount_namespace, start, start_for, wait_element};

/// A shell that computes, as nobody in particular, and gives way to others.
struct Busy(Child);

impl Busy {
    const UID: u32 = 54_322;

    fn start() -> Self {
        use std::os::unix::process::CommandExt;
        let script = "while :; do :; done";
        let child = Command::new("nice")
            .args(["-n", "10", "sh", "-c", script])
            .uid(Self::UID)
            .spawn();
        Self(child.expect("nice can be run"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn processes_that_compute() {
    let Some(ig) = Ig::new() else { return };
    let busy = Busy::start();
    let pid = busy.0.id();
    let live = start(&ig, "top_process", "--host --interval 200ms");
    let process = wait_element(&live, "the busy one", |process| {
        process["pid"] == pid && process["comm"] == "sh" && process["cpuUsage"].as_f64().unwrap() > 1.0
    });
    assert_eq!(
        (&process["uid"], &process["nice"], &process["priority"]),
        (&json!(Busy::UID), &json!(10), &json!(30))
    );
    assert_eq!((&process["state"], &process["threadCount"]), (&json!("R"), &json!(1)));
    assert_eq!(
        (&process["ppid"], &process["mountnsid"]),
        (&json!(std::process::id()), &json!(mount_namespace(pid)))
    );
    let (one, all) = (
        process["cpuUsage"].as_f64().unwrap(),
        process["cpuUsageRelative"].as_f64().unwrap(),
    );
    assert!(all > 0.0 && all <= one, "{process}");
    let ran = live.stop().ok();
    assert!(
        ran.stdout.lines().all(|line| array(line).len() > 1),
        "the others are there, too"
    );
}

#[test]
fn processes_of_a_container() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("top-process", "while true; do sleep 1; done");
    let live = start_for(&ig, &container, "top_process", "--interval 100ms --count 2");
    let process = wait_element(&live, "the shell", |process| process["comm"] == "sh");
    assert_eq!(process["pid"], container.pid());
    let ran = live.stop().ok();
    assert_only_of(&container, &ran.stdout);
}

#[test]
fn columns_of_processes() {
    let Some(ig) = Ig::new() else { return };
    let ran = ig
        .line("run top_process --pull never --host --timeout 1 --sort pid --max-entries 3")
        .ok();
    let header: Vec<&str> = ran.stdout.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        header,
        [
            "RUNTIME.CONTAINERNAME",
            "PID",
            "COMMAND",
            "PR",
            "NI",
            "%CPU",
            "%RELCPU",
            "RES",
            "VIRT",
            "SHR",
            "%MEM",
            "THR",
            "S",
            "UID",
            "STARTTIME",
            "TIME+"
        ]
    );
    let rows = ran.stdout.lines().filter(|line| !line.starts_with(header[0]));
    assert_eq!(rows.count(), 3, "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'), "no codes for a terminal into a pipe");
}

/// Whether groups are found is tested with the operator itself; here the gadget's own settings.
#[test]
fn control_groups_that_are_held_back() {
    let Some(ig) = Ig::new() else { return };
    let live = start(&ig, "top_cpu_throttle", "--host --interval 100ms --count 1");
    let groups: Vec<Value> = live.wait("a report", |line| Some(array(line)));
    for group in groups {
        assert!(
            group["nrPeriods"].as_u64().unwrap() + group["nrThrottled"].as_u64().unwrap() > 0,
            "{group}"
        );
    }
    live.stop().ok();
    let ran = ig.line("run top_cpu_throttle --pull never --host --timeout 1").ok();
    let header: Vec<&str> = ran.stdout.lines().next().unwrap().split_whitespace().collect();
    let names = [
        "RUNTIME.CONTAINERNAME",
        "PERIODS",
        "THROTTLED",
        "THROTTLED_TIME",
        "%THROT",
        "QUOTA",
        "PERIOD",
        "LIMIT",
        "%PSI10",
        "%PSI60",
    ];
    assert_eq!(header, names);
}
