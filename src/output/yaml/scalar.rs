//! The style of YAML text: plain, quoted or literal.
//!
//! The rules are those of YAML 1.1 as libyaml and its Go port apply them.

use std::borrow::Cow;

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Column in which it starts.
    pub(super) column: usize,
    /// Indentation of the lines that continue it.
    pub(super) indent: usize,
    /// It is read by eyes on a terminal.
    pub(super) terminal: bool,
}

/// Text is folded at the first blank after this column.
const WIDTH: usize = 80;

/// Appends a key.
pub(super) fn append_key(key: &str, terminal: bool, out: &mut Vec<u8>) {
    match style(key, terminal) {
        Style::Plain => out.extend_from_slice(key.as_bytes()),
        Style::Single => append_single(key, None, out),
        Style::Double | Style::Literal => append_double(key, None, terminal, out),
    }
}

/// Appends a value. Whether it ends its last line itself.
pub(super) fn append(text: &str, place: Place, out: &mut Vec<u8>) -> bool {
    match style(text, place.terminal) {
        Style::Plain => append_plain(text, place, out),
        Style::Single => append_single(text, Some(place), out),
        Style::Double => append_double(text, Some(place), place.terminal, out),
        Style::Literal => {
            append_literal(text, place, out);
            return text.ends_with('\n');
        }
    }
    false
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

fn style(text: &str, terminal: bool) -> Style {
    let allowed = Allowed::for_text(text, terminal);
    if text.contains('\n') {
        return if allowed.literal { Style::Literal } else { Style::Double };
    }
    if means_something_else(text) || !allowed.single && !allowed.plain {
        return Style::Double;
    }
    if allowed.plain { Style::Plain } else { Style::Single }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank_or_end(c: Option<char>) -> bool {
    c.is_none_or(|c| matches!(c, ' ' | '\t' | '\0') || is_break(c))
}

/// What stands for itself. Characters beyond the basic plane do not, though YAML would allow them; on a terminal, those do not that
/// it could act on.
fn is_printable(c: char, terminal: bool) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && c != '\u{feff}'
        && (!terminal || matches!(c, '\n' | ' '..='~') || crate::output::terminal::is_printable(c))
}

/// The styles in which a text can be written.
struct Allowed {
    plain: bool,
    single: bool,
    literal: bool,
}

impl Allowed {
    fn for_text(text: &str, terminal: bool) -> Self {
        // What every second value is like.
        if text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'.'))
        {
            return Self {
                plain: !text.is_empty(),
                single: true,
                literal: !text.is_empty(),
            };
        }
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut breaks) = (false, false);
        let (mut break_space, mut space_break) = (false, false);
        let mut previous: Option<char> = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let followed_by_blank = is_blank_or_end(chars.peek().copied());
            indicators |= match (previous, c) {
                (None, '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>') => true,
                (None, '\'' | '"' | '%' | '@' | '`') => true,
                (None, '?' | ':' | '-') | (Some(_), ':') => followed_by_blank,
                (Some(_), '#') => is_blank_or_end(previous),
                _ => false,
            };
            special |= !is_printable(c, terminal);
            breaks |= is_break(c);
            break_space |= c == ' ' && previous.is_some_and(is_break);
            space_break |= is_break(c) && previous == Some(' ');
            previous = Some(c);
        }
        let at_edge = |c: Option<char>| c.is_some_and(|c| c == ' ' || is_break(c));
        let edges = at_edge(text.chars().next()) || at_edge(text.chars().next_back());
        let single = !break_space && !space_break && !special;
        Self {
            plain: single && !edges && !breaks && !indicators,
            single,
            literal: !text.ends_with(' ') && !space_break && !special,
        }
    }
}

/// Whether plain `text` would be read as null, a boolean, a number or a time.
fn means_something_else(text: &str) -> bool {
    match text.as_bytes().first() {
        None => true,
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~') => matches!(
            text,
            "y" | "Y"
                | "yes"
                | "Yes"
                | "YES"
                | "true"
                | "True"
                | "TRUE"
                | "on"
                | "On"
                | "ON"
                | "n"
                | "N"
                | "no"
                | "No"
                | "NO"
                | "false"
                | "False"
                | "FALSE"
                | "off"
                | "Off"
                | "OFF"
                | "~"
                | "null"
                | "Null"
                | "NULL"
        ),
        Some(b'.') => matches!(text, ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF") || is_float(text),
        Some(b'+' | b'-' | b'0'..=b'9') => {
            let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
            let digits = match text.contains('_') {
                true => Cow::Owned(text.replace('_', "")),
                false => Cow::Borrowed(text),
            };
            matches!(unsigned, ".inf" | ".Inf" | ".INF")
                || is_time(text)
                || is_integer(&digits)
                || is_float(&digits)
                || is_base_60(text)
        }
        Some(_) => false,
    }
}

fn is_integer(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'o' | b'O', ..] => (&text[2..], 8),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix))
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `190:20:30`, a number in some YAML 1.1 parsers.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = match unsigned.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_') => whole,
        Some(_) => return false,
        None => unsigned,
    };
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        && !rest.is_empty()
        && rest
            .iter()
            .all(|part| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']))
}

/// A date, or a date and a time with or without zone.
fn is_time(text: &str) -> bool {
    parse_time(text).is_some()
}

fn parse_time(text: &str) -> Option<()> {
    let (year, rest) = text.split_once('-')?;
    if year.len() != 4 || !year.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (month, rest) = digits(rest)?;
    let (day, rest) = digits(rest.strip_prefix('-')?)?;
    jiff::civil::Date::new(year.parse().ok()?, month, day).ok()?;
    if rest.is_empty() {
        return Some(());
    }
    let zoned = !rest.starts_with(' ');
    let (hour, rest) = digits(rest.strip_prefix(['T', 't', ' '])?)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?)?;
    let (second, mut rest) = digits(rest.strip_prefix(':')?)?;
    jiff::civil::Time::new(hour, minute, second, 0).ok()?;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
        if end == 0 {
            return None;
        }
        rest = &fraction[end..];
    }
    let zone_fits = match rest.as_bytes() {
        [] => !zoned,
        [b'Z'] => zoned,
        [b'+' | b'-', h1, h2, b':', m1, m2] => zoned && [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()),
        _ => false,
    };
    zone_fits.then_some(())
}

/// One or two digits at the start of `text`, and the rest.
fn digits(text: &str) -> Option<(i8, &str)> {
    let len = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    Some((text[..len].parse().ok()?, &text[len..]))
}

/// Keeps count of the column and breaks lines.
struct Line<'a> {
    place: Option<Place>,
    column: usize,
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    fn new(place: Option<Place>, out: &'a mut Vec<u8>) -> Self {
        Self {
            place,
            column: place.map_or(0, |place| place.column),
            out,
        }
    }

    fn push(&mut self, c: char) {
        self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        self.column += 1;
    }

    /// Breaks the line if it is long enough and may be broken.
    fn fold(&mut self) -> bool {
        match self.place {
            Some(place) if self.column > WIDTH => {
                self.out.push(b'\n');
                self.out.extend(std::iter::repeat_n(b' ', place.indent));
                self.column = place.indent;
                true
            }
            _ => false,
        }
    }
}

fn append_plain(text: &str, place: Place, out: &mut Vec<u8>) {
    if place.column + text.len() <= WIDTH {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut line = Line::new(Some(place), out);
    let mut chars = text.chars().peekable();
    let mut after_space = false;
    while let Some(c) = chars.next() {
        let folded = c == ' ' && !after_space && chars.peek() != Some(&' ') && line.fold();
        if !folded {
            line.push(c);
        }
        after_space = c == ' ';
    }
}

fn append_single(text: &str, place: Option<Place>, out: &mut Vec<u8>) {
    let mut line = Line::new(place, out);
    line.push('\'');
    let mut chars = text.chars().peekable();
    let (mut first, mut after_space) = (true, false);
    while let Some(c) = chars.next() {
        let inside = !first && chars.peek().is_some_and(|next| *next != ' ');
        let folded = c == ' ' && !after_space && inside && line.fold();
        if !folded {
            line.push(c);
        }
        if c == '\'' {
            line.push(c);
        }
        after_space = c == ' ';
        first = false;
    }
    line.push('\'');
}

fn append_double(text: &str, place: Option<Place>, terminal: bool, out: &mut Vec<u8>) {
    let mut line = Line::new(place, out);
    line.push('"');
    let mut chars = text.chars().peekable();
    let (mut first, mut after_space) = (true, false);
    while let Some(c) = chars.next() {
        if c == ' ' {
            let inside = !first && chars.peek().is_some();
            if !after_space && inside && line.fold() {
                if chars.peek() == Some(&' ') {
                    line.push('\\');
                }
            } else {
                line.push(c);
            }
            after_space = true;
        } else {
            if !is_printable(c, terminal) || is_break(c) || matches!(c, '"' | '\\') {
                append_escape(c, &mut line);
            } else {
                line.push(c);
            }
            after_space = false;
        }
        first = false;
    }
    line.push('"');
}

fn append_escape(c: char, line: &mut Line<'_>) {
    line.push('\\');
    let short = match c {
        '\0' => '0',
        '\x07' => 'a',
        '\x08' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\x0b' => 'v',
        '\x0c' => 'f',
        '\r' => 'r',
        '\x1b' => 'e',
        '"' | '\\' => c,
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            let number = u32::from(c);
            let code = match number {
                0..=0xff => format!("x{number:02X}"),
                0x100..=0xffff => format!("u{number:04X}"),
                _ => format!("U{number:08X}"),
            };
            code.chars().for_each(|c| line.push(c));
            return;
        }
    };
    line.push(short);
}

fn append_literal(text: &str, place: Place, out: &mut Vec<u8>) {
    out.push(b'|');
    if text.starts_with(|c: char| c == ' ' || is_break(c)) {
        out.push(b'2');
    }
    let mut backwards = text.chars().rev();
    match (backwards.next(), backwards.next()) {
        (Some(last), _) if !is_break(last) => out.push(b'-'),
        (Some(_), Some(before)) if !is_break(before) => {}
        _ => out.push(b'+'),
    }
    out.push(b'\n');
    let mut at_start = true;
    for c in text.chars() {
        if at_start && !is_break(c) {
            out.extend(std::iter::repeat_n(b' ', place.indent));
        }
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        at_start = is_break(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        let mut out = Vec::new();
        let place = Place {
            column: 3,
            indent: 2,
            terminal: false,
        };
        if !append(text, place, &mut out) {
            out.push(b'\n');
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_where_plain_reads_back() {
        for text in [
            "root",
            "O_WRONLY|O_CREAT",
            "-rw-rw-rw-",
            "/etc/ld.so.cache",
            "a:b",
            "a#b",
            "1.2.3.4:80",
            "f6204f0aa132",
            "0x",
            "00ff",
            "1.2.3",
            "2024-13-01",
            "?x",
            "<<",
            "nope",
            "a'b\"c",
        ] {
            assert_eq!(value(text), format!("{text}\n"));
        }
    }

    #[test]
    fn double_quotes_for_what_would_be_another_type() {
        for text in [
            "",
            "123",
            "-1",
            "0x1F",
            "0o17",
            "017",
            "1_000",
            "1e5",
            ".5",
            "+.inf",
            ".nan",
            "true",
            "Yes",
            "off",
            "n",
            "~",
            "null",
            "190:20:30",
            "2024-07-31T18:43:51.457963290Z",
            "2024-7-1",
            "2024-07-31 18:43:51",
            "12345678901234567890123",
        ] {
            assert_eq!(value(text), format!("\"{text}\"\n"));
        }
    }

    #[test]
    fn single_quotes_for_what_would_be_structure() {
        for text in [
            "----------",
            "- x",
            "#x",
            "a: b",
            "a #b",
            " a",
            "a ",
            "*x",
            "[x",
            "@x",
            "a:",
            "-",
            "'x'",
        ] {
            assert_eq!(value(text), format!("'{}'\n", text.replace('\'', "''")));
        }
    }

    #[test]
    fn escapes_what_is_not_printable() {
        assert_eq!(value("a\tb"), "\"a\\tb\"\n");
        assert_eq!(value("\x1b[2J"), "\"\\e[2J\"\n");
        assert_eq!(value("\x01\u{85}\u{200b}\u{feff}"), "\"\\x01\\N\u{200b}\\uFEFF\"\n");
        assert_eq!(value("😀"), "\"\\U0001F600\"\n");
        assert_eq!(value("é"), "é\n");
    }

    #[test]
    fn lines_become_literal_blocks() {
        assert_eq!(value("a\nb"), "|-\n  a\n  b\n");
        assert_eq!(value("a\n\nb\n"), "|\n  a\n\n  b\n");
        assert_eq!(value("a\n\n"), "|+\n  a\n\n");
        assert_eq!(value(" a\nb"), "|2-\n   a\n  b\n");
        assert_eq!(value("a \nb"), "\"a \\nb\"\n");
        assert_eq!(value("a\n\x07"), "\"a\\n\\a\"\n");
    }

    #[test]
    fn long_text_is_folded_at_blanks() {
        let word = "x".repeat(50);
        assert_eq!(value(&format!("{word} {word} y")), format!("{word} {word}\n  y\n"));
        assert_eq!(value(&"x".repeat(200)), format!("{}\n", "x".repeat(200)));
        assert_eq!(value(&format!("#{word} {word} y")), format!("'#{word} {word}\n  y'\n"));
        assert_eq!(
            value(&format!("\t{word} {word}  y")),
            format!("\"\\t{word} {word}\n  \\ y\"\n")
        );
    }
}
