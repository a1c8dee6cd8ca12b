//! `--sort`: the order of the elements of an array.
//!
//! Rules are separated by `;`, each `[ds:]field1,field2,…`, `-field` for descending. The order is that of stable sorts by one
//! field after the other, the last field first, where a descending one leaves exactly the reverse of what an ascending one would. So
//! elements that are equal by a descending field come out in reversed order, be it that of later fields or that of arrival.
//!
//! The same order is made here in one go: each field counts in the direction that the descending fields before it, itself included,
//! turn it to, and at last the position of arrival counts.

use std::cmp::Ordering;

use super::{Context, Explanation, Instance, OperatorNote, priority};
use crate::data::{Accessor, DataSource, Element, FieldId, Flow, Kind, Scalar, SourceType};
use crate::metadata::params::typed::go_quote;
use crate::metadata::params::{Param, ParamValues};
use crate::text::{did_you_mean, nearest};
use crate::{Error, Result, ResultExt};

const PARAM_PREFIX: &str = "operator.sort.";
const KEY: &str = "sort";

/// The sorting of one gadget.
#[derive(Debug)]
pub struct Sort {
    orders: Vec<(usize, Vec<Key>)>,
}

/// One field to sort by.
#[derive(Clone, Copy, Debug)]
struct Key {
    field: FieldId,
    accessor: Accessor,
    values: Values,
    descending: bool,
}

/// How values are compared.
#[derive(Clone, Copy, Debug)]
enum Values {
    Signed,
    Unsigned,
    Float,
    Text,
}

impl Key {
    fn new(source: &DataSource, name: &str) -> Result<Self> {
        let (name, descending) = match name.strip_prefix('-') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let Some(field) = source.find(name) else {
            let error = Error::not_found(format!("field {name} not found"));
            let names = source
                .fields()
                .filter(|(_, field)| !field.is_unreferenced() && Values::of(field.kind()).is_some())
                .map(|(_, field)| (field.full_name(), field.name()));
            return Err(match did_you_mean(&nearest(name, names)) {
                Some(hint) => error.with_hint(hint),
                None => error,
            });
        };
        let values = Values::of(source.get(field).kind())
            .ok_or_else(|| Error::invalid(format!("field {name} cannot be used for sorting")))?;
        Ok(Self {
            field,
            accessor: source.accessor(field),
            values,
            descending,
        })
    }

    #[inline]
    fn compare(&self, a: &Element, b: &Element) -> Ordering {
        let accessor = &self.accessor;
        match self.values {
            Values::Signed => (accessor.bits(a) as i64).cmp(&(accessor.bits(b) as i64)),
            Values::Unsigned => accessor.bits(a).cmp(&accessor.bits(b)),
            Values::Float => {
                let (a, b) = (accessor.f64(a), accessor.f64(b));
                // What is no number comes last.
                a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
            }
            Values::Text => accessor.text(a).cmp(accessor.text(b)),
        }
    }
}

impl Values {
    fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::One(Scalar::String | Scalar::CString) => Some(Values::Text),
            Kind::One(Scalar::Float32 | Scalar::Float64) => Some(Values::Float),
            Kind::One(scalar) if scalar.is_signed() => Some(Values::Signed),
            Kind::One(scalar) if scalar.is_integer() => Some(Values::Unsigned),
            _ => None,
        }
    }
}

/// Sorts arrays by the same keys again and again.
#[derive(Debug)]
struct Sorter {
    keys: Vec<Key>,
    /// Positions of arrival in the new order; kept for its memory.
    order: Vec<u32>,
}

impl Sorter {
    fn sort(&mut self, elements: &mut [Element]) {
        let Self { keys, order } = self;
        order.clear();
        order.extend(0..elements.len() as u32);
        order.sort_unstable_by(|a, b| {
            let (first, second) = (&elements[*a as usize], &elements[*b as usize]);
            let mut reversed = false;
            for key in &*keys {
                reversed ^= key.descending;
                let ordering = key.compare(first, second);
                if ordering.is_ne() {
                    return if reversed { ordering.reverse() } else { ordering };
                }
            }
            let ordering = a.cmp(b);
            if reversed { ordering.reverse() } else { ordering }
        });
        // Each element is brought to its place along the cycle that it is in; a place that is done says so by its own number.
        for start in 0..order.len() {
            let mut place = start;
            loop {
                let from = order[place] as usize;
                order[place] = place as u32;
                if from == start {
                    break;
                }
                elements.swap(place, from);
                place = from;
            }
        }
    }
}

/// The fields to sort by, with the data source that they are for.
type Rule<'t> = (Option<&'t str>, Vec<&'t str>);

/// The rules of a `--sort` value.
fn rules(value: &str) -> Result<Vec<Rule<'_>>> {
    let mut rules = Vec::new();
    for rule in value.split(';') {
        let parts: Vec<&str> = rule.split(':').collect();
        let (source, list) = match parts[..] {
            [source, list] => (Some(source), list),
            [list, ..] => (None, list),
            [] => continue,
        };
        let fields: Vec<&str> = list.split(',').collect();
        // An empty first name makes the rule an empty one, unless enough follows.
        if fields.first().is_none_or(|first| first.is_empty()) && fields.len() <= 2 {
            continue;
        }
        rules.push((source, fields));
    }
    let with_source = rules.iter().filter(|(source, _)| source.is_some()).count();
    if with_source > 0 && with_source < rules.len() {
        return Err(Error::invalid(
            "mixing sorting rules with and without specifying data source",
        ));
    }
    Ok(rules)
}

impl Sort {
    /// `None` if no referenced data source has arrays.
    pub fn instantiate(context: &mut Context) -> Option<Self> {
        let has_array = context
            .referenced()
            .any(|(_, stream)| stream.source.source_type() == SourceType::Array);
        has_array.then(|| Self { orders: Vec::new() })
    }

    fn compile(&mut self, value: &str, context: &mut Context) -> Result<()> {
        let rules = rules(value)?;
        for name in rules.iter().filter_map(|(source, _)| *source) {
            if !context.referenced().any(|(_, stream)| stream.source.name() == name) {
                tracing::warn!("sort: there is no data source {}: its rule is ignored", go_quote(name));
            }
        }
        for (index, stream) in context.referenced() {
            let source = &stream.source;
            let fields: Vec<&str> = rules
                .iter()
                .filter(|(of, _)| of.is_none_or(|of| of == source.name()))
                .flat_map(|(_, fields)| fields.iter().copied())
                .collect();
            if fields.is_empty() {
                continue;
            }
            if source.source_type() != SourceType::Array {
                return Err(Error::invalid("sort can only be used on array data sources"));
            }
            let keys = fields
                .iter()
                .map(|name| Key::new(source, name))
                .collect::<Result<Vec<Key>>>()?;
            self.orders.push((index, keys));
        }
        Ok(())
    }
}

impl Instance for Sort {
    fn name(&self) -> &'static str {
        "sort"
    }

    fn priority(&self) -> i32 {
        priority::instance::SORT
    }

    fn params(&self) -> Vec<Param> {
        vec![Param {
            prefix: PARAM_PREFIX.to_owned(),
            title: "Sort By".to_owned(),
            ..Param::new(KEY)
                .description(
                    "Fields to sort by, separated by commas, `-field` for descending; of one data source `ds:field`, several \
                     separated by semicolons",
                )
                .tag("group:Data Filtering")
        }]
    }

    fn configure(&mut self, values: &ParamValues, context: &mut Context) -> Result<()> {
        let value = values.get(&format!("{PARAM_PREFIX}{KEY}")).unwrap_or_default();
        self.compile(value, context)
            .context("pre-starting operator \"sort\"")
            .context("pre-starting operators")
    }

    fn demand(&self, context: &mut Context) {
        for (index, keys) in &self.orders {
            keys.iter()
                .for_each(|key| context.streams[*index].demand.add(key.field));
        }
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for (index, keys) in self.orders.drain(..) {
            let mut sorter = Sorter {
                keys,
                order: Vec::new(),
            };
            context.streams[index]
                .pipeline
                .subscribe_array(priority::subscription::SORT, move |elements| {
                    sorter.sort(elements);
                    Ok(Flow::Continue)
                });
        }
        Ok(())
    }

    fn explain(&self, context: &Context, to: &mut Explanation) {
        let orders: Vec<String> = self
            .orders
            .iter()
            .map(|(index, keys)| {
                let source = &context.streams[*index].source;
                let keys: Vec<String> = keys
                    .iter()
                    .map(|key| {
                        let sign = if key.descending { "-" } else { "" };
                        format!("{sign}{}", source.get(key.field).full_name())
                    })
                    .collect();
                format!("{} by {}", source.name(), keys.join(", "))
            })
            .collect();
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: !orders.is_empty(),
            why: if orders.is_empty() {
                "--sort names no field".to_owned()
            } else {
                orders.join("; ")
            },
        });
    }
}

#[cfg(test)]
mod tests;
