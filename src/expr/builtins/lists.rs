//! Built-ins on lists and maps.

use std::collections::BTreeMap;

use super::{integer, list, text, unsuitable};
use crate::expr::fault::{Fault, Outcome};
use crate::expr::operators;
use crate::expr::value::{Budget, Map, Value};
use crate::text::go_quote;

type Answer<'a> = Outcome<Value<'a>>;

/// Characters of a text, items of a list, entries of a map.
pub(super) fn len<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let len = match arguments.first() {
        Some(Value::Text(text)) => {
            budget.scan(text.len())?;
            characters(text)
        }
        Some(Value::List(list)) => list.items.len(),
        Some(Value::Map(map)) => map.entries.len(),
        other => {
            return Err(Fault::new(format!(
                "invalid argument for len (type {})",
                other.map_or("nil", Value::type_name)
            )));
        }
    };
    Ok(Value::Int(len as i64))
}

fn characters(text: &[u8]) -> usize {
    text.utf8_chunks()
        .map(|chunk| chunk.valid().chars().count() + chunk.invalid().len())
        .sum()
}

pub(super) fn first<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(list(arguments, 0)?.first().cloned().unwrap_or(Value::Nil))
}

pub(super) fn last<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(list(arguments, 0)?.last().cloned().unwrap_or(Value::Nil))
}

/// Like `[]`, but nil for what is not there.
pub(super) fn get<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    match arguments {
        [of @ (Value::List(_) | Value::Map(_)), key] => Ok(operators::member(of, key).unwrap_or(Value::Nil)),
        [Value::Nil, _] => Ok(Value::Nil),
        _ => Err(Fault::new(format!(
            "type {} does not support indexing",
            arguments.first().map_or("nil", Value::type_name)
        ))),
    }
}

pub(super) fn take<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let items = list(arguments, 0)?;
    let count = integer(arguments, 1)?;
    let count = usize::try_from(count)
        .map_err(|_| Fault::new(format!("cannot take {count} elements")))?
        .min(items.len());
    Value::list(items[..count].to_vec(), budget)
}

pub(super) fn reverse<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    Value::list(list(arguments, 0)?.iter().rev().cloned().collect(), budget)
}

/// Each item once, where it is first.
pub(super) fn uniq<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let mut seen = std::collections::BTreeSet::new();
    let mut unique: Vec<Value<'a>> = Vec::new();
    for item in list(arguments, 0)? {
        budget.steps(1)?;
        let new = match item.key() {
            Ok(key) => seen.insert(key),
            Err(_) => !contains(&unique, item, budget)?,
        };
        if new {
            unique.push(item.clone());
        }
    }
    Value::list(unique, budget)
}

fn contains(items: &[Value<'_>], wanted: &Value<'_>, budget: &mut Budget) -> Outcome<bool> {
    budget.steps(items.len())?;
    for item in items {
        if item.equal(wanted, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn concat<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let mut all = Vec::new();
    for i in 0..arguments.len() {
        let items = list(arguments, i)?;
        budget.memory(items.len())?;
        all.extend_from_slice(items);
    }
    Value::list(all, &mut Budget::new())
}

pub(super) fn flatten<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let mut flat = Vec::new();
    flatten_into(list(arguments, 0)?, &mut flat, budget)?;
    Value::list(flat, &mut Budget::new())
}

fn flatten_into<'a>(items: &[Value<'a>], flat: &mut Vec<Value<'a>>, budget: &mut Budget) -> Outcome<()> {
    // Lists that hold nothing cost, too.
    budget.steps(1 + items.len())?;
    for item in items {
        match item {
            Value::List(list) => flatten_into(&list.items, flat, budget)?,
            other => {
                budget.memory(1)?;
                flat.push(other.clone());
            }
        }
    }
    Ok(())
}

pub(super) fn sort<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let descending = match arguments.len() {
        1 => false,
        _ => is_descending(text(arguments, 1)?)?,
    };
    let items = list(arguments, 0)?;
    let keys = items.to_vec();
    sorted(
        keys.into_iter().map(|item| (item.clone(), item)).collect(),
        descending,
        budget,
    )
}

/// Reads `asc` or `desc`.
pub(super) fn is_descending(order: &[u8]) -> Outcome<bool> {
    match order {
        b"asc" => Ok(false),
        b"desc" => Ok(true),
        other => Err(Fault::new(format!(
            "invalid order {}, expected asc or desc",
            go_quote(&String::from_utf8_lossy(other))
        ))),
    }
}

/// The second of each pair in the order of the first, equal ones as they were.
pub(super) fn sorted<'a>(mut pairs: Vec<(Value<'a>, Value<'a>)>, descending: bool, budget: &mut Budget) -> Answer<'a> {
    budget.steps(pairs.len() * 20)?;
    // Only what has one order for all may be sorted; integers and floating point numbers together have none.
    let float = pairs.iter().any(|(key, _)| key.integer().is_none());
    if let Some(((first, _), rest)) = pairs.split_first() {
        for (key, _) in rest {
            first.compare(key)?;
        }
        if rest.is_empty() {
            first.compare(first)?;
        }
    }
    pairs.sort_by(|(a, _), (b, _)| {
        let ordering = match (a.float(), b.float()) {
            (Some(a), Some(b)) if float => a.total_cmp(&b),
            _ => a.compare(b).ok().flatten().unwrap_or(std::cmp::Ordering::Equal),
        };
        if descending { ordering.reverse() } else { ordering }
    });
    Value::list(pairs.into_iter().map(|(_, item)| item).collect(), budget)
}

fn map<'v, 'a>(arguments: &'v [Value<'a>]) -> Outcome<&'v Map<'a>> {
    match arguments.first() {
        Some(Value::Map(map)) => Ok(map),
        _ => Err(unsuitable(arguments, 0, "map")),
    }
}

pub(super) fn keys<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let keys = map(arguments)?.entries.keys().map(|key| key.to_value()).collect();
    Value::list(keys, budget)
}

pub(super) fn values<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    Value::list(map(arguments)?.entries.values().cloned().collect(), budget)
}

pub(super) fn to_pairs<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let mut pairs = Vec::new();
    for (key, value) in &map(arguments)?.entries {
        pairs.push(Value::list(vec![key.to_value(), value.clone()], budget)?);
    }
    Value::list(pairs, budget)
}

pub(super) fn from_pairs<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let mut entries = BTreeMap::new();
    for pair in list(arguments, 0)? {
        let Value::List(pair) = pair else {
            return Err(Fault::new(format!("invalid pair {}", pair.type_name())));
        };
        let [key, value] = &pair.items[..] else {
            return Err(Fault::new(format!("invalid pair length {}", pair.items.len())));
        };
        entries.insert(key.key()?, value.clone());
    }
    Value::map(entries, budget)
}
