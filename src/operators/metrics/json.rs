//! What was summed up, as JSON with units and bounds.

use serde_json::{Map, Value, json};

use super::instrument::{Instrument, Number, Total};
use super::{Entry, Key, Totals};
use crate::data::{Element, Kind, Scalar};
use crate::output::histogram::{self, Interval};

/// One array with an object for each of the sums: `ig schema` describes it.
pub(super) fn values(instruments: &[Instrument], totals: &Totals) -> Value {
    totals
        .iter()
        .filter_map(|((index, _), entry)| Some(value(instruments.get(*index)?, entry)))
        .collect()
}

/// The values of `keys` in `element`.
pub(super) fn attributes(keys: &[Key], element: &Element) -> Map<String, Value> {
    let value = |key: &Key| match key.value.kind() {
        Kind::One(Scalar::Bool) => key.value.bool(element).into(),
        Kind::One(Scalar::Float32 | Scalar::Float64) => key.value.f64(element).into(),
        Kind::One(scalar) if scalar.is_integer() && scalar.is_signed() => key.value.i64(element).into(),
        Kind::One(scalar) if scalar.is_integer() => key.value.bits(element).into(),
        _ => String::from_utf8_lossy(key.value.text(element)).into(),
    };
    keys.iter().map(|key| (key.name.clone(), value(key))).collect()
}

fn value(instrument: &Instrument, entry: &Entry) -> Value {
    let mut object = Map::from_iter([
        ("name".to_owned(), instrument.name.as_str().into()),
        ("unit".to_owned(), instrument.unit.as_str().into()),
        ("attributes".to_owned(), entry.attributes.clone().into()),
    ]);
    let mut histogram = |buckets: Vec<Value>, counts: &[u64]| {
        let count = counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        object.insert("count".to_owned(), count.into());
        object.insert("buckets".to_owned(), buckets.into());
    };
    match &entry.total {
        Total::Buckets(bounds, counts) => histogram(of_bounds(bounds, counts), counts),
        Total::Slots(slots) => histogram(of_slots(slots), slots),
        Total::Sum(Number::Int(number)) | Total::Last(Number::Int(number)) => {
            object.insert("value".to_owned(), (*number).into());
        }
        Total::Sum(Number::Float(number)) | Total::Last(Number::Float(number)) => {
            object.insert("value".to_owned(), (*number).into());
        }
    }
    object.into()
}

/// The buckets between bounds. What is above the last one has no end.
fn of_bounds(bounds: &[f64], counts: &[u64]) -> Vec<Value> {
    let starts = std::iter::once(0.0).chain(bounds.iter().copied());
    let ends = bounds.iter().map(|bound| Value::from(*bound)).chain([Value::Null]);
    starts
        .zip(ends)
        .zip(counts)
        .map(|((start, end), count)| json!({"start": start, "end": end, "count": count}))
        .collect()
}

fn of_slots(slots: &[u64]) -> Vec<Value> {
    slots
        .iter()
        .enumerate()
        .map(|(slot, count)| histogram::interval(slot, *count))
        .map(|Interval { start, end, count }| json!({"start": start, "end": end, "count": count}))
        .collect()
}
