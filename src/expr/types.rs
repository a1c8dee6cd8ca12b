//! The static types of expressions.

use std::fmt;

use crate::data::{FieldId, Kind, Scalar};

/// What is known about a value before the first event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Known at run time only.
    Any,
    Nil,
    Bool,
    /// Integers of literals and of arithmetic.
    Int,
    /// An integer or floating point field, in its own width.
    Number(Scalar),
    /// Floating point literals and results.
    Float,
    Text,
    List(Box<Type>),
    /// A map from texts to anything.
    Map,
    Time,
    Duration,
    Zone,
    /// What `cidr()` makes.
    Prefixes,
    /// A field that has sub fields: only they have values.
    Object(FieldId),
    /// `$env`
    Env,
}

impl Type {
    /// The type of the values of a leaf of this kind.
    pub(super) fn of_kind(kind: Kind) -> Self {
        match kind {
            Kind::One(Scalar::Bool) => Type::Bool,
            Kind::One(scalar) if scalar.is_integer() => Type::Number(scalar),
            Kind::One(scalar @ (Scalar::Float32 | Scalar::Float64)) => Type::Number(scalar),
            _ => Type::Text,
        }
    }

    pub(super) fn list(item: Type) -> Self {
        Type::List(Box::new(item))
    }

    pub(super) fn is_any(&self) -> bool {
        *self == Type::Any
    }

    pub(super) fn is_integer(&self) -> bool {
        match self {
            Type::Int => true,
            Type::Number(scalar) => scalar.is_integer(),
            _ => false,
        }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Type::Int | Type::Float | Type::Number(_))
    }

    /// Whether values have sub values only, and cannot be used themselves.
    pub(super) fn is_opaque(&self) -> bool {
        matches!(self, Type::Object(_) | Type::Env)
    }

    /// Whether `==` between the two can be true.
    pub(super) fn comparable(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Any | Type::Nil, _) | (_, Type::Any | Type::Nil) => true,
            (Type::List(_), Type::List(_)) => true,
            _ => self == other || self.is_number() && other.is_number(),
        }
    }

    /// The type of a value that is one or the other.
    pub(super) fn or(self, other: Type) -> Type {
        match (self, other) {
            (a, b) if a == b => a,
            (a, b) if a.is_integer() && b.is_integer() => Type::Int,
            (Type::List(_), Type::List(_)) => Type::list(Type::Any),
            _ => Type::Any,
        }
    }

    /// The type of items of a value of this type, if it can be a list.
    pub(super) fn item(&self) -> Option<Type> {
        match self {
            Type::Any => Some(Type::Any),
            Type::List(item) => Some((**item).clone()),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Any => f.write_str("unknown"),
            Type::Nil => f.write_str("nil"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Number(scalar) => f.write_str(&format!("{scalar:?}").to_ascii_lowercase()),
            Type::Float => f.write_str("float64"),
            Type::Text => f.write_str("string"),
            Type::List(item) => match **item {
                Type::Any => f.write_str("[]interface {}"),
                ref item => write!(f, "[]{item}"),
            },
            Type::Map => f.write_str("map[string]interface {}"),
            Type::Time => f.write_str("time.Time"),
            Type::Duration => f.write_str("time.Duration"),
            Type::Zone => f.write_str("*time.Location"),
            Type::Prefixes => f.write_str("cidr"),
            Type::Object(_) => f.write_str("field with sub fields"),
            Type::Env => f.write_str("$env"),
        }
    }
}
