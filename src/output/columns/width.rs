//! How columns share the width of a terminal.

/// What a column asks for, in characters. 0 means no bound.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    /// Weight when sharing, exact width otherwise.
    pub(super) width: usize,
    pub(super) min: usize,
    pub(super) max: usize,
    /// Never scaled.
    pub(super) fixed: bool,
}

impl Extent {
    /// The width from which on a column counts as readable: what it asks for, but no more than [`READABLE`], and never less
    /// than its own minimum.
    fn need(&self) -> usize {
        if self.fixed {
            return self.width;
        }
        let bound = if self.max > 0 { self.max } else { usize::MAX };
        self.width.min(bound).min(READABLE).max(self.min)
    }
}

/// Enough for a process id, a short name, the beginning of a longer one.
const READABLE: usize = 8;

/// The width of each column of `extents` when those at `shown` (a column may be there more than once) share `total` characters
/// with one blank between neighbours.
///
/// Columns get a share by weight within their bounds; what rounding leaves over goes round by ones. If the minima do not fit,
/// the line is longer than `total`.
pub(super) fn scale(extents: &[Extent], shown: &[usize], total: usize) -> Vec<usize> {
    let divider = shown.len().saturating_sub(1);
    let (mut required, mut fixed, mut weights) = (divider, divider, 0);
    for extent in shown.iter().map(|i| &extents[*i]) {
        if extent.fixed {
            required += extent.width;
            fixed += extent.width;
        } else {
            weights += extent.width;
            required += extent.min.max(1);
        }
    }
    let total = total.max(required);
    let mut widths: Vec<usize> = extents.iter().map(|extent| extent.width).collect();
    let mut settled: Vec<bool> = extents.iter().map(|extent| extent.fixed).collect();
    let mut shared;
    loop {
        shared = 0;
        let (pass_weights, pass_fixed) = (weights, fixed);
        let mut pinned = vec![false; extents.len()];
        for &i in shown {
            if settled[i] {
                continue;
            }
            let extent = &extents[i];
            let free = total as f64 - pass_fixed as f64;
            let size = (extent.width as f64 / pass_weights as f64 * free).floor().max(0.0) as usize;
            let bound = if extent.max > 0 && size > extent.max {
                Some(extent.max)
            } else if extent.min > 0 && size < extent.min {
                Some(extent.min)
            } else {
                None
            };
            widths[i] = bound.unwrap_or(size);
            match bound {
                Some(bound) => {
                    pinned[i] = true;
                    fixed += bound;
                    weights = weights.saturating_sub(extent.width);
                }
                None => shared += size,
            }
        }
        if !pinned.contains(&true) {
            break;
        }
        for (settled, pinned) in settled.iter_mut().zip(pinned) {
            *settled |= pinned;
        }
    }
    hand_out(shown, &settled, total.saturating_sub(shared + fixed), &mut widths);
    widths
}

/// Gives what is left over to the columns that are not settled, one character each in turn.
fn hand_out(shown: &[usize], settled: &[bool], mut left: usize, widths: &mut [usize]) {
    while left > 0 {
        let before = left;
        for (at, &i) in shown.iter().enumerate() {
            let cost = shown.iter().filter(|other| **other == i).count();
            let again = shown[..at].contains(&i);
            if !settled[i] && !again && cost <= left {
                widths[i] += 1;
                left -= cost;
            }
        }
        if left == before {
            break;
        }
    }
}

/// Which of the default columns are kept on a terminal of `total` characters, so that every one that is kept is readable.
///
/// A column whose header repeats that of an earlier one goes first, the rightmost before others: without the other it could not be
/// told apart anyway. After that as few as possible go, and of several equally small choices the one furthest to the right,
/// because authors put first what matters first. The first column always stays.
pub(super) fn fit(headers: &[&str], extents: &[Extent], total: usize) -> Vec<bool> {
    let cost: Vec<usize> = extents.iter().map(|extent| extent.need() + 1).collect();
    let mut keep = vec![true; extents.len()];
    // A line of n columns has n - 1 blanks.
    let mut excess = cost.iter().sum::<usize>().saturating_sub(total + 1);
    for i in (1..headers.len()).rev() {
        if excess > 0 && headers[..i].contains(&headers[i]) {
            keep[i] = false;
            excess = excess.saturating_sub(cost[i]);
        }
    }
    // The largest costs of candidates up to `end` that `count` removals can save.
    let best = |keep: &[bool], end: usize, count: usize| -> usize {
        let mut costs: Vec<usize> = (1..end).filter(|i| keep[*i]).map(|i| cost[i]).collect();
        costs.sort_unstable_by(|a, b| b.cmp(a));
        costs.iter().take(count).sum()
    };
    let candidates = (1..extents.len()).filter(|i| keep[*i]).count();
    let all = extents.len();
    let mut count = (0..=candidates)
        .find(|count| best(&keep, all, *count) >= excess)
        .unwrap_or(candidates);
    for i in (1..all).rev() {
        if count > 0 && keep[i] && cost[i] + best(&keep, i, count - 1) >= excess.min(best(&keep, i + 1, count)) {
            keep[i] = false;
            excess = excess.saturating_sub(cost[i]);
            count -= 1;
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(width: usize, min: usize, max: usize) -> Extent {
        Extent {
            width,
            min,
            max,
            fixed: false,
        }
    }

    fn all(extents: &[Extent], total: usize) -> Vec<usize> {
        let shown: Vec<usize> = (0..extents.len()).collect();
        scale(extents, &shown, total)
    }

    #[test]
    fn k2_to_k7_widths() {
        let process = [extent(16, 0, 16), extent(16, 7, 10), extent(16, 0, 0)];
        assert_eq!(all(&process, 30), [10, 9, 9]);
        assert_eq!(all(&process, 80), [16, 10, 52]);
        assert_eq!(all(&process, 5), [1, 7, 1]);
        let three = [extent(16, 0, 0); 3];
        assert_eq!(all(&three, 50), [16, 16, 16]);
        assert_eq!(all(&three, 52), [17, 17, 16]);
        let fixed = Extent {
            fixed: true,
            ..extent(19, 0, 0)
        };
        let five = [
            extent(30, 0, 0),
            extent(16, 0, 16),
            extent(16, 7, 10),
            extent(35, 0, 35),
            fixed,
        ];
        assert_eq!(all(&five, 120), [36, 16, 10, 35, 19]);
        let two = [extent(5, 2, 10), extent(16, 0, 0)];
        assert_eq!(all(&two, 40), [10, 29]);
        assert_eq!(all(&two, 1), [2, 1]);
    }

    #[test]
    fn a_column_shown_twice_has_one_width() {
        let two = [extent(16, 0, 0); 2];
        assert_eq!(scale(&two, &[0, 1, 0], 50), [16, 16]);
        assert_eq!(scale(&two, &[0, 1, 0], 53), [17, 17]);
        assert_eq!(scale(&two, &[0, 1, 0], 51), [16, 17]);
    }

    fn kept(needs: &[(&str, usize)], total: usize) -> Vec<usize> {
        let headers: Vec<&str> = needs.iter().map(|(header, _)| *header).collect();
        let extents: Vec<Extent> = needs.iter().map(|(_, min)| extent(1, *min, 0)).collect();
        let keep = fit(&headers, &extents, total);
        (0..keep.len()).filter(|i| keep[*i]).collect()
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_right() {
        let columns = [("A", 8), ("B", 8), ("C", 8), ("D", 8)];
        assert_eq!(kept(&columns, 35), [0, 1, 2, 3]);
        assert_eq!(kept(&columns, 34), [0, 1, 2]);
        assert_eq!(kept(&columns, 17), [0, 1]);
        assert_eq!(kept(&columns, 3), [0], "the first stays");
    }

    #[test]
    fn a_repeated_header_goes_first() {
        let columns = [("A", 8), ("B", 8), ("B", 8), ("D", 8)];
        assert_eq!(kept(&columns, 34), [0, 1, 3]);
        assert_eq!(kept(&columns, 20), [0, 1]);
    }

    #[test]
    fn one_wide_column_goes_rather_than_three_small_ones() {
        let columns = [("A", 8), ("B", 8), ("C", 24), ("D", 24), ("E", 8), ("F", 8)];
        assert_eq!(kept(&columns, 85), [0, 1, 2, 3, 4, 5]);
        assert_eq!(kept(&columns, 80), [0, 1, 2, 3, 4], "one is enough, the rightmost");
        assert_eq!(kept(&columns, 70), [0, 1, 2, 4, 5], "only a wide one is enough");
        assert_eq!(kept(&columns, 55), [0, 1, 2, 4], "a wide one and a small one");
    }
}
