//! Data sources for tests, rebuilt from recorded schemas, and elements filled from recorded events.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::data::{
    Accessor, Annotations, DataSource, Element, FieldId, FieldSettings, Flags, Kind, NewField, Scalar, Settings,
    SourceType, StaticField,
};

pub(crate) const TRACE_OPEN: &str = include_str!("../../tests/reference/schema/trace_open.json");
pub(crate) const TRACE_EXEC: &str = include_str!("../../tests/reference/schema/trace_exec.json");
pub(crate) const TRACE_TCP: &str = include_str!("../../tests/reference/schema/trace_tcp.json");

/// Adds a field and returns access to it.
pub(crate) fn add(source: &mut DataSource, name: &str, kind: Scalar) -> Accessor {
    let id = source.add_field(NewField::new(name, kind)).unwrap();
    source.accessor(id)
}

/// The recorded fields of the first data source of a schema.
pub(crate) fn recorded(schema: &str) -> (String, Vec<Value>) {
    let mut schema: Value = serde_json::from_str(schema).unwrap();
    let source = schema["dataSources"][0].take();
    let fields = source["fields"].as_array().unwrap().clone();
    (source["name"].as_str().unwrap().to_owned(), fields)
}

fn kind(name: &str) -> Kind {
    (0..15)
        .flat_map(|number| [number, number | 0x1000_0000])
        .filter_map(Kind::from_wire)
        .find(|kind| kind.to_string() == name)
        .unwrap()
}

fn text<'a>(field: &'a Value, key: &str) -> &'a str {
    field[key].as_str().unwrap_or_default()
}

fn has_flag(field: &Value, flag: &str) -> bool {
    field["flags"]
        .as_array()
        .is_some_and(|flags| flags.iter().any(|f| f == flag))
}

fn tags(field: &Value) -> Vec<String> {
    let tags = field["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

/// Without `template`: its annotations are already there, and applying it again would override others.
fn annotations(field: &Value) -> Annotations {
    let map = field["annotations"].as_object().cloned().unwrap_or_default();
    map.into_iter()
        .filter(|(key, _)| key != "template" && key != "columns.replace")
        .map(|(key, value)| (key, value.as_str().unwrap().to_owned()))
        .collect()
}

struct Said(Vec<(&'static str, &'static str, &'static str)>);

impl Settings for Said {
    fn annotations(&self) -> Annotations {
        Annotations::new()
    }

    fn tags(&self) -> Vec<String> {
        Vec::new()
    }

    fn field(&self, full_name: &str) -> Option<FieldSettings> {
        let annotations: Annotations = self
            .0
            .iter()
            .filter(|(name, ..)| *name == full_name)
            .map(|(_, key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        (!annotations.is_empty()).then(|| FieldSettings {
            tags: Vec::new(),
            annotations,
        })
    }
}

/// A data source with the recorded fields before `until` (all if empty); `said` is what metadata says about later ones, as field,
/// key, value. Static fields that only operators hide are not hidden yet, unless all fields are taken.
pub(crate) fn source(schema: &str, until: &str, said: &[(&'static str, &'static str, &'static str)]) -> DataSource {
    let (name, fields) = recorded(schema);
    let mut ds = DataSource::new(name, SourceType::Single, Some(Arc::new(Said(said.to_vec()))));
    let (statics, others): (Vec<&Value>, Vec<&Value>) = fields
        .iter()
        .take_while(|field| until.is_empty() || text(field, "name") != until)
        .partition(|field| has_flag(field, "static-member"));
    let mut offset = 0;
    let members: Vec<StaticField> = statics
        .iter()
        .map(|field| {
            let full_name = text(field, "name");
            let is_parent = statics.iter().any(|other| text(other, "parent") == full_name);
            let size = field["size"].as_u64().unwrap() as u32;
            let member = StaticField {
                bits: None,
                name: full_name.rsplit('.').next().unwrap().to_owned(),
                kind: kind(text(field, "kind")),
                offset,
                size: if is_parent { 0 } else { size },
                parent: statics
                    .iter()
                    .position(|other| text(other, "name") == text(field, "parent")),
                tags: tags(field),
                annotations: annotations(field),
            };
            offset += member.size;
            member
        })
        .collect();
    ds.add_static_fields(offset, &members).unwrap();
    for field in others {
        let full_name = text(field, "name");
        let annotations = annotations(field);
        let pairs = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut new = NewField::new(full_name.rsplit('.').next().unwrap(), kind(text(field, "kind")))
            .order(field["order"].as_i64().unwrap_or_default() as i32)
            .annotations(pairs);
        if has_flag(field, "empty") {
            new = new.flags(Flags::EMPTY);
        }
        if has_flag(field, "hidden") {
            new = new.flags(Flags::HIDDEN);
        }
        for tag in tags(field) {
            new = new.tag(tag);
        }
        match ds.find(text(field, "parent")).filter(|_| field["parent"].is_string()) {
            Some(parent) => ds.add_sub_field(parent, new).unwrap(),
            None => ds.add_field(new).unwrap(),
        };
    }
    if until.is_empty() {
        let ids: Vec<FieldId> = ds.fields().map(|(id, _)| id).collect();
        for (id, field) in ids.into_iter().zip(&fields) {
            ds.set_hidden(id, has_flag(field, "hidden"), false);
        }
    }
    ds
}

/// The fields of a data source in the form of the recorded schemas, without sizes.
pub(crate) fn described(ds: &DataSource) -> Vec<Value> {
    ds.fields()
        .map(|(_, field)| {
            let mut out = Map::new();
            out.insert("name".into(), field.full_name().into());
            out.insert("kind".into(), field.kind().to_string().into());
            let flags: Vec<&str> = [
                (Flags::EMPTY, "empty"),
                (Flags::HIDDEN, "hidden"),
                (Flags::HAS_PARENT, "has-parent"),
                (Flags::STATIC_MEMBER, "static-member"),
                (Flags::UNREFERENCED, "unreferenced"),
            ]
            .into_iter()
            .filter(|(flag, _)| field.flags().has(*flag))
            .map(|(_, name)| name)
            .collect();
            if !flags.is_empty() {
                out.insert("flags".into(), json!(flags));
            }
            if let Some(parent) = field.parent() {
                out.insert("parent".into(), ds.get(parent).full_name().into());
            }
            if field.order() != 0 {
                out.insert("order".into(), field.order().into());
            }
            if !field.tags().is_empty() {
                out.insert("tags".into(), json!(field.tags()));
            }
            let annotations: Map<String, Value> = field
                .annotations()
                .iter()
                .filter(|(key, _)| *key != "description")
                .map(|(key, value)| (key.clone(), value.as_str().into()))
                .collect();
            out.insert("annotations".into(), annotations.into());
            Value::Object(out)
        })
        .collect()
}

/// Sets the fields of an element from JSON as the encoder writes it.
pub(crate) fn fill(ds: &DataSource, element: &mut Element, event: &Value) {
    for (id, field) in ds.fields() {
        let value = field.full_name().split('.').fold(event, |value, name| &value[name]);
        let accessor = ds.accessor(id);
        match (field.kind(), value) {
            (Kind::One(Scalar::Bool), Value::Bool(value)) => accessor.set_bits(element, u64::from(*value)),
            (_, Value::Number(number)) => {
                let bits = number.as_u64().or_else(|| number.as_i64().map(|n| n as u64)).unwrap();
                accessor.set_bits(element, bits);
            }
            (_, Value::String(text)) => accessor.set(element, text.as_bytes()).unwrap(),
            _ => {}
        }
    }
}
