//! Built-ins that evaluate something for each item of a list.

use std::collections::BTreeMap;

use super::Argument;
use super::lists::{is_descending, sorted};
use crate::expr::fault::{Fault, Outcome};
use crate::expr::plan::{Frame, Plan, Scope};
use crate::expr::value::{Key, Value};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::expr) enum EachKind {
    All,
    None,
    Any,
    One,
    Filter,
    Map,
    Find,
    FindIndex,
    FindLast,
    FindLastIndex,
    Count,
    Sum,
    GroupBy,
    SortBy,
    Reduce,
}

impl EachKind {
    pub(super) fn arguments(self) -> (&'static [Argument], usize) {
        use Argument::{Predicate, Value};
        match self {
            EachKind::Count | EachKind::Sum => (&[Value, Predicate], 1),
            EachKind::SortBy | EachKind::Reduce => (&[Value, Predicate, Value], 2),
            _ => (&[Value, Predicate], 2),
        }
    }

    /// Whether what is evaluated must be a truth value.
    pub(in crate::expr) fn tests(self) -> bool {
        !matches!(
            self,
            EachKind::Map | EachKind::Sum | EachKind::GroupBy | EachKind::SortBy | EachKind::Reduce
        )
    }
}

/// A call of one of them.
#[derive(Debug)]
pub(in crate::expr) struct Each {
    pub(in crate::expr) kind: EachKind,
    pub(in crate::expr) list: Plan,
    /// `#` if left out.
    pub(in crate::expr) body: Plan,
    /// The order of `sortBy`, the first accumulator of `reduce`.
    pub(in crate::expr) extra: Option<Plan>,
    pub(in crate::expr) at: u32,
}

impl Each {
    #[inline(never)]
    pub(in crate::expr) fn value<'a>(&'a self, frame: &mut Frame<'a>) -> Outcome<Value<'a>> {
        let list = match self.list.value(frame)? {
            Value::List(list) => list,
            other => {
                let name = other.type_name();
                return Err(Fault::new(format!("builtin takes only array (got {name})")).at(self.at));
            }
        };
        let items = &list.items[..];
        let depth = frame.scopes.len();
        let value = self.over(items, frame);
        // An error may have left the scope of a predicate behind.
        frame.scopes.truncate(depth);
        value.map_err(|fault| fault.at(self.at))
    }

    fn over<'a>(&'a self, items: &[Value<'a>], frame: &mut Frame<'a>) -> Outcome<Value<'a>> {
        match self.kind {
            EachKind::All => Ok(Value::Bool(self.find(items, frame, false)?.is_none())),
            EachKind::None => Ok(Value::Bool(self.find(items, frame, true)?.is_none())),
            EachKind::Any => Ok(Value::Bool(self.find(items, frame, true)?.is_some())),
            EachKind::One => Ok(Value::Bool(self.matching(items, frame)?.len() == 1)),
            EachKind::Count => Ok(Value::Int(self.matching(items, frame)?.len() as i64)),
            EachKind::Filter => {
                let matching = self.matching(items, frame)?;
                Value::list(
                    matching.into_iter().map(|i| items[i].clone()).collect(),
                    &mut frame.budget,
                )
            }
            EachKind::Map => {
                let mapped = self.each(items, frame)?;
                Value::list(mapped, &mut frame.budget)
            }
            EachKind::Find => Ok(self.find(items, frame, true)?.map_or(Value::Nil, |i| items[i].clone())),
            EachKind::FindIndex => Ok(position(self.find(items, frame, true)?)),
            EachKind::FindLast => Ok(self.find_last(items, frame)?.map_or(Value::Nil, |i| items[i].clone())),
            EachKind::FindLastIndex => Ok(position(self.find_last(items, frame)?)),
            EachKind::Sum => self.sum(items, frame),
            EachKind::GroupBy => self.group(items, frame),
            EachKind::SortBy => {
                let descending = match &self.extra {
                    Some(order) => is_descending(&order.bytes(frame)?)?,
                    None => false,
                };
                let keys = self.each(items, frame)?;
                frame.budget.memory(keys.len())?;
                sorted(
                    keys.into_iter().zip(items.iter().cloned()).collect(),
                    descending,
                    &mut frame.budget,
                )
            }
            EachKind::Reduce => self.reduce(items, frame),
        }
    }

    /// Evaluates the predicate for one item.
    fn with<'a, T>(
        frame: &mut Frame<'a>,
        item: &Value<'a>,
        index: usize,
        accumulator: Value<'a>,
        evaluate: impl FnOnce(&mut Frame<'a>) -> Outcome<T>,
    ) -> Outcome<T> {
        frame.budget.steps(1)?;
        frame.scopes.push(Scope {
            item: item.clone(),
            index,
            accumulator,
        });
        let value = evaluate(frame)?;
        frame.scopes.pop();
        Ok(value)
    }

    fn test<'a>(&'a self, frame: &mut Frame<'a>, item: &Value<'a>, index: usize) -> Outcome<bool> {
        Self::with(frame, item, index, Value::Nil, |frame| self.body.test(frame))
    }

    /// The first item for which the predicate is as `wanted`.
    fn find<'a>(&'a self, items: &[Value<'a>], frame: &mut Frame<'a>, wanted: bool) -> Outcome<Option<usize>> {
        for (i, item) in items.iter().enumerate() {
            if self.test(frame, item, i)? == wanted {
                return Ok(Some(i));
            }
        }
        Ok(None)
    }

    fn find_last<'a>(&'a self, items: &[Value<'a>], frame: &mut Frame<'a>) -> Outcome<Option<usize>> {
        for (i, item) in items.iter().enumerate().rev() {
            if self.test(frame, item, i)? {
                return Ok(Some(i));
            }
        }
        Ok(None)
    }

    fn matching<'a>(&'a self, items: &[Value<'a>], frame: &mut Frame<'a>) -> Outcome<Vec<usize>> {
        let mut matching = Vec::new();
        for (i, item) in items.iter().enumerate() {
            if self.test(frame, item, i)? {
                matching.push(i);
            }
        }
        Ok(matching)
    }

    fn each<'a>(&'a self, items: &[Value<'a>], frame: &mut Frame<'a>) -> Outcome<Vec<Value<'a>>> {
        let mut values = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            values.push(Self::with(frame, item, i, Value::Nil, |frame| self.body.value(frame))?);
        }
        Ok(values)
    }

    fn sum<'a>(&'a self, items: &[Value<'a>], frame: &mut Frame<'a>) -> Outcome<Value<'a>> {
        let (mut integers, mut floats, mut any_float) = (0_i64, 0.0, false);
        for (i, item) in items.iter().enumerate() {
            let value = Self::with(frame, item, i, Value::Nil, |frame| self.body.value(frame))?;
            match (value.int(), value.float()) {
                (Some(int), _) => integers = integers.wrapping_add(int),
                (None, Some(float)) => {
                    any_float = true;
                    floats += float;
                }
                (None, None) => {
                    return Err(Fault::new(format!("invalid operation: int + {}", value.type_name())));
                }
            }
        }
        Ok(if any_float {
            Value::Float(floats + integers as f64)
        } else {
            Value::Int(integers)
        })
    }

    fn group<'a>(&'a self, items: &[Value<'a>], frame: &mut Frame<'a>) -> Outcome<Value<'a>> {
        let mut groups: BTreeMap<Key, Vec<Value<'a>>> = BTreeMap::new();
        for (key, item) in self.each(items, frame)?.into_iter().zip(items) {
            groups.entry(key.key()?).or_default().push(item.clone());
        }
        let budget = &mut frame.budget;
        let groups = groups
            .into_iter()
            .map(|(key, items)| Ok((key, Value::list(items, budget)?)))
            .collect::<Outcome<_>>()?;
        Value::map(groups, budget)
    }

    fn reduce<'a>(&'a self, items: &[Value<'a>], frame: &mut Frame<'a>) -> Outcome<Value<'a>> {
        let (mut accumulator, skip) = match (&self.extra, items.first()) {
            (Some(first), _) => (first.value(frame)?, 0),
            (None, Some(first)) => (first.clone(), 1),
            (None, None) => return Err(Fault::new("reduce of empty array with no initial value")),
        };
        for (i, item) in items.iter().enumerate().skip(skip) {
            accumulator = Self::with(frame, item, i, accumulator, |frame| self.body.value(frame))?;
        }
        Ok(accumulator)
    }
}

fn position(found: Option<usize>) -> Value<'static> {
    Value::Int(found.map_or(-1, |i| i as i64))
}
