//! Terms: conditions of `--filter` made ready to be asked for each event.

use super::grammar::{Condition, Operation};
use crate::data::{Accessor, DataSource, Element, FieldId, Kind, Scalar};
use crate::metadata::params::typed::{go_quote, parse_float, parse_int, parse_uint};
use crate::pattern::Pattern;
use crate::text::{did_you_mean, nearest};
use crate::{Error, Result};

/// A condition on one field.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) field: FieldId,
    accessor: Accessor,
    test: Test,
    negated: bool,
}

#[derive(Clone, Debug)]
enum Test {
    Signed(Order, i64),
    Unsigned(Order, u64),
    Float32(Order, f32),
    Float64(Order, f64),
    Bool(bool),
    /// A C string is this text: cheaper than looking for its end first.
    CStringIs(Box<[u8]>),
    Text(Order, Box<[u8]>),
    Match(Box<Pattern>),
}

/// How two values are ordered.
#[derive(Clone, Copy, Debug)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    #[inline]
    fn holds<T: PartialOrd + ?Sized>(self, value: &T, than: &T) -> bool {
        match self {
            Order::Equal => value == than,
            Order::Less => value < than,
            Order::LessOrEqual => value <= than,
            Order::Greater => value > than,
            Order::GreaterOrEqual => value >= than,
        }
    }
}

impl Term {
    /// Looks up the field and reads the value as its kind.
    ///
    /// # Errors
    ///
    /// A field that does not exist or cannot be compared, an operation that its kind has not got, a value that is not of its
    /// kind. All show the condition with a caret below the place.
    pub(super) fn compile(condition: &Condition<'_>, source: &DataSource) -> Result<Self> {
        let field = find(condition, source)?;
        let kind = source.get(field).kind();
        Ok(Self {
            field,
            accessor: source.accessor(field),
            test: Test::compile(condition, kind)?,
            negated: condition.negated,
        })
    }

    /// Whether `element` fulfils the condition.
    #[inline]
    pub(super) fn matches(&mut self, element: &Element) -> bool {
        let accessor = &self.accessor;
        let holds = match &mut self.test {
            Test::Signed(order, value) => order.holds(&(accessor.bits(element) as i64), value),
            Test::Unsigned(order, value) => order.holds(&accessor.bits(element), value),
            // Widened and narrowed again, a single-precision number is the same.
            Test::Float32(order, value) => order.holds(&(accessor.f64(element) as f32), value),
            Test::Float64(order, value) => order.holds(&accessor.f64(element), value),
            Test::Bool(value) => accessor.bool(element) == *value,
            Test::CStringIs(value) => is_c_string(accessor.bytes(element), value),
            Test::Text(order, value) => order.holds(accessor.text(element), value),
            Test::Match(pattern) => pattern.matches(accessor.text(element)),
        };
        holds != self.negated
    }

    /// How dear the test is, to do cheap ones first.
    pub(super) fn cost(&self) -> u32 {
        match self.test {
            Test::Signed(..) | Test::Unsigned(..) | Test::Float32(..) | Test::Float64(..) | Test::Bool(_) => 0,
            Test::CStringIs(_) => 1,
            Test::Text(..) => 2,
            Test::Match(_) => 3,
        }
    }

    /// The value, if the condition is that an unsigned integer equals it.
    pub(super) fn unsigned_equal(&self) -> Option<u64> {
        match self.test {
            Test::Unsigned(Order::Equal, value) if !self.negated => Some(value),
            _ => None,
        }
    }

    /// The value, if the condition is that a text equals it.
    pub(super) fn text_equal(&self) -> Option<&[u8]> {
        match &self.test {
            Test::CStringIs(value) | Test::Text(Order::Equal, value) if !self.negated => Some(value),
            _ => None,
        }
    }
}

#[inline]
fn is_c_string(bytes: &[u8], value: &[u8]) -> bool {
    bytes
        .strip_prefix(value)
        .is_some_and(|rest| rest.first().is_none_or(|byte| *byte == 0))
}

fn find(condition: &Condition<'_>, source: &DataSource) -> Result<FieldId> {
    if let Some(id) = source.find(condition.field) {
        return Ok(id);
    }
    let what = format!(
        "field {} not found in datasource {}",
        go_quote(condition.field),
        source.name()
    );
    let error = Error::not_found(condition.at_field(&what));
    let names = source
        .fields()
        .filter(|(_, field)| !field.is_unreferenced() && !field.is_empty())
        .map(|(_, field)| (field.full_name(), field.name()));
    Err(match did_you_mean(&nearest(condition.field, names)) {
        Some(hint) => error.with_hint(hint),
        None => error,
    })
}

impl Test {
    fn compile(condition: &Condition<'_>, kind: Kind) -> Result<Self> {
        let scalar = match kind {
            Kind::One(Scalar::Invalid) => {
                return Err(Error::invalid(condition.at_field("unsupported type: Invalid")));
            }
            Kind::Array(_) | Kind::One(Scalar::Bytes) => {
                let what = format!("unsupported field type for comparison: {kind}");
                return Err(Error::invalid(condition.at_field(&what)));
            }
            Kind::One(scalar) => scalar,
        };
        let order = match condition.operation {
            Operation::Equal => Order::Equal,
            Operation::Less => Order::Less,
            Operation::LessOrEqual => Order::LessOrEqual,
            Operation::Greater => Order::Greater,
            Operation::GreaterOrEqual => Order::GreaterOrEqual,
            Operation::Match if kind.is_text() => return Self::pattern(condition),
            Operation::Match => {
                let what = "regex based filtering can only be used on strings";
                return Err(Error::invalid(condition.at_operation(what)));
            }
        };
        let value = condition.value;
        let bits = scalar.size().map_or(64, |size| size as u32 * 8);
        let parsing = |what: &'static str| {
            move |error: Error| Error::invalid(condition.at_value(&error.context(what).to_string()))
        };
        Ok(match scalar {
            Scalar::Bool => Test::Bool(boolean(condition)?),
            Scalar::String => Test::Text(order, value.as_bytes().into()),
            // What contains a NUL equals no C string; the comparison of whole texts says so.
            Scalar::CString if matches!(order, Order::Equal) && !value.contains('\0') => {
                Test::CStringIs(value.as_bytes().into())
            }
            Scalar::CString => Test::Text(order, value.as_bytes().into()),
            Scalar::Float32 => {
                let number = parse_float(value, 32).map_err(parsing("parsing comparison value as float"))?;
                // Read as what it is, it is rounded once and not twice.
                Test::Float32(order, value.parse().unwrap_or(number as f32))
            }
            Scalar::Float64 => {
                let number = parse_float(value, 64).map_err(parsing("parsing comparison value as float"))?;
                Test::Float64(order, number)
            }
            scalar if scalar.is_signed() => {
                let number = parse_int(value, bits).map_err(parsing("parsing comparison value as int"))?;
                Test::Signed(order, number)
            }
            _ => {
                let number = parse_uint(value, bits).map_err(parsing("parsing comparison value as uint"))?;
                Test::Unsigned(order, number)
            }
        })
    }

    fn pattern(condition: &Condition<'_>) -> Result<Self> {
        match Pattern::new(condition.value) {
            Ok(pattern) => Ok(Test::Match(Box::new(pattern))),
            Err(why) => {
                let what = format!("invalid regular expression: {}", go_quote(condition.value));
                Err(Error::invalid(condition.at_value(&what)).with_hint(why))
            }
        }
    }
}

fn boolean(condition: &Condition<'_>) -> Result<bool> {
    if condition.operation != Operation::Equal {
        let what = "boolean values can only be filtered by exact match";
        return Err(Error::invalid(condition.at_operation(what)));
    }
    match condition.value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => {
            let what = format!("parsing comparison value {} as bool", go_quote(other));
            Err(Error::invalid(condition.at_value(&what)).with_hint("expected true, false, 1 or 0"))
        }
    }
}
