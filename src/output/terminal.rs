//! What must not reach a terminal as it is.
//!
//! Terminals act on control characters, and readers are deceived by invisible ones that change the direction of text. Both come
//! from traced processes, so both are escaped.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::{number, scan};

/// Letters, marks, numbers, punctuation and symbols: what stands for itself.
pub(super) fn is_printable(c: char) -> bool {
    use GeneralCategoryGroup::{Letter, Mark, Number, Punctuation, Symbol};
    matches!(
        c.general_category_group(),
        Letter | Mark | Number | Punctuation | Symbol
    )
}

/// Appends a character (an invalid byte if `None`) as a Go string literal would have it, unless it stands for itself, and says
/// how many characters that made.
pub(super) fn append_escape(character: Option<char>, byte: u8, out: &mut Vec<u8>) -> usize {
    let before = out.len();
    match character {
        Some('"') => out.extend_from_slice(b"\\\""),
        Some('\\') => out.extend_from_slice(b"\\\\"),
        Some('\x07') => out.extend_from_slice(b"\\a"),
        Some('\x08') => out.extend_from_slice(b"\\b"),
        Some('\x0c') => out.extend_from_slice(b"\\f"),
        Some('\n') => out.extend_from_slice(b"\\n"),
        Some('\r') => out.extend_from_slice(b"\\r"),
        Some('\t') => out.extend_from_slice(b"\\t"),
        Some('\x0b') => out.extend_from_slice(b"\\v"),
        // Gadgets join arguments with it so that they can be told apart; for eyes it is a blank.
        Some('\u{a0}') => out.push(b' '),
        Some(c) if is_printable(c) => {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return 1;
        }
        Some(c) if c >= '\u{80}' => {
            let number = u32::from(c);
            let bytes = number.to_be_bytes();
            if number <= 0xffff {
                out.extend_from_slice(b"\\u");
                number::append_hex(&bytes[2..], out);
            } else {
                out.extend_from_slice(b"\\U");
                number::append_hex(&bytes, out);
            }
        }
        _ => {
            out.extend_from_slice(b"\\x");
            number::append_hex(&[byte], out);
        }
    }
    out.len() - before
}

/// Appends text of several lines: only line breaks and tabs are let through.
pub(crate) fn append_lines(mut bytes: &[u8], out: &mut Vec<u8>) {
    while !bytes.is_empty() {
        let (character, len) = scan::decode(bytes);
        match character {
            Some(' '..='~' | '\n' | '\t') => out.extend_from_slice(&bytes[..len]),
            other => {
                append_escape(other, bytes[0], out);
            }
        }
        bytes = &bytes[len..];
    }
}

/// Escapes what JSON itself leaves alone in the text from `start` on. Such characters stand only in its strings.
pub(crate) fn escape_json(start: usize, out: &mut Vec<u8>) {
    let tail = &out[start..];
    if tail.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return;
    }
    let text = String::from_utf8_lossy(tail).into_owned();
    out.truncate(start);
    for c in text.chars() {
        if matches!(c, ' ' | '\n') || is_printable(c) {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                number::append_hex(&unit.to_be_bytes(), out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines() {
        let mut out = Vec::new();
        append_lines(b"a\tb \"c\" \\\n\x1b[2J\xff\xc2\x9b", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a\tb \"c\" \\\n\\x1b[2J\\xff\\u009b");
    }

    #[test]
    fn json_on_a_terminal_stays_the_same_json() {
        let json = "{\"a\": \"\u{7f}\u{9b}é\u{202e}\u{e0001}\"}\n";
        let mut out = json.as_bytes().to_vec();
        escape_json(0, &mut out);
        let escaped = String::from_utf8(out).unwrap();
        assert_eq!(escaped, "{\"a\": \"\\u007f\\u009bé\\u202e\\udb40\\udc01\"}\n");
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&escaped), parse(json));
    }
}
