//! Errors about a part of an option's value: where it is, and what was probably meant.

use std::ops::Range;

use super::{scan, terminal};
use crate::Error;

/// Two lines for the end of a message: `value`, and carets under the bytes of `part`.
pub(crate) fn point(value: &str, part: Range<usize>) -> String {
    let shown = |range: Range<usize>| {
        let mut out = Vec::new();
        append_readable(value.as_bytes().get(range).unwrap_or_default(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    let start = part.start.min(value.len());
    let end = part.end.clamp(start, value.len());
    let (before, marked, after) = (shown(0..start), shown(start..end), shown(end..value.len()));
    let blanks = " ".repeat(before.chars().count());
    let carets = "^".repeat(marked.chars().count().max(1));
    format!("\n    {before}{marked}{after}\n    {blanks}{carets}")
}

/// Appends `bytes` on one line, with nothing that a terminal acts on.
fn append_readable(mut bytes: &[u8], out: &mut Vec<u8>) {
    while !bytes.is_empty() {
        let (character, len) = scan::decode(bytes);
        match character {
            Some(c) if c == ' ' || terminal::is_printable(c) => out.extend_from_slice(&bytes[..len]),
            other => {
                terminal::append_escape(other, bytes[0], out);
            }
        }
        bytes = &bytes[len..];
    }
}

/// The range of `part`, a part of `whole` as slices go. Empty at the start if it is none.
pub(crate) fn range_of(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    match start.checked_add(part.len()) {
        Some(end) if end <= whole.len() => start..end,
        _ => 0..0,
    }
}

/// Adds a hint: the nearest names if any is near, else all there are, called `what`.
pub(crate) fn suggest(error: Error, name: &str, names: &[&str], what: &str) -> Error {
    let mut scored: Vec<(usize, &str)> = names.iter().map(|other| (score(name, other), *other)).collect();
    scored.retain(|(score, _)| *score <= (name.chars().count() / 3).max(1) + 1);
    scored.sort_by_key(|(score, _)| *score);
    if scored.is_empty() {
        return error.with_hint(format!("{what} are: {}", names.join(", ")));
    }
    let near: Vec<String> = scored.iter().take(3).map(|(_, name)| format!("`{name}`")).collect();
    error.with_hint(format!("did you mean {}?", near.join(" or ")))
}

/// How far `name` is from the full name `other`: 0 for its last part, then the letters that differ.
fn score(name: &str, other: &str) -> usize {
    let (name, other) = (name.to_lowercase(), other.to_lowercase());
    match other.rsplit_once('.') {
        Some((_, last)) if last == name => 0,
        Some((_, last)) => distance(&other, &name).min(distance(last, &name) + 1),
        None => distance(&other, &name),
    }
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
    fn carets_are_under_the_part() {
        assert_eq!(point("a,bcd,e", 2..5), "\n    a,bcd,e\n      ^^^");
        assert_eq!(point("a", 1..1), "\n    a\n     ^");
        assert_eq!(point("", 5..9), "\n    \n    ^");
        assert_eq!(
            point("ö\u{1b}\n,\"\t", 4..6),
            "\n    ö\\x1b\\n,\"\\t\n           ^^",
            "what is shown counts"
        );
        assert_eq!(
            point("öä", 1..2),
            "\n    \\xc3\\xb6ä\n        ^^^^",
            "never between characters, but if so"
        );
    }

    #[test]
    fn parts_are_found_by_where_they_are() {
        let whole = "ab,ab";
        assert_eq!(range_of(whole, whole.rsplit(',').next().unwrap()), 3..5);
        assert_eq!(range_of(whole, "another"), 0..0);
    }

    #[test]
    fn near_names() {
        let hint = |name| {
            let error = suggest(
                Error::invalid("x"),
                name,
                &["fname", "proc.comm", "proc.parent.comm"],
                "the fields",
            );
            error.hint().unwrap().to_owned()
        };
        assert_eq!(hint("fnmae"), "did you mean `fname`?");
        assert_eq!(hint("COMM"), "did you mean `proc.comm` or `proc.parent.comm`?");
        assert_eq!(hint("xyzzyxyzzy"), "the fields are: fname, proc.comm, proc.parent.comm");
    }
}
