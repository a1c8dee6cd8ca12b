//! The acceptance checks of formatters, and of the fields that operators add.

use serde_json::{Value, json};

use super::*;
use crate::data::{DataSource, SourceType, StaticField};
use crate::operators::uidgid::UidGidResolver;
use crate::operators::ustack::UserStacks;
use crate::operators::{Instance, Stream};
use crate::output::json::Encoder;
use crate::output::testing;

fn text(append: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    append(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn t1_signals() {
    for (number, expected) in [
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (31, "SIGSYS"),
        (0, "signal#0"),
        (32, "signal#32"),
        (100, "signal#100"),
    ] {
        assert_eq!(text(|out| signal::append(number, out)), expected);
    }
}

#[test]
fn t2_error_numbers() {
    for (number, expected) in [
        (0, ""),
        (2, "ENOENT"),
        (11, "EAGAIN"),
        (35, "EDEADLK"),
        (41, "error#41"),
        (95, "ENOTSUP"),
        (110, "ETIMEDOUT"),
        (133, "EHWPOISON"),
        (134, "error#134"),
    ] {
        assert_eq!(text(|out| errno::append(number, out)), expected);
    }
}

#[test]
fn protocols() {
    for (number, expected) in [
        (0, "HOPOPT"),
        (6, "TCP"),
        (124, "ISIS over IPv4"),
        (200, "proto#200"),
        (65535, "proto#65535"),
    ] {
        assert_eq!(text(|out| protocol::append(number, out)), expected);
    }
}

/// What the operators that follow enrichment make of a data source.
fn instantiate(source: DataSource) -> (Context, Vec<Box<dyn Instance>>) {
    let mut context = Context {
        streams: vec![Stream::new(source)],
        ..Context::default()
    };
    let mut instances: Vec<Box<dyn Instance>> = Vec::new();
    if let Some(instance) = Formatters::instantiate(&mut context).unwrap() {
        instances.push(Box::new(instance));
    }
    if let Some(instance) = UidGidResolver::instantiate(&mut context).unwrap() {
        instances.push(Box::new(instance));
    }
    if let Some(instance) = UserStacks::instantiate(&mut context, &crate::containers::Host::new("/")).unwrap() {
        instances.push(Box::new(instance));
    }
    (context, instances)
}

#[test]
fn added_fields_are_as_recorded() {
    for (schema, first, said) in [
        (
            testing::TRACE_OPEN,
            "error",
            &[("flags", "columns.width", "10"), ("flags", "columns.hidden", "true")][..],
        ),
        (
            testing::TRACE_EXEC,
            "error",
            &[("error", "columns.width", "5"), ("error", "columns.alignment", "right")],
        ),
        (testing::TRACE_TCP, "error", &[]),
    ] {
        let (name, recorded) = testing::recorded(schema);
        let before = testing::source(schema, first, said).len();
        let (context, _) = instantiate(testing::source(schema, first, said));
        let found = testing::described(&context.streams[0].source);
        assert_eq!(found.len(), recorded.len(), "{name}");
        for (i, (found, mut recorded)) in found.into_iter().zip(recorded).enumerate() {
            recorded.as_object_mut().unwrap().remove("size");
            if i < before {
                let template = recorded["annotations"].as_object_mut().unwrap().remove("template");
                assert!(template.is_none_or(|template| template.is_string()));
            }
            assert_eq!(found, recorded, "{name}");
        }
    }
}

fn member(name: &str, kind: Scalar, size: u32, offset: u32, tags: &[&str]) -> StaticField {
    StaticField {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..StaticField::new(name, kind, offset, size)
    }
}

/// An l4 endpoint `ep` as gadgets declare it.
fn endpoint() -> DataSource {
    let mut ds = DataSource::new("test", SourceType::Single, None);
    let below = |mut field: StaticField| {
        field.parent = Some(0);
        field
    };
    ds.add_static_fields(
        21,
        &[
            member("ep", Scalar::Bytes, 21, 0, &["type:gadget_l4endpoint_t"]),
            below(member("addr_raw", Scalar::Bytes, 16, 0, &["type:gadget_ip_addr_t"])),
            below(member("port", Scalar::Uint16, 2, 16, &["name:port"])),
            below(member("proto_raw", Scalar::Uint16, 2, 18, &["name:proto_raw"])),
            below(member("version", Scalar::Uint8, 1, 20, &["name:version"])),
        ],
    )
    .unwrap();
    ds
}

/// Lets everything be read and everything be prepared.
fn prepare(context: &mut Context, instances: &mut [Box<dyn Instance>]) {
    for stream in &mut context.streams {
        let all: Vec<FieldId> = stream.source.fields().map(|(id, _)| id).collect();
        all.into_iter().for_each(|id| stream.demand.add(id));
    }
    for instance in instances {
        instance.prepare(context).unwrap();
    }
}

#[test]
fn t8_and_t9_endpoints() {
    let (mut context, mut instances) = instantiate(endpoint());
    prepare(&mut context, &mut instances);
    let stream = &mut context.streams[0];
    let column = stream.source.accessor(stream.source.find("ep.endpoint").unwrap());
    let mut encoder = Encoder::compact(&stream.source);
    let mut event = |address: &[u8], port: u16, protocol: u16, version: u8| {
        let mut record = address.to_vec();
        record.resize(16, 0);
        record.extend(port.to_ne_bytes());
        record.extend(protocol.to_ne_bytes());
        record.push(version);
        let mut element = Element::default();
        element.reset(stream.source.layout(), &record);
        stream.pipeline.emit(&mut element)?;
        let mut out = Vec::new();
        encoder.encode(&element, &mut out);
        let text = String::from_utf8(column.text(&element).to_vec()).unwrap();
        Ok::<_, crate::Error>((text, String::from_utf8(out).unwrap()))
    };
    let (text, json) = event(&[1, 2, 3, 4], 80, 6, 4).unwrap();
    assert_eq!(text, "1.2.3.4:80");
    assert_eq!(
        json,
        r#"{"ep":{"addr":"1.2.3.4","port":80,"proto":"TCP","proto_raw":6,"version":4}}"#
    );
    let mut loopback = [0; 16];
    loopback[15] = 1;
    let (text, json) = event(&loopback, 53, 200, 6).unwrap();
    assert_eq!(text, "::1:53");
    assert!(json.contains(r#""proto":"proto#200""#), "{json}");
    let mapped = "::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().unwrap();
    assert_eq!(event(&mapped.octets(), 1, 17, 6).unwrap().0, "10.0.0.1:1");
    let error = event(&[], 1, 17, 5).unwrap_err();
    assert_eq!(
        error.to_string(),
        "getting IP address: getting IP: unknown IP version: 5"
    );
}

#[test]
fn an_incomplete_endpoint_stays_as_it_is() {
    let mut ds = DataSource::new("test", SourceType::Single, None);
    ds.add_static_fields(4, &[member("ep", Scalar::Bytes, 4, 0, &["type:gadget_l4endpoint_t"])])
        .unwrap();
    let (context, instances) = instantiate(ds);
    assert!(instances.is_empty());
    assert_eq!(context.streams[0].source.len(), 1);
}

/// One field with everything that formatters look at.
fn one(name: &str, type_name: &str, kind: Scalar, annotations: &[(&str, &str)]) -> DataSource {
    let mut ds = DataSource::new("test", SourceType::Single, None);
    let size = kind.size().unwrap() as u32;
    let mut field = member(name, kind, size, 0, &[&format!("type:gadget_{type_name}")]);
    field.annotations = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    ds.add_static_fields(size, &[field]).unwrap();
    ds
}

fn run(ds: DataSource, bits: u64) -> Value {
    let (mut context, mut instances) = instantiate(ds);
    prepare(&mut context, &mut instances);
    let stream = &mut context.streams[0];
    let mut element = Element::default();
    element.reset(stream.source.layout(), &bits.to_ne_bytes());
    stream.pipeline.emit(&mut element).unwrap();
    let mut out = Vec::new();
    Encoder::compact(&stream.source).encode(&element, &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn every_type_is_formatted() {
    for (type_name, kind, bits, expected) in [
        ("signal", Scalar::Uint32, 15, "SIGTERM"),
        ("errno", Scalar::Uint32, 2, "ENOENT"),
        ("syscall", Scalar::Uint64, 1 << 20, "SYS_UNKNOWN"),
        ("bytes", Scalar::Uint64, 10240, "10 kB"),
        ("duration", Scalar::Uint64, 1500, "1.50µs"),
        ("file_mode", Scalar::Uint32, 0o644, "-rw-r--r--"),
        ("file_flags", Scalar::Uint32, 0o102, "O_RDWR|O_CREAT"),
        ("uid", Scalar::Uint32, 0, "root"),
        ("gid", Scalar::Uint32, 0, "root"),
    ] {
        let event = run(one("x_raw", type_name, kind, &[]), bits);
        assert_eq!(event, json!({"x": expected, "x_raw": bits}), "{type_name}");
    }
}

#[test]
fn names_of_targets() {
    let event = run(
        one("x", "errno", Scalar::Uint32, &[("formatters.errno.target", "text")]),
        1,
    );
    assert_eq!(event, json!({"text": "EPERM", "x": 1}));
    let event = run(one("x", "errno", Scalar::Uint32, &[]), 1);
    assert_eq!(event, json!({"x": 1}), "no name, no text");
    let event = run(one("x", "uid", Scalar::Uint32, &[]), 0);
    assert_eq!(event, json!({"user": "root", "x": 0}));
    let event = run(one("x", "gid", Scalar::Uint32, &[("uidgidresolver.target", "g")]), 0);
    assert_eq!(event, json!({"g": "root", "x": 0}));
}

#[test]
fn other_kinds_get_an_empty_text_or_none() {
    assert_eq!(
        run(one("x_raw", "errno", Scalar::Uint64, &[]), 2),
        json!({"x": "", "x_raw": 2})
    );
    assert_eq!(
        run(one("x_raw", "syscall", Scalar::Uint32, &[]), 2),
        json!({"x_raw": 2})
    );
}

#[test]
fn two_ids_with_one_name_fail() {
    let mut ds = one("a", "uid", Scalar::Uint32, &[]);
    ds.add_static_fields(4, &[member("b", Scalar::Uint32, 4, 0, &["type:gadget_uid"])])
        .unwrap();
    let mut context = Context {
        streams: vec![Stream::new(ds)],
        ..Context::default()
    };
    let error = UidGidResolver::instantiate(&mut context).unwrap_err();
    assert!(error.to_string().ends_with("field \"user\" already exists"), "{error}");
}

#[test]
fn inputs_are_hidden_unless_metadata_says_otherwise() {
    let hidden = |annotations: &[(&str, &str)]| {
        let (context, _) = instantiate(one("x_raw", "bytes", Scalar::Uint64, annotations));
        let source = &context.streams[0].source;
        source.get(source.find("x_raw").unwrap()).is_hidden()
    };
    assert!(hidden(&[]));
    assert!(hidden(&[("columns.hidden", "true")]));
    assert!(!hidden(&[("columns.hidden", "false")]));
}

#[test]
fn time_stamps_become_wall_time_even_if_only_the_number_is_read() {
    let second = 1_000_000_000;
    let now = || i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap();
    let before = now();
    let event = run(one("t_raw", "timestamp", Scalar::Uint64, &[]), 0);
    let raw = event["t_raw"].as_i64().unwrap();
    assert!((before..=now()).contains(&raw), "0 is now");
    let parsed: jiff::Timestamp = event["t"].as_str().unwrap().parse().unwrap();
    assert_eq!(parsed.as_nanosecond(), i128::from(raw));

    let (mut context, mut instances) = instantiate(one("t_raw", "timestamp", Scalar::Uint64, &[]));
    let stream = &mut context.streams[0];
    let (raw, text) = (stream.source.find("t_raw").unwrap(), stream.source.find("t").unwrap());
    stream.demand.add(raw);
    instances[0].demand(&mut context);
    instances[0].prepare(&mut context).unwrap();
    let stream = &mut context.streams[0];
    let mut element = Element::default();
    element.reset(stream.source.layout(), &1u64.to_ne_bytes());
    stream.pipeline.emit(&mut element).unwrap();
    let boot = stream.source.accessor(raw).i64(&element);
    assert!(boot > 0 && boot < now() + second);
    assert!(
        stream.source.accessor(text).text(&element).is_empty(),
        "nobody asked for the text"
    );
}

#[test]
fn nobody_pays_for_what_nobody_reads() {
    let (mut context, mut instances) = instantiate(testing::source(testing::TRACE_OPEN, "error", &[]));
    for instance in instances.iter().rev() {
        instance.demand(&mut context);
    }
    for instance in &mut instances {
        instance.prepare(&mut context).unwrap();
    }
    assert!(context.streams[0].pipeline.is_empty());

    let (mut context, mut instances) = instantiate(testing::source(testing::TRACE_OPEN, "error", &[]));
    let stream = &mut context.streams[0];
    let [error, raw] = ["error", "error_raw"].map(|name| stream.source.find(name).unwrap());
    stream.demand.add(error);
    for instance in instances.iter().rev() {
        instance.demand(&mut context);
    }
    assert!(
        context.streams[0].demand.wants(raw),
        "the input of what is read is read"
    );
    for instance in &mut instances {
        instance.prepare(&mut context).unwrap();
    }
    assert_eq!(
        format!("{:?}", context.streams[0].pipeline),
        "Pipeline { priorities: [0] }"
    );
}
