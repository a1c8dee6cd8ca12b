use proptest::prelude::*;

use super::*;
use crate::data::{Element, FieldId, Flags, NewField};
use crate::output::json::Encoder;
use crate::output::testing;

#[path = "../../../tests/common/json_schema.rs"]
mod json_schema;
use json_schema::validate;

const LOSSES: Options = Options { loss_records: true };

fn source(name: &str, source_type: SourceType) -> DataSource {
    DataSource::new(name, source_type, None)
}

fn add(ds: &mut DataSource, name: &str, kind: impl Into<Kind>) -> FieldId {
    ds.add_field(NewField::new(name, kind)).unwrap()
}

fn encoded(ds: &DataSource, element: &Element) -> Value {
    let mut out = Vec::new();
    Encoder::compact(ds).encode(element, &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_schema_in_full() {
    let mut ds = source("open", SourceType::Single);
    let annotated = NewField::new("err", Scalar::String)
        .annotations([("description", "Why it failed."), ("value.one-of", "ENOENT, EPERM")]);
    ds.add_field(annotated).unwrap();
    let proc = ds.add_field(NewField::empty("proc")).unwrap();
    ds.add_sub_field(proc, NewField::new("pid", Scalar::Uint32).flags(Flags::HIDDEN))
        .unwrap();
    ds.add_field(NewField::new("secret", Scalar::Uint8).annotations([("json.skip", "true")]))
        .unwrap();
    let gone = add(&mut ds, "gone", Scalar::Uint8);
    ds.remove_reference(gone, false);
    let expected = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "open",
        "type": "object",
        "required": ["err", "proc"],
        "additionalProperties": false,
        "properties": {
            "err": {"type": "string", "description": "Why it failed. Usually one of: ENOENT, EPERM"},
            "proc": {
                "type": "object",
                "required": ["pid"],
                "additionalProperties": false,
                "properties": {"pid": {"type": "integer", "minimum": 0, "maximum": 4294967295u32}},
            },
        },
    });
    assert_eq!(schema(&[&ds], Options::default()), expected);
}

#[test]
fn ranges_of_integers() {
    for (scalar, minimum, maximum) in [
        (Scalar::Int8, json!(-128), json!(127)),
        (Scalar::Uint16, json!(0), json!(65535)),
        (Scalar::Int64, json!(i64::MIN), json!(i64::MAX)),
        (Scalar::Uint64, json!(0), json!(u64::MAX)),
    ] {
        let expected = json!({"type": "integer", "minimum": minimum, "maximum": maximum});
        assert_eq!(Value::from(number(scalar)), expected, "{scalar:?}");
    }
}

#[test]
fn several_data_sources_and_batches() {
    let (mut one, mut two) = (source("one", SourceType::Single), source("a/b ü", SourceType::Array));
    add(&mut one, "a", Scalar::Bool);
    add(&mut two, "b", Scalar::Uint8);
    let schema = schema(&[&one, &two], Options::default());
    for line in [json!({"a": true}), json!([]), json!([{"b": 1}, {"b": 255}])] {
        validate(&schema, &line).unwrap();
    }
    for line in [
        json!({"b": 1}),
        json!([{"b": 256}]),
        json!({"a": 1}),
        json!({"lost": 1, "reason": "buffer"}),
    ] {
        assert!(validate(&schema, &line).is_err(), "{line}");
    }
    let batches = super::schema(&[&two], LOSSES);
    assert_eq!(batches["type"], "array", "batches are not mixed with records");
}

#[test]
fn loss_records_are_part_of_it_when_asked_for() {
    let mut ds = source("open", SourceType::Single);
    add(&mut ds, "a", Scalar::Bool);
    let schema = schema(&[&ds], LOSSES);
    for line in [
        json!({"a": false}),
        json!({"lost": 3, "reason": "buffer"}),
        json!({"lost": u64::MAX, "reason": "sink", "datasource": "open"}),
    ] {
        validate(&schema, &line).unwrap();
    }
    for line in [
        json!({"lost": 0, "reason": "buffer"}),
        json!({"lost": 1}),
        json!({"lost": 1, "reason": "limiter"}),
        json!({"a": false, "lost": 1, "reason": "buffer"}),
    ] {
        assert!(validate(&schema, &line).is_err(), "{line}");
    }
}

#[test]
fn a_gadget_without_data_sources_prints_nothing() {
    assert!(validate(&schema(&[], Options::default()), &json!({})).is_err());
    assert!(validate(&schema(&[], LOSSES), &json!({"lost": 1, "reason": "buffer"})).is_err());
}

#[test]
fn recorded_events_fit_and_bent_ones_do_not() {
    for recorded in [testing::TRACE_OPEN, testing::TRACE_EXEC, testing::TRACE_TCP] {
        let ds = testing::source(recorded, "", &[]);
        let schema = schema(&[&ds], Options::default());
        let event = encoded(&ds, &Element::new(ds.layout()));
        validate(&schema, &event).unwrap();
        for name in event.as_object().unwrap().keys() {
            let mut bent = event.clone();
            bent.as_object_mut().unwrap().remove(name);
            assert!(validate(&schema, &bent).is_err(), "without {name}");
            bent[name] = json!([null]);
            assert!(validate(&schema, &bent).is_err(), "wrong {name}");
        }
        let mut more = event.clone();
        more["unheard_of"] = json!(1);
        assert!(validate(&schema, &more).is_err());
    }
}

proptest! {
    #[test]
    fn whatever_is_in_the_fields_fits(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        bits: u64,
    ) {
        let mut ds = source("all", SourceType::Single);
        let kinds = (0..15).flat_map(|number| [number, number | 0x1000_0000]).filter_map(Kind::from_wire);
        let ids: Vec<FieldId> = kinds.map(|kind| add(&mut ds, &kind.to_string(), kind)).collect();
        let parent = ds.add_field(NewField::empty("parent \"quoted\"\n")).unwrap();
        ds.add_sub_field(parent, NewField::new("x", Scalar::CString)).unwrap();
        ds.add_field(NewField::empty("childless")).unwrap();
        let mut element = Element::new(ds.layout());
        for id in ids {
            let accessor = ds.accessor(id);
            match ds.get(id).kind().fixed_size() {
                Some(_) => accessor.set_bits(&mut element, bits),
                None => accessor.set(&mut element, &bytes).unwrap(),
            }
        }
        let schema = schema(&[&ds], Options::default());
        let event = encoded(&ds, &element);
        prop_assert!(validate(&schema, &event).is_ok(), "{:?}", validate(&schema, &event));
        // What is no number is null.
        let float = ds.accessor(ds.find("Float64").unwrap());
        float.set(&mut element, &f64::NAN.to_ne_bytes()).unwrap();
        let event = encoded(&ds, &element);
        prop_assert!(event["Float64"].is_null());
        prop_assert!(validate(&schema, &event).is_ok());
    }
}
