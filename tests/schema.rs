//! The data sources and parameters of the catalogue against the recorded ones.
//!
//! Equal are: data sources, fields in order with kind, size, flags, parent, order, tags and annotations; parameters with key,
//! default, type, short flag, second key, value hint, values and tags. The record leaves out descriptions and titles. Fields that
//! only operators add which this version has not got (`otel-metrics`, …) do not occur in it; their parameters do, and
//! only those of the eBPF object and of the operators that select events are compared.

use std::path::{Path, PathBuf};

use inspektor_gadget::data::{CODE_WRITES, DataSource, Field, Flags, Kind, SourceType};
use inspektor_gadget::gadget::Gadget;
use inspektor_gadget::image::{Catalogue, PullPolicy, ResolveOptions, Resolver, StoreChoice};
use inspektor_gadget::metadata::params::{Param, TypeHint};
use inspektor_gadget::operators::local_manager::ContainerSource;
use serde_json::{Map, Value, json};

/// Whose parameters are compared.
const PREFIXES: [&str; 9] = [
    "custom.",
    "operator.oci.ebpf.",
    "operator.oci.wasm.",
    "operator.LocalManager.",
    "operator.filter.",
    "operator.sort.",
    "operator.limiter.",
    "operator.ebpf.",
    "operator.ustack.",
];

fn gadget(name: &str) -> Gadget {
    let dir = tempfile::tempdir().unwrap();
    let options = ResolveOptions {
        store: StoreChoice::Dir(dir.path().join("empty")),
        pull: PullPolicy::Never,
        ..ResolveOptions::default()
    };
    let image = Resolver::new(options).unwrap().resolve(name).unwrap();
    let containers = ContainerSource::Unavailable("only the schema is wanted".to_owned());
    Gadget::builder(&image).containers(containers).build().unwrap()
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/schema/{name}.json"))
}

fn recorded(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(reference(name)).unwrap()).unwrap()
}

fn set(object: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let value = value.into();
    let empty = match &value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Null => true,
        _ => false,
    };
    if !empty {
        object.insert(key.to_owned(), value);
    }
}

fn field_json(source: &DataSource, field: &Field) -> Value {
    const FLAGS: [(Flags, &str); 5] = [
        (Flags::EMPTY, "empty"),
        (Flags::HIDDEN, "hidden"),
        (Flags::HAS_PARENT, "has-parent"),
        (Flags::STATIC_MEMBER, "static-member"),
        (Flags::UNREFERENCED, "unreferenced"),
    ];
    let mut object = Map::new();
    set(&mut object, "name", field.full_name());
    set(&mut object, "kind", kind_name(field.kind()));
    if field.size() > 0 {
        set(&mut object, "size", field.size());
    }
    let flags: Vec<&str> = FLAGS
        .iter()
        .filter(|(flag, _)| field.flags().has(*flag))
        .map(|(_, name)| *name)
        .collect();
    set(&mut object, "flags", flags);
    set(
        &mut object,
        "parent",
        field.parent().map(|parent| source.get(parent).full_name()),
    );
    if field.order() != 0 {
        set(&mut object, "order", field.order());
    }
    set(&mut object, "tags", field.tags());
    let mut annotations = field.annotations().clone();
    annotations.remove("description");
    object.insert("annotations".to_owned(), json!(annotations));
    Value::Object(object)
}

fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::One(scalar) => format!("{scalar:?}"),
        Kind::Array(scalar) => format!("[]{scalar:?}"),
    }
}

fn param_json(param: &Param) -> Value {
    let mut object = Map::new();
    set(&mut object, "prefix", &*param.prefix);
    set(&mut object, "key", &*param.key);
    object.insert("default".to_owned(), json!(param.default));
    // Help pages call a parameter without a hint a string.
    let type_hint = match &param.type_hint {
        TypeHint::None => String::new(),
        hint => hint.to_string(),
    };
    object.insert("type".to_owned(), json!(type_hint));
    set(&mut object, "alias", param.alias.map(String::from));
    set(&mut object, "alternativeKey", &*param.alternative_key);
    set(&mut object, "valueHint", &*param.value_hint);
    set(&mut object, "oneOf", param.possible_values.as_slice());
    set(&mut object, "tags", param.tags.as_slice());
    Value::Object(object)
}

fn sources_json(gadget: &Gadget) -> Value {
    let sources = gadget.data_sources().map(|source| {
        let fields: Vec<Value> = source
            .fields()
            .filter(|(_, field)| !field.is_unreferenced())
            .map(|(_, field)| field_json(source, field))
            .collect();
        let kind = match source.source_type() {
            SourceType::Array => "array",
            _ => "single",
        };
        let mut object = Map::new();
        set(&mut object, "name", source.name());
        set(&mut object, "type", kind);
        object.insert("exposed".to_owned(), json!(source.is_referenced()));
        let mut annotations = source.annotations().clone();
        // Ours, for gadgets with code.
        annotations.remove(CODE_WRITES);
        object.insert("annotations".to_owned(), json!(annotations));
        set(&mut object, "fields", fields);
        Value::Object(object)
    });
    Value::Array(sources.collect())
}

/// Compares lists item by item, so that a failure shows the first difference and not everything.
#[track_caller]
fn assert_same_items(what: &str, got: &Value, expected: &Value) {
    let (got, expected) = (got.as_array().unwrap(), expected.as_array().unwrap());
    let names = |list: &[Value]| -> Vec<String> {
        list.iter()
            .map(|item| {
                item.get("name")
                    .or(item.get("key"))
                    .map(Value::to_string)
                    .unwrap_or_default()
            })
            .collect()
    };
    assert_eq!(names(got), names(expected), "{what}");
    let different: Vec<String> = got
        .iter()
        .zip(expected)
        .filter(|(got, expected)| got != expected)
        .map(|(got, expected)| format!("got      {got}\nexpected {expected}"))
        .collect();
    assert!(different.is_empty(), "{what}:\n{}", different.join("\n"));
}

fn compare_sources(name: &str) {
    let (mut got, mut expected) = (sources_json(&gadget(name)), recorded(name)["dataSources"].take());
    // What nobody sees is nobody's concern.
    expected
        .as_array_mut()
        .unwrap()
        .retain(|source| source["exposed"] == json!(true));
    // The record is in the order of the names.
    for list in [&mut got, &mut expected] {
        list.as_array_mut()
            .unwrap()
            .sort_by_key(|source| source["name"].to_string());
    }
    assert_eq!(got.as_array().unwrap().len(), expected.as_array().unwrap().len());
    for (got, expected) in got
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .zip(expected.as_array_mut().unwrap())
    {
        let mut fields = expected["fields"].take();
        let is_seen = |field: &Value| {
            !field["flags"]
                .as_array()
                .is_some_and(|flags| flags.contains(&json!("unreferenced")))
        };
        fields.as_array_mut().unwrap().retain(is_seen);
        let got_fields = got["fields"].take();
        assert_same_items(name, &got_fields, &fields);
        assert_eq!(got, expected, "{name}");
    }
}

fn compare_params(name: &str) {
    let of_interest = |param: &Value| {
        let prefix = param["prefix"].as_str().unwrap_or_default();
        PREFIXES.contains(&prefix)
    };
    let mut got: Vec<Value> = gadget(name)
        .params()
        .iter()
        .map(param_json)
        .filter(of_interest)
        .collect();
    let recorded = recorded(name);
    let lists = ["params", "operatorParams"].map(|key| recorded[key].as_array().unwrap().clone());
    let mut expected: Vec<Value> = lists.concat().into_iter().filter(of_interest).collect();
    assert!(expected.len() > 5, "{expected:?}");
    for list in [&mut got, &mut expected] {
        list.sort_by_key(|param| (param["prefix"].to_string(), param["key"].to_string()));
    }
    assert_same_items(name, &Value::Array(got), &Value::Array(expected));
}

/// The gadgets of the catalogue of which there is a record.
fn recorded_gadgets() -> Vec<String> {
    let mut names = Catalogue::bundled().names().unwrap();
    names.retain(|name| reference(name).exists());
    assert!(names.len() > 7, "{names:?}");
    names
}

#[test]
fn data_sources_are_the_recorded_ones() {
    for name in recorded_gadgets() {
        compare_sources(&name);
    }
}

#[test]
fn params_are_the_recorded_ones() {
    for name in recorded_gadgets() {
        compare_params(&name);
    }
}

/// Gadgets of our own are in the list, so that a record that was forgotten is noticed.
#[test]
fn every_gadget_has_a_record_or_is_ours() {
    const OURS: [&str; 0] = [];
    let mut names = Catalogue::bundled().names().unwrap();
    names.retain(|name| !reference(name).exists());
    assert_eq!(names, OURS);
}
