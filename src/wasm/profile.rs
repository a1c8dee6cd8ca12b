//! Where a guest's time goes, for `--profile-guest`.
//!
//! Calls nest: the host calls a function of the guest, which calls functions of the host, which may call the guest again. What a
//! function takes *itself* is its time without the calls that it made.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Whose function it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// One that the guest exports.
    Guest,
    /// One of module `ig`.
    Host,
}

/// The calls of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionTime {
    /// Its name.
    pub function: &'static str,
    /// Whose it is.
    pub side: Side,
    /// How often it was called.
    pub calls: u64,
    /// Time from call to return. Of a function that is called within itself, the inner calls count twice.
    pub total: Duration,
    /// The same without the calls that it made. WASI's functions count as the guest's own time.
    pub own: Duration,
}

/// Where the time of one guest went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Each function that was called, those with the most own time first.
    pub functions: Vec<FunctionTime>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    calls: u64,
    total: Duration,
    own: Duration,
}

#[derive(Debug)]
struct Frame {
    side: Side,
    function: &'static str,
    start: Instant,
    /// Time in the calls that were made from here.
    inner: Duration,
}

/// Measures while the guest runs.
#[derive(Debug, Default)]
pub(super) struct Meter {
    rows: HashMap<(Side, &'static str), Row>,
    stack: Vec<Frame>,
}

impl Meter {
    /// A function is called.
    pub(super) fn begin(&mut self, side: Side, function: &'static str) {
        self.stack.push(Frame {
            side,
            function,
            start: Instant::now(),
            inner: Duration::ZERO,
        });
    }

    /// The function that was called last has returned, or failed.
    pub(super) fn end(&mut self) {
        let Some(frame) = self.stack.pop() else { return };
        self.note(&frame, frame.start.elapsed());
    }

    fn note(&mut self, frame: &Frame, total: Duration) {
        if let Some(caller) = self.stack.last_mut() {
            caller.inner += total;
        }
        let row = self.rows.entry((frame.side, frame.function)).or_default();
        row.calls += 1;
        row.total += total;
        row.own += total.saturating_sub(frame.inner);
    }

    /// What was measured so far.
    pub(super) fn profile(&self) -> Profile {
        let mut functions: Vec<FunctionTime> = self
            .rows
            .iter()
            .map(|((side, function), row)| FunctionTime {
                function,
                side: *side,
                calls: row.calls,
                total: row.total,
                own: row.own,
            })
            .collect();
        functions.sort_by(|a, b| b.own.cmp(&a.own).then(a.function.cmp(b.function)));
        Profile { functions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_time_is_without_the_calls_that_were_made() {
        let mut meter = Meter::default();
        let ms = Duration::from_millis;
        let frame = |side, function| Frame {
            side,
            function,
            start: Instant::now(),
            inner: Duration::ZERO,
        };
        // callback(10) { emit(7) { callback(4) } }
        meter.stack.push(frame(Side::Guest, "callback"));
        meter.stack.push(frame(Side::Host, "emit"));
        meter.note(&frame(Side::Guest, "callback"), ms(4));
        for total in [7, 10] {
            let done = meter.stack.pop().unwrap();
            meter.note(&done, ms(total));
        }
        let profile = meter.profile();
        let seen: Vec<_> = profile
            .functions
            .iter()
            .map(|f| (f.function, f.side, f.calls, f.total, f.own))
            .collect();
        assert_eq!(
            seen,
            [
                ("callback", Side::Guest, 2, ms(14), ms(7)),
                ("emit", Side::Host, 1, ms(7), ms(3)),
            ]
        );
        meter.end();
        assert_eq!(meter.profile(), profile, "an end without a beginning");
    }
}
