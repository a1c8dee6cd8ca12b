//! Built-ins on numbers.

use super::integer;
use crate::expr::fault::{Fault, Outcome};
use crate::expr::value::{Budget, Value};

type Answer<'a> = Outcome<Value<'a>>;

fn number(arguments: &[Value<'_>], name: &str) -> Outcome<f64> {
    let argument = arguments.first().unwrap_or(&Value::Nil);
    argument.float().ok_or_else(|| invalid(name, argument))
}

fn invalid(name: &str, argument: &Value<'_>) -> Box<Fault> {
    Fault::new(format!("invalid argument for {name} (type {})", argument.type_name()))
}

pub(super) fn abs<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(match arguments.first() {
        Some(Value::Int(value)) => Value::Int(value.wrapping_abs()),
        Some(Value::Uint(value)) => Value::Uint(*value),
        Some(Value::Single(value)) => Value::Single(value.abs()),
        _ => Value::Float(number(arguments, "abs")?.abs()),
    })
}

pub(super) fn ceil<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Float(number(arguments, "ceil")?.ceil()))
}

pub(super) fn floor<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Float(number(arguments, "floor")?.floor()))
}

pub(super) fn round<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Float(number(arguments, "round")?.round()))
}

/// Calls `each` with every number of the arguments and of the lists among them.
fn visit<'a>(
    name: &str,
    arguments: &[Value<'a>],
    budget: &mut Budget,
    each: &mut dyn FnMut(&Value<'a>, f64),
) -> Outcome<()> {
    budget.steps(arguments.len())?;
    for argument in arguments {
        match (argument, argument.float()) {
            (Value::List(list), _) => visit(name, &list.items, budget, each)?,
            (number, Some(value)) => each(number, value),
            (other, None) => return Err(invalid(name, other)),
        }
    }
    Ok(())
}

fn extreme<'a>(name: &str, arguments: &[Value<'a>], budget: &mut Budget, wanted: std::cmp::Ordering) -> Answer<'a> {
    let mut best = Value::Nil;
    visit(name, arguments, budget, &mut |number, _| {
        let better = matches!(best, Value::Nil) || number.compare(&best).is_ok_and(|ordering| ordering == Some(wanted));
        if better {
            best = number.clone();
        }
    })?;
    Ok(best)
}

pub(super) fn max<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    extreme("max", arguments, budget, std::cmp::Ordering::Greater)
}

pub(super) fn min<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    extreme("min", arguments, budget, std::cmp::Ordering::Less)
}

pub(super) fn mean<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let (mut sum, mut count) = (0.0, 0_u32);
    visit("mean", arguments, budget, &mut |_, value| {
        sum += value;
        count += 1;
    })?;
    Ok(Value::Float(if count == 0 { 0.0 } else { sum / f64::from(count) }))
}

pub(super) fn median<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let mut values = Vec::new();
    visit("median", arguments, budget, &mut |_, value| values.push(value))?;
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(0.0);
    Ok(Value::Float(match values.len() {
        len if len % 2 == 0 && len > 0 => (values[middle - 1] + upper) / 2.0,
        _ => upper,
    }))
}

fn pair(arguments: &[Value<'_>]) -> Outcome<(i64, i64)> {
    Ok((integer(arguments, 0)?, integer(arguments, 1)?))
}

pub(super) fn bitand<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    pair(arguments).map(|(a, b)| Value::Int(a & b))
}

pub(super) fn bitor<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    pair(arguments).map(|(a, b)| Value::Int(a | b))
}

pub(super) fn bitxor<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    pair(arguments).map(|(a, b)| Value::Int(a ^ b))
}

/// The bits of the first that the second does not have.
pub(super) fn bitnand<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    pair(arguments).map(|(a, b)| Value::Int(a & !b))
}

pub(super) fn bitnot<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    integer(arguments, 0).map(|a| Value::Int(!a))
}

/// The number, and by how much it is shifted: 64 and more shift everything out.
fn shift(arguments: &[Value<'_>]) -> Outcome<(i64, u32)> {
    let (value, by) = pair(arguments)?;
    if by < 0 {
        return Err(Fault::new(format!(
            "invalid operation: negative shift count {by} (type int)"
        )));
    }
    Ok((value, u32::try_from(by).unwrap_or(u32::MAX)))
}

pub(super) fn bitshl<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    shift(arguments).map(|(value, by)| Value::Int(value.checked_shl(by).unwrap_or(0)))
}

pub(super) fn bitshr<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    shift(arguments).map(|(value, by)| Value::Int(value >> by.min(63)))
}

pub(super) fn bitushr<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    shift(arguments).map(|(value, by)| Value::Int((value as u64).checked_shr(by).unwrap_or(0) as i64))
}
