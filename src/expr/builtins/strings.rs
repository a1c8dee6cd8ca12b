//! Built-ins on texts. Texts are bytes; what needs characters takes bytes that are no UTF-8 for replacement characters.

use memchr::memmem;

use super::{integer, list, text};
use crate::expr::fault::{Fault, Outcome};
use crate::expr::value::{Budget, Bytes, Value};

type Answer<'a> = Outcome<Value<'a>>;

/// A part of a text, without a copy where the text is borrowed.
fn part<'a>(text: &Bytes<'a>, range: std::ops::Range<usize>, budget: &mut Budget) -> Answer<'a> {
    match text {
        Bytes::Borrowed(bytes) => Ok(Value::Text(Bytes::Borrowed(&bytes[range]))),
        Bytes::Shared(bytes) => Value::text(bytes[range].to_vec(), budget),
    }
}

pub(super) fn trim<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let whole = text(arguments, 0)?;
    let set = match arguments.len() {
        1 => None,
        _ => Some(String::from_utf8_lossy(text(arguments, 1)?).into_owned()),
    };
    budget.scan(whole.len() * set.as_ref().map_or(1, String::len))?;
    let drop = |c: char| set.as_ref().map_or(c.is_whitespace(), |set| set.contains(c));
    // Only the valid ends can be trimmed.
    let (mut start, mut end) = (0, whole.len());
    while let Some(c) = first_char(&whole[start..end]).filter(|c| drop(*c)) {
        start += c.len_utf8();
    }
    while let Some(c) = last_char(&whole[start..end]).filter(|c| drop(*c)) {
        end -= c.len_utf8();
    }
    part(whole, start..end, budget)
}

fn first_char(bytes: &[u8]) -> Option<char> {
    let len = match *bytes.first()? {
        0x00..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    std::str::from_utf8(bytes.get(..len)?).ok()?.chars().next()
}

fn last_char(bytes: &[u8]) -> Option<char> {
    let start = bytes.iter().rposition(|b| b & 0xc0 != 0x80)?;
    // Of more bytes than one character has, none is one.
    std::str::from_utf8(&bytes[start..]).ok()?.chars().next()
}

pub(super) fn trim_prefix<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let whole = text(arguments, 0)?;
    let prefix = affix(arguments)?;
    let start = if whole.starts_with(prefix) { prefix.len() } else { 0 };
    part(whole, start..whole.len(), budget)
}

pub(super) fn trim_suffix<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let whole = text(arguments, 0)?;
    let suffix = affix(arguments)?;
    let end = whole.len() - if whole.ends_with(suffix) { suffix.len() } else { 0 };
    part(whole, 0..end, budget)
}

fn affix<'v>(arguments: &'v [Value<'_>]) -> Outcome<&'v [u8]> {
    match arguments.len() {
        1 => Ok(b" "),
        _ => text(arguments, 1).map(|text| &**text),
    }
}

pub(super) fn upper<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    map_chars(arguments, budget, |c| {
        let mut upper = c.to_uppercase();
        if upper.len() == 1 { upper.next() } else { None }
    })
}

pub(super) fn lower<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    map_chars(arguments, budget, |c| {
        let mut lower = c.to_lowercase();
        if lower.len() == 1 { lower.next() } else { None }
    })
}

/// Replaces the characters for which there is one other.
fn map_chars<'a>(arguments: &[Value<'a>], budget: &mut Budget, map: impl Fn(char) -> Option<char>) -> Answer<'a> {
    let whole = text(arguments, 0)?;
    let mapped: String = String::from_utf8_lossy(whole)
        .chars()
        .map(|c| map(c).unwrap_or(c))
        .collect();
    Value::text(mapped.into_bytes(), budget)
}

pub(super) fn split<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    split_at(arguments, false, budget)
}

pub(super) fn split_after<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    split_at(arguments, true, budget)
}

fn split_at<'a>(arguments: &[Value<'a>], keep: bool, budget: &mut Budget) -> Answer<'a> {
    let whole = text(arguments, 0)?;
    let separator = text(arguments, 1)?;
    let most = match arguments.len() {
        2 => usize::MAX,
        // A negative count means all.
        _ => usize::try_from(integer(arguments, 2)?).unwrap_or(usize::MAX),
    };
    budget.scan(whole.len())?;
    let mut parts = Vec::new();
    if most > 0 {
        let mut start = 0;
        for (end, len) in separators(whole, separator) {
            if parts.len() + 1 >= most {
                break;
            }
            budget.memory(1)?;
            let shown = if keep { end + len } else { end };
            parts.push(part(whole, start..shown, budget)?);
            start = end + len;
        }
        // An empty text has no characters, but one part between separators.
        if !separator.is_empty() || start < whole.len() {
            parts.push(part(whole, start..whole.len(), budget)?);
        }
    }
    Value::list(parts, budget)
}

/// Where a text is cut: position and length of each separator, and between characters if it is empty.
fn separators<'t>(whole: &'t [u8], separator: &'t [u8]) -> Box<dyn Iterator<Item = (usize, usize)> + 't> {
    if separator.is_empty() {
        Box::new(boundaries(whole).skip(1).map(|at| (at, 0)))
    } else {
        Box::new(memmem::find_iter(whole, separator).map(|at| (at, separator.len())))
    }
}

/// Where characters begin.
fn boundaries(whole: &[u8]) -> impl Iterator<Item = usize> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let at = next;
        let rest = whole.get(at..).filter(|rest| !rest.is_empty())?;
        next += first_char(rest).map_or(1, char::len_utf8);
        Some(at)
    })
}

pub(super) fn replace<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let whole = text(arguments, 0)?;
    let old = text(arguments, 1)?;
    let new = text(arguments, 2)?;
    let most = match arguments.len() {
        3 => usize::MAX,
        _ => usize::try_from(integer(arguments, 3)?).unwrap_or(usize::MAX),
    };
    budget.scan(whole.len())?;
    let places: Box<dyn Iterator<Item = usize>> = if old.is_empty() {
        // Before each character and at the end.
        Box::new(boundaries(whole).chain(std::iter::once(whole.len())))
    } else {
        Box::new(memmem::find_iter(whole, &**old))
    };
    let mut replaced = Vec::new();
    let mut start = 0;
    for at in places.take(most) {
        budget.memory(new.len())?;
        replaced.extend_from_slice(&whole[start..at]);
        replaced.extend_from_slice(new);
        start = at + old.len();
    }
    replaced.extend_from_slice(&whole[start..]);
    Value::text(replaced, budget)
}

pub(super) fn repeat<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let whole = text(arguments, 0)?;
    let count = integer(arguments, 1)?;
    let count = usize::try_from(count).map_err(|_| {
        Fault::new(format!(
            "invalid argument for repeat (expected positive integer, got {count})"
        ))
    })?;
    budget.memory(whole.len().saturating_mul(count))?;
    Value::text(whole.repeat(count), &mut Budget::new())
}

pub(super) fn join<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let items = list(arguments, 0)?;
    let glue: &[u8] = match arguments.len() {
        1 => b"",
        _ => text(arguments, 1)?,
    };
    let mut joined = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let Value::Text(item) = item else {
            return Err(Fault::new(format!(
                "invalid argument for join (type {})",
                item.type_name()
            )));
        };
        if i > 0 {
            joined.extend_from_slice(glue);
        }
        budget.memory(glue.len() + item.len())?;
        joined.extend_from_slice(item);
    }
    Value::text(joined, &mut Budget::new())
}

fn position(found: Option<usize>) -> Value<'static> {
    Value::Int(found.map_or(-1, |at| at as i64))
}

pub(super) fn index_of<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let whole = text(arguments, 0)?;
    budget.scan(whole.len())?;
    Ok(position(memmem::find(whole, text(arguments, 1)?)))
}

pub(super) fn last_index_of<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let whole = text(arguments, 0)?;
    budget.scan(whole.len())?;
    Ok(position(memmem::rfind(whole, text(arguments, 1)?)))
}

pub(super) fn has_prefix<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Bool(text(arguments, 0)?.starts_with(text(arguments, 1)?)))
}

pub(super) fn has_suffix<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Bool(text(arguments, 0)?.ends_with(text(arguments, 1)?)))
}
