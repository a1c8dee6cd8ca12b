//! Both kinds of event buffers: the same events, nothing lost at a modest rate, and exact counts when something is.

mod common;

use common::Ig;
use common::docker::{Container, Waiting};

/// The name that the shell which opens files gives itself. By it the kernel side leaves out whatever else happens on the machine, so
/// that nothing else takes room in the buffer: files opened by other containers that start meanwhile, for one.
fn comm() -> String {
    format!("opens-{}", std::process::id())
}

/// Opens `/counted` so many times, and pauses after each `burst`.
fn opens(count: u32, burst: u32) -> String {
    format!(
        "echo -n {} >/proc/self/comm; i=0; while [ $i -lt {count} ]; do j=0; while [ $j -lt {burst} ]; do true </counted; j=$((j+1)); done; \
         i=$((i+j)); usleep 20000; done",
        comm()
    )
}

fn container(name: &str) -> Container {
    let container = Container::start(name, "echo >/counted; echo ready; sleep 100000");
    common::eventually("the file is there", || {
        (common::docker::docker(&["logs", &container.id]) == "ready").then_some(())
    });
    container
}

/// What trace_open sees of `work`: how many opens of `/counted`, and how many samples it says were lost.
fn count(ig: &Ig, container: &Container, options: &str, work: &mut Waiting) -> (u32, u32) {
    let live = ig.start(&format!(
        "run trace_open --pull never -c {} --comm {} --fields fname {options}",
        container.name,
        comm()
    ));
    work.go();
    let ran = live.stop().ok();
    let seen = ran.stdout.lines().filter(|line| line.trim_end() == "/counted").count();
    let lost = ran.stderr.lines().filter_map(|line| {
        let (_, rest) = line.split_once(": lost ")?;
        let (count, _) = rest.split_once(" samples: ")?;
        Some(count.parse::<u32>().expect("a number"))
    });
    (u32::try_from(seen).unwrap(), lost.sum())
}

#[test]
fn both_kinds_deliver_the_same_events() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = container("kinds");
    let script = "for i in 1 2 3; do true </counted; done; true >/new; true 2>/dev/null </nosuch || true";
    let mut work = Waiting::start(&container, script);
    let live = ["ring", "perf", "auto"].map(|kind| {
        ig.start(&format!(
            "run trace_open --pull never -c {} --comm sh --fields proc.tid,fd,fname,flags,error --buffer-kind {kind}",
            container.name
        ))
    });
    work.go();
    let [ring, perf, auto] = live.map(|live| live.stop().ok().stdout);
    let opens = ring.lines().filter(|line| line.contains("/counted")).count();
    assert_eq!(opens, 3, "{ring}");
    assert!(ring.contains("O_WRONLY"), "{ring}");
    assert_eq!(ring, perf);
    assert_eq!(ring, auto);
}

#[test]
fn a_hundred_thousand_events_arrive_through_a_ring() {
    hundred_thousand("ring");
}

#[test]
fn a_hundred_thousand_events_arrive_through_perf() {
    hundred_thousand("perf");
}

fn hundred_thousand(kind: &str) {
    let Some(ig) = Ig::with_docker() else { return };
    let container = container(kind);
    let mut work = Waiting::start(&container, &opens(100_000, 250));
    assert_eq!(
        count(&ig, &container, &format!("--buffer-kind {kind}"), &mut work),
        (100_000, 0)
    );
}

#[test]
fn losses_of_a_tiny_ring_are_counted_exactly() {
    losses("ring", 50_000, &opens(50_000, 50_000));
}

#[test]
fn losses_of_a_tiny_perf_buffer_are_counted_exactly() {
    // The kernel tells what it lost on a CPU when it has room for the next record there. So the shell stays on one CPU, and
    // goes on when the burst is over.
    losses(
        "perf",
        50_005,
        &format!("taskset -p 1 $$ >/dev/null; {}; {}", opens(50_000, 50_000), opens(5, 1)),
    );
}

#[test]
fn losses_at_the_end_of_a_run_are_counted_exactly() {
    losses("perf", 50_000, &opens(50_000, 50_000));
}

fn losses(kind: &str, expected: u32, script: &str) {
    let Some(ig) = Ig::with_docker() else { return };
    let container = container(kind);
    let mut work = Waiting::start(&container, script);
    let options = format!("--buffer-kind {kind} --buffer-size 4096");
    let (seen, lost) = count(&ig, &container, &options, &mut work);
    assert!(lost > 0, "four events fit into this buffer, and all of {seen} arrived");
    assert!(seen > 0);
    assert_eq!(seen + lost, expected, "{seen} seen, {lost} lost");
}

#[test]
fn sizes_and_kinds_that_cannot_be() {
    let Some(ig) = Ig::new() else { return };
    for (options, parts) in [
        ("--buffer-size 0", ["--buffer-size", "a buffer needs room"]),
        ("--buffer-size much", ["--buffer-size", "much"]),
        ("--buffer-kind paper", ["--buffer-kind", "auto, ring, perf"]),
    ] {
        ig.line(&format!("run trace_open --pull never --host --timeout 1 {options}"))
            .fails_with(&parts);
    }
    for kind in ["ring", "perf"] {
        // Not a power of two pages: the next one is taken.
        ig.line(&format!(
            "run trace_open --pull never --host --timeout 1 -o none --buffer-kind {kind} --buffer-size 1000000"
        ))
        .ok();
    }
}
