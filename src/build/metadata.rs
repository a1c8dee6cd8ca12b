//! gadget.yaml as a build sees it: decoded strictly enough to give the image its annotations, validated against the compiled
//! object, and completed for `--update-metadata`.
//!
//! What a running gadget sees of the same file is [`Config`](crate::metadata::config::Config).

use std::collections::BTreeMap;

use crate::ebpf::btf::{Btf, BtfKind, BtfType, TypeId};
use crate::ebpf::inspect::maps::{Map, map_type_name};
use crate::ebpf::inspect::object::ObjectFile;
use crate::metadata::yaml::{self, Node, Value};
use crate::{Error, Result, ResultExt};

const MAP_TYPE_HASH: u32 = 1;
const MAP_TYPE_PERF_EVENT_ARRAY: u32 = 4;
const MAP_TYPE_RINGBUF: u32 = 27;

/// Top-level keys, in the order in which they are written.
const TOP_LEVEL: [&str; 8] = [
    "name",
    "description",
    "homepageURL",
    "documentationURL",
    "sourceURL",
    "annotations",
    "datasources",
    "params",
];
const DATA_SOURCE: [&str; 3] = ["annotations", "tags", "fields"];
const FIELD: [&str; 2] = ["annotations", "tags"];
const PARAM: [&str; 11] = [
    "key",
    "alternativeKey",
    "alias",
    "title",
    "defaultValue",
    "description",
    "isMandatory",
    "tags",
    "type",
    "valueHint",
    "possibleValues",
];

/// The top-level texts, and what is written where they are missing.
const PLACEHOLDERS: [(&str, &str); 5] = [
    ("name", "TODO: Fill the gadget name"),
    ("description", "TODO: Fill the gadget description"),
    ("homepageURL", "TODO: Fill the gadget homepage URL"),
    ("documentationURL", "TODO: Fill the gadget documentation URL"),
    ("sourceURL", "TODO: Fill the gadget source code URL"),
];

/// What a build reads from gadget.yaml. Texts that are not there are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The gadget's name.
    pub name: String,
    /// What it does, in a sentence.
    pub description: String,
    /// Where its users find it.
    pub homepage_url: String,
    /// Where its documentation is.
    pub documentation_url: String,
    /// Where its source is.
    pub source_url: String,
    /// Annotations of the image.
    pub annotations: BTreeMap<String, String>,
    /// `params.ebpf`: variable → name of the parameter.
    pub ebpf_params: BTreeMap<String, String>,
}

impl Metadata {
    /// Decodes a gadget.yaml.
    ///
    /// # Errors
    /// `decoding metadata file: …`: not YAML, empty (`EOF`), or a value of the wrong type.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        read(bytes)
            .and_then(|root| Self::from_node(&root))
            .context("decoding metadata file")
    }

    fn from_node(root: &Node) -> Result<Self> {
        let mut metadata = Self {
            name: text(root, "name")?,
            description: text(root, "description")?,
            homepage_url: text(root, "homepageURL")?,
            documentation_url: text(root, "documentationURL")?,
            source_url: text(root, "sourceURL")?,
            ..Self::default()
        };
        for (key, value) in mapping(root, "annotations")? {
            metadata.annotations.insert(key.clone(), scalar(value)?);
        }
        for (_, source) in mapping(root, "datasources")? {
            texts(source, "annotations")?;
            for (_, field) in mapping(source, "fields")? {
                texts(field, "annotations")?;
            }
        }
        if let Some(params) = root.get("params") {
            for (variable, param) in mapping(params, "ebpf")? {
                for member in [
                    "alternativeKey",
                    "alias",
                    "title",
                    "defaultValue",
                    "description",
                    "type",
                    "valueHint",
                ] {
                    text(param, member)?;
                }
                metadata.ebpf_params.insert(variable.clone(), text(param, "key")?);
            }
        }
        Ok(metadata)
    }

    /// Checks the parameters against the compiled object: each must name a global `const volatile` variable and have a key.
    ///
    /// # Errors
    /// All problems, one per line.
    pub fn validate(&self, object: Option<&ObjectFile<'_>>) -> Result<()> {
        let mut problems = Vec::new();
        for (variable, key) in &self.ebpf_params {
            match object {
                Some(object) => problems.extend(check_param(object.btf.as_ref(), variable).err()),
                None => problems.push(Error::invalid(format!(
                    "variable {variable:?} not found in eBPF object: the gadget has none"
                ))),
            }
            if key.is_empty() {
                problems.push(Error::invalid(format!("param {variable:?} has an empty key")));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = problems.iter().map(Error::to_string).collect();
        Err(Error::invalid(lines.join("\n")))
    }
}

/// The root mapping of a gadget.yaml.
fn read(bytes: &[u8]) -> Result<Node> {
    let root = yaml::parse(bytes)?.ok_or_else(|| Error::invalid("EOF"))?;
    if root.is_null() {
        return Ok(Node::map(Vec::new()));
    }
    match root.value {
        Value::Map(_) => Ok(root),
        _ => Err(wrong_type(&root, "a mapping")),
    }
}

fn wrong_type(node: &Node, expected: &str) -> Error {
    yaml::error_at(
        node.line,
        format_args!("expected {expected}, found {}", node.describe()),
    )
}

fn scalar(node: &Node) -> Result<String> {
    match &node.value {
        Value::Scalar(_) if node.is_null() => Ok(String::new()),
        Value::Scalar(scalar) => Ok(scalar.text.clone()),
        _ => Err(wrong_type(node, "a text")),
    }
}

fn text(node: &Node, key: &str) -> Result<String> {
    node.get(key).map_or_else(|| Ok(String::new()), scalar)
}

/// The entries of the mapping under `key`; none if it is missing or null.
fn mapping<'a>(node: &'a Node, key: &str) -> Result<&'a [(String, Node)]> {
    if node.as_map().is_none() && !node.is_null() {
        return Err(wrong_type(node, "a mapping"));
    }
    match node.get(key) {
        None => Ok(&[]),
        Some(child) if child.is_null() => Ok(&[]),
        Some(child) => child.as_map().ok_or_else(|| wrong_type(child, "a mapping")),
    }
}

fn texts(node: &Node, key: &str) -> Result<()> {
    mapping(node, key)?
        .iter()
        .try_for_each(|(_, value)| scalar(value).map(drop))
}

fn not_found(kind: &str, name: &str) -> Error {
    Error::invalid(format!("{kind} {name:?} not found in eBPF object"))
}

/// The type, if it is one of that kind.
fn of_kind<'a>(btf: &Btf<'a>, id: TypeId, kind: BtfKind) -> Option<BtfType<'a>> {
    btf.get(id).filter(|t| t.kind == kind)
}

/// Checks that `name` is a variable whose value can be set before a program is loaded and that the compiler did not fold.
fn check_param(btf: Option<&Btf<'_>>, name: &str) -> Result<()> {
    let (btf, variable) = btf
        .and_then(|btf| Some((btf, btf.find(BtfKind::Var, name)?)))
        .ok_or_else(|| Error::invalid(format!("variable {name:?} not found in eBPF object: not found")))?;
    if !variable.is_global() {
        return Err(Error::invalid(format!("{name:?} is not a global variable")));
    }
    let mut id = variable.target();
    // The qualifiers of an array belong to its elements. Damaged types may contain themselves, hence the bound.
    for _ in 0..8 {
        let Some(array) = of_kind(btf, id, BtfKind::Array) else {
            break;
        };
        id = array.array_element();
    }
    let constant = of_kind(btf, id, BtfKind::Const).ok_or_else(|| Error::invalid(format!("{name:?} is not const")))?;
    match of_kind(btf, constant.target(), BtfKind::Volatile) {
        Some(_) => Ok(()),
        None => Err(Error::invalid(format!("{name:?} is not volatile"))),
    }
}

/// What the macros of the gadget API declare in an object: the rest of the marker variables' names.
fn markers(btf: &Btf<'_>, prefix: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for variable in btf.types().filter(|t| t.kind == BtfKind::Var) {
        let name = btf.name(&variable);
        let Some(rest) = name.strip_prefix(prefix) else {
            continue;
        };
        let wrong = |what: &str| Error::invalid(format!("{name:?} is {what}"));
        if !variable.is_global() {
            return Err(wrong("not a global variable"));
        }
        let pointer = of_kind(btf, variable.target(), BtfKind::Ptr).ok_or_else(|| wrong("not a pointer"))?;
        let constant = of_kind(btf, pointer.target(), BtfKind::Const).ok_or_else(|| wrong("not const"))?;
        if btf.get(constant.target()).is_some() {
            return Err(wrong("not a const void pointer"));
        }
        found.push(rest.to_owned());
    }
    Ok(found)
}

/// Completes a gadget.yaml from the compiled object, or makes a new one.
///
/// Only what is missing is added; unknown sections stay. Order and quoting are normalised, and comments are lost.
///
/// # Errors
/// `updating metadata file: …`, when `existing` is not valid or the object's markers are not.
pub fn update(existing: Option<&[u8]>, object: &ObjectFile<'_>) -> Result<Vec<u8>> {
    complete(existing, object).context("updating metadata file")
}

fn complete(existing: Option<&[u8]>, object: &ObjectFile<'_>) -> Result<Vec<u8>> {
    let root = match existing {
        None => Node::map(Vec::new()),
        Some(bytes) => {
            Metadata::decode(bytes)?
                .validate(Some(object))
                .context("metadata file is wrong, fix it before continuing")?;
            read(bytes)?
        }
    };
    let Value::Map(mut root) = root.value else {
        return Err(Error::invalid("expected a mapping"));
    };
    for (key, placeholder) in PLACEHOLDERS {
        let value = entry(&mut root, key, || Node::string(""));
        if scalar(value)?.is_empty() {
            *value = Node::string(placeholder);
        }
    }
    populate(&mut root, object).context("populating metadata")?;
    arrange(&mut root);
    Ok(yaml::emit(&Node::map(root)).into_bytes())
}

fn populate(root: &mut Entries, object: &ObjectFile<'_>) -> Result<()> {
    let Some(btf) = &object.btf else {
        return Ok(());
    };
    for marker in markers(btf, "gadget_tracer_").context("handling tracers")? {
        let (source, members) = tracer(&marker, btf, object).context("handling tracers")?;
        add_fields(root, &source, &members)?;
    }
    for marker in markers(btf, "gadget_mapiter_").context("handling mapIters")? {
        let (source, members) = map_iterator(&marker, btf, object).context("handling mapIters")?;
        add_fields(root, &source, &members)?;
    }
    for marker in markers(btf, "gadget_iter_").context("handling snapshotters")? {
        let (source, members) = iterator(&marker, btf, object).context("handling snapshotters")?;
        add_fields(root, &source, &members)?;
    }
    for variable in markers(btf, "gadget_param_").context("handling params")? {
        check_param(Some(btf), &variable).context("handling params")?;
        let params = map_entry(root, "params")?;
        let ebpf = map_entry(params, "ebpf")?;
        entry(ebpf, &variable, || {
            Node::map(vec![
                ("key".to_owned(), Node::string(&*variable)),
                ("defaultValue".to_owned(), Node::string("")),
                (
                    "description".to_owned(),
                    Node::string("TODO: Fill parameter description"),
                ),
            ])
        });
    }
    Ok(())
}

fn struct_members(btf: &Btf<'_>, name: &str) -> Result<Vec<String>> {
    let event = btf
        .find(BtfKind::Struct, name)
        .ok_or_else(|| Error::invalid(format!("finding struct {name:?} in eBPF object: not found")))?;
    Ok(member_names(btf, &event).collect())
}

fn member_names<'a>(btf: &Btf<'a>, of: &BtfType<'a>) -> impl Iterator<Item = String> {
    btf.members(of).map(|member| member.name.to_owned())
}

fn find_map<'a>(object: &'a ObjectFile<'_>, name: &str) -> Result<&'a Map> {
    object.maps.get(name).ok_or_else(|| not_found("map", name))
}

fn tracer(marker: &str, btf: &Btf<'_>, object: &ObjectFile<'_>) -> Result<(String, Vec<String>)> {
    let [name, map, event] = parts(marker).ok_or_else(|| Error::invalid(format!("invalid tracer info: {marker:?}")))?;
    let map_type = find_map(object, map)?.map_type;
    if !matches!(map_type, MAP_TYPE_RINGBUF | MAP_TYPE_PERF_EVENT_ARRAY) {
        return Err(Error::invalid(format!(
            "trace map is invalid: map {map:?} has a wrong type, expected: ringbuf or perf event array, got: {}",
            map_type_name(map_type)
        )));
    }
    Ok((name.to_owned(), struct_members(btf, event)?))
}

fn map_iterator(marker: &str, btf: &Btf<'_>, object: &ObjectFile<'_>) -> Result<(String, Vec<String>)> {
    let [name, map_name] =
        parts(marker).ok_or_else(|| Error::invalid(format!("invalid name for gadget_mapiter type: {marker:?}")))?;
    let map = find_map(object, map_name)?;
    if map.map_type != MAP_TYPE_HASH {
        return Err(Error::invalid(format!("map {map_name:?} is not a hash map")));
    }
    let mut names = Vec::new();
    for (what, ty, map_size) in [
        ("key", map.key_type, map.key_size),
        ("value", map.value_type, map.value_size),
    ] {
        let Some(record) = of_kind(btf, ty, BtfKind::Struct) else {
            return Err(Error::invalid(format!("map {map_name:?} {what} is not a struct")));
        };
        if record.size() != map_size {
            return Err(Error::invalid(format!(
                "key/value sizes of map {map_name:?} does not match size of structs"
            )));
        }
        names.extend(member_names(btf, &record));
    }
    Ok((name.to_owned(), names))
}

fn iterator(marker: &str, btf: &Btf<'_>, object: &ObjectFile<'_>) -> Result<(String, Vec<String>)> {
    let parts: Vec<&str> = marker.split("___").collect();
    let [name, event, programs @ ..] = parts.as_slice() else {
        return Err(bad_iterator(marker));
    };
    if programs.is_empty() {
        return Err(bad_iterator(marker));
    }
    for program in programs {
        if program.is_empty() {
            return Err(Error::invalid("empty program name"));
        }
        let found = object
            .programs
            .get(*program)
            .ok_or_else(|| not_found("program", program))?;
        if !found.section.starts_with("iter/") {
            return Err(Error::invalid(format!(
                "invalid program {program:?}: expecting type Tracing and a section that starts with \"iter/\", got {:?}",
                found.section
            )));
        }
    }
    Ok(((*name).to_owned(), struct_members(btf, event)?))
}

fn bad_iterator(marker: &str) -> Error {
    Error::invalid(format!(
        "invalid iterator info: {marker:?}, expected <name>___<structName>___<program1>___...___<programN>"
    ))
}

fn parts<const N: usize>(marker: &str) -> Option<[&str; N]> {
    marker.split("___").collect::<Vec<_>>().try_into().ok()
}

type Entries = Vec<(String, Node)>;

fn add_fields(root: &mut Entries, source: &str, members: &[String]) -> Result<()> {
    let sources = map_entry(root, "datasources")?;
    let source = map_entry(sources, source)?;
    let fields = map_entry(source, "fields")?;
    // An anonymous member has no field of its own.
    for member in members.iter().filter(|member| !member.is_empty()) {
        entry(fields, member, || {
            let description = Node::string("TODO: Fill field description");
            let annotations = Node::map(vec![("description".to_owned(), description)]);
            Node::map(vec![("annotations".to_owned(), annotations)])
        });
    }
    Ok(())
}

/// The value of `key` in any case (at run time case does not matter), or a new one.
fn entry<'a>(entries: &'a mut Entries, key: &str, default: impl FnOnce() -> Node) -> &'a mut Node {
    let index = match entries.iter().position(|(name, _)| name.eq_ignore_ascii_case(key)) {
        Some(index) => index,
        None => {
            entries.push((key.to_owned(), default()));
            entries.len() - 1
        }
    };
    &mut entries[index].1
}

fn map_entry<'a>(entries: &'a mut Entries, key: &str) -> Result<&'a mut Entries> {
    let node = entry(entries, key, || Node::map(Vec::new()));
    if node.is_null() {
        *node = Node::map(Vec::new());
    }
    let error = wrong_type(node, "a mapping");
    match &mut node.value {
        Value::Map(entries) => Ok(entries),
        _ => Err(error),
    }
}

/// Brings the known sections into their order: struct-like ones as listed, maps alphabetically, unknown keys last.
fn arrange(root: &mut Entries) {
    order(root, &TOP_LEVEL);
    for (key, node) in root {
        let Value::Map(entries) = &mut node.value else { continue };
        match key.to_ascii_lowercase().as_str() {
            "annotations" => sort(entries),
            "datasources" => {
                sort(entries);
                for source in maps(entries) {
                    order(source, &DATA_SOURCE);
                    for (key, node) in source.iter_mut() {
                        let Value::Map(entries) = &mut node.value else { continue };
                        sort(entries);
                        if key.eq_ignore_ascii_case("fields") {
                            for field in maps(entries) {
                                order(field, &FIELD);
                                maps(field).for_each(sort);
                            }
                        }
                    }
                }
            }
            "params" => {
                sort(entries);
                for group in maps(entries) {
                    sort(group);
                    for param in maps(group) {
                        order(param, &PARAM);
                    }
                }
            }
            _ => {}
        }
    }
}

fn maps(entries: &mut Entries) -> impl Iterator<Item = &mut Entries> {
    entries.iter_mut().filter_map(|(_, node)| match &mut node.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    })
}

fn sort(entries: &mut Entries) {
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
}

fn order(entries: &mut Entries, known: &[&str]) {
    // Stable, so unknown keys keep their order among themselves.
    entries.sort_by_key(|(key, _)| {
        known
            .iter()
            .position(|name| name.eq_ignore_ascii_case(key))
            .unwrap_or(known.len())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::compile;

    const SOURCE: &str = r#"
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
struct event { u64 timestamp_raw; u32 fd; char fname[16]; };
struct key { u32 pid; };
struct value { u64 reads; };
struct { int (*type)[27]; int (*max_entries)[262144]; } events SEC(".maps");
struct { int (*type)[1]; int (*max_entries)[16]; struct key *key; struct value *value; } stats SEC(".maps");
const void *gadget_tracer_open___events___event __attribute__((unused));
const void *gadget_mapiter_stats___stats __attribute__((unused));
const void *gadget_iter_procs___event___walk __attribute__((unused));
const volatile u32 target_pid = 0;
const volatile char names[4][8] = {};
const void *gadget_param_target_pid __attribute__((unused));
const u32 only_const = 1;
volatile u32 only_volatile = 1;
static const volatile u32 hidden = 1;
const struct event *unused __attribute__((unused));
SEC("iter/task") int walk(void *ctx) { return hidden + only_volatile + target_pid + names[target_pid & 3][0]; }
char LICENSE[] SEC("license") = "GPL";
"#;

    fn object() -> Vec<u8> {
        compile(SOURCE)
    }

    fn problems(yaml: &str) -> String {
        let elf = object();
        let object = ObjectFile::parse(&elf).unwrap();
        match Metadata::decode(yaml.as_bytes()).unwrap().validate(Some(&object)) {
            Ok(()) => String::new(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn decodes_what_a_build_needs() {
        let metadata = Metadata::decode(
            b"name: open\ndescription: 8\nannotations: {a: true}\nparams: {ebpf: {x: {key: X}}}\nelse: [1]\n",
        )
        .unwrap();
        assert_eq!((metadata.name.as_str(), metadata.description.as_str()), ("open", "8"));
        assert_eq!(metadata.annotations["a"], "true");
        assert_eq!(metadata.ebpf_params["x"], "X");
    }

    #[test]
    fn undecodable_files_are_named() {
        let message = |text: &str| Metadata::decode(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(message(""), "decoding metadata file: EOF");
        assert_eq!(
            message("name: [a]"),
            "decoding metadata file: yaml: line 1: expected a text, found a list"
        );
        assert_eq!(
            message("datasources:\n  open: 3\n"),
            "decoding metadata file: yaml: line 2: expected a mapping, found an integer"
        );
        assert_eq!(
            message("name: a\n  b: c: d\n"),
            "decoding metadata file: yaml: line 2: mapping values are not allowed in this context"
        );
    }

    #[test]
    fn params_must_be_const_volatile_globals() {
        assert_eq!(
            problems("params: {ebpf: {target_pid: {key: pid}, names: {key: names}}}"),
            ""
        );
        assert_eq!(
            problems("params: {ebpf: {nosuch: {key: k}}}"),
            "variable \"nosuch\" not found in eBPF object: not found"
        );
        assert_eq!(
            problems("params: {ebpf: {hidden: {key: k}}}"),
            "\"hidden\" is not a global variable"
        );
        assert_eq!(
            problems("params: {ebpf: {only_volatile: {key: k}}}"),
            "\"only_volatile\" is not const"
        );
        assert_eq!(
            problems("params: {ebpf: {only_const: {key: k}}}"),
            "\"only_const\" is not volatile"
        );
        assert_eq!(
            problems("params: {ebpf: {target_pid: {}, nosuch: {}}}"),
            "variable \"nosuch\" not found in eBPF object: not found\nparam \"nosuch\" has an empty key\nparam \"target_pid\" has an empty key"
        );
        let without = Metadata::decode(b"params: {ebpf: {x: {key: k}}}")
            .unwrap()
            .validate(None)
            .unwrap_err();
        assert_eq!(
            without.to_string(),
            "variable \"x\" not found in eBPF object: the gadget has none"
        );
    }

    #[test]
    fn a_new_file_lists_everything() {
        let elf = object();
        let written = update(None, &ObjectFile::parse(&elf).unwrap()).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(
            text,
            "\
name: 'TODO: Fill the gadget name'
description: 'TODO: Fill the gadget description'
homepageURL: 'TODO: Fill the gadget homepage URL'
documentationURL: 'TODO: Fill the gadget documentation URL'
sourceURL: 'TODO: Fill the gadget source code URL'
datasources:
  open:
    fields:
      fd:
        annotations:
          description: 'TODO: Fill field description'
      fname:
        annotations:
          description: 'TODO: Fill field description'
      timestamp_raw:
        annotations:
          description: 'TODO: Fill field description'
  procs:
    fields:
      fd:
        annotations:
          description: 'TODO: Fill field description'
      fname:
        annotations:
          description: 'TODO: Fill field description'
      timestamp_raw:
        annotations:
          description: 'TODO: Fill field description'
  stats:
    fields:
      pid:
        annotations:
          description: 'TODO: Fill field description'
      reads:
        annotations:
          description: 'TODO: Fill field description'
params:
  ebpf:
    target_pid:
      key: target_pid
      defaultValue: ''
      description: 'TODO: Fill parameter description'
"
        );
    }

    #[test]
    fn what_is_there_stays() {
        let existing = "\
operator: {process: {interval: 3s}}
dataSources:
  open:
    annotations: {cli.clear-screen-before: true}
    fields:
      FNAME: {annotations: {columns.width: 8}}
name: mine
params:
  custom: {mode: {values: {a: {patch: {x: 1}}}}}
  ebpf:
    target_pid: {description: only this pid, key: pid}
";
        let elf = object();
        let written = update(Some(existing.as_bytes()), &ObjectFile::parse(&elf).unwrap()).unwrap();
        let config = crate::metadata::config::Config::parse(&written).unwrap();
        let text = |path: &str| config.get_str(path).map(|text| text.into_owned());
        assert_eq!(text("operator.process.interval").as_deref(), Some("3s"));
        assert_eq!(
            text("datasources.open.fields.fname.annotations.columns.width").as_deref(),
            Some("8")
        );
        assert_eq!(text("datasources.open.fields.fname.annotations.description"), None);
        assert!(text("datasources.open.fields.fd.annotations.description").is_some());
        assert_eq!(text("params.ebpf.target_pid.key").as_deref(), Some("pid"));
        assert_eq!(text("params.custom.mode.values.a.patch.x").as_deref(), Some("1"));
        assert_eq!(text("name").as_deref(), Some("mine"));
        let again = update(Some(&written), &ObjectFile::parse(&elf).unwrap()).unwrap();
        assert_eq!(again, written, "a complete file is not changed");
        let first = String::from_utf8(written).unwrap();
        assert!(first.starts_with("name: mine\ndescription: "), "{first}");
    }

    #[test]
    fn wrong_files_and_markers_are_refused() {
        let elf = object();
        let object = ObjectFile::parse(&elf).unwrap();
        let message = update(Some(b"params: {ebpf: {nosuch: {key: k}}}"), &object)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "updating metadata file: metadata file is wrong, fix it before continuing: variable \"nosuch\" not found in eBPF object: not found"
        );
        let marker = |line: &str| {
            let elf = compile(&SOURCE.replace("const void *gadget_iter_procs___event___walk", line));
            update(None, &ObjectFile::parse(&elf).unwrap()).unwrap_err().to_string()
        };
        let prefix = "updating metadata file: populating metadata: ";
        for (line, expected) in [
            (
                "const void *gadget_tracer_two___parts",
                "handling tracers: invalid tracer info: \"two___parts\"",
            ),
            (
                "const void *gadget_tracer_a___nosuch___event",
                "handling tracers: map \"nosuch\" not found in eBPF object",
            ),
            (
                "const void *gadget_tracer_a___stats___event",
                "handling tracers: trace map is invalid: map \"stats\" has a wrong type, expected: ringbuf or perf event array, got: Hash",
            ),
            (
                "const void *gadget_tracer_a___events___nosuch",
                "handling tracers: finding struct \"nosuch\" in eBPF object: not found",
            ),
            (
                "const void *gadget_mapiter_a___events",
                "handling mapIters: map \"events\" is not a hash map",
            ),
            (
                "const void *gadget_iter_a___event",
                "handling snapshotters: invalid iterator info: \"a___event\", expected <name>___<structName>___<program1>___...___<programN>",
            ),
            (
                "const void *gadget_iter_a___event___nosuch",
                "handling snapshotters: program \"nosuch\" not found in eBPF object",
            ),
            (
                "const void *gadget_param_only_const",
                "handling params: \"only_const\" is not volatile",
            ),
            (
                "void *gadget_param_target_x",
                "handling params: \"gadget_param_target_x\" is not const",
            ),
            (
                "int gadget_param_target_x",
                "handling params: \"gadget_param_target_x\" is not a pointer",
            ),
        ] {
            assert_eq!(marker(line), format!("{prefix}{expected}"));
        }
    }
}
