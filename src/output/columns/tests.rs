//! The acceptance checks of columns.

use proptest::prelude::*;

use super::*;
use crate::data::{NewField, SourceType};
use crate::output::testing;

const DEFAULTS: [(&str, &str); 3] = [
    ("columns.width", "16"),
    ("columns.ellipsis", "end"),
    ("columns.alignment", "left"),
];

fn add(ds: &mut DataSource, name: &str, kind: impl Into<Kind>, annotations: &[(&str, &str)]) -> FieldId {
    let id = ds.add_field(NewField::new(name, kind)).unwrap();
    for (key, value) in annotations {
        ds.annotate_field(id, *key, *value);
    }
    id
}

fn empty() -> DataSource {
    DataSource::new("test", SourceType::Single, None)
}

fn table(ds: &DataSource, fields: &str, terminal: Option<usize>) -> Table {
    Table::new(ds, &Selection::parse(ds, fields).unwrap(), terminal).unwrap()
}

fn header(table: &Table) -> String {
    let mut out = Vec::new();
    table.header(&mut out);
    String::from_utf8(out).unwrap()
}

fn row(table: &mut Table, element: &Element) -> String {
    let mut out = Vec::new();
    table.row(element, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn k1_and_k2_header_and_row() {
    let mut ds = empty();
    let comm = add(&mut ds, "comm", Scalar::String, &[("columns.maxwidth", "16")]);
    let right = [("columns.minwidth", "7"), ("columns.alignment", "right")];
    let pid = add(&mut ds, "pid", Scalar::Uint32, &right);
    let args = add(&mut ds, "args", Scalar::String, &[]);
    let mut element = Element::new(ds.layout());
    ds.accessor(comm).set(&mut element, b"curl").unwrap();
    ds.accessor(pid).set_bits(&mut element, 1234);
    ds.accessor(args).set(&mut element, b"/usr/bin/curl https://x").unwrap();

    let mut pipe = table(&ds, "", None);
    assert_eq!(
        header(&pipe).replace(' ', "·"),
        "COMM··························PID·ARGS············"
    );
    assert_eq!(
        row(&mut pipe, &element).replace(' ', "·"),
        "curl·························1234·/usr/bin/curl·h…"
    );
    let mut narrow = table(&ds, "", Some(30));
    assert_eq!(header(&narrow).replace(' ', "·"), "COMM·············PID·ARGS·····");
    assert_eq!(
        row(&mut narrow, &element).replace(' ', "·"),
        "curl············1234·/usr/bin…"
    );
    let mut named = table(&ds, "args,comm", None);
    assert_eq!(row(&mut named, &element), "/usr/bin/curl h… curl            ");
}

#[test]
fn k9_to_k12_values() {
    let mut ds = empty();
    let narrow = |more: &[(&'static str, &'static str)]| {
        let mut all = DEFAULTS.to_vec();
        all.push(("columns.width", "10"));
        all.extend_from_slice(more);
        all
    };
    let hex = add(&mut ds, "hex", Scalar::Uint32, &narrow(&[("columns.hex", "true")]));
    let negative = add(&mut ds, "negative", Scalar::Int32, &narrow(&[("columns.hex", "true")]));
    let plain = add(&mut ds, "plain", Scalar::Float64, &narrow(&[]));
    let precise = add(
        &mut ds,
        "precise",
        Scalar::Float64,
        &narrow(&[("columns.precision", "2")]),
    );
    let bytes = add(&mut ds, "bytes", Scalar::Bytes, &narrow(&[]));
    let flag = add(&mut ds, "flag", Scalar::Bool, &narrow(&[]));
    let list = add(&mut ds, "list", Kind::Array(Scalar::Uint16), &narrow(&[]));
    let mut element = Element::new(ds.layout());
    ds.accessor(hex).set_bits(&mut element, 255);
    ds.accessor(negative).set_bits(&mut element, -31i64 as u64);
    ds.accessor(plain).set(&mut element, &2.5f64.to_ne_bytes()).unwrap();
    ds.accessor(precise)
        .set(&mut element, &3.15159f64.to_ne_bytes())
        .unwrap();
    ds.accessor(bytes).set(&mut element, &[1, 2, 3]).unwrap();
    ds.accessor(flag).set_bits(&mut element, 1);
    ds.accessor(list).set(&mut element, &[1, 2]).unwrap();
    let cells = row(&mut table(&ds, "", None), &element);
    assert_eq!(
        cells,
        "0xFF       0x-1F      2          3.15       <3 bytes>  true       <2 bytes> "
    );
    let zero = Element::new(ds.layout());
    let cells = row(&mut table(&ds, "hex,precise,flag,bytes", None), &zero);
    assert_eq!(cells, "0x0        0.00       false      <0 bytes> ");
}

#[test]
fn another_field_can_stand_in() {
    let mut ds = empty();
    let shown = add(
        &mut ds,
        "src",
        Scalar::Bytes,
        &[("columns.replace", "text"), ("columns.width", "6")],
    );
    let text = add(&mut ds, "text", Scalar::String, &[]);
    let mut element = Element::new(ds.layout());
    ds.accessor(text).set(&mut element, b"1.2.3").unwrap();
    let mut one = table(&ds, "src", None);
    assert_eq!(
        (header(&one), row(&mut one, &element)),
        ("SRC   ".to_owned(), "1.2.3 ".to_owned())
    );
    assert_eq!(one.fields(), [text], "the other field is what is read");
    ds.annotate_field(shown, "columns.replace", "nosuch");
    let error = Table::new(&ds, &Selection::default_of(&ds), None).unwrap_err();
    assert_eq!(error.to_string(), "replacement field \"nosuch\" not found");
}

#[test]
fn widths_by_type_and_annotations_that_make_no_sense() {
    let mut ds = empty();
    add(&mut ds, "n", Scalar::Uint16, &[("columns.width", "type")]);
    add(&mut ds, "z", Scalar::Int8, &[("columns.width", "0")]);
    assert_eq!(header(&table(&ds, "", None)), "N     Z   ");
    for (kind, key, value, message) in [
        (
            Scalar::String,
            "columns.width",
            "type",
            "column \"x\": special value \"type\" is only available for integer and bool types",
        ),
        (
            Scalar::Bytes,
            "columns.width",
            "type",
            "column \"x\": special value \"type\" is only available for fields with a reflect type",
        ),
        (
            Scalar::Uint8,
            "columns.maxwidth",
            "ten",
            "column \"x\": invalid width \"ten\": invalid digit found in string",
        ),
        (
            Scalar::Uint8,
            "columns.alignment",
            "centre",
            "invalid alignment type for column \"x\": centre",
        ),
        (
            Scalar::Uint8,
            "columns.ellipsis",
            "begin",
            "invalid ellipsis type for column \"x\": begin",
        ),
    ] {
        let mut ds = empty();
        add(&mut ds, "x", kind, &[(key, value)]);
        let error = Table::new(&ds, &Selection::default_of(&ds), None).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let mut ds = empty();
    add(&mut ds, "same", Scalar::Uint8, &[]);
    add(&mut ds, "SAME", Scalar::Uint8, &[]);
    assert!(Table::new(&ds, &Selection::default_of(&ds), None).is_err());
    let mut ds = empty();
    add(
        &mut ds,
        "huge",
        Scalar::String,
        &[("columns.width", "9223372036854775807")],
    );
    assert_eq!(header(&table(&ds, "", None)).len(), usize::from(u16::MAX));
}

fn first_line(sample: &str) -> &str {
    sample.lines().next().unwrap()
}

#[test]
fn recorded_tables_come_out_byte_for_byte() {
    let sample = include_str!("../../../tests/reference/samples/trace_open.docker.columns.txt");
    let ds = testing::source(testing::TRACE_OPEN, "", &[]);
    let mut open = Table::new(&ds, &Selection::default_of(&ds), None).unwrap();
    assert_eq!(header(&open), first_line(sample));
    let event = serde_json::json!({
        "runtime": {"containerName": "ref1"},
        "proc": {"comm": "sh", "pid": 14126, "tid": 14126, "parent": {"tid": 14107}},
        "fd": 3, "fname": "/dev/null", "mode": "-rw-rw-rw-",
    });
    let mut element = Element::new(ds.layout());
    testing::fill(&ds, &mut element, &event);
    assert_eq!(row(&mut open, &element), sample.lines().nth(1).unwrap());

    let sample = include_str!("../../../tests/reference/samples/trace_exec.columns.txt");
    let ds = testing::source(testing::TRACE_EXEC, "", &[]);
    let mut exec = Table::new(&ds, &Selection::default_of(&ds), None).unwrap();
    assert_eq!(header(&exec), first_line(sample));
    let event = serde_json::json!({
        "proc": {"comm": "sleep", "pid": 328, "tid": 328, "parent": {"tid": 156}},
        "args": "sleep\u{a0}0.5",
    });
    let mut element = Element::new(ds.layout());
    testing::fill(&ds, &mut element, &event);
    let recorded = sample.lines().nth(1).unwrap();
    assert_eq!(
        row(&mut exec, &element),
        recorded.replace("sleep\\u00a00.5  ", "sleep 0.5       ")
    );
}

#[test]
fn recorded_widths_on_terminals() {
    let ds = testing::source(testing::TRACE_OPEN, "", &[]);
    let by_default = |total| Table::new(&ds, &Selection::default_of(&ds), Some(total)).unwrap();
    let wide = "RUNTIME.CONTAINERNAME               COMM                    PID        TID TID         FD FNAME                                  FPATH                                  ERROR         MODE              ";
    assert_eq!(header(&by_default(200)), wide);
    let middle = "RUNTIME.CONTAI… COMM          PID      TID TID       FD FNAME                    FPATH                    ERROR  MODE   ";
    assert_eq!(header(&by_default(120)), middle);
    assert!(by_default(120).left_out().is_empty());
    let named = table(&ds, "proc.comm,proc.pid,fname", Some(80));
    assert_eq!(
        header(&named),
        "COMM                    PID FNAME                                               "
    );
}

#[test]
fn a_narrow_terminal_leaves_out_default_columns_and_names_them() {
    let ds = testing::source(testing::TRACE_OPEN, "", &[]);
    let narrow = Table::new(&ds, &Selection::default_of(&ds), Some(80)).unwrap();
    assert_eq!(narrow.left_out(), ["proc.parent.tid", "fpath", "mode"]);
    let line = header(&narrow);
    assert_eq!(line.chars().count(), 80, "{line}");
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["RUNTIME.CONTAIN…", "COMM", "PID", "TID", "FD", "FNAME", "ERROR"]
    );
    // What the user names is shown, readable or not.
    let all = "runtime.containerName,proc.comm,proc.pid,proc.tid,proc.parent.tid,fd,fname,fpath,error,mode";
    let named = table(&ds, all, Some(80));
    assert!(named.left_out().is_empty());
    assert_eq!(
        header(&named),
        "RU… …     PID     TID …  FD FNAME                    FPATH                     …"
    );
}

proptest! {
    #[test]
    fn rows_never_contain_what_a_terminal_acts_on(
        text in proptest::collection::vec(any::<u8>(), 0..80),
        width in 0usize..40,
        ellipsis in prop_oneof![Just(""), Just("start"), Just("middle"), Just("end")],
        alignment in prop_oneof![Just("left"), Just("right")],
        until_nul: bool,
    ) {
        let mut ds = empty();
        let width = width.to_string();
        let annotations = [
            ("columns.width", width.as_str()),
            ("columns.ellipsis", ellipsis),
            ("columns.alignment", alignment),
        ];
        let kind = if until_nul { Scalar::CString } else { Scalar::String };
        let id = add(&mut ds, "text", kind, &annotations);
        let mut element = Element::new(ds.layout());
        ds.accessor(id).set(&mut element, &text).unwrap();
        let line = row(&mut table(&ds, "", None), &element);
        prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        let expected = match width.parse().unwrap() { 0 => 16, width => width };
        prop_assert_eq!(line.chars().count(), expected);
    }
}
