//! YAML as nodes with line numbers: the reader behind gadget.yaml and build.yaml, and the writer behind `--update-metadata`.
//!
//! Images come from registries, so the reader is bounded: size, nesting and what aliases may expand to all have limits, and
//! keys may not repeat. Order and case of keys are kept; [`Config`](super::config::Config) is the view that ignores both.
//! Scalars follow the rules of the Go library that gadget authors' files were written against: `yes` and `no` are strings,
//! `0777` is octal.

mod emit;

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

pub use self::emit::emit;
use crate::{Error, Result};

/// The largest document that is read, in bytes.
pub const MAX_SIZE: usize = 16 << 20;
/// How deep mappings and lists may nest.
pub const MAX_DEPTH: usize = 64;
/// Bytes of text, plus [`NODE_WEIGHT`] per node, that one document may expand to.
const MAX_WEIGHT: usize = 64 << 20;
const NODE_WEIGHT: usize = 64;

/// One value of a document and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Line of the value's first character, counted from 1; 0 for a node that was not read from a document.
    pub line: usize,
    /// What stands there.
    pub value: Value,
}

/// The content of a [`Node`].
#[derive(Clone, Debug)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in document order. Keys are unique.
    Map(Vec<(String, Node)>),
}

/// A scalar: its text as written (quotes and escapes resolved) and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The text as written.
    pub text: String,
    /// The type it resolves to.
    pub kind: ScalarKind,
}

/// What a scalar resolves to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScalarKind {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of up to 64 bits, signed or not.
    Int(i128),
    /// A decimal number.
    Float(f64),
    /// Anything else, and everything in quotes.
    String,
}

impl Node {
    /// A string that was not read from a document.
    pub fn string(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::new(Value::Scalar(Scalar {
            text,
            kind: ScalarKind::String,
        }))
    }

    /// A mapping that was not read from a document.
    pub fn map(entries: Vec<(String, Node)>) -> Self {
        Self::new(Value::Map(entries))
    }

    fn new(value: Value) -> Self {
        Self { line: 0, value }
    }

    /// The entries, if this is a mapping.
    pub fn as_map(&self) -> Option<&[(String, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key` (exact case), if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(k, _)| k == key).map(|(_, node)| node)
    }

    /// Whether this is a null scalar.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind == ScalarKind::Null)
    }

    /// What this is, for messages: `a mapping`, `a list`, `a string`, …
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::Map(_) => "a mapping",
            Value::List(_) => "a list",
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null => "nothing",
                ScalarKind::Bool(_) => "a boolean",
                ScalarKind::Int(_) => "an integer",
                ScalarKind::Float(_) => "a number",
                ScalarKind::String => "a string",
            },
        }
    }

    fn weight(&self) -> usize {
        NODE_WEIGHT
            + match &self.value {
                Value::Scalar(scalar) => scalar.text.len(),
                Value::List(items) => items.iter().map(Node::weight).sum(),
                Value::Map(entries) => entries.iter().map(|(key, node)| key.len() + node.weight()).sum(),
            }
    }

    fn height(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 0,
            Value::List(items) => 1 + items.iter().map(Node::height).max().unwrap_or(0),
            Value::Map(entries) => 1 + entries.iter().map(|(_, node)| node.height()).max().unwrap_or(0),
        }
    }
}

/// An error of the form `yaml: line N: message`.
pub(crate) fn error_at(line: usize, message: impl std::fmt::Display) -> Error {
    Error::invalid(format!("yaml: line {line}: {message}"))
}

/// Reads the first document of `input`; `None` when there is none (empty, or only comments).
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) of the form `yaml: line N: what is wrong there`.
pub fn parse(input: &[u8]) -> Result<Option<Node>> {
    if input.len() > MAX_SIZE {
        return Err(Error::invalid(format!(
            "yaml: document of {} bytes is larger than the limit of {MAX_SIZE}",
            input.len()
        )));
    }
    let text = std::str::from_utf8(input).map_err(|e| {
        let valid = input.get(..e.valid_up_to()).unwrap_or_default();
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        error_at(line, "invalid UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        weight: 0,
    }
    .document()
}

struct Reader<'input> {
    parser: Parser<'input, StrInput<'input>>,
    anchors: HashMap<usize, Node>,
    weight: usize,
}

impl<'input> Reader<'input> {
    fn next(&mut self) -> Result<(Event<'input>, Span)> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(e)) => Err(error_at(
                e.marker().line(),
                format_args!("{} (column {})", e.info(), e.marker().col() + 1),
            )),
            None => Err(Error::invalid("yaml: unexpected end of document")),
        }
    }

    fn document(&mut self) -> Result<Option<Node>> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
                (event, span) => {
                    let node = self.node(event, span, 0)?;
                    // The closing event is read for the sake of the error when something else follows the root.
                    return self.next().map(|_| Some(node));
                }
            }
        }
    }

    fn node(&mut self, event: Event<'input>, span: Span, depth: usize) -> Result<Node> {
        let line = span.start.line();
        if depth > MAX_DEPTH {
            return Err(error_at(line, format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        let (value, anchor) = match event {
            Event::Alias(id) => return self.alias(id, line, depth),
            Event::Scalar(text, style, anchor, tag) => {
                self.charge(NODE_WEIGHT + text.len(), line)?;
                let kind = resolve(&text, style, tag.as_deref());
                let text = text.into_owned();
                (Value::Scalar(Scalar { text, kind }), anchor)
            }
            Event::SequenceStart(anchor, _) => {
                self.charge(NODE_WEIGHT, line)?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                (Value::List(items), anchor)
            }
            Event::MappingStart(anchor, _) => {
                self.charge(NODE_WEIGHT, line)?;
                (Value::Map(self.mapping(depth)?), anchor)
            }
            _ => return Err(error_at(line, "a value was expected here")),
        };
        let node = Node { line, value };
        if anchor != 0 {
            self.charge(node.weight(), line)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(String, Node)>> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<(String, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if merge {
                collect_merged(value, &mut merged)?;
                continue;
            }
            let line = key.line;
            let Value::Scalar(key) = key.value else {
                return Err(error_at(line, format_args!("{} cannot be a key", key.describe())));
            };
            if let Some(first) = lines.insert(key.text.clone(), line) {
                return Err(error_at(
                    line,
                    format_args!("mapping key {:?} already defined at line {first}", key.text),
                ));
            }
            entries.push((key.text, value));
        }
        for (key, value) in merged {
            if !lines.contains_key(&key) {
                lines.insert(key.clone(), value.line);
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    fn alias(&mut self, id: usize, line: usize, depth: usize) -> Result<Node> {
        let Some(target) = self.anchors.get(&id) else {
            return Err(error_at(line, "an alias refers to the value that contains it"));
        };
        if depth + target.height() > MAX_DEPTH {
            return Err(error_at(line, format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        let weight = target.weight();
        self.charge(weight, line)?;
        self.anchors
            .get(&id)
            .cloned()
            .ok_or_else(|| error_at(line, "unknown alias"))
    }

    fn charge(&mut self, weight: usize, line: usize) -> Result<()> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > MAX_WEIGHT {
            return Err(error_at(line, "the document expands to too much data"));
        }
        Ok(())
    }
}

/// The entries that a `<<` key brings in: from one mapping or a list of them, the first to name a key wins.
fn collect_merged(node: Node, merged: &mut Vec<(String, Node)>) -> Result<()> {
    match node.value {
        Value::Map(entries) => merged.extend(entries),
        Value::List(items) => {
            for item in items {
                let Value::Map(entries) = item.value else {
                    return Err(error_at(
                        item.line,
                        "map merge requires map or sequence of maps as the value",
                    ));
                };
                merged.extend(entries);
            }
        }
        Value::Scalar(_) => {
            return Err(error_at(
                node.line,
                "map merge requires map or sequence of maps as the value",
            ));
        }
    }
    Ok(())
}

fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> ScalarKind {
    if let Some(tag) = tag.filter(|tag| tag.is_yaml_core_schema()) {
        let kind = resolve_plain(text);
        return match (tag.suffix.as_str(), kind) {
            ("bool", ScalarKind::Bool(_)) | ("int", ScalarKind::Int(_)) | ("null", ScalarKind::Null) => kind,
            ("float", ScalarKind::Float(_)) => kind,
            #[allow(clippy::cast_precision_loss)]
            ("float", ScalarKind::Int(value)) => ScalarKind::Float(value as f64),
            _ => ScalarKind::String,
        };
    }
    match style {
        ScalarStyle::Plain => resolve_plain(text),
        _ => ScalarKind::String,
    }
}

fn resolve_plain(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ScalarKind::Null,
        "true" | "True" | "TRUE" => return ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => return ScalarKind::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return ScalarKind::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return ScalarKind::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return ScalarKind::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return ScalarKind::String;
    }
    if let Some(value) = integer(text) {
        return ScalarKind::Int(value);
    }
    let decimal = text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.bytes().any(|b| b.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(value) if decimal => ScalarKind::Float(value),
        _ => ScalarKind::String,
    }
}

fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let digits = digits.replace('_', "");
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let value = if let Some(hex) = lower.strip_prefix("0x") {
        u64::from_str_radix(hex, 16).ok()?
    } else if let Some(octal) = lower.strip_prefix("0o") {
        u64::from_str_radix(octal, 8).ok()?
    } else if let Some(binary) = lower.strip_prefix("0b") {
        u64::from_str_radix(binary, 2).ok()?
    } else if let Some(octal) = lower.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        u64::from_str_radix(octal, 8).ok()?
    } else {
        lower.parse::<u64>().ok()?
    };
    let value = i128::from(value);
    Some(if negative { -value } else { value }).filter(|&value| value >= i128::from(i64::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> ScalarKind {
        let node = parse(format!("k: {text}\n").as_bytes()).unwrap().unwrap();
        match &node.get("k").unwrap().value {
            Value::Scalar(scalar) => scalar.kind,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn resolves_scalars_as_gadget_files_expect() {
        assert_eq!(kind("true"), ScalarKind::Bool(true));
        assert_eq!(kind("False"), ScalarKind::Bool(false));
        assert_eq!(kind("yes"), ScalarKind::String);
        assert_eq!(kind("8"), ScalarKind::Int(8));
        assert_eq!(kind("-0x1f"), ScalarKind::Int(-31));
        assert_eq!(kind("0777"), ScalarKind::Int(511));
        assert_eq!(kind("1_000"), ScalarKind::Int(1000));
        assert_eq!(kind("18446744073709551615"), ScalarKind::Int(i128::from(u64::MAX)));
        assert_eq!(kind("1.5"), ScalarKind::Float(1.5));
        assert_eq!(kind("'8'"), ScalarKind::String);
        assert_eq!(kind("!!str 8"), ScalarKind::String);
        assert_eq!(kind(""), ScalarKind::Null);
        assert_eq!(kind("10ms"), ScalarKind::String);
        assert_eq!(kind("1.2.3"), ScalarKind::String);
        assert_eq!(kind("inf"), ScalarKind::String);
        assert_eq!(kind("-x"), ScalarKind::String);
    }

    #[test]
    fn errors_name_the_line() {
        let message = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            message("a: 1\nb: 2\na: 3\n"),
            "yaml: line 3: mapping key \"a\" already defined at line 1"
        );
        assert!(message("name: a\n  b: c: d\n").starts_with("yaml: line 2: "));
        assert!(message("a: [1\n").starts_with("yaml: line "));
        assert_eq!(message("? [a]\n: 1\n"), "yaml: line 1: a list cannot be a key");
        assert_eq!(
            parse(b"a: 1\nb: \xff\n").unwrap_err().to_string(),
            "yaml: line 2: invalid UTF-8"
        );
    }

    #[test]
    fn an_empty_document_is_none() {
        assert!(parse(b"").unwrap().is_none());
        assert!(parse(b"# only a comment\n").unwrap().is_none());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(parse(nested(MAX_DEPTH + 2).as_bytes()).is_err());
        assert!(parse("[".repeat(1 << 20).as_bytes()).is_err());
        assert!(parse("- ".repeat(1 << 16).as_bytes()).is_err());
        assert!(parse("{a: ".repeat(1 << 16).as_bytes()).is_err());
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let previous = format!("*a{}, ", i - 1).repeat(9);
            bomb.push_str(&format!("a{i}: &a{i} [{}]\n", previous.trim_end_matches(", ")));
        }
        let message = parse(bomb.as_bytes()).unwrap_err().to_string();
        assert!(message.ends_with("the document expands to too much data"), "{message}");
        // The depth that aliases add up to is bounded as well.
        let mut deep = String::from("a0: &a0 [x]\n");
        for i in 1..100 {
            deep.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
        }
        assert!(
            parse(deep.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("nested deeper")
        );
        assert!(parse(b"a: &a [*a]\n").is_err());
    }

    #[test]
    fn aliases_and_merge_keys_expand() {
        let node = parse(b"base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\n").unwrap().unwrap();
        let used = node.get("use").unwrap();
        let text = |key: &str| match &used.get(key).unwrap().value {
            Value::Scalar(scalar) => scalar.text.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!((text("x").as_str(), text("y").as_str()), ("1", "3"));
    }

    #[test]
    fn only_the_first_document_counts() {
        let node = parse(b"a: 1\n---\nb: 2\n").unwrap().unwrap();
        assert!(node.get("a").is_some() && node.get("b").is_none());
    }
}
