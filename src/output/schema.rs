//! The JSON Schema (draft 2020-12) of what `-o json` prints: one line is one instance.
//!
//! It is made from the same tree of fields and the same forms of values as the JSON encoder, so that it cannot promise anything else.
//! Objects are closed: every field is there in every event, and no other.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::json::Form;
use super::mode;
use super::tree::{self, Node};
use crate::data::{DataSource, Field, Kind, LossPlace, Scalar, SourceType};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What besides the events is on the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Lines that say how many events were lost, as `--loss-records` adds them for single data sources.
    pub loss_records: bool,
}

/// The schema of one line.
///
/// With one data source that is the schema of its events (of an array data source: of its batches). Otherwise `$defs` has one schema
/// for each data source, under its name, and a line is an instance of any of them.
pub fn schema(sources: &[&DataSource], options: Options) -> Value {
    let loss_records = options.loss_records && sources.iter().any(|source| source.source_type() == SourceType::Single);
    let mut schema = match sources {
        [source] if !loss_records => line(source),
        _ => {
            let mut any: Vec<Value> = sources
                .iter()
                .map(|source| json!({"$ref": format!("#/$defs/{}", pointer(source.name()))}))
                .collect();
            if loss_records {
                any.push(loss_record());
            }
            let defs: Map<String, Value> = sources
                .iter()
                .map(|source| (source.name().to_owned(), line(source).into()))
                .collect();
            // Nothing is an instance of a schema of nothing.
            match any.is_empty() {
                true => object([("not", json!({}))]),
                false => object([("$defs", defs.into()), ("anyOf", any.into())]),
            }
        }
    };
    schema.insert("$schema".to_owned(), DRAFT.into());
    schema.into()
}

/// One line of one data source.
fn line(source: &DataSource) -> Map<String, Value> {
    if mode::is_rendered(source) {
        return metrics(source);
    }
    let nodes = tree::tree(source, |a, b| a.as_bytes().cmp(b.as_bytes()));
    let mut event = fields(&nodes);
    let mut line = match source.source_type() {
        SourceType::Single => event,
        SourceType::Array => {
            event.insert("title".to_owned(), format!("{} element", source.name()).into());
            object([("type", "array".into()), ("items", event.into())])
        }
    };
    line.insert("title".to_owned(), source.name().into());
    line.extend(source.annotation("description").and_then(described));
    line
}

/// All sums of a data source, as they are printed in its place.
fn metrics(source: &DataSource) -> Map<String, Value> {
    let sum = |more: Value| {
        let mut properties = object([
            ("name", json!({"type": "string"})),
            ("unit", json!({"type": "string"})),
            (
                "attributes",
                json!({"type": "object", "description": "What tells sums of one name apart"}),
            ),
        ]);
        properties.extend(more.as_object().cloned().unwrap_or_default());
        closed(properties)
    };
    let bound = json!({"type": ["number", "null"]});
    let count = || Value::from(number(Scalar::Uint64));
    let bucket = closed(object([("start", bound.clone()), ("end", bound), ("count", count())]));
    let histogram = json!({"count": count(), "buckets": {"type": "array", "items": bucket}});
    let value = json!({"value": {"type": ["number", "null"]}});
    object([
        ("title", source.name().into()),
        ("type", "array".into()),
        ("items", json!({"anyOf": [sum(histogram), sum(value)]})),
    ])
}

/// An object with these fields and no other.
fn fields(nodes: &[Node<'_>]) -> Map<String, Value> {
    let properties: Map<String, Value> = nodes
        .iter()
        .map(|node| (node.field.name().to_owned(), field(node).into()))
        .collect();
    closed(properties)
}

fn closed(properties: Map<String, Value>) -> Map<String, Value> {
    // Two fields may have one name; one that is asked for twice would make the schema invalid.
    let required: Vec<&String> = properties.keys().collect();
    object([
        ("type", "object".into()),
        ("required", json!(required)),
        ("properties", json!(properties)),
        ("additionalProperties", false.into()),
    ])
}

fn field(node: &Node<'_>) -> Map<String, Value> {
    let mut schema = match &node.children {
        Some(children) => fields(children),
        None => value(node.field.kind()),
    };
    schema.extend(description(node.field).as_deref().and_then(described));
    schema
}

/// What metadata says about the field, and which texts are usual. Others may occur, so that these are no `enum`.
fn description(field: &Field) -> Option<String> {
    let said = |key: &str| field.annotation(key).map(str::trim).filter(|text| !text.is_empty());
    let usual = said("value.one-of").map(|values| format!("Usually one of: {values}"));
    let parts: Vec<String> = said("description")
        .map(str::to_owned)
        .into_iter()
        .chain(usual)
        .collect();
    match &parts[..] {
        [] => None,
        [one] => Some(one.clone()),
        [first, rest @ ..] => Some(format!("{}. {}", first.trim_end_matches('.'), rest.join(". "))),
    }
}

fn described(text: &str) -> Option<(String, Value)> {
    (!text.is_empty()).then(|| ("description".to_owned(), text.into()))
}

fn value(kind: Kind) -> Map<String, Value> {
    match (Form::of(kind), kind) {
        (Form::Bool, _) => object([("type", "boolean".into())]),
        (Form::Text(_), _) => object([("type", "string".into())]),
        (Form::Hex, _) => object([
            ("type", "string".into()),
            ("pattern", "^([0-9a-f]{2})*$".into()),
            ("contentEncoding", "base16".into()),
        ]),
        (Form::Numbers(scalar), _) => object([("type", "array".into()), ("items", number(scalar).into())]),
        (_, Kind::One(scalar) | Kind::Array(scalar)) => number(scalar),
    }
}

fn number(scalar: Scalar) -> Map<String, Value> {
    let (Some(bits @ 8..=64), true) = (scalar.size().map(|size| size * 8), scalar.is_integer()) else {
        // What is no number (NaN) or has no end is null.
        return object([("type", json!(["number", "null"]))]);
    };
    let (minimum, maximum) = if scalar.is_signed() {
        (json!(i64::MIN >> (64 - bits)), json!(i64::MAX >> (64 - bits)))
    } else {
        (json!(0), json!(u64::MAX >> (64 - bits)))
    };
    object([("type", "integer".into()), ("minimum", minimum), ("maximum", maximum)])
}

fn loss_record() -> Value {
    let reasons: Vec<Value> = LossPlace::ALL
        .into_iter()
        .filter(|place| !place.is_intended())
        .map(|place| json!({"const": place.name(), "description": place.to_string()}))
        .collect();
    json!({
        "title": "loss record",
        "description": "Events that were lost between the line before and the line after",
        "type": "object",
        "required": ["lost", "reason"],
        "properties": {
            "lost": {"type": "integer", "minimum": 1, "maximum": u64::MAX, "description": "How many"},
            "reason": {"oneOf": reasons, "description": "Where they stayed"},
            "datasource": {"type": "string", "description": "Whose they were"},
        },
        "additionalProperties": false,
    })
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// `name` as one step of a JSON pointer in a URI fragment.
fn pointer(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.replace('~', "~0").replace('/', "~1").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
