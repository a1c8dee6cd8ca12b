//! CSV: a header with the fields' full names, then one line per element.
//!
//! The fields and their order are those of JSON, hidden ones included. Values are as in JSON, text without JSON's quotes; a number
//! that JSON has no word for is empty. A value with a comma, a quote or a line break is quoted as RFC 4180 says; lines end with a
//! line feed alone.
//!
//! In a file or a pipe, text is as it came, so that parsers get it back; only NUL and bytes that are no UTF-8 become U+FFFD. On a terminal,
//! everything that it could act on is escaped as in columns.

use super::json::{self, Form};
use super::plan::Plan;
use super::tree::{self, Node};
use super::{number, scan, terminal};
use crate::data::{Accessor, DataSource, Element, FieldId, Scalar};

/// Writes elements of one data source as lines of comma-separated values.
#[derive(Debug)]
pub struct Encoder {
    header: Vec<u8>,
    plan: Plan<Value>,
    fields: Vec<FieldId>,
    to_terminal: bool,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Value {
    accessor: Accessor,
    form: Form,
}

impl Encoder {
    /// For files, pipes and parsers.
    pub fn new(source: &DataSource) -> Self {
        Self::compile(source, false)
    }

    /// For eyes: nothing in it acts on a terminal.
    pub fn for_terminal(source: &DataSource) -> Self {
        Self::compile(source, true)
    }

    fn compile(source: &DataSource, to_terminal: bool) -> Self {
        let nodes = tree::tree(source, |a, b| a.as_bytes().cmp(b.as_bytes()));
        let mut encoder = Self {
            header: Vec::new(),
            plan: Plan::new(),
            fields: Vec::new(),
            to_terminal,
            scratch: Vec::new(),
        };
        encoder.add(source, &nodes);
        encoder
    }

    fn add(&mut self, source: &DataSource, nodes: &[Node<'_>]) {
        for node in nodes {
            if let Some(children) = &node.children {
                self.add(source, children);
                continue;
            }
            if !self.fields.is_empty() {
                self.header.push(b',');
                self.plan.text(",");
            }
            append_text(
                node.field.full_name().as_bytes(),
                false,
                self.to_terminal,
                &mut self.header,
            );
            let accessor = source.accessor(node.id);
            self.plan.value(Value {
                accessor,
                form: Form::of(accessor.kind()),
            });
            self.fields.push(node.id);
        }
    }

    /// The fields that are read.
    pub fn fields(&self) -> &[FieldId] {
        &self.fields
    }

    /// Appends the header with its line break.
    pub fn header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
        out.push(b'\n');
    }

    /// Appends the line of one element.
    #[inline]
    pub fn encode(&mut self, element: &Element, out: &mut Vec<u8>) {
        let (to_terminal, scratch) = (self.to_terminal, &mut self.scratch);
        self.plan.run(out, |value, out| {
            let accessor = &value.accessor;
            match value.form {
                Form::Unsigned => number::append_u64(accessor.bits(element), out),
                Form::Signed => number::append_i64(accessor.bits(element) as i64, out),
                Form::Bool => out.extend_from_slice(if accessor.bool(element) { b"true" } else { b"false" }),
                Form::Float => {
                    let start = out.len();
                    json::float(accessor, element).append_json(out);
                    if &out[start..] == b"null" {
                        out.truncate(start);
                    }
                }
                Form::Text(until_nul) => append_text(accessor.bytes(element), until_nul, to_terminal, out),
                Form::Hex => number::append_hex(accessor.bytes(element), out),
                Form::Numbers(scalar) => {
                    scratch.clear();
                    append_numbers(scalar, accessor.bytes(element), scratch);
                    append_text(scratch, false, to_terminal, out);
                }
            }
        });
        out.push(b'\n');
    }
}

/// Appends `[1,2]`.
fn append_numbers(scalar: Scalar, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, item) in json::items(scalar, bytes).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json::append_item(scalar, item, out);
    }
    out.push(b']');
}

/// Appends a value, quoted if it must be; of a C string only what is before the first NUL.
#[inline]
fn append_text(bytes: &[u8], until_nul: bool, to_terminal: bool, out: &mut Vec<u8>) {
    let plain = scan::plain_prefix(bytes);
    let (text, rest) = bytes.split_at(plain);
    let ends = rest.is_empty() || until_nul && rest[0] == 0;
    if ends && !text.contains(&b',') {
        out.extend_from_slice(text);
        return;
    }
    append_special(bytes, until_nul, to_terminal, out);
}

#[inline(never)]
fn append_special(mut bytes: &[u8], until_nul: bool, to_terminal: bool, out: &mut Vec<u8>) {
    let start = out.len();
    let mut quoted = false;
    out.push(b'"');
    if until_nul {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes = &bytes[..end];
    }
    while !bytes.is_empty() {
        let (character, len) = scan::decode(bytes);
        match character {
            Some('"') => {
                out.extend_from_slice(b"\"\"");
                quoted = true;
            }
            other if to_terminal && !other.is_some_and(|c| c == ' ' || c != '\\' && terminal::is_printable(c)) => {
                terminal::append_escape(other, bytes[0], out);
            }
            Some('\0') | None => out.extend_from_slice("\u{fffd}".as_bytes()),
            Some(c) => {
                quoted |= matches!(c, ',' | '\n' | '\r');
                out.extend_from_slice(&bytes[..len]);
            }
        }
        bytes = &bytes[len..];
    }
    if quoted {
        out.push(b'"');
    } else {
        out.remove(start);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::{Kind, NewField, SourceType};

    fn text(bytes: impl AsRef<[u8]>, to_terminal: bool) -> String {
        let mut out = b"x,".to_vec();
        append_text(bytes.as_ref(), false, to_terminal, &mut out);
        String::from_utf8(out).unwrap().split_off(2)
    }

    #[test]
    fn quotes_where_they_are_needed() {
        for (value, expected) in [
            ("", ""),
            ("plain text", "plain text"),
            (" edges ", " edges "),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("a\rb", "\"a\rb\""),
            ("back\\slash é \t", "back\\slash é \t"),
        ] {
            assert_eq!(text(value, false), expected);
        }
        assert_eq!(text(b"a\0b\xff\xc3", false), "a\u{fffd}b\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_terminal_gets_escapes() {
        assert_eq!(
            text("\x1b[2J,\n\\\"\u{9b}\u{202e}", true),
            "\"\\x1b[2J,\\n\\\\\"\"\\u009b\\u202e\""
        );
        assert_eq!(text(b"\0\xff\t", true), "\\x00\\xff\\t");
        assert_eq!(text("é日 a", true), "é日 a");
    }

    fn source() -> DataSource {
        let mut ds = DataSource::new("test", SourceType::Single, None);
        let proc = ds.add_field(NewField::empty("proc")).unwrap();
        ds.add_field(NewField::new("args", Scalar::CString)).unwrap();
        ds.add_sub_field(proc, NewField::new("comm", Scalar::String)).unwrap();
        ds.add_sub_field(proc, NewField::new("a,b", Scalar::Bool)).unwrap();
        ds.add_field(NewField::new("list", Kind::Array(Scalar::Uint16)))
            .unwrap();
        ds.add_field(NewField::new("float", Scalar::Float64)).unwrap();
        ds.add_field(NewField::new("data", Scalar::Bytes)).unwrap();
        ds.add_field(NewField::new("skipped", Scalar::Bool).annotations([("json.skip", "true")]))
            .unwrap();
        ds
    }

    #[test]
    fn the_fields_of_json_in_its_order() {
        let ds = source();
        let mut element = Element::new(ds.layout());
        let mut set = |name: &str, value: &[u8]| ds.accessor(ds.find(name).unwrap()).set(&mut element, value).unwrap();
        set("args", b"ls -l\0rest");
        set("proc.comm", b"x");
        set("list", &[1u16, 2].map(u16::to_ne_bytes).concat());
        set("float", &f64::NAN.to_ne_bytes());
        set("data", &[0, 0xff]);
        let mut encoder = Encoder::new(&ds);
        let mut out = Vec::new();
        encoder.header(&mut out);
        encoder.encode(&element, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "args,data,float,list,\"proc.a,b\",proc.comm\nls -l,00ff,,\"[1,2]\",false,x\n"
        );
        assert_eq!(encoder.fields().len(), 6);
    }

    /// A reader by the book.
    fn read(line: &str) -> Vec<String> {
        let mut values = vec![String::new()];
        let mut quoted = false;
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    values.last_mut().unwrap().push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => values.push(String::new()),
                c => values.last_mut().unwrap().push(c),
            }
        }
        assert!(!quoted);
        values
    }

    proptest! {
        #[test]
        fn texts_come_back(a in "[ -~,\"\n\r\té\u{1b}\u{202e}]{0,20}", b: String) {
            let mut out = Vec::new();
            append_text(a.as_bytes(), false, false, &mut out);
            out.push(b',');
            append_text(b.as_bytes(), false, false, &mut out);
            let line = String::from_utf8(out).unwrap();
            prop_assert_eq!(read(&line), [a, b.replace('\0', "\u{fffd}")]);
        }

        #[test]
        fn nothing_acts_on_a_terminal(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let shown = text(&bytes, true);
            prop_assert!(shown.chars().all(|c| c == ' ' || terminal::is_printable(c)), "{:?}", shown);
            prop_assert_eq!(read(&shown).len(), 1);
        }
    }
}
