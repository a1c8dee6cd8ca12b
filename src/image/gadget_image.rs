//! An image as a run sees it: the parts for this machine's architecture, read, verified and bounded.

use std::borrow::Cow;

use tracing::{debug, warn};

use super::version::Version;
use super::{Arch, Descriptor, Digest, Index, Manifest, PackedImage, Reference, Store, annotations, media_type};
use crate::{Error, Result, ResultExt};

/// The largest gadget.yaml and the largest manifest, in bytes.
pub(crate) const MAX_DOCUMENT: u64 = 4 << 20;
/// The largest layer that is handed to a loader, in bytes.
const MAX_LAYER: u64 = 256 << 20;
/// The most layers that are handed to loaders.
const MAX_LAYERS: usize = 16;

/// A gadget image, for the architecture of this machine.
///
/// Its content matched its digests when it was loaded. Whether it may run is what [`Resolver`](super::Resolver) decides.
#[derive(Clone, Debug)]
pub struct GadgetImage {
    reference: Option<Reference>,
    index_digest: Digest,
    manifest_digest: Digest,
    manifest: Manifest,
    metadata: Vec<u8>,
    layers: Vec<Layer>,
}

/// One part of a gadget.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub content: Vec<u8>,
}

impl GadgetImage {
    /// Loads a stored image.
    ///
    /// # Errors
    ///
    /// When there is none of that name, when it is no gadget for this machine, or when it is damaged.
    pub fn from_store(store: &Store, reference: &Reference) -> Result<Self> {
        let descriptor = store.resolve(reference).with_context(|| {
            format!("getting manifest: getting index: getting image list descriptor: resolving image \"{reference}\"")
        })?;
        Self::load(Some(reference.clone()), &descriptor, &|descriptor| {
            store.read_blob(descriptor).map(Cow::Owned)
        })
    }

    /// The image of a gadget that was just built, or that comes with this program.
    ///
    /// # Errors
    ///
    /// When it is no gadget for this machine.
    pub fn from_packed(image: &PackedImage, reference: Option<Reference>) -> Result<Self> {
        Self::assemble(reference, &image.index.descriptor, &|descriptor| {
            image
                .blob(&descriptor.digest)
                .map(Cow::Borrowed)
                .ok_or_else(|| Error::not_found(format!("blob {} is not part of the image", descriptor.digest)))
        })
    }

    /// An image that somebody else may have built: with a word if that was another version.
    pub(crate) fn load<'a>(
        reference: Option<Reference>,
        index: &Descriptor,
        read: &dyn Fn(&Descriptor) -> Result<Cow<'a, [u8]>>,
    ) -> Result<Self> {
        let image = Self::assemble(reference, index, read)?;
        if let Some(message) = builder_version_warning(&image.manifest, env!("CARGO_PKG_VERSION")) {
            warn!("{message}");
        }
        Ok(image)
    }

    fn assemble<'a>(
        reference: Option<Reference>,
        index: &Descriptor,
        read: &dyn Fn(&Descriptor) -> Result<Cow<'a, [u8]>>,
    ) -> Result<Self> {
        let (manifest_digest, manifest) =
            Self::load_manifest(reference.as_ref(), index, read).context("getting manifest")?;

        let metadata = bounded(&manifest.config, MAX_DOCUMENT)
            .and_then(|()| read(&manifest.config))
            .context("getting metadata: fetching descriptor")?
            .into_owned();

        let mut layers: Vec<Layer> = Vec::new();
        for descriptor in &manifest.layers {
            if !matches!(
                &*descriptor.media_type,
                media_type::EBPF | media_type::WASM | media_type::BTFGEN
            ) {
                warn!(
                    "no operator found for media type \"{}\", skipping layer",
                    descriptor.media_type.escape_debug()
                );
                continue;
            }
            if layers.len() == MAX_LAYERS {
                return Err(Error::invalid(format!("the image has more than {MAX_LAYERS} layers")));
            }
            let content = bounded(descriptor, MAX_LAYER)
                .and_then(|()| read(descriptor))
                .with_context(|| format!("getting layer {}", descriptor.digest))?;
            layers.push(Layer {
                descriptor: descriptor.clone(),
                content: content.into_owned(),
            });
        }
        Ok(Self {
            reference,
            index_digest: index.digest,
            manifest_digest,
            manifest,
            metadata,
            layers,
        })
    }

    fn load_manifest<'a>(
        reference: Option<&Reference>,
        descriptor: &Descriptor,
        read: &dyn Fn(&Descriptor) -> Result<Cow<'a, [u8]>>,
    ) -> Result<(Digest, Manifest)> {
        let arch = Arch::host()?;
        let name = reference.map(Reference::to_string).unwrap_or_default();
        let index = (|| {
            if descriptor.media_type != media_type::INDEX {
                return Err(Error::invalid(format!("image \"{name}\" is not an image index")));
            }
            let text = bounded(descriptor, MAX_DOCUMENT).and_then(|()| read(descriptor))?;
            Index::parse(&text).context("unmarshalling image index")
        })()
        .context("getting index: getting image list descriptor")?;

        let descriptor = index
            .manifest_for(arch)
            .ok_or_else(|| Error::invalid(format!("no manifest found for architecture \"{arch}\"")))?;
        let text = bounded(descriptor, MAX_DOCUMENT)
            .and_then(|()| read(descriptor))
            .context("getting content from descriptor")?;
        Ok((descriptor.digest, Manifest::parse(&text).context("decoding manifest")?))
    }

    /// The name under which the image was found; none for one that was just built without a tag.
    pub fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }

    /// The image's digest: that of its index.
    pub fn index_digest(&self) -> &Digest {
        &self.index_digest
    }

    /// The digest of the manifest for this machine.
    pub fn manifest_digest(&self) -> &Digest {
        &self.manifest_digest
    }

    /// The manifest for this machine.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The config blob: gadget.yaml, or `{}` for a gadget without.
    pub fn metadata(&self) -> &[u8] {
        &self.metadata
    }

    /// The parts that somebody here can handle, in the manifest's order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The eBPF objects (ELF); usually one.
    pub fn ebpf(&self) -> impl Iterator<Item = &[u8]> {
        self.layers_of(media_type::EBPF)
    }

    /// The wasm module.
    pub fn wasm(&self) -> Option<&[u8]> {
        self.layers_of(media_type::WASM).next()
    }

    /// The gzip-compressed tar of BTF files for kernels that expose none.
    pub fn btfgen(&self) -> Option<&[u8]> {
        self.layers_of(media_type::BTFGEN).next()
    }

    fn layers_of(&self, media_type: &'static str) -> impl Iterator<Item = &[u8]> {
        self.layers
            .iter()
            .filter(move |layer| layer.descriptor.media_type == media_type)
            .map(|layer| &*layer.content)
    }

    /// When the image was built, RFC 3339; whatever its builder wrote.
    pub fn created(&self) -> Option<&str> {
        self.manifest.annotations.get(annotations::CREATED).map(String::as_str)
    }

    /// The version of the builder; whatever it wrote.
    pub fn builder_version(&self) -> Option<&str> {
        self.manifest
            .annotations
            .get(annotations::BUILDER_VERSION)
            .map(String::as_str)
    }
}

fn bounded(descriptor: &Descriptor, limit: u64) -> Result<()> {
    if descriptor.size > limit {
        return Err(Error::invalid(format!(
            "{} bytes are more than the {limit} that are accepted",
            descriptor.size
        )));
    }
    Ok(())
}

/// Whether running the image with another version than it was built with deserves a word.
fn builder_version_warning(manifest: &Manifest, running: &str) -> Option<String> {
    let running_version = Version::parse(running).ok()?;
    if running_version.is_prerelease() {
        return None;
    }
    let built_with = manifest
        .annotations
        .get(annotations::BUILDER_VERSION)
        .map_or("", String::as_str);
    if built_with.is_empty() {
        return Some("Builder version not found in the gadget image. Gadget could be incompatible".to_owned());
    }
    match Version::parse(built_with) {
        Ok(version) if version == running_version => None,
        Ok(_) => Some(format!(
            "This gadget was built with ig {} and it's being run with v{running}. Gadget could be incompatible",
            built_with.escape_debug()
        )),
        Err(e) => {
            debug!("parsing builder version: {e}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::pack::tests::demo;
    use crate::image::{Annotations, Blob, PackInput, Platform, json, pack};

    #[test]
    fn loads_the_parts_for_this_machine() {
        let packed = pack(demo()).unwrap();
        let image = GadgetImage::from_packed(&packed, None).unwrap();
        let object = format!("{}-object\n", Arch::host().unwrap());
        assert_eq!(image.ebpf().collect::<Vec<_>>(), [object.as_bytes()]);
        assert_eq!(image.wasm(), None);
        assert_eq!(image.metadata(), b"name: demo\ndescription: Demo gadget\n");
        assert_eq!(image.created(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(image.builder_version(), Some("v0.50.0"));
        assert_eq!(image.index_digest(), packed.digest());
    }

    #[test]
    fn a_gadget_of_metadata_alone_is_legal() {
        let packed = pack(PackInput {
            objects: [].into(),
            ..demo()
        })
        .unwrap();
        let image = GadgetImage::from_packed(&packed, None).unwrap();
        assert_eq!(image.layers().len(), 0);
    }

    #[test]
    fn builder_version() {
        let check = |annotation: Option<&str>, running: &str| {
            let mut manifest: Manifest = Manifest::parse(&pack(demo()).unwrap().blobs.last().unwrap().content).unwrap();
            manifest.annotations.clear();
            if let Some(version) = annotation {
                manifest
                    .annotations
                    .insert(annotations::BUILDER_VERSION.into(), version.into());
            }
            builder_version_warning(&manifest, running)
        };
        let missing = "Builder version not found in the gadget image. Gadget could be incompatible";
        assert_eq!(check(None, "1.0.0").as_deref(), Some(missing));
        assert_eq!(check(Some(""), "1.0.0").as_deref(), Some(missing));
        assert_eq!(check(None, "1.0.0-rc.1"), None);
        assert_eq!(check(Some("invalid"), "1.0.0"), None);
        assert_eq!(
            check(Some("0.9.0"), "1.0.0").as_deref(),
            Some("This gadget was built with ig 0.9.0 and it's being run with v1.0.0. Gadget could be incompatible")
        );
        assert_eq!(check(Some("1.0.0"), "1.0.0-rc.1"), None);
        assert_eq!(check(Some("1.0.0"), "1.0.0"), None);
        assert_eq!(check(Some("v1.0"), "1.0.0"), None);
    }

    /// An image whose index and manifest can be bent.
    fn bent(bend: impl FnOnce(&mut Index, &mut Manifest)) -> PackedImage {
        let mut image = pack(demo()).unwrap();
        let mut index = Index::parse(&image.index.content).unwrap();
        let manifest = index.manifest_for(Arch::host().unwrap()).unwrap();
        let mut manifest = Manifest::parse(image.blob(&manifest.digest).unwrap()).unwrap();
        let before = manifest.clone();
        let unbent = index.clone();
        bend(&mut index, &mut manifest);
        if manifest != before {
            let content = json::to_vec(&manifest).unwrap();
            let mut descriptor = Descriptor::of(media_type::MANIFEST, &content);
            image.blobs.push(Blob {
                descriptor: descriptor.clone(),
                content,
            });
            descriptor.platform = Some(Platform {
                architecture: Arch::host().unwrap().to_string(),
                ..Platform::default()
            });
            index.manifests.insert(0, descriptor);
        }
        if index != unbent {
            image.index.content = json::to_vec(&index).unwrap();
            image.index.descriptor = Descriptor::of(media_type::INDEX, &image.index.content);
        }
        image
    }

    fn refusal(image: &PackedImage) -> String {
        GadgetImage::from_packed(image, Some(Reference::parse("x").unwrap()))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_is_no_gadget_is_refused_by_name() {
        let mut image = bent(|_, _| {});
        image.index.descriptor.media_type = media_type::MANIFEST.into();
        assert_eq!(
            refusal(&image),
            "getting manifest: getting index: getting image list descriptor: image \"ghcr.io/inspektor-gadget/gadget/x:latest\" is not an image index"
        );

        let mut image = bent(|_, _| {});
        image.index.content = b"[".to_vec();
        assert!(refusal(&image).starts_with(
            "getting manifest: getting index: getting image list descriptor: unmarshalling image index: "
        ));

        let image = bent(|index, _| {
            index
                .manifests
                .retain(|m| m.platform.as_ref().unwrap().architecture != Arch::host().unwrap().as_str());
            index.manifests[0].platform = None;
        });
        assert_eq!(
            refusal(&image),
            format!(
                "getting manifest: no manifest found for architecture \"{}\"",
                Arch::host().unwrap()
            )
        );

        let image = bent(|_, manifest| manifest.config.digest = Digest::of(b"elsewhere"));
        assert!(refusal(&image).starts_with("getting metadata: fetching descriptor: blob sha256:"));
    }

    #[test]
    fn sizes_are_bounded_before_anything_is_read() {
        let image = bent(|_, manifest| manifest.layers[0].size = u64::MAX);
        assert!(refusal(&image).contains("bytes are more than"));
        let image = bent(|_, manifest| manifest.config.size = MAX_DOCUMENT + 1);
        assert!(refusal(&image).contains("bytes are more than"));
        let image = bent(|_, manifest| {
            let layer = manifest.layers[0].clone();
            manifest.layers = vec![layer; MAX_LAYERS + 1];
        });
        assert!(refusal(&image).contains("more than 16 layers"));
    }

    #[test]
    fn unknown_layers_are_skipped_and_several_objects_kept() {
        let image = bent(|_, manifest| {
            let mut foreign = manifest.layers[0].clone();
            foreign.media_type = "application/x".into();
            foreign.annotations = Annotations::from([("a".into(), "b".into())]);
            let object = manifest.layers[0].clone();
            manifest.layers = vec![foreign, object.clone(), object];
        });
        let image = GadgetImage::from_packed(&image, None).unwrap();
        assert_eq!(image.ebpf().count(), 2);
        assert_eq!(image.layers().len(), 2);
    }
}
