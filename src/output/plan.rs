//! Plans: the text between values, merged, with the values' places in it.

use std::ops::Range;

/// Text comes in blocks of this size, because one of fixed size of which the end is then cut off is cheaper to append than a piece of
/// any size. Most text between two values is shorter.
const BLOCK: usize = 32;

/// What an encoder does for each element: write a piece of text, write a value, write a piece of text…
#[derive(Debug)]
pub(super) struct Plan<V> {
    steps: Vec<Step<V>>,
    /// The text after the last step.
    text: Vec<u8>,
}

#[derive(Debug)]
struct Step<V> {
    /// The text before the value, and how much of it counts.
    block: [u8; BLOCK],
    len: usize,
    /// None where more text follows.
    value: Option<V>,
}

impl<V> Plan<V> {
    pub(super) fn new() -> Self {
        Self {
            steps: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Adds text that is the same for every element.
    pub(super) fn text(&mut self, text: impl AsRef<[u8]>) {
        self.text.extend_from_slice(text.as_ref());
    }

    /// The text since the last value, to append to.
    pub(super) fn text_mut(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Adds a value.
    pub(super) fn value(&mut self, value: V) {
        self.step(Some(value));
    }

    /// The values, each with the number of its step.
    pub(super) fn values(&self) -> impl Iterator<Item = (usize, &V)> {
        let steps = self.steps.iter().enumerate();
        steps.filter_map(|(number, step)| Some((number, step.value.as_ref()?)))
    }

    /// How many steps there are.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Appends one element's text; `write` appends a value.
    #[inline]
    pub(super) fn run(&self, out: &mut Vec<u8>, write: impl FnMut(&V, &mut Vec<u8>)) {
        self.run_part(0..self.len(), out, write);
        self.end(out);
    }

    /// Appends the text after the last step.
    #[inline]
    pub(super) fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text);
    }

    /// Appends the part of one element's text that some steps make.
    #[inline]
    pub(super) fn run_part(&self, steps: Range<usize>, out: &mut Vec<u8>, mut write: impl FnMut(&V, &mut Vec<u8>)) {
        for step in &self.steps[steps] {
            let end = out.len() + step.len;
            out.extend_from_slice(&step.block);
            out.truncate(end);
            if let Some(value) = &step.value {
                write(value, out);
            }
        }
    }

    /// Adds the text since the last step, with what follows it.
    fn step(&mut self, value: Option<V>) {
        let text = std::mem::take(&mut self.text);
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        self.steps.extend(blocks.iter().map(|block| Step {
            block: *block,
            len: BLOCK,
            value: None,
        }));
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        self.steps.push(Step {
            block,
            len: rest.len(),
            value,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: &&str, out: &mut Vec<u8>) {
        out.extend_from_slice(value.as_bytes());
    }

    #[test]
    fn texts_of_any_length_stand_between_values() {
        let mut plan = Plan::new();
        let mut expected = String::new();
        for len in [0, 1, 31, 32, 33, 64, 100, 0] {
            let text: String = ('a'..='z').cycle().take(len).collect();
            plan.text(&text);
            plan.value("1");
            expected.push_str(&text);
            expected.push('1');
        }
        plan.text("end");
        expected.push_str("end");
        let mut out = Vec::new();
        plan.run(&mut out, write);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn parts_are_those_of_the_whole() {
        let mut plan = Plan::new();
        for value in ["1", "2", "3"] {
            plan.text("some text that does not fit into one block: ");
            plan.value(value);
        }
        plan.text("end");
        let steps: Vec<(usize, &&str)> = plan.values().collect();
        assert_eq!(steps, [(1, &"1"), (3, &"2"), (5, &"3")]);
        let mut whole = Vec::new();
        plan.run(&mut whole, write);
        for cut in 0..=6 {
            let mut parts = Vec::new();
            plan.run_part(0..cut, &mut parts, write);
            plan.run_part(cut..plan.len(), &mut parts, write);
            plan.end(&mut parts);
            assert_eq!(parts, whole);
        }
    }
}
