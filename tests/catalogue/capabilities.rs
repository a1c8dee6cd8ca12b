//! trace_capabilities. Here through the kernel's own tracepoint if nothing can be attached to functions.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::json;

use super::common::Ig;
use super::common::docker::Container;
use super::{assert_only_of, mount_namespace, start, start_for};

#[test]
fn capabilities_that_are_asked_for() {
    let Some(ig) = Ig::new() else { return };
    let live = start(&ig, "trace_capabilities", "--host --comm chroot");
    assert!(Command::new("chroot").args(["/", "true"]).status().unwrap().success());
    let event = live.wait_event("the check", |event| event["cap"] == "CAP_SYS_CHROOT");
    assert_eq!(
        (&event["syscall"], &event["syscall_raw"]),
        (&json!("SYS_CHROOT"), &json!(libc::SYS_chroot))
    );
    assert_eq!((&event["cap_raw"], &event["capable"]), (&json!(18), &json!(true)));
    assert_eq!(event["proc"]["mntns_id"], mount_namespace("self"));
    let namespace = std::fs::metadata("/proc/self/ns/user").unwrap().ino();
    assert_eq!(
        (&event["current_userns"], &event["target_userns"]),
        (&json!(namespace), &json!(namespace))
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    assert_eq!(event["cap_effective_raw"], u64::from_str_radix(effective, 16).unwrap());
    assert!(event["cap_effective"].as_str().unwrap().contains("FLAG_CAP_SYS_CHROOT"));
    let audit = (event["audit"].as_i64().unwrap(), event["insetid"].as_i64().unwrap());
    assert!([(1, 0), (-1, -1)].contains(&audit), "{audit:?}");
    let ran = live.stop().ok();
    assert!(!ran.stderr.contains("left out"), "{}", ran.stderr);
}

#[test]
fn each_capability_once() {
    let Some(ig) = Ig::new() else { return };
    let live = start(&ig, "trace_capabilities", "--host --comm chroot --unique");
    let chroot = |times: usize| {
        for _ in 0..times {
            Command::new("chroot").args(["/", "true"]).status().unwrap();
        }
    };
    chroot(5);
    live.wait_event("the check", |event| event["cap"] == "CAP_SYS_CHROOT");
    chroot(5);
    let ran = live.stop().ok();
    assert_eq!(ran.stdout.matches("\"CAP_SYS_CHROOT\"").count(), 1, "{}", ran.stdout);
}

#[test]
fn capabilities_that_a_container_lacks() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("capabilities");
    let live = start_for(&ig, &container, "trace_capabilities", "");
    Command::new("chroot").args(["/", "true"]).status().unwrap();
    container.exec("ifconfig lo down; chroot / true; true");
    let event = live.wait_event("what ifconfig needs", |event| event["cap"] == "CAP_NET_ADMIN");
    assert_eq!(
        (&event["capable"], &event["syscall"]),
        (&json!(false), &json!("SYS_IOCTL"))
    );
    assert_eq!(event["proc"]["mntns_id"], mount_namespace(container.pid()));
    let event = live.wait_event("what chroot needs", |event| event["cap"] == "CAP_SYS_CHROOT");
    assert_eq!(
        (&event["capable"], &event["syscall"]),
        (&json!(true), &json!("SYS_CHROOT"))
    );
    assert_only_of(&container, &live.stop().ok().stdout);
}
