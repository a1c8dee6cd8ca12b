//! Adding an image: blobs first, then its name.

use std::fs::File;

use super::blobs::{self, BlobWriter};
use super::layout::{self, BLOBS_DIR, INGEST_LOCK, sync_dir};
use super::{Store, without_tag};
use crate::image::{Descriptor, Reference};
use crate::{Result, ResultExt};

/// An addition in progress. While it exists no process of ours deletes blobs from the store.
pub(crate) struct Addition<'s> {
    store: &'s Store,
    _lock: File,
}

impl<'s> Addition<'s> {
    pub(super) fn begin(store: &'s Store) -> Result<Self> {
        store.create()?;
        let lock = store.lock_file(INGEST_LOCK)?;
        lock.lock_shared().with_context(|| store.failed("locking"))?;
        Ok(Self { store, _lock: lock })
    }

    /// Whether the blob is stored and intact, so that it need not be written.
    pub(crate) fn has(&self, descriptor: &Descriptor) -> bool {
        blobs::is_intact(&self.store.dir, descriptor)
    }

    /// Receives a blob in pieces.
    pub(crate) fn writer(&self, descriptor: &Descriptor) -> Result<BlobWriter> {
        BlobWriter::new(&self.store.dir, descriptor)
    }

    /// Stores a blob, unless it is there.
    pub(crate) fn put(&self, descriptor: &Descriptor, content: &[u8]) -> Result<()> {
        if self.has(descriptor) {
            return Ok(());
        }
        let mut writer = self.writer(descriptor)?;
        writer.write(content)?;
        writer.finish()
    }

    /// Makes the image known: `root`, whose blobs are all stored by now, and the manifests below it.
    pub(crate) fn commit(
        self,
        root: &Descriptor,
        manifests: &[Descriptor],
        reference: Option<&Reference>,
    ) -> Result<()> {
        self.commit_as(root, manifests, reference.map(Reference::to_string).as_deref())
    }

    /// Like [`Self::commit`] under any text as its name: signatures have names that are no references.
    pub(crate) fn commit_as(self, root: &Descriptor, manifests: &[Descriptor], name: Option<&str>) -> Result<()> {
        sync_dir(&self.store.dir.join(BLOBS_DIR)).with_context(|| self.store.failed("writing"))?;
        self.store.update(|index| {
            match name {
                Some(name) => layout::set_tag(index, root, name),
                None => layout::add_untagged(index, without_tag(root.clone())),
            }
            for manifest in manifests {
                layout::add_untagged(index, without_tag(manifest.clone()));
            }
            Ok(())
        })
    }
}
