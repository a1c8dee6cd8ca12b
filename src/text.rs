//! Text in messages and on terminals: quoting, and what must not get there as it is.

/// `text` in double quotes, with the escapes of Go's `%q`.
pub fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            _ if is_printable(c) => quoted.push(c),
            _ if u32::from(c) < 0x80 => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ if u32::from(c) < 0x1_0000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether `c` leaves a mark on paper, or is the plain space: what Go calls printable.
pub fn is_printable(c: char) -> bool {
    use unicode_properties::{GeneralCategoryGroup as Group, UnicodeGeneralCategory};
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    !matches!(c.general_category_group(), Group::Other | Group::Separator)
}

/// `text` with its control characters escaped: a terminal would take them for commands.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// `text` on a line of its own and a caret below its byte `at`, to be put behind a message.
pub(crate) fn point_at(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let dots = printable(before).chars().count();
    format!("\n | {}\n | {}^", printable(text), ".".repeat(dots))
}

/// Up to three of `names` (full name, its last part) near `name`: those that end in it, then those a few letters away.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let tolerance = (wanted.chars().count() / 3).max(1) + 1;
    let mut scored: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|(full_name, last)| {
            let last = last.to_lowercase();
            let score = if last == wanted {
                0
            } else {
                distance(&full_name.to_lowercase(), &wanted).min(distance(&last, &wanted) + 1)
            };
            (score <= tolerance).then_some((score, full_name))
        })
        .collect();
    scored.sort_by_key(|(score, _)| *score);
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The question whether one of `names` was meant; `None` if there is none.
pub(crate) fn did_you_mean(names: &[&str]) -> Option<String> {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    (!quoted.is_empty()).then(|| format!("did you mean {}?", quoted.join(" or ")))
}

/// Number of insertions, deletions and replacements of characters that make `a` of `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let names = [
            ("proc.comm", "comm"),
            ("proc.parent.comm", "comm"),
            ("fname", "fname"),
            ("proc.pid", "pid"),
        ];
        assert_eq!(nearest("comm", names), ["proc.comm", "proc.parent.comm"]);
        assert_eq!(nearest("FNMAE", names), ["fname"]);
        assert_eq!(nearest("something else", names), Vec::<&str>::new());
        assert_eq!(did_you_mean(&["a", "b"]).unwrap(), "did you mean `a` or `b`?");
        assert_eq!(did_you_mean(&[]), None);
    }

    #[test]
    fn a_caret_points_at_a_place() {
        assert_eq!(point_at("pid>x", 4), "\n | pid>x\n | ....^");
        assert_eq!(point_at("é\u{1b}>x", 3), "\n | é\\u{1b}>x\n | .......^");
        assert_eq!(point_at("ab", 9), "\n | ab\n | ..^");
    }

    #[test]
    fn quoting_escapes_what_a_terminal_would_obey() {
        assert_eq!(
            go_quote("a\"b\\\x1b[31m\u{202e}é\n"),
            "\"a\\\"b\\\\\\x1b[31m\\u202eé\\n\""
        );
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(printable("a\u{1b}[31mé\u{9b}"), "a\\u{1b}[31mé\\u{9b}");
    }
}
