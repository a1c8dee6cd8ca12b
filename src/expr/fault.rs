//! What can be wrong with an expression, and where: a message, a character of the expression, possibly a hint.

use crate::text::printable;
use crate::{Error, ErrorKind};

/// The result of anything that may find fault with an expression.
pub(super) type Outcome<T> = Result<T, Box<Fault>>;

/// Something wrong with an expression, or with the values it met.
#[derive(Debug)]
pub(super) struct Fault {
    message: String,
    hint: Option<String>,
    /// The character that is to blame, counted from 0.
    at: Option<u32>,
    /// No fault at all: a `?.` met nil, which ends the chain it is in.
    nil_chain: bool,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            message: message.into(),
            hint: None,
            at: None,
            nil_chain: false,
        })
    }

    /// Says that an optional member was asked of nil.
    pub(super) fn nil_chain() -> Box<Self> {
        let mut fault = Self::new("optional member of nil");
        fault.nil_chain = true;
        fault
    }

    pub(super) fn is_nil_chain(&self) -> bool {
        self.nil_chain
    }

    /// Blames character `at`, unless a more exact place is known already.
    pub(super) fn at(mut self: Box<Self>, at: u32) -> Box<Self> {
        self.at.get_or_insert(at);
        self
    }

    pub(super) fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }

    /// The error of the crate: the message, the place as line and column, that line, and a caret below the place.
    pub(super) fn bind(&self, text: &str) -> Error {
        let mut message = self.message.clone();
        if let Some(at) = self.at {
            message.push_str(&excerpt(text, at as usize));
        }
        let error = Error::new(ErrorKind::InvalidInput, message);
        match &self.hint {
            Some(hint) => error.with_hint(hint.clone()),
            None => error,
        }
    }
}

/// ` (1:4)` and the line with a caret below its fourth character.
fn excerpt(text: &str, at: usize) -> String {
    let before: String = text.chars().take(at).collect();
    let line_number = before.matches('\n').count();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before[start..].chars().count();
    // The caret has to stand below its character, so what has no width of its own becomes a space.
    let line: String = text[start..]
        .chars()
        .take_while(|c| *c != '\n')
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let (line, caret) = window(&line, column);
    format!(
        " ({}:{})\n | {}\n | {}^",
        line_number + 1,
        column + 1,
        printable(&line),
        ".".repeat(caret)
    )
}

/// Of a very long line what is around `column`, and where `column` is in it.
fn window(line: &str, column: usize) -> (String, usize) {
    const AROUND: usize = 100;
    let start = column.saturating_sub(AROUND);
    let part = line.chars().skip(start).take(2 * AROUND).collect();
    (part, column - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_character() {
        let fault = Fault::new("no").at(3);
        assert_eq!(fault.bind("abc def").to_string(), "no (1:4)\n | abc def\n | ...^");
        assert_eq!(fault.bind("a\n\tx").to_string(), "no (2:2)\n |  x\n | .^");
        assert_eq!(fault.bind("é€\u{1b}x").to_string(), "no (1:4)\n | é€ x\n | ...^");
        assert_eq!(Fault::new("no").bind("abc").to_string(), "no");
    }

    #[test]
    fn of_a_long_line_a_part_is_shown() {
        let text = "a".repeat(10_000);
        let shown = Fault::new("no").at(5000).bind(&text).to_string();
        assert!(shown.len() < 500, "{shown}");
        assert!(shown.starts_with("no (1:5001)\n"), "{shown}");
    }
}
