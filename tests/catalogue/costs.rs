//! bpfstats.

use super::common::Ig;
use super::{start, wait_element};

#[test]
fn programs_of_another_gadget() {
    let Some(ig) = Ig::new() else { return };
    let traced = start(&ig, "trace_open", "--host");
    // Nothing else may be opening files on a quiet machine.
    let _ = std::fs::File::open("/proc/self/comm");
    traced.wait_event("an event", |_| true);
    let live = start(&ig, "bpfstats", "--statistics-interval 300ms");
    let mut pid = String::new();
    for name in ["ig_openat_e", "ig_openat_x"] {
        let row = wait_element(&live, name, |row| {
            let _ = std::fs::File::open("/proc/self/comm");
            row["progName"] == name
                && row["runcount"].as_u64() > Some(0)
                && row["comms"].as_str().is_some_and(|comms| !comms.is_empty())
        });
        assert_eq!(row["progType"], "TracePoint");
        assert!(
            row["runtime_raw"].as_u64() > Some(0) && row["cpuUsage"].as_f64() > Some(0.0),
            "{row}"
        );
        assert!(
            row["mapCount"].as_u64() > Some(1) && row["mapMemory_raw"].as_u64() > Some(4096),
            "{row}"
        );
        assert_eq!(row["gadgetName"], "");
        pid = row["pids"].as_str().unwrap().to_owned();
    }
    assert!(
        pid.split(',')
            .any(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("trace_open"))),
        "{pid}"
    );
    live.stop().ok();
    let live = start(&ig, "bpfstats", "--statistics-interval 100ms --gadgets-only");
    live.wait("a report", |line| (line == "[]").then_some(()));
    live.stop().ok();
    traced.stop().ok();
    ig.line("run bpfstats --pull never --statistics-interval 0s")
        .fails_with(&["statistics-interval"]);
}
