//! Regular expressions in the dialect that users of filters know (RE2's, as Go has it), for the `regex` crate.
//!
//! The two agree but for these: `\d`, `\w`, `\s` and `\b` mean ASCII in RE2, `\Q…\E` quotes, and inside brackets `[`, `&&`,
//! `--` and `~~` are plain characters.

use std::borrow::Cow;
use std::fmt::Write;

use regex::bytes::Regex;

/// A pattern that is looked for anywhere in a text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// For texts that are no UTF-8.
    scratch: Vec<u8>,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in a few words.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        match Regex::new(&translate(pattern)) {
            Ok(regex) => Ok(Self {
                regex,
                scratch: Vec::new(),
            }),
            Err(regex::Error::CompiledTooBig(_)) => Err("it is too large".to_owned()),
            Err(error) => {
                // The crate's message is a drawing; its last line says what it is about.
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                Err(last.trim_start_matches("error: ").to_owned())
            }
        }
    }

    /// Whether the pattern is found in `text`. Bytes that are no UTF-8 count as U+FFFD.
    #[inline]
    pub(crate) fn matches(&mut self, text: &[u8]) -> bool {
        if std::str::from_utf8(text).is_ok() {
            return self.regex.is_match(text);
        }
        self.scratch.clear();
        for chunk in text.utf8_chunks() {
            self.scratch.extend_from_slice(chunk.valid().as_bytes());
            for _ in chunk.invalid() {
                self.scratch.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
        self.regex.is_match(&self.scratch)
    }
}

/// `pattern` in the words of the `regex` crate.
fn translate(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains(['\\', '[']) {
        return Cow::Borrowed(pattern);
    }
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = escape(rest, false, &mut out),
            '[' => rest = class(rest, &mut out),
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Translates what follows a backslash; returns what is left.
fn escape<'p>(rest: &'p str, in_class: bool, out: &mut String) -> &'p str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = &rest[c.len_utf8()..];
    let ascii = match c {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => r"\t\n\f\r ",
        'D' => "^0-9",
        'W' => "^0-9A-Za-z_",
        'S' => r"^\t\n\f\r ",
        'b' | 'B' if !in_class => {
            let _ = write!(out, r"(?-u:\{c})");
            return after;
        }
        'Q' if !in_class => {
            let (quoted, after) = after.split_once(r"\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return after;
        }
        _ => {
            out.push('\\');
            out.push(c);
            return after;
        }
    };
    // A negated set is one of its own even inside brackets.
    if in_class && !ascii.starts_with('^') {
        out.push_str(ascii);
    } else {
        let _ = write!(out, "[{ascii}]");
    }
    after
}

/// Translates what follows the opening bracket of a class; returns what is left.
fn class<'p>(mut rest: &'p str, out: &mut String) -> &'p str {
    out.push('[');
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    while let Some(c) = rest.chars().next() {
        let named = rest.starts_with("[:").then(|| rest.find(":]")).flatten();
        rest = &rest[c.len_utf8()..];
        match c {
            ']' if !first => {
                out.push(']');
                return rest;
            }
            ']' => out.push_str(r"\]"),
            '\\' => rest = escape(rest, true, out),
            '[' => match named {
                Some(end) => {
                    out.push('[');
                    out.push_str(&rest[..end + 1]);
                    rest = &rest[end + 1..];
                }
                None => out.push_str(r"\["),
            },
            '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            // A range may begin or end with a dash, so that only the second of two is a plain character.
            '-' if out.ends_with('-') => out.push_str(r"\-"),
            _ => out.push(c),
        }
        first = false;
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(pattern: &str, text: &[u8]) -> bool {
        Pattern::new(pattern)
            .unwrap_or_else(|error| panic!("{pattern}: {error}"))
            .matches(text)
    }

    #[test]
    fn patterns_are_found_anywhere() {
        assert!(found("b..", b"abcd") && !found("^b", b"abcd") && found("d$", b"abcd"));
        assert!(found("(?i)É", "é".as_bytes()));
        assert!(found(r"^\pL+$", "aé".as_bytes()));
    }

    #[test]
    fn ascii_classes() {
        assert!(found(r"^\d\w\s$", b"1_ ") && !found(r"\d", "٣".as_bytes()));
        assert!(!found(r"\w", "é".as_bytes()) && found(r"\W", "é".as_bytes()));
        assert!(found(r"^[\d_]+$", b"1_2") && !found(r"[\d]", "٣".as_bytes()));
        assert!(found(r"^[^\s]$", "é".as_bytes()) && found(r"^[\Wa]+$", b"a-"));
        assert!(found(r"\bfoo\b", b"a foo b") && !found(r"\bfoo\b", b"afoo"));
        assert!(!found(r"\s", b"\x0b"), "a vertical tab is no white space");
    }

    #[test]
    fn brackets_hold_plain_characters() {
        assert!(found("^[[]$", b"[") && found("^[]]$", b"]") && found("^[^]]$", b"a"));
        assert!(found("^[a&&b]+$", b"a&b") && found("^[a~~b]+$", b"a~b") && found("^[+--]+$", b",-"));
        assert!(found("^[[:alpha:]]+$", b"ab") && !found("^[[:alpha:]]+$", b"a1"));
        assert!(found(r"^[\]\\]+$", br"]\"));
        assert!(found("^[a-c]+$", b"abc") && !found("^[a-c]+$", b"-"));
    }

    #[test]
    fn quoted_parts() {
        assert!(found(r"^\Qa.b\E+$", b"a.bb") && !found(r"\Qa.b\E", b"axb") && found(r"\Qa*", b"a*"));
    }

    #[test]
    fn bytes_that_are_no_text_count_as_one_character() {
        assert!(found("^a.b$", b"a\xffb") && found("^a..b$", b"a\xff\xfeb"));
        assert!(found("\u{fffd}", b"\xff") && !found("^.$", b"\xe2\x82"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (pattern, expected) in [
            ("???a", "repetition operator missing expression"),
            ("[", "unclosed character class"),
            ("(", "unclosed group"),
            ("a{100000000}", "it is too large"),
        ] {
            let error = Pattern::new(pattern).unwrap_err();
            assert!(error.contains(expected), "{pattern}: {error}");
        }
    }

    proptest! {
        #[test]
        fn translation_never_panics(pattern in "[a\\\\\\[\\]\\^:\\-&~QEdWb.é]{0,16}", text in any::<Vec<u8>>()) {
            if let Ok(mut pattern) = Pattern::new(&pattern) {
                pattern.matches(&text);
            }
        }
    }
}
