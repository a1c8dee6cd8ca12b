//! top_tcp.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use super::common::docker::Container;
use super::common::{Ig, eventually};
use super::{array, assert_only_of, mount_namespace, start, start_for, wait_element};

/// What a connection over `address` sends and receives is counted on both sides.
fn traffic(ig: &Ig, address: &str, version: u8) {
    let us = std::process::id();
    let flags = format!("--host --pid {us} --family {version} --map-fetch-interval 100ms");
    let live = start(ig, "top_tcp", &flags);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut some = [0; 3000];
    client.write_all(&[1; 3000]).unwrap();
    // What is only looked at is not received.
    server.peek(&mut some).unwrap();
    server.read_exact(&mut some[..1000]).unwrap();
    server.read_exact(&mut some[..2000]).unwrap();
    server.write_all(&[2; 7]).unwrap();
    client.read_exact(&mut some[..7]).unwrap();
    let (own, other) = (client.local_addr().unwrap().port(), server.local_addr().unwrap().port());
    let sums = |port: u16| -> (u64, u64) {
        let lines = live.lines();
        let elements = lines.iter().flat_map(|line| array(line));
        let of_port = elements.filter(|element| element["src"]["port"] == port);
        let numbers = of_port.map(|element| {
            (
                element["sent_raw"].as_u64().unwrap(),
                element["received_raw"].as_u64().unwrap(),
            )
        });
        numbers.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
    };
    eventually("all bytes", || {
        (sums(own) == (3000, 7) && sums(other) == (7, 3000)).then_some(())
    });
    let element = wait_element(&live, "the connection", |element| element["src"]["port"] == own);
    for (side, port) in [("src", own), ("dst", other)] {
        assert_eq!(
            element[side],
            json!({"addr": address, "port": port, "proto": "TCP", "proto_raw": 6, "version": version})
        );
    }
    assert_eq!(
        (&element["pid"], &element["mntns_id"]),
        (&json!(us), &json!(mount_namespace("self")))
    );
    let ran = live.stop().ok();
    for element in ran.stdout.lines().flat_map(array) {
        assert_eq!(
            (&element["pid"], &element["src"]["version"]),
            (&json!(us), &json!(version)),
            "{element}"
        );
    }
}

#[test]
fn traffic_over_ipv4() {
    let Some(ig) = Ig::new() else { return };
    traffic(&ig, "127.0.0.1", 4);
}

#[test]
fn traffic_over_ipv6() {
    let Some(ig) = Ig::new() else { return };
    traffic(&ig, "::1", 6);
}

#[test]
fn traffic_of_a_container() {
    let Some(ig) = Ig::with_docker() else { return };
    let script = "while true; do (echo hello; sleep 1) | nc -l -p 9099 >/dev/null; done & \
                  while true; do echo good-bye | nc 127.0.0.1 9099; usleep 100000; done";
    let container = Container::start("top-tcp", script);
    let live = start_for(&ig, &container, "top_tcp", "");
    let is_client = |element: &Value| element["dst"]["port"] == 9099 && element["sent_raw"] == 9;
    let client = wait_element(&live, "the client", is_client);
    assert_eq!((&client["comm"], &client["sent"]), (&json!("nc"), &json!("9 B")));
    assert_only_of(&container, &live.stop().ok().stdout);
}

/// Programs that cannot run here are no obstacle where their alternatives can.
#[test]
fn the_check_knows_alternatives() {
    let Some(ig) = Ig::new() else { return };
    let ran = ig.line("doctor top_tcp --pull never").ok();
    assert!(
        ran.stdout.contains("ig_toptcp_sent") && ran.stdout.contains("ig_toptcp_sdmsg"),
        "{}",
        ran.stdout
    );
}
