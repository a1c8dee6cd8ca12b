//! Values as text, as Go's `%v` has them: what `string()` gives.

use std::io::Write;

use super::fault::Outcome;
use super::value::{Budget, Key, Value};
use crate::output::number::{append_i64, append_u64};

/// Appends `value`.
pub(super) fn append(value: &Value<'_>, budget: &mut Budget, out: &mut Vec<u8>) -> Outcome<()> {
    match value {
        Value::Nil => out.extend_from_slice(b"<nil>"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(value) => append_i64(*value, out),
        Value::Uint(value) => append_u64(*value, out),
        Value::Single(value) => float(&format!("{value:e}"), f64::from(*value), &value.to_string(), out),
        Value::Float(value) => append_float(*value, out),
        Value::Text(text) => out.extend_from_slice(text),
        Value::List(list) => {
            // What is shared is shown as often as it is there.
            budget.memory(list.items.len() * 2)?;
            out.push(b'[');
            for (i, item) in list.items.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                append_charged(item, budget, out)?;
            }
            out.push(b']');
        }
        Value::Map(map) => {
            budget.memory(map.entries.len() * 2)?;
            out.extend_from_slice(b"map[");
            for (i, (key, value)) in map.entries.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                append_charged(&key.to_value(), budget, out)?;
                out.push(b':');
                append_charged(value, budget, out)?;
            }
            out.push(b']');
        }
        Value::Time(time) => super::builtins::time::append(time, out),
        Value::Duration(value) => append_duration(*value, out),
        Value::Zone(zone) => out.extend_from_slice(super::builtins::time::zone_name(zone).as_bytes()),
        Value::Prefixes(_) => out.extend_from_slice(b"cidr"),
    }
    Ok(())
}

fn append_charged(value: &Value<'_>, budget: &mut Budget, out: &mut Vec<u8>) -> Outcome<()> {
    if let Value::Text(text) = value {
        budget.memory(text.len())?;
    }
    append(value, budget, out)
}

/// A key of a map as text, as JSON has it.
pub(super) fn key(key: &Key, budget: &mut Budget) -> Outcome<String> {
    let mut text = Vec::new();
    append_charged(&key.to_value(), budget, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Appends the shortest digits that read back as the same number, with an exponent if it is very large or very small.
pub(super) fn append_float(value: f64, out: &mut Vec<u8>) {
    float(&format!("{value:e}"), value, &value.to_string(), out);
}

fn float(scientific: &str, value: f64, plain: &str, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
        return;
    }
    if value == 0.0 || (1e-4..1e21).contains(&value.abs()) {
        out.extend_from_slice(plain.as_bytes());
        return;
    }
    let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    // Writing to a vector cannot fail.
    let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
}

/// Appends a duration in Go's notation: `1h0m0.5s`, `1.5ms`, `0s`.
pub(super) fn append_duration(nanoseconds: i64, out: &mut Vec<u8>) {
    let fraction = |value: u64, unit: u64, name: &str, out: &mut Vec<u8>| {
        append_u64(value / unit, out);
        if !value.is_multiple_of(unit) {
            let width = unit.ilog10() as usize;
            let _ = write!(out, ".{:0width$}", value % unit);
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        out.extend_from_slice(name.as_bytes());
    };
    if nanoseconds < 0 {
        out.push(b'-');
    }
    match nanoseconds.unsigned_abs() {
        0 => out.extend_from_slice(b"0s"),
        value @ ..1_000 => fraction(value, 1, "ns", out),
        value @ ..1_000_000 => fraction(value, 1_000, "µs", out),
        value @ ..1_000_000_000 => fraction(value, 1_000_000, "ms", out),
        value => {
            let minutes = value / 60_000_000_000;
            if minutes >= 60 {
                let _ = write!(out, "{}h", minutes / 60);
            }
            if minutes > 0 {
                let _ = write!(out, "{}m", minutes % 60);
            }
            fraction(value % 60_000_000_000, 1_000_000_000, "s", out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Value<'_>) -> String {
        let mut out = Vec::new();
        append(value, &mut Budget::new(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_shown_as_go_shows_them() {
        for (value, expected) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-5, "1.5e-05"),
            (1e-4, "0.0001"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(shown(&Value::Float(value)), expected);
        }
        assert_eq!(shown(&Value::Single(0.1)), "0.1");
        assert_eq!(shown(&Value::Uint(u64::MAX)), "18446744073709551615");
    }

    #[test]
    fn durations_are_shown_as_go_shows_them() {
        for (value, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (-3_600_000_000_000, "-1h0m0s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(shown(&Value::Duration(value)), expected);
        }
    }
}
