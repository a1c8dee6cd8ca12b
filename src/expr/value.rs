//! Values at run time.
//!
//! Scalars, and texts that belong to the element or to the expression, cost nothing to make. Lists and maps are shared, never
//! changed. What grows with the input is charged to a [`Budget`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::cidr::Prefixes;
use super::fault::{Fault, Outcome};

/// A value. Borrowed parts live as long as the element and the expression.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Uint(u64),
    /// Of a field of four bytes; its shortest digits differ from those of the same number in eight.
    Single(f32),
    Float(f64),
    Text(Bytes<'a>),
    List(Arc<List<'a>>),
    Map(Arc<Map<'a>>),
    Time(Arc<Zoned>),
    /// Nanoseconds.
    Duration(i64),
    Zone(TimeZone),
    Prefixes(Arc<Prefixes>),
}

/// The bytes of a text, which need not be UTF-8.
#[derive(Clone, Debug)]
pub(super) enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Shared(Arc<[u8]>),
}

impl std::ops::Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }
}

/// Items, and how deeply they are nested.
#[derive(Debug)]
pub(super) struct List<'a> {
    pub(super) items: Vec<Value<'a>>,
    depth: u32,
}

/// Entries in the order of their keys, and how deeply they are nested.
#[derive(Debug)]
pub(super) struct Map<'a> {
    pub(super) entries: BTreeMap<Key, Value<'a>>,
    depth: u32,
}

/// A value that can be a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Nil,
    Bool(bool),
    Int(i128),
    /// The bits.
    Float(u64),
    Text(Arc<[u8]>),
}

/// How deeply lists and maps may be nested; who walks them may recurse.
const MAX_DEPTH: u32 = 32;

/// What one evaluation may use: expressions run for every event, and must end soon and fit in memory whatever they say.
#[derive(Debug)]
pub(super) struct Budget {
    memory: usize,
    steps: usize,
}

impl Budget {
    /// Items of lists and bytes of texts.
    const MEMORY: usize = 1_000_000;
    /// Evaluations of predicates, comparisons of items and the like.
    const STEPS: usize = 10_000_000;

    pub(super) fn new() -> Self {
        Self {
            memory: Self::MEMORY,
            steps: Self::STEPS,
        }
    }

    /// A budget of other limits.
    pub(super) fn of(memory: usize, steps: usize) -> Self {
        Self { memory, steps }
    }

    /// Charges `amount` items or bytes that are about to be made.
    pub(super) fn memory(&mut self, amount: usize) -> Outcome<()> {
        self.memory = self
            .memory
            .checked_sub(amount)
            .ok_or_else(|| Fault::new("memory budget exceeded"))?;
        Ok(())
    }

    /// Charges `count` steps.
    pub(super) fn steps(&mut self, count: usize) -> Outcome<()> {
        self.steps = self
            .steps
            .checked_sub(count)
            .ok_or_else(|| Fault::new("time budget exceeded"))?;
        Ok(())
    }

    /// Charges the steps of looking at every byte of a text.
    pub(super) fn scan(&mut self, bytes: usize) -> Outcome<()> {
        self.steps(1 + bytes / 64)
    }
}

impl<'a> Value<'a> {
    /// A text that was just made.
    pub(super) fn text(bytes: Vec<u8>, budget: &mut Budget) -> Outcome<Self> {
        budget.memory(bytes.len())?;
        Ok(Value::Text(Bytes::Shared(bytes.into())))
    }

    pub(super) fn list(items: Vec<Value<'a>>, budget: &mut Budget) -> Outcome<Self> {
        budget.memory(items.len())?;
        let depth = nested(items.iter())?;
        Ok(Value::List(Arc::new(List { items, depth })))
    }

    pub(super) fn map(entries: BTreeMap<Key, Value<'a>>, budget: &mut Budget) -> Outcome<Self> {
        budget.memory(entries.len())?;
        let depth = nested(entries.values())?;
        Ok(Value::Map(Arc::new(Map { entries, depth })))
    }

    fn depth(&self) -> u32 {
        match self {
            Value::List(list) => list.depth,
            Value::Map(map) => map.depth,
            _ => 0,
        }
    }

    /// The same value, with texts borrowed from it where that saves counting.
    pub(super) fn borrow(&'a self) -> Value<'a> {
        match self {
            Value::Text(text) => Value::Text(Bytes::Borrowed(text)),
            other => other.clone(),
        }
    }

    /// The same value without anything borrowed.
    pub(super) fn into_static(self) -> Value<'static> {
        match self {
            Value::Nil => Value::Nil,
            Value::Bool(value) => Value::Bool(value),
            Value::Int(value) => Value::Int(value),
            Value::Uint(value) => Value::Uint(value),
            Value::Single(value) => Value::Single(value),
            Value::Float(value) => Value::Float(value),
            Value::Text(text) => Value::Text(Bytes::Shared(text.to_vec().into())),
            Value::List(list) => Value::List(Arc::new(List {
                items: list.items.iter().map(|item| item.clone().into_static()).collect(),
                depth: list.depth,
            })),
            Value::Map(map) => Value::Map(Arc::new(Map {
                entries: map
                    .entries
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone().into_static()))
                    .collect(),
                depth: map.depth,
            })),
            Value::Time(time) => Value::Time(time),
            Value::Duration(value) => Value::Duration(value),
            Value::Zone(zone) => Value::Zone(zone),
            Value::Prefixes(prefixes) => Value::Prefixes(prefixes),
        }
    }

    /// The name of the type, as messages have it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Single(_) | Value::Float(_) => "float",
            Value::Text(_) => "string",
            Value::List(_) => "array",
            Value::Map(_) => "map",
            Value::Time(_) => "time.Time",
            Value::Duration(_) => "time.Duration",
            Value::Zone(_) => "time.Location",
            Value::Prefixes(_) => "cidr",
        }
    }

    /// The integer, exactly.
    pub(super) fn integer(&self) -> Option<i128> {
        match self {
            Value::Int(value) => Some(i128::from(*value)),
            Value::Uint(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    /// The integer in 64 bits, in which arithmetic is done.
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            Value::Uint(value) => Some(*value as i64),
            _ => None,
        }
    }

    /// The number, rounded if it is an integer of many digits.
    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Uint(value) => Some(*value as f64),
            Value::Single(value) => Some(f64::from(*value)),
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The value as a key of a map.
    pub(super) fn key(&self) -> Outcome<Key> {
        Ok(match self {
            Value::Nil => Key::Nil,
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(i128::from(*value)),
            Value::Uint(value) => Key::Int(i128::from(*value)),
            // The two zeroes are equal.
            Value::Single(value) => Key::Float((f64::from(*value) + 0.0).to_bits()),
            Value::Float(value) => Key::Float((value + 0.0).to_bits()),
            Value::Text(Bytes::Shared(bytes)) => Key::Text(bytes.clone()),
            Value::Text(Bytes::Borrowed(bytes)) => Key::Text((*bytes).into()),
            other => {
                return Err(Fault::new(format!(
                    "value of type {} cannot be a key of a map",
                    other.type_name()
                )));
            }
        })
    }

    /// Whether the two are equal. Numbers of different types are compared as numbers; values of other different types differ.
    pub(super) fn equal(&self, other: &Value<'_>, budget: &mut Budget) -> Outcome<bool> {
        Ok(match (self, other) {
            (Value::Nil, Value::Nil) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => **a == **b,
            (Value::Time(a), Value::Time(b)) => a.timestamp() == b.timestamp(),
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Zone(a), Value::Zone(b)) => a == b,
            (Value::Prefixes(a), Value::Prefixes(b)) => a == b,
            (Value::List(a), Value::List(b)) => {
                budget.steps(a.items.len())?;
                if a.items.len() != b.items.len() {
                    return Ok(false);
                }
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !a.equal(b, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Map(a), Value::Map(b)) => {
                budget.steps(a.entries.len())?;
                if a.entries.len() != b.entries.len() {
                    return Ok(false);
                }
                for ((key, a), (other, b)) in a.entries.iter().zip(&b.entries) {
                    if key != other || !a.equal(b, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => match (self.integer(), other.integer()) {
                (Some(a), Some(b)) => a == b,
                _ => matches!((self.float(), other.float()), (Some(a), Some(b)) if a == b),
            },
        })
    }

    /// How the two are ordered; none for numbers that are not comparable (NaN).
    pub(super) fn compare(&self, other: &Value<'_>) -> Outcome<Option<std::cmp::Ordering>> {
        Ok(match (self, other) {
            (Value::Text(a), Value::Text(b)) => Some((**a).cmp(&**b)),
            (Value::Time(a), Value::Time(b)) => Some(a.timestamp().cmp(&b.timestamp())),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            _ => match (self.integer(), other.integer()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => match (self.float(), other.float()) {
                    (Some(a), Some(b)) => a.partial_cmp(&b),
                    _ => {
                        return Err(Fault::new(format!(
                            "invalid operation: {} < {}",
                            self.type_name(),
                            other.type_name()
                        )));
                    }
                },
            },
        })
    }
}

impl Key {
    pub(super) fn to_value(&self) -> Value<'static> {
        match self {
            Key::Nil => Value::Nil,
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(value) => i64::try_from(*value).map_or_else(|_| Value::Uint(*value as u64), Value::Int),
            Key::Float(bits) => Value::Float(f64::from_bits(*bits)),
            Key::Text(text) => Value::Text(Bytes::Shared(text.clone())),
        }
    }
}

fn nested<'v, 'a: 'v>(items: impl Iterator<Item = &'v Value<'a>>) -> Outcome<u32> {
    let depth = 1 + items.map(Value::depth).max().unwrap_or(0);
    if depth > MAX_DEPTH {
        return Err(Fault::new(format!(
            "value is nested too deeply (at most {MAX_DEPTH} levels)"
        )));
    }
    Ok(depth)
}
