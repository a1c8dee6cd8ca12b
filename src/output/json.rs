//! JSON: every referenced field of an element, hidden or not, keys sorted bytewise at every level.
//!
//! The output is always valid JSON in valid UTF-8, whatever bytes an event carries.

use super::number::{self, Float};
use super::plan::Plan;
use super::scan;
use super::tree::{self, Node};
use crate::data::{Accessor, DataSource, Element, FieldId, Kind, Scalar, SourceType};

/// Writes elements of one data source as JSON.
#[derive(Debug)]
pub struct Encoder {
    plan: Plan<Value>,
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
        Self { plan, fields, pretty }
    }

    /// The fields that are read.
    pub fn fields(&self) -> &[FieldId] {
        &self.fields
    }

    /// Appends one element.
    #[inline]
    pub fn encode(&self, element: &Element, out: &mut Vec<u8>) {
        self.plan.run(out, |value, out| value.append(element, out));
    }

    /// Appends a batch as one JSON array.
    pub fn encode_array(&self, elements: &[Element], out: &mut Vec<u8>) {
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
        self.plan.value(Value {
            accessor,
            form: Form::of(accessor.kind()),
            array_depth: self.pretty.then_some(depth as u32),
        });
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
            Form::Text(until_nul) => append_string(self.accessor.bytes(element), until_nul, out),
            Form::Bool => out.extend_from_slice(if self.accessor.bool(element) { b"true" } else { b"false" }),
            Form::Float => float(&self.accessor, element).append_json(out),
            Form::Hex => {
                out.push(b'"');
                number::append_hex(self.accessor.bytes(element), out);
                out.push(b'"');
            }
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
pub(super) fn append_string(mut bytes: &[u8], until_nul: bool, out: &mut Vec<u8>) {
    out.push(b'"');
    loop {
        let plain = scan::plain_prefix(bytes);
        let (head, rest) = bytes.split_at(plain);
        out.extend_from_slice(head);
        match rest.first() {
            None => break,
            Some(0) if until_nul => break,
            Some(_) => bytes = append_escaped(rest, out),
        }
    }
    out.push(b'"');
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
        Some(control) if control < ' ' => {
            out.extend_from_slice(b"\\u00");
            number::append_hex(&bytes[..1], out);
        }
        Some('\u{2028}') => out.extend_from_slice(b"\\u2028"),
        Some('\u{2029}') => out.extend_from_slice(b"\\u2029"),
        Some(_) => out.extend_from_slice(&bytes[..len]),
        None => out.extend_from_slice(b"\\ufffd"),
    }
    &bytes[len..]
}
