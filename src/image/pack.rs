//! Packing: from the parts of a gadget to the blobs of its image.
//!
//! The same input always gives the same bytes, and thereby the same digest, on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use oci_spec::image::SCHEMA_VERSION;

use super::metadata_annotations::MetadataAnnotations;
use super::{Annotations, Descriptor, Digest, Index, Manifest, Platform, annotations, json, media_type};
use crate::{Error, Result};

/// An architecture that gadgets are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// x86-64
    Amd64,
    /// AArch64
    Arm64,
}

impl Arch {
    /// All of them, in the order in which they appear in an index.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The name in OCI documents and file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The architecture with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.as_str() == name)
    }

    /// The architecture of this machine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) on machines that there are no gadgets for.
    pub fn host() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => Err(Error::unsupported(format!(
                "gadgets do not exist for architecture {other:?}"
            ))),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The parts of a gadget.
#[derive(Clone, Debug, Default)]
pub struct PackInput {
    /// The eBPF object (ELF) of each architecture.
    pub objects: BTreeMap<Arch, Vec<u8>>,
    /// The wasm module; the same for all architectures.
    pub wasm: Option<Vec<u8>>,
    /// The archive of BTF files of each architecture.
    pub btfgen: BTreeMap<Arch, Vec<u8>>,
    /// The bytes of gadget.yaml, stored as they are.
    pub metadata: Option<Vec<u8>>,
    /// What gadget.yaml contributes to the annotations; unused when there is no `metadata`.
    pub annotations: MetadataAnnotations,
    /// The version of the builder with its leading `v`; unused when there is no `metadata`.
    pub builder_version: String,
    /// The build date, RFC 3339; see [`created_now`](super::created_now).
    pub created: String,
}

/// A blob in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub content: Vec<u8>,
}

impl Blob {
    fn new(media_type: &str, content: Vec<u8>) -> Self {
        Self {
            descriptor: Descriptor::of(media_type, &content),
            content,
        }
    }
}

/// An image in memory: ready to be stored, pushed or run.
#[derive(Clone, Debug)]
pub struct PackedImage {
    /// The index; its digest is the image's.
    pub index: Blob,
    /// All other blobs, each before those that refer to it.
    pub blobs: Vec<Blob>,
}

impl PackedImage {
    /// The image's digest: that of its index.
    pub fn digest(&self) -> &Digest {
        &self.index.descriptor.digest
    }

    /// The content of the blob with that digest.
    pub fn blob(&self, digest: &Digest) -> Option<&[u8]> {
        self.blobs
            .iter()
            .chain([&self.index])
            .find(|blob| blob.descriptor.digest == *digest)
            .map(|blob| &*blob.content)
    }
}

/// Packs a gadget.
///
/// # Errors
///
/// Only when the documents cannot be encoded.
pub fn pack(input: PackInput) -> Result<PackedImage> {
    let PackInput {
        mut objects,
        wasm,
        mut btfgen,
        metadata,
        annotations: from_metadata,
        builder_version,
        created,
    } = input;

    let (config, annotations) = match metadata {
        Some(metadata) => (
            Blob::new(media_type::CONFIG, metadata),
            from_metadata.to_annotations(&builder_version, &created),
        ),
        None => {
            let mut config = Blob::new(media_type::EMPTY, b"{}".to_vec());
            config.descriptor.data = Some(config.content.clone());
            (config, Annotations::from([(annotations::CREATED.to_owned(), created)]))
        }
    };
    let mut config_descriptor = config.descriptor.clone();
    config_descriptor.annotations = annotations.clone();
    let wasm = wasm.map(|module| Blob::new(media_type::WASM, module));

    let mut blobs = vec![config];
    blobs.extend(wasm.clone());
    let mut manifests = Vec::new();
    for arch in Arch::ALL {
        let object = objects.remove(&arch).map(|object| Blob::new(media_type::EBPF, object));
        let btf = btfgen
            .remove(&arch)
            .map(|archive| Blob::new(media_type::BTFGEN, archive));
        let layers = [&object, &wasm, &btf];
        let manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            artifact_type: Some(media_type::GADGET.to_owned()),
            config: config_descriptor.clone(),
            layers: layers
                .into_iter()
                .flatten()
                .map(|blob| blob.descriptor.clone())
                .collect(),
            annotations: annotations.clone(),
            subject: None,
        };
        let manifest = Blob::new(media_type::MANIFEST, json::to_vec(&manifest)?);
        let mut descriptor = manifest.descriptor.clone();
        descriptor.annotations = annotations.clone();
        descriptor.platform = Some(Platform {
            architecture: arch.to_string(),
            os: "linux".to_owned(),
            ..Platform::default()
        });
        manifests.push(descriptor);
        blobs.extend([object, btf, Some(manifest)].into_iter().flatten());
    }

    // Without objects the manifests of all architectures are one blob.
    let mut seen = BTreeSet::new();
    blobs.retain(|blob| seen.insert(blob.descriptor.digest));

    let index = Index {
        schema_version: SCHEMA_VERSION,
        media_type: Some(media_type::INDEX.to_owned()),
        manifests,
        annotations: annotations.clone(),
        subject: None,
    };
    let mut index = Blob::new(media_type::INDEX, json::to_vec(&index)?);
    index.descriptor.annotations = annotations;
    Ok(PackedImage { index, blobs })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const METADATA: &[u8] = b"name: demo\ndescription: Demo gadget\n";

    /// The worked example of the image format.
    pub(crate) fn demo() -> PackInput {
        PackInput {
            objects: [
                (Arch::Amd64, b"amd64-object\n".to_vec()),
                (Arch::Arm64, b"arm64-object\n".to_vec()),
            ]
            .into(),
            metadata: Some(METADATA.to_vec()),
            annotations: MetadataAnnotations::from_yaml(METADATA).unwrap(),
            builder_version: "v0.50.0".into(),
            created: "2023-11-14T22:13:20Z".into(),
            ..PackInput::default()
        }
    }

    fn sizes(image: &PackedImage) -> BTreeMap<String, usize> {
        image
            .blobs
            .iter()
            .chain([&image.index])
            .map(|blob| (blob.descriptor.digest.to_string(), blob.content.len()))
            .collect()
    }

    #[test]
    fn worked_example() {
        let image = pack(demo()).unwrap();
        assert_eq!(
            image.digest().to_string(),
            "sha256:04a1d931cbb3bb5685dff4df80e3f9f6f69a40ff167f6404f410061f05521527"
        );
        let sizes = sizes(&image);
        for (digest, size) in [
            ("1da429064ecf11001b4be28c430d8673734456aa574c62eeaf43acef6f374a6c", 36),
            ("f2432f359369b5214ac573cac3913f10713f8ab2dd7f5f2aa7ed649c41bffc8b", 13),
            ("4925aa5308c4a29157c1c62659aa50b11ee86a9c4f9078093316329a990510f3", 13),
            ("9c84d21002ccde23346177c3deee4e0f5f7145daeaacd1b02cff862e0ff016d1", 1051),
            ("723af152b226ad2dc919909527bdc1ce014baf435e28d4258e7ccab782050ff0", 1051),
            ("04a1d931cbb3bb5685dff4df80e3f9f6f69a40ff167f6404f410061f05521527", 1483),
        ] {
            assert_eq!(sizes.get(&format!("sha256:{digest}")), Some(&size), "{digest}");
        }
        assert_eq!(sizes.len(), 6);
    }

    /// A reading that is not ours: of every member that the specification knows.
    #[test]
    fn follows_the_specification() {
        use oci_spec::image::{ImageIndex, ImageManifest, MediaType};
        let image = pack(demo()).unwrap();
        let index = ImageIndex::from_reader(&*image.index.content).unwrap();
        assert_eq!(index.media_type(), &Some(MediaType::ImageIndex));
        assert_eq!(index.manifests().len(), 2);
        for (descriptor, arch) in index.manifests().iter().zip(["amd64", "arm64"]) {
            assert_eq!(descriptor.media_type(), &MediaType::ImageManifest);
            let platform = descriptor.platform().as_ref().unwrap();
            assert_eq!(
                (&*platform.architecture().to_string(), &*platform.os().to_string()),
                (arch, "linux")
            );
            let content = image.blob(&descriptor.digest().to_string().parse().unwrap()).unwrap();
            assert_eq!(descriptor.size(), content.len() as u64);
            let manifest = ImageManifest::from_reader(content).unwrap();
            assert_eq!(manifest.artifact_type(), &Some(media_type::GADGET.into()));
            assert_eq!(manifest.config().media_type().as_ref(), media_type::CONFIG);
            assert_eq!(manifest.layers()[0].media_type().as_ref(), media_type::EBPF);
            assert_eq!(manifest.annotations(), descriptor.annotations());
            assert_eq!(manifest.annotations().as_ref().unwrap()[annotations::TITLE], "demo");
        }
    }

    #[test]
    fn the_names_are_those_of_the_specification() {
        use oci_spec::image::MediaType;
        for (ours, theirs) in [
            (media_type::INDEX, MediaType::ImageIndex),
            (media_type::MANIFEST, MediaType::ImageManifest),
            (media_type::EMPTY, MediaType::EmptyJSON),
        ] {
            assert_eq!(MediaType::from(ours), theirs);
        }
    }

    #[test]
    fn without_metadata() {
        let image = pack(PackInput {
            metadata: None,
            created: "1970-01-01T00:00:00Z".into(),
            ..demo()
        })
        .unwrap();
        assert_eq!(
            image.digest().to_string(),
            "sha256:74d29b5096b85bbfc46604d3f64f44ad91fd0a74b45c9deddb4169600485a91e"
        );
        let sizes = sizes(&image);
        for (digest, size) in [
            ("be51d8aedc741a91180704f8c398738e57a522c4e787a3c9ae706b15c940e261", 548),
            ("26d91eba98ca40f3a9ecda6f0e2f7a8d8e7f563ffe88601d6dc3a6e632270d7d", 548),
            ("74d29b5096b85bbfc46604d3f64f44ad91fd0a74b45c9deddb4169600485a91e", 713),
        ] {
            assert_eq!(sizes.get(&format!("sha256:{digest}")), Some(&size), "{digest}");
        }
    }

    #[test]
    fn metadata_alone() {
        let metadata = b"name: unsigned\n";
        let image = pack(PackInput {
            metadata: Some(metadata.to_vec()),
            annotations: MetadataAnnotations::from_yaml(metadata).unwrap(),
            builder_version: "v0.45.0-45-gfc2e80680-dirty".into(),
            created: "2025-10-20T15:28:46+02:00".into(),
            ..PackInput::default()
        })
        .unwrap();
        assert_eq!(
            image.digest().to_string(),
            "sha256:f34a362f177727ed3f12eadc1f255ffe6a19190ab82d48df98c19f1bddc3b86a"
        );
        assert_eq!(image.index.content.len(), 1535);
        assert_eq!(
            sizes(&image).get("sha256:f04a4a04a15fef85a1438a2b7079c2bbc81a822acee2fb9c4827ae1709f3101f"),
            Some(&933)
        );
        assert_eq!(image.blobs.len(), 2, "one manifest for both architectures");
    }

    #[test]
    fn layers_come_in_order() {
        let image = pack(PackInput {
            wasm: Some(b"\0asm".to_vec()),
            btfgen: [(Arch::Arm64, b"btf".to_vec())].into(),
            ..demo()
        })
        .unwrap();
        let layers = |arch: usize| -> Vec<String> {
            let index: Index = serde_json::from_slice(&image.index.content).unwrap();
            let manifest = image.blob(&index.manifests[arch].digest).unwrap();
            let manifest: Manifest = serde_json::from_slice(manifest).unwrap();
            manifest.layers.into_iter().map(|layer| layer.media_type).collect()
        };
        assert_eq!(layers(0), [media_type::EBPF, media_type::WASM]);
        assert_eq!(layers(1), [media_type::EBPF, media_type::WASM, media_type::BTFGEN]);
    }
}
