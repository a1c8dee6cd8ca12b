//! From the text of a template to pieces of text and the words of actions.

use super::Source;
use crate::Result;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Text that is copied.
    Text(String),
    /// An action, as its words.
    Action { words: Vec<Word>, offset: usize },
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    pub(super) token: Token,
    /// Where it begins in the template, in bytes.
    pub(super) offset: usize,
    /// Whether nothing separates it from the word before.
    pub(super) glued: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.` alone.
    Dot,
    /// `.name`
    Field(String),
    /// `$name` or `$`, without the dollar.
    Variable(String),
    /// A keyword or the name of a function.
    Name(String),
    Text(String),
    Int(i64),
    Float(f64),
    Pipe,
    Open,
    Close,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

pub(super) fn lex(source: &Source) -> Result<Vec<Piece>> {
    let text = source.text.as_str();
    let mut pieces = Vec::new();
    let mut at = 0;
    // Whether the action before ends with a trim marker.
    let mut trim = false;
    loop {
        let rest = &text[at..];
        let end = rest.find(OPEN);
        let mut plain = &rest[..end.unwrap_or(rest.len())];
        if trim {
            plain = plain.trim_start_matches(is_space);
        }
        let Some(end) = end else {
            push_text(&mut pieces, plain);
            return Ok(pieces);
        };
        let offset = at + end;
        at = offset + OPEN.len();
        if is_trim_marker(&text[at..]) {
            plain = plain.trim_end_matches(is_space);
            at += 2;
        }
        push_text(&mut pieces, plain);
        if text[at..].starts_with("/*") {
            let Some(length) = text[at..].find("*/") else {
                return Err(source.error(offset, "unclosed comment"));
            };
            at += length + 2;
            (at, trim) = match &text[at..] {
                rest if rest.starts_with(CLOSE) => (at + CLOSE.len(), false),
                rest if ends_with_trim(rest) => (at + 2 + CLOSE.len(), true),
                _ => return Err(source.error(offset, "comment ends before closing delimiter")),
            };
            continue;
        }
        let mut lexer = Lexer {
            source,
            at,
            words: Vec::new(),
        };
        trim = lexer.action(offset)?;
        at = lexer.at;
        pieces.push(Piece::Action {
            words: lexer.words,
            offset,
        });
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Whether `text` begins with the `-` of an opening trim marker and the space that it needs.
fn is_trim_marker(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space))
}

/// Whether `text` begins with a space, `-` and the end of the action.
fn ends_with_trim(text: &str) -> bool {
    text.strip_prefix(is_space)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.starts_with(CLOSE))
}

struct Lexer<'a> {
    source: &'a Source,
    at: usize,
    words: Vec<Word>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source.text[self.at..]
    }

    /// Reads the words up to the end of the action. Whether it ends with a trim marker.
    fn action(&mut self, start: usize) -> Result<bool> {
        let mut glued = false;
        loop {
            let rest = self.rest();
            if ends_with_trim(rest) {
                self.at += 2 + CLOSE.len();
                return Ok(true);
            }
            if rest.starts_with(CLOSE) {
                self.at += CLOSE.len();
                return Ok(false);
            }
            let Some(first) = rest.chars().next() else {
                return Err(self.source.error(start, "unclosed action"));
            };
            if is_space(first) {
                self.at += 1;
                glued = false;
                continue;
            }
            let offset = self.at;
            let token = self.token(first)?;
            self.words.push(Word { token, offset, glued });
            glued = true;
        }
    }

    fn token(&mut self, first: char) -> Result<Token> {
        let offset = self.at;
        let rest = self.rest();
        let second = rest[first.len_utf8()..].chars().next();
        let (token, length) = match first {
            '|' => (Token::Pipe, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '=' => (Token::Assign, 1),
            ':' if second == Some('=') => (Token::Declare, 2),
            '"' | '`' | '\'' => return self.quoted(first),
            '.' if !second.is_some_and(|c| c.is_ascii_digit()) => {
                let name = name(&rest[1..]);
                match name {
                    "" => (Token::Dot, 1),
                    name => (Token::Field(name.to_owned()), 1 + name.len()),
                }
            }
            '$' => {
                let name = name(&rest[1..]);
                (Token::Variable(name.to_owned()), 1 + name.len())
            }
            '0'..='9' | '.' | '+' | '-' => return self.number(),
            c if c == '_' || c.is_alphabetic() => {
                let name = name(rest);
                (Token::Name(name.to_owned()), name.len())
            }
            other => {
                return Err(self
                    .source
                    .error(offset, format_args!("unexpected {} in action", quote(other))));
            }
        };
        self.at += length;
        Ok(token)
    }

    fn number(&mut self) -> Result<Token> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        let body = &rest[sign..];
        let hexadecimal = body.starts_with("0x") || body.starts_with("0X");
        let mut length = 0;
        let mut exponent = false;
        for c in body.chars() {
            let part = c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || (exponent && matches!(c, '+' | '-'));
            if !part {
                break;
            }
            exponent = !hexadecimal && matches!(c, 'e' | 'E');
            length += 1;
        }
        let text = &rest[..sign + length];
        let offset = self.at;
        let token = integer(text).map(Token::Int).or_else(|| {
            let decimal = text.replace('_', "");
            let is_decimal = decimal.bytes().any(|b| b.is_ascii_digit())
                && decimal.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
            decimal.parse().ok().filter(|_| is_decimal).map(Token::Float)
        });
        self.at += text.len();
        token.ok_or_else(|| {
            self.source.error(
                offset,
                format_args!(
                    "bad number syntax: {}",
                    crate::text::go_quote(&self.source.text[offset..self.at])
                ),
            )
        })
    }

    fn quoted(&mut self, quote: char) -> Result<Token> {
        let offset = self.at;
        let unterminated = |what: &str| self.source.error(offset, format_args!("unterminated {what}"));
        if quote == '`' {
            let body = &self.rest()[1..];
            let Some(length) = body.find('`') else {
                return Err(unterminated("raw quoted string"));
            };
            let token = Token::Text(body[..length].replace('\r', ""));
            self.at += length + 2;
            return Ok(token);
        }
        let what = if quote == '"' {
            "quoted string"
        } else {
            "character constant"
        };
        let mut text = String::new();
        let mut chars = self.rest()[1..].char_indices();
        loop {
            match chars.next() {
                None | Some((_, '\n')) => return Err(unterminated(what)),
                Some((at, c)) if c == quote => {
                    let end = self.at + at + 2;
                    let token = match quote {
                        '"' => Token::Text(text),
                        _ => {
                            let mut letters = text.chars();
                            match (letters.next(), letters.next()) {
                                (Some(letter), None) => Token::Int(i64::from(u32::from(letter))),
                                _ => return Err(self.source.error(offset, "malformed character constant")),
                            }
                        }
                    };
                    self.at = end;
                    return Ok(token);
                }
                Some((_, '\\')) => match unescape(&mut chars, quote) {
                    Some(c) => text.push(c),
                    None => return Err(self.source.error(offset, format_args!("bad escape in {what}"))),
                },
                Some((_, c)) => text.push(c),
            }
        }
    }
}

/// What the characters after a backslash stand for.
fn unescape(chars: &mut std::str::CharIndices<'_>, quote: char) -> Option<char> {
    let (_, c) = chars.next()?;
    let mut digits = |count: usize, radix: u32, first: Option<char>| {
        let mut value = 0;
        for c in first
            .into_iter()
            .chain(std::iter::from_fn(|| chars.next().map(|(_, c)| c)))
            .take(count)
        {
            value = value * radix + c.to_digit(radix)?;
        }
        char::from_u32(value)
    };
    match c {
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        '\\' => Some('\\'),
        'x' => digits(2, 16, None),
        'u' => digits(4, 16, None),
        'U' => digits(8, 16, None),
        '0'..='7' => digits(3, 8, Some(c)),
        _ if c == quote => Some(c),
        _ => None,
    }
}

/// The letters, digits and underscores that `text` begins with.
fn name(text: &str) -> &str {
    let end = text
        .find(|c: char| c != '_' && !c.is_alphanumeric())
        .unwrap_or(text.len());
    &text[..end]
}

fn integer(text: &str) -> Option<i64> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = body.replace('_', "").to_ascii_lowercase();
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        i128::from_str_radix(hex, 16).ok()?
    } else if let Some(octal) = digits.strip_prefix("0o") {
        i128::from_str_radix(octal, 8).ok()?
    } else if let Some(binary) = digits.strip_prefix("0b") {
        i128::from_str_radix(binary, 2).ok()?
    } else if let Some(octal) = digits.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        i128::from_str_radix(octal, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    i64::try_from(if negative { -value } else { value }).ok()
}

fn quote(c: char) -> String {
    crate::text::go_quote(&c.to_string())
}
