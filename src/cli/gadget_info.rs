//! `ig run GADGET --help -o json`: the flags and fields of a gadget, for programs.
//!
//! The names are those of upstream's `GadgetInfo` message, as its JSON has them; kinds, types and flags of fields are words
//! in place of numbers. Members without a value are left out. New members may come, none changes its meaning.

use serde_json::{Map, Value, json};

use super::run;
use crate::data::{DataSource, Field, Flags, SourceType};
use crate::gadget::Gadget;
use crate::metadata::params::{Param, TypeHint};
use crate::output::terminal;

/// The whole document. `statics` are the flags that every gadget has, `output` those that say what is shown.
pub(super) fn json(image: &str, statics: &[Param], gadget: &Gadget, output: &[Param], pretty: bool) -> String {
    let own = run::params(gadget, output);
    let mut params: Vec<Value> = Vec::new();
    let mut names = Vec::new();
    for param in statics.iter().chain(&own) {
        let name = param.full_name();
        // The image's own parameters are among the flags of every gadget already.
        if !names.contains(&name) {
            params.push(describe_param(param));
            names.push(name);
        }
    }
    let sources: Vec<Value> = gadget.data_sources().map(describe_source).collect();
    let document = json!({"imageName": image, "params": params, "dataSources": sources});
    text(&document, pretty)
}

/// `value` as lines of JSON that do nothing to a terminal.
pub(super) fn text(value: &Value, pretty: bool) -> String {
    let text = if pretty {
        format!("{value:#}")
    } else {
        value.to_string()
    };
    let mut lines = Vec::with_capacity(text.len() + 1);
    for line in text.lines() {
        let start = lines.len();
        lines.extend_from_slice(line.as_bytes());
        terminal::escape_json(start, &mut lines);
        lines.push(b'\n');
    }
    String::from_utf8_lossy(&lines).into_owned()
}

/// Whose flag it is.
fn scope(param: &Param) -> &'static str {
    const GADGET: [&str; 3] = ["operator.oci.ebpf.", "operator.oci.wasm.", "custom."];
    // Ours, although of the same family as the gadget's own.
    const OURS: [&str; 3] = ["btf", "buffer-kind", "buffer-size"];
    match &*param.prefix {
        "" => "command",
        prefix if GADGET.contains(&prefix) && !OURS.contains(&&*param.key) => "gadget",
        _ => "operator",
    }
}

fn describe_param(param: &Param) -> Value {
    let hint = match &param.type_hint {
        TypeHint::None => String::new(),
        hint => hint.to_string(),
    };
    let mut shown = without_empty(json!({
        "key": param.key,
        "prefix": param.prefix,
        "alias": param.alias.map(String::from),
        "alternativeKey": param.alternative_key,
        "typeHint": hint,
        "title": param.title,
        "description": param.description,
        "valueHint": param.value_hint,
        "possibleValues": param.possible_values,
        "isMandatory": param.mandatory,
        "tags": param.tags,
    }));
    // An empty default is one, too.
    shown.insert("defaultValue".to_owned(), param.default.as_str().into());
    shown.insert("scope".to_owned(), scope(param).into());
    shown.into()
}

fn describe_source(source: &DataSource) -> Value {
    let fields: Vec<Value> = source
        .fields()
        .filter(|(_, field)| !field.is_unreferenced())
        .map(|(_, field)| describe_field(source, field))
        .collect();
    let mut shown = without_empty(json!({
        "name": source.name(),
        "tags": source.tags(),
        "annotations": source.annotations(),
    }));
    let kind = match source.source_type() {
        SourceType::Single => "single",
        SourceType::Array => "array",
    };
    shown.insert("type".to_owned(), kind.into());
    shown.insert("fields".to_owned(), fields.into());
    shown.into()
}

fn describe_field(source: &DataSource, field: &Field) -> Value {
    let flags: Vec<&str> = [
        (Flags::EMPTY, "empty"),
        (Flags::HIDDEN, "hidden"),
        (Flags::STATIC_MEMBER, "static-member"),
    ]
    .into_iter()
    .filter(|(flag, _)| field.flags().has(*flag))
    .map(|(_, name)| name)
    .collect();
    let mut shown = without_empty(json!({
        "name": field.name(),
        "fullName": field.full_name(),
        "flags": flags,
        "tags": field.tags(),
        "annotations": field.annotations(),
        "parent": field.parent().map(|parent| source.get(parent).full_name()),
    }));
    shown.insert("kind".to_owned(), field.kind().to_string().into());
    if field.size() > 0 {
        shown.insert("size".to_owned(), field.size().into());
    }
    if field.order() != 0 {
        shown.insert("order".to_owned(), field.order().into());
    }
    shown.into()
}

/// The members that say something.
fn without_empty(value: Value) -> Map<String, Value> {
    let says_nothing = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Null | Value::Bool(false) => true,
        _ => false,
    };
    match value {
        Value::Object(members) => members.into_iter().filter(|(_, value)| !says_nothing(value)).collect(),
        _ => Map::new(),
    }
}
