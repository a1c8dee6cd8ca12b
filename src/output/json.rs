//! JSON: every referenced field of an element, hidden or not, keys sorted bytewise at every level.
//!
//! The output is always valid JSON in valid UTF-8, whatever bytes an event carries.

use super::number::{self, Float};
use super::plan::Plan;
use super::repeats::Repeats;
use super::scan;
use super::tree::{self, Node};
use crate::data::{Accessor, DataSource, Element, FieldId, Kind, Lazy, Scalar, SourceType};

/// Writes elements of one data source as JSON.
#[derive(Debug)]
pub struct Encoder {
    plan: Plan<Value>,
    repeats: Repeats,
    fields: Vec<FieldId>,
    pretty: bool,
}

impl Encoder {
    /// One value per line without spaces.
    pub fn compact(source: &DataSource) -> Self {
        Self::new(source, false)
    }

    /// Indented by two spaces per level; elements of an array data source one level deeper, as they stand in their array.
    pub fn pretty(source: &DataSource) -> Self {
        Self::new(source, true)
    }

    fn new(source: &DataSource, pretty: bool) -> Self {
        let nodes = tree::tree(source, |a, b| a.as_bytes().cmp(b.as_bytes()));
        let mut fields = Vec::new();
        tree::leaves(&nodes, &mut fields);
        let mut plan = Plan::new();
        let depth = if source.source_type() == SourceType::Array {
            1
        } else {
            0
        };
        let mut compiler = Compiler {
            source,
            plan: &mut plan,
            pretty,
        };
        compiler.indent(depth);
        compiler.object(&nodes, depth);
        let values = plan.values().map(|(step, value)| (step, value.accessor));
        Self {
            repeats: Repeats::new(plan.len(), values),
            plan,
            fields,
            pretty,
        }
    }

    /// The fields that are read.
    pub fn fields(&self) -> &[FieldId] {
        &self.fields
    }

    /// Appends one element.
    #[inline]
    pub fn encode(&mut self, element: impl Lazy, out: &mut Vec<u8>) {
        let plan = &self.plan;
        self.repeats.append(element, out, |steps, element, out| {
            plan.run_part(steps, out, |value: &Value, out| value.append(element, out));
        });
        plan.end(out);
    }

    /// Appends a batch as one JSON array.
    pub fn encode_array(&mut self, elements: &[Element], out: &mut Vec<u8>) {
        if elements.is_empty() {
            out.extend_from_slice(b"[]");
            return;
        }
        let (open, separator, close): (&[u8], &[u8], &[u8]) = if self.pretty {
            (b"[\n", b",\n", b"\n]")
        } else {
            (b"[", b",", b"]")
        };
        out.extend_from_slice(open);
        for (i, element) in elements.iter().enumerate() {
            if i > 0 {
                out.extend_from_slice(separator);
            }
            self.encode(element, out);
        }
        out.extend_from_slice(close);
    }
}

struct Compiler<'a> {
    source: &'a DataSource,
    plan: &'a mut Plan<Value>,
    pretty: bool,
}

impl Compiler<'_> {
    fn object(&mut self, nodes: &[Node<'_>], depth: usize) {
        self.plan.text("{");
        self.line_break();
        for (i, node) in nodes.iter().enumerate() {
            if i > 0 {
                self.plan.text(",");
                self.line_break();
            }
            self.indent(depth + 1);
            append_string(node.field.name().as_bytes(), false, self.plan.text_mut());
            self.plan.text(if self.pretty { ": " } else { ":" });
            match &node.children {
                Some(children) => self.object(children, depth + 1),
                None => self.value(node, depth + 1),
            }
        }
        self.line_break();
        self.indent(depth);
        self.plan.text("}");
    }

    fn value(&mut self, node: &Node<'_>, depth: usize) {
        let accessor = self.source.accessor(node.id);
        let form = Form::of(accessor.kind());
        let quote = if matches!(form, Form::Text(_) | Form::Hex) {
            "\""
        } else {
            ""
        };
        self.plan.text(quote);
        self.plan.value(Value {
            accessor,
            form,
            array_depth: self.pretty.then_some(depth as u32),
        });
        self.plan.text(quote);
    }

    fn line_break(&mut self) {
        if self.pretty {
            self.plan.text("\n");
        }
    }

    fn indent(&mut self, depth: usize) {
        if self.pretty {
            indent(depth, self.plan.text_mut());
        }
    }
}

fn indent(depth: usize, out: &mut Vec<u8>) {
    for _ in 0..depth {
        out.extend_from_slice(b"  ");
    }
}

/// How a kind is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Unsigned,
    Signed,
    Bool,
    Float,
    /// Up to the first NUL if `true`.
    Text(bool),
    /// An array of numbers.
    Numbers(Scalar),
    /// Anything else, as a string of hex digits.
    Hex,
}

impl Form {
    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::One(Scalar::Bool) => Form::Bool,
            Kind::One(Scalar::Float32 | Scalar::Float64) => Form::Float,
            Kind::One(Scalar::String) => Form::Text(false),
            Kind::One(Scalar::CString) => Form::Text(true),
            Kind::One(Scalar::Bytes | Scalar::Invalid) => Form::Hex,
            Kind::One(scalar) if scalar.is_signed() => Form::Signed,
            Kind::One(_) => Form::Unsigned,
            Kind::Array(scalar) if scalar.is_integer() || matches!(scalar, Scalar::Float32 | Scalar::Float64) => {
                Form::Numbers(scalar)
            }
            Kind::Array(_) => Form::Hex,
        }
    }
}

#[derive(Debug)]
struct Value {
    accessor: Accessor,
    form: Form,
    /// In pretty output, the depth of the field whose array has one number per line.
    array_depth: Option<u32>,
}

impl Value {
    #[inline]
    fn append(&self, element: &Element, out: &mut Vec<u8>) {
        match self.form {
            Form::Unsigned => number::append_u64(self.accessor.bits(element), out),
            Form::Signed => number::append_i64(self.accessor.bits(element) as i64, out),
            // What stands around both is the quotes.
            Form::Text(until_nul) => {
                let (bytes, len) = self.accessor.with_rest(element);
                append_front(bytes, len, until_nul, out);
            }
            Form::Bool => out.extend_from_slice(if self.accessor.bool(element) { b"true" } else { b"false" }),
            Form::Float => float(&self.accessor, element).append_json(out),
            Form::Hex => number::append_hex(self.accessor.bytes(element), out),
            Form::Numbers(scalar) => self.append_numbers(scalar, self.accessor.bytes(element), out),
        }
    }

    fn append_numbers(&self, scalar: Scalar, bytes: &[u8], out: &mut Vec<u8>) {
        let line = |deeper: u32, out: &mut Vec<u8>| {
            if let Some(depth) = self.array_depth {
                indent((depth + deeper) as usize, out);
            }
        };
        let separator: &[u8] = if self.array_depth.is_some() { b",\n" } else { b"," };
        let line_break: &[u8] = if self.array_depth.is_some() { b"\n" } else { b"" };
        out.push(b'[');
        out.extend_from_slice(line_break);
        for (i, item) in items(scalar, bytes).enumerate() {
            if i > 0 {
                out.extend_from_slice(separator);
            }
            line(1, out);
            append_item(scalar, item, out);
        }
        out.extend_from_slice(line_break);
        line(0, out);
        out.push(b']');
    }
}

/// The value of a floating point field.
pub(super) fn float(accessor: &Accessor, element: &Element) -> Float {
    match accessor.kind() {
        Kind::One(Scalar::Float32) => Float::Single(accessor.f64(element) as f32),
        _ => Float::Double(accessor.f64(element)),
    }
}

/// The numbers of an array; none when the length is no multiple of theirs.
pub(super) fn items(scalar: Scalar, bytes: &[u8]) -> std::slice::ChunksExact<'_, u8> {
    let size = scalar.size().unwrap_or(1);
    let whole = if bytes.len().is_multiple_of(size) { bytes } else { &[] };
    whole.chunks_exact(size)
}

/// Appends one number of an array.
pub(super) fn append_item(scalar: Scalar, item: &[u8], out: &mut Vec<u8>) {
    let signed = scalar.is_signed();
    match *item {
        [a] if signed => number::append_i64(i64::from(a as i8), out),
        [a] => number::append_u64(u64::from(a), out),
        [a, b] if signed => number::append_i64(i64::from(i16::from_ne_bytes([a, b])), out),
        [a, b] => number::append_u64(u64::from(u16::from_ne_bytes([a, b])), out),
        [a, b, c, d] => match scalar {
            Scalar::Float32 => Float::Single(f32::from_ne_bytes([a, b, c, d])).append_json(out),
            _ if signed => number::append_i64(i64::from(i32::from_ne_bytes([a, b, c, d])), out),
            _ => number::append_u64(u64::from(u32::from_ne_bytes([a, b, c, d])), out),
        },
        [a, b, c, d, e, f, g, h] => {
            let bytes = [a, b, c, d, e, f, g, h];
            match scalar {
                Scalar::Float64 => Float::Double(f64::from_ne_bytes(bytes)).append_json(out),
                _ if signed => number::append_i64(i64::from_ne_bytes(bytes), out),
                _ => number::append_u64(u64::from_ne_bytes(bytes), out),
            }
        }
        _ => {}
    }
}

/// Appends a JSON string; of a C string only what is before the first NUL.
#[inline]
pub(super) fn append_string(bytes: &[u8], until_nul: bool, out: &mut Vec<u8>) {
    out.push(b'"');
    append_front(bytes, bytes.len(), until_nul, out);
    out.push(b'"');
}

/// Appends what stands between the quotes of a JSON string of the first `len` of some bytes. Nearly all texts are plain and short, so
/// that one block is all there is to do.
#[inline]
fn append_front(bytes: &[u8], len: usize, until_nul: bool, out: &mut Vec<u8>) {
    let mut rest = bytes;
    let mut left = len;
    while left > 0 {
        let mut padded = [0; scan::BLOCK];
        let block = match rest.first_chunk() {
            Some(block) => block,
            None => {
                padded[..left].copy_from_slice(&rest[..left]);
                &padded
            }
        };
        let wanted = left.min(scan::BLOCK);
        let plain = scan::plain_in_block(block, wanted);
        // As the texts of plans.
        let end = out.len() + plain;
        out.extend_from_slice(block);
        out.truncate(end);
        if plain < wanted {
            return match until_nul && rest[plain] == 0 {
                true => {}
                false => append_special(&rest[plain..left], until_nul, out),
            };
        }
        rest = &rest[plain..];
        left -= plain;
    }
}

/// Appends what needs no escaping at the front of `bytes`, and returns the rest.
#[inline]
fn append_plain<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let (plain, rest) = bytes.split_at(scan::plain_prefix(bytes));
    out.extend_from_slice(plain);
    rest
}

/// Appends `bytes`, of which the first character, if there is one, is not plain.
#[inline(never)]
fn append_special(mut bytes: &[u8], until_nul: bool, out: &mut Vec<u8>) {
    loop {
        match bytes.first() {
            None => break,
            Some(0) if until_nul => break,
            Some(_) => bytes = append_plain(append_escaped(bytes, out), out),
        }
    }
}

/// Appends the first character of `bytes`, which is not plain, and returns the rest.
#[inline(never)]
fn append_escaped<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let (character, len) = scan::decode(bytes);
    match character {
        Some('"') => out.extend_from_slice(b"\\\""),
        Some('\\') => out.extend_from_slice(b"\\\\"),
        Some('\n') => out.extend_from_slice(b"\\n"),
        Some('\r') => out.extend_from_slice(b"\\r"),
        Some('\t') => out.extend_from_slice(b"\\t"),
        // JSON would allow those above U+007F, but terminals obey them. U+007F does nothing there and stays as it is.
        Some(control) if control.is_control() && control != '\u{7f}' => {
            out.extend_from_slice(b"\\u00");
            number::append_hex(&[u32::from(control) as u8], out);
        }
        Some('\u{2028}') => out.extend_from_slice(b"\\u2028"),
        Some('\u{2029}') => out.extend_from_slice(b"\\u2029"),
        Some(_) => out.extend_from_slice(&bytes[..len]),
        None => out.extend_from_slice(b"\\ufffd"),
    }
    &bytes[len..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::{Flags, NewField};
    use crate::output::testing;

    fn single() -> DataSource {
        DataSource::new("test", SourceType::Single, None)
    }

    fn add(ds: &mut DataSource, name: &str, kind: impl Into<Kind>) -> FieldId {
        ds.add_field(NewField::new(name, kind)).unwrap()
    }

    fn compact(ds: &DataSource, element: &Element) -> String {
        let mut out = Vec::new();
        Encoder::compact(ds).encode(element, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn pretty(ds: &DataSource, element: &Element) -> String {
        let mut out = Vec::new();
        Encoder::pretty(ds).encode(element, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn j1_and_j2_keys_and_nesting() {
        let mut ds = single();
        let pid = add(&mut ds, "pid", Scalar::Uint32);
        let comm = add(&mut ds, "comm", Scalar::String);
        let k8s = ds.add_field(NewField::empty("k8s")).unwrap();
        ds.add_sub_field(k8s, NewField::new("podName", Scalar::String).flags(Flags::HIDDEN))
            .unwrap();
        let mut element = Element::new(ds.layout());
        ds.accessor(comm).set(&mut element, b"a\"b").unwrap();
        ds.accessor(pid).set_bits(&mut element, 42);
        assert_eq!(
            compact(&ds, &element),
            r#"{"comm":"a\"b","k8s":{"podName":""},"pid":42}"#
        );

        let mut ds = single();
        let mut element = Element::default();
        let ids = ["a", "_b", "Z"].map(|name| add(&mut ds, name, Scalar::Int8));
        element.reset(ds.layout(), &[]);
        for id in ids {
            ds.accessor(id).set_bits(&mut element, 1);
        }
        assert_eq!(compact(&ds, &element), r#"{"Z":1,"_b":1,"a":1}"#);
    }

    #[test]
    fn j3_to_j5_and_j9_values() {
        let mut ds = single();
        let float = add(&mut ds, "f", Scalar::Float64);
        let single = add(&mut ds, "f32", Scalar::Float32);
        let bytes = add(&mut ds, "g", Scalar::Bytes);
        let text = add(&mut ds, "t", Scalar::String);
        let cstring = add(&mut ds, "c", Scalar::CString);
        let list = add(&mut ds, "u32", Kind::Array(Scalar::Uint32));
        let wide = add(&mut ds, "u64", Kind::Array(Scalar::Uint64));
        let bools = add(&mut ds, "x", Kind::Array(Scalar::Bool));
        let negative = add(&mut ds, "i", Scalar::Int16);
        let mut element = Element::new(ds.layout());
        let mut set = |id, value: &[u8]| ds.accessor(id).set(&mut element, value).unwrap();
        set(float, &f64::NAN.to_ne_bytes());
        set(single, &0.1f32.to_ne_bytes());
        set(bytes, &[0, 0xff]);
        set(text, &[0xff, b'\n', 7, 0]);
        set(cstring, "a\u{2028}<&>\u{7f}\u{9b}\0rest".as_bytes());
        set(list, &[1u32, 2].map(u32::to_ne_bytes).concat());
        set(wide, &u64::MAX.to_ne_bytes());
        set(bools, &[1, 0]);
        set(negative, &(-3i16).to_ne_bytes());
        assert_eq!(
            compact(&ds, &element),
            "{\"c\":\"a\\u2028<&>\u{7f}\\u009b\",\"f\":null,\"f32\":0.1,\"g\":\"00ff\",\"i\":-3,\
             \"t\":\"\\ufffd\\n\\u0007\\u0000\",\"u32\":[1,2],\"u64\":[18446744073709551615],\"x\":\"0100\"}"
        );
    }

    #[test]
    fn j6_and_j7_arrays_of_elements() {
        let mut ds = DataSource::new("test", SourceType::Array, None);
        let a = add(&mut ds, "a", Scalar::Int32);
        let elements = [1, 2].map(|value| {
            let mut element = Element::new(ds.layout());
            ds.accessor(a).set_bits(&mut element, value);
            element
        });
        let text = |mut encoder: Encoder, elements: &[Element]| {
            let mut out = Vec::new();
            encoder.encode_array(elements, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(Encoder::compact(&ds), &elements), r#"[{"a":1},{"a":2}]"#);
        assert_eq!(text(Encoder::compact(&ds), &[]), "[]");
        assert_eq!(text(Encoder::pretty(&ds), &[]), "[]");
        assert_eq!(
            text(Encoder::pretty(&ds), &elements),
            "[\n  {\n    \"a\": 1\n  },\n  {\n    \"a\": 2\n  }\n]"
        );
    }

    #[test]
    fn pretty_arrays_and_empty_objects() {
        let mut ds = single();
        let parent = ds.add_field(NewField::empty("p")).unwrap();
        let list = ds
            .add_sub_field(parent, NewField::new("l", Kind::Array(Scalar::Int8)))
            .unwrap();
        ds.add_sub_field(parent, NewField::new("n", Kind::Array(Scalar::Int8)))
            .unwrap();
        ds.add_sub_field(parent, NewField::empty("o")).unwrap();
        let mut element = Element::new(ds.layout());
        ds.accessor(list).set(&mut element, &[1, 0xff]).unwrap();
        assert_eq!(
            pretty(&ds, &element),
            "{\n  \"p\": {\n    \"l\": [\n      1,\n      -1\n    ],\n    \"n\": [\n\n    ],\n    \"o\": \"\"\n  }\n}"
        );
        assert_eq!(pretty(&single(), &Element::default()), "{\n\n}");
        assert_eq!(compact(&single(), &Element::default()), "{}");
    }

    #[test]
    fn j10_skipped_and_unreferenced_fields() {
        let mut ds = single();
        let parent = ds.add_field(NewField::empty("parent")).unwrap();
        let skipped = NewField::new("x", Scalar::Bool).annotations([("json.skip", "true")]);
        ds.add_sub_field(parent, skipped).unwrap();
        let gone = add(&mut ds, "gone", Scalar::Bool);
        ds.add_sub_field(gone, NewField::new("below", Scalar::Bool)).unwrap();
        ds.remove_reference(gone, false);
        let element = Element::new(ds.layout());
        assert_eq!(compact(&ds, &element), r#"{"parent":{}}"#);
        assert!(Encoder::compact(&ds).fields().is_empty(), "nothing is read");
    }

    #[test]
    fn recorded_events_come_out_byte_for_byte() {
        let docker_open = include_str!("../../tests/reference/samples/trace_open.docker.jsonl");
        let open = include_str!("../../tests/reference/samples/trace_open.jsonl");
        let docker_exec = include_str!("../../tests/reference/samples/trace_exec.docker.jsonl");
        let exec = include_str!("../../tests/reference/samples/trace_exec.jsonl");
        let mut seen = 0;
        for (schema, sample) in [
            (testing::TRACE_OPEN, docker_open),
            (testing::TRACE_OPEN, open),
            (testing::TRACE_EXEC, docker_exec),
            (testing::TRACE_EXEC, exec),
        ] {
            let ds = testing::source(schema, "", &[]);
            for line in sample.lines() {
                let mut element = Element::new(ds.layout());
                let event = serde_json::from_str(line).unwrap();
                testing::fill(&ds, &mut element, &event);
                assert_eq!(compact(&ds, &element), line);
                assert_eq!(
                    pretty(&ds, &element),
                    serde_json::to_string_pretty(&event).unwrap(),
                    "without empty arrays and objects the layout is the usual one"
                );
                seen += 1;
            }
        }
        assert!(seen >= 8);
    }

    #[test]
    fn what_is_kept_changes_with_its_values() {
        let mut ds = single();
        let parent = ds.add_field(NewField::empty("object")).unwrap();
        let mut add = |name: &str, kind: Scalar| ds.add_sub_field(parent, NewField::new(name, kind)).unwrap();
        let numbers = ["a", "c"].map(|name| add(name, Scalar::Uint32));
        let texts = ["b", "d"].map(|name| add(name, Scalar::String));
        let mut encoder = Encoder::compact(&ds);
        let mut element = Element::new(ds.layout());
        for _ in 0..100 {
            encoder.encode(&element, &mut Vec::new());
        }
        assert_eq!(encoder.repeats.kept(), 1);
        // The same again, one value at a time, and always others for longer than a memo waits.
        for (index, seed) in [0, 0, 1, 1, 2, 3, 0]
            .into_iter()
            .chain(0..600)
            .chain([599, 599])
            .enumerate()
        {
            element.reset(ds.layout(), &[]);
            ds.accessor(numbers[seed % 2]).set_bits(&mut element, seed as u64 / 2);
            ds.accessor(texts[seed % 2])
                .set(&mut element, format!("text {seed}").as_bytes())
                .unwrap();
            let mut out = Vec::new();
            encoder.encode(&element, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), compact(&ds, &element), "{index}");
        }
    }

    proptest! {
        #[test]
        fn integers_and_long_texts_come_back(
            unsigned: u64,
            signed: i64,
            text in prop_oneof![".{0,40}", "[a-zA-Z\"é/ ]{0,1500}"],
        ) {
            let mut ds = single();
            let fields = [
                (add(&mut ds, "unsigned", Scalar::Uint64), unsigned.to_ne_bytes().to_vec()),
                (add(&mut ds, "signed", Scalar::Int64), signed.to_ne_bytes().to_vec()),
                (add(&mut ds, "text", Scalar::String), text.clone().into_bytes()),
            ];
            let mut element = Element::new(ds.layout());
            for (id, value) in fields {
                ds.accessor(id).set(&mut element, &value).unwrap();
            }
            let expected = serde_json::json!({"unsigned": unsigned, "signed": signed, "text": text});
            let found: serde_json::Value = serde_json::from_str(&compact(&ds, &element)).unwrap();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn always_valid_json_in_valid_utf8(
            text in proptest::collection::vec(any::<u8>(), 0..60),
            float: f64,
            numbers: Vec<f32>,
            to_terminal: bool,
        ) {
            let mut ds = single();
            let fields = [
                (add(&mut ds, "text", Scalar::String), text.clone()),
                (add(&mut ds, "until \"nul\"\n", Scalar::CString), text.clone()),
                (add(&mut ds, "float", Scalar::Float64), float.to_ne_bytes().to_vec()),
                (
                    add(&mut ds, "numbers", Kind::Array(Scalar::Float32)),
                    numbers.iter().flat_map(|n| n.to_ne_bytes()).collect(),
                ),
                (add(&mut ds, "ragged", Kind::Array(Scalar::Uint32)), text.clone()),
            ];
            let mut element = Element::new(ds.layout());
            for (id, value) in fields {
                ds.accessor(id).set(&mut element, &value).unwrap();
            }
            for mut encoder in [Encoder::compact(&ds), Encoder::pretty(&ds)] {
                let mut out = Vec::new();
                encoder.encode(&element, &mut out);
                if to_terminal {
                    crate::output::terminal::escape_json(0, &mut out);
                }
                let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
                // One replacement per invalid byte; the standard library makes one per maximal invalid sequence.
                if let Ok(valid) = std::str::from_utf8(&text) {
                    prop_assert_eq!(value["text"].as_str().unwrap(), valid);
                    let until = valid.split('\0').next().unwrap();
                    prop_assert_eq!(value["until \"nul\"\n"].as_str().unwrap(), until);
                }
            }
        }
    }
}
