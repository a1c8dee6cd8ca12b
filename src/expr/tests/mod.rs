//! Tests of whole expressions, in tables: the text, and what comes of it.

mod builtins;
mod errors;
mod limits;
mod operators;

use super::plan::Frame;
use super::value::Budget;
use super::*;
use crate::data::{Annotations, Kind, NewField, Scalar, SourceType, StaticField};

/// A data source with fields of every kind, and one event of it.
pub(super) fn event() -> (DataSource, Element) {
    let mut source = DataSource::new("events", SourceType::Single, None);
    let member = |name: &str, kind: Kind, offset: u32, size: u32, parent: Option<usize>| StaticField {
        name: name.to_owned(),
        kind,
        offset,
        size,
        bits: None,
        parent,
        tags: Vec::new(),
        annotations: Annotations::new(),
    };
    let members = [
        member("proc", Scalar::Bytes.into(), 0, 24, None),
        member("comm", Scalar::CString.into(), 0, 16, Some(0)),
        member("pid", Scalar::Uint32.into(), 16, 4, Some(0)),
        member("creds", Scalar::Bytes.into(), 20, 4, Some(0)),
        member("uid", Scalar::Uint32.into(), 20, 4, Some(3)),
        member("error", Scalar::Int32.into(), 24, 4, None),
        member("mntns", Scalar::Uint64.into(), 32, 8, None),
        member("tiny", Scalar::Int8.into(), 40, 1, None),
        member("flag", Scalar::Bool.into(), 41, 1, None),
        member("ratio", Scalar::Float64.into(), 48, 8, None),
        member("single", Scalar::Float32.into(), 56, 4, None),
        member("raw", Scalar::Bytes.into(), 60, 3, None),
    ];
    source.add_static_fields(64, &members).unwrap();
    for (name, scalar) in [
        ("stringValue", Scalar::String),
        ("int64Value", Scalar::Int64),
        ("addr", Scalar::String),
        ("type", Scalar::String),
        ("empty", Scalar::String),
    ] {
        source.add_field(NewField::new(name, scalar)).unwrap();
    }
    let mut element = Element::new(source.layout());
    for (name, value) in [
        ("proc.comm", &b"cat\0rest\0\0\0\0\0\0\0\0"[..]),
        ("proc.pid", &1234_u32.to_ne_bytes()),
        ("proc.creds.uid", &1000_u32.to_ne_bytes()),
        ("error", &(-2_i32).to_ne_bytes()),
        ("mntns", &u64::MAX.to_ne_bytes()),
        ("tiny", &(-8_i8).to_ne_bytes()),
        ("flag", &[1]),
        ("ratio", &2.5_f64.to_ne_bytes()),
        ("single", &0.1_f32.to_ne_bytes()),
        ("raw", b"\x01\xffz"),
        ("stringValue", b"abc"),
        ("int64Value", &123_i64.to_ne_bytes()),
        ("addr", b"10.1.2.3"),
        ("type", b"udp"),
    ] {
        let id = source.find(name).unwrap();
        source.accessor(id).set(&mut element, value).unwrap();
    }
    (source, element)
}

/// The value of an expression of any type, as `string()` shows it, or the error of compiling or evaluating it.
pub(super) fn value(text: &str) -> std::result::Result<String, String> {
    let (source, element) = event();
    let message = |fault: Box<Fault>| fault.bind(text).to_string();
    let tree = parser::parse(text).map_err(message)?;
    let compiled = compile::compile(&tree, &source).map_err(message)?;
    let value = compiled.plan.value(&mut Frame::new(&element)).map_err(message)?;
    let mut out = Vec::new();
    show::append(&value, &mut Budget::new(), &mut out).map_err(message)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Compares the values of expressions with what is expected of them.
pub(super) fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(text, expected)| {
            let found = value(text);
            (found.as_deref() != Ok(*expected)).then(|| format!("{text}\n  expected {expected}\n  found    {found:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn matches(text: &str) -> Result<bool> {
    let (source, element) = event();
    Filter::compile(text, &source)?.matches(&element)
}

#[test]
fn f9_membership_and_comparison() {
    assert!(matches(r#"stringValue in ["abc","x"] and int64Value > 100"#).unwrap());
    assert!(!matches(r#"stringValue in ["ab","x"] and int64Value > 100"#).unwrap());
    assert!(!matches(r#"stringValue in ["abc","x"] and int64Value > 123"#).unwrap());
}

#[test]
fn f10_addresses_in_prefixes() {
    assert!(matches("'1.1.1.1' in cidr('1.0.0.0/8')").unwrap());
    assert!(!matches("'127.0.0.1' in cidr('1.0.0.0/8')").unwrap());
    assert!(matches("addr in cidr('1.0.0.0/8', '10.0.0.0/8')").unwrap());
    assert!(matches("addr not in cidr('1.0.0.0/8')").unwrap());
    assert!(matches("CidrMatches(addr, cidr('10.1.0.0/16'))").unwrap());
    assert!(matches("let local = cidr('10.0.0.0/8'); addr in local").unwrap());
    let error = matches("stringValue in cidr('1.0.0.0/8')").unwrap_err().to_string();
    assert_eq!(
        error,
        "evaluating expression: invalid IP address: \"abc\" (1:13)\n | stringValue in cidr('1.0.0.0/8')\n | ............^"
    );
}

#[test]
fn f11_errors_of_compilation() {
    let prefix = |text: &str| {
        format!(
            "compiling filter expression {} for datasource events: compiling filter expression: ",
            go_quote(text)
        )
    };
    for (text, expected) in [
        ("stringValue", "expected bool, but got string"),
        (
            "int64Value > 'abc'",
            "invalid operation: > (mismatched types int64 and string) (1:12)\n | int64Value > 'abc'\n | ...........^",
        ),
        (
            "nosuchfield == 1",
            "unknown name nosuchfield (1:1)\n | nosuchfield == 1\n | ^",
        ),
        ("1 + 1", "expected bool, but got int"),
        (
            "proc.comm ==",
            "unexpected token EOF (1:12)\n | proc.comm ==\n | ...........^",
        ),
    ] {
        let error = matches(text).unwrap_err();
        assert_eq!(error.to_string(), format!("{}{expected}", prefix(text)));
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
    }
}

#[test]
fn f12_texts() {
    let (source, element) = event();
    for (text, expected) in [
        (r#""n="+string(int64Value)"#, "n=123"),
        (r#"proc.comm + ":" + string(proc.pid) + "\n""#, "cat:1234\n"),
        ("stringValue", "abc"),
        ("flag ? upper(stringValue) : ''", "ABC"),
        ("fromJSON('{\"a\": \"b\"}').a", "b"),
    ] {
        let mut out = b"> ".to_vec();
        Text::compile(text, &source).unwrap().eval(&element, &mut out).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), format!("> {expected}"));
    }
    let error = Text::compile("1", &source).unwrap_err().to_string();
    assert_eq!(error, "compiling expression \"1\": expected string, but got int");
    let mut unknown = Text::compile("fromJSON('1')", &source).unwrap();
    let error = unknown.eval(&element, &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(error, "evaluating expression: expected string, but got float");
}

#[test]
fn fields_that_are_read_are_named() {
    let (source, _) = event();
    let fields = |text: &str| -> Vec<String> {
        let filter = Filter::compile(text, &source).unwrap();
        let names = filter.fields().iter().map(|id| source.get(*id).full_name().to_owned());
        names.collect()
    };
    assert_eq!(fields("true"), Vec::<&str>::new());
    assert_eq!(
        fields("proc.pid > 1 and proc.pid < 5 or PROC.comm == 'a'"),
        ["proc.pid", "proc.comm"]
    );
    assert_eq!(fields("let p = proc; p.creds.uid == 0"), ["proc.creds.uid"]);
    assert_eq!(
        fields("$env.proc.comm == '' and $env['error'] == 0"),
        ["proc.comm", "error"]
    );
    assert_eq!(fields("'error' in $env"), Vec::<&str>::new());
    assert_eq!(fields("any(['flag'], $env[#] == true)").len(), 12);
}

#[test]
fn names_are_found_as_in_the_data_source() {
    check(&[
        ("stringvalue == 'abc'", "true"),
        ("PROC.comm", "cat"),
        ("type + type('x')", "udpstring"),
        ("proc.creds.uid", "1000"),
        ("proc['comm']", "cat"),
        ("proc?.comm", "cat"),
        ("raw == '\\x01\\xffz'", "true"),
        // The field is seen, not the variable.
        ("let flag = 5; flag", "true"),
        ("let name = 5; name + 1", "6"),
        ("$env.error", "-2"),
        ("$env['proc'].comm", "cat"),
        ("'proc' in $env and 'nosuch' not in $env", "true"),
        ("'comm' in proc and 'nosuch' not in proc", "true"),
        ("let n = 'err'; $env[n + 'or']", "-2"),
        ("map(['flag', 'nosuch'], # in $env)", "[true false]"),
        ("get($env, 'nosuch') ?? 'none'", "none"),
        ("get(proc, 'comm')", "cat"),
        ("get($env, 'int64Value')", "123"),
    ]);
}

#[test]
fn values_of_every_kind_are_read() {
    check(&[
        ("error", "-2"),
        ("mntns", "18446744073709551615"),
        ("tiny", "-8"),
        ("flag", "true"),
        ("ratio", "2.5"),
        ("single", "0.1"),
        ("empty", ""),
        ("type(mntns) + type(error) + type(ratio)", "uintintfloat"),
    ]);
}
