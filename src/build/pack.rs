//! From a built gadget to its image.

use super::{Built, Target};
use crate::image::{Arch, MetadataAnnotations, PackInput, PackedImage, created_now, pack};
use crate::{Result, ResultExt};

/// The version that images built by this program carry.
const BUILDER_VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

impl From<Target> for Arch {
    fn from(target: Target) -> Self {
        match target {
            Target::Amd64 => Arch::Amd64,
            Target::Arm64 => Arch::Arm64,
        }
    }
}

impl Built {
    /// Packs the gadget into an image, dated `SOURCE_DATE_EPOCH` or now.
    ///
    /// # Errors
    /// When `SOURCE_DATE_EPOCH` is no number, or the metadata cannot be decoded.
    pub fn pack(self) -> Result<PackedImage> {
        let created = created_now()?;
        let annotations = match &self.metadata {
            Some(metadata) => MetadataAnnotations::from_yaml(metadata)
                .context("creating image index: creating amd64 manifest: creating metadata descriptor")?,
            None => MetadataAnnotations::default(),
        };
        let objects = self
            .objects
            .into_iter()
            .map(|(target, object)| (target.into(), object))
            .collect();
        let btfgen = self
            .btfgen
            .into_iter()
            .map(|(target, archive)| (target.into(), archive))
            .collect();
        pack(PackInput {
            objects,
            btfgen,
            wasm: self.wasm,
            metadata: self.metadata,
            annotations,
            builder_version: BUILDER_VERSION.to_owned(),
            created,
        })
    }
}
