//! From a built gadget to its image.

use super::{Built, Target};
use crate::Result;
use crate::image::{Arch, MetadataAnnotations, PackInput, PackedImage, created_now, pack};

/// The version that images say they were built with.
const BUILDER_VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// Packs what was built.
pub fn image_of(built: Built) -> Result<PackedImage> {
    let annotations = match &built.metadata {
        Some(metadata) => MetadataAnnotations::from_yaml(metadata)?,
        None => MetadataAnnotations::default(),
    };
    let arch = |target| match target {
        Target::Amd64 => Arch::Amd64,
        Target::Arm64 => Arch::Arm64,
    };
    pack(PackInput {
        objects: built.objects.into_iter().map(|(target, object)| (arch(target), object)).collect(),
        wasm: built.wasm,
        btfgen: Default::default(),
        metadata: built.metadata,
        annotations,
        builder_version: BUILDER_VERSION.to_owned(),
        created: created_now()?,
    })
}
