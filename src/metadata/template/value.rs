//! The values that templates work on.

use std::collections::BTreeMap;
use std::fmt;

/// A value in a template.
#[derive(Clone, Debug, Default)]
pub enum Value<'a> {
    /// Nothing: what a map has under a key that it does not have.
    #[default]
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Value<'a>>),
    /// A map.
    Map(BTreeMap<String, Value<'a>>),
    /// A function for `call`.
    Function(Function<'a>),
}

/// A function from text to text.
#[derive(Clone, Copy)]
pub struct Function<'a>(pub(super) &'a dyn Fn(&str) -> String);

impl fmt::Debug for Function<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

impl<'a> Value<'a> {
    /// A map.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value<'a>)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// A function from text to text.
    pub fn function(function: &'a dyn Fn(&str) -> String) -> Self {
        Self::Function(Function(function))
    }

    /// Whether the value counts as true: it is neither nothing nor zero nor empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Function(_) => true,
        }
    }

    /// What kind of value this is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Function(_) => "function",
        }
    }
}

impl From<&str> for Value<'_> {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
