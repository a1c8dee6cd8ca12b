//! Completing a gadget.yaml from what the compiled object declares.

use super::{Metadata, check_param, of_kind, read, scalar, wrong_type};
use crate::ebpf::btf::{Btf, BtfKind, BtfType};
use crate::ebpf::convention;
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
    let mut variables = markers(btf, "gadget_param_").context("handling params")?;
    if !["gadget_tracer_", "gadget_mapiter_", "gadget_iter_"]
        .iter()
        .any(|prefix| has_marker(btf, prefix))
    {
        let declared = convention::discover(btf).context("handling maps")?;
        for source in &declared {
            add_fields(root, source.name(), &convention::member_names(btf, source)?)?;
        }
        if !declared.is_empty() {
            variables.extend(
                convention::parameters(btf)
                    .into_iter()
                    .filter(|name| !name.starts_with("gadget_")),
            );
            variables.dedup();
        }
    }
    for variable in variables {
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
    let error = wrong_type(node, key, "a mapping");
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

fn has_marker(btf: &Btf<'_>, prefix: &str) -> bool {
    btf.types()
        .any(|t| t.kind == BtfKind::Var && btf.name(&t).starts_with(prefix))
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

fn not_found(kind: &str, name: &str) -> Error {
    Error::invalid(format!("{kind} {name:?} not found in eBPF object"))
}
