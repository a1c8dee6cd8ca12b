//! Go's time layouts, in which gadgets and expressions say how a time is written: an example of the reference time
//! `Mon Jan 2 15:04:05 MST 2006`.

mod read;

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A parsed layout.
#[derive(Debug)]
pub(crate) struct Layout {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// An element of the date or time, by its name in the reference time.
    Element(&'static str),
    /// A separator and so many digits of the second, without trailing zeroes if `trim`.
    Fraction {
        separator: char,
        digits: usize,
        trim: bool,
    },
}

/// Names of elements; of two that begin alike the longer is first.
const ELEMENTS: &[&str] = &[
    "January", "Jan", "Monday", "Mon", "MST", "2006", "002", "01", "02", "03", "04", "05", "06", "15", "__2", "_2",
    "PM", "pm", "-07:00", "-0700", "-07", "Z07:00", "Z0700", "Z07", "1", "2", "3", "4", "5",
];

impl Layout {
    pub(crate) fn parse(mut layout: &str) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        while let Some(first) = layout.chars().next() {
            let (part, rest) = match fraction(layout).or_else(|| element(layout)) {
                Some(found) => found,
                None => {
                    literal.push(first);
                    layout = &layout[first.len_utf8()..];
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
            layout = rest;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Self { parts }
    }

    pub(crate) fn append(&self, time: Timestamp, zone: &TimeZone, out: &mut Vec<u8>) {
        let info = zone.to_offset_info(time);
        let offset = info.offset();
        let civil = offset.to_datetime(time);
        let hour_12 = (civil.hour() + 11) % 12 + 1;
        for part in &self.parts {
            // Writing to a vector cannot fail.
            let _ = match part {
                Part::Literal(text) => out.write_all(text.as_bytes()),
                Part::Fraction {
                    separator,
                    digits,
                    trim,
                } => {
                    let all = format!("{:09}", civil.subsec_nanosecond());
                    let mut shown = &all[..(*digits).min(9)];
                    if *trim {
                        shown = shown.trim_end_matches('0');
                    }
                    if shown.is_empty() {
                        Ok(())
                    } else {
                        write!(out, "{separator}{shown}")
                    }
                }
                Part::Element(name) => match *name {
                    "January" => write!(out, "{}", civil.strftime("%B")),
                    "Jan" => write!(out, "{}", civil.strftime("%b")),
                    "Monday" => write!(out, "{}", civil.strftime("%A")),
                    "Mon" => write!(out, "{}", civil.strftime("%a")),
                    "MST" => write!(out, "{}", info.abbreviation()),
                    "2006" => write!(out, "{:04}", civil.year()),
                    "06" => write!(out, "{:02}", civil.year().rem_euclid(100)),
                    "01" => write!(out, "{:02}", civil.month()),
                    "1" => write!(out, "{}", civil.month()),
                    "02" => write!(out, "{:02}", civil.day()),
                    "_2" => write!(out, "{:2}", civil.day()),
                    "2" => write!(out, "{}", civil.day()),
                    "002" => write!(out, "{:03}", civil.day_of_year()),
                    "__2" => write!(out, "{:3}", civil.day_of_year()),
                    "15" => write!(out, "{:02}", civil.hour()),
                    "03" => write!(out, "{hour_12:02}"),
                    "3" => write!(out, "{hour_12}"),
                    "04" => write!(out, "{:02}", civil.minute()),
                    "4" => write!(out, "{}", civil.minute()),
                    "05" => write!(out, "{:02}", civil.second()),
                    "5" => write!(out, "{}", civil.second()),
                    "PM" => out.write_all(if civil.hour() < 12 { b"AM" } else { b"PM" }),
                    "pm" => out.write_all(if civil.hour() < 12 { b"am" } else { b"pm" }),
                    zone => {
                        let z = zone.starts_with('Z');
                        let separator = if zone.contains(':') { ":" } else { "" };
                        let start = out.len();
                        append_offset(offset.seconds(), z, separator, out);
                        if zone.len() == 3 && out.len() > start + 1 {
                            out.truncate(start + 3);
                        }
                        Ok(())
                    }
                },
            };
        }
    }
}

/// Appends an offset from UTC: `+01:00`, or `Z` for none if `z`.
pub(crate) fn append_offset(seconds: i32, z: bool, separator: &str, out: &mut Vec<u8>) {
    if z && seconds == 0 {
        out.push(b'Z');
        return;
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    let _ = write!(out, "{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60);
}

fn element(layout: &str) -> Option<(Part, &str)> {
    ELEMENTS.iter().find_map(|name| {
        let rest = layout.strip_prefix(name)?;
        // "Janitor" is no month.
        let in_word = matches!(*name, "Jan" | "Mon") && rest.starts_with(|c: char| c.is_ascii_lowercase());
        (!in_word).then_some((Part::Element(name), rest))
    })
}

fn fraction(layout: &str) -> Option<(Part, &str)> {
    let separator = layout.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let after = &layout[1..];
    let digit = after.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = after.chars().take_while(|c| *c == digit).count();
    let rest = &after[digits..];
    if rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let part = Part::Fraction {
        separator,
        digits,
        trim: digit == '9',
    };
    Some((part, rest))
}

#[cfg(test)]
mod tests {
    use jiff::tz::Offset;

    use super::*;

    fn text(layout: &str, zone: &TimeZone) -> String {
        let time: Timestamp = "2026-02-03T16:05:06.120450000Z".parse().unwrap();
        let mut out = Vec::new();
        Layout::parse(layout).append(time, zone, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn elements() {
        let zone = TimeZone::fixed(Offset::from_seconds(-3600).unwrap());
        for (layout, expected) in [
            (
                "2006-01-02T15:04:05.000000000Z07:00",
                "2026-02-03T15:05:06.120450000-01:00",
            ),
            ("Monday, 2 January 06 at 3:4:5 PM", "Tuesday, 3 February 26 at 3:5:6 PM"),
            ("Mon Jan _2 03:04pm -0700 -07", "Tue Feb  3 03:05pm -0100 -01"),
            ("05.999 05,999999999 002 __2", "06.12 06,12045 034  34"),
            ("Janitor 1/2", "Janitor 2/3"),
            ("at", "at"),
        ] {
            assert_eq!(text(layout, &zone), expected);
        }
        assert_eq!(text("Z07:00 Z0700 Z07 -07:00 MST", &TimeZone::UTC), "Z Z Z +00:00 UTC");
    }
}
