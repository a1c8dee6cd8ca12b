//! trace_dns.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

use super::common::docker::Container;
use super::common::{Ig, Live, PATIENCE, eventually};
use super::{assert_only_of, mount_namespace, start, start_for};

/// An address of the host's loopback interface that nobody else uses.
const SERVER: &str = "127.77.0.53:53";

const A: u16 = 1;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// A query for `www.example.test`.
fn query(id: u16, qtype: u16) -> Vec<u8> {
    let header = [id, 0x0100, 1, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes);
    let name = b"\x03www\x07example\x04test\0".iter().copied();
    let class = [qtype, 1].into_iter().flat_map(u16::to_be_bytes);
    header.chain(name).chain(class).collect()
}

/// What the server says to a query: addresses for the two types that have some, and that it does not know others.
fn answer(query: &[u8]) -> Vec<u8> {
    let qtype = u16::from_be_bytes([query[query.len() - 4], query[query.len() - 3]]);
    let data: &[u8] = match qtype {
        A => &[10, 1, 2, 3],
        AAAA => &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        _ => &[],
    };
    let mut answer = query.to_vec();
    answer[2..4].copy_from_slice(&if data.is_empty() { 0x8183_u16 } else { 0x8180 }.to_be_bytes());
    if !data.is_empty() {
        answer[7] = 1;
        // The name of the question, the class, a minute.
        answer.extend([0xc0, 12]);
        answer.extend(qtype.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        answer.extend(data);
    }
    answer
}

/// Asks over UDP, and answers as the server. Returns the client's address.
fn ask_over_udp(server: &UdpSocket, id: u16, qtype: u16) -> SocketAddr {
    let address = server.local_addr().unwrap();
    let client = UdpSocket::bind((address.ip(), 0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(&query(id, qtype), address).unwrap();
    let mut buffer = [0; 512];
    let (len, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(&answer(&buffer[..len]), from).unwrap();
    client.recv_from(&mut buffer).unwrap();
    client.local_addr().unwrap()
}

/// Asks over TCP, where each message has its length before it.
fn ask_over_tcp(server: &TcpListener, id: u16, qtype: u16) -> SocketAddr {
    let with_length = |message: Vec<u8>| [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    let question = with_length(query(id, qtype));
    client.write_all(&question).unwrap();
    let mut received = vec![0; question.len()];
    accepted.read_exact(&mut received).unwrap();
    let reply = with_length(answer(&received[2..]));
    accepted.write_all(&reply).unwrap();
    client.read_exact(&mut vec![0; reply.len()]).unwrap();
    client.local_addr().unwrap()
}

/// The four packets of a question and its answer, as they go out and come in.
#[track_caller]
fn packets(live: &Live, client: SocketAddr) -> [Value; 4] {
    let find = |qr: &str, direction: &str, end: &str| {
        live.wait_event(&format!("{qr} {direction} of {client}"), |event| {
            event["qr"] == qr
                && event["pkt_type"] == direction
                && event[end]["port"] == client.port()
                && event[end]["addr"] == client.ip().to_string()
        })
    };
    [
        find("Q", "OUTGOING", "src"),
        find("Q", "HOST", "src"),
        find("R", "OUTGOING", "dst"),
        find("R", "HOST", "dst"),
    ]
}

/// What is the same for both protocols and both versions of IP.
fn check(packets: &[Value; 4], server: SocketAddr, id: &str, proto: &str) {
    let us = std::process::id();
    let version = if server.is_ipv4() { 4 } else { 6 };
    for (packet, near) in packets.iter().zip(["dst", "dst", "src", "src"]) {
        assert_eq!(packet["id"], id, "{packet}");
        assert_eq!(
            packet["nameserver"],
            json!({"addr": server.ip().to_string(), "version": version})
        );
        let number = if proto == "UDP" { 17 } else { 6 };
        assert_eq!(
            packet[near],
            json!({"addr": server.ip().to_string(), "port": 53, "proto": proto, "proto_raw": number, "version": version})
        );
        assert_eq!(
            (&packet["name"], &packet["rd"]),
            (&json!("www.example.test."), &json!(true))
        );
        assert_eq!(
            (&packet["proc"]["pid"], &packet["proc"]["mntns_id"]),
            (&json!(us), &json!(mount_namespace("self"))),
            "{packet}"
        );
    }
    for query in &packets[..2] {
        assert_eq!(
            (&query["rcode"], &query["num_answers"], &query["qr_raw"]),
            (&json!(""), &json!(0), &json!(false))
        );
        assert_eq!((&query["latency_ns_raw"], &query["ra"]), (&json!(0), &json!(false)));
    }
    for response in &packets[2..] {
        assert_eq!(
            (&response["ra"], &response["tc"], &response["qr_raw"]),
            (&json!(true), &json!(false), &json!(true))
        );
    }
    // It is known where the answer arrives.
    assert_eq!(packets[2]["latency_ns_raw"], 0);
    assert!(packets[3]["latency_ns_raw"].as_u64().unwrap() > 0, "{}", packets[3]);
}

#[test]
fn questions_and_answers_on_the_host() {
    let Some(ig) = Ig::new() else { return };
    let udp = UdpSocket::bind(SERVER).unwrap();
    let tcp = TcpListener::bind(SERVER).unwrap();
    let us = std::process::id();
    let live = start(&ig, "trace_dns", &format!("--host --paths --pid {us}"));
    let server = udp.local_addr().unwrap();

    let addresses = packets(&live, ask_over_udp(&udp, 0x1a2b, A));
    check(&addresses, server, "1a2b", "UDP");
    let response = &addresses[3];
    assert_eq!((&response["qtype"], &response["qtype_raw"]), (&json!("A"), &json!(1)));
    assert_eq!(
        (&response["addresses"], &response["num_answers"]),
        (&json!("10.1.2.3"), &json!(1))
    );
    assert_eq!(
        (&response["rcode"], &response["rcode_raw"]),
        (&json!("Success"), &json!(0))
    );
    let cwd = std::env::current_dir().unwrap();
    assert_eq!((&response["cwd"], &addresses[0]["cwd"]), (&json!(cwd), &json!(cwd)));
    assert!(!response["exepath"].as_str().unwrap().is_empty(), "{response}");

    let nothing = packets(&live, ask_over_udp(&udp, 0x0001, TXT));
    check(&nothing, server, "0001", "UDP");
    assert_eq!(
        (&nothing[3]["rcode"], &nothing[3]["rcode_raw"]),
        (&json!("NameError"), &json!(3))
    );
    assert_eq!(
        (&nothing[3]["qtype"], &nothing[3]["addresses"]),
        (&json!("TXT"), &json!(""))
    );

    let over_tcp = packets(&live, ask_over_tcp(&tcp, 0xfffe, AAAA));
    check(&over_tcp, server, "fffe", "TCP");
    assert_eq!(
        (&over_tcp[3]["qtype"], &over_tcp[3]["addresses"]),
        (&json!("AAAA"), &json!("2001:db8::1"))
    );
    live.stop().ok();
}

#[test]
fn questions_and_answers_over_ipv6() {
    let Some(ig) = Ig::new() else { return };
    let server: SocketAddr = "[::1]:53".parse().unwrap();
    // The only address of the loopback interface; other servers may have it.
    let Ok(udp) = UdpSocket::bind(server) else {
        return super::common::skip("[::1]:53");
    };
    let live = start(&ig, "trace_dns", &format!("--host --pid {}", std::process::id()));
    let found = packets(&live, ask_over_udp(&udp, 0x0a0b, AAAA));
    check(&found, server, "0a0b", "UDP");
    assert_eq!(found[3]["addresses"], "2001:db8::1");
    assert_eq!((&found[3]["cwd"], &found[3]["exepath"]), (&json!(""), &json!("")));
    live.stop().ok();
}

/// What is no message: it is shown, with nothing said of what is in it, and it does no harm.
#[test]
fn packets_that_are_no_messages() {
    let Some(ig) = Ig::new() else { return };
    let udp = UdpSocket::bind("127.77.0.54:53").unwrap();
    let live = start(&ig, "trace_dns", &format!("--host --pid {}", std::process::id()));
    let client = UdpSocket::bind("127.77.0.54:0").unwrap();
    // A name that points to itself, and a header that promises more than there is.
    let looping = [&query(7, A)[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
    client.send_to(&looping, udp.local_addr().unwrap()).unwrap();
    let port = client.local_addr().unwrap().port();
    let event = live.wait_event("the packet", |event| event["src"]["port"] == port);
    assert_eq!(
        (&event["name"], &event["qr"], &event["id"]),
        (&json!(""), &json!(""), &json!(""))
    );
    live.wait_log("parsing a DNS message: a name has too many pointers");
    // The next one is as good as any.
    let found = packets(&live, ask_over_udp_after(&udp, 0x0102, A));
    assert_eq!(found[3]["addresses"], "10.1.2.3");
    live.stop().ok();
}

/// Like [`ask_over_udp`], when something else waits at the server.
fn ask_over_udp_after(server: &UdpSocket, id: u16, qtype: u16) -> SocketAddr {
    server.recv_from(&mut [0; 512]).unwrap();
    ask_over_udp(server, id, qtype)
}

/// Answers questions in the network namespace of a process, until this is dropped.
struct Server(mpsc::Sender<()>, Option<std::thread::JoinHandle<()>>);

impl Server {
    fn start(pid: u64, address: IpAddr) -> Self {
        let (stop, stopped) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
            let socket = UdpSocket::bind((address, 53)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            ready.send(()).unwrap();
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                let mut buffer = [0; 512];
                if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&answer(&buffer[..len]), from);
                }
            }
        });
        is_ready.recv().expect("a server");
        Self(stop, Some(thread))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.send(());
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn questions_of_a_container() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("dns");
    // The server is on the host, but for its network.
    let _server = Server::start(container.pid(), IpAddr::from([127, 0, 0, 1]));
    let live = start_for(&ig, &container, "trace_dns", "");
    let of_client = |qr: &str, qtype: &str| {
        eventually(&format!("{qr} {qtype}"), || {
            container.exec_as("1000:1111", "nslookup www.example.test 127.0.0.1 >/dev/null; true");
            let events = live
                .lines()
                .into_iter()
                .filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            events
                .into_iter()
                .find(|event| event["qr"] == qr && event["qtype"] == qtype)
        })
    };
    for (qtype, address) in [("A", "10.1.2.3"), ("AAAA", "2001:db8::1")] {
        let query = of_client("Q", qtype);
        assert_eq!(
            (&query["pkt_type"], &query["latency_ns"]),
            (&json!("OUTGOING"), &json!("0ns"))
        );
        assert_eq!((&query["rcode"], &query["rd"]), (&json!(""), &json!(true)));
        let response = of_client("R", qtype);
        assert_eq!(
            (&response["pkt_type"], &response["rcode"]),
            (&json!("HOST"), &json!("Success"))
        );
        assert_eq!(
            (&response["addresses"], &response["name"]),
            (&json!(address), &json!("www.example.test."))
        );
        assert!(response["latency_ns_raw"].as_u64().unwrap() > 0, "{response}");
        assert_eq!(response["proc"]["comm"], "nslookup");
        assert_eq!(
            (&response["proc"]["creds"]["uid"], &response["proc"]["creds"]["gid"]),
            (&json!(1000), &json!(1111))
        );
        assert_eq!(response["proc"]["mntns_id"], mount_namespace(container.pid()));
        assert_ne!(response["netns_id"], json!(0));
    }
    // Nothing of the server, which is no container's.
    assert_only_of(&container, &live.stop().ok().stdout);
}
