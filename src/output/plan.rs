//! Plans: the text between values, merged, with the values' places in it.

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
    /// None where more text follows, or a part of the plan ends.
    value: Option<V>,
}

/// A place in a plan.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position(usize);

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

    /// The text since the last value or position, to append to.
    pub(super) fn text_mut(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Adds a value.
    pub(super) fn value(&mut self, value: V) {
        self.step(Some(value));
    }

    /// The end of the plan so far, as a place where a part of it may begin or end.
    pub(super) fn position(&mut self) -> Position {
        if !self.text.is_empty() {
            self.step(None);
        }
        Position(self.steps.len())
    }

    /// The values between two positions.
    pub(super) fn values(&self, from: Position, to: Position) -> impl Iterator<Item = &V> {
        self.steps[from.0..to.0].iter().filter_map(|step| step.value.as_ref())
    }

    /// Appends one element's text; `write` appends a value.
    #[inline]
    pub(super) fn run(&self, out: &mut Vec<u8>, write: impl FnMut(&V, &mut Vec<u8>)) {
        self.run_part(Position(0), Position(self.steps.len()), out, write);
        out.extend_from_slice(&self.text);
    }

    /// Appends the part of one element's text between two positions.
    #[inline]
    pub(super) fn run_part(
        &self,
        from: Position,
        to: Position,
        out: &mut Vec<u8>,
        mut write: impl FnMut(&V, &mut Vec<u8>),
    ) {
        for step in &self.steps[from.0..to.0] {
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
    fn parts_begin_and_end_in_the_middle_of_a_text() {
        let mut plan = Plan::new();
        plan.text("{\"a\":");
        let from = plan.position();
        plan.text("{");
        plan.value("1");
        plan.text("}");
        let to = plan.position();
        plan.text("}");
        let part = |plan: &Plan<&'static str>, from, to| {
            let mut out = Vec::new();
            plan.run_part(from, to, &mut out, write);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(plan.values(from, to).collect::<Vec<_>>(), [&"1"]);
        assert_eq!(part(&plan, Position::default(), from), "{\"a\":");
        assert_eq!(part(&plan, from, to), "{1}");
        let end = plan.position();
        assert_eq!(part(&plan, to, end), "}");
        assert_eq!(part(&plan, Position::default(), end), "{\"a\":{1}}");
    }
}
