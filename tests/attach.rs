//! Where programs of networks and control groups are attached, on the live kernel: in real containers as they come and go, on the host's
//! end of their interfaces, on control groups, and that nothing of it is left behind.

mod common;
#[allow(dead_code)]
mod fake_docker;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;

use common::docker::{self, Container, docker};
use common::namespaces::Namespaces;
use common::{Ig, Live, eventually, gadget, gadget_source};
use fake_docker::{FakeContainer, FakeDocker};
use libbpf_rs::query::{LinkInfoIter, LinkTypeInfo};
use serde_json::Value;

/// A container in a network, with an end of a pair of interfaces on the host.
fn networked(name: &str) -> Container {
    container(name, "bridge")
}

fn container(name: &str, network: &str) -> Container {
    let name = docker::unique(name);
    let args = [
        "run",
        "-d",
        "--network",
        network,
        "--name",
        &name,
        "busybox",
        "sleep",
        "100000",
    ];
    let id = docker(&args);
    Container { name, id }
}

/// Sends one packet with so many bytes of content to docker's bridge, which answers.
fn ping(container: &Container, size: u32) {
    let gateway = "$(ip route | awk '/default/ { print $3 }')";
    container.exec(&format!("ping -c 1 -W 5 -s {size} {gateway}"));
}

fn network_namespace(container: &Container) -> u64 {
    let path = format!("/proc/{}/ns/net", container.pid());
    fs::metadata(path).expect("the container runs").ino()
}

/// Starts the gadget below tests/gadgets/attach.
fn start(ig: &Ig, name: &str, flags: &str) -> Live {
    let path = gadget_source("attach").join(name);
    let live = Live::spawn(
        ig.command(["run".as_ref(), path.as_os_str()])
            .args(["-o", "json", "-v"])
            .args(flags.split_whitespace()),
    );
    live.wait_running();
    live
}

fn events(output: &str) -> Vec<Value> {
    let mut events: Vec<Value> = output
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    events.sort_by_key(|event| event["timestamp_raw"].as_u64());
    events
}

/// The interface on the host that is the other end of the container's.
fn host_end(container: &Container) -> String {
    let index = container.exec("cat /sys/class/net/eth0/iflink");
    let found = fs::read_dir("/sys/class/net").expect("interfaces").filter_map(|entry| {
        let entry = entry.ok()?;
        let own = fs::read_to_string(entry.path().join("ifindex")).ok()?;
        (own.trim() == index).then(|| entry.file_name().to_string_lossy().into_owned())
    });
    found.last().expect("an interface of this number")
}

/// How many programs are linked to an interface.
fn links(interface: &str) -> usize {
    let path = format!("/sys/class/net/{interface}/ifindex");
    let index = fs::read_to_string(path).expect("the interface is there");
    let index: u32 = index.trim().parse().expect("a number");
    LinkInfoIter::default()
        .filter(|link| match &link.info {
            LinkTypeInfo::Tcx(tcx) => tcx.ifindex == index,
            LinkTypeInfo::Xdp(xdp) => xdp.ifindex == index,
            _ => false,
        })
        .count()
}

#[test]
fn packets_of_a_shared_network_namespace_are_seen_once() {
    let Some(ig) = Ig::with_docker() else { return };
    let a = networked("a");
    let b = container("b", &format!("container:{}", a.id));
    let later = docker::unique("later");
    let live = start(&ig, "socket", &format!("-c {},{},{later}", a.name, b.name));
    ping(&b, 333);
    // Ethernet, IP, ICMP.
    let event = live.wait_event("a packet", |event| event["value"] == 14 + 20 + 8 + 333);
    assert_eq!(event["netns"], network_namespace(&a));

    let id = docker(&["run", "-d", "--name", &later, "busybox", "sleep", "100000"]);
    let late = Container { name: later, id };
    live.wait_log(&format!("attached in container \\\"{}\\\"", late.name));
    ping(&late, 444);
    let event = live.wait_event("a later packet", |event| event["value"] == 14 + 20 + 8 + 444);
    assert_eq!(event["netns"], network_namespace(&late));
    assert_eq!(event["runtime"]["containerName"], late.name.as_str());
    let gone = late.name.clone();
    drop(late);
    live.wait_log(&format!("detached in container \\\"{gone}\\\""));

    let output = live.stop().ok().stdout;
    let seen = events(&output).iter().filter(|event| event["value"] == 375).count();
    assert_eq!(seen, 2, "a question and an answer: {output}");
}

#[test]
fn classifiers_are_on_the_hosts_end_and_mean_the_containers_directions() {
    let Some(ig) = Ig::with_docker() else { return };
    let a = networked("classified");
    let other = networked("other");
    let interface = host_end(&a);
    let live = start(&ig, "classifier", &format!("-c {}", a.name));
    assert_eq!(links(&interface), 3);
    assert_eq!(links(&host_end(&other)), 0);
    ping(&other, 222);
    ping(&a, 333);
    for program in ["egress", "ingress", "tc"] {
        let event = live.wait_event(program, |event| event["program"] == program && event["value"] == 375);
        assert_eq!(event["netns"], network_namespace(&a));
        assert_eq!(event["runtime"]["containerName"], a.name.as_str());
    }
    let output = live.stop().ok().stdout;
    let seen: Vec<String> = events(&output)
        .iter()
        .filter(|event| event["value"] == 375)
        .map(|event| event["program"].as_str().unwrap_or_default().to_owned())
        .collect();
    // The question leaves the container, then the answer comes.
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!(seen[0], "egress");
    assert!(!events(&output).iter().any(|event| event["value"] == 264), "{output}");
    assert_eq!(links(&interface), 0, "nothing is left behind");
}

#[test]
fn a_run_that_is_killed_leaves_nothing_on_interfaces() {
    let Some(ig) = Ig::with_docker() else { return };
    let a = networked("killed");
    let interface = host_end(&a);
    let live = start(&ig, "classifier", &format!("-c {}", a.name));
    assert_eq!(links(&interface), 3);
    live.signal(nix::sys::signal::Signal::SIGKILL);
    eventually("the kernel takes them away", || (links(&interface) == 0).then_some(()));
}

#[test]
fn xdp_sees_what_a_container_sends() {
    let Some(ig) = Ig::with_docker() else { return };
    let a = networked("xdp");
    let live = start(&ig, "xdp", &format!("-c {}", a.name));
    ping(&a, 333);
    live.wait_event("a packet", |event| event["value"] == 375);
    let output = live.stop().ok().stdout;
    let seen = events(&output).iter().filter(|event| event["value"] == 375).count();
    assert_eq!(seen, 1, "the question alone: {output}");
}

#[test]
fn an_interface_that_is_named_is_the_only_one() {
    let Some(ig) = Ig::new() else { return };
    let live = start(&ig, "classifier", "--iface lo");
    let _ = TcpStream::connect("127.0.0.1:9");
    // The host's namespace, and directions as the interface has them: what is sent to it is sent first.
    let event = live.wait_event("a packet", |event| event["program"] == "egress");
    assert_ne!(event["netns"], 0);
    let output = live.stop().ok().stdout;
    assert_eq!(events(&output)[0]["program"], "egress");
    let path = gadget_source("attach/classifier");
    ig.run(["run".as_ref(), path.as_os_str(), "--iface".as_ref(), "nosuch0".as_ref()])
        .fails_with(&["getting interface \"nosuch0\""]);
}

#[test]
fn control_groups_of_selected_containers_only() {
    let Some(ig) = Ig::with_docker() else { return };
    let (a, b) = (networked("a"), networked("b"));
    let live = start(&ig, "cgroup", &format!("-c {}", a.name));
    ping(&b, 222);
    ping(&a, 333);
    live.wait_event("a packet", |event| {
        event["program"] == "cgroup_skb" && event["value"] == 20 + 8 + 333
    });
    let output = live.stop().ok().stdout;
    let values: Vec<u64> = events(&output)
        .iter()
        .filter(|event| event["program"] == "cgroup_skb")
        .filter_map(|event| event["value"].as_u64())
        .collect();
    assert!(!values.contains(&(20 + 8 + 222)), "{values:?}");
    assert_eq!(values.iter().filter(|value| **value == 361).count(), 1, "{values:?}");
}

#[test]
fn with_the_host_each_packet_is_seen_once_at_the_root() {
    let Some(ig) = Ig::with_docker() else { return };
    let a = networked("rooted");
    let live = start(&ig, "cgroup", "--host");
    ping(&a, 345);
    live.wait_event("a packet", |event| event["value"] == 20 + 8 + 345);
    let output = live.stop().ok().stdout;
    let seen = events(&output).iter().filter(|event| event["value"] == 373).count();
    assert_eq!(seen, 2, "the question, and the host's own answer: {output}");
}

#[test]
fn containers_that_come_and_go_at_once_do_no_harm() {
    let Some(ig) = Ig::with_docker() else { return };
    let live = start(&ig, "socket", "");
    for _ in 0..5 {
        docker(&["run", "--rm", "--network", "none", "busybox", "true"]);
    }
    let log = live.stop().ok().stderr;
    assert!(!log.contains("level=warning"), "{log}");
}

/// What a program that can only be attached so often does when it cannot any more.
#[test]
fn a_limit_that_is_reached_is_said_once_and_the_rest_runs() {
    const CONTAINERS: u32 = 60;
    let Some(ig) = Ig::new() else { return };
    let (_processes, pids) = Namespaces::with_networks(CONTAINERS);
    let containers: Vec<FakeContainer> = (0..CONTAINERS)
        .zip(pids)
        .map(|(number, pid)| FakeContainer::numbered(number, pid))
        .collect();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("docker.sock");
    let _daemon = FakeDocker::start(&socket, &containers);
    let path = gadget_source("attach/socket");
    ig.build("limited", &path);
    let socket = socket.to_string_lossy().into_owned();
    let args = [
        "run",
        "limited",
        "--verify-image=false",
        "--pull=never",
        "-v",
        "--docker-socketpath",
        &socket,
    ];
    let live = Live::spawn(&mut ig.command_after("ulimit -n 70", env!("CARGO_BIN_EXE_ig"), args));
    live.wait_running();
    let log = live.stop().ok().stderr;
    let said = log.matches("is not attached everywhere").count();
    assert_eq!(said, 1, "{log}");
    assert!(log.contains("Too many open files"), "{log}");
    let attached = log.matches(": attached in container").count();
    assert!(attached > 5 && attached < CONTAINERS as usize, "{attached}: {log}");
}

#[test]
fn what_cannot_be_attached_is_refused_by_name() {
    let Some(ig) = Ig::new() else { return };
    for (section, argument, expected) in [
        ("lwt_in", "struct __sk_buff", "needs a route to be attached to"),
        (
            "sk_reuseport",
            "struct sk_reuseport_md",
            "needs the socket that it decides for",
        ),
        ("xdp/devmap", "struct xdp_md", "needs an entry of a device map"),
        ("lirc_mode2", "__u32", "needs an infrared receiver"),
        ("sk_msg", "struct sk_msg_md", "GADGET_SK_TARGET_MAP"),
        (
            "classifier/both/x",
            "struct __sk_buff",
            "unsupported hook type \"both\"",
        ),
    ] {
        let source = gadget(&format!(
            "#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\n\
             SEC(\"{section}\") int refused({argument} *ctx) {{ return 0; }}\n\
             char LICENSE[] SEC(\"license\") = \"GPL\";\n"
        ));
        ig.run(["run".as_ref(), source.path().as_os_str()])
            .fails_with(&[expected]);
    }
}

#[test]
fn alternatives_that_cannot_run_are_all_named() {
    let Some(ig) = Ig::new() else { return };
    let source = gadget(
        r#"
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

SEC("fentry/no_such_function")
int BPF_PROG(first) { return 0; }

SEC("tracepoint/nosuch/nothing")
int second(void *ctx) { return 0; }

SEC("tracepoint/sched/sched_process_exit")
int other(void *ctx) { return 0; }

char LICENSE[] SEC("license") = "GPL";
"#,
    );
    let config = |text: &str| fs::write(source.path().join("gadget.yaml"), text).expect("a file");
    let run = || ig.run(["run".as_ref(), source.path().as_os_str(), "--timeout=1".as_ref()]);
    config("name: a\nalternatives: [first, second]\n");
    run().fails_with(&[
        "none of these alternatives can run here",
        "first: ",
        "no_such_function",
        "second: ",
        "nosuch/nothing",
    ]);
    config("name: a\nalternatives: [first, third]\n");
    run().fails_with(&["alternatives: program \"third\" not found"]);
    config("name: a\nalternatives: [[first, second, other]]\n");
    run().ok();
}

#[test]
fn doctor_knows_what_can_run_and_leaves_nothing_behind() {
    let Some(ig) = Ig::new() else { return };
    for name in [
        "socket",
        "flow_dissector",
        "sk_lookup",
        "classifier",
        "xdp",
        "cgroup",
        "sockmap",
        "struct_ops",
    ] {
        let path = gadget_source("attach").join(name);
        let ran = ig.run(["doctor".as_ref(), path.as_os_str()]).ok();
        assert!(ran.stdout.contains("yes"), "{}", ran.stdout);
    }
    assert_eq!(links("lo"), 0);
    for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        let names = fs::read_dir(mount)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name());
        let left = names.filter(|name| name.to_string_lossy().starts_with("ig-")).count();
        assert_eq!(left, 0, "{mount}");
    }
}
