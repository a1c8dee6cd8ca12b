//! Watching which values of a plan stay the same from element to element, or are one of a few.
//!
//! That depends on the gadget and on what goes on: a container's names hardly ever change, process ids with every event where many
//! programs are started. So some elements are looked at closely now and then, and what is between values that change is worth keeping as one
//! text until the next time.

use std::ops::Range;

use crate::data::{Accessor, Element};

/// So many elements in a row are looked at…
const WATCHED: u32 = 64;
/// …and then this many are not.
const UNWATCHED: u32 = 8192 - WATCHED;
/// How many values in turn count as the same one coming back.
const RECENT: usize = 4;
/// A value that is a new one in more than one of so many elements is no part of what is kept.
const SELDOM: u32 = 8;
/// Fewer values are written as fast as they are compared.
const WORTH_KEEPING: usize = 3;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Watch {
    values: Vec<Watched>,
    /// Whether elements are being looked at, and how many more.
    watching: bool,
    left: u32,
}

#[derive(Debug)]
struct Watched {
    /// Its step in the plan.
    step: usize,
    accessor: Accessor,
    recent: [Vec<u8>; RECENT],
    /// The oldest and the latest of them.
    oldest: usize,
    latest: usize,
    /// How often it was a new one, and whether it was ever another one than in the element before.
    changes: u32,
    varies: bool,
}

impl Watch {
    /// Watches the values of these steps, which are in order.
    pub(super) fn new(values: impl Iterator<Item = (usize, Accessor)>) -> Self {
        let values = values.map(|(step, accessor)| Watched {
            step,
            accessor,
            recent: Default::default(),
            oldest: 0,
            latest: 0,
            changes: 0,
            varies: false,
        });
        Self {
            values: values.collect(),
            watching: true,
            left: WATCHED,
        }
    }

    /// Whether the next element is looked at: all its values have to be there.
    #[inline]
    pub(super) fn is_watching(&self) -> bool {
        self.watching
    }

    /// Begins again to look at elements.
    #[cold]
    pub(super) fn restart(&mut self) {
        (self.watching, self.left) = (true, WATCHED);
        for value in &mut self.values {
            (value.changes, value.varies) = (0, false);
        }
    }

    /// The values, each with its step.
    pub(super) fn values(&self) -> impl Iterator<Item = (usize, Accessor)> {
        self.values.iter().map(|value| (value.step, value.accessor))
    }

    /// An element is about to be written. `true` if more is known after it: what [`stretches`](Self::stretches) says.
    #[inline]
    pub(super) fn see(&mut self, element: &Element) -> bool {
        self.left -= 1;
        let is_last = self.left == 0;
        if self.watching {
            self.look(element, self.left == WATCHED - 1);
        }
        is_last && self.turn()
    }

    #[cold]
    fn look(&mut self, element: &Element, is_first: bool) {
        for value in &mut self.values {
            let bytes = value.accessor.text(element);
            let found = value.recent.iter().position(|recent| recent == bytes);
            let latest = found.unwrap_or_else(|| {
                let place = value.oldest;
                value.changes += 1;
                value.oldest = (place + 1) % RECENT;
                value.recent[place].clear();
                value.recent[place].extend_from_slice(bytes);
                place
            });
            value.varies |= latest != value.latest && !is_first;
            value.latest = latest;
        }
    }

    /// Ends watching, which says something, or begins it anew.
    #[cold]
    fn turn(&mut self) -> bool {
        let ended = self.watching;
        if ended {
            (self.watching, self.left) = (false, UNWATCHED);
        } else {
            self.restart();
        }
        ended
    }

    /// Whether the value of this step was ever another one than in the element before.
    pub(super) fn varies(&self, step: usize) -> bool {
        self.values.iter().any(|value| value.step == step && value.varies)
    }

    /// The steps, in order, between values that change often, where these are worth being kept as one text.
    pub(super) fn stretches(&self) -> impl Iterator<Item = Range<usize>> {
        let runs = self.values.split(|value| value.changes > WATCHED / SELDOM);
        // Each ends before the value that ends its run, and the next begins after it.
        let mut start = 0;
        let mut at = 0;
        runs.filter_map(move |run| {
            let begin = start;
            at += run.len();
            start = self.values.get(at).map_or(0, |value| value.step + 1);
            at += 1;
            let last = run.last().filter(|_| run.len() >= WORTH_KEEPING)?;
            Some(begin..last.step + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSource, Scalar, SourceType};
    use crate::output::testing::add;

    /// What is worth keeping after elements in which each value changes every so often; 0 means never.
    fn stretches(every: &[u32]) -> Vec<(usize, usize)> {
        let mut source = DataSource::new("test", SourceType::Single, None);
        let accessors: Vec<Accessor> = (0..every.len())
            .map(|index| add(&mut source, &format!("f{index}"), Scalar::Uint32))
            .collect();
        // With a step of text only before each.
        let steps = accessors
            .iter()
            .enumerate()
            .map(|(index, accessor)| (2 * index + 1, *accessor));
        let mut watch = Watch::new(steps);
        let mut element = Element::new(source.layout());
        for number in 1..=WATCHED {
            for (accessor, every) in accessors.iter().zip(every) {
                if let Some(value) = number.checked_div(*every) {
                    accessor.set_bits(&mut element, u64::from(value));
                }
            }
            assert_eq!(watch.see(&element), number == WATCHED);
        }
        ends(&watch)
    }

    /// Where the stretches begin and end.
    fn ends(watch: &Watch) -> Vec<(usize, usize)> {
        watch.stretches().map(|steps| (steps.start, steps.end)).collect()
    }

    #[test]
    fn what_is_between_changing_values_is_kept() {
        assert!(stretches(&[]).is_empty());
        assert_eq!(stretches(&[0, 0, 0, 0]), [(0, 8)]);
        assert_eq!(stretches(&[1, 0, 0, 0, 9]), [(2, 10)]);
        assert_eq!(stretches(&[0, 0, 0, 1, 0, 0, 1, 0, 0, 0]), [(0, 6), (14, 20)]);
        assert!(stretches(&[1, 1, 1, 7]).is_empty());
    }

    #[test]
    fn values_that_come_back_are_kept() {
        let mut source = DataSource::new("test", SourceType::Single, None);
        let accessors = ["a", "b", "c", "d"].map(|name| add(&mut source, name, Scalar::String));
        let mut watch = Watch::new(accessors.into_iter().enumerate());
        for number in 1..=WATCHED {
            let mut element = Element::new(source.layout());
            for (accessor, different) in accessors.iter().zip([1, 2, 4, 5]) {
                accessor
                    .set(&mut element, (number % different).to_string().as_bytes())
                    .unwrap();
            }
            watch.see(&element);
        }
        assert_eq!(ends(&watch), [(0, 3)]);
    }

    #[test]
    fn it_is_looked_again_after_a_while() {
        let mut source = DataSource::new("test", SourceType::Single, None);
        let accessors = ["a", "b", "c"].map(|name| add(&mut source, name, Scalar::Uint32));
        let mut watch = Watch::new(accessors.into_iter().enumerate());
        let mut element = Element::new(source.layout());
        let mut said = Vec::new();
        for number in 1..=20_000 {
            // At first one of them changes.
            accessors[1].set_bits(&mut element, number.min(1000));
            if watch.see(&element) {
                said.push((number, ends(&watch)));
            }
        }
        assert_eq!(said, [(64, vec![]), (8256, vec![(0, 3)]), (16448, vec![(0, 3)])]);
    }
}
