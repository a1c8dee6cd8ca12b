//! The form of a gadget.yaml: which keys there are, and what stands under each.
//!
//! A run accepts any key, since newer gadgets may have keys that it does not know. The author of a gadget is told of such keys when the
//! gadget is built: most of them are mistakes.

use super::wrong_type;
use crate::metadata::duration;
use crate::metadata::params::typed::parse_int;
use crate::metadata::template::Template;
use crate::metadata::yaml::{Node, Value, error_at};
use crate::text::{did_you_mean, go_quote, nearest};
use crate::{Result, ResultExt};

/// What may stand somewhere. Nothing may stand everywhere.
enum Form {
    /// Anything.
    Any,
    /// A scalar.
    Text,
    /// `true` or `false`.
    Bool,
    /// An integer.
    Integer,
    /// A Go duration, or a number of nanoseconds.
    Duration,
    /// A list of scalars, or a scalar with blanks between the items.
    Texts,
    /// A mapping with any keys, all of whose values have this form.
    Each(&'static Form),
    /// A mapping with these keys, in any case.
    Keys(&'static [(&'static str, Form)]),
    /// A mapping with templates as texts.
    Patch,
}

use Form::{Any, Bool, Duration, Each, Integer, Keys, Patch, Text, Texts};

static ROOT: Form = Keys(&[
    ("name", Text),
    ("description", Text),
    ("homepageURL", Text),
    ("documentationURL", Text),
    ("sourceURL", Text),
    ("annotations", Each(&Text)),
    ("tags", Texts),
    ("datasources", Each(&DATA_SOURCE)),
    (
        "params",
        Keys(&[
            ("ebpf", Each(&PARAM)),
            ("wasm", Each(&WASM_PARAM)),
            ("custom", Each(&CUSTOM_PARAM)),
        ]),
    ),
    ("ebpfParams", Each(&PARAM)),
    ("paramDefaults", Each(&Text)),
    (
        "operator",
        // Other operators may have settings that only they know.
        Each(&Any),
    ),
    ("programs", Each(&Each(&Any))),
]);

static DATA_SOURCE: Form = Keys(&[("annotations", Each(&Text)), ("tags", Texts), ("fields", Each(&FIELD))]);
static FIELD: Form = Keys(&[("annotations", Each(&Text)), ("tags", Texts)]);
static PARAM: Form = Keys(&[
    ("key", Text),
    ("alternativeKey", Text),
    ("alias", Text),
    ("title", Text),
    ("defaultValue", Text),
    ("description", Text),
    ("isMandatory", Bool),
    ("tags", Texts),
    ("type", Text),
    ("valueHint", Text),
    ("possibleValues", Texts),
]);
static WASM_PARAM: Form = Keys(&[
    ("key", Text),
    ("alternativeKey", Text),
    ("alias", Text),
    ("title", Text),
    ("defaultValue", Text),
    ("description", Text),
    ("isMandatory", Bool),
    ("tags", Texts),
    ("typeHint", Text),
    ("valueHint", Text),
    ("possibleValues", Texts),
]);
static CUSTOM_PARAM: Form = Keys(&[
    ("description", Text),
    ("defaultValue", Text),
    ("alias", Text),
    ("values", Each(&Keys(&[("patch", Patch)]))),
    ("patch", Patch),
]);
static PROCESS: Form = Keys(&[
    ("emitstats", Bool),
    ("interval", Duration),
    ("first-interval", Duration),
    ("count", Integer),
    ("fields", Texts),
]);
static CGROUP: Form = Keys(&[
    ("emitstats", Bool),
    ("interval", Duration),
    ("first-interval", Duration),
    ("count", Integer),
]);

/// The operators whose settings are known here.
static OPERATORS: [(&str, &Form); 2] = [("process", &PROCESS), ("cgroup", &CGROUP)];

/// Checks that everything in the document has its form.
///
/// # Errors
///
/// `yaml: line N: path: expected …, found …`
pub(super) fn check(root: &Node) -> Result<()> {
    let mut check = Check {
        unknown: Vec::new(),
        enough: 0,
    };
    check.node(root, &ROOT, "")?;
    check.operators(root)
}

/// Keys that mean nothing, a line of text for each of the first of them. Of a document that is not in its form, those before the first mistake.
pub(super) fn unknown_keys(root: &Node) -> Vec<String> {
    let mut check = Check {
        unknown: Vec::new(),
        enough: MAX_UNKNOWN,
    };
    // The mistake is said by who validates.
    let _ = check.node(root, &ROOT, "");
    check.operators(root).unwrap_or_default();
    check.unknown
}

/// The most unknown keys that are named.
const MAX_UNKNOWN: usize = 20;

struct Check {
    unknown: Vec<String>,
    /// How many unknown keys are worth a line.
    enough: usize,
}

impl Check {
    fn operators(&mut self, root: &Node) -> Result<()> {
        let Some(settings) = member(root, "operator") else {
            return Ok(());
        };
        for (name, form) in &OPERATORS {
            if let Some(node) = member(settings, name) {
                self.node(node, form, &format!("operator.{name}"))?;
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, form: &Form, path: &str) -> Result<()> {
        if node.is_null() {
            return Ok(());
        }
        let wrong = |expected: &str| Err(wrong_type(node, path, expected));
        match (form, &node.value) {
            (Form::Any, _) => Ok(()),
            (Form::Text | Form::Texts, Value::Scalar(_)) => Ok(()),
            (Form::Text, _) => wrong("a text"),
            (Form::Bool, Value::Scalar(scalar)) => match &*scalar.text {
                "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(()),
                _ => wrong("true or false"),
            },
            (Form::Bool, _) => wrong("true or false"),
            (Form::Integer, Value::Scalar(scalar)) => value(node, path, parse_int(scalar.text.trim(), 64).map(drop)),
            (Form::Integer, _) => wrong("an integer"),
            (Form::Duration, Value::Scalar(scalar)) if scalar.text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
            (Form::Duration, Value::Scalar(scalar)) => value(node, path, duration::parse(scalar.text.trim()).map(drop)),
            (Form::Duration, _) => wrong("a duration"),
            (Form::Texts, Value::List(items)) => items.iter().try_for_each(|item| self.node(item, &Form::Text, path)),
            (Form::Texts, Value::Map(_)) => wrong("a list"),
            (Form::Each(form), Value::Map(entries)) => entries
                .iter()
                .try_for_each(|(key, node)| self.node(node, form, &below(path, key))),
            (Form::Keys(keys), Value::Map(entries)) => entries.iter().try_for_each(|(key, node)| {
                match keys.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)) {
                    Some((known, form)) => {
                        self.case(path, key, known, node);
                        self.node(node, form, &below(path, key))
                    }
                    None => {
                        self.unknown_key(path, key, keys, node);
                        Ok(())
                    }
                }
            }),
            (Form::Each(_) | Form::Keys(_), _) => wrong("a mapping"),
            (Form::Patch, Value::Map(_)) => templates(node, path),
            (Form::Patch, _) => wrong("a mapping"),
        }
    }

    /// A build reads the keys at the top, which become the image's annotations, exactly as they are written.
    fn case(&mut self, path: &str, key: &str, known: &str, node: &Node) {
        if self.unknown.len() >= self.enough {
            return;
        }
        let becomes_annotation = known.ends_with("URL") || ["name", "description", "annotations"].contains(&known);
        if path.is_empty() && key != known && becomes_annotation {
            self.unknown.push(format!(
                "gadget.yaml: line {}: key {} is not read: it must be written {known}",
                node.line,
                go_quote(key)
            ));
        }
    }

    fn unknown_key(&mut self, path: &str, key: &str, keys: &[(&'static str, Form)], node: &Node) {
        if self.unknown.len() >= self.enough {
            return;
        }
        let near = nearest(key, keys.iter().map(|(known, _)| (*known, *known)));
        let place = if path.is_empty() {
            String::new()
        } else {
            format!(" in {}", crate::text::printable(path))
        };
        let hint = did_you_mean(&near).map_or_else(String::new, |hint| format!("; {hint}"));
        self.unknown.push(format!(
            "gadget.yaml: line {}: unknown key {}{place}{hint}",
            node.line,
            go_quote(key)
        ));
    }
}

/// Checks that all texts below `node` are templates.
fn templates(node: &Node, path: &str) -> Result<()> {
    match &node.value {
        Value::Scalar(scalar) if scalar.text.contains("{{") => {
            let parsed = Template::parse("patch", &*scalar.text).map(drop);
            value(node, path, parsed)
        }
        Value::Scalar(_) => Ok(()),
        Value::List(items) => items.iter().try_for_each(|item| templates(item, path)),
        Value::Map(entries) => entries
            .iter()
            .try_for_each(|(key, node)| templates(node, &below(path, key))),
    }
}

fn value(node: &Node, path: &str, checked: Result<()>) -> Result<()> {
    checked
        .with_context(|| crate::text::printable(path))
        .map_err(|error| error_at(node.line, error))
}

fn member<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let found = node.as_map()?.iter().find(|(known, _)| known.eq_ignore_ascii_case(key));
    found.map(|(_, node)| node)
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
