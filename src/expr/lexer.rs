//! From text to tokens.

use super::fault::{Fault, Outcome};
use crate::text::go_quote;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Identifier,
    Number,
    String,
    Operator,
    Bracket,
    End,
}

/// One word of an expression.
#[derive(Clone, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    /// As it was written; for strings with quotes and escapes.
    pub(super) text: &'t str,
    /// What a string says, without quotes and escapes. Escapes can make bytes that are not UTF-8.
    pub(super) string: Vec<u8>,
    /// The first character, counted from 0.
    pub(super) at: u32,
}

impl Token<'_> {
    pub(super) fn is(&self, kind: Kind, text: &str) -> bool {
        self.kind == kind && self.text == text
    }

    pub(super) fn is_operator(&self, text: &str) -> bool {
        self.is(Kind::Operator, text)
    }

    pub(super) fn is_bracket(&self, text: &str) -> bool {
        self.is(Kind::Bracket, text)
    }
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::End => f.write_str("EOF"),
            Kind::String => write!(f, "String({})", go_quote(&String::from_utf8_lossy(&self.string))),
            kind => write!(f, "{kind:?}({})", go_quote(self.text)),
        }
    }
}

/// Words that are operators and never names.
const WORDS: [&str; 11] = [
    "not",
    "in",
    "or",
    "and",
    "matches",
    "contains",
    "startsWith",
    "endsWith",
    "let",
    "if",
    "else",
];

/// Signs of more than one character; of two that begin alike the longer is first.
const SIGNS: [&str; 11] = ["&&", "||", "==", "!=", "<=", ">=", "**", "..", "?.", "??", "::"];

/// All tokens of `text`, the last of which is [`Kind::End`].
pub(super) fn tokens(text: &str) -> Outcome<Vec<Token<'_>>> {
    let mut lexer = Lexer {
        rest: text,
        at: 0,
        tokens: Vec::new(),
    };
    while let Some(first) = lexer.rest.chars().next() {
        lexer.next(first)?;
    }
    lexer.tokens.push(Token {
        kind: Kind::End,
        text: "",
        string: Vec::new(),
        at: lexer.at.saturating_sub(1),
    });
    Ok(lexer.tokens)
}

struct Lexer<'t> {
    rest: &'t str,
    at: u32,
    tokens: Vec<Token<'t>>,
}

impl<'t> Lexer<'t> {
    fn next(&mut self, first: char) -> Outcome<()> {
        match first {
            ' ' | '\t' | '\n' | '\r' => self.skip(1),
            _ if first.is_whitespace() => self.skip(first.len_utf8()),
            '"' | '\'' => return self.string(first),
            '`' => return self.raw_string(),
            _ if self.rest.starts_with("//") => self.skip(self.rest.find('\n').unwrap_or(self.rest.len())),
            _ if self.rest.starts_with("/*") => match self.rest[2..].find("*/") {
                Some(end) => self.skip(end + 4),
                None => return Err(Fault::new("unclosed comment").at(self.at + self.chars_left())),
            },
            '0'..='9' => return self.number(),
            '.' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => return self.number(),
            '(' | ')' | '[' | ']' | '{' | '}' => self.emit(Kind::Bracket, 1),
            _ if is_word(first) => self.word(),
            _ => match SIGNS.iter().find(|sign| self.rest.starts_with(**sign)) {
                Some(sign) => self.emit(Kind::Operator, sign.len()),
                None if "#,:;%+-^&!=*<>?/|.".contains(first) => self.emit(Kind::Operator, 1),
                None => {
                    let name = format!("unrecognized character: U+{:04X}", u32::from(first));
                    let shown = if crate::text::is_printable(first) {
                        format!("{name} '{first}'")
                    } else {
                        name
                    };
                    return Err(Fault::new(shown).at(self.at));
                }
            },
        }
        Ok(())
    }

    fn chars_left(&self) -> u32 {
        (self.rest.chars().count() as u32).saturating_sub(1)
    }

    /// Drops `len` bytes.
    fn skip(&mut self, len: usize) {
        let (skipped, rest) = self.rest.split_at(len);
        self.at += skipped.chars().count() as u32;
        self.rest = rest;
    }

    /// Makes a token of the next `len` bytes.
    fn emit(&mut self, kind: Kind, len: usize) {
        self.emit_string(kind, len, Vec::new());
    }

    fn emit_string(&mut self, kind: Kind, len: usize, string: Vec<u8>) {
        self.tokens.push(Token {
            kind,
            text: &self.rest[..len],
            string,
            at: self.at,
        });
        self.skip(len);
    }

    fn word(&mut self) {
        let len = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let kind = if WORDS.contains(&&self.rest[..len]) {
            Kind::Operator
        } else {
            Kind::Identifier
        };
        self.emit(kind, len);
    }

    /// Digits with separators, a prefix that says the base, a fraction and an exponent. The parser reads the value.
    fn number(&mut self) -> Outcome<()> {
        let bytes = self.rest.as_bytes();
        let (mut len, digits): (usize, fn(&u8) -> bool) = match bytes {
            [b'0', b'x' | b'X', ..] => (2, |b| b.is_ascii_hexdigit() || *b == b'_'),
            [b'0', b'o' | b'O', ..] => (2, |b| matches!(b, b'0'..=b'7' | b'_')),
            [b'0', b'b' | b'B', ..] => (2, |b| matches!(b, b'0' | b'1' | b'_')),
            _ => (0, |b| b.is_ascii_digit() || *b == b'_'),
        };
        let run = |len: usize| {
            let more = bytes.get(len..).unwrap_or_default();
            len + more.iter().take_while(|b| digits(b)).count()
        };
        len = run(len);
        // `1..2` is a range.
        if bytes.get(len) == Some(&b'.') && bytes.get(len + 1) != Some(&b'.') {
            len = run(len + 1);
        }
        if matches!(bytes.get(len), Some(b'e' | b'E')) {
            len += 1;
            if matches!(bytes.get(len), Some(b'+' | b'-')) {
                len += 1;
            }
            len = run(len);
        }
        if let Some(next) = self.rest[len..].chars().next().filter(|c| is_word(*c)) {
            let bad = &self.rest[..len + next.len_utf8()];
            return Err(Fault::new(format!("bad number syntax: {}", go_quote(bad))).at(self.at + len as u32));
        }
        self.emit(Kind::Number, len);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Outcome<()> {
        let mut value = Vec::new();
        let mut chars = self.rest.char_indices().skip(1).enumerate();
        while let Some((i, (offset, c))) = chars.next() {
            match c {
                _ if c == quote => {
                    self.emit_string(Kind::String, offset + 1, value);
                    return Ok(());
                }
                '\n' => break,
                '\\' => {
                    let after = &self.rest[offset + 1..];
                    let len = escape(after, quote, &mut value)
                        .ok_or_else(|| Fault::new("invalid char escape").at(self.at + i as u32 + 2))?;
                    for _ in 0..after[..len].chars().count() {
                        chars.next();
                    }
                }
                _ => push(c, &mut value),
            }
        }
        let line = self.rest.chars().take_while(|c| *c != '\n').count() as u32;
        Err(Fault::new("literal not terminated").at(self.at + line))
    }

    /// Between backticks everything stands for itself, and two backticks for one.
    fn raw_string(&mut self) -> Outcome<()> {
        let mut value = Vec::new();
        let mut end = 1;
        loop {
            let part = &self.rest[end..];
            let Some(tick) = part.find('`') else {
                return Err(Fault::new("literal not terminated").at(self.at + self.chars_left()));
            };
            value.extend_from_slice(&part.as_bytes()[..tick]);
            end += tick + 1;
            if !self.rest[end..].starts_with('`') {
                break;
            }
            value.push(b'`');
            end += 1;
        }
        self.emit_string(Kind::String, end, value);
        Ok(())
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphanumeric()
}

fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Appends what the escape sequence at the start of `text` (the backslash is gone) stands for. How many bytes it is long.
fn escape(text: &str, quote: char, out: &mut Vec<u8>) -> Option<usize> {
    let first = text.chars().next()?;
    let simple = match first {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        _ if first == quote => quote as u8,
        '0'..='7' => {
            out.push(u8::try_from(number(text, 3, 8)?).ok()?);
            return Some(3);
        }
        'x' => {
            out.push(number(&text[1..], 2, 16)? as u8);
            return Some(3);
        }
        'u' | 'U' => {
            let digits = if first == 'u' { 4 } else { 8 };
            push(char::from_u32(number(&text[1..], digits, 16)?)?, out);
            return Some(1 + digits);
        }
        _ => return None,
    };
    out.push(simple);
    Some(1)
}

fn number(text: &str, digits: usize, base: u32) -> Option<u32> {
    let digits = text.get(..digits)?;
    // Rust's parser would take a sign.
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match tokens(text) {
            Ok(tokens) => tokens.iter().map(Token::to_string).collect::<Vec<_>>().join(" "),
            Err(fault) => fault.bind(text).to_string(),
        }
    }

    #[test]
    fn reads_every_kind_of_token() {
        assert_eq!(
            shown("a.b?.c ?? $env[1..2] // end"),
            r#"Identifier("a") Operator(".") Identifier("b") Operator("?.") Identifier("c") Operator("??") Identifier("$env") Bracket("[") Number("1") Operator("..") Number("2") Bracket("]") EOF"#
        );
        assert_eq!(
            shown("not in/* x */matches inn"),
            r#"Operator("not") Operator("in") Operator("matches") Identifier("inn") EOF"#
        );
        assert_eq!(
            shown("0x_fF 1_000 .5 1e-3 1.5 0b1 0o7"),
            r#"Number("0x_fF") Number("1_000") Number(".5") Number("1e-3") Number("1.5") Number("0b1") Number("0o7") EOF"#
        );
    }

    #[test]
    fn reads_strings() {
        let value = |text| tokens(text).unwrap().remove(0).string;
        assert_eq!(
            value(r#""a\n\t\"\\\u00e9\x41\101\U0001F600""#),
            "a\n\t\"\\éAA😀".as_bytes()
        );
        assert_eq!(value(r#"'it''s'"#), b"it");
        assert_eq!(value(r"'\''"), b"'");
        assert_eq!(value(r"'\xff'"), [0xff]);
        assert_eq!(value("`a\\n``b`"), b"a\\n`b");
    }

    #[test]
    fn says_where_a_token_is_wrong() {
        assert_eq!(shown("'abc"), "literal not terminated (1:5)\n | 'abc\n | ....^");
        assert_eq!(shown("'a\nb'"), "literal not terminated (1:3)\n | 'a\n | ..^");
        assert_eq!(shown(r"'\q'"), "invalid char escape (1:3)\n | '\\q'\n | ..^");
        assert_eq!(shown(r"'\u{1}'"), "invalid char escape (1:3)\n | '\\u{1}'\n | ..^");
        assert_eq!(shown("1 @"), "unrecognized character: U+0040 '@' (1:3)\n | 1 @\n | ..^");
        assert_eq!(shown("12ab"), "bad number syntax: \"12a\" (1:3)\n | 12ab\n | ..^");
        assert_eq!(shown("/* a"), "unclosed comment (1:4)\n | /* a\n | ...^");
        assert_eq!(shown("`a"), "literal not terminated (1:2)\n | `a\n | .^");
    }
}
