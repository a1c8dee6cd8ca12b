//! Lines: what a log says about an event.

use std::io::Write;

use jiff::Timestamp;

use super::{Format, RunFacts};
use crate::data::{Accessor, DataSource, Element, FieldId, Kind as FieldKind, Scalar};
use crate::output::json;

const DATA: &str = "gadget-data";
const EMPTY: &str = "gadget-data-empty";

/// What a line is about.
pub(super) enum Kind<'e> {
    /// One event.
    Element(&'e Element),
    /// A batch.
    Array(&'e [Element]),
    /// A batch without events.
    Empty,
}

/// Makes the lines of one data source.
#[derive(Debug)]
pub(super) struct Line {
    /// The number of the emission, counted from 0.
    pub(super) sequence: u64,
    /// Between the sequence number and the time.
    middle: Vec<u8>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Json(Box<json::Encoder>),
    Logfmt(Vec<(String, Accessor)>),
}

impl Line {
    /// The lines of `source`, and the fields that they show.
    pub(super) fn new(source: &DataSource, format: Format, facts: &RunFacts) -> (Self, Vec<FieldId>) {
        let mut middle = Vec::new();
        let mut facts: Vec<(&str, &str)> = vec![
            ("gadget", &facts.image),
            ("datasource", source.name()),
            ("instanceID", &facts.instance_id),
        ];
        facts.retain(|(key, value)| *key != "instanceID" || !value.is_empty());
        let (body, fields) = match format {
            Format::Json => {
                for (key, value) in facts {
                    middle.extend_from_slice(format!(",\"{key}\":").as_bytes());
                    append_json_string(value, &mut middle);
                }
                let encoder = json::Encoder::compact(source);
                let fields = encoder.fields().to_vec();
                (Body::Json(Box::new(encoder)), fields)
            }
            Format::Logfmt => {
                for (key, value) in facts {
                    middle.extend_from_slice(format!(" {key}=").as_bytes());
                    append_logfmt(value, &mut middle);
                }
                let fields: Vec<FieldId> = leaves(source).collect();
                let named = fields
                    .iter()
                    .map(|id| (source.get(*id).full_name().to_owned(), source.accessor(*id)));
                (Body::Logfmt(named.collect()), fields)
            }
        };
        let line = Self {
            sequence: 0,
            middle,
            body,
        };
        (line, fields)
    }

    pub(super) fn format(&self) -> Format {
        match self.body {
            Body::Json(_) => Format::Json,
            Body::Logfmt(_) => Format::Logfmt,
        }
    }

    /// Appends a line, without the line break.
    pub(super) fn append(&mut self, kind: Kind<'_>, time: Timestamp, out: &mut Vec<u8>) {
        let what = match kind {
            Kind::Empty => EMPTY,
            _ => DATA,
        };
        // Writing to a vector cannot fail.
        match &mut self.body {
            Body::Json(encoder) => {
                let _ = write!(out, "{{\"type\":\"{what}\",\"seq\":{}", self.sequence);
                out.extend_from_slice(&self.middle);
                let _ = write!(out, ",\"timestamp\":\"{time}\"");
                match kind {
                    Kind::Empty => {}
                    Kind::Element(element) => {
                        out.extend_from_slice(b",\"data\":");
                        encoder.encode(element, out);
                    }
                    Kind::Array(elements) => {
                        out.extend_from_slice(b",\"data\":");
                        encoder.encode_array(elements, out);
                    }
                }
                out.push(b'}');
            }
            Body::Logfmt(fields) => {
                let _ = write!(out, "type={what} seq={}", self.sequence);
                out.extend_from_slice(&self.middle);
                let _ = write!(out, " timestamp={time}");
                // Batches come one by one in this format.
                let elements = match kind {
                    Kind::Empty => &[],
                    Kind::Element(element) => std::slice::from_ref(element),
                    Kind::Array(elements) => elements,
                };
                for element in elements {
                    for (name, accessor) in fields.iter() {
                        let _ = write!(out, " {name}=");
                        append_value(accessor, element, out);
                    }
                }
            }
        }
    }
}

/// The fields that logfmt shows: those with a value of their own that is no list.
fn leaves(source: &DataSource) -> impl Iterator<Item = FieldId> + '_ {
    source
        .fields()
        .filter(|(id, field)| {
            let shown = matches!(field.kind(), FieldKind::One(kind) if kind != Scalar::Invalid);
            shown && !field.is_empty() && source.children(*id).next().is_none()
        })
        .map(|(id, _)| id)
}

fn append_value(accessor: &Accessor, element: &Element, out: &mut Vec<u8>) {
    let FieldKind::One(kind) = accessor.kind() else { return };
    let _ = match kind {
        Scalar::Bool => write!(out, "{}", accessor.bool(element)),
        Scalar::Float32 => write_float(accessor.f64(element) as f32, out),
        Scalar::Float64 => write_float(accessor.f64(element), out),
        Scalar::String | Scalar::CString => {
            append_logfmt(&String::from_utf8_lossy(accessor.text(element)), out);
            Ok(())
        }
        Scalar::Bytes => {
            let start = out.len();
            for byte in accessor.bytes(element) {
                let _ = write!(out, "{byte:02x}");
            }
            if out.len() == start {
                out.extend_from_slice(b"\"\"");
            }
            Ok(())
        }
        _ => write!(out, "{}", accessor.i64(element)),
    };
}

/// The shortest decimal without an exponent.
fn write_float<F: std::fmt::Display + Into<f64> + Copy>(value: F, out: &mut Vec<u8>) -> std::io::Result<()> {
    let wide: f64 = value.into();
    if wide.is_infinite() {
        return out.write_all(if wide > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    write!(out, "{value}")
}

/// A text as logfmt has it: in quotes if it is empty or cannot stand alone.
pub(super) fn append_logfmt(text: &str, out: &mut Vec<u8>) {
    let alone = |c: char| !c.is_control() && !matches!(c, ' ' | '=' | '"');
    if !text.is_empty() && text.chars().all(alone) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c => append_escaped(c, out),
        }
    }
    out.push(b'"');
}

fn append_json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c => append_escaped(c, out),
        }
    }
    out.push(b'"');
}

/// A character, control characters as `\u00xx`.
fn append_escaped(c: char, out: &mut Vec<u8>) {
    if c.is_control() {
        let _ = write!(out, "\\u{:04x}", u32::from(c));
    } else {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}
