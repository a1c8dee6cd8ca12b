//! Operators at run time, on values whose types the checker could not rule out.

use std::cmp::Ordering;

use jiff::SignedDuration;
use memchr::memmem;

use super::ast::BinaryOp;
use super::fault::{Fault, Outcome};
use super::plan::{Frame, Plan};
use super::value::{Budget, Bytes, Value};

/// Whether `a op b` holds when `a` is so ordered to `b`.
pub(super) fn ordered(op: BinaryOp, ordering: Ordering) -> bool {
    match op {
        BinaryOp::Less => ordering.is_lt(),
        BinaryOp::LessEqual => ordering.is_le(),
        BinaryOp::Greater => ordering.is_gt(),
        _ => ordering.is_ge(),
    }
}

/// Operators whose result is a truth value.
pub(super) fn test<'a>(op: BinaryOp, left: &'a Plan, right: &'a Plan, frame: &mut Frame<'a>) -> Outcome<bool> {
    let left = left.value(frame)?;
    let right = right.value(frame)?;
    let budget = &mut frame.budget;
    match op {
        BinaryOp::Equal => left.equal(&right, budget),
        BinaryOp::NotEqual => Ok(!left.equal(&right, budget)?),
        BinaryOp::In => contains(&right, &left, budget),
        BinaryOp::Contains | BinaryOp::StartsWith | BinaryOp::EndsWith => {
            let (Value::Text(text), Value::Text(part)) = (&left, &right) else {
                return Err(mismatch(op, &left, &right));
            };
            Ok(match op {
                BinaryOp::StartsWith => text.starts_with(part),
                BinaryOp::EndsWith => text.ends_with(part),
                _ => {
                    budget.scan(text.len())?;
                    memmem::find(text, part).is_some()
                }
            })
        }
        _ => {
            let ordering = left.compare(&right).map_err(|_| mismatch(op, &left, &right))?;
            Ok(ordering.is_some_and(|ordering| ordered(op, ordering)))
        }
    }
}

fn contains(list: &Value<'_>, item: &Value<'_>, budget: &mut Budget) -> Outcome<bool> {
    match list {
        Value::Nil => Ok(false),
        Value::List(list) => {
            budget.steps(list.items.len())?;
            for member in &list.items {
                if member.equal(item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => Ok(map.entries.contains_key(&item.key()?)),
        Value::Prefixes(prefixes) => match item {
            Value::Text(text) => prefixes.contain(text),
            _ => Err(mismatch(BinaryOp::In, item, list)),
        },
        other => Err(Fault::new(format!(
            "operator \"in\" not defined on {}",
            other.type_name()
        ))),
    }
}

fn mismatch(op: BinaryOp, left: &Value<'_>, right: &Value<'_>) -> Box<Fault> {
    Fault::new(format!(
        "invalid operation: {} {} {}",
        left.type_name(),
        op.sign(),
        right.type_name()
    ))
}

/// Operators with other results.
pub(super) fn value<'a>(op: BinaryOp, left: &'a Plan, right: &'a Plan, frame: &mut Frame<'a>) -> Outcome<Value<'a>> {
    let left = left.value(frame)?;
    let right = right.value(frame)?;
    let budget = &mut frame.budget;
    match (op, &left, &right) {
        (BinaryOp::Add, Value::Text(a), Value::Text(b)) => return Value::text([&**a, &**b].concat(), budget),
        (BinaryOp::Add, Value::Time(time), Value::Duration(by))
        | (BinaryOp::Add, Value::Duration(by), Value::Time(time)) => {
            return shifted(time, *by);
        }
        (BinaryOp::Subtract, Value::Time(time), Value::Duration(by)) => return shifted(time, by.saturating_neg()),
        (BinaryOp::Subtract, Value::Time(a), Value::Time(b)) => {
            let between = a.timestamp().as_nanosecond() - b.timestamp().as_nanosecond();
            return Ok(Value::Duration(
                between.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64,
            ));
        }
        (BinaryOp::Add, Value::Duration(a), Value::Duration(b)) => return Ok(Value::Duration(a.wrapping_add(*b))),
        (BinaryOp::Subtract, Value::Duration(a), Value::Duration(b)) => return Ok(Value::Duration(a.wrapping_sub(*b))),
        (BinaryOp::Multiply, Value::Duration(a), b) | (BinaryOp::Multiply, b, Value::Duration(a)) => {
            if let Some(b) = b.int() {
                return Ok(Value::Duration(a.wrapping_mul(b)));
            }
            if let Some(b) = b.float() {
                return Ok(Value::Duration((*a as f64 * b) as i64));
            }
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (left.int(), right.int()) {
        match op {
            BinaryOp::Add => return Ok(Value::Int(a.wrapping_add(b))),
            BinaryOp::Subtract => return Ok(Value::Int(a.wrapping_sub(b))),
            BinaryOp::Multiply => return Ok(Value::Int(a.wrapping_mul(b))),
            BinaryOp::Modulo if b == 0 => return Err(Fault::new("integer divide by zero")),
            BinaryOp::Modulo => return Ok(Value::Int(a.wrapping_rem(b))),
            BinaryOp::Range => return range(a, b, budget),
            _ => {}
        }
    }
    let (Some(a), Some(b)) = (left.float(), right.float()) else {
        return Err(mismatch(op, &left, &right));
    };
    Ok(Value::Float(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide => a / b,
        BinaryOp::Power => a.powf(b),
        _ => return Err(mismatch(op, &left, &right)),
    }))
}

fn shifted(time: &jiff::Zoned, by: i64) -> Outcome<Value<'static>> {
    time.checked_add(SignedDuration::from_nanos(by))
        .map(|time| Value::Time(time.into()))
        .map_err(|error| Fault::new(error.to_string()))
}

/// All integers from `a` to `b`.
fn range(a: i64, b: i64, budget: &mut Budget) -> Outcome<Value<'static>> {
    if a > b {
        return Value::list(Vec::new(), budget);
    }
    let len = usize::try_from(i128::from(b) - i128::from(a) + 1).unwrap_or(usize::MAX);
    // Charged before anything is made; the list charges again what is no more than that.
    budget.memory(len)?;
    Value::list((a..=b).map(Value::Int).collect(), &mut Budget::new())
}

pub(super) fn negate(value: &Value<'_>) -> Outcome<Value<'static>> {
    Ok(match value {
        Value::Int(value) => Value::Int(value.wrapping_neg()),
        Value::Uint(value) => Value::Int((*value as i64).wrapping_neg()),
        Value::Single(value) => Value::Single(-value),
        Value::Float(value) => Value::Float(-value),
        Value::Duration(value) => Value::Duration(value.wrapping_neg()),
        other => return Err(Fault::new(format!("invalid operation: - {}", other.type_name()))),
    })
}

/// `of[key]` and `of.key`: nil for a key that a map does not have, an error for everything else that is not there.
pub(super) fn member<'a>(of: &Value<'a>, key: &Value<'_>) -> Outcome<Value<'a>> {
    match of {
        Value::Map(map) => Ok(map.entries.get(&key.key()?).cloned().unwrap_or(Value::Nil)),
        Value::List(list) => {
            let Some(index) = index(key) else {
                return Err(cannot_fetch(of, key));
            };
            let len = list.items.len();
            position(index, len)
                .and_then(|position| list.items.get(position))
                .cloned()
                .ok_or_else(|| Fault::new(format!("index out of range: {index} (array length is {len})")))
        }
        _ => Err(cannot_fetch(of, key)),
    }
}

fn cannot_fetch(of: &Value<'_>, key: &Value<'_>) -> Box<Fault> {
    let mut shown = Vec::new();
    // A key that is too long to be shown stays as far as it got.
    let _ = super::show::append(key, &mut Budget::new(), &mut shown);
    shown.truncate(100);
    let shown = String::from_utf8_lossy(&shown);
    Fault::new(format!(
        "cannot fetch {} from {}",
        crate::text::printable(&shown),
        of.type_name()
    ))
}

fn index(key: &Value<'_>) -> Option<i64> {
    key.int().or_else(|| key.float().map(|float| float as i64))
}

/// The position that an index means, which counts from the end if negative.
fn position(index: i64, len: usize) -> Option<usize> {
    usize::try_from(index)
        .ok()
        .or_else(|| len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?))
}

/// `of[from:to]`; bounds outside are moved to the nearest end.
pub(super) fn slice<'a>(
    of: &Value<'a>,
    from: Option<&Value<'a>>,
    to: Option<&Value<'a>>,
    budget: &mut Budget,
) -> Outcome<Value<'a>> {
    let len = match of {
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        other => return Err(Fault::new(format!("cannot slice {}", other.type_name()))),
    };
    let bound = |value: Option<&Value<'a>>, default: usize| match value {
        None => Ok(default),
        Some(value) => {
            let index =
                index(value).ok_or_else(|| Fault::new(format!("invalid operation: int({})", value.type_name())))?;
            Ok::<_, Box<Fault>>(position(index, len).unwrap_or(0).min(len))
        }
    };
    let to = bound(to, len)?;
    let from = bound(from, 0)?.min(to);
    match of {
        Value::Text(Bytes::Borrowed(text)) => Ok(Value::Text(Bytes::Borrowed(&text[from..to]))),
        Value::Text(text) => Value::text(text[from..to].to_vec(), budget),
        Value::List(list) => Value::list(list.items[from..to].to_vec(), budget),
        _ => Ok(Value::Nil),
    }
}
