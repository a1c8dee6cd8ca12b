//! The built-in functions: their names, what they take, what they give.

mod conversions;
mod lists;
mod numbers;
pub(super) mod predicates;
mod strings;
pub(super) mod time;

use std::sync::Arc;

use self::predicates::EachKind;
use super::cidr::Prefixes;
use super::fault::{Fault, Outcome};
use super::value::{Budget, Bytes, Value};

/// What a built-in does. The checker has seen to the number of arguments.
pub(super) type Function = for<'a> fn(&[Value<'a>], &mut Budget) -> Outcome<Value<'a>>;

/// A built-in.
#[derive(Debug)]
pub(super) struct Builtin {
    pub(super) name: &'static str,
    pub(super) form: Form,
}

#[derive(Debug)]
pub(super) enum Form {
    Function(Signature),
    /// It takes a list and something to evaluate for each item.
    Each(EachKind),
}

/// What a function takes and gives.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) parameters: &'static [Parameter],
    /// How many of them must be there.
    pub(super) required: usize,
    /// Whether the last may be given more than once.
    pub(super) variadic: bool,
    pub(super) returns: Returns,
    pub(super) function: Function,
}

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Any,
    Text,
    Int,
    Number,
    /// A number, or a text that says one.
    Numeric,
    /// A number, or a list of such.
    Numbers,
    List,
    Map,
    /// Something that has a length.
    Sized,
    /// A list, a map, `$env` or a field with sub fields.
    Container,
    Time,
    Duration,
    /// Texts or a time zone.
    Date,
    Zone,
}

/// What the result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returns {
    Any,
    Bool,
    Int,
    Float,
    Text,
    Texts,
    AnyList,
    Pairs,
    Map,
    Time,
    Duration,
    Zone,
    Prefixes,
    /// Of the type of the first argument.
    Same,
    /// Of the type of the items of the first argument.
    Item,
}

/// What is written at a place of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Value,
    Predicate,
}

impl Builtin {
    /// Of a built-in with a predicate: its arguments, and how many must be there.
    pub(super) fn predicate_arguments(&self) -> Option<(&'static [Argument], usize)> {
        match &self.form {
            Form::Function(_) => None,
            Form::Each(kind) => Some(kind.arguments()),
        }
    }
}

/// The built-in of this name.
pub(super) fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

/// All names, for suggestions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().map(|builtin| builtin.name)
}

const fn each(name: &'static str, kind: EachKind) -> Builtin {
    Builtin {
        name,
        form: Form::Each(kind),
    }
}

const fn function(
    name: &'static str,
    parameters: &'static [Parameter],
    required: usize,
    returns: Returns,
    function: Function,
) -> Builtin {
    Builtin {
        name,
        form: Form::Function(Signature {
            parameters,
            required,
            variadic: false,
            returns,
            function,
        }),
    }
}

const fn variadic(
    name: &'static str,
    parameters: &'static [Parameter],
    returns: Returns,
    function: Function,
) -> Builtin {
    Builtin {
        name,
        form: Form::Function(Signature {
            parameters,
            required: parameters.len(),
            variadic: true,
            returns,
            function,
        }),
    }
}

use Parameter as P;
use Returns as R;

static BUILTINS: &[Builtin] = &[
    each("all", EachKind::All),
    each("none", EachKind::None),
    each("any", EachKind::Any),
    each("one", EachKind::One),
    each("filter", EachKind::Filter),
    each("map", EachKind::Map),
    each("find", EachKind::Find),
    each("findIndex", EachKind::FindIndex),
    each("findLast", EachKind::FindLast),
    each("findLastIndex", EachKind::FindLastIndex),
    each("count", EachKind::Count),
    each("sum", EachKind::Sum),
    each("groupBy", EachKind::GroupBy),
    each("sortBy", EachKind::SortBy),
    each("reduce", EachKind::Reduce),
    function("len", &[P::Sized], 1, R::Int, lists::len),
    function("type", &[P::Any], 1, R::Text, conversions::type_of),
    function("int", &[P::Numeric], 1, R::Int, conversions::int),
    function("float", &[P::Numeric], 1, R::Float, conversions::float),
    function("string", &[P::Any], 1, R::Text, conversions::string),
    function("toJSON", &[P::Any], 1, R::Text, conversions::to_json),
    function("fromJSON", &[P::Text], 1, R::Any, conversions::from_json),
    function("toBase64", &[P::Text], 1, R::Text, conversions::to_base64),
    function("fromBase64", &[P::Text], 1, R::Text, conversions::from_base64),
    function("abs", &[P::Number], 1, R::Same, numbers::abs),
    function("ceil", &[P::Number], 1, R::Float, numbers::ceil),
    function("floor", &[P::Number], 1, R::Float, numbers::floor),
    function("round", &[P::Number], 1, R::Float, numbers::round),
    variadic("max", &[P::Numbers], R::Any, numbers::max),
    variadic("min", &[P::Numbers], R::Any, numbers::min),
    variadic("mean", &[P::Numbers], R::Float, numbers::mean),
    variadic("median", &[P::Numbers], R::Float, numbers::median),
    function("bitand", &[P::Int, P::Int], 2, R::Int, numbers::bitand),
    function("bitor", &[P::Int, P::Int], 2, R::Int, numbers::bitor),
    function("bitxor", &[P::Int, P::Int], 2, R::Int, numbers::bitxor),
    function("bitnand", &[P::Int, P::Int], 2, R::Int, numbers::bitnand),
    function("bitshl", &[P::Int, P::Int], 2, R::Int, numbers::bitshl),
    function("bitshr", &[P::Int, P::Int], 2, R::Int, numbers::bitshr),
    function("bitushr", &[P::Int, P::Int], 2, R::Int, numbers::bitushr),
    function("bitnot", &[P::Int], 1, R::Int, numbers::bitnot),
    function("trim", &[P::Text, P::Text], 1, R::Text, strings::trim),
    function("trimPrefix", &[P::Text, P::Text], 1, R::Text, strings::trim_prefix),
    function("trimSuffix", &[P::Text, P::Text], 1, R::Text, strings::trim_suffix),
    function("upper", &[P::Text], 1, R::Text, strings::upper),
    function("lower", &[P::Text], 1, R::Text, strings::lower),
    function("split", &[P::Text, P::Text, P::Int], 2, R::Texts, strings::split),
    function(
        "splitAfter",
        &[P::Text, P::Text, P::Int],
        2,
        R::Texts,
        strings::split_after,
    ),
    function(
        "replace",
        &[P::Text, P::Text, P::Text, P::Int],
        3,
        R::Text,
        strings::replace,
    ),
    function("repeat", &[P::Text, P::Int], 2, R::Text, strings::repeat),
    function("join", &[P::List, P::Text], 1, R::Text, strings::join),
    function("indexOf", &[P::Text, P::Text], 2, R::Int, strings::index_of),
    function("lastIndexOf", &[P::Text, P::Text], 2, R::Int, strings::last_index_of),
    function("hasPrefix", &[P::Text, P::Text], 2, R::Bool, strings::has_prefix),
    function("hasSuffix", &[P::Text, P::Text], 2, R::Bool, strings::has_suffix),
    function("first", &[P::List], 1, R::Item, lists::first),
    function("last", &[P::List], 1, R::Item, lists::last),
    function("get", &[P::Container, P::Any], 2, R::Any, lists::get),
    function("take", &[P::List, P::Int], 2, R::Same, lists::take),
    function("reverse", &[P::List], 1, R::Same, lists::reverse),
    function("uniq", &[P::List], 1, R::Same, lists::uniq),
    variadic("concat", &[P::List], R::AnyList, lists::concat),
    function("flatten", &[P::List], 1, R::AnyList, lists::flatten),
    function("sort", &[P::List, P::Text], 1, R::Same, lists::sort),
    function("keys", &[P::Map], 1, R::AnyList, lists::keys),
    function("values", &[P::Map], 1, R::AnyList, lists::values),
    function("toPairs", &[P::Map], 1, R::Pairs, lists::to_pairs),
    function("fromPairs", &[P::List], 1, R::Map, lists::from_pairs),
    function("now", &[P::Zone], 0, R::Time, time::now),
    function("duration", &[P::Text], 1, R::Duration, time::duration),
    function("date", &[P::Date, P::Text, P::Text, P::Text], 1, R::Time, time::date),
    function("timezone", &[P::Text], 1, R::Zone, time::timezone),
    variadic("cidr", &[P::Text], R::Prefixes, cidr),
    function("CidrMatches", &[P::Text, P::Any], 2, R::Bool, cidr_matches),
];

fn cidr<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<Value<'a>> {
    let texts = (0..arguments.len())
        .map(|i| text(arguments, i))
        .collect::<Outcome<Vec<_>>>()?;
    let prefixes = Prefixes::parse(texts.into_iter().map(|text| &**text))?;
    Ok(Value::Prefixes(Arc::new(prefixes)))
}

fn cidr_matches<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<Value<'a>> {
    match arguments.get(1) {
        Some(Value::Prefixes(prefixes)) => prefixes.contain(text(arguments, 0)?).map(Value::Bool),
        _ => Err(unsuitable(arguments, 1, "cidr")),
    }
}

/// The text at a place, or an error that says what is there instead.
fn text<'v, 'a>(arguments: &'v [Value<'a>], i: usize) -> Outcome<&'v Bytes<'a>> {
    match arguments.get(i) {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(unsuitable(arguments, i, "string")),
    }
}

fn integer(arguments: &[Value<'_>], i: usize) -> Outcome<i64> {
    arguments
        .get(i)
        .and_then(Value::int)
        .ok_or_else(|| unsuitable(arguments, i, "int"))
}

fn list<'v, 'a>(arguments: &'v [Value<'a>], i: usize) -> Outcome<&'v [Value<'a>]> {
    match arguments.get(i) {
        Some(Value::List(list)) => Ok(&list.items),
        _ => Err(unsuitable(arguments, i, "array")),
    }
}

fn unsuitable(arguments: &[Value<'_>], i: usize, wanted: &str) -> Box<Fault> {
    let given = arguments.get(i).map_or("nothing", Value::type_name);
    Fault::new(format!("cannot use {given} as argument (type {wanted})"))
}
