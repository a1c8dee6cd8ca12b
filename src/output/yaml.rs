//! YAML: one document per element, with the same values as JSON.
//!
//! Laid out as Go's `sigs.k8s.io/yaml` does it, because its output is what people compare with: keys in natural order,
//! sequences not indented, long text folded at blanks after 80 columns, quotes only where plain text would read as something
//! else.

mod scalar;

use std::cmp::Ordering;

use super::json::{self, Form};
use super::number;
use super::plan::Plan;
use super::tree::{self, Node};
use crate::data::{Accessor, DataSource, Element, FieldId};

/// Writes elements of one data source as YAML documents.
#[derive(Debug)]
pub struct Encoder {
    plan: Plan<Value>,
    fields: Vec<FieldId>,
    scratch: Scratch,
}

/// Buffers that are kept from value to value.
#[derive(Debug, Default)]
struct Scratch {
    bytes: Vec<u8>,
    text: String,
}

impl Encoder {
    /// Compiles an encoder for elements of `source`.
    pub fn new(source: &DataSource) -> Self {
        Self::compile(source, false)
    }

    /// Like [`new`](Self::new), for eyes: nothing in it acts on a terminal or deceives them, and it is the same YAML.
    pub fn for_terminal(source: &DataSource) -> Self {
        Self::compile(source, true)
    }

    fn compile(source: &DataSource, terminal: bool) -> Self {
        let nodes = tree::tree(source, natural_order);
        let mut fields = Vec::new();
        tree::leaves(&nodes, &mut fields);
        let mut plan = Plan::new();
        plan.text("---\n");
        if nodes.is_empty() {
            plan.text("{}\n");
        }
        mapping(source, &nodes, 0, terminal, &mut plan);
        Self {
            plan,
            fields,
            scratch: Scratch::default(),
        }
    }

    /// The fields that are read.
    pub fn fields(&self) -> &[FieldId] {
        &self.fields
    }

    /// Appends one element as a document that begins with `---`.
    pub fn encode(&mut self, element: &Element, out: &mut Vec<u8>) {
        let scratch = &mut self.scratch;
        self.plan.run(out, |value, out| value.append(element, scratch, out));
    }
}

/// Compiles the lines of a mapping that is indented by `indent`.
fn mapping(source: &DataSource, nodes: &[Node<'_>], indent: usize, terminal: bool, plan: &mut Plan<Value>) {
    for node in nodes {
        let start = plan.text_mut().len();
        plan.text(" ".repeat(indent));
        scalar::append_key(node.field.name(), terminal, plan.text_mut());
        plan.text(":");
        match &node.children {
            Some(children) if children.is_empty() => plan.text(" {}\n"),
            Some(children) => {
                plan.text("\n");
                mapping(source, children, indent + 2, terminal, plan);
            }
            None => {
                let key = plan.text_mut().get(start..).unwrap_or_default();
                let column = String::from_utf8_lossy(key).chars().count() + 1;
                let accessor = source.accessor(node.id);
                plan.value(Value {
                    accessor,
                    form: Form::of(accessor.kind()),
                    place: scalar::Place {
                        column,
                        indent: indent + 2,
                        terminal,
                    },
                });
            }
        }
    }
}

#[derive(Debug)]
struct Value {
    accessor: Accessor,
    form: Form,
    place: scalar::Place,
}

impl Value {
    /// Appends everything from the colon after the key to the end of the line.
    fn append(&self, element: &Element, scratch: &mut Scratch, out: &mut Vec<u8>) {
        if let Form::Numbers(kind) = self.form {
            let items = json::items(kind, self.accessor.bytes(element));
            if items.len() == 0 {
                out.extend_from_slice(b" []\n");
                return;
            }
            out.push(b'\n');
            for item in items {
                out.extend(std::iter::repeat_n(b' ', self.place.indent - 2));
                out.extend_from_slice(b"- ");
                scratch.bytes.clear();
                json::append_item(kind, item, &mut scratch.bytes);
                append_number(&scratch.bytes, out);
                out.push(b'\n');
            }
            return;
        }
        out.push(b' ');
        match self.form {
            Form::Unsigned => number::append_u64(self.accessor.bits(element), out),
            Form::Signed => number::append_i64(self.accessor.bits(element) as i64, out),
            Form::Bool => out.extend_from_slice(if self.accessor.bool(element) { b"true" } else { b"false" }),
            Form::Float | Form::Numbers(_) => {
                scratch.bytes.clear();
                json::float(&self.accessor, element).append_json(&mut scratch.bytes);
                append_number(&scratch.bytes, out);
            }
            Form::Text(_) => {
                let text = valid(self.accessor.text(element), &mut scratch.text);
                if scalar::append(text, self.place, out) {
                    return;
                }
            }
            Form::Hex => {
                scratch.bytes.clear();
                number::append_hex(self.accessor.bytes(element), &mut scratch.bytes);
                scalar::append(std::str::from_utf8(&scratch.bytes).unwrap_or_default(), self.place, out);
            }
        }
        out.push(b'\n');
    }
}

/// `bytes` as text, each invalid byte replaced by U+FFFD.
fn valid<'a>(bytes: &'a [u8], scratch: &'a mut String) -> &'a str {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text;
    }
    scratch.clear();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (character, len) = super::scan::decode(rest);
        scratch.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &rest[len..];
    }
    scratch
}

/// Appends a number given as JSON writes it. Whatever is not a 64-bit integer is a floating point number, which gets an exponent
/// (of at least two digits) below 1e-4 and from 1e+06 upwards.
fn append_number(json: &[u8], out: &mut Vec<u8>) {
    let text = std::str::from_utf8(json).unwrap_or_default();
    if text == "-0" {
        out.push(b'0');
        return;
    }
    if text == "null" || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        out.extend_from_slice(json);
        return;
    }
    let value: f64 = text.parse().unwrap_or_default();
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let text = if (-4..6).contains(&exponent) {
        value.to_string()
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    };
    out.extend_from_slice(text.as_bytes());
}

/// Letters after other characters, digits compared as numbers: `a2` before `a10`.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut after_digit = false;
    for i in 0..a.len().min(b.len()) {
        let (x, y) = (a[i], b[i]);
        if x == y {
            after_digit = x.is_numeric();
            continue;
        }
        match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, true) => return x.cmp(&y),
            (true, false) => return if after_digit { Ordering::Less } else { Ordering::Greater },
            (false, true) => return if after_digit { Ordering::Greater } else { Ordering::Less },
            (false, false) => {}
        }
        let number = |chars: &[char]| -> (u64, usize) {
            let digits = chars[i..].iter().map_while(|c| c.to_digit(10));
            digits.fold((0, 0), |(value, len), digit| {
                (value.wrapping_mul(10).wrapping_add(u64::from(digit)), len + 1)
            })
        };
        // Behind a digit that is not 0, a 0 counts: 1 < 10, but 01 and 1 are equal so far.
        let counts = (x == '0' || y == '0')
            && a[..i]
                .iter()
                .rev()
                .take_while(|c| c.is_ascii_digit())
                .any(|c| *c != '0');
        let ((mut m, m_len), (mut n, n_len)) = (number(&a), number(&b));
        if counts {
            m = m.wrapping_add(10u64.wrapping_pow(m_len as u32));
            n = n.wrapping_add(10u64.wrapping_pow(n_len as u32));
        }
        return m.cmp(&n).then(m_len.cmp(&n_len)).then(x.cmp(&y));
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Kind, NewField, Scalar, SourceType};

    fn number(json: &str) -> String {
        let mut out = Vec::new();
        append_number(json.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_keep_64_bits_and_floats_get_exponents() {
        for (json, expected) in [
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("-0", "0"),
            ("0.5", "0.5"),
            ("1e+21", "1e+21"),
            ("1e-7", "1e-07"),
            ("0.00001", "1e-05"),
            ("0.0001", "0.0001"),
            ("1234567.5", "1.2345675e+06"),
            ("100000000000000000000", "1e+20"),
            ("null", "null"),
        ] {
            assert_eq!(number(json), expected);
        }
    }

    #[test]
    fn keys_are_in_natural_order() {
        let mut keys = ["b", "a10", "a2", "a", "_x", "Z", "a_b", "ab", "a1b"];
        keys.sort_by(|a, b| natural_order(a, b));
        assert_eq!(keys, ["_x", "Z", "a", "a_b", "a1b", "a2", "a10", "ab", "b"]);
    }

    #[test]
    fn j8_text_that_would_be_something_else_is_quoted() {
        let mut ds = DataSource::new("test", SourceType::Single, None);
        let test0 = ds.add_field(NewField::new("test0", Scalar::String)).unwrap();
        ds.add_field(NewField::new("test1", Scalar::String)).unwrap();
        let mut element = Element::new(ds.layout());
        ds.accessor(test0).set(&mut element, b"123").unwrap();
        let mut out = Vec::new();
        Encoder::new(&ds).encode(&element, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "---\ntest0: \"123\"\ntest1: \"\"\n");
    }

    #[test]
    fn nesting_arrays_bytes_and_empty_parents() {
        let mut ds = DataSource::new("test", SourceType::Single, None);
        let parent = ds.add_field(NewField::empty("parent")).unwrap();
        let list = ds
            .add_sub_field(parent, NewField::new("list", Kind::Array(Scalar::Uint16)))
            .unwrap();
        ds.add_sub_field(parent, NewField::new("none", Kind::Array(Scalar::Uint16)))
            .unwrap();
        let bytes = ds.add_sub_field(parent, NewField::new("raw", Scalar::Bytes)).unwrap();
        let skipping = ds.add_field(NewField::empty("skipping")).unwrap();
        ds.add_sub_field(
            skipping,
            NewField::new("x", Scalar::Bool).annotations([("json.skip", "true")]),
        )
        .unwrap();
        let mut element = Element::new(ds.layout());
        let values = [1u16, 2].map(u16::to_ne_bytes).concat();
        ds.accessor(list).set(&mut element, &values).unwrap();
        ds.accessor(bytes).set(&mut element, &[0x12, 0x34]).unwrap();
        let mut out = Vec::new();
        Encoder::new(&ds).encode(&element, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "---\nparent:\n  list:\n  - 1\n  - 2\n  none: []\n  raw: \"1234\"\nskipping: {}\n"
        );
    }

    /// Reads what the sample holds: nested mappings of numbers, booleans and texts on one line each.
    fn parse(document: &str) -> serde_json::Value {
        let mut path: Vec<String> = Vec::new();
        let mut root = serde_json::json!({});
        for line in document.lines() {
            let depth = line.len() - line.trim_start().len();
            path.truncate(depth / 2);
            let (key, value) = line.trim_start().split_once(':').unwrap();
            path.push(key.to_owned());
            let value = value.trim_start();
            let parsed = match value.chars().next() {
                None => serde_json::json!({}),
                Some('\'' | '"') => value[1..value.len() - 1].into(),
                Some(_) => serde_json::from_str(value).unwrap_or_else(|_| value.into()),
            };
            let target = path.iter().fold(&mut root, |value, key| &mut value[key.as_str()]);
            *target = parsed;
        }
        root
    }

    #[test]
    fn recorded_events_come_out_byte_for_byte() {
        let sample = include_str!("../../tests/reference/samples/trace_open.docker.yaml");
        let ds = crate::output::testing::source(crate::output::testing::TRACE_OPEN, "", &[]);
        let mut encoder = Encoder::new(&ds);
        let mut out = Vec::new();
        for document in sample.split("---\n").filter(|document| !document.is_empty()) {
            let mut element = Element::new(ds.layout());
            crate::output::testing::fill(&ds, &mut element, &parse(document));
            encoder.encode(&element, &mut out);
        }
        assert_eq!(String::from_utf8(out).unwrap(), sample);
        assert!(sample.contains("mode: '----------'"));
    }

    #[test]
    fn invalid_bytes_are_replaced_and_c_strings_end() {
        let mut ds = DataSource::new("test", SourceType::Single, None);
        let c = ds.add_field(NewField::new("c", Scalar::CString)).unwrap();
        let mut element = Element::new(ds.layout());
        ds.accessor(c).set(&mut element, b"a\xff\xe2\x82b\0rest").unwrap();
        let mut out = Vec::new();
        Encoder::new(&ds).encode(&element, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "---\nc: a\u{fffd}\u{fffd}\u{fffd}b\n");
    }
}
