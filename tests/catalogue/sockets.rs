//! trace_bind, trace_tcp and trace_tcpdrop, and who owns sockets.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use libbpf_rs::query::MapInfoIter;
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use serde_json::{Value, json};

use super::common::docker::Container;
use super::common::{Ig, eventually};
use super::{assert_only_of, start, start_for};
use inspektor_gadget::ebpf::sockets::{SocketFields, SocketOwners};

fn us() -> u32 {
    std::process::id()
}

fn network_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/net").unwrap().ino()
}

#[test]
fn sockets_that_are_bound() {
    let Some(ig) = Ig::new() else { return };
    let live = start(&ig, "trace_bind", &format!("--host --pid {}", us()));
    let tcp4 = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tcp6 = TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap();
    let udp4 = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let udp6 = UdpSocket::bind("[::1]:0").unwrap().local_addr().unwrap();
    for (address, proto, number) in [(tcp4, "TCP", 6), (tcp6, "TCP", 6), (udp4, "UDP", 17), (udp6, "UDP", 17)] {
        let event = live.wait_event("a bind", |event| {
            event["addr"]["port"] == address.port() && event["addr"]["proto"] == proto
        });
        let version = if address.is_ipv4() { 4 } else { 6 };
        assert_eq!(
            event["addr"],
            json!({"addr": address.ip().to_string(), "port": address.port(), "proto": proto, "proto_raw": number, "version": version})
        );
        // The standard library asks for it on listeners only.
        let opts = if proto == "TCP" { "REUSEADDRESS" } else { "" };
        assert_eq!(
            (&event["opts"], &event["error"], &event["bound_dev_if"]),
            (&json!(opts), &json!(""), &json!(0))
        );
        assert_eq!(event["proc"]["pid"], us());
    }
    live.stop().ok();
    let live = start(
        &ig,
        "trace_bind",
        &format!("--host --ignore-errors=false --pid {}", us()),
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(TcpListener::bind(taken.local_addr().unwrap()).is_err());
    let event = live.wait_event("a bind that fails", |event| event["error"] == "EADDRINUSE");
    assert_eq!(event["error_raw"], 98);
    live.stop().ok();
}

/// What an event of a connection is told apart by.
fn is(event: &Value, kind: &str, from: SocketAddr, to: SocketAddr) -> bool {
    let end = |key: &str, address: SocketAddr| {
        event[key]["addr"] == address.ip().to_string() && event[key]["port"] == address.port()
    };
    event["type"] == kind && end("src", from) && end("dst", to)
}

#[test]
fn connections_from_their_beginning_to_their_end() {
    let Some(ig) = Ig::new() else { return };
    let live = start(&ig, "trace_tcp", &format!("--host --pid {}", us()));
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let server = listener.local_addr().unwrap();
        let connection = TcpStream::connect(server).unwrap();
        let client = connection.local_addr().unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let (listener_fd, accept_fd) = (listener.as_raw_fd(), accepted.as_raw_fd());
        drop(connection);
        drop(accepted);
        let connect = live.wait_event("connect", |event| is(event, "connect", client, server));
        assert_eq!(
            (&connect["error"], &connect["accept_fd"], &connect["netns_id"]),
            (&json!(""), &json!(-1), &json!(network_namespace()))
        );
        assert!(connect["fd"].as_i64() > Some(2), "{connect}");
        assert_eq!(
            (&connect["src"]["proto"], &connect["proc"]["pid"]),
            (&json!("TCP"), &json!(us()))
        );
        let accept = live.wait_event("accept", |event| is(event, "accept", server, client));
        assert_eq!(
            (&accept["fd"], &accept["accept_fd"]),
            (&json!(listener_fd), &json!(accept_fd))
        );
        for (from, to) in [(client, server), (server, client)] {
            let close = live.wait_event("close", |event| is(event, "close", from, to));
            assert_eq!(
                (&close["fd"], &close["accept_fd"], &close["error"]),
                (&json!(-1), &json!(-1), &json!(""))
            );
        }
    }
    live.stop().ok();
    let live = start(&ig, "trace_tcp", &format!("--host --failure-only --pid {}", us()));
    // Nobody listens at the port of a listener that has gone.
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(TcpStream::connect(refused).is_err());
    let event = live.wait_event("a refusal", |event| event["dst"]["port"] == refused.port());
    assert_eq!(
        (&event["type"], &event["error"], &event["error_raw"]),
        (&json!("connect"), &json!("ECONNREFUSED"), &json!(111))
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let ran = live.stop().ok();
    for line in ran.stdout.lines() {
        assert!(!line.contains("\"error\":\"\""), "{line}");
    }
}

#[test]
fn connections_of_a_container() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("tcp");
    let live = start_for(&ig, &container, "trace_tcp", "");
    let script = "nc -l -p 4321 >/dev/null & for i in 1 2 3 4 5 6 7 8 9; do echo x | nc 127.0.0.1 4321 && break; sleep 0.2; done";
    container.exec(script);
    let event = live.wait_event("a connection", |event| {
        event["type"] == "connect" && event["dst"]["port"] == 4321 && event["error"] == ""
    });
    assert_eq!(event["proc"]["comm"], "nc");
    assert_only_of(&container, &live.stop().ok().stdout);
}

/// Lets the kernel drop whatever comes for `socket`.
fn refuse_everything(socket: &TcpStream) {
    let mut nothing = libc::sock_filter {
        code: 0x06, // return
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut nothing,
    };
    // SAFETY: the kernel reads the program, which is there until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as u32,
        )
    };
    assert_eq!(result, 0);
}

#[test]
fn packets_that_are_dropped() {
    let Some(ig) = Ig::new() else { return };
    let live = start(&ig, "trace_tcpdrop", "--host --fields +kernel_stack");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    refuse_everything(&accepted);
    let event = {
        connection.write_all(b"refused").unwrap();
        live.wait_event("a drop", |event| event["src"]["port"] == port)
    };
    assert_eq!(event["reason"], "SKB_DROP_REASON_SOCKET_FILTER");
    assert_eq!(
        (&event["tcpflags"], &event["state"]),
        (&json!("PSH|ACK"), &json!("tcp_established"))
    );
    assert_eq!(
        (&event["src"]["proto"], &event["src"]["addr"], &event["dst"]["addr"]),
        (&json!("TCP"), &json!("127.0.0.1"), &json!("127.0.0.1"))
    );
    assert_eq!(
        (&event["pid"], &event["netns_id"]),
        (&json!(us()), &json!(network_namespace())),
        "{event}"
    );
    assert!(!event["comm"].as_str().unwrap().is_empty());
    assert!(event["kernel_stack"].as_str().unwrap().contains("; "), "{event}");
    live.stop().ok();
}

/// The owner that is remembered of a port: process, command name, working directory and executable.
fn owner(map: &MapHandle, address: SocketAddr, proto: u8) -> Option<(u32, String, String, bool)> {
    let mut key = u32::try_from(network_namespace()).unwrap().to_ne_bytes().to_vec();
    key.extend(if address.is_ipv4() { 2_u16 } else { 10 }.to_ne_bytes());
    key.extend([proto, 0]);
    key.extend(address.port().to_ne_bytes());
    key.extend([0, 0]);
    let value = map.lookup(&key, MapFlags::ANY).unwrap()?;
    let text = |from: usize, len: usize| {
        let bytes = value[from..from + len].split(|byte| *byte == 0).next().unwrap();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let number = |from: usize| u64::from_ne_bytes(value[from..from + 8].try_into().unwrap());
    let exe = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let stored = text(88 + 512, 64);
    assert_eq!(stored, exe[..exe.len().min(63)], "as much as there is room for");
    Some(((number(8) >> 32) as u32, text(24, 16), text(88, 512), number(64) != 0))
}

/// A UDP socket without a port, which the standard library does not make.
fn unbound() -> UdpSocket {
    use std::os::fd::FromRawFd;
    // SAFETY: the call takes no memory of ours.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) };
    assert!(fd >= 0);
    // SAFETY: the descriptor is new, and nobody else owns it.
    unsafe { UdpSocket::from_raw_fd(fd) }
}

#[test]
fn owners_of_sockets() {
    if Ig::new().is_none() {
        return;
    }
    let before = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp_before = UdpSocket::bind("[::1]:0").unwrap();
    let fields = SocketFields { cwd: 512, exepath: 64 };
    let owners = SocketOwners::start(fields).unwrap();
    assert_eq!(owners.fields(), fields);
    let info = MapInfoIter::default()
        .find(|info| info.name.to_string_lossy() == "gadget_sockets" && info.value_size == 88 + 512 + 64);
    let info = info.expect("the map");
    assert_eq!((info.key_size, info.max_entries), (12, 16384));
    let map = MapHandle::from_map_id(info.id).unwrap();
    let cwd = std::env::current_dir().unwrap().to_str().unwrap().to_owned();
    let check = |address: SocketAddr, proto: u8, what: &str| {
        let (pid, comm, directory, gone) = owner(&map, address, proto).unwrap_or_else(|| panic!("{what}: no owner"));
        assert_eq!((pid, directory.as_str(), gone), (us(), cwd.as_str(), false), "{what}");
        assert!(!comm.is_empty(), "{what}");
    };
    check(before.local_addr().unwrap(), 6, "a listener of before");
    check(udp_before.local_addr().unwrap(), 17, "a UDP socket of before");
    let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
    check(bound.local_addr().unwrap(), 17, "a socket that is bound");
    let connection = TcpStream::connect(before.local_addr().unwrap()).unwrap();
    check(connection.local_addr().unwrap(), 6, "a connection");
    // Bound by the kernel when it sends.
    let sending = unbound();
    sending.send_to(b"x", bound.local_addr().unwrap()).unwrap();
    check(sending.local_addr().unwrap(), 17, "a socket that sends");
    let address = sending.local_addr().unwrap();
    drop(sending);
    // It stays for late packets, and then it is gone.
    assert!(
        owner(&map, address, 17).is_some_and(|(.., gone)| gone),
        "the end of a socket is seen"
    );
    eventually("the entry to go", || owner(&map, address, 17).is_none().then_some(()));
    check(bound.local_addr().unwrap(), 17, "what is still open");
}
