//! gadget.yaml as a build sees it: decoded strictly enough to give the image its annotations, validated against the compiled
//! object, and completed for `--update-metadata`.
//!
//! What a running gadget sees of the same file is [`Config`].

mod check;
#[cfg(test)]
mod tests;
mod update;

use std::collections::BTreeMap;

pub use self::update::update;
use crate::ebpf::btf::{Btf, BtfKind, BtfType, TypeId};
use crate::ebpf::inspect::object::ObjectFile;
use crate::metadata::config::Config;
use crate::metadata::yaml::{self, Node, Value};
use crate::text::printable;
use crate::{Error, Result, ResultExt};

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
    /// `decoding metadata file: …`: not YAML, empty (`EOF`), a key that is there twice in any case, or a value of the wrong
    /// type.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let decode = || {
            let root = read(bytes)?;
            Config::parse(bytes)?;
            check::check(&root)?;
            Self::from_node(&root)
        };
        decode().context("decoding metadata file")
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

/// The keys of a gadget.yaml that mean nothing, a sentence for each, with the key that was probably meant. A run accepts them.
pub fn unknown_keys(bytes: &[u8]) -> Vec<String> {
    read(bytes).map_or_else(|_| Vec::new(), |root| check::unknown_keys(&root))
}

/// The root mapping of a gadget.yaml.
fn read(bytes: &[u8]) -> Result<Node> {
    let root = yaml::parse(bytes)?.ok_or_else(|| Error::invalid("EOF"))?;
    if root.is_null() {
        return Ok(Node::map(Vec::new()));
    }
    match root.value {
        Value::Map(_) => Ok(root),
        _ => Err(wrong_type(&root, "", "a mapping")),
    }
}

/// An error about what stands at `path`, which is empty for the root.
fn wrong_type(node: &Node, path: &str, expected: &str) -> Error {
    let place = match path {
        "" => String::new(),
        path => format!("{}: ", printable(path)),
    };
    yaml::error_at(
        node.line,
        format_args!("{place}expected {expected}, found {}", node.describe()),
    )
}

fn scalar(node: &Node) -> Result<String> {
    match &node.value {
        Value::Scalar(_) if node.is_null() => Ok(String::new()),
        Value::Scalar(scalar) => Ok(scalar.text.clone()),
        _ => Err(wrong_type(node, "", "a text")),
    }
}

fn text(node: &Node, key: &str) -> Result<String> {
    node.get(key).map_or_else(|| Ok(String::new()), scalar)
}

/// The entries of the mapping under `key`; none if it is missing or null.
fn mapping<'a>(node: &'a Node, key: &str) -> Result<&'a [(String, Node)]> {
    if node.as_map().is_none() && !node.is_null() {
        return Err(wrong_type(node, key, "a mapping"));
    }
    match node.get(key) {
        None => Ok(&[]),
        Some(child) if child.is_null() => Ok(&[]),
        Some(child) => child.as_map().ok_or_else(|| wrong_type(child, key, "a mapping")),
    }
}

fn texts(node: &Node, key: &str) -> Result<()> {
    mapping(node, key)?
        .iter()
        .try_for_each(|(_, value)| scalar(value).map(drop))
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
