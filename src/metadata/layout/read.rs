//! Reading times that are written in a layout, as Go's `time.ParseInLocation` does.

use jiff::Zoned;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use super::{Layout, Part};
use crate::text::go_quote;
use crate::{Error, Result};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// What was read so far. What a layout leaves out is that of the start of the year 0.
struct Found {
    year: i16,
    month: i8,
    day: i8,
    day_of_year: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    afternoon: Option<bool>,
    zone: Option<TimeZone>,
}

impl Layout {
    /// Reads `text`; in `zone` if it names none itself.
    ///
    /// # Errors
    /// When the text is not in this layout or no time that exists.
    pub(crate) fn read(&self, text: &str, zone: &TimeZone) -> Result<Zoned> {
        let fail = |why: &str| Error::invalid(format!("parsing time {}: {why}", go_quote(text)));
        let mut found = Found {
            year: 0,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            minute: 0,
            second: 0,
            nanosecond: 0,
            afternoon: None,
            zone: None,
        };
        let mut rest = text;
        for (i, part) in self.parts.iter().enumerate() {
            rest = match part {
                Part::Literal(literal) => skip(literal, rest),
                Part::Fraction { digits, trim, .. } => fraction(rest, (!trim).then_some(*digits), &mut found),
                Part::Element(name) => {
                    let fraction_follows = matches!(self.parts.get(i + 1), Some(Part::Fraction { .. }));
                    found.element(name, rest, fraction_follows)
                }
            }
            .ok_or_else(|| fail(&format!("cannot parse {} as {}", go_quote(rest), part.shown())))?;
        }
        if !rest.is_empty() {
            return Err(fail(&format!("extra text: {}", go_quote(rest))));
        }
        found.time(zone).ok_or_else(|| fail("out of range"))
    }
}

impl Part {
    fn shown(&self) -> String {
        go_quote(match self {
            Part::Literal(literal) => literal,
            Part::Element(name) => name,
            Part::Fraction { .. } => "fraction of a second",
        })
    }
}

/// What follows `literal`, of which each space stands for any number of them.
fn skip<'t>(literal: &str, mut text: &'t str) -> Option<&'t str> {
    for c in literal.chars() {
        if c == ' ' {
            if !text.is_empty() && !text.starts_with(' ') {
                return None;
            }
            text = text.trim_start_matches(' ');
        } else {
            text = text.strip_prefix(c)?;
        }
    }
    Some(text)
}

/// A number of `least` to `most` digits.
fn number(text: &str, least: usize, most: usize) -> Option<(i32, &str)> {
    let len = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if len < least {
        return None;
    }
    let (digits, rest) = text.split_at(len);
    Some((digits.parse().ok()?, rest))
}

/// A separator and digits: exactly so many, or any number, also none at all.
fn fraction<'t>(text: &'t str, digits: Option<usize>, found: &mut Found) -> Option<&'t str> {
    let digits_of = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let after = match text.strip_prefix(['.', ',']) {
        Some(after) if digits_of(after) > 0 => after,
        _ if digits.is_none() => return Some(text),
        _ => return None,
    };
    let len = digits.unwrap_or_else(|| digits_of(after));
    if digits_of(after) < len {
        return None;
    }
    let (digits, rest) = after.split_at(len);
    let nine: String = digits.chars().chain("000000000".chars()).take(9).collect();
    found.nanosecond = nine.parse().ok()?;
    Some(rest)
}

/// The one of `names` (its first `len` letters) that `text` begins with, and what follows it.
fn name<'t>(text: &'t str, names: &[&str], len: usize) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(i, name)| {
        let name = name.get(..len).unwrap_or(name);
        let start = text.get(..name.len())?;
        start.eq_ignore_ascii_case(name).then(|| (i, &text[name.len()..]))
    })
}

impl Found {
    fn element<'t>(&mut self, name_of: &str, text: &'t str, fraction_follows: bool) -> Option<&'t str> {
        let small = |(value, rest): (i32, &'t str)| Some((i8::try_from(value).ok()?, rest));
        let (value, rest) = match name_of {
            "2006" => {
                let (year, rest) = number(text, 4, 4)?;
                self.year = i16::try_from(year).ok()?;
                return Some(rest);
            }
            "06" => {
                let (year, rest) = number(text, 2, 2)?;
                self.year = i16::try_from(if year >= 69 { 1900 + year } else { 2000 + year }).ok()?;
                return Some(rest);
            }
            "January" | "Jan" => {
                let (month, rest) = name(text, &MONTHS, if name_of == "Jan" { 3 } else { usize::MAX })?;
                self.month = i8::try_from(month + 1).ok()?;
                return Some(rest);
            }
            "Monday" | "Mon" => {
                return name(text, &DAYS, if name_of == "Mon" { 3 } else { usize::MAX }).map(|(_, rest)| rest);
            }
            "002" | "__2" => {
                let text = if name_of == "__2" {
                    text.trim_start_matches(' ')
                } else {
                    text
                };
                let (day, rest) = number(text, if name_of == "002" { 3 } else { 1 }, 3)?;
                self.day_of_year = Some(i16::try_from(day).ok()?);
                return Some(rest);
            }
            "PM" | "pm" => {
                let (afternoon, rest) = name(text, &["AM", "PM"], 2)?;
                self.afternoon = Some(afternoon == 1);
                return Some(rest);
            }
            "MST" => return self.abbreviation(text),
            zone if zone.contains("07") => return self.offset(zone, text),
            "_2" => small(number(text.strip_prefix(' ').unwrap_or(text), 1, 2)?)?,
            "01" | "02" | "03" | "04" | "05" | "15" => small(number(text, 2, 2)?)?,
            _ => small(number(text, 1, 2)?)?,
        };
        match name_of {
            "01" | "1" => self.month = value,
            "02" | "2" | "_2" => self.day = value,
            "03" | "3" | "15" => self.hour = value,
            "04" | "4" => self.minute = value,
            _ => {
                self.second = value;
                // A fraction is read even if the layout has none.
                if !fraction_follows {
                    return fraction(rest, None, self);
                }
            }
        }
        Some(rest)
    }

    fn abbreviation<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let len = text.bytes().take_while(u8::is_ascii_uppercase).count();
        let (abbreviation, mut rest) = text.split_at(len);
        if !(3..=5).contains(&len) {
            return None;
        }
        if abbreviation == "GMT" && rest.starts_with(['+', '-']) {
            rest = number(&rest[1..], 1, 2)?.1;
        }
        // An abbreviation does not say which offset it means.
        self.zone.get_or_insert(TimeZone::UTC);
        Some(rest)
    }

    fn offset<'t>(&mut self, form: &str, text: &'t str) -> Option<&'t str> {
        if form.starts_with('Z')
            && let Some(rest) = text.strip_prefix('Z')
        {
            self.zone = Some(TimeZone::UTC);
            return Some(rest);
        }
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+')?),
        };
        let (hours, mut rest) = number(rest, 2, 2)?;
        let mut minutes = 0;
        if form.contains(':') {
            rest = rest.strip_prefix(':')?;
        }
        if form.contains("00") {
            (minutes, rest) = number(rest, 2, 2)?;
        }
        if hours > 24 || minutes > 59 {
            return None;
        }
        let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?;
        self.zone = Some(if offset == Offset::UTC {
            TimeZone::UTC
        } else {
            TimeZone::fixed(offset)
        });
        Some(rest)
    }

    fn time(self, zone: &TimeZone) -> Option<Zoned> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let mut date = Date::new(self.year, self.month, self.day).ok()?;
        if let Some(day) = self.day_of_year {
            date = Date::new(self.year, 1, 1).ok()?.with().day_of_year(day).build().ok()?;
        }
        let time = Time::new(hour, self.minute, self.second, self.nanosecond).ok()?;
        DateTime::from_parts(date, time)
            .to_zoned(self.zone.unwrap_or_else(|| zone.clone()))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(layout: &str, text: &str) -> Result<String> {
        let zone = TimeZone::fixed(Offset::from_seconds(3600).unwrap());
        Layout::parse(layout).read(text, &zone).map(|time| {
            let mut out = Vec::new();
            Layout::parse("2006-01-02T15:04:05.999999999Z07:00").append(time.timestamp(), time.time_zone(), &mut out);
            String::from_utf8(out).unwrap()
        })
    }

    #[test]
    fn what_is_written_in_a_layout_is_read() {
        for (layout, text, expected) in [
            ("2006-01-02", "2023-08-14", "2023-08-14T00:00:00+01:00"),
            ("15:04:05", "01:02:03", "0000-01-01T01:02:03+01:00"),
            ("15:04:05", "01:02:03.25", "0000-01-01T01:02:03.25+01:00"),
            (
                "2006-01-02T15:04:05Z07:00",
                "2023-08-14T05:06:07.5Z",
                "2023-08-14T05:06:07.5Z",
            ),
            (
                "2006-01-02T15:04:05Z07:00",
                "2023-08-14T05:06:07-02:30",
                "2023-08-14T05:06:07-02:30",
            ),
            ("02 Jan 06 15:04 MST", "14 aug 69 05:06 UTC", "1969-08-14T05:06:00Z"),
            (
                "Monday, 02-Jan-06 15:04:05 MST",
                "Monday, 14-Aug-23 05:06:07 GMT+3",
                "2023-08-14T05:06:07Z",
            ),
            (
                "Mon, 02 Jan 2006 15:04:05 -0700",
                "Mon, 14 Aug 2023 05:06:07 +0200",
                "2023-08-14T05:06:07+02:00",
            ),
            ("Jan _2 2006 3:04PM", "Aug  4 2023 12:30AM", "2023-08-04T00:30:00+01:00"),
            ("1/2/2006 3pm", "8/4/2023 3pm", "2023-08-04T15:00:00+01:00"),
            ("2006-002", "2023-032", "2023-02-01T00:00:00+01:00"),
            ("05.000", "07.125", "0000-01-01T00:00:07.125+01:00"),
            ("January 2", "May   3", "0000-05-03T00:00:00+01:00"),
        ] {
            assert_eq!(read(layout, text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn everything_else_is_an_error() {
        for (layout, text, expected) in [
            ("2006-01-02", "2023-8-14", "cannot parse \"8-14\" as \"01\""),
            ("2006-01-02", "2023-13-14", "out of range"),
            ("2006-01-02", "2023-02-30", "out of range"),
            ("2006-01-02", "2023-02-20x", "extra text: \"x\""),
            ("2006-01-02", "2023/02/20", "cannot parse \"/02/20\" as \"-\""),
            ("05.000", "07.12", "cannot parse \".12\" as \"fraction of a second\""),
            ("Jan", "é", "cannot parse \"é\" as \"Jan\""),
            ("-0700", "+2500", "cannot parse \"+2500\" as \"-0700\""),
        ] {
            let error = read(layout, text).unwrap_err().to_string();
            assert_eq!(error, format!("parsing time {}: {expected}", go_quote(text)));
        }
    }
}
