//! `ig run --record` on the live kernel, and `ig replay` of what it made.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::docker::{Container, Waiting, docker};
use common::{Ig, Live, Ran, public_copy};
use inspektor_gadget::gadget::Gadget;
use inspektor_gadget::recording::Recording;
use nix::sys::signal::Signal;
use serde_json::Value;

/// A place for recordings that everybody can read.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("recording")
    }

    /// A run of `line` that is recorded here and traces.
    #[track_caller]
    fn record(&self, ig: &Ig, line: &str) -> Live {
        ig.start(&format!("run {line} --record {}", self.path().display()))
    }
}

/// Replays with `args` as a user without any privilege, who can see nothing of the container runtime.
fn replay(path: &Path, args: &[&str]) -> Ran {
    let (_dir, program) = public_copy();
    let readable = path.with_extension("readable");
    fs::copy(path, &readable).unwrap();
    fs::set_permissions(&readable, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
        ])
        .arg(program)
        .arg("replay")
        .arg(readable)
        .args(args)
        .env("HOME", "/nonexistent");
    command.output().expect("setpriv can be run").into()
}

fn events(ran: &Ran) -> Vec<Value> {
    let lines = ran.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn container_of(event: &Value) -> &str {
    event["runtime"]["containerName"].as_str().unwrap()
}

#[test]
fn a_replay_says_what_the_run_said() {
    let Some(ig) = Ig::with_docker() else { return };
    let place = Place::new();
    let old = Container::start("old", "while true; do cat /etc/passwd >/dev/null; usleep 20000; done");
    let live = place.record(&ig, "trace_open -o json");
    live.wait_event("the old one", |event| container_of(event) == old.name);
    // Containers that come while it is recorded, one of which goes.
    let young = Container::start(
        "young",
        "cat /etc/hostname; while true; do cat /etc/hosts >/dev/null; usleep 20000; done",
    );
    let short = common::docker::unique("short");
    docker(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--name",
        &short,
        "busybox",
        "cat",
        "/etc/group",
    ]);
    live.wait_event("the young one", |event| {
        container_of(event) == young.name && event["fname"] == "/etc/hosts"
    });
    live.wait_event("the short one", |event| container_of(event) == short);
    // A container's new name holds from then on.
    let renamed = common::docker::unique("renamed");
    docker(&["rename", &old.id, &renamed]);
    live.wait_event("the new name", |event| container_of(event) == renamed);
    let ran = live.stop().ok();
    assert!(ran.stderr.contains("recorded "), "{}", ran.stderr);
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);

    let again = replay(&place.path(), &["-o", "json"]).ok();
    assert_eq!(again.stderr, "");
    assert!(ran.stdout.lines().count() > 10);
    // Byte for byte, also while containers became known.
    assert!(again.stdout == ran.stdout, "{} {}", again.stdout, ran.stdout);

    // The selection is made anew, on the same events.
    let of_young = |ran: &Ran| -> Vec<String> {
        let lines = ran.stdout.lines();
        lines
            .filter(|line| line.contains(&young.name))
            .map(str::to_owned)
            .collect()
    };
    let selected = replay(&place.path(), &["-o", "json", "-c", &young.name]).ok();
    assert_eq!(
        selected.stdout.lines().map(str::to_owned).collect::<Vec<_>>(),
        of_young(&again)
    );
    let first = events(&selected).remove(0);
    assert!(
        first["proc"]["comm"].as_str().unwrap().starts_with("runc"),
        "from its very beginning: {first}"
    );
    let others = replay(&place.path(), &["-o", "json", "-c", &format!("!{}", young.name)]).ok();
    assert_eq!(
        others.stdout.lines().count() + of_young(&ran).len(),
        ran.stdout.lines().count()
    );

    let fields = replay(&place.path(), &["--fields", "fname", "-c", &short]).ok();
    assert!(fields.stdout.starts_with("FNAME"), "{}", fields.stdout);
    assert!(
        fields.stdout.lines().any(|line| line.trim_end() == "/etc/group"),
        "{}",
        fields.stdout
    );
}

#[test]
fn a_replay_of_a_host_says_what_the_run_said() {
    let Some(ig) = Ig::with_docker() else { return };
    let place = Place::new();
    let container = Container::start("host", "while true; do cat /etc/passwd >/dev/null; usleep 20000; done");
    let live = place.record(&ig, "trace_exec --host -o json --annotate exec:x=y");
    live.wait_event("the container's", |event| container_of(event) == container.name);
    Command::new("true").status().unwrap();
    live.wait_event("the host's", |event| {
        event["args"] == "true" && container_of(event).is_empty()
    });
    let ran = live.stop().ok();
    let again = replay(&place.path(), &["-o", "json"]).ok();
    assert!(again.stdout == ran.stdout, "{} {}", again.stdout, ran.stdout);
    for args in [["-c", container.name.as_str()], ["--host=false", "--k8s-podname="]] {
        let selected = events(&replay(&place.path(), &[&["-o", "json"], &args[..]].concat()).ok());
        assert!(!selected.is_empty());
        let named = |name: &str| selected.iter().all(|event| container_of(event) == name);
        assert!(args[0] != "-c" || named(&container.name));
        assert!(selected.iter().all(|event| !container_of(event).is_empty()));
    }
}

#[test]
fn what_a_killed_recorder_wrote_can_be_replayed() {
    let Some(ig) = Ig::with_docker() else { return };
    let place = Place::new();
    let container = Container::start("killed", "while true; do cat /etc/passwd >/dev/null; usleep 1000; done");
    let live = place.record(&ig, &format!("trace_open -c {} -o json", container.name));
    // Blocks are written as events come, not only at the end.
    let first = common::eventually("a second block", || {
        let length = fs::metadata(place.path()).ok()?.len();
        (length > 4096).then_some(length)
    });
    common::eventually("a third block", || {
        (fs::metadata(place.path()).ok()?.len() > first).then_some(())
    });
    live.signal(Signal::SIGKILL);
    let ran = live.ended();
    let again = replay(&place.path(), &["-o", "json"]).ok();
    let length = fs::metadata(place.path()).unwrap().len();
    assert!(
        again.stderr.contains(&format!("cut off at byte {length}")),
        "{}",
        again.stderr
    );
    // The run may have been killed within a line.
    let (ran, again): (Vec<_>, Vec<_>) = (ran.stdout.lines().collect(), again.stdout.lines().collect());
    let both = ran.len().min(again.len()).saturating_sub(1);
    assert!(both > 10);
    assert_eq!(ran[..both], again[..both]);

    // Within earlier blocks; the last ones may be about other containers only.
    let bytes = fs::read(place.path()).unwrap();
    let cut = (10..bytes.len()).step_by(300).find_map(|less| {
        fs::write(place.path(), &bytes[..bytes.len() - less]).unwrap();
        let cut = replay(&place.path(), &["-o", "json"]).ok();
        assert!(cut.stderr.contains("cut off at byte "), "{}", cut.stderr);
        (cut.stdout.lines().count() < again.len()).then_some(cut)
    });
    let cut = cut.expect("events in the last blocks");
    let cut: Vec<_> = cut.stdout.lines().collect();
    assert_eq!(cut[..], again[..cut.len()]);
}

#[test]
fn losses_of_the_kernel_are_replayed() {
    let Some(ig) = Ig::with_docker() else { return };
    let place = Place::new();
    let container = Container::idle("losses");
    let mut work = Waiting::start(&container, "for i in $(seq 3000); do true </etc/passwd; done");
    let live = place.record(
        &ig,
        &format!("trace_open -c {} -o none --buffer-size 4096", container.name),
    );
    // Nobody empties the buffer.
    live.signal(Signal::SIGSTOP);
    work.go();
    live.signal(Signal::SIGCONT);
    let ran = live.stop().ok();
    let lost = |ran: &Ran| -> String {
        let line = ran
            .stderr
            .lines()
            .find(|line| line.contains("the event buffer was full"));
        line.unwrap_or_else(|| panic!("nothing was lost: {}", ran.stderr))
            .split("msg=")
            .nth(1)
            .unwrap()
            .to_owned()
    };
    let again = replay(&place.path(), &["-o", "none"]).ok();
    assert_eq!(lost(&again), lost(&ran));
}

#[test]
fn command_lines_that_make_no_sense_are_refused() {
    let Some(ig) = Ig::new() else { return };
    let place = Place::new();
    let live = place.record(&ig, "trace_open --host -o none --pid 1");
    live.stop().ok();
    let refused = |args: &[&str], expected: &[&str]| drop(replay(&place.path(), args).fails_with(expected));
    refused(
        &["--failed"],
        &["flag --failed: ", "was \"false\" when this was recorded"],
    );
    refused(&["--pid", "7"], &["flag --pid: ", "was \"1\" when this was recorded"]);
    refused(&["--nonsense"], &["unknown flag: --nonsense"]);
    refused(&["--record", "x"], &["unknown flag: --record"]);
    refused(&["-t", "5"], &["unknown shorthand flag: 't'"]);
    refused(&["--fields", "nothing"], &["nothing"]);
    let help = replay(&place.path(), &["--help"]).ok().stdout;
    assert!(
        help.contains("ig replay FILE [flags]") && help.contains("--containername"),
        "{help}"
    );
    assert!(!help.contains("--failed") && !help.contains("--pull"), "{help}");

    let foreign = place.dir.path().join("notes");
    fs::write(&foreign, "dear diary").unwrap();
    replay(&foreign, &[]).fails_with(&["recording ", "not a recording", "ig run GADGET --record FILE"]);
    let line = format!("run trace_open --host --record {}", foreign.display());
    ig.line(&line)
        .fails_with(&["recording to ", "it exists and is not a recording"]);
    ig.line("run trace_open --host --record /dev/null")
        .fails_with(&["it is not a regular file"]);
    assert_eq!(fs::read(&foreign).unwrap(), b"dear diary");
}

#[test]
fn a_reader_that_goes_away_ends_a_replay_quietly() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/recordings/trace_open.igrec");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ig"))
        .arg("replay")
        .arg(recording)
        .args(["-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with('{'));
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn damaged_recordings_neither_panic_nor_hang() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/recordings/trace_exec.igrec");
    // A part of it, cut off, so that it takes seconds.
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(30_000);
    let replayed = |bytes: Vec<u8>| {
        Recording::from_bytes(bytes).and_then(|recording| {
            let mut running = Gadget::replay(recording).build()?.start()?;
            running.wait(Some(common::PATIENCE));
            assert!(running.stop_signal().is_requested(), "it hangs");
            running.stop()
        })
    };
    let whole = replayed(bytes.clone()).unwrap();
    assert!(whole.events() > 1000);
    let mut damaged = 0;
    for at in (0..bytes.len()).step_by(97) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let error = match replayed(flipped) {
            Err(error) => error.to_string(),
            // Within the block that is cut off, and not read in any case.
            Ok(report) => {
                assert_eq!(report, whole, "byte {at}");
                continue;
            }
        };
        assert!(error.starts_with("recording in memory: "), "byte {at}: {error}");
        damaged += usize::from(error.contains("damaged at byte "));
    }
    assert!(damaged > 200, "{damaged}");

    // Whatever follows the right beginning.
    for seed in 0..200_u32 {
        let mut state = seed;
        let mut noise = bytes[..16].to_vec();
        noise.extend((0..1000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }));
        let error = Recording::from_bytes(noise).unwrap_err().to_string();
        assert!(error.contains("damaged at byte 16: "), "{error}");
    }
}

/// The elements of all arrays that were shown.
fn elements(ran: &Ran) -> Vec<Value> {
    let arrays = events(ran).into_iter();
    arrays
        .flat_map(|array| match array {
            Value::Array(elements) => elements,
            other => panic!("no array: {other}"),
        })
        .collect()
}

#[test]
fn a_replay_of_lists_says_what_the_run_said() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("lists", "nc -l -p 7777 & sleep 100000");
    common::eventually("somebody listens", || {
        // 7777 in hex.
        let sockets = docker(&["exec", &container.id, "cat", "/proc/net/tcp", "/proc/net/tcp6"]);
        sockets.contains(":1E61 ").then_some(())
    });
    for gadget in ["snapshot_process", "snapshot_socket"] {
        let place = Place::new();
        let live = place.record(&ig, &format!("{gadget} --pull never --host -o json"));
        live.wait("an array", |line| line.starts_with('[').then_some(()));
        let ran = live.stop().ok();
        let again = replay(&place.path(), &["-o", "json"]).ok();
        assert!(again.stdout == ran.stdout, "{gadget}: {}\n{}", again.stdout, ran.stdout);
        assert_eq!(again.stderr, "");

        // A list can be of other containers afterwards.
        let all = elements(&ran);
        let ours: Vec<&Value> = all
            .iter()
            .filter(|element| container_of(element) == container.name)
            .collect();
        assert!(!ours.is_empty() && ours.len() < all.len(), "{gadget}: {all:?}");
        let selected = elements(&replay(&place.path(), &["-o", "json", "-c", &container.name, "--host=false"]).ok());
        assert_eq!(selected.iter().collect::<Vec<_>>(), ours, "{gadget}");
        let sorted = replay(&place.path(), &["-o", "json", "--max-entries", "1"]).ok();
        assert_eq!(elements(&sorted).len(), 1, "{gadget}");
    }
}

#[test]
fn a_replay_of_counts_says_what_the_run_said() {
    let Some(ig) = Ig::new() else { return };
    let place = Place::new();
    ig.build("count", &common::gadget_source("count_calls"));
    let live = place.record(
        &ig,
        "count --pull never --verify-image=false --host --first_fd 0 -o json --map-fetch-interval 50ms --map-fetch-count closed:3",
    );
    common::eventually("all arrays", || {
        drop(fs::File::open("/dev/null"));
        (live.lines().len() == 3).then_some(())
    });
    let ran = live.stop().ok();
    let again = replay(&place.path(), &["-o", "json"]).ok();
    assert!(again.stdout == ran.stdout, "{}\n{}", again.stdout, ran.stdout);
    let counted = elements(&again);
    // The key and the value of each entry.
    assert!(
        counted
            .iter()
            .any(|element| element["pid"] == std::process::id() && element["calls"].as_u64() >= Some(1)),
        "{counted:?}"
    );
}

#[test]
fn a_replay_of_what_an_operator_reports_says_what_the_run_said() {
    let Some(ig) = Ig::new() else { return };
    let place = Place::new();
    let gadget = tempfile::tempdir().unwrap();
    let metadata = "name: processes\noperator: {process: {emitstats: true, interval: 100ms, count: 2, fields: [comm, memoryRSS, uid]}}\n";
    fs::write(gadget.path().join("gadget.yaml"), metadata).unwrap();
    let live = place.record(&ig, &format!("{} --host --fields pid", gadget.path().display()));
    let pid = std::process::id().to_string();
    let times = |lines: &[String]| lines.iter().filter(|line| line.trim() == pid).count();
    common::eventually("both lists", || (times(&live.lines()) == 2).then_some(()));
    let ran = live.stop().ok();
    let again = replay(&place.path(), &["--fields", "pid"]).ok();
    assert!(again.stdout == ran.stdout, "{}\n{}", again.stdout, ran.stdout);
    // What was not shown was recorded as well.
    let ours = replay(&place.path(), &["-o", "json", "--filter", &format!("pid=={pid}")]).ok();
    let ours = elements(&ours);
    assert_eq!(ours.len(), 2);
    for process in ours {
        assert!(process["memoryRSS_raw"].as_u64() > Some(1 << 20), "{process}");
        assert!(process["memoryRSS"].as_str().unwrap().ends_with(" MB"), "{process}");
        assert!(
            process["comm"].as_str().unwrap().starts_with("record_replay"),
            "{process}"
        );
    }
}
