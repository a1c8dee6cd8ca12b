//! The grammar of `--filter`: conditions separated by commas, each a field, an operation and a value.
//!
//! A condition is cut at the first operator character and at the end of the longest run of them; the rest is the value as it
//! is. There are no quotes; `\,` and `\\` are a comma and a backslash.

use crate::metadata::params::typed::{go_quote, split_list};
use crate::text::point_at;
use crate::{Error, Result};

/// How a field's value is compared with the condition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// A regular expression is found in the value.
    Match,
}

/// One parsed condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition<'t> {
    /// All of it.
    pub(super) text: &'t str,
    /// Name of the field.
    pub(super) field: &'t str,
    pub(super) operation: Operation,
    /// Whether the result is inverted.
    pub(super) negated: bool,
    /// What the field is compared with; never empty.
    pub(super) value: &'t str,
}

const OPERATOR_CHARS: [char; 5] = ['!', '~', '>', '<', '='];

/// The conditions of a filter, unescaped; empty ones are left out.
pub(super) fn conditions(filter: &str) -> Vec<String> {
    let mut conditions = split_list(filter);
    conditions.retain(|condition| !condition.is_empty());
    conditions
}

impl<'t> Condition<'t> {
    /// Takes a condition apart.
    ///
    /// # Errors
    ///
    /// `extracting filter rule "x": incomplete filter rule: "x"` if the operation or the value is missing, or `… invalid
    /// operation: "==="`.
    pub(super) fn parse(text: &'t str) -> Result<Self> {
        let error = |what: String, at: usize| {
            Error::invalid(format!("{what}{}", point_at(text, at)))
                .context(format!("extracting filter rule {}", go_quote(text)))
        };
        let operation_at = text.find(OPERATOR_CHARS).unwrap_or(text.len());
        let (field, rest) = text.split_at(operation_at);
        let length = rest.find(|c| !OPERATOR_CHARS.contains(&c)).unwrap_or(rest.len());
        let (operator, value) = rest.split_at(length);
        if value.is_empty() {
            let hint = if operator.is_empty() {
                "a condition is a field, an operation and a value: pid==1"
            } else {
                "a value is missing; it cannot be empty, and cannot begin with one of ! ~ > < ="
            };
            let what = format!("incomplete filter rule: {}", go_quote(text));
            return Err(error(what, text.len()).with_hint(hint));
        }
        let (operation, negated) = match operator {
            "=" | "==" => (Operation::Equal, false),
            "!=" => (Operation::Equal, true),
            "<" => (Operation::Less, false),
            "<=" => (Operation::LessOrEqual, false),
            ">" => (Operation::Greater, false),
            ">=" => (Operation::GreaterOrEqual, false),
            "~" => (Operation::Match, false),
            "!~" => (Operation::Match, true),
            other => {
                return Err(error(format!("invalid operation: {}", go_quote(other)), operation_at)
                    .with_hint("the operations are == != < <= > >= ~ !~"));
            }
        };
        Ok(Self {
            text,
            field,
            operation,
            negated,
            value,
        })
    }

    /// `message` with the condition and a caret below its field.
    pub(super) fn at_field(&self, message: &str) -> String {
        format!("{message}{}", point_at(self.text, 0))
    }

    /// The same with the caret below the operation.
    pub(super) fn at_operation(&self, message: &str) -> String {
        format!("{message}{}", point_at(self.text, self.field.len()))
    }

    /// The same with the caret below the value.
    pub(super) fn at_value(&self, message: &str) -> String {
        format!("{message}{}", point_at(self.text, self.text.len() - self.value.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        Condition::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn conditions_are_cut_at_the_operation() {
        use Operation::*;
        for (text, field, operation, negated, value) in [
            ("a=b", "a", Equal, false, "b"),
            ("a==b", "a", Equal, false, "b"),
            ("a!=b", "a", Equal, true, "b"),
            ("a<b", "a", Less, false, "b"),
            ("a<=b", "a", LessOrEqual, false, "b"),
            ("a>b", "a", Greater, false, "b"),
            ("a>=b", "a", GreaterOrEqual, false, "b"),
            ("a~b", "a", Match, false, "b"),
            ("a!~b", "a", Match, true, "b"),
            ("a.b == c ", "a.b ", Equal, false, " c "),
            ("a==b=c!~d", "a", Equal, false, "b=c!~d"),
            ("é~ü", "é", Match, false, "ü"),
            ("==b", "", Equal, false, "b"),
        ] {
            let expected = Condition {
                text,
                field,
                operation,
                negated,
                value,
            };
            assert_eq!(Condition::parse(text).unwrap(), expected);
        }
    }

    #[test]
    fn errors_point_at_the_place() {
        assert_eq!(
            error("proc.comm"),
            "extracting filter rule \"proc.comm\": incomplete filter rule: \"proc.comm\"\n | proc.comm\n | .........^"
        );
        assert_eq!(
            error("abc=="),
            "extracting filter rule \"abc==\": incomplete filter rule: \"abc==\"\n | abc==\n | .....^"
        );
        for operation in ["===", "!==", "!", "=~", "==!", "~~", "><"] {
            assert_eq!(
                error(&format!("abc{operation}def")),
                format!(
                    "extracting filter rule \"abc{operation}def\": invalid operation: \"{operation}\"\n | abc{operation}def\n | ...^"
                )
            );
        }
        assert!(Condition::parse("a==").unwrap_err().hint().unwrap().contains("missing"));
    }

    #[test]
    fn conditions_are_separated_by_commas() {
        assert_eq!(conditions(r"a==b\,c,,d==e\\,f~\.g,"), ["a==b,c", r"d==e\", r"f~\.g"]);
        assert!(conditions("").is_empty());
        assert!(conditions(",,").is_empty());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_loses_nothing(filter in "[ab\\\\,!~<>=é\u{1b} ]{0,24}") {
            for text in conditions(&filter) {
                match Condition::parse(&text) {
                    Ok(condition) => {
                        prop_assert!(text.starts_with(condition.field) && text.ends_with(condition.value));
                        prop_assert!(!condition.value.is_empty());
                        prop_assert!(condition.at_value("x").lines().count() >= 3);
                    }
                    Err(error) => prop_assert!(error.to_string().ends_with('^')),
                }
            }
        }

        #[test]
        fn parsing_any_text_never_panics(filter in any::<String>()) {
            for text in conditions(&filter) {
                let _ = Condition::parse(&text);
            }
        }
    }
}
