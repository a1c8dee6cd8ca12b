//! The few members of gadget.yaml that become annotations of the image.

use std::collections::BTreeMap;

use super::Annotations;
use super::annotations;
use crate::metadata::yaml::{self, Node, ScalarKind, Value};
use crate::{Error, Result, ResultExt};

/// What gadget.yaml says about the gadget as a whole; empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataAnnotations {
    /// `name`
    pub name: String,
    /// `description`
    pub description: String,
    /// `homepageURL`
    pub homepage_url: String,
    /// `documentationURL`
    pub documentation_url: String,
    /// `sourceURL`
    pub source_url: String,
    /// The top-level `annotations` map; its entries win over those derived from the members above.
    pub extra: BTreeMap<String, String>,
}

impl MetadataAnnotations {
    /// Reads them from the bytes of a gadget.yaml.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the text is not YAML or a member is not a text.
    pub fn from_yaml(metadata: &[u8]) -> Result<Self> {
        Self::decode(metadata).context("reading annotations from metadata file: decoding metadata file")
    }

    fn decode(metadata: &[u8]) -> Result<Self> {
        let root = yaml::parse(metadata)?.ok_or_else(|| Error::invalid("EOF"))?;
        let mut found = Self::default();
        for (key, value) in entries("the file", &root)? {
            match &**key {
                "name" => found.name = scalar(key, value)?,
                "description" => found.description = scalar(key, value)?,
                "homepageURL" => found.homepage_url = scalar(key, value)?,
                "documentationURL" => found.documentation_url = scalar(key, value)?,
                "sourceURL" => found.source_url = scalar(key, value)?,
                "annotations" => {
                    for (key, value) in entries("annotations", value)? {
                        let text = scalar(key, value)?;
                        found.extra.insert(key.clone(), text);
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The annotation map of an image built by version `builder_version` at `created`.
    pub(crate) fn to_annotations(&self, builder_version: &str, created: &str) -> Annotations {
        let mut map: Annotations = [
            (annotations::TITLE, &*self.name),
            (annotations::DESCRIPTION, &*self.description),
            (annotations::URL, &*self.homepage_url),
            (annotations::DOCUMENTATION, &*self.documentation_url),
            (annotations::SOURCE, &*self.source_url),
            (annotations::BUILDER_VERSION, builder_version),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        map.extend(self.extra.clone());
        map.insert(annotations::CREATED.to_owned(), created.to_owned());
        map
    }
}

/// The members of a mapping; none for an empty document or `null`.
fn entries<'a>(what: &str, node: &'a Node) -> Result<&'a [(String, Node)]> {
    match &node.value {
        Value::Map(entries) => Ok(entries),
        Value::Scalar(scalar) if scalar.kind == ScalarKind::Null || scalar.text.is_empty() => Ok(&[]),
        _ => Err(Error::invalid(format!("yaml: {what} is not a mapping"))),
    }
}

/// A scalar as it is written, so that a name like `1.10` is a text and no number; empty for `null`.
fn scalar(key: &str, node: &Node) -> Result<String> {
    match &node.value {
        Value::Scalar(scalar) if scalar.kind == ScalarKind::Null => Ok(String::new()),
        Value::Scalar(scalar) => Ok(scalar.text.clone()),
        _ => Err(Error::invalid(format!("yaml: the value of {key:?} is not a text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_members() {
        let found = MetadataAnnotations::from_yaml(
            b"# comment\nname: 1.10\n\"description\": 'it''s & more'\nhomepageURL: ~\nsourceURL: \"null\"\nannotations:\n  a.b/c: true\n  empty:\ndatasources:\n  x: {fields: {y: {}}}\n",
        )
        .unwrap();
        assert_eq!(
            found,
            MetadataAnnotations {
                name: "1.10".into(),
                description: "it's & more".into(),
                source_url: "null".into(),
                extra: [("a.b/c".into(), "true".into()), ("empty".into(), String::new())].into(),
                ..Default::default()
            }
        );
        let map = found.to_annotations("v1.2.3", "now");
        assert_eq!(map[annotations::TITLE], "1.10");
        assert_eq!(map[annotations::CREATED], "now");
        assert_eq!(map.len(), 9);
    }

    #[test]
    fn annotations_win_except_over_the_date() {
        let found = MetadataAnnotations::from_yaml(
            b"name: a\nannotations:\n  org.opencontainers.image.title: b\n  org.opencontainers.image.created: never\n",
        )
        .unwrap();
        let map = found.to_annotations("v1", "now");
        assert_eq!(map[annotations::TITLE], "b");
        assert_eq!(map[annotations::CREATED], "now");
    }

    #[test]
    fn bad_input_is_an_error() {
        for (text, cause) in [
            (&b""[..], "EOF"),
            (b"a: b: c", "yaml: "),
            (b"name: [1]", "\"name\" is not a text"),
            (b"- a", "not a mapping"),
            (b"annotations: 3", "not a mapping"),
            (b"\xff", "yaml: "),
            (b"name: {", "yaml: "),
        ] {
            let error = MetadataAnnotations::from_yaml(text).unwrap_err().to_string();
            assert!(
                error.starts_with("reading annotations from metadata file: decoding metadata file: ")
                    && error.contains(cause),
                "{error}"
            );
        }
    }

    #[test]
    fn expanding_aliases_is_bounded() {
        let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for (this, last) in "bcdefghij".chars().zip("abcdefghi".chars()) {
            text.push_str(&format!(
                "{this}: &{this} [*{last},*{last},*{last},*{last},*{last},*{last},*{last},*{last}]\n"
            ));
        }
        assert!(MetadataAnnotations::from_yaml(text.as_bytes()).is_err());
    }
}
