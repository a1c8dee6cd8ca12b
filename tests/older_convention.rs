//! Gadgets of the older convention, which have names of maps instead of markers.

mod common;

use std::collections::BTreeMap;

use common::{Ig, gadget_source};
use serde_json::{Value, json};

/// Beyond what any process has open, so that nobody else closes it.
const FIRST: i32 = 1 << 20;

fn close(fd: i32) {
    // SAFETY: there is no such descriptor, so nothing is closed.
    unsafe { libc::close(fd) };
}

/// Starts `gadget` with a parameter of its own, on everything.
fn line(gadget: &str) -> String {
    let source = gadget_source("older").join(gadget).join("program.bpf.c");
    format!("run {} --host --include-self --first_fd {FIRST}", source.display())
}

fn ours(value: &Value) -> bool {
    value["pid"] == std::process::id()
}

#[test]
fn print_maps_are_tracers() {
    let Some(ig) = Ig::new() else { return };
    for (gadget, kind) in [("print_perf", "ring"), ("print_ring", "perf")] {
        // What the map is declared as counts, whatever is asked for.
        let live = ig.start(&format!("{} -o json --buffer-kind {kind}", line(gadget)));
        close(FIRST - 1);
        close(FIRST + 7);
        live.wait_event("the close", |event| ours(event) && event["fd"] == FIRST + 7);
        let ran = live.stop().ok();
        let events: Vec<Value> = ran
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let events: Vec<&Value> = events.iter().filter(|event| ours(event)).collect();
        assert_eq!(events.len(), 1, "the parameter keeps smaller ones out: {events:?}");
        assert!(events[0]["mntns_id"].as_u64().is_some_and(|id| id > 0), "{events:?}");
    }
}

#[test]
fn stats_maps_are_toppers() {
    let Some(ig) = Ig::new() else { return };
    let options = "-o json --map-fetch-interval 200ms --sort -value --weight 3";
    let live = ig.start(&format!("{} {options}", line("stats")));
    for fd in [1, 2, 2, 3, 3, 3] {
        close(FIRST + fd);
    }
    // A fetch may come in between.
    let mut sums = BTreeMap::new();
    live.wait("all calls", |line| {
        let rows: Vec<Value> = serde_json::from_str(line).unwrap();
        let rows: Vec<(i64, u64)> = rows
            .iter()
            .filter(|row| ours(row))
            .map(|row| (row["fd"].as_i64().unwrap(), row["value"].as_u64().unwrap()))
            .collect();
        assert!(
            rows.is_sorted_by_key(|(_, value)| std::cmp::Reverse(*value)),
            "{rows:?}"
        );
        for (fd, value) in rows {
            *sums.entry(fd - i64::from(FIRST)).or_insert(0) += value;
        }
        (sums.values().sum::<u64>() >= 18).then_some(())
    });
    live.stop().ok();
    assert_eq!(
        sums,
        BTreeMap::from([(1, 3), (2, 6), (3, 9)]),
        "key and value side by side, once"
    );
}

#[test]
fn hist_maps_are_printed_at_the_end() {
    let Some(ig) = Ig::new() else { return };
    let run = |options: &str| {
        let live = ig.start(&format!("{} {options}", line("hist")));
        for fd in [
            FIRST,
            FIRST + 1,
            2 * FIRST,
            4 * FIRST,
            4 * FIRST + 1,
            4 * FIRST + 2,
            4 * FIRST + 3,
        ] {
            close(fd);
        }
        assert!(live.lines().is_empty(), "nothing before the end");
        live.stop().ok().stdout
    };
    let text = run("--fields by_process:pid,comm;all:-key");
    let lines: Vec<&str> = text.lines().collect();
    let header = "                         : count    distribution";
    assert_eq!(lines.iter().filter(|line| **line == header).count(), 2, "{text}");
    for (interval, count, stars) in [
        ("1048576 -> 2097151", 2, 20),
        ("2097152 -> 4194303", 1, 10),
        ("4194304 -> 8388607", 4, 40),
    ] {
        let row = format!("{interval:>21}    : {count:<8} |{:<40}|", "*".repeat(stars));
        assert_eq!(
            lines.iter().filter(|line| **line == row).count(),
            2,
            "{row:?} in {text}"
        );
    }
    let own = std::process::id().to_string();
    assert!(
        lines.iter().any(|line| line.split_whitespace().next() == Some(&own)),
        "{text}"
    );
    let arrays = run("-o json");
    let all: Vec<Vec<Value>> = arrays.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.len(), 2, "{arrays}");
    for array in all {
        assert_eq!(array.len(), 1, "{array:?}");
        let slots = array[0]["slots"].as_array().unwrap();
        assert_eq!(slots[20..23], [json!(2), json!(1), json!(4)]);
    }
}

#[test]
fn they_are_built_inspected_and_checked_like_any_gadget() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("stats");
    std::fs::create_dir(&source).unwrap();
    std::fs::copy(gadget_source("older/stats/program.bpf.c"), source.join("program.bpf.c")).unwrap();
    let path = source.to_string_lossy();
    ig.run(["image", "build", "-t", "older", &path, "--update-metadata"])
        .ok();
    let metadata = std::fs::read_to_string(source.join("gadget.yaml")).unwrap();
    for part in ["closed:", "mntns_id:", "fd:", "value:", "first_fd:", "weight:"] {
        assert!(metadata.contains(part), "no {part} in {metadata}");
    }
    assert!(!metadata.contains("gadget_filter_by_mntns"), "{metadata}");
    let inspected = ig.line("image inspect older --verify-image=false -o json").ok().stdout;
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert!(inspected.to_string().contains("closed"), "{inspected}");
    let doctor = ig.line("doctor older --verify-image=false").ok().stdout;
    assert!(doctor.contains("enter_close"), "{doctor}");

    let wrong = common::gadget(
        "#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\nstruct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);\n\
         __type(key, __u32); __type(value, __u64); } hist_wrong SEC(\".maps\");\n\
         SEC(\"tracepoint/syscalls/sys_enter_close\") int p(void *ctx) { __u32 k = 0; return !bpf_map_lookup_elem(&hist_wrong, &k); }\n\
         char LICENSE[] SEC(\"license\") = \"GPL\";\n",
    );
    ig.run(["run".as_ref(), wrong.path().as_os_str()])
        .fails_with(&["hist_wrong", "__u32 slots[N]"]);
}
