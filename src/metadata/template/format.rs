//! Values as text: what an action writes, and `print` and its like.

use super::Source;
use super::value::Value;
use crate::Result;
use crate::text::go_quote;

/// The largest width or precision that a format may ask for.
const MAX_WIDTH: usize = 1 << 16;

/// What an action writes for its value.
pub(super) fn shown(value: &Value<'_>, offset: usize, source: &Source) -> Result<String> {
    match value {
        Value::Nil => Ok("<no value>".to_owned()),
        Value::Function(_) => Err(source.error(offset, "can't print a function; use call")),
        value => Ok(plain(value)),
    }
}

/// The value as `%v` writes it.
fn plain(value: &Value<'_>) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => general(*value, 21),
        Value::Text(text) => text.clone(),
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{key}:{}", plain(value)))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
        Value::Function(_) => "function".to_owned(),
    }
}

/// The shortest decimal that reads back as `value`; with an exponent below 1e-4 and from ten to the power of `limit` on.
fn general(value: f64, limit: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value != 0.0 && (exponent < -4 || exponent >= limit) {
        with_exponent(mantissa, exponent)
    } else {
        value.to_string()
    }
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// The values one after the other, with a space between two of which neither is a text.
pub(super) fn print(values: &[Value<'_>]) -> String {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        let neighbours_are_texts =
            i > 0 && (matches!(value, Value::Text(_)) || matches!(values[i - 1], Value::Text(_)));
        if i > 0 && !neighbours_are_texts {
            out.push(' ');
        }
        out.push_str(&plain(value));
    }
    out
}

/// The values with spaces between them, and a line break.
pub(super) fn println(values: &[Value<'_>]) -> String {
    let texts: Vec<String> = values.iter().map(plain).collect();
    format!("{}\n", texts.join(" "))
}

/// What a `%` is followed by.
#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `layout` with its verbs replaced by the values. What cannot be formatted that way is an error.
pub(super) fn printf(layout: &str, values: &[Value<'_>]) -> std::result::Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = layout.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            chars.next();
        }
        spec.width = number(&mut chars)?;
        if chars.peek() == Some(&'.') {
            chars.next();
            spec.precision = Some(number(&mut chars)?.unwrap_or(0));
        }
        let Some(verb) = chars.next() else {
            return Err("printf: the format ends with an incomplete verb".to_owned());
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            return Err(format!("printf: no argument for %{verb}"));
        };
        let text =
            verb_text(verb, value, &spec).ok_or_else(|| format!("printf: %{verb} cannot format a {}", value.kind()))?;
        pad(&text, &spec, value, &mut out);
        if out.len() > super::exec::MAX_OUTPUT {
            return Err("printf: too much text".to_owned());
        }
    }
    match values.len() {
        0 => Ok(out),
        extra => Err(format!("printf: {extra} argument(s) too many")),
    }
}

fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> std::result::Result<Option<usize>, String> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        let value = number.unwrap_or(0) * 10 + digit as usize;
        if value > MAX_WIDTH {
            return Err(format!("printf: a width of more than {MAX_WIDTH}"));
        }
        number = Some(value);
        chars.next();
    }
    Ok(number)
}

fn verb_text(verb: char, value: &Value<'_>, spec: &Spec) -> Option<String> {
    let signed = |negative: bool, magnitude: String| {
        let sign = match (negative, spec.plus, spec.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        format!("{sign}{magnitude}")
    };
    let integer = |value: i64, digits: String, prefix: &str| {
        let prefix = if spec.sharp { prefix } else { "" };
        let digits = format!("{digits:0>width$}", width = spec.precision.unwrap_or(0));
        signed(value < 0, format!("{prefix}{digits}"))
    };
    let cut = |text: &str| {
        text.chars()
            .take(spec.precision.unwrap_or(usize::MAX))
            .collect::<String>()
    };
    Some(match (verb, value) {
        ('v' | 'd', Value::Int(value)) => integer(*value, value.unsigned_abs().to_string(), ""),
        ('x', Value::Int(value)) => integer(*value, format!("{:x}", value.unsigned_abs()), "0x"),
        ('X', Value::Int(value)) => integer(*value, format!("{:X}", value.unsigned_abs()), "0X"),
        ('o', Value::Int(value)) => integer(*value, format!("{:o}", value.unsigned_abs()), "0"),
        ('b', Value::Int(value)) => integer(*value, format!("{:b}", value.unsigned_abs()), "0b"),
        ('c', Value::Int(value)) => u32::try_from(*value)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string(),
        ('x', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ('q', Value::Text(text)) => go_quote(&cut(text)),
        ('s' | 'v', Value::Text(text)) => cut(text),
        ('t' | 'v', Value::Bool(value)) => value.to_string(),
        ('f' | 'F', Value::Float(value)) => signed(
            value.is_sign_negative(),
            format!("{:.*}", spec.precision.unwrap_or(6), value.abs()),
        ),
        ('e', Value::Float(value)) => {
            let text = format!("{:.*e}", spec.precision.unwrap_or(6), value.abs());
            let (mantissa, exponent) = text.split_once('e')?;
            signed(
                value.is_sign_negative(),
                with_exponent(mantissa, exponent.parse().ok()?),
            )
        }
        ('g' | 'v', Value::Float(value)) if spec.precision.is_none() => {
            signed(value.is_sign_negative(), general(value.abs(), 21))
        }
        ('v', Value::Nil | Value::List(_) | Value::Map(_)) => plain(value),
        _ => return None,
    })
}

fn pad(text: &str, spec: &Spec, value: &Value<'_>, out: &mut String) {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    let fill = |count: usize, with: char| std::iter::repeat_n(with, count);
    let numeric = matches!(value, Value::Int(_) | Value::Float(_));
    if spec.minus {
        out.push_str(text);
        out.extend(fill(missing, ' '));
    } else if spec.zero && numeric && spec.precision.is_none_or(|_| matches!(value, Value::Float(_))) {
        let digits = text.trim_start_matches(['+', '-', ' ']);
        out.push_str(&text[..text.len() - digits.len()]);
        out.extend(fill(missing, '0'));
        out.push_str(digits);
    } else {
        out.extend(fill(missing, ' '));
        out.push_str(text);
    }
}
