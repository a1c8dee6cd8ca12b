//! A kernel that refuses ring buffers, although it has them: a security module in eBPF does, in the virtual machine that is
//! told to by `IG_TEST_NO_RING_BUFFERS`.

use std::sync::OnceLock;

use super::cases;
use super::common::{Ig, Live};

/// Whether this kernel refuses ring buffers.
pub(crate) fn is_on() -> bool {
    std::env::var_os("IG_TEST_NO_RING_BUFFERS").is_some()
}

/// The kinds of buffers to ask for: there, what comes of asking for none in particular, and what is refused.
pub(crate) fn buffers() -> [&'static str; 2] {
    if is_on() { ["ring", "auto"] } else { ["ring", "perf"] }
}

/// The kind that comes of asking for `buffer`.
pub(crate) fn kind(buffer: &'static str) -> &'static str {
    match buffer {
        "auto" => "perf",
        buffer => buffer,
    }
}

/// Has the kernel refuse ring buffers from now on, if it is to.
pub(crate) fn begin(ig: &Ig) {
    static MODULE: OnceLock<Live> = OnceLock::new();
    if is_on() {
        MODULE.get_or_init(|| {
            let args = ["run", "no_ring_buffers", "--verify-image=false", "--pull=never", "-v"];
            let live = Live::spawn(&mut ig.command(args));
            live.wait_running();
            live
        });
    }
}

/// The kernel really says no, and `ig` says so.
#[test]
fn ring_buffers_are_refused() {
    if !is_on() {
        return;
    }
    let Some(ig) = cases::ig() else { return };
    let facts = ig.line("doctor -o json").ok().stdout;
    let facts: Vec<serde_json::Value> = serde_json::from_str(&facts).expect("a list of facts");
    let fact = facts
        .iter()
        .find(|fact| fact["name"] == "ring buffers")
        .expect("the fact");
    assert_eq!(fact["status"], "no", "{fact}");
    ig.line("run trace_open --pull=never --host --buffer-kind=ring")
        .fails_with(&["this kernel has no ring buffers", "Linux 5.8", "perf"]);
    println!("{}\tring buffers are refused\tring\tpass", cases::CELL);
}
