//! `ig image inspect IMAGE`

use std::collections::BTreeMap;
use std::io::Write;

use clap::{ArgMatches, Command};
use serde_json::{Map, Value, json};

use super::{jsonpath, positional, required};
use crate::cli::flags::{switch, text};
use crate::cli::stdout::stdout;
use crate::cli::{params, run, run_flags};
use crate::data::{DataSource, Field};
use crate::ebpf::inspect::{Entry, extra_info};
use crate::gadget::Gadget;
use crate::image::GadgetImage;
use crate::metadata::params::Param;
use crate::metadata::yaml::{self, Node, Scalar, ScalarKind};
use crate::operators::local_manager::ContainerSource;
use crate::text::printable;
use crate::wasm;
use crate::{Error, Result, ResultExt};

const JSON: &str = "application/json";
const YAML: &str = "text/yaml";
const PLAIN: &str = "text/plain";

pub(super) fn command() -> Command {
    // The table's keys are checked by a test, so that there are always flags.
    let flags = params::args(&gadget_params(), &[]).unwrap_or_default();
    Command::new("inspect")
        .about("Show what a gadget image contains")
        .arg(positional("IMAGE"))
        .arg(text("extra-info", "", "Show only this piece of information"))
        .arg(text(
            "jsonpath",
            "",
            "Show only what this path selects, for instance '[*].Section'",
        ))
        .arg(text("output", "jsonpretty", "Output mode: yaml, json, jsonpretty").short('o'))
        .arg(switch("show-datasources", "Show the data sources"))
        .args(flags)
}

/// Those of the flags of `ig run` that concern an image rather than the run itself.
fn gadget_params() -> Vec<Param> {
    let mut params = run_flags::params();
    params.retain(|param| !param.prefix.is_empty() && !param.prefix.starts_with("operator.oci.ebpf."));
    params
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Yaml,
    Json,
    JsonPretty,
}

impl Mode {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "yaml" => Ok(Self::Yaml),
            "json" => Ok(Self::Json),
            "jsonpretty" => Ok(Self::JsonPretty),
            _ => Err(Error::invalid(format!(
                "invalid output mode {text:?}, valid values are: yaml, json, jsonpretty"
            ))),
        }
    }
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let option = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let (extra, path) = (option("extra-info"), option("jsonpath"));
    let show_sources = matches.get_one("show-datasources").copied().unwrap_or(false);
    let mode = Mode::parse(option("output"))?;
    if !extra.is_empty() && show_sources {
        return Err(Error::invalid(format!(
            "extra-info {extra:?} and show-datasources cannot be used together"
        )));
    }
    if !path.is_empty() && extra.is_empty() && !show_sources {
        return Err(Error::invalid(format!(
            "jsonpath {path:?} can only be used with extra info or show-datasources"
        )));
    }
    let name = required(matches, "IMAGE")?;
    let values = params::values(matches, &gadget_params());
    run_flags::check(&values)?;
    let image = run::find_image(name, &values).context("getting gadget info")?;
    let output = if show_sources {
        let sources = data_sources(&image).context("getting gadget info")?;
        render(&selected(&sources, path, "datasources")?, mode)
    } else {
        let entries = entries(name, &image).context("getting gadget info")?;
        show_entries(&entries, extra, path, mode)?
    };
    stdout().write_all(output.as_bytes())?;
    Ok(())
}

/// All there is to know about the image without running it.
fn entries(name: &str, image: &GadgetImage) -> Result<BTreeMap<String, Entry>> {
    let manifest = serde_json::to_value(image.manifest()).map_err(|e| Error::invalid(e.to_string()))?;
    let metadata = String::from_utf8_lossy(image.metadata());
    let (repository, tag) = typed_parts(name);
    let mut entries = BTreeMap::from([
        ("oci.manifest".to_owned(), Entry::json(&manifest)),
        ("oci.metadata".to_owned(), Entry::text(metadata, YAML)),
        ("oci.repository".to_owned(), Entry::text(repository, PLAIN)),
        ("oci.tag".to_owned(), Entry::text(tag, PLAIN)),
        (
            "oci.digest".to_owned(),
            Entry::text(image.manifest().config.digest.to_string(), PLAIN),
        ),
        (
            "oci.created".to_owned(),
            Entry::text(image.created().unwrap_or_default(), PLAIN),
        ),
    ]);
    for object in image.ebpf() {
        let info = extra_info(object)?;
        entries.extend(info.into_iter().map(|(key, entry)| (key.to_owned(), entry)));
    }
    if let Some(wasm) = image.wasm() {
        let upcalls = wasm::upcalls(wasm).context("reading the wasm layer")?;
        entries.insert("wasm.upcalls".to_owned(), Entry::json(&json!(upcalls)));
        // Another version cannot be instantiated.
        instantiate(image)?;
        let version = wasm::API_VERSION.to_string();
        entries.insert("wasm.gadgetAPIVersion".to_owned(), Entry::text(version, PLAIN));
    }
    Ok(entries)
}

/// Repository and tag of an image name, as the user wrote them.
fn typed_parts(name: &str) -> (&str, &str) {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

fn show_entries(entries: &BTreeMap<String, Entry>, extra: &str, path: &str, mode: Mode) -> Result<String> {
    if extra.is_empty() {
        return Ok(render(&whole(entries), mode));
    }
    let entry = entries
        .get(extra)
        .ok_or_else(|| Error::not_found(format!("extra info {extra:?} not found")))?;
    let value = match entry.content_type {
        JSON => serde_json::from_str(&entry.content).map_err(|e| Error::invalid(e.to_string()))?,
        YAML => document(&entry.content)?,
        _ if path.is_empty() => return Ok(terminal_text(&entry.content) + "\n"),
        _ => {
            return Err(Error::invalid(format!(
                "jsonpath {path:?} can only be used with JSON or YAML content"
            )));
        }
    };
    if value.is_null() && path.is_empty() {
        return Ok(render(&whole(entries), mode));
    }
    Ok(render(&selected(&value, path, extra)?, mode))
}

fn whole(entries: &BTreeMap<String, Entry>) -> Value {
    let shown = |entry: &Entry| json!({"content": entry.content, "contentType": entry.content_type});
    Value::Object(entries.iter().map(|(key, entry)| (key.clone(), shown(entry))).collect())
}

fn selected(value: &Value, path: &str, name: &str) -> Result<Value> {
    if path.is_empty() {
        return Ok(value.clone());
    }
    match jsonpath::select(value, path)? {
        Value::Null => Err(Error::not_found(format!(
            "path {path:?} not found in extra info {name:?}"
        ))),
        value => Ok(value),
    }
}

fn instantiate(image: &GadgetImage) -> Result<Gadget> {
    let containers = ContainerSource::Unavailable("the gadget is only inspected".to_owned());
    Gadget::builder(image)
        .containers(containers)
        .build()
        .context("initializing and preparing operators")
}

/// The data sources that a run would have, in the form in which the service describes them.
fn data_sources(image: &GadgetImage) -> Result<Value> {
    let gadget = instantiate(image)?;
    let mut sources: Vec<&DataSource> = gadget.data_sources().filter(|source| source.is_referenced()).collect();
    sources.sort_by_key(|source| source.name());
    Ok(Value::Array(sources.into_iter().map(describe_source).collect()))
}

fn describe_source(source: &DataSource) -> Value {
    let fields: Vec<Value> = source
        .fields()
        .map(|(id, field)| describe_field(id.index(), field))
        .collect();
    without_defaults(json!({
        "name": source.name(),
        "type": source.source_type().to_wire(),
        "fields": fields,
        "tags": source.tags(),
        "annotations": source.annotations().iter().map(|(key, value)| (key.to_string(), json!(value))).collect::<Map<_, _>>(),
    }))
}

fn describe_field(index: usize, field: &Field) -> Value {
    without_defaults(json!({
        "name": field.name(),
        "fullName": field.full_name(),
        "index": index,
        "payloadIndex": field.payload(),
        "offs": field.offset(),
        "size": field.size(),
        "flags": field.flags().bits(),
        "kind": field.kind().to_wire(),
        "tags": field.tags(),
        "annotations": field.annotations().iter().map(|(key, value)| (key.to_string(), json!(value))).collect::<Map<_, _>>(),
        "parent": field.parent().map_or(0, |parent| parent.index()),
        "order": field.order(),
    }))
}

/// Leaves out what a message does not carry: zeros, empty texts, lists and maps.
fn without_defaults(value: Value) -> Value {
    let is_default = |value: &Value| match value {
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Null => true,
        Value::Bool(value) => !value,
    };
    match value {
        Value::Object(members) => Value::Object(members.into_iter().filter(|(_, value)| !is_default(value)).collect()),
        value => value,
    }
}

fn render(value: &Value, mode: Mode) -> String {
    if let Value::String(text) = value {
        return terminal_text(text) + "\n";
    }
    match mode {
        Mode::Json => json_text(&value.to_string()) + "\n",
        Mode::JsonPretty => json_text(&format!("{value:#}")) + "\n",
        Mode::Yaml => yaml::emit(&to_node(value)),
    }
}

/// JSON in which control characters that JSON itself lets pass are escaped too.
fn json_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Lines of text, fit for a terminal.
fn terminal_text(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// A YAML text as a JSON value; it must be a mapping.
fn document(text: &str) -> Result<Value> {
    match yaml::parse(text.as_bytes())? {
        None => Ok(Value::Object(Map::new())),
        Some(node) if node.as_map().is_some() => Ok(from_node(&node)),
        Some(node) => Err(Error::invalid(format!("expected a mapping, found {}", node.describe()))),
    }
}

fn from_node(node: &Node) -> Value {
    match &node.value {
        yaml::Value::List(items) => Value::Array(items.iter().map(from_node).collect()),
        yaml::Value::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, node)| (key.clone(), from_node(node)))
                .collect(),
        ),
        yaml::Value::Scalar(scalar) => match scalar.kind {
            ScalarKind::Null => Value::Null,
            ScalarKind::Bool(value) => Value::Bool(value),
            ScalarKind::Int(value) => match (u64::try_from(value), i64::try_from(value)) {
                (Ok(value), _) => json!(value),
                (_, Ok(value)) => json!(value),
                _ => json!(scalar.text),
            },
            ScalarKind::Float(value) => serde_json::Number::from_f64(value).map_or(json!(scalar.text), Value::Number),
            ScalarKind::String => json!(scalar.text),
        },
    }
}

fn to_node(value: &Value) -> Node {
    let scalar = |text: String, kind| Node {
        line: 0,
        value: yaml::Value::Scalar(Scalar { text, kind }),
    };
    match value {
        Value::Null => scalar(String::new(), ScalarKind::Null),
        Value::Bool(value) => scalar(value.to_string(), ScalarKind::Bool(*value)),
        Value::Number(number) => scalar(number.to_string(), ScalarKind::Float(0.0)),
        Value::String(text) => Node::string(text.as_str()),
        Value::Array(items) => Node {
            line: 0,
            value: yaml::Value::List(items.iter().map(to_node).collect()),
        },
        Value::Object(members) => Node::map(
            members
                .iter()
                .map(|(key, value)| (key.clone(), to_node(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BTreeMap<String, Entry> {
        BTreeMap::from([
            (
                "ebpf.programs".to_owned(),
                Entry::json(&json!([{"Section": "kprobe/x"}, {"Section": "iter/task"}])),
            ),
            ("ebpf.variables".to_owned(), Entry::json(&Value::Null)),
            (
                "ebpf.sequence".to_owned(),
                Entry::text("sequenceDiagram\n", "text/mermaid"),
            ),
            ("oci.metadata".to_owned(), Entry::text("name: x\na: [1, true]\n", YAML)),
        ])
    }

    fn show(extra: &str, path: &str, mode: Mode) -> Result<String> {
        show_entries(&sample(), extra, path, mode)
    }

    #[test]
    fn entries_are_shown_by_their_type() {
        assert_eq!(
            show("oci.metadata", "", Mode::Json).unwrap(),
            "{\"a\":[1,true],\"name\":\"x\"}\n"
        );
        assert_eq!(
            show("oci.metadata", "", Mode::Yaml).unwrap(),
            "a:\n- 1\n- true\nname: x\n"
        );
        assert_eq!(show("ebpf.sequence", "", Mode::Json).unwrap(), "sequenceDiagram\n\n");
        assert_eq!(
            show("ebpf.programs", "[*].Section", Mode::JsonPretty).unwrap(),
            "[\n  \"kprobe/x\",\n  \"iter/task\"\n]\n"
        );
        assert_eq!(show("ebpf.programs", "[0].Section", Mode::Yaml).unwrap(), "kprobe/x\n");
        let whole = show("", "", Mode::Json).unwrap();
        assert!(
            whole.contains(r#""oci.metadata":{"content":"name: x\na: [1, true]\n","contentType":"text/yaml"}"#),
            "{whole}"
        );
        assert_eq!(show("ebpf.variables", "", Mode::Json).unwrap(), whole);
    }

    #[test]
    fn wrong_selections_are_named() {
        let message = |extra: &str, path: &str| show(extra, path, Mode::Json).unwrap_err().to_string();
        assert_eq!(message("nosuch", ""), "extra info \"nosuch\" not found");
        assert_eq!(
            message("ebpf.sequence", ".a"),
            "jsonpath \".a\" can only be used with JSON or YAML content"
        );
        assert_eq!(message("oci.metadata", ".b"), "resolving path \".b\": unknown key b");
        let text = |args: &[&str]| {
            let command = crate::cli::flags::normalize(command());
            let matches = command.try_get_matches_from([&["inspect"], args].concat()).unwrap();
            run(&matches).unwrap_err().to_string()
        };
        assert_eq!(
            text(&["x", "--jsonpath", ".a"]),
            "jsonpath \".a\" can only be used with extra info or show-datasources"
        );
        assert_eq!(
            text(&["x", "-o", "bad"]),
            "invalid output mode \"bad\", valid values are: yaml, json, jsonpretty"
        );
        assert_eq!(
            text(&["x", "--extra-info", "y", "--show-datasources"]),
            "extra-info \"y\" and show-datasources cannot be used together"
        );
    }

    #[test]
    fn names_are_shown_as_typed() {
        assert_eq!(typed_parts("trace_open"), ("trace_open", "latest"));
        assert_eq!(typed_parts("host:5000/a/b"), ("host:5000/a/b", "latest"));
        assert_eq!(typed_parts("host:5000/a/b:v1@sha256:00"), ("host:5000/a/b", "v1"));
    }

    #[test]
    fn nothing_controls_the_terminal() {
        assert_eq!(terminal_text("a\u{1b}[31m\nb\u{9b}"), "a\\u{1b}[31m\nb\\u{9b}");
        assert_eq!(render(&json!(["\u{9b}"]), Mode::Json), "[\"\\u009b\"]\n");
        assert_eq!(render(&json!(["\u{9b}"]), Mode::Yaml), "- \"\\u009b\"\n");
    }
}
