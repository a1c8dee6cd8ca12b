//! Memos: text that is kept from one element to the next, as long as the fields it is made of stay the same.
//!
//! Most events of a burst are of a few processes in a few containers that do a few things again and again, so that large parts of their
//! text repeat. Comparing bytes is much cheaper than formatting them. A memo that misses too often pauses, so that mixed events do not pay
//! for it.

use std::ops::Range;

use crate::data::{Accessor, Element, Footprint, Lazy, Saved};

/// How many texts are kept.
const PLACES: usize = 8;
/// What a miss counts; a hit takes one off.
const MISS: u32 = 4;
/// When the count is higher, a memo pauses…
const PATIENCE: u32 = 64;
/// …for this many elements.
const PAUSE: u32 = 256;

/// The text that some steps of a plan make.
#[derive(Debug)]
pub(super) struct Memo {
    pub(super) steps: Range<usize>,
    /// Those of them whose values say which text it is.
    varying: Vec<usize>,
    /// What makes some of its values.
    derivations: Vec<usize>,
    footprint: Footprint,
    kept: [Kept; PLACES],
    misses: u32,
    pause: u32,
}

/// A text, and what it was made of.
#[derive(Debug, Default)]
struct Kept {
    saved: Saved,
    text: Vec<u8>,
}

impl Memo {
    /// The text of steps with these values, each with its step and whether it varies. Of values that are derived, what they are made of is
    /// looked at.
    pub(super) fn new(steps: Range<usize>, values: &[(usize, Accessor, bool)], element: &impl Lazy) -> Self {
        let mut derivations = Vec::new();
        let (mut read, mut telling) = (Vec::new(), Vec::new());
        for (_, value, varies) in values {
            let derivation = element.derivation(value);
            let inputs = derivation.map_or(std::slice::from_ref(value), |derivation| element.inputs(derivation));
            read.extend_from_slice(inputs);
            if *varies {
                telling.extend_from_slice(inputs);
            }
            derivations.extend(derivation);
        }
        derivations.sort_unstable();
        derivations.dedup();
        let varying = values.iter().filter(|(_, _, varies)| *varies);
        Self {
            steps,
            varying: varying.map(|(step, ..)| *step).collect(),
            derivations,
            footprint: Footprint::of(&read, &telling),
            kept: Default::default(),
            misses: 0,
            pause: 0,
        }
    }

    /// Whether a text is told apart from others by the value of this step, too.
    pub(super) fn looks_at(&self, step: usize) -> bool {
        self.varying.contains(&step)
    }

    /// Appends the text for `element`: a kept one if that still holds, else what `write` makes of it.
    #[inline]
    pub(super) fn append(
        &mut self,
        element: &mut impl Lazy,
        out: &mut Vec<u8>,
        write: impl FnOnce(&Element, &mut Vec<u8>),
    ) {
        let start = out.len();
        if self.pause > 0 {
            self.pause -= 1;
            self.derive(element);
            return write(element.element(), out);
        }
        let number = self.footprint.number(element.element());
        let place = (number >> (u64::BITS - PLACES.ilog2())) as usize;
        let kept = &self.kept[place];
        if self.footprint.matches(element.element(), &kept.saved) {
            self.misses = self.misses.saturating_sub(1);
            out.extend_from_slice(&kept.text);
            return;
        }
        self.misses += MISS;
        if self.misses > PATIENCE {
            self.misses = 0;
            self.pause = PAUSE;
        }
        self.derive(element);
        write(element.element(), out);
        let kept = &mut self.kept[place];
        self.footprint.save(element.element(), &mut kept.saved);
        kept.text.clear();
        kept.text.extend_from_slice(&out[start..]);
    }

    fn derive(&self, element: &mut impl Lazy) {
        for derivation in &self.derivations {
            element.force(*derivation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSource, NewField, Scalar, SourceType};

    /// How many of `numbers` are written anew, one after the other.
    fn written(numbers: impl Iterator<Item = u64>) -> usize {
        let mut source = DataSource::new("test", SourceType::Single, None);
        let number = source.add_field(NewField::new("number", Scalar::Uint64)).unwrap();
        let text = source.add_field(NewField::new("text", Scalar::String)).unwrap();
        let (number, text) = (source.accessor(number), source.accessor(text));
        let mut memo = Memo::new(0..2, &[(0, number, true), (1, text, true)], &&Element::default());
        let mut written = 0;
        let mut element = Element::default();
        for value in numbers {
            element.reset(source.layout(), &[]);
            number.set_bits(&mut element, value);
            let expected = format!("the number {value}");
            text.set(&mut element, expected.as_bytes()).unwrap();
            let mut out = b"before".to_vec();
            memo.append(&mut &element, &mut out, |element, out| {
                written += 1;
                out.extend_from_slice(text.text(element));
            });
            assert_eq!(out, [b"before", expected.as_bytes()].concat());
        }
        written
    }

    #[test]
    fn what_was_written_is_not_written_again() {
        assert_eq!(written(std::iter::repeat_n(7, 1000)), 1);
        assert_eq!(written((0..1000).map(|number| number % 3)), 3, "each has a place");
        assert!(written((0..1000).map(|number| number / 100)) <= 12);
    }

    #[test]
    fn what_is_always_new_is_hardly_looked_at() {
        let mut source = DataSource::new("test", SourceType::Single, None);
        let number = source.add_field(NewField::new("number", Scalar::Uint64)).unwrap();
        let number = source.accessor(number);
        let mut memo = Memo::new(0..1, &[(0, number, true)], &&Element::default());
        let mut element = Element::new(source.layout());
        let mut looked = 0;
        for value in 0..10_000 {
            number.set_bits(&mut element, value);
            looked += usize::from(memo.pause == 0);
            memo.append(&mut &element, &mut Vec::new(), |_, _| ());
        }
        assert!(looked < 1000, "{looked}");
    }
}
