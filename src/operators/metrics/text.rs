//! What was summed up, as text.

use std::fmt::Write;

use super::instrument::{Instrument, Total};
use super::{Entry, Totals};
use crate::output::histogram::{self, Interval};

/// The text of all `instruments`: their names, each followed by what there is of it. Histograms have no keys beside them, as upstream's;
/// of counters and gauges upstream shows the names only.
pub(super) fn text(instruments: &[Instrument], totals: &Totals) -> String {
    let mut text = String::new();
    for (index, instrument) in instruments.iter().enumerate() {
        let mut entries = totals
            .range((index, Vec::new())..)
            .take_while(|((of, _), _)| *of == index)
            .map(|(_, entry)| entry)
            .peekable();
        if entries.peek().is_some() {
            text.push_str(&instrument.name);
            text.push('\n');
        }
        for entry in entries {
            append(&instrument.unit, entry, &mut text);
        }
    }
    text
}

fn append(unit: &str, Entry { keys, total, .. }: &Entry, text: &mut String) {
    let intervals = match total {
        Total::Sum(number) | Total::Last(number) => {
            let colon = if keys.is_empty() { "" } else { ": " };
            let space = if unit.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "        {keys}{colon}{number}{space}{unit}\n");
            return;
        }
        Total::Buckets(bounds, counts) => of_bounds(bounds, counts),
        Total::Slots(slots) => of_slots(slots),
    };
    histogram::append(unit, &intervals, text);
    text.push('\n');
}

/// The intervals between bounds. What is above the last one is not shown.
fn of_bounds(bounds: &[f64], counts: &[u64]) -> Vec<Interval> {
    let starts = std::iter::once(0.0).chain(bounds.iter().copied());
    starts
        .zip(bounds)
        .zip(counts)
        .map(|((start, end), count)| Interval {
            start: start as u64,
            end: *end as u64,
            count: *count,
        })
        .collect()
}

/// The intervals between bounds that double; slot `i` counts up to 2^i.
fn of_slots(slots: &[u64]) -> Vec<Interval> {
    let bound = |slot: usize| histogram::power_of_two(slot).unwrap_or(u64::MAX);
    slots
        .iter()
        .enumerate()
        .map(|(slot, count)| Interval {
            start: slot.checked_sub(1).map_or(0, bound),
            end: bound(slot),
            count: *count,
        })
        .collect()
}
