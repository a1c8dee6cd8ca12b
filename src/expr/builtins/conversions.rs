//! Built-ins that make one type of another.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::text;
use crate::expr::fault::{Fault, Outcome};
use crate::expr::show;
use crate::expr::value::{Budget, Bytes, Key, Value};
use crate::text::printable;

type Answer<'a> = Outcome<Value<'a>>;

pub(super) fn type_of<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let name = arguments.first().map_or("nil", Value::type_name);
    Ok(Value::Text(Bytes::Borrowed(name.as_bytes())))
}

pub(super) fn int<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let argument = arguments.first().unwrap_or(&Value::Nil);
    Ok(Value::Int(match argument {
        Value::Text(digits) => std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| invalid("int", digits))?,
        Value::Duration(nanoseconds) => *nanoseconds,
        other => match (other.int(), other.float()) {
            (Some(int), _) => int,
            (None, Some(float)) => float as i64,
            (None, None) => return Err(invalid("int", other.type_name().as_bytes())),
        },
    }))
}

pub(super) fn float<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let argument = arguments.first().unwrap_or(&Value::Nil);
    Ok(Value::Float(match argument {
        Value::Text(digits) => std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| invalid("float", digits))?,
        other => other
            .float()
            .ok_or_else(|| invalid("float", other.type_name().as_bytes()))?,
    }))
}

fn invalid(function: &str, argument: &[u8]) -> Box<Fault> {
    let shown = String::from_utf8_lossy(&argument[..argument.len().min(100)]).into_owned();
    Fault::new(format!("invalid operation: {function}({})", printable(&shown)))
}

pub(super) fn string<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let argument = arguments.first().unwrap_or(&Value::Nil);
    if let Value::Text(text) = argument {
        return Ok(Value::Text(text.clone()));
    }
    let mut shown = Vec::new();
    show::append(argument, budget, &mut shown)?;
    Value::text(shown, budget)
}

pub(super) fn to_json<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let mut json = Vec::new();
    append_json(arguments.first().unwrap_or(&Value::Nil), 0, budget, &mut json)?;
    Value::text(json, &mut Budget::new())
}

/// Appends JSON as Go's encoder indents and escapes it.
fn append_json(value: &Value<'_>, depth: usize, budget: &mut Budget, out: &mut Vec<u8>) -> Outcome<()> {
    let newline = |depth: usize, budget: &mut Budget, out: &mut Vec<u8>| {
        budget.memory(1 + 2 * depth)?;
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
        Ok::<_, Box<Fault>>(())
    };
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) => show::append(value, budget, out)?,
        Value::Duration(nanoseconds) => show::append(&Value::Int(*nanoseconds), budget, out)?,
        Value::Single(number) => json_float(value, f64::from(*number), budget, out)?,
        Value::Float(number) => json_float(value, *number, budget, out)?,
        Value::Text(text) => json_text(&String::from_utf8_lossy(text), budget, out)?,
        Value::Time(time) => {
            let text = time.timestamp().display_with_offset(time.offset()).to_string();
            json_text(&text.replace("+00:00", "Z"), budget, out)?;
        }
        Value::Zone(_) | Value::Prefixes(_) => out.extend_from_slice(b"{}"),
        Value::List(list) => {
            out.push(b'[');
            for (i, item) in list.items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                newline(depth + 1, budget, out)?;
                append_json(item, depth + 1, budget, out)?;
            }
            if !list.items.is_empty() {
                newline(depth, budget, out)?;
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (i, (key, value)) in map.entries.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                newline(depth + 1, budget, out)?;
                json_text(&show::key(key, budget)?, budget, out)?;
                out.extend_from_slice(b": ");
                append_json(value, depth + 1, budget, out)?;
            }
            if !map.entries.is_empty() {
                newline(depth, budget, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn json_float(value: &Value<'_>, number: f64, budget: &mut Budget, out: &mut Vec<u8>) -> Outcome<()> {
    let mut shown = Vec::new();
    show::append(value, budget, &mut shown)?;
    if !number.is_finite() {
        let shown = String::from_utf8_lossy(&shown);
        return Err(Fault::new(format!("json: unsupported value: {shown}")));
    }
    out.extend_from_slice(&shown);
    Ok(())
}

fn json_text(text: &str, budget: &mut Budget, out: &mut Vec<u8>) -> Outcome<()> {
    budget.memory(text.len())?;
    let quoted = serde_json::to_string(text).map_err(|error| Fault::new(error.to_string()))?;
    for c in quoted.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(())
}

pub(super) fn from_json<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let json = text(arguments, 0)?;
    budget.memory(json.len())?;
    let value = serde_json::from_slice(json).map_err(|error| Fault::new(format!("invalid JSON: {error}")))?;
    of_json(value, budget)
}

fn of_json(json: serde_json::Value, budget: &mut Budget) -> Answer<'static> {
    use serde_json::Value as Json;
    match json {
        Json::Null => Ok(Value::Nil),
        Json::Bool(value) => Ok(Value::Bool(value)),
        Json::Number(number) => Ok(Value::Float(number.as_f64().unwrap_or(f64::NAN))),
        Json::String(text) => Value::text(text.into_bytes(), budget),
        Json::Array(items) => {
            let items = items
                .into_iter()
                .map(|item| of_json(item, budget))
                .collect::<Outcome<_>>()?;
            Value::list(items, budget)
        }
        Json::Object(entries) => {
            let entries = entries
                .into_iter()
                .map(|(key, value)| Ok((Key::Text(key.into_bytes().into()), of_json(value, budget)?)))
                .collect::<Outcome<BTreeMap<_, _>>>()?;
            Value::map(entries, budget)
        }
    }
}

pub(super) fn to_base64<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let encoded = STANDARD.encode(&**text(arguments, 0)?);
    Value::text(encoded.into_bytes(), budget)
}

pub(super) fn from_base64<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let decoded = STANDARD
        .decode(&**text(arguments, 0)?)
        .map_err(|error| Fault::new(format!("invalid base64: {error}")))?;
    Value::text(decoded, budget)
}
