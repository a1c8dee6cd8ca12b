//! Histograms as text: a line per interval with its count and a bar.

use std::fmt::Write;

/// How many values lay between `start` and `end`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The smallest value.
    pub start: u64,
    /// The largest value.
    pub end: u64,
    /// How many there were.
    pub count: u64,
}

/// Characters of the longest bar.
const BAR: u64 = 40;

/// The intervals of slots whose widths double: slot `i` counts from 2^i to 2^(i+1) - 1, the first one 0, too. Empty slots at the end
/// are left out, but not the first slot.
pub fn exponential(slots: &[u64]) -> Vec<Interval> {
    let used = slots.iter().rposition(|count| *count > 0).map_or(1, |last| last + 1);
    let power = |exponent: usize| {
        u32::try_from(exponent)
            .ok()
            .and_then(|exponent| 1u64.checked_shl(exponent))
    };
    slots
        .iter()
        .take(used)
        .enumerate()
        .map(|(i, count)| Interval {
            start: if i == 0 { 0 } else { power(i).unwrap_or(u64::MAX) },
            end: power(i + 1).map_or(u64::MAX, |next| next - 1),
            count: *count,
        })
        .collect()
}

/// Appends the text of `intervals`, whose values are in `unit`; nothing if there are none.
pub fn append(unit: &str, intervals: &[Interval], out: &mut String) {
    let Some(max) = intervals.iter().map(|interval| interval.count).max() else {
        return;
    };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "        {unit:<16} : count    distribution");
    for Interval { start, end, count } in intervals {
        let stars = u128::from(*count) * u128::from(BAR) / u128::from(max.max(1));
        let bar = "*".repeat(usize::try_from(stars).unwrap_or_default());
        let _ = writeln!(out, "{start:>10} -> {end:<10} : {count:<8} |{bar:<40}|");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unit: &str, slots: &[u64]) -> String {
        let mut out = String::new();
        append(unit, &exponential(slots), &mut out);
        out
    }

    #[test]
    fn e1_bars_are_shares_of_the_largest() {
        let expected = format!(
            "        µs               : count    distribution\n\
             \u{20}        0 -> 1          : 1        |*************{}|\n\
             \u{20}        2 -> 3          : 0        |{}|\n\
             \u{20}        4 -> 7          : 3        |{}|\n",
            " ".repeat(27),
            " ".repeat(40),
            "*".repeat(40)
        );
        assert_eq!(text("µs", &[1, 0, 3]), expected);
        assert_eq!(text("µs", &[1, 0, 3, 0, 0]), expected, "empty slots at the end");
    }

    #[test]
    fn nothing_and_zeroes() {
        assert_eq!(text("ns", &[]), "");
        let zero = text("ns", &[0, 0]);
        assert_eq!(zero.lines().count(), 2);
        assert!(zero.ends_with(&format!("|{}|\n", " ".repeat(40))), "{zero}");
    }

    #[test]
    fn the_largest_numbers_fit() {
        let slots = [u64::MAX; 65];
        let intervals = exponential(&slots);
        assert_eq!((intervals[63].start, intervals[63].end), (1 << 63, u64::MAX));
        assert_eq!(intervals[64].start, u64::MAX);
        assert!(text("x", &slots).contains(&format!("|{}|", "*".repeat(40))));
    }
}
