//! `ig doctor`: what this machine can do, and whether a gadget can run here.

mod common;

use common::{Ig, gadget, gadget_source};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_machine_is_described() {
    let Some(ig) = Ig::new() else { return };
    let facts = json(&ig.line("doctor -o json").ok().stdout);
    let facts = facts.as_array().expect("a list");
    let find = |area: &str, name: &str| {
        let found = facts.iter().find(|fact| fact["area"] == area && fact["name"] == name);
        found.unwrap_or_else(|| panic!("nothing about {area} {name}"))
    };
    let release = nix::sys::utsname::uname().expect("a kernel");
    let detail = find("kernel", "release")["detail"].as_str().expect("a text");
    assert!(detail.starts_with(&*release.release().to_string_lossy()), "{detail}");
    assert_eq!(find("maps", "hash")["status"], "yes");
    assert_eq!(find("privileges", "CAP_SYS_ADMIN")["status"], "yes");
    for fact in facts {
        let status = fact["status"].as_str().expect("a word");
        assert!(["yes", "no", "unknown", "info"].contains(&status), "{fact}");
    }
    let text = ig.line("doctor").ok().stdout;
    assert!(text.starts_with("KERNEL\n") && text.contains("\nMAPS\n"), "{text}");
}

#[test]
fn a_gadget_that_can_run_can() {
    let Some(ig) = Ig::new() else { return };
    let report = json(&ig.line("doctor trace_open --pull never -o json").ok().stdout);
    assert_eq!(report["runs"], true);
    let programs = report["programs"].as_array().expect("a list");
    assert!(!programs.is_empty() && programs.iter().all(|program| program["runs"] == true));
}

#[test]
fn the_program_that_cannot_run_is_named_with_the_reason() {
    let Some(ig) = Ig::new() else { return };
    let source = gadget(
        r#"
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

SEC("tracepoint/syscalls/sys_enter_openat")
int fine(void *ctx) { return 0; }

SEC("tracepoint/nosuch/nothing")
int lost(void *ctx) { return 0; }

char LICENSE[] SEC("license") = "GPL";
"#,
    );
    let path = source.path().to_string_lossy().into_owned();
    let ran = ig.run(["doctor", &path]).fails_with(&["cannot run on this machine"]);
    let line = |name: &str| {
        let found = ran.stdout.lines().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("no {name}: {}", ran.stdout)).to_owned()
    };
    assert!(line("fine").ends_with("yes"), "{}", ran.stdout);
    assert!(line("lost").ends_with("no"), "{}", ran.stdout);
    assert!(ran.stdout.contains("nosuch"), "{}", ran.stdout);
    let report = json(&ig.run(["doctor", &path, "-o", "json"]).stdout);
    assert_eq!(report["runs"], false);
    assert_eq!(report["programs"][0]["runs"], true);
    assert!(
        report["programs"][1]["error"]
            .as_str()
            .expect("a reason")
            .contains("nosuch")
    );
}

#[test]
fn a_run_says_the_same_as_doctor() {
    let Some(ig) = Ig::new() else { return };
    let facts = json(&ig.line("doctor -o json").ok().stdout);
    let facts = facts.as_array().expect("a list");
    let kprobes = facts.iter().find(|fact| fact["name"] == "kprobes").expect("the fact");
    let path = gadget_source("attach/kprobe").to_string_lossy().into_owned();
    let ran = ig.run(["doctor", &path, "-o", "json"]);
    if kprobes["status"] == "yes" {
        ran.ok();
        return;
    }
    let remedy = kprobes["remedy"].as_str().expect("a remedy");
    let report = json(&ran.stdout);
    let program = &report["programs"][0];
    let error = program["error"].as_str().expect("a reason");
    assert!(error.contains("this kernel has no kprobes"), "{error}");
    assert_eq!(program["remedy"], remedy);
    ig.run(["run", &path, "--host"])
        .fails_with(&["this kernel has no kprobes", remedy]);
}
