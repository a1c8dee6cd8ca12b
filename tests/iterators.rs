//! Array data sources on the live kernel: what iterators show, what map iterators count, and when.

mod common;

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use common::docker::{Container, docker};
use common::namespaces::Namespaces;
use common::{Ig, Live, gadget_source};
use inspektor_gadget::ebpf::fetch::{MapDrain, Method};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use serde_json::{Value, json};

const COUNT_CALLS: &str = "count_calls";

/// A child that is killed when this is dropped.
struct Killed(Child);

impl Killed {
    fn sleep() -> Self {
        Self(Command::new("sleep").arg("100000").spawn().expect("sleep can be run"))
    }

    fn pid(&self) -> u64 {
        u64::from(self.0.id())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn array(line: &str) -> Vec<Value> {
    match serde_json::from_str(line) {
        Ok(Value::Array(elements)) => elements,
        other => panic!("no array: {line}: {other:?}"),
    }
}

fn arrays(stdout: &str) -> Vec<Vec<Value>> {
    stdout.lines().map(array).collect()
}

/// Waits for the first array and ends the run.
#[track_caller]
fn snapshot(ig: &Ig, line: &str) -> Vec<Value> {
    let live = ig.start(&format!("run {line} -o json"));
    let elements = live.wait("an array", |line| Some(array(line)));
    assert_eq!(arrays(&live.stop().ok().stdout).len(), 1, "one fetch");
    elements
}

#[track_caller]
fn only(elements: &[Value], fits: impl Fn(&Value) -> bool) -> &Value {
    let found: Vec<&Value> = elements.iter().filter(|element| fits(element)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

#[test]
fn processes_of_the_host() {
    let Some(ig) = Ig::new() else { return };
    let child = Killed::sleep();
    let all = snapshot(&ig, "snapshot_process --pull never --host");
    let found = only(&all, |process| process["pid"] == child.pid());
    assert_eq!((&found["comm"], &found["tid"]), (&json!("sleep"), &json!(child.pid())));
    assert_eq!(found["parent"]["pid"], std::process::id());
    assert_eq!(
        found["creds"],
        json!({"uid": 0, "gid": 0, "user": "root", "group": "root"})
    );
    let mntns = std::fs::metadata("/proc/self/ns/mnt").unwrap().ino();
    assert_eq!(found["mntns_id"], mntns);
    assert_eq!(found["runtime"]["containerName"], "");
    assert!(all.iter().all(|process| process["pid"] == process["tid"]));
    // What is not asked for is left out by the kernel side.
    let one = snapshot(
        &ig,
        &format!("snapshot_process --pull never --host --pid {}", child.pid()),
    );
    assert_eq!(one, std::slice::from_ref(found));
    let none = snapshot(&ig, "snapshot_process --pull never --host --comm no-such-comm");
    assert!(none.is_empty(), "an empty array is printed too");
}

#[test]
fn threads_if_asked_for() {
    let Some(ig) = Ig::new() else { return };
    let us = std::process::id();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || receiver.recv());
    let threads = snapshot(
        &ig,
        &format!("snapshot_process --pull never --host --threads --pid {us}"),
    );
    assert!(threads.iter().any(|thread| thread["tid"] == us), "{threads:?}");
    assert!(threads.iter().any(|thread| thread["tid"] != us), "{threads:?}");
    assert!(threads.iter().all(|thread| thread["pid"] == us));
    drop(sender);
    thread.join().unwrap().unwrap_err();
}

#[test]
fn processes_of_a_container() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("processes", "sleep 90000 & sleep 100000; true");
    let other = Container::idle("other");
    let _host = Killed::sleep();
    common::eventually("both have started", || {
        (container.exec("pidof sleep").split_whitespace().count() == 2).then_some(())
    });
    let elements = snapshot(&ig, &format!("snapshot_process --pull never -c {}", container.name));
    let shell = only(&elements, |process| process["comm"] == "sh");
    assert_eq!(shell["pid"], container.pid());
    let sleeps: Vec<&Value> = elements.iter().filter(|process| process["comm"] == "sleep").collect();
    assert_eq!((elements.len(), sleeps.len()), (3, 2), "{elements:?}");
    assert!(sleeps.iter().all(|sleep| sleep["parent"]["pid"] == container.pid()));
    for element in &elements {
        let runtime = &element["runtime"];
        assert_eq!(runtime["containerName"], *container.name);
        assert_eq!(runtime["containerId"], *container.id);
    }
    // Without a name all containers are selected, with --host everything is shown; who is in a container is named.
    for options in ["", "--host"] {
        let all = snapshot(&ig, &format!("snapshot_process --pull never {options}"));
        for container in [&container, &other] {
            let first = only(&all, |process| process["pid"] == container.pid());
            assert_eq!(first["runtime"]["containerName"], *container.name);
        }
        let us = all
            .iter()
            .filter(|process| process["pid"] == std::process::id())
            .count();
        assert_eq!(us, usize::from(options == "--host"));
    }
}

#[test]
fn snapshots_as_columns() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("columns");
    let ran = ig
        .line(&format!(
            "run snapshot_process --pull never -c {} --timeout 1",
            container.name
        ))
        .ok();
    let lines: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["RUNTIME.CONTAINERNAME", "COMM", "PID", "TID", "TID"]);
    let pid = container.pid().to_string();
    assert_eq!(lines[1][1..4], ["sleep", &pid, &pid], "{}", ran.stdout);
    assert_eq!((lines.len(), ran.stderr.as_str()), (2, ""));
}

#[test]
fn a_snapshot_again_and_again() {
    let Some(ig) = Ig::new() else { return };
    let child = Killed::sleep();
    let line = format!("run snapshot_process --pull never --host --pid {} -o json", child.pid());
    let of = |annotations: &str| {
        let annotations: Vec<String> = annotations.split(' ').map(|one| format!("processes:{one}")).collect();
        format!("{line} --annotate {}", annotations.join(","))
    };
    let live = ig.start(&of("fetch-interval=10ms fetch-count=0"));
    common::eventually("some arrays", || (live.lines().len() >= 5).then_some(()));
    let all = arrays(&live.stop().ok().stdout);
    assert!(all.iter().all(|elements| elements.len() == 1));

    let live = ig.start(&of("fetch-interval=10ms fetch-count=3"));
    common::eventually("three arrays", || (live.lines().len() == 3).then_some(()));
    assert_eq!(arrays(&live.stop().ok().stdout).len(), 3);

    for (annotations, expected) in [
        ("fetch-interval=1h fetch-count=0", 0),
        ("fetch-interval=1h fetch-count=0 ebpf.iter.fetch-on-stop=true", 1),
        ("fetch-interval=0 fetch-count=0 ebpf.iter.fetch-on-stop=true", 1),
    ] {
        let ran = ig.start(&of(annotations)).stop().ok();
        assert_eq!(arrays(&ran.stdout).len(), expected, "{annotations}");
    }
    ig.line(&of("fetch-interval=soon"))
        .fails_with(&["initializing ebpf gadget: parsing fetch-interval: "]);
}

fn endpoint<'v>(socket: &'v Value, side: &str) -> (&'v Value, &'v Value) {
    (&socket[side]["addr"], &socket[side]["port"])
}

fn inode(socket: &impl AsRawFd) -> u64 {
    std::fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd()))
        .unwrap()
        .ino()
}

#[test]
fn sockets_of_the_host() {
    let Some(ig) = Ig::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener6 = TcpListener::bind("[::1]:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp6 = UdpSocket::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    let client_port = client.local_addr().unwrap().port();
    udp6.connect(udp6.local_addr().unwrap()).unwrap();

    let sockets = snapshot(&ig, "snapshot_socket --pull never --host");
    let netns = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
    let (udp_port, udp6_port) = (udp.local_addr().unwrap().port(), udp6.local_addr().unwrap().port());
    let port6 = listener6.local_addr().unwrap().port();
    for (inode, proto, version, state, src, dst) in [
        (inode(&listener), "TCP", 4, 10, ("127.0.0.1", port), ("0.0.0.0", 0)),
        (inode(&listener6), "TCP", 6, 10, ("::1", port6), ("::", 0)),
        (
            inode(&client),
            "TCP",
            4,
            1,
            ("127.0.0.1", client_port),
            ("127.0.0.1", port),
        ),
        (
            inode(&server),
            "TCP",
            4,
            1,
            ("127.0.0.1", port),
            ("127.0.0.1", client_port),
        ),
        (inode(&udp), "UDP", 4, 7, ("127.0.0.1", udp_port), ("0.0.0.0", 0)),
        (inode(&udp6), "UDP", 6, 1, ("::1", udp6_port), ("::1", udp6_port)),
    ] {
        let socket = only(&sockets, |socket| socket["ino"] == inode);
        for (side, (addr, port)) in [("src", src), ("dst", dst)] {
            assert_eq!(endpoint(socket, side), (&json!(addr), &json!(port)), "{socket}");
            assert_eq!(socket[side]["proto"], proto);
            assert_eq!(socket[side]["version"], version);
        }
        assert_eq!((&socket["state"], &socket["netns_id"]), (&json!(state), &json!(netns)));
    }
    // All of TCP first, as the gadget declares it.
    let protos: Vec<&str> = sockets
        .iter()
        .map(|socket| socket["src"]["proto"].as_str().unwrap())
        .collect();
    assert!(protos.is_sorted(), "{protos:?}");
}

#[test]
fn a_connection_that_has_ended_has_no_inode() {
    let Some(ig) = Ig::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let client_port = client.local_addr().unwrap().port();
    drop(client);
    drop(listener.accept().unwrap());
    let sockets = snapshot(&ig, "snapshot_socket --pull never --host");
    let ended = only(&sockets, |socket| {
        socket["src"]["port"] == client_port && socket["dst"]["port"] == port
    });
    assert_eq!((&ended["state"], &ended["ino"]), (&json!(6), &json!(0)), "{ended}");
}

#[test]
fn sockets_of_containers() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("sockets", "nc -l -p 9090");
    let of_container = format!("container:{}", container.id);
    let sharing = docker(&[
        "run",
        "-d",
        "--rm",
        "--network",
        &of_container,
        "busybox",
        "sleep",
        "100000",
    ]);
    let _host = TcpListener::bind("127.0.0.1:0").unwrap();
    let pid = container.pid();
    common::eventually("it listens", || {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?
            + &std::fs::read_to_string(format!("/proc/{pid}/net/tcp6")).ok()?;
        table.contains(":2382 ").then_some(())
    });
    let netns = std::fs::metadata(format!("/proc/{pid}/ns/net")).unwrap().ino();
    let sockets = snapshot(&ig, &format!("snapshot_socket --pull never -c {}", container.name));
    let socket = only(&sockets, |socket| socket["src"]["port"] == 9090);
    assert_eq!(
        (&socket["state"], &socket["dst"]["port"]),
        (&json!(10), &json!(0)),
        "{socket}"
    );
    assert!(sockets.iter().all(|socket| socket["netns_id"] == netns), "{sockets:?}");
    // The namespace is visited once, though two containers have it.
    for options in ["", "--host"] {
        let all = snapshot(&ig, &format!("snapshot_socket --pull never {options}"));
        only(&all, |socket| {
            socket["netns_id"] == netns && socket["src"]["port"] == 9090
        });
        let ours = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
        let of_host = all.iter().any(|socket| socket["netns_id"] == ours);
        assert_eq!(of_host, options == "--host");
    }
    docker(&["rm", "-f", &sharing]);
    common::eventually("the container's sockets have its name", || {
        let sockets = snapshot(&ig, &format!("snapshot_socket --pull never -c {}", container.name));
        let socket = only(&sockets, |socket| socket["src"]["port"] == 9090);
        (socket["runtime"]["containerName"] == *container.name).then_some(())
    });
}

/// Numbers for file descriptors that nobody has, other ones for each test.
fn unused_fds(count: u32) -> std::ops::Range<u32> {
    static NEXT: AtomicU32 = AtomicU32::new(1_000_000_000);
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    first..first + count
}

fn close(fd: u32) {
    nix::unistd::close(i32::try_from(fd).unwrap()).expect_err("nobody has this one");
}

/// What the arrays in `stdout` say about `fds`: how often each was closed, which must be in one array only.
fn closed(stdout: &str, fds: &std::ops::Range<u32>) -> HashMap<u64, u64> {
    let mut found = HashMap::new();
    for element in arrays(stdout).iter().flatten() {
        let fd = element["fd"].as_u64().unwrap();
        if fds.contains(&u32::try_from(fd).unwrap()) {
            assert_eq!(element["pid"], std::process::id());
            let before = found.insert(fd, element["calls"].as_u64().unwrap());
            assert_eq!(before, None, "{fd} is in two arrays");
        }
    }
    found
}

fn start_counting(ig: &Ig, fds: &std::ops::Range<u32>, options: &str) -> Live {
    ig.build("count", &gadget_source(COUNT_CALLS));
    ig.start(&format!(
        "run count --pull never --verify-image=false --host --first_fd {} -o json {options}",
        fds.start
    ))
}

#[test]
fn nothing_is_counted_twice_or_lost_between_fetches() {
    let Some(ig) = Ig::new() else { return };
    let fds = unused_fds(50_000);
    let options = "--map-fetch-interval 1ms --annotate closed:ebpf.map.flush-on-stop=true";
    let live = start_counting(&ig, &fds, options);
    fds.clone().for_each(close);
    let ran = live.stop().ok();
    let found = closed(&ran.stdout, &fds);
    assert_eq!(found.len(), fds.len());
    assert!(found.values().all(|calls| *calls == 1));
    let filled = arrays(&ran.stdout)
        .iter()
        .filter(|elements| !elements.is_empty())
        .count();
    assert!(filled > 1, "it was fetched while it was written");
    assert!(!ran.stderr.contains("error from map"), "{}", ran.stderr);
}

#[test]
fn counts_add_up_until_they_are_fetched() {
    let Some(ig) = Ig::new() else { return };
    let fds = unused_fds(10);
    let flush = "--annotate closed:ebpf.map.flush-on-stop=true";
    let live = start_counting(&ig, &fds, &format!("--map-fetch-interval 0 {flush}"));
    for fd in fds.clone() {
        (fds.start..=fd).for_each(|_| close(fd));
    }
    let ran = live.stop().ok();
    assert_eq!(arrays(&ran.stdout).len(), 1, "only at the end");
    let found = closed(&ran.stdout, &fds);
    let expected: HashMap<u64, u64> = fds.clone().map(u64::from).zip(1..).collect();
    assert_eq!(found, expected);

    // Without that annotation what is in the map at the end is not shown.
    let live = start_counting(&ig, &fds, "--map-fetch-interval 1h");
    fds.clone().for_each(close);
    assert_eq!(live.stop().ok().stdout, "");
}

#[test]
fn as_many_fetches_as_asked_for() {
    let Some(ig) = Ig::new() else { return };
    let fds = unused_fds(1);
    for (interval, count) in [("5ms", 3), ("closed:5ms", 2), ("0", 1)] {
        let options = format!(
            "--map-fetch-interval {interval} --map-fetch-count {count} --annotate closed:ebpf.map.flush-on-stop=true"
        );
        let live = start_counting(&ig, &fds, &options);
        common::eventually("all arrays", || (live.lines().len() == count).then_some(()));
        close(fds.start);
        let ran = live.stop().ok();
        assert_eq!(ran.stdout.lines().count(), count, "and none at the end");
    }
}

#[test]
fn bad_fetch_params() {
    let Some(ig) = Ig::new() else { return };
    ig.build("count", &gadget_source(COUNT_CALLS));
    for (options, expected) in [
        (
            "--map-fetch-interval 1s,closed:2s",
            "mixed values with and without specifying data source",
        ),
        (
            "--map-fetch-interval closed:1s,other:2s",
            "map fetch interval found for non-existing iterator \"other\"",
        ),
        ("--map-fetch-interval soon", "parsing map-fetch-interval: "),
        (
            "--map-fetch-interval 0 --map-fetch-count 2",
            "map iterator \"closed\" has count > 1 but interval is zero",
        ),
    ] {
        ig.line(&format!("run count --pull never --verify-image=false --host {options}"))
            .fails_with(&[expected]);
    }
}

#[test]
fn a_map_has_the_size_that_a_parameter_says() {
    let Some(ig) = Ig::new() else { return };
    let fds = unused_fds(1000);
    let options = "--calls_max_entries 100 --map-fetch-interval 0 --annotate closed:ebpf.map.flush-on-stop=true";
    let live = start_counting(&ig, &fds, options);
    fds.clone().for_each(close);
    assert_eq!(closed(&live.stop().ok().stdout, &fds).len(), 100);
}

/// Bytes of memory that a process has.
fn memory(live: &Live) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", live.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_thousand_fetches_need_no_more_memory_than_a_hundred() {
    let Some(ig) = Ig::new() else { return };
    let fds = unused_fds(200);
    let live = start_counting(&ig, &fds, "--map-fetch-interval 1ms");
    let arrays = |count: usize| {
        common::eventually("arrays", || {
            fds.clone().for_each(close);
            (live.lines().len() >= count).then(|| memory(&live))
        })
    };
    let (before, after) = (arrays(100), arrays(1100));
    assert!(after < before + (2 << 20), "{before} {after}");
    live.stop().ok();
}

#[test]
fn a_map_of_containers() {
    let Some(ig) = Ig::with_docker() else { return };
    ig.build("count", &gadget_source(COUNT_CALLS));
    let busy = "while true; do true </etc/passwd; usleep 10000; done";
    let (selected, _other) = (Container::start("selected", busy), Container::start("other", busy));
    let live = ig.start(&format!(
        "run count --pull never --verify-image=false -c {} -o json --map-fetch-interval 50ms",
        selected.name
    ));
    let filled = |line: &str| Some(array(line)).filter(|elements| !elements.is_empty());
    live.wait("an array", filled);
    // More mount namespaces than the kernel's filter holds come into being; see the same test of tracers.
    live.signal(nix::sys::signal::Signal::SIGSTOP);
    let namespaces = Namespaces::fill(4300);
    live.signal(nix::sys::signal::Signal::SIGCONT);
    live.wait_log("filtering in user space from now on");
    let switched = live.lines().len();
    common::eventually("an array after the switch", || {
        let lines = live.lines();
        lines[switched..].iter().skip(2).find_map(|line| filled(line))
    });
    drop(namespaces);
    let ran = live.stop().ok();
    for element in arrays(&ran.stdout).iter().flatten() {
        assert_eq!(element["runtime"]["containerName"], *selected.name, "{element}");
    }
}

#[test]
fn iterators_go_on_after_the_switch_to_user_space() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("switch");
    let live = ig.start(&format!(
        "run snapshot_process --pull never -c {} -o json --annotate processes:fetch-interval=50ms,processes:fetch-count=0",
        container.name
    ));
    live.wait_line("sleep");
    live.signal(nix::sys::signal::Signal::SIGSTOP);
    let namespaces = Namespaces::fill(4300);
    live.signal(nix::sys::signal::Signal::SIGCONT);
    live.wait_log("filtering in user space from now on");
    drop(namespaces);
    let switched = live.lines().len();
    common::eventually("arrays after the switch", || {
        (live.lines().len() > switched + 2).then_some(())
    });
    let ran = live.stop().ok();
    for elements in arrays(&ran.stdout) {
        let [element] = &elements[..] else {
            panic!("{elements:?}")
        };
        assert_eq!(element["pid"], container.pid());
    }
}

/// A gadget with this text after the usual headers.
fn gadget(text: &str) -> tempfile::TempDir {
    common::gadget(&format!(
        "#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\n#include <gadget/macros.h>\n#include <gadget/types.h>\n\
         char LICENSE[] SEC(\"license\") = \"GPL\";\n{text}"
    ))
}

fn run(ig: &Ig, dir: &tempfile::TempDir) -> Vec<Vec<Value>> {
    let path = dir.path().join("program.bpf.c");
    let live = ig.start(&format!("run {} -o json", path.display()));
    live.wait("an array", |line| Some(array(line)));
    arrays(&live.stop().ok().stdout)
}

#[test]
fn output_that_is_no_whole_number_of_records_is_lost_and_counted() {
    let Some(ig) = Ig::new() else { return };
    let dir = gadget(
        "struct entry { __u64 a, b, c; };\n\
         GADGET_ITER(entries, entry, walk);\n\
         SEC(\"iter/task\") int walk(struct bpf_iter__task *ctx)\n\
         { __u8 bytes[50] = {}; if (!ctx->task) bpf_seq_write(ctx->meta->seq, bytes, sizeof(bytes)); return 0; }\n",
    );
    let path = dir.path().join("program.bpf.c");
    let live = ig.start(&format!("run {} -o json", path.display()));
    live.wait_log(
        "error running iterator \\\"entries\\\": iter \\\"walk\\\" returned an invalid buffer's size 50, expected multiple of 24",
    );
    let ran = live.stop().ok();
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("entries: lost 2 samples: "), "{}", ran.stderr);
}

#[test]
fn programs_of_one_array_come_in_the_order_of_their_declaration() {
    let Some(ig) = Ig::new() else { return };
    let dir = gadget(
        "struct entry { __u64 number; };\n\
         GADGET_SNAPSHOTTER(entries, entry, third, first, second);\n\
         static int put(struct bpf_iter__task *ctx, __u64 number)\n\
         { if (!ctx->task) bpf_seq_write(ctx->meta->seq, &number, 8); return 0; }\n\
         SEC(\"iter/task\") int first(struct bpf_iter__task *ctx) { return put(ctx, 1); }\n\
         SEC(\"iter/task\") int second(struct bpf_iter__task *ctx) { return put(ctx, 2); }\n\
         SEC(\"iter.s/task\") int third(struct bpf_iter__task *ctx) { return put(ctx, 3); }\n\
         SEC(\"iter/task\") int nobodys(struct bpf_iter__task *ctx) { return put(ctx, 4); }\n",
    );
    let elements = run(&ig, &dir).remove(0);
    assert_eq!(
        elements,
        [json!({"number": 3}), json!({"number": 1}), json!({"number": 2})]
    );
}

#[test]
fn a_program_nobody_reads_is_named() {
    let Some(ig) = Ig::new() else { return };
    let dir = gadget(
        "struct entry { __u64 number; };\n\
         GADGET_ITER(entries, entry, read);\n\
         SEC(\"iter/ksym\") int read(struct bpf_iter__ksym *ctx) { return 0; }\n\
         SEC(\"iter/task\") int unread(struct bpf_iter__task *ctx) { return 0; }\n",
    );
    let path = dir.path().join("program.bpf.c");
    let live = ig.start(&format!("run {} -o json", path.display()));
    live.wait_log("No iterator will run iterator program \\\"unread\\\"");
    live.wait_line("[]");
    live.stop().ok();
}

#[test]
fn walking_a_map_leaves_its_entries_there() {
    let Some(ig) = Ig::new() else { return };
    let map = |walked: &str| {
        format!(
            "struct key_id {{ __u32 pid; }};\nstruct value {{ __u64 calls; }};\n\
             struct {{ __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16); __type(key, struct key_id); \
             __type(value, struct value); }} seen SEC(\".maps\");\n\
             struct entry {{ __u64 calls; __u32 pid; }};\n\
             GADGET_ITER(entries, entry, walk);\n{walked}\
             SEC(\"iter/bpf_map_elem\") int walk(struct bpf_iter__bpf_map_elem *ctx)\n\
             {{ struct key_id *key = ctx->key; struct value *value = ctx->value; struct entry entry = {{}};\n\
             if (!key || !value) return 0;\n\
             entry.pid = key->pid; entry.calls = value->calls;\n\
             bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry)); return 0; }}\n\
             SEC(\"raw_tp/sys_enter\") int count(void *ctx)\n\
             {{ struct key_id key = {{ 1 }}; struct value value = {{ 7 }};\n\
             bpf_map_update_elem(&seen, &key, &value, BPF_ANY); return 0; }}\n"
        )
    };
    let interval = "--annotate entries:fetch-interval=20ms,entries:fetch-count=3";
    let dir = gadget(&map("GADGET_ITER_TARGET_MAP(walk, seen);\n"));
    let path = dir.path().join("program.bpf.c");
    let tried = ig.line(&format!("run {} --timeout 1", path.display()));
    if tried.stderr.contains("EPERM") {
        // Some kernels that are locked down refuse programs that walk maps, whoever loads them.
        tried.fails_with(&["prog 'walk'", "Operation not permitted"]);
        common::refused_here("a kernel that lets programs walk maps");
        return;
    }
    tried.ok();
    let live = ig.start(&format!("run {} -o json {interval}", path.display()));
    common::eventually("three arrays", || (live.lines().len() == 3).then_some(()));
    let ran = live.stop().ok();
    for elements in arrays(&ran.stdout) {
        assert_eq!(elements, [json!({"calls": 7, "pid": 1})]);
    }

    let dir = gadget(&map(""));
    let path = dir.path().join("program.bpf.c");
    let ran = ig.line(&format!("run {} --timeout 1", path.display()));
    ran.fails_with(&[
        "attaching eBPF program \"walk\"",
        "GADGET_ITER_TARGET_MAP(walk, the_map)",
    ]);
}

#[test]
fn what_cannot_be_iterated_is_refused_by_name() {
    let Some(ig) = Ig::new() else { return };
    let map = |kind: &str| {
        format!(
            "struct key_id {{ __u32 k; }};\nstruct value {{ __u64 v; }};\n\
             struct {{ __uint(type, {kind}); __uint(max_entries, 8); __type(key, struct key_id); __type(value, struct value); }} \
             odd SEC(\".maps\");\n\
             GADGET_MAPITER(m, odd);\n\
             SEC(\"raw_tp/sys_enter\") int touch(void *ctx)\n\
             {{ struct key_id key = {{}}; bpf_map_lookup_elem(&odd, &key); return 0; }}\n"
        )
    };
    let program = "struct entry { __u64 number; };\n\
         SEC(\"iter/unix\") int walk(struct bpf_iter__unix *ctx) { return 0; }\n";
    for (text, expected) in [
        (map("BPF_MAP_TYPE_LRU_HASH"), "map \"odd\" is not a hash map"),
        (map("BPF_MAP_TYPE_PERCPU_HASH"), "map \"odd\" is not a hash map"),
        (program.to_owned(), "unsupported iter type \"unix\""),
    ] {
        let dir = gadget(&text);
        let path = dir.path().join("program.bpf.c");
        ig.line(&format!("run {} --timeout 1", path.display()))
            .fails_with(&[expected]);
    }
}

/// A map with these numbers as keys, each with twice itself as its value.
fn map_of(kind: MapType, numbers: std::ops::Range<u32>) -> MapHandle {
    let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as libbpf_rs::libbpf_sys::size_t,
        ..Default::default()
    };
    let map = MapHandle::create(kind, Some("ig_test"), 4, 8, numbers.len().max(1) as u32, &options).expect("a map");
    for number in numbers {
        let value = u64::from(number) * 2;
        map.update(&number.to_ne_bytes(), &value.to_ne_bytes(), MapFlags::ANY)
            .expect("room");
    }
    map
}

fn drained(drain: &mut MapDrain) -> Vec<u32> {
    let mut found = Vec::new();
    drain
        .drain(|entry| {
            let key = u32::from_ne_bytes(entry[..4].try_into().unwrap());
            let value = u64::from_ne_bytes(entry[4..].try_into().unwrap());
            assert_eq!(value, u64::from(key) * 2);
            found.push(key);
        })
        .unwrap();
    found.sort_unstable();
    found
}

#[test]
fn every_method_empties_a_map() {
    let Some(_ig) = Ig::new() else { return };
    for (method, batch) in [
        (Method::Batch, 4096),
        (Method::Batch, 100),
        // Buckets with more entries than one make the kernel ask for larger batches.
        (Method::Batch, 1),
        (Method::Each, 1),
        (Method::LookupThenDelete, 1),
    ] {
        let map = map_of(MapType::Hash, 0..5000);
        let mut drain = MapDrain::new(&map).unwrap().with_method(method, batch);
        assert_eq!(
            drained(&mut drain),
            (0..5000).collect::<Vec<u32>>(),
            "{method:?} {batch}"
        );
        assert_eq!(drain.method(), method, "this kernel knows it");
        assert_eq!(drained(&mut drain), [0_u32; 0], "{method:?} {batch}");
        map.update(&7_u32.to_ne_bytes(), &14_u64.to_ne_bytes(), MapFlags::ANY)
            .unwrap();
        assert_eq!(drained(&mut drain), [7]);
    }
}

#[test]
fn only_hash_maps_can_be_emptied() {
    let Some(_ig) = Ig::new() else { return };
    for kind in [MapType::LruHash, MapType::PercpuHash, MapType::Array] {
        let map = map_of(kind, 0..0);
        let error = MapDrain::new(&map).unwrap_err().to_string();
        assert_eq!(error, "map \"ig_test\" is not a hash map");
    }
}
