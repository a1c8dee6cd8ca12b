//! Instruments: what the values of a field are summed up to.

use std::sync::Arc;

use crate::data::{Accessor, DataSource, Element, FieldId, Kind, Scalar};
use crate::metadata::params::typed::{go_quote, parse_float};
use crate::output::histogram;
use crate::{Error, Result, ResultExt};

/// Upper bounds of the buckets of a histogram that says none.
const DEFAULT_BOUNDS: [f64; 15] = [
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0,
];

/// What a field is for: what its annotation says, else what its type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One of the values that tell sums apart.
    Key,
    Counter,
    Gauge,
    Histogram,
}

impl Role {
    pub(super) fn of(source: &DataSource, id: FieldId) -> Option<Self> {
        let field = source.get(id);
        match field.annotation("metrics.type").unwrap_or_default() {
            "key" => return Some(Self::Key),
            "counter" => return Some(Self::Counter),
            "gauge" => return Some(Self::Gauge),
            "histogram" => return Some(Self::Histogram),
            "" => {}
            _ => return None,
        }
        [
            ("histogram_slot", Self::Histogram),
            ("counter", Self::Counter),
            ("gauge", Self::Gauge),
        ]
        .into_iter()
        .find(|(name, _)| {
            [32, 64]
                .iter()
                .any(|bits| field.has_tag(&format!("type:gadget_{name}__u{bits}")))
        })
        .map(|(_, role)| role)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A number as its field has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
        }
    }
}

/// What the elements with the same keys came to so far.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Total {
    /// The sum of all values.
    Sum(Number),
    /// The last value.
    Last(Number),
    /// How many values were at most each bound and above the one before, and last, how many were above all.
    Buckets(Arc<[f64]>, Vec<u64>),
    /// The sum of the slots of a histogram that comes as an array.
    Slots(Vec<u64>),
}

/// One thing that is summed up.
#[derive(Clone, Debug)]
pub(super) struct Instrument {
    pub(super) name: String,
    pub(super) unit: String,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Sum(Accessor),
    Last(Accessor),
    Buckets(Accessor, Arc<[f64]>),
    Slots(Accessor),
    /// Elements are counted.
    Elements,
}

impl Instrument {
    /// The instrument of a field; `None` for keys, and for what has no role.
    ///
    /// # Errors
    ///
    /// A kind that cannot be summed up, bounds that are no numbers.
    pub(super) fn of(source: &DataSource, id: FieldId) -> Result<Option<Self>> {
        let Some(role) = Role::of(source, id).filter(|role| *role != Role::Key) else {
            return Ok(None);
        };
        let field = source.get(id);
        let text = |key: &str| field.annotation(key).filter(|text| !text.is_empty());
        let name = text("metrics.name").unwrap_or(field.full_name()).to_owned();
        let adding = || format!("adding {} for {}", role.name(), go_quote(field.full_name()));
        let accessor = source.accessor(id);
        let way = match (role, field.kind()) {
            (Role::Histogram, Kind::Array(Scalar::Uint32 | Scalar::Uint64)) => Way::Slots(accessor),
            (_, Kind::One(scalar)) if scalar.is_integer() || is_float(scalar) => match role {
                Role::Histogram => Way::Buckets(accessor, bounds(text("metrics.boundaries")).with_context(adding)?),
                Role::Gauge => Way::Last(accessor),
                _ => Way::Sum(accessor),
            },
            (_, kind) => {
                return Err(Error::invalid(format!(
                    "unsupported field type for metrics value {}: {kind}",
                    go_quote(&name)
                ))
                .context(adding()));
            }
        };
        Ok(Some(Self {
            name,
            unit: text("metrics.unit").unwrap_or_default().to_owned(),
            way,
        }))
    }

    /// Counts elements.
    pub(super) fn of_elements(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            unit: String::new(),
            way: Way::Elements,
        }
    }

    /// What it is before the first element.
    pub(super) fn start(&self) -> Total {
        match &self.way {
            Way::Sum(accessor) => Total::Sum(zero(accessor)),
            Way::Last(accessor) => Total::Last(zero(accessor)),
            Way::Buckets(_, bounds) => Total::Buckets(Arc::clone(bounds), vec![0; bounds.len() + 1]),
            Way::Slots(_) => Total::Slots(Vec::new()),
            Way::Elements => Total::Sum(Number::Int(0)),
        }
    }

    /// Takes one element in. `total` is one of [`start`](Self::start).
    pub(super) fn add(&self, element: &Element, total: &mut Total) {
        match (&self.way, total) {
            (Way::Sum(accessor), Total::Sum(sum)) => *sum = plus(*sum, number(accessor, element)),
            (Way::Elements, Total::Sum(sum)) => *sum = plus(*sum, Number::Int(1)),
            (Way::Last(accessor), Total::Last(last)) => *last = number(accessor, element),
            (Way::Buckets(accessor, _), Total::Buckets(bounds, counts)) => {
                let value = match number(accessor, element) {
                    Number::Int(number) => number as f64,
                    Number::Float(number) => number,
                };
                let bucket = bounds.partition_point(|bound| *bound < value);
                if let Some(count) = counts.get_mut(bucket) {
                    *count = count.saturating_add(1);
                }
            }
            (Way::Slots(accessor), Total::Slots(slots)) => {
                for (slot, new) in histogram::counts(accessor.kind(), accessor.bytes(element)).enumerate() {
                    match slots.get_mut(slot) {
                        Some(known) => *known = known.saturating_add(new),
                        None => slots.push(new),
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_float(scalar: Scalar) -> bool {
    matches!(scalar, Scalar::Float32 | Scalar::Float64)
}

fn zero(accessor: &Accessor) -> Number {
    match accessor.kind() {
        Kind::One(scalar) if is_float(scalar) => Number::Float(0.0),
        _ => Number::Int(0),
    }
}

fn number(accessor: &Accessor, element: &Element) -> Number {
    match zero(accessor) {
        Number::Int(_) => Number::Int(accessor.i64(element)),
        Number::Float(_) => Number::Float(accessor.f64(element)),
    }
}

fn plus(one: Number, other: Number) -> Number {
    match (one, other) {
        (Number::Int(one), Number::Int(other)) => Number::Int(one.saturating_add(other)),
        (Number::Float(one), Number::Float(other)) => Number::Float(one + other),
        // All values of a field are of one kind.
        (one, _) => one,
    }
}

/// The bounds that `list` says, in ascending order.
fn bounds(list: Option<&str>) -> Result<Arc<[f64]>> {
    let Some(list) = list else {
        return Ok(DEFAULT_BOUNDS.into());
    };
    let parse = |text: &str| parse_float(text.trim(), 64).with_context(|| format!("invalid value: {}", go_quote(text)));
    let mut bounds: Vec<f64> = list.split(',').map(parse).collect::<Result<_>>()?;
    bounds.sort_by(f64::total_cmp);
    Ok(bounds.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{NewField, SourceType};

    /// What values of a field with these annotations come to.
    fn total(kind: Scalar, annotations: &[(&str, &str)], values: impl IntoIterator<Item = u64>) -> Total {
        let mut source = DataSource::new("s", SourceType::Single, None);
        let id = source.add_field(NewField::new("n", kind)).unwrap();
        for (key, value) in annotations {
            source.annotate_field(id, *key, *value);
        }
        let instrument = Instrument::of(&source, id).unwrap().unwrap();
        let mut total = instrument.start();
        let mut element = Element::new(source.layout());
        for value in values {
            source.accessor(id).set_bits(&mut element, value);
            instrument.add(&element, &mut total);
        }
        total
    }

    /// Acceptance check E2 of the data specification.
    #[test]
    fn e2_counters_add_and_gauges_keep_the_last() {
        for kind in [Scalar::Uint32, Scalar::Int64, Scalar::Uint8] {
            let counter = total(kind, &[("metrics.type", "counter")], [1; 10]);
            assert_eq!(counter, Total::Sum(Number::Int(10)));
            let gauge = total(kind, &[("metrics.type", "gauge")], 0..10);
            assert_eq!(gauge, Total::Last(Number::Int(9)));
        }
        let halves = total(Scalar::Float64, &[("metrics.type", "counter")], [0.5_f64.to_bits(); 10]);
        assert_eq!(halves, Total::Sum(Number::Float(5.0)));
        let huge = total(Scalar::Uint64, &[("metrics.type", "counter")], [u64::MAX, 1]);
        assert_eq!(huge, Total::Sum(Number::Int(i64::MAX)), "sums do not wrap");
    }

    /// Acceptance check E3 of the data specification.
    #[test]
    fn e3_values_fall_into_the_first_bucket_that_holds_them() {
        let counts = |annotations: &[(&str, &str)]| {
            let annotations = [&[("metrics.type", "histogram")], annotations].concat();
            match total(Scalar::Int32, &annotations, (1000..=10_000).step_by(1000)) {
                Total::Buckets(_, counts) => counts,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(counts(&[]), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3, 2, 3, 0]);
        assert_eq!(counts(&[("metrics.boundaries", "5000, 2.5,9999")]), [0, 5, 4, 1]);
    }

    #[test]
    fn roles_come_from_annotations_and_types() {
        let mut source = DataSource::new("s", SourceType::Single, None);
        let mut role = |name: &str, tag: &str, said: &str| {
            let id = source.add_field(NewField::new(name, Scalar::Uint64).tag(tag)).unwrap();
            source.annotate_field(id, "metrics.type", said);
            Role::of(&source, id)
        };
        assert_eq!(role("a", "type:gadget_counter__u32", ""), Some(Role::Counter));
        assert_eq!(role("b", "type:gadget_gauge__u64", ""), Some(Role::Gauge));
        assert_eq!(role("c", "type:gadget_histogram_slot__u64", ""), Some(Role::Histogram));
        assert_eq!(role("d", "type:gadget_counter__u32", "key"), Some(Role::Key));
        assert_eq!(role("e", "type:gadget_counter__u32", "summary"), None);
        assert_eq!(role("f", "type:__u64", ""), None);
    }

    #[test]
    fn what_cannot_be_summed_up_is_named() {
        let error = |kind: Kind, annotations: &[(&str, &str)]| {
            let mut source = DataSource::new("s", SourceType::Single, None);
            let id = source.add_field(NewField::new("n", kind)).unwrap();
            for (key, value) in annotations {
                source.annotate_field(id, *key, *value);
            }
            Instrument::of(&source, id).unwrap_err().to_string()
        };
        assert_eq!(
            error(
                Scalar::String.into(),
                &[("metrics.type", "counter"), ("metrics.name", "bytes")]
            ),
            "adding counter for \"n\": unsupported field type for metrics value \"bytes\": String"
        );
        assert_eq!(
            error(Kind::Array(Scalar::Uint32), &[("metrics.type", "gauge")]),
            "adding gauge for \"n\": unsupported field type for metrics value \"n\": []Uint32"
        );
        let bad = [("metrics.type", "histogram"), ("metrics.boundaries", "1,two")];
        let error = error(Scalar::Uint32.into(), &bad);
        assert!(
            error.starts_with("adding histogram for \"n\": invalid value: \"two\": "),
            "{error}"
        );
    }
}
