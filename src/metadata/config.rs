//! A gadget's configuration: gadget.yaml as a tree whose keys ignore case, queried by dotted path.
//!
//! This is the view that a running gadget has of its metadata, and that `--annotate` and custom parameters change. All keys
//! are lower-cased when they enter the tree, at every level; values keep their case. Published gadgets rely on both
//! (`dataSources:`, `columns.maxWidth:`), and on keys that contain dots.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::duration;
use super::params::typed::parse_int;
use super::yaml::{self, Node, ScalarKind, Value};
use crate::{Error, Result, ResultExt};

/// One node of the tree: a scalar, a list or a mapping.
#[derive(Clone, Debug, PartialEq)]
pub enum Config {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of up to 64 bits, signed or not.
    Int(i128),
    /// A decimal number.
    Float(f64),
    /// Text.
    String(String),
    /// A sequence.
    List(Vec<Config>),
    /// A mapping. Keys are lower case.
    Map(BTreeMap<String, Config>),
}

impl Default for Config {
    /// An empty mapping.
    fn default() -> Self {
        Self::Map(BTreeMap::new())
    }
}

impl From<&str> for Config {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Config {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Config {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Config {
    fn from(value: i64) -> Self {
        Self::Int(i128::from(value))
    }
}

impl Config {
    /// Reads a gadget.yaml. An empty file is an empty configuration.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) of the form `yaml: line N: what is wrong there`: not YAML, not a
    /// mapping, a key that occurs twice (whatever its case), or a document beyond the reader's limits.
    pub fn parse(input: &[u8]) -> Result<Self> {
        match yaml::parse(input)? {
            None => Ok(Self::default()),
            Some(node) if node.is_null() => Ok(Self::default()),
            Some(node) if node.as_map().is_some() => Self::from_node(node),
            Some(node) => Err(yaml::error_at(
                node.line,
                format_args!("expected a mapping, found {}", node.describe()),
            )),
        }
    }

    fn from_node(node: Node) -> Result<Self> {
        Ok(match node.value {
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null => Self::Null,
                ScalarKind::Bool(value) => Self::Bool(value),
                ScalarKind::Int(value) => Self::Int(value),
                ScalarKind::Float(value) => Self::Float(value),
                ScalarKind::String => Self::String(scalar.text),
            },
            Value::List(items) => Self::List(items.into_iter().map(Self::from_node).collect::<Result<_>>()?),
            Value::Map(entries) => {
                let mut map = BTreeMap::new();
                let mut lines = HashMap::new();
                for (key, node) in entries {
                    let (line, lower) = (node.line, key.to_lowercase());
                    if let Some(first) = lines.insert(lower.clone(), line) {
                        return Err(yaml::error_at(
                            line,
                            format_args!(
                                "key {key:?} is there already, in line {first} (keys are the same in any case)"
                            ),
                        ));
                    }
                    map.insert(lower, Self::from_node(node)?);
                }
                Self::Map(map)
            }
        })
    }

    /// The node at `path`, or `None` when there is none or it is null.
    ///
    /// The path splits on dots, but keys may contain dots too: for `a.b.c` the key `a.b.c` is tried first, then `a.b` with
    /// `c` below it, then `a`. A number selects an item of a list. Case does not matter. The empty path is this node.
    pub fn get(&self, path: &str) -> Option<&Config> {
        self.find(&path.to_lowercase())
    }

    fn find(&self, path: &str) -> Option<&Config> {
        if path.is_empty() {
            return Some(self).filter(|node| **node != Self::Null);
        }
        // Ends of the prefixes of the path, longest first.
        let ends = std::iter::once(path.len()).chain(path.rmatch_indices('.').map(|(i, _)| i));
        for end in ends {
            let (prefix, rest) = path.split_at(end);
            let child = match self {
                Self::Map(map) => map.get(prefix),
                Self::List(items) => prefix.parse().ok().and_then(|i: usize| items.get(i)),
                _ => return None,
            };
            let found = match rest.strip_prefix('.') {
                Some("") => None,
                Some(rest) => child.and_then(|child| child.find(rest)),
                None => child.filter(|node| **node != Self::Null),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The mapping at `path`, or `None` when there is none or something else is there.
    pub fn sub(&self, path: &str) -> Option<&Config> {
        self.get(path).filter(|node| matches!(node, Self::Map(_)))
    }

    /// The text of the scalar at `path`; `None` when there is none, or a list or a mapping is there.
    pub fn get_str(&self, path: &str) -> Option<Cow<'_, str>> {
        self.get(path)?.as_text()
    }

    /// Whether the scalar at `path` is `true`, in any of the spellings `1 t T TRUE true True`. Anything else is false.
    pub fn get_bool(&self, path: &str) -> bool {
        self.get_str(path)
            .is_some_and(|text| matches!(&*text, "1" | "t" | "T" | "TRUE" | "true" | "True"))
    }

    /// The integer at `path`, which may be a decimal text. `None` when nothing is there, or an empty text.
    ///
    /// # Errors
    /// When something else than an integer is there; the message names the path.
    pub fn get_int(&self, path: &str) -> Result<Option<i64>> {
        let Some(node) = self.get(path) else {
            return Ok(None);
        };
        let text = node
            .as_text()
            .ok_or_else(|| Error::invalid(format!("{path}: expected an integer")))?;
        match text.trim() {
            "" => Ok(None),
            text => parse_int(text, 64).map(Some).with_context(|| path.to_owned()),
        }
    }

    /// The duration at `path`: a Go duration such as `1.5s`, or an integer of nanoseconds. `None` when nothing is there, or an
    /// empty text.
    ///
    /// # Errors
    /// When something else than a non-negative duration is there; the message names the path.
    pub fn get_duration(&self, path: &str) -> Result<Option<Duration>> {
        let Some(node) = self.get(path) else {
            return Ok(None);
        };
        let text = node
            .as_text()
            .ok_or_else(|| Error::invalid(format!("{path}: expected a duration")))?;
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = if text.bytes().all(|b| b.is_ascii_digit()) {
            duration::parse_unsigned(&format!("{text}ns"))
        } else {
            duration::parse_unsigned(&text)
        };
        parsed.map(Some).with_context(|| path.to_owned())
    }

    /// The items of the list at `path`; empty when there is none.
    pub fn list(&self, path: &str) -> &[Config] {
        match self.get(path) {
            Some(Self::List(items)) => items,
            _ => &[],
        }
    }

    /// The items of the list at `path` as text. A scalar in its place is split at white space.
    pub fn strings(&self, path: &str) -> Vec<String> {
        match self.get(path) {
            Some(Self::List(items)) => items.iter().map(Self::to_text).collect(),
            Some(node) => match node.as_text() {
                Some(text) => text.split_whitespace().map(str::to_owned).collect(),
                None => Vec::new(),
            },
            None => Vec::new(),
        }
    }

    /// The mapping at `path` with every value as text, as annotations are read: `true`, `8`, null and nested values as the
    /// empty string. Empty when there is no mapping.
    pub fn strings_map(&self, path: &str) -> BTreeMap<String, String> {
        match self.get(path) {
            Some(Self::Map(map)) => map.iter().map(|(key, node)| (key.clone(), node.to_text())).collect(),
            _ => BTreeMap::new(),
        }
    }

    /// The keys of this mapping in alphabetical order; none when this is not a mapping.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|(key, _)| key)
    }

    /// Keys and values of this mapping in alphabetical order; none when this is not a mapping.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Config)> {
        let map = match self {
            Self::Map(map) => Some(map),
            _ => None,
        };
        map.into_iter().flatten().map(|(key, node)| (key.as_str(), node))
    }

    /// Whether this is a mapping or list without entries, or null.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::List(items) => items.is_empty(),
            Self::Map(map) => map.is_empty(),
            _ => false,
        }
    }

    /// The text of a scalar; `None` for a list or a mapping.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Null => Cow::Borrowed(""),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Int(value) => Cow::Owned(value.to_string()),
            Self::Float(value) if value.is_infinite() => Cow::Borrowed(if *value > 0.0 { "+Inf" } else { "-Inf" }),
            Self::Float(value) => Cow::Owned(value.to_string()),
            Self::String(text) => Cow::Borrowed(text),
            Self::List(_) | Self::Map(_) => return None,
        })
    }

    fn to_text(&self) -> String {
        self.as_text().unwrap_or_default().into_owned()
    }

    /// Merges `patch` over this: mappings merge key by key, anything else is replaced.
    pub fn merge(&mut self, patch: Config) {
        match (self, patch) {
            (Self::Map(map), Self::Map(patch)) => {
                for (key, value) in patch {
                    match map.get_mut(&key) {
                        Some(node) => node.merge(value),
                        None => {
                            map.insert(key, value);
                        }
                    }
                }
            }
            (node, patch) => *node = patch,
        }
    }

    /// Sets the node below the literal keys `path` to `value`, creating mappings on the way. Keys may contain dots.
    ///
    /// What is not a mapping on the way is replaced by one.
    pub fn set<S: AsRef<str>>(&mut self, path: &[S], value: impl Into<Config>) {
        let mut node = self;
        for key in path {
            if !matches!(node, Self::Map(_)) {
                *node = Self::default();
            }
            let Self::Map(map) = node else { return };
            node = map.entry(key.as_ref().to_lowercase()).or_insert(Self::Null);
        }
        *node = value.into();
    }

    /// Calls `edit` on every text of the tree, in order of keys.
    ///
    /// # Errors
    /// The first error of `edit`.
    pub fn try_for_each_text(&mut self, edit: &mut impl FnMut(&mut String) -> Result<()>) -> Result<()> {
        match self {
            Self::String(text) => edit(text),
            Self::List(items) => items.iter_mut().try_for_each(|node| node.try_for_each_text(edit)),
            Self::Map(map) => map.values_mut().try_for_each(|node| node.try_for_each_text(edit)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn keys_ignore_case_at_every_level() {
        let c = config("dataSources: {Events: {annotations: {CLI.Clear-Screen-Before: true}}}");
        let annotations = c.strings_map("datasources.events.annotations");
        assert_eq!(
            annotations.into_iter().collect::<Vec<_>>(),
            [("cli.clear-screen-before".into(), "true".into())]
        );
        assert_eq!(
            c.get_str("DATASOURCES.Events.Annotations.cli.clear-screen-before")
                .as_deref(),
            Some("true")
        );
    }

    #[test]
    fn values_keep_their_case_and_become_text() {
        let c = config(
            "a: {b: True, i: 8, h: 0x10, f: 1.50, big: 1e21, s: MiXed, y: yes, n: no, z: , l: [1], m: {x: 1}, q: 'true'}",
        );
        let map = c.strings_map("a");
        for (key, text) in [
            ("b", "true"),
            ("i", "8"),
            ("h", "16"),
            ("f", "1.5"),
            ("big", "1000000000000000000000"),
            ("s", "MiXed"),
            ("y", "yes"),
            ("n", "no"),
            ("z", ""),
            ("l", ""),
            ("m", ""),
            ("q", "true"),
        ] {
            assert_eq!(map[key], text, "{key}");
        }
        assert_eq!(
            config("fields: {foo: {annotations: {foo-ann: yes}}}").strings_map("fields.foo.annotations")["foo-ann"],
            "yes"
        );
    }

    #[test]
    fn dotted_keys_match_literally_longest_first() {
        let c = config("a: {b: {c: deep}}\na.b: {c: middle}\na.b.c: literal\n");
        assert_eq!(c.get_str("a.b.c").as_deref(), Some("literal"));
        let c = config("a: {b: {c: deep, d: only here}}\na.b: {c: middle}\n");
        assert_eq!(c.get_str("a.b.c").as_deref(), Some("middle"));
        assert_eq!(c.get_str("a.b.d").as_deref(), Some("only here"));
        let c = config("fields: {proc.comm: {annotations: {columns.width: 8}}}");
        assert_eq!(
            c.get_str("fields.proc.comm.annotations.columns.width").as_deref(),
            Some("8")
        );
        assert_eq!(
            c.sub("fields.proc.comm").unwrap().keys().collect::<Vec<_>>(),
            ["annotations"]
        );
        assert!(c.get("fields.proc").is_none());
        assert!(c.get("fields.").is_none());
        assert_eq!(config("l: [{x: 1}, {x: 2}]").get_str("l.1.x").as_deref(), Some("2"));
    }

    #[test]
    fn empty_files_are_empty_configurations() {
        for text in ["", "{}", "# nothing\n", "null"] {
            assert_eq!(config(text), Config::default(), "{text:?}");
        }
        assert!(config("").strings_map("x").is_empty());
    }

    #[test]
    fn what_is_no_mapping_is_refused_with_its_line() {
        let message = |text: &str| Config::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(message("just text"), "yaml: line 1: expected a mapping, found a string");
        assert_eq!(message("\n- a\n"), "yaml: line 2: expected a mapping, found a list");
        assert_eq!(
            message("x:\n  Foo: 1\n  foo: 2\n"),
            "yaml: line 3: key \"foo\" is there already, in line 2 (keys are the same in any case)"
        );
    }

    #[test]
    fn booleans_fail_to_false() {
        let c = config("a: true\nb: 1\nc: T\nd: yes\ne: False\nf: 'TRUE'\ng: [true]");
        let got: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "nosuch"]
            .iter()
            .map(|k| c.get_bool(k))
            .collect();
        assert_eq!(got, [true, true, true, false, false, true, false, false]);
    }

    #[test]
    fn durations_are_texts_or_nanoseconds() {
        let c = config("a: 1.5s\nb: 250\nc: '250'\nd: soon\ne: -1s\nf: {}\ng: ");
        assert_eq!(c.get_duration("a").unwrap(), Some(Duration::from_millis(1500)));
        assert_eq!(c.get_duration("b").unwrap(), Some(Duration::from_nanos(250)));
        assert_eq!(c.get_duration("c").unwrap(), Some(Duration::from_nanos(250)));
        assert_eq!(
            c.get_duration("d").unwrap_err().to_string(),
            "d: time: invalid duration \"soon\""
        );
        assert!(c.get_duration("e").is_err());
        assert!(c.get_duration("f").is_err());
        assert_eq!(c.get_duration("g").unwrap(), None);
        assert_eq!(c.get_duration("nosuch").unwrap(), None);
    }

    #[test]
    fn integers_may_be_texts() {
        let c = config("a: 3\nb: ' 4 '\nc: ''\nd: many\ne: [1]\nf: 1.5");
        assert_eq!(c.get_int("a").unwrap(), Some(3));
        assert_eq!(c.get_int("b").unwrap(), Some(4));
        assert_eq!(c.get_int("c").unwrap(), None);
        assert_eq!(c.get_int("nosuch").unwrap(), None);
        assert_eq!(
            c.get_int("d").unwrap_err().to_string(),
            "d: strconv.ParseInt: parsing \"many\": invalid syntax"
        );
        assert_eq!(c.get_int("e").unwrap_err().to_string(), "e: expected an integer");
        assert!(c.get_int("f").is_err());
    }

    #[test]
    fn lists_become_texts() {
        let c = config("tags: [a, 8, true]\none: a b");
        assert_eq!(c.strings("tags"), ["a", "8", "true"]);
        assert_eq!(c.list("tags").len(), 3);
        assert_eq!(c.strings("one"), ["a", "b"]);
        assert!(c.strings("nosuch").is_empty());
    }

    #[test]
    fn patches_merge_deeply() {
        let mut c = config("operator: {process: {interval: 1s, first: true}}\nlist: [1, 2]\nscalar: x");
        c.merge(config(
            "operator: {Process: {interval: 3s}}\nlist: [3]\nscalar: {now: a map}",
        ));
        assert_eq!(c.get_str("operator.process.interval").as_deref(), Some("3s"));
        assert!(c.get_bool("operator.process.first"));
        assert_eq!(c.strings("list"), ["3"]);
        assert_eq!(c.get_str("scalar.now").as_deref(), Some("a map"));
    }

    #[test]
    fn set_takes_literal_keys() {
        let mut c = config("datasources: {events: {annotations: {x: '1'}}}");
        c.set(
            &[
                "datasources",
                "events",
                "fields",
                "Proc.Comm",
                "annotations",
                "columns.width",
            ],
            "8",
        );
        assert_eq!(
            c.get_str("datasources.events.fields.proc.comm.annotations.columns.width")
                .as_deref(),
            Some("8")
        );
        assert_eq!(c.get_str("datasources.events.annotations.x").as_deref(), Some("1"));
    }

    #[test]
    fn every_text_can_be_edited() {
        let mut c = config("a: x\nb: [x, 1, {c: x}]");
        c.try_for_each_text(&mut |text| {
            text.push('!');
            Ok(())
        })
        .unwrap();
        assert_eq!(c, config("a: x!\nb: [x!, 1, {c: x!}]"));
    }
}
