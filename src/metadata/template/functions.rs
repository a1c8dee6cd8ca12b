//! The functions of templates.

use std::cmp::Ordering;

use super::format;
use super::value::Value;

/// A function that needs nothing but its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    And,
    Call,
    Eq,
    Ge,
    Gt,
    Html,
    Index,
    Le,
    Len,
    Lt,
    Ne,
    Not,
    Or,
    Print,
    Printf,
    Println,
    Slice,
    Urlquery,
}

const ALL: [(&str, Builtin); 18] = [
    ("and", Builtin::And),
    ("call", Builtin::Call),
    ("eq", Builtin::Eq),
    ("ge", Builtin::Ge),
    ("gt", Builtin::Gt),
    ("html", Builtin::Html),
    ("index", Builtin::Index),
    ("le", Builtin::Le),
    ("len", Builtin::Len),
    ("lt", Builtin::Lt),
    ("ne", Builtin::Ne),
    ("not", Builtin::Not),
    ("or", Builtin::Or),
    ("print", Builtin::Print),
    ("printf", Builtin::Printf),
    ("println", Builtin::Println),
    ("slice", Builtin::Slice),
    ("urlquery", Builtin::Urlquery),
];

impl Builtin {
    pub(super) fn name(self) -> &'static str {
        ALL.iter()
            .find(|(_, builtin)| *builtin == self)
            .map_or("", |(name, _)| name)
    }
}

/// The function of that name; the error says why there is none.
pub(super) fn find(name: &str) -> Result<Builtin, String> {
    match ALL.iter().find(|(known, _)| *known == name) {
        Some((_, builtin)) => Ok(*builtin),
        None if name == "js" => Err("function \"js\" is not supported".to_owned()),
        None => Err(format!("function {} not defined", crate::text::go_quote(name))),
    }
}

/// Calls a function. Of `and` and `or` the arguments have been looked at already.
pub(super) fn call<'a>(function: Builtin, mut arguments: Vec<Value<'a>>) -> Result<Value<'a>, String> {
    let name = function.name();
    let (least, most) = match function {
        Builtin::Len | Builtin::Not => (1, 1),
        Builtin::Ne | Builtin::Lt | Builtin::Le | Builtin::Gt | Builtin::Ge => (2, 2),
        Builtin::Eq => (2, usize::MAX),
        Builtin::Slice => (1, 4),
        Builtin::Call | Builtin::Index | Builtin::Printf | Builtin::And | Builtin::Or => (1, usize::MAX),
        Builtin::Html | Builtin::Urlquery | Builtin::Print | Builtin::Println => (0, usize::MAX),
    };
    if !(least..=most).contains(&arguments.len()) {
        return Err(format!(
            "wrong number of args for {name}: want {least}, got {}",
            arguments.len()
        ));
    }
    let text = |arguments: &[Value<'_>]| match arguments {
        [Value::Text(text)] => text.clone(),
        arguments => format::print(arguments),
    };
    Ok(match function {
        Builtin::And | Builtin::Or => arguments.pop().unwrap_or_default(),
        Builtin::Not => Value::Bool(!arguments[0].is_true()),
        Builtin::Call => return call_value(&arguments),
        Builtin::Eq => {
            let (first, others) = (&arguments[0], &arguments[1..]);
            let mut found = false;
            for other in others {
                found = found || equal(first, other).map_err(|why| format!("error calling eq: {why}"))?;
            }
            Value::Bool(found)
        }
        Builtin::Ne => {
            let equal = equal(&arguments[0], &arguments[1]).map_err(|why| format!("error calling ne: {why}"))?;
            Value::Bool(!equal)
        }
        Builtin::Lt | Builtin::Le | Builtin::Gt | Builtin::Ge => {
            let order = order(&arguments[0], &arguments[1]).map_err(|why| format!("error calling {name}: {why}"))?;
            Value::Bool(match (function, order) {
                (_, None) => false,
                (Builtin::Lt, Some(order)) => order.is_lt(),
                (Builtin::Le, Some(order)) => order.is_le(),
                (Builtin::Gt, Some(order)) => order.is_gt(),
                (_, Some(order)) => order.is_ge(),
            })
        }
        Builtin::Len => {
            let length = match &arguments[0] {
                Value::Text(text) => text.len(),
                Value::List(items) => items.len(),
                Value::Map(entries) => entries.len(),
                other => return Err(format!("error calling len: len of type {}", other.kind())),
            };
            Value::Int(length as i64)
        }
        Builtin::Index => {
            let mut keys = arguments.into_iter();
            let mut value = keys.next().unwrap_or_default();
            for key in keys {
                value = index(value, &key).map_err(|why| format!("error calling index: {why}"))?;
            }
            value
        }
        Builtin::Slice => slice(&arguments).map_err(|why| format!("error calling slice: {why}"))?,
        Builtin::Print => Value::Text(format::print(&arguments)),
        Builtin::Println => Value::Text(format::println(&arguments)),
        Builtin::Printf => match &arguments[0] {
            Value::Text(layout) => Value::Text(format::printf(layout, &arguments[1..])?),
            other => return Err(format!("wrong type for the format of printf: {}", other.kind())),
        },
        Builtin::Html => Value::Text(html(&text(&arguments))),
        Builtin::Urlquery => Value::Text(urlquery(&text(&arguments))),
    })
}

fn call_value<'a>(arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    match arguments {
        [Value::Function(function), Value::Text(text)] => Ok(Value::Text((function.0)(text))),
        [Value::Function(_), other] => Err(format!(
            "error calling call: arg 0: value has type {}; should be string",
            other.kind()
        )),
        [Value::Function(_), rest @ ..] => Err(format!(
            "error calling call: wrong number of args: got {} want 1",
            rest.len()
        )),
        [Value::Nil, ..] => Err("error calling call: call of nil".to_owned()),
        [other, ..] => Err(format!("error calling call: non-function of type {}", other.kind())),
        [] => Err("error calling call: call of nothing".to_owned()),
    }
}

const INCOMPATIBLE: &str = "incompatible types for comparison";

fn equal(a: &Value<'_>, b: &Value<'_>) -> Result<bool, &'static str> {
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::List(_) | Value::Map(_) | Value::Function(_), _) => return Err("non-comparable type"),
        _ => return Err(INCOMPATIBLE),
    })
}

fn order(a: &Value<'_>, b: &Value<'_>) -> Result<Option<Ordering>, &'static str> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        (Value::Bool(_) | Value::Nil | Value::List(_) | Value::Map(_) | Value::Function(_), _) => {
            Err("invalid type for comparison")
        }
        _ => Err(INCOMPATIBLE),
    }
}

fn index<'a>(value: Value<'a>, key: &Value<'a>) -> Result<Value<'a>, String> {
    match (value, key) {
        (Value::Map(mut entries), Value::Text(key)) => Ok(entries.remove(key).unwrap_or_default()),
        (Value::List(mut items), Value::Int(at)) => match usize::try_from(*at) {
            Ok(at) if at < items.len() => Ok(items.swap_remove(at)),
            _ => Err(format!("index out of range: {at}")),
        },
        (Value::Text(text), Value::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| text.as_bytes().get(at))
            .map(|byte| Value::Int(i64::from(*byte)))
            .ok_or_else(|| format!("index out of range: {at}")),
        (value @ (Value::Map(_) | Value::List(_) | Value::Text(_)), key) => {
            Err(format!("cannot index a {} with a {}", value.kind(), key.kind()))
        }
        (value, _) => Err(format!("can't index item of type {}", value.kind())),
    }
}

fn slice<'a>(arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    let length = match &arguments[0] {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        other => return Err(format!("can't slice item of type {}", other.kind())),
    };
    if arguments.len() > 3 {
        return Err("cannot 3-index slice".to_owned());
    }
    let mut bounds = [0, length];
    for (bound, argument) in bounds.iter_mut().zip(&arguments[1..]) {
        *bound = match argument {
            Value::Int(at) => usize::try_from(*at)
                .ok()
                .filter(|at| *at <= length)
                .ok_or_else(|| format!("index out of range: {at}"))?,
            other => return Err(format!("cannot index with type {}", other.kind())),
        };
    }
    let [from, to] = bounds;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match &arguments[0] {
        Value::Text(text) => Value::Text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned()),
        Value::List(items) => Value::List(items[from..to].to_vec()),
        _ => Value::Nil,
    })
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn urlquery(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
