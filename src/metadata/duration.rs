//! Durations in Go's notation (`1.5s`, `1h0m0s`, `100ms`), which gadget.yaml, parameters and flags use.
//!
//! A duration is a signed count of nanoseconds in 64 bits, as there.

use std::time::Duration;

use crate::text::go_quote;
use crate::{Error, Result};

/// Nanoseconds of each unit, longest names first so that `ms` is not read as `m`.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses `text`, a sequence of decimal numbers with units such as `1h15m30.918s` or `-1.5s`, into nanoseconds.
///
/// A unit is required except for `0`.
///
/// # Errors
/// `time: invalid duration "x"`, `time: missing unit in duration "x"` or `time: unknown unit "u" in duration "x"`.
pub fn parse(text: &str) -> Result<i64> {
    let invalid = || Error::invalid(format!("time: invalid duration {}", go_quote(text)));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    // i64::MIN has no positive counterpart, so the magnitude is summed up in a wider type.
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number_len = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        let unit_len = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        if unit.is_empty() {
            return Err(Error::invalid(format!(
                "time: missing unit in duration {}",
                go_quote(text)
            )));
        }
        let Some(&(_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(Error::invalid(format!(
                "time: unknown unit {} in duration {}",
                go_quote(unit),
                go_quote(text)
            )));
        };
        let scale = u128::from(scale);
        let whole: u128 = match whole {
            "" => 0,
            digits => u128::from(digits.parse::<u64>().map_err(|_| invalid())?),
        };
        total += whole * scale + fraction_of(fraction, scale);
        if total > 1 << 63 {
            return Err(invalid());
        }
        rest = after;
    }
    let total = i128::try_from(total).map_err(|_| invalid())?;
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// `0.digits` of `scale`, cut to whole nanoseconds. Digits beyond the eighteenth cannot matter.
fn fraction_of(digits: &str, scale: u128) -> u128 {
    let mut value = 0;
    let mut divisor = 1;
    for digit in digits.bytes().take(18) {
        value = value * 10 + u128::from(digit - b'0');
        divisor *= 10;
    }
    value * scale / divisor
}

/// Like [`parse`], for where a negative duration makes no sense.
///
/// # Errors
/// Those of [`parse`], and `negative duration "x"`.
pub fn parse_unsigned(text: &str) -> Result<Duration> {
    let nanos = parse(text)?;
    let nanos = u64::try_from(nanos).map_err(|_| Error::invalid(format!("negative duration {}", go_quote(text))))?;
    Ok(Duration::from_nanos(nanos))
}

/// Formats `nanos` the way Go prints durations: `1.5s`, `5m0s`, `100ms`, `1h0m0s`, `0s`.
pub fn format(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(magnitude, 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(magnitude, 1_000_000, 6)),
        _ => {
            let minutes = magnitude / 60_000_000_000;
            let seconds = decimal(magnitude % 60_000_000_000, 1_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `value / unit` as a decimal number without trailing zeros; `unit` is ten to the power of `digits`.
fn decimal(value: u64, unit: u64, digits: usize) -> String {
    let fraction = format!("{:0digits$}", value % unit);
    match fraction.trim_end_matches('0') {
        "" => format!("{}", value / unit),
        fraction => format!("{}.{fraction}", value / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_grammar() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("1.5s", 1_500_000_000),
            ("100ms", 100_000_000),
            ("1h0m0s", 3_600_000_000_000),
            ("2h45m.5s", 9_900_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("+5s", 5_000_000_000),
            ("10us", 10_000),
            ("10µs", 10_000),
            ("10μs", 10_000),
            ("0.100000000000000000000000000000s", 100_000_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse(text).unwrap(), nanos, "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for (text, message) in [
            ("", "time: invalid duration \"\""),
            ("abc", "time: invalid duration \"abc\""),
            ("-", "time: invalid duration \"-\""),
            (".s", "time: invalid duration \".s\""),
            ("1..5s", "time: invalid duration \"1..5s\""),
            ("3", "time: missing unit in duration \"3\""),
            ("3 s", "time: unknown unit \" s\" in duration \"3 s\""),
            ("3d", "time: unknown unit \"d\" in duration \"3d\""),
            (
                "9223372036854775808ns",
                "time: invalid duration \"9223372036854775808ns\"",
            ),
            (
                "99999999999999999999h",
                "time: invalid duration \"99999999999999999999h\"",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
        assert!(parse_unsigned("-1s").is_err());
        assert_eq!(parse_unsigned("1s").unwrap(), Duration::from_secs(1));
    }

    #[test]
    fn formats_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (300_000_000_000, "5m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_000_000_001, "1h1m1.000000001s"),
            (-1_500_000_000, "-1.5s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format(nanos), text);
            assert_eq!(parse(text).unwrap(), nanos);
        }
    }
}
