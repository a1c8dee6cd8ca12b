//! Cells: text brought to the width of its column, with nothing in it that a terminal would act on.
//!
//! Escaping is that of a Go string literal, done before cutting. Widths count characters (code points), not the cells that a
//! terminal gives them.

use crate::output::scan;
use crate::output::terminal::append_escape;

/// Where padding goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Behind the text.
    Left,
    /// Before the text.
    Right,
}

/// Where `…` stands in text that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ellipsis {
    /// Nowhere.
    None,
    End,
    Start,
    Middle,
}

/// The form of a column's cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) width: usize,
    pub(super) align: Align,
    pub(super) ellipsis: Ellipsis,
}

const MARK: &[u8] = "…".as_bytes();
/// A page of blanks to pad from.
const BLANKS: [u8; 64] = [b' '; 64];

/// Appends `bytes` as a cell; of a C string only what is before the first NUL.
#[inline]
pub(super) fn append_text(bytes: &[u8], until_nul: bool, shape: Shape, out: &mut Vec<u8>) {
    // What is cut off at the end need not be looked at.
    let seen = match shape.ellipsis {
        Ellipsis::None | Ellipsis::End => &bytes[..bytes.len().min(shape.width + 1)],
        Ellipsis::Start | Ellipsis::Middle => bytes,
    };
    let plain = scan::plain_prefix(seen);
    let complete = plain == seen.len() || until_nul && seen[plain] == 0;
    if complete {
        return append_plain(&seen[..plain], shape, out);
    }
    let start = out.len();
    let characters = append_escaped(bytes, until_nul, shape, out);
    finish(start, characters, shape, out);
}

/// Longest cell without a width, in characters.
const LONGEST: usize = 1024;

/// Appends `bytes` as a cell that is as wide as its text.
pub(super) fn append_bare(bytes: &[u8], until_nul: bool, out: &mut Vec<u8>) {
    let shape = Shape {
        width: LONGEST,
        align: Align::Left,
        ellipsis: Ellipsis::End,
    };
    let start = out.len();
    let characters = append_escaped(bytes, until_nul, shape, out);
    if characters > LONGEST {
        shorten(start, characters, shape, out);
    }
}

/// Appends ASCII that needs no escaping as a cell.
#[inline]
pub(super) fn append_plain(text: &[u8], shape: Shape, out: &mut Vec<u8>) {
    let Some(padding) = shape.width.checked_sub(text.len()) else {
        let start = out.len();
        out.extend_from_slice(text);
        return finish(start, text.len(), shape, out);
    };
    if shape.align == Align::Right {
        pad(padding, out);
    }
    out.extend_from_slice(text);
    if shape.align == Align::Left {
        pad(padding, out);
    }
}

/// Brings the text of `characters` characters from `start` on to the width of the column.
#[inline]
pub(super) fn finish(start: usize, characters: usize, shape: Shape, out: &mut Vec<u8>) {
    if characters > shape.width {
        shorten(start, characters, shape, out);
        return;
    }
    let padding = shape.width - characters;
    let end = out.len();
    pad(padding, out);
    if shape.align == Align::Right && padding > 0 {
        out.copy_within(start..end, start + padding);
        out[start..start + padding].fill(b' ');
    }
}

/// Appends blanks. Whole pages, of which the end is then cut off: that costs less than a piece of any size.
#[inline]
fn pad(count: usize, out: &mut Vec<u8>) {
    let end = out.len() + count;
    while out.len() < end {
        out.extend_from_slice(&BLANKS);
    }
    out.truncate(end);
}

/// Appends `bytes` escaped and says how many characters that made. Stops early when the rest would be cut off anyway.
fn append_escaped(mut bytes: &[u8], until_nul: bool, shape: Shape, out: &mut Vec<u8>) -> usize {
    let enough = match shape.ellipsis {
        Ellipsis::None | Ellipsis::End => shape.width + 1,
        Ellipsis::Start | Ellipsis::Middle => usize::MAX,
    };
    let mut characters = 0;
    while !bytes.is_empty() && characters < enough {
        let plain = scan::plain_prefix(bytes).min(enough - characters);
        if plain > 0 {
            out.extend_from_slice(&bytes[..plain]);
            characters += plain;
            bytes = &bytes[plain..];
            continue;
        }
        if until_nul && bytes[0] == 0 {
            break;
        }
        let (character, len) = scan::decode(bytes);
        characters += match character {
            // What keeps words together elsewhere is a space in a column.
            Some('\u{a0}') => {
                out.push(b' ');
                1
            }
            character => append_escape(character, bytes[0], out),
        };
        bytes = &bytes[len..];
    }
    characters
}

/// Cuts the text from `start` on, which has more characters than the column is wide.
fn shorten(start: usize, characters: usize, shape: Shape, out: &mut Vec<u8>) {
    let width = shape.width;
    if width == 0 {
        out.truncate(start);
        return;
    }
    let (head, tail) = match shape.ellipsis {
        Ellipsis::None => (width, 0),
        _ if width == 1 => (0, 0),
        Ellipsis::End => (width - 1, 0),
        Ellipsis::Start => (0, width - 1),
        Ellipsis::Middle => (width / 2, (width - 1) / 2),
    };
    let cut_from = start + offset(&out[start..], head);
    let cut_to = start + offset(&out[start..], characters - tail);
    if shape.ellipsis == Ellipsis::None {
        out.truncate(cut_from);
    } else if tail == 0 {
        out.truncate(cut_from);
        out.extend_from_slice(MARK);
    } else {
        out.splice(cut_from..cut_to, MARK.iter().copied());
    }
}

/// Where the character of number `index` begins in valid UTF-8.
fn offset(bytes: &[u8], index: usize) -> usize {
    let begins = |byte: &u8| *byte & 0xc0 != 0x80;
    bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| begins(byte))
        .nth(index)
        .map_or(bytes.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: impl AsRef<[u8]>, width: usize, ellipsis: Ellipsis, align: Align) -> String {
        let mut out = b"before".to_vec();
        let shape = Shape { width, align, ellipsis };
        append_text(text.as_ref(), false, shape, &mut out);
        String::from_utf8(out).unwrap().split_off(6)
    }

    #[test]
    fn k8_shortening() {
        let demo = |width, ellipsis| cell("Demo1234", width, ellipsis, Align::Left);
        assert_eq!(demo(4, Ellipsis::None), "Demo");
        assert_eq!(demo(4, Ellipsis::End), "Dem…");
        assert_eq!(demo(4, Ellipsis::Start), "…234");
        assert_eq!(demo(4, Ellipsis::Middle), "De…4");
        assert_eq!(demo(5, Ellipsis::Middle), "De…34");
        assert_eq!(demo(1, Ellipsis::End), "…");
        assert_eq!(demo(1, Ellipsis::Middle), "…");
        assert_eq!(demo(1, Ellipsis::None), "D");
        assert_eq!(demo(0, Ellipsis::End), "");
        assert_eq!(demo(8, Ellipsis::End), "Demo1234");
    }

    #[test]
    fn k11_escapes_come_before_cutting() {
        assert_eq!(cell("a\t\"b", 8, Ellipsis::End, Align::Left), "a\\t\\\"b  ");
        assert_eq!(cell("a\t\"b", 8, Ellipsis::End, Align::Right), "  a\\t\\\"b");
        assert_eq!(cell("a\t\"b", 3, Ellipsis::End, Align::Right), "a\\…");
    }

    #[test]
    fn a_space_that_keeps_words_together_is_a_space() {
        assert_eq!(cell("a\u{a0}b", 5, Ellipsis::End, Align::Left), "a b  ");
    }

    #[test]
    fn nothing_that_a_terminal_acts_on() {
        assert_eq!(
            cell("\x1b[2J\x07\0", 20, Ellipsis::End, Align::Left),
            "\\x1b[2J\\a\\x00       "
        );
        assert_eq!(
            cell("\u{9b}2J\u{202e}", 20, Ellipsis::End, Align::Left),
            "\\u009b2J\\u202e      "
        );
        assert_eq!(cell("\u{e0001}", 10, Ellipsis::End, Align::Left), "\\U000e0001");
        assert_eq!(cell(b"\xff\x7f", 9, Ellipsis::End, Align::Left), "\\xff\\x7f ");
        assert_eq!(cell("a\u{a0}b", 4, Ellipsis::End, Align::Left), "a b ");
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(cell("größe", 7, Ellipsis::End, Align::Right), "  größe");
        assert_eq!(cell("größe", 4, Ellipsis::End, Align::Left), "grö…");
        assert_eq!(cell("日本語日本語", 4, Ellipsis::Middle, Align::Left), "日本…語");
        assert_eq!(cell("日本語日本語", 4, Ellipsis::Start, Align::Left), "…日本語");
    }
}
