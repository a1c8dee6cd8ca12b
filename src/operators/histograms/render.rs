//! What the histograms of one data source look like: the text, and JSON with bounds and units.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::data::{Accessor, Element, Kind, Scalar};
use crate::output::histogram::{self, Interval};

/// A field whose arrays are the counts of a histogram.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) unit: String,
}

/// A field that tells histograms apart.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) accessor: Accessor,
}

/// One histogram.
#[derive(Debug)]
pub(super) struct Counted {
    /// The values of the keys.
    pub(super) attributes: Map<String, Value>,
    pub(super) slots: Vec<u64>,
}

/// The histograms by the index of their field and the bytes of their keys.
pub(super) type Counts = BTreeMap<(usize, Vec<u8>), Counted>;

/// How they are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    #[default]
    Text,
    Json,
    JsonPretty,
}

impl Form {
    /// All histograms of one data source as they are now.
    pub(super) fn render(self, fields: &[Measured], counts: &Counts) -> String {
        match self {
            Form::Text => text(fields, counts),
            Form::Json => format!("{}\n", values(fields, counts)),
            Form::JsonPretty => format!("{:#}\n", values(fields, counts)),
        }
    }
}

/// The values of `keys` in `element`.
pub(super) fn attributes(keys: &[Key], element: &Element) -> Map<String, Value> {
    let value = |accessor: &Accessor| match accessor.kind() {
        Kind::One(Scalar::Bool) => accessor.bool(element).into(),
        Kind::One(Scalar::Float32 | Scalar::Float64) => accessor.f64(element).into(),
        Kind::One(scalar) if scalar.is_integer() && scalar.is_signed() => accessor.i64(element).into(),
        Kind::One(scalar) if scalar.is_integer() => accessor.bits(element).into(),
        _ => String::from_utf8_lossy(accessor.text(element)).into(),
    };
    keys.iter()
        .map(|key| (key.name.clone(), value(&key.accessor)))
        .collect()
}

/// The intervals as the text has them: slot `i` stands at the bound 2^i, as if all its values were the smallest of them.
fn intervals(slots: &[u64]) -> Vec<Interval> {
    let bound = |slot: usize| {
        u32::try_from(slot)
            .ok()
            .and_then(|slot| 1_u64.checked_shl(slot))
            .unwrap_or(u64::MAX)
    };
    slots
        .iter()
        .enumerate()
        .map(|(slot, count)| Interval {
            start: slot.checked_sub(1).map_or(0, bound),
            end: bound(slot),
            count: *count,
        })
        .collect()
}

fn text(fields: &[Measured], counts: &Counts) -> String {
    let mut text = String::new();
    for (index, Measured { name, unit }) in fields.iter().enumerate() {
        let mut of_field = counts
            .range((index, Vec::new())..)
            .take_while(|((field, _), _)| *field == index)
            .peekable();
        if of_field.peek().is_some() {
            text.push_str(name);
            text.push('\n');
        }
        for (_, counted) in of_field {
            histogram::append(unit, &intervals(&counted.slots), &mut text);
            text.push('\n');
        }
    }
    text
}

fn values(fields: &[Measured], counts: &Counts) -> Value {
    let histogram = |((index, _), counted): (&(usize, Vec<u8>), &Counted)| {
        let Measured { name, unit } = fields.get(*index)?;
        let buckets: Vec<Value> = counted
            .slots
            .iter()
            .enumerate()
            .map(|(slot, count)| histogram::interval(slot, *count))
            .map(|Interval { start, end, count }| json!({"start": start, "end": end, "count": count}))
            .collect();
        let count = counted
            .slots
            .iter()
            .fold(0, |sum: u64, count| sum.saturating_add(*count));
        Some(json!({
            "name": name,
            "unit": unit,
            "attributes": counted.attributes,
            "count": count,
            "buckets": buckets,
        }))
    };
    counts.iter().filter_map(histogram).collect()
}
