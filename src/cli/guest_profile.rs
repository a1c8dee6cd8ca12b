//! What `--profile-guest` says at the end: a table on standard error.

use std::io::Write;
use std::time::Duration;

use crate::wasm::{FunctionTime, Profile, Side};

/// Says where the time of the gadget's own code went; `None` if it has none.
pub(super) fn say(profile: Option<&Profile>) {
    match profile {
        // Where that cannot be written, there is nobody to tell.
        Some(profile) => drop(std::io::stderr().write_all(table(profile).as_bytes())),
        None => tracing::warn!("--profile-guest: the gadget has no code of its own"),
    }
}

fn table(profile: &Profile) -> String {
    let sum = |side| -> Duration {
        let functions = profile.functions.iter().filter(|function| function.side == side);
        functions.map(|function| function.own).sum()
    };
    let mut text = format!(
        "guest profile: {} in the guest itself, {} in host functions that it called\n",
        shown(sum(Side::Guest)),
        shown(sum(Side::Host))
    );
    let widest = profile.functions.iter().map(|function| function.function.len());
    let width = widest.max().unwrap_or_default().max("FUNCTION".len());
    text.push_str(&format!(
        "{:width$}  OF    {:>9}  {:>9}  {:>9}  {:>9}\n",
        "FUNCTION", "CALLS", "OWN", "TOTAL", "OWN/CALL"
    ));
    for FunctionTime {
        function,
        side,
        calls,
        total,
        own,
    } in &profile.functions
    {
        let side = match side {
            Side::Guest => "guest",
            Side::Host => "host",
        };
        let each = own.as_nanos() / u128::from(*calls).max(1);
        let each = Duration::from_nanos(u64::try_from(each).unwrap_or(u64::MAX));
        text.push_str(&format!(
            "{function:width$}  {side:5} {calls:>9}  {:>9}  {:>9}  {:>9}\n",
            shown(*own),
            shown(*total),
            shown(each)
        ));
    }
    text
}

/// A time with three digits or so.
fn shown(time: Duration) -> String {
    match time.as_nanos() {
        0..10_000 => format!("{}ns", time.as_nanos()),
        10_000..10_000_000 => format!("{}us", time.as_micros()),
        10_000_000..10_000_000_000 => format!("{}ms", time.as_millis()),
        _ => format!("{}s", time.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_function() {
        let function = |function, side, calls, total, own| FunctionTime {
            function,
            side,
            calls,
            total: Duration::from_micros(total),
            own: Duration::from_micros(own),
        };
        let profile = Profile {
            functions: vec![
                function("dataSourceCallback", Side::Guest, 1000, 24_000, 20_000),
                function("fieldSet", Side::Host, 2000, 4000, 4000),
            ],
        };
        assert_eq!(
            table(&profile),
            "guest profile: 20ms in the guest itself, 4000us in host functions that it called\n\
             FUNCTION            OF        CALLS        OWN      TOTAL   OWN/CALL\n\
             dataSourceCallback  guest      1000       20ms       24ms       20us\n\
             fieldSet            host       2000     4000us     4000us     2000ns\n"
        );
    }
}
