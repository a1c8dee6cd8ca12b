//! Cases that are whole gadgets: those of the older convention, lists, containers, kernels without BTF, and each gadget of the catalogue.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};

use super::cases::{CELL, ig, in_vm, kernel, limitation};
use super::common::{Ig, Live, eventually};
use super::denied::{self, buffers};
use super::fake_docker::{FakeContainer, FakeDocker};

/// Beyond what any process has open, so that nobody else closes it.
const FIRST: i32 = 1 << 20;

fn close(fd: i32) {
    // SAFETY: there is no such descriptor, so nothing is closed.
    unsafe { libc::close(fd) };
}

fn cell(row: &str, buffer: &str, result: &str) {
    println!("{CELL}\t{row}\t{buffer}\t{result}");
}

/// What is said of a gadget that cannot run on this kernel: nothing but what [`in_vm`] kernels before `since` may say.
pub(crate) fn limited(row: &str, buffer: &str, since: (u32, u32), live: &Live) -> bool {
    let Err(log) = live.running_or_failed() else {
        return false;
    };
    cell(row, buffer, &limitation(&log));
    assert!(!in_vm() || kernel() < since, "{row} with {buffer} buffers: {log}");
    true
}

pub(crate) fn start(ig: &Ig, gadget: &str, flags: &[&str]) -> Live {
    let fixed = [
        "run",
        gadget,
        "--verify-image=false",
        "--pull=never",
        "-o",
        "json",
        "-v",
    ];
    Live::spawn(&mut ig.command(fixed.iter().chain(flags)))
}

#[test]
fn release() {
    let name = nix::sys::utsname::uname().expect("a kernel");
    cell("kernel", "release", &name.release().to_string_lossy());
}

/// `print_` maps, which are what they are declared as.
#[test]
fn older_tracers() {
    let Some(ig) = ig() else { return };
    for (gadget, buffer) in [("older_print_perf", "perf"), ("older_print_ring", "ring")] {
        let row = "older convention: print_";
        let first = FIRST.to_string();
        let live = start(ig, gadget, &["--host", "--include-self", "--first_fd", &first]);
        // A ring buffer that is declared cannot become another one.
        let denied = buffer == "ring" && denied::is_on();
        if denied {
            let log = live.running_or_failed().expect_err("there are no ring buffers");
            cell(row, buffer, &limitation(&log));
            continue;
        }
        if limited(row, buffer, (5, 8), &live) {
            continue;
        }
        close(FIRST + 7);
        live.wait_event("the close", |event| {
            event["fd"] == FIRST + 7 && event["pid"] == std::process::id()
        });
        live.stop().ok();
        cell(row, buffer, "pass");
    }
}

/// `stats_` and `hist_` maps, which need no buffer.
#[test]
fn older_maps() {
    let Some(ig) = ig() else { return };
    let first = FIRST.to_string();
    let live = start(ig, "older_stats", &["--host", "--include-self", "--first_fd", &first]);
    live.wait_running();
    close(FIRST + 7);
    live.wait_line("\"value\":1");
    live.stop().ok();
    cell("older convention: stats_", "ring", "pass");
    let live = start(ig, "older_hist", &["--host", "--include-self", "--first_fd", &first]);
    live.wait_running();
    close(FIRST + 7);
    let ran = live.stop().ok();
    assert!(
        ran.stdout
            .contains("\"slots\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1,0"),
        "{}",
        ran.stdout
    );
    cell("older convention: hist_", "ring", "pass");
}

/// A list of what iterator programs write.
#[test]
fn iterators() {
    let Some(ig) = ig() else { return };
    let live = start(ig, "snapshot_process", &["--host"]);
    if !limited("iter/task", "ring", (5, 8), &live) {
        live.wait_line(&format!("\"pid\":{},", std::process::id()));
        live.stop().ok();
        cell("iter/task", "ring", "pass");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let live = start(ig, "snapshot_socket", &["--host"]);
    if !limited("iter/tcp, iter/udp", "ring", (5, 9), &live) {
        live.wait_line(&format!("\"port\":{port}"));
        live.stop().ok();
        cell("iter/tcp, iter/udp", "ring", "pass");
    }
}

/// What programs count in a map, taken out of it in the way that the kernel knows.
#[test]
fn map_iterators() {
    let Some(ig) = ig() else { return };
    let first = FIRST.to_string();
    let live = start(ig, "count_calls", &["--host", "--include-self", "--first_fd", &first]);
    live.wait_running();
    for _ in 0..3 {
        close(FIRST + 7);
    }
    live.wait_line(&format!("\"fd\":{}", FIRST + 7));
    live.stop().ok();
    cell("map iterators", "ring", "pass");
}

/// A map that a program walks, and that keeps its entries. Some kernels that are locked down refuse such programs.
#[test]
fn walked_maps() {
    let Some(ig) = ig() else { return };
    let flags = ["--annotate", "entries:fetch-interval=100ms,entries:fetch-count=3"];
    let live = start(ig, "walk_map", &flags);
    if limited("iter/bpf_map_elem", "ring", (5, 9), &live) {
        return;
    }
    eventually("three lists", || (live.lines().len() == 3).then_some(()));
    let ran = live.stop().ok();
    for list in ran.stdout.lines() {
        assert_eq!(list, r#"[{"calls":7,"number":1}]"#);
    }
    cell("iter/bpf_map_elem", "ring", "pass");
}

/// A process in a mount namespace of its own that opens a file again and again.
struct Imitation(Child);

impl Imitation {
    fn start() -> Self {
        let script = "while true; do cat /etc/passwd >/dev/null; sleep 0.2; done";
        let child = Command::new("unshare").args(["-m", "sh", "-c", script]).spawn();
        Self(child.expect("unshare can be run"))
    }
}

impl Drop for Imitation {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Containers, as far as the kernel knows them: a mount namespace that a runtime says is a container.
#[test]
fn containers() {
    let Some(ig) = ig() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("docker.sock");
    let (one, other) = (Imitation::start(), Imitation::start());
    let own = std::fs::read_link("/proc/self/ns/mnt").expect("a namespace");
    for process in [&one, &other] {
        let path = format!("/proc/{}/ns/mnt", process.0.id());
        eventually("a namespace of its own", || {
            std::fs::read_link(&path).is_ok_and(|ns| ns != own).then_some(())
        });
    }
    let containers = [
        FakeContainer::new('a', "web", one.0.id()),
        FakeContainer::new('b', "db", other.0.id()),
    ];
    let _daemon = FakeDocker::start(&socket, &containers);
    for buffer in buffers() {
        let kind = format!("--buffer-kind={buffer}");
        let socket = format!("--docker-socketpath={}", socket.display());
        let live = start(ig, "trace_open", &["-c", "web", "-r", "docker", &socket, &kind]);
        if let Err(log) = live.running_or_failed() {
            assert!(buffer == "ring" && denied::is_on(), "{log}");
            continue;
        }
        live.wait_event("an open of the container", |event| {
            event["fname"] == "/etc/passwd" && event["runtime"]["containerName"] == "web"
        });
        let ran = live.stop().ok();
        assert!(!ran.stdout.contains("\"containerName\":\"db\""), "{}", ran.stdout);
        cell("containers", denied::kind(buffer), "pass");
    }
}

/// A kernel that shows no BTF, and the BTF given by a file.
#[test]
fn btf_from_a_file() {
    let Some(ig) = ig() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("kernel.btf");
    std::fs::copy("/sys/kernel/btf/vmlinux", &file).expect("this kernel shows its types");
    let path = file.to_string_lossy().into_owned();
    let hidden = |flags: &[&str]| {
        let fixed = [
            "run",
            "trace_open",
            "--pull=never",
            "--host",
            "--include-self",
            "-o",
            "json",
            "-v",
        ];
        let args = fixed.iter().chain(flags);
        Live::spawn(&mut ig.command_after("mount -t tmpfs none /sys/kernel/btf", env!("CARGO_BIN_EXE_ig"), args))
    };
    hidden(&[]).ended().fails_with(&["this kernel does not show its types"]);
    let live = hidden(&["--btf", &path]);
    live.wait_running();
    std::fs::write("/tmp/a file that is opened", "").expect("a file");
    live.wait_line("a file that is opened");
    live.stop().ok();
    cell("no BTF: --btf FILE", "ring", "pass");
}

/// Whether each gadget of the catalogue can run here, and which of its programs cannot.
#[test]
fn catalogue_gadgets() {
    let Some(ig) = ig() else { return };
    for gadget in catalogue() {
        let ran = ig.run(["doctor", &gadget, "--pull=never", "-o", "json"]);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{gadget}: {error}: {} {}", ran.stdout, ran.stderr));
        let programs = report["programs"].as_array().expect("a list of programs");
        let failed: Vec<&serde_json::Value> = programs.iter().filter(|program| program["runs"] == false).collect();
        for program in &failed {
            let error = program["error"].as_str().unwrap_or_default();
            assert!(!error.is_empty(), "{gadget}: {program}");
        }
        let row = format!("ig doctor {gadget}");
        if report["runs"] == true {
            let optional = failed
                .iter()
                .map(|program| program["name"].as_str().unwrap_or_default());
            let optional: Vec<&str> = optional.collect();
            let result = match optional.len() {
                0 => "pass".to_owned(),
                _ => format!("runs without its optional programs {}", optional.join(", ")),
            };
            cell(&row, "ring", &result);
        } else {
            let mandatory = failed
                .iter()
                .find(|program| program["optional"] == false)
                .expect("why it cannot run");
            let error = mandatory["error"].as_str().unwrap_or_default();
            cell(&row, "ring", error.lines().next().unwrap_or_default());
        }
    }
}

/// The names of the bundled gadgets.
fn catalogue() -> Vec<String> {
    match std::env::var("IG_TEST_CATALOGUE") {
        Ok(names) => names.split_whitespace().map(str::to_owned).collect(),
        Err(_) => bundled(),
    }
}

/// The names of the bundled gadgets, from their sources.
pub(crate) fn bundled() -> Vec<String> {
    let gadgets = Path::new(env!("CARGO_MANIFEST_DIR")).join("gadgets");
    let entries = std::fs::read_dir(gadgets).expect("the gadgets").flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("program.bpf.c").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
