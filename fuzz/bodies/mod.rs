//! What the fuzz targets do with an input. A bug is a panic: of the library, or of what is asserted here.
//!
//! Shared by `fuzz/fuzz_targets/` (nightly, libFuzzer) and `tests/fuzz_corpus.rs` (stable).

#![allow(dead_code, unreachable_pub)]

pub mod binary;
pub mod btf;
pub mod event;
pub mod fields;
pub mod filter;
pub mod filter_expr;
pub mod gadget_yaml;
pub mod guest;
pub mod ld_cache;
pub mod object;
pub mod recording;
pub mod symbols;
pub mod usdt_args;

use inspektor_gadget::data::{Annotations, DataSource, Element, Kind, NewField, Scalar, SourceType, StaticField};

/// Every input of the texts' targets meets the same data source, which has fields of every kind.
pub fn source() -> DataSource {
    let mut source = DataSource::new("open", SourceType::Single, None);
    let member = |name: &str, kind: Kind, offset, size, parent| StaticField {
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
        member("raw", Scalar::Bytes.into(), 60, 4, None),
        member("ports", Kind::Array(Scalar::Uint16), 64, 8, None),
    ];
    source.add_static_fields(72, &members).expect("the members fit");
    for name in ["fname", "addr", "type"] {
        source
            .add_field(NewField::new(name, Scalar::String))
            .expect("the names differ");
    }
    source
}

/// Two elements of it: one where everything is zero or empty, and one with values.
pub fn elements(source: &DataSource) -> [Element; 2] {
    let empty = Element::new(source.layout());
    let mut full = empty.clone();
    let record: Vec<u8> = b"cat\0rest".iter().copied().chain(9..200).collect();
    full.reset(source.layout(), &record[..72]);
    for (name, value) in [
        ("fname", &b"/etc/h\xff\x1b[1m"[..]),
        ("addr", b"10.1.2.3"),
        ("type", b"udp"),
    ] {
        let id = source.find(name).expect("it was added");
        source.accessor(id).set(&mut full, value).expect("any text fits");
    }
    [empty, full]
}

/// Panics if `text` would do more to a terminal than to fill lines. U+007F does nothing there, and JSON has it as it is.
pub fn assert_harmless(text: &[u8]) {
    let text = std::str::from_utf8(text).expect("what is shown is UTF-8");
    let control = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\u{7f}'));
    assert!(control.is_none(), "{control:?} is shown: {text:?}");
}

/// What an error says is harmless, and something.
pub fn assert_said(error: &inspektor_gadget::Error) {
    let said = error.to_string();
    assert!(!said.is_empty());
    assert_harmless(said.as_bytes());
    assert_harmless(error.hint().unwrap_or_default().as_bytes());
}
