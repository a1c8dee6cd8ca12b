//! Plans: the text between values, merged, with the values' places in it.

/// What an encoder does for each element: write a piece of text, write a value, write a piece of text…
#[derive(Debug)]
pub(super) struct Plan<V> {
    text: Vec<u8>,
    steps: Vec<Step<V>>,
}

#[derive(Debug)]
struct Step<V> {
    /// Where the text before the value ends; it starts where that of the step before ended.
    end: usize,
    value: V,
}

/// A place in a plan.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    step: usize,
    text: usize,
}

impl<V> Plan<V> {
    pub(super) fn new() -> Self {
        Self {
            text: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Adds text that is the same for every element.
    pub(super) fn text(&mut self, text: impl AsRef<[u8]>) {
        self.text.extend_from_slice(text.as_ref());
    }

    /// The text so far, to append to.
    pub(super) fn text_mut(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Adds a value.
    pub(super) fn value(&mut self, value: V) {
        self.steps.push(Step {
            end: self.text.len(),
            value,
        });
    }

    /// The end of the plan so far, as a place where a part of it may begin or end.
    pub(super) fn position(&self) -> Position {
        Position {
            step: self.steps.len(),
            text: self.text.len(),
        }
    }

    /// The values between two positions.
    pub(super) fn values(&self, from: Position, to: Position) -> impl Iterator<Item = &V> {
        self.steps[from.step..to.step].iter().map(|step| &step.value)
    }

    /// Appends one element's text; `write` appends a value.
    #[inline]
    pub(super) fn run(&self, out: &mut Vec<u8>, write: impl FnMut(&V, &mut Vec<u8>)) {
        self.run_part(Position::default(), self.position(), out, write);
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
        let mut start = from.text;
        for step in &self.steps[from.step..to.step] {
            self.append_text(start, step.end, out);
            start = step.end;
            write(&step.value, out);
        }
        self.append_text(start, to.text, out);
    }

    /// Appends the text between two places. Most of it is short, and a block of fixed size of which the end is then cut off is
    /// cheaper to append than a piece of any size.
    #[inline]
    fn append_text(&self, start: usize, end: usize, out: &mut Vec<u8>) {
        const BLOCK: usize = 32;
        let len = end - start;
        match self.text.get(start..).and_then(|text| text.first_chunk::<BLOCK>()) {
            Some(block) if len <= BLOCK => {
                let end = out.len() + len;
                out.extend_from_slice(block);
                out.truncate(end);
            }
            _ => out.extend_from_slice(&self.text[start..end]),
        }
    }
}
