//! The JSON documents of an image: descriptors, manifests and indexes.
//!
//! Member order and presence are those of the format (digests depend on them). Documents that come from outside are kept as the
//! bytes they arrived in; these types are only how we look into them. They are not those of `oci_spec`, which sort the members
//! of a descriptor in another order, lose `os.version`, and refuse the `null` that other tools write for an empty list; tests
//! read what we write with those.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_spec::image::SCHEMA_VERSION;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Digest;
use crate::{Error, ErrorKind, Result};

/// Annotations: sorted by key.
pub type Annotations = BTreeMap<String, String>;

/// Names one blob: what it is, its digest and its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is; see [`media_type`](super::media_type).
    pub media_type: String,
    /// The digest of the blob's content.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// Other places where the content may be found; kept, never used.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub urls: Option<Vec<String>>,
    /// Free-form annotations.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// The content itself, when it is tiny.
    #[serde(default, with = "inline_data", skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<u8>>,
    /// What the content is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The artifact type of the manifest that is described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Describes `content`.
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(content),
            size: content.len() as u64,
            urls: None,
            annotations: Annotations::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// Whether it describes an index, an OCI or a Docker one.
    pub(crate) fn is_index(&self) -> bool {
        matches!(
            &*self.media_type,
            super::media_type::INDEX | super::media_type::DOCKER_INDEX
        )
    }

    /// Whether it describes a manifest, an OCI or a Docker one.
    pub(crate) fn is_manifest(&self) -> bool {
        matches!(
            &*self.media_type,
            super::media_type::MANIFEST | super::media_type::DOCKER_MANIFEST
        )
    }
}

/// What a manifest is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor: `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// The operating system: always `linux` for gadgets.
    #[serde(default)]
    pub os: String,
    /// Kept for images of others.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Kept for images of others.
    #[serde(default, rename = "os.features", skip_serializing_if = "is_empty")]
    pub os_features: Option<Vec<String>>,
    /// Kept for images of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A manifest: the gadget for one architecture.
///
/// There is no `mediaType` member: gadget images are written without it, and their digests depend on that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    #[serde(default)]
    pub schema_version: u32,
    /// [`media_type::GADGET`](super::media_type::GADGET) for gadgets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config blob: gadget.yaml.
    pub config: Descriptor,
    /// The parts of the gadget.
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    /// Title, description, builder version, date.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// The manifest or index that this one says something about (signatures).
    #[serde(default, skip_serializing)]
    pub subject: Option<Descriptor>,
}

/// An index: one manifest per architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    #[serde(default)]
    pub schema_version: u32,
    /// [`media_type::INDEX`](super::media_type::INDEX).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests, sorted by architecture in images that we build.
    #[serde(default, deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
    /// Those of the first manifest in images that we build.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// The manifest or index that this one says something about.
    #[serde(default, skip_serializing)]
    pub subject: Option<Descriptor>,
}

impl Manifest {
    /// Reads a manifest from its bytes.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        parse_object(text)
    }
}

impl Index {
    /// Reads an index from its bytes.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        parse_object(text)
    }

    /// The manifest for an architecture: the first that names it.
    pub(crate) fn manifest_for(&self, arch: super::Arch) -> Option<&Descriptor> {
        self.manifests.iter().find(|descriptor| {
            descriptor
                .platform
                .as_ref()
                .is_some_and(|platform| platform.architecture == arch.as_str())
        })
    }

    /// An index that lists nothing.
    pub(crate) fn empty() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            media_type: Some(super::media_type::INDEX.to_owned()),
            manifests: Vec::new(),
            annotations: Annotations::new(),
            subject: None,
        }
    }
}

/// Serde would take a JSON array for an object too; an empty one would then pass for an empty document.
fn parse_object<T: for<'de> Deserialize<'de>>(text: &[u8]) -> Result<T> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::invalid("not a JSON object"));
    }
    serde_json::from_slice(text).map_err(|e| Error::from_source(ErrorKind::InvalidInput, e))
}

fn is_empty(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

/// Reads `null` like an absent member: other tools write it for empty lists and maps.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

mod inline_data {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        data: &Option<Vec<u8>>,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        data.as_ref().map(|data| STANDARD.encode(data)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Option<Vec<u8>>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        STANDARD.decode(text).map(Some).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_others_leave_out_or_write_as_null() {
        let digest = Digest::of(b"{}");
        let text = format!(
            r#"{{"config":{{"mediaType":"x","digest":"{digest}","size":2,"annotations":null,"unknown":[1]}},"layers":null}}"#
        );
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.layers, []);
        assert_eq!(manifest.config.size, 2);
        for bad in ["", "{}", "[]", "nul", "{\"config\":3}"] {
            assert!(Manifest::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in ["", "[]", "[2]", "{\"manifests\":{}}", "{\"schemaVersion\":2", "{} x"] {
            assert!(Index::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_negative_size_is_refused() {
        let digest = Digest::of(b"{}");
        let text = format!(r#"{{"mediaType":"x","digest":"{digest}","size":-1}}"#);
        assert!(serde_json::from_str::<Descriptor>(&text).is_err());
    }

    #[test]
    fn a_descriptor_survives_a_round_trip() {
        let digest = Digest::of(b"{}");
        let text = format!(
            r#"{{"mediaType":"x","digest":"{digest}","size":2,"annotations":{{"a":"b"}},"data":"e30=","platform":{{"architecture":"arm","os":"linux","os.features":["f"],"variant":"v7"}},"artifactType":"t"}}"#
        );
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        assert_eq!(descriptor.data.as_deref(), Some(&b"{}"[..]));
        assert_eq!(serde_json::to_string(&descriptor).unwrap(), text);
    }
}
