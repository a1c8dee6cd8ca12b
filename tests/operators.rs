//! Operators that need no eBPF program, on the live machine: processes, control groups, the environment, custom parameters.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use common::docker::Container;
use common::{Ig, Live, eventually, gadget_source};
use serde_json::Value;

/// A child that sleeps, by its own name, as a user of its own.
struct Sleeper(Child);

impl Sleeper {
    const UID: u32 = 54_321;

    fn start() -> Self {
        use std::os::unix::process::CommandExt;
        let child = Command::new("sleep").arg("1000").uid(Self::UID).spawn();
        Self(child.expect("sleep can be run"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn path(gadget: &str) -> String {
    gadget_source(gadget).display().to_string()
}

fn batch(line: &str) -> Vec<Value> {
    match serde_json::from_str(line) {
        Ok(Value::Array(processes)) => processes,
        other => panic!("{other:?}: {line}"),
    }
}

fn of_pid(batch: &[Value], pid: u32) -> Option<&Value> {
    batch.iter().find(|process| process["pid"] == pid)
}

fn start(ig: &Ig, line: &str) -> Live {
    let mut command = ig.command(line.split_whitespace());
    let live = Live::spawn(command.arg("-v").env("IG_LAB_WHERE", "here").env("TZ", "UTC"));
    live.wait_running();
    live
}

const ENV: &str = "--env-vars IG_LAB_WHERE";

#[test]
fn a_process_is_shown_in_every_report() {
    let Some(ig) = Ig::new() else { return };
    let sleeper = Sleeper::start();
    let line = format!("run --interval 100ms --count 2 -o json {ENV} {}", path("lab_process"));
    let live = start(&ig, &line);
    eventually("three reports", || (live.lines().len() >= 3).then_some(()));
    let ran = live.stop().ok();
    let reports: Vec<Vec<Value>> = ran.stdout.lines().map(batch).collect();
    assert_eq!(reports.len(), 3, "two, and the first, which does not count");
    let status = fs::read_to_string(format!("/proc/{}/stat", sleeper.pid())).unwrap();
    let start_ticks: u64 = status
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(19)
        .unwrap()
        .parse()
        .unwrap();
    for report in &reports {
        let process = of_pid(report, sleeper.pid()).expect("the child is in every report");
        assert_eq!(process["comm"], "sleep");
        assert_eq!(process["uid"], Sleeper::UID);
        assert_eq!(process["ppid"], std::process::id());
        assert!(
            ["R", "S", "D"].contains(&process["state"].as_str().unwrap()),
            "{process}"
        );
        assert_eq!(process["threadCount"], 1);
        assert_eq!(process["startTime"], start_ticks);
        assert_eq!(process["where"], "here");
        assert!(process["memoryRSS_raw"].as_u64().unwrap() > 0);
        assert!(process["memoryRSS"].as_str().unwrap().ends_with("B"));
        assert!(process["startTimeStr"].as_str().unwrap().ends_with('Z'));
        let busy: f64 = report.iter().map(|process| process["cpuUsage"].as_f64().unwrap()).sum();
        assert!(busy.is_finite());
        let own = of_pid(report, std::process::id()).expect("this test is a process, too");
        let mntns = std::os::unix::fs::MetadataExt::ino(&fs::metadata("/proc/self/ns/mnt").unwrap());
        assert_eq!(
            (&own["mountnsid"], &process["mountnsid"]),
            (&mntns.into(), &mntns.into())
        );
    }
}

#[test]
fn a_selected_container_is_all_there_is() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("procs", "while true; do sleep 1; done");
    let line = format!(
        "run {} --interval 100ms --count 0 -c {} -o json {ENV}",
        path("lab_process"),
        container.name
    );
    let live = start(&ig, &line);
    let processes = live.wait("a report with processes", |line| {
        Some(batch(line)).filter(|batch| !batch.is_empty())
    });
    for process in &processes {
        assert_eq!(process["runtime"]["containerName"], *container.name, "{process}");
    }
    live.stop().ok();
    // Without a selection, the processes of the host are there as well.
    for host in ["", "--host"] {
        let live = start(&ig, &format!("run {} -o json {host} {ENV}", path("lab_process")));
        live.wait("the host's and the container's", |line| {
            let batch = batch(line);
            let of_container = batch
                .iter()
                .any(|process| process["runtime"]["containerName"] == *container.name);
            (of_container && of_pid(&batch, std::process::id()).is_some()).then_some(())
        });
        live.stop().ok();
    }
}

#[test]
fn custom_params_are_flags_in_any_place() {
    let Some(ig) = Ig::new() else { return };
    let gadget = path("lab_process");
    let help = ig.line(&format!("run {gadget} --help {ENV}")).ok().stdout;
    for text in [
        "--interval string",
        "Time between two reports (default \"1s\")",
        "How much is shown [all, little] (default \"all\")",
    ] {
        assert!(help.contains(text), "{text:?} in {help}");
    }
    for line in [
        format!("run --detail little {gadget} -o json {ENV}"),
        format!("run {ENV} {gadget} -o json --detail=little"),
    ] {
        let live = start(&ig, &line);
        let report = live.wait("a report", |line| Some(batch(line)));
        let own = of_pid(&report, std::process::id()).expect("this test");
        let mut keys: Vec<&str> = own.as_object().unwrap().keys().map(String::as_str).collect();
        keys.retain(|key| !["k8s", "runtime"].contains(key));
        assert_eq!(keys, ["comm", "mountnsid", "pid", "uid", "where"]);
        live.stop().ok();
    }
    ig.line(&format!("run {gadget} --detail much {ENV}")).fails_with(&[
        "invalid argument \"much\" for \"--detail\" flag",
        "valid values are: all, little",
    ]);
    ig.line(&format!("run {gadget} --interval soon {ENV}"))
        .fails_with(&["operator.process.interval: time: invalid duration \"soon\""]);
}

#[test]
fn a_broken_patch_aborts_the_run() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let with = |template: &str| {
        let yaml = format!(
            "operator: {{process: {{emitstats: true}}}}\nparams: {{custom: {{x: {{patch: {{y: '{template}'}}}}}}}}\n"
        );
        fs::write(dir.path().join("gadget.yaml"), yaml).unwrap();
        ig.line(&format!("run {}", dir.path().display()))
    };
    with("{{call .nosuch \"x\"}}")
        .fails_with(&["processing custom params: custom.x: template: x:1:3: error calling call: call of nil"]);
    // What can be seen without running it is seen when the gadget is built.
    with("{{.invalidTemplate").fails_with(&[
        "validating metadata file",
        "params.custom.x.patch.y: template: patch:1:1: unclosed action",
    ]);
}

#[test]
fn the_environment_is_shown_only_if_allowed() {
    let Some(ig) = Ig::new() else { return };
    let gadget = path("lab_process");
    ig.line(&format!("run {gadget}"))
        .fails_with(&["environment var \"where\" not in allowed vars: []", "--env-vars"]);
    ig.line(&format!("run {gadget} --env-vars A,B"))
        .fails_with(&["environment var \"where\" not in allowed vars: [A B]"]);
}

/// A control group with a limit and a process that is too busy for it, where the unified hierarchy has the CPU controller.
struct Throttled {
    dir: PathBuf,
    child: Child,
}

impl Throttled {
    fn start() -> Option<Self> {
        let mount = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        let mount = mount.into_iter().find(|mount| {
            let controllers = fs::read_to_string(mount.join("cgroup.controllers"));
            controllers.is_ok_and(|controllers| controllers.split_whitespace().any(|name| name == "cpu"))
        })?;
        fs::write(mount.join("cgroup.subtree_control"), "+cpu").ok()?;
        let dir = mount.join(format!("ig-test-{}", std::process::id()));
        fs::create_dir(&dir).expect("a control group can be made");
        fs::write(dir.join("cpu.max"), "10000 100000").expect("its CPU time can be limited");
        let child = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .expect("a shell");
        fs::write(dir.join("cgroup.procs"), child.id().to_string()).expect("a process can be moved");
        Some(Self { dir, child })
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Without a CPU controller there is no group with a limit, and every report is empty.
#[test]
fn control_groups_are_reported() {
    let Some(ig) = Ig::new() else { return };
    let throttled = Throttled::start();
    let live = start(&ig, &format!("run {} -o json", path("lab_cgroup")));
    let Some(throttled) = throttled else {
        assert_eq!(live.wait("a report", |line| Some(batch(line))), Vec::<Value>::new());
        live.stop().ok();
        return;
    };
    let name = throttled.dir.file_name().unwrap().to_string_lossy();
    let group = live.wait("the busy group", |line| {
        let groups = batch(line).into_iter();
        groups
            .rev()
            .find(|group| group["cgroupPath"].as_str().unwrap().ends_with(&*name))
    });
    assert_eq!(
        (&group["cpuLimitCores"], &group["cpuQuota_raw"]),
        (&0.1.into(), &10_000_000.into())
    );
    assert!(group["nrThrottled"].as_u64().unwrap() > 0, "{group}");
    live.stop().ok();
}
