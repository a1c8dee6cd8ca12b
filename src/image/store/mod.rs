//! The local image store: an OCI image layout on disk.
//!
//! Other programs, and other processes of this one, may use the same directory at the same time, and any of them may die at any
//! byte. Therefore:
//!
//! - `index.json` is the only mutable file. It is read and replaced under a lock (`flock` on `index.json.lock`), and replaced by a
//!   rename, so that readers see the old or the new one and never a part.
//! - Blobs are written to `ingest/`, synced, then renamed to `blobs/sha256/<hex>`; what has that name is complete. It is still
//!   verified at every read, and a damaged one is written again when the image is added again.
//! - Who adds blobs holds `ingest.lock` shared until `index.json` names them; who deletes blobs needs it exclusively, and does
//!   without deleting when it cannot have it.

mod add;
mod blobs;
mod collect;
mod layout;

use std::path::{Path, PathBuf};

use tracing::{debug, warn};

pub(crate) use add::Addition;
pub(crate) use collect::successors;

use super::oci_layout::INDEX_FILE;
use super::{Arch, Descriptor, Digest, Index, Manifest, PackedImage, Reference, annotations, media_type};
use crate::{Error, Result, ResultExt};

/// The system-wide store, used by root.
const SYSTEM_DIR: &str = "/var/lib/ig/oci-store";
/// A user's store, below the home directory.
const USER_DIR: &str = ".ig/oci-store";

/// A directory with images. Cheap to create; every operation opens what it needs.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    read_only: bool,
}

/// One line of [`Store::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedImage {
    /// The name under which the image is stored.
    pub reference: Reference,
    /// The image's digest: that of its index.
    pub digest: Digest,
    /// When this machine's manifest says it was created; RFC 3339 if the builder was honest.
    pub created: Option<String>,
}

impl Store {
    /// The store in `dir`. Nothing is created before something is added.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            read_only: false,
        }
    }

    /// The store in `dir`, never to be written to.
    pub fn open_read_only(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            read_only: true,
        }
    }

    /// The store of the current user: the system-wide one for root.
    ///
    /// # Errors
    ///
    /// When the user database does not know the current user.
    pub fn open_default() -> Result<Self> {
        Self::default_dir().map(Self::open)
    }

    /// The directory of [`Self::open_default`].
    ///
    /// # Errors
    ///
    /// When the user database does not know the current user.
    pub fn default_dir() -> Result<PathBuf> {
        let uid = nix::unistd::geteuid();
        if uid.is_root() {
            return Ok(SYSTEM_DIR.into());
        }
        // The user database and not $HOME, which sudo may have left pointing to another user's directory.
        match nix::unistd::User::from_uid(uid).with_context(|| format!("finding user {uid}"))? {
            Some(user) => Ok(user.dir.join(USER_DIR)),
            None => Err(Error::not_found(format!(
                "finding user {uid}: not in the user database"
            ))),
        }
    }

    /// The store of the user who called `sudo`, read-only; for another user than root the own store.
    ///
    /// # Errors
    ///
    /// When not called through `sudo`, or when that user has no store yet.
    pub fn open_sudo_user() -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Self::open_default();
        }
        let name = std::env::var("SUDO_USER").unwrap_or_default();
        if name.is_empty() {
            return Err(Error::invalid(
                "--oci-store-user requires being run with sudo, not as root directly",
            ));
        }
        let user = nix::unistd::User::from_name(&name)
            .with_context(|| format!("finding user {name:?}"))?
            .ok_or_else(|| Error::not_found(format!("finding user {name:?}: not in the user database")))?;
        let dir = user.dir.join(USER_DIR);
        for file in [INDEX_FILE, layout::INDEX_LOCK] {
            std::fs::metadata(dir.join(file))
                .map_err(Error::from)
                .with_context(|| {
                    format!(
                        "--oci-store-user with root requires user's store ({:?}) to already exist: stat {:?}",
                        dir,
                        dir.join(file)
                    )
                })?;
        }
        Ok(Self::open_read_only(dir))
    }

    /// Where the store is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the store was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// What is stored under that name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), `not found`, when nothing is.
    pub fn resolve(&self, reference: &Reference) -> Result<Descriptor> {
        let name = reference.to_string();
        self.read_index()?
            .manifests
            .into_iter()
            .find(|entry| tag_of(entry) == Some(&name))
            .map(without_tag)
            .ok_or_else(|| Error::not_found("not found").with_hint("list the stored images with `ig image list`"))
    }

    /// The content of a blob, verified.
    ///
    /// # Errors
    ///
    /// When the blob is missing or damaged; the message names it.
    pub fn read_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        blobs::read(&self.dir, descriptor)
    }

    /// Stores an image, and tags it if there is a name for it. Returns the descriptor of its index.
    ///
    /// # Errors
    ///
    /// When the store cannot be written to. The store is then as it was before.
    pub fn add(&self, image: &PackedImage, reference: Option<&Reference>) -> Result<Descriptor> {
        let addition = self.begin()?;
        for blob in image.blobs.iter().chain([&image.index]) {
            addition.put(&blob.descriptor, &blob.content)?;
        }
        let children = Index::parse(&image.index.content)?.manifests;
        addition.commit(&image.index.descriptor, &children, reference)?;
        Ok(image.index.descriptor.clone())
    }

    /// Starts adding blobs from elsewhere.
    pub(crate) fn begin(&self) -> Result<Addition<'_>> {
        Addition::begin(self)
    }

    /// Gives an image another name, replacing what had that name. Returns the image's descriptor.
    ///
    /// # Errors
    ///
    /// `resolving src: not found` when there is no image `source`.
    pub fn tag(&self, source: &Reference, destination: &Reference) -> Result<Descriptor> {
        let descriptor = self.resolve(source).context("resolving src")?;
        self.update(|index| {
            layout::set_tag(index, &descriptor, &destination.to_string());
            Ok(())
        })?;
        Ok(descriptor)
    }

    /// Removes a name, and the image with its blobs when that was its last name.
    ///
    /// # Errors
    ///
    /// `resolving image: not found` when there is no such image.
    pub fn remove(&self, reference: &Reference) -> Result<()> {
        collect::remove(self, reference)
    }

    /// All stored gadget images that this machine can run, ascending by name.
    ///
    /// An image that cannot be read is left out with a warning.
    ///
    /// # Errors
    ///
    /// When the store as a whole cannot be read.
    pub fn list(&self) -> Result<Vec<ListedImage>> {
        let arch = Arch::host()?;
        let mut images = Vec::new();
        for entry in self.read_index()?.manifests {
            let Some(name) = tag_of(&entry) else { continue };
            // Signatures are stored under tags that are no full references.
            let Ok(reference) = Reference::parse(name) else {
                continue;
            };
            if reference.to_string() != *name || entry.media_type != media_type::INDEX {
                continue;
            }
            match self.created(&entry, arch) {
                Ok(Some(created)) => images.push(ListedImage {
                    digest: entry.digest,
                    reference,
                    created,
                }),
                Ok(None) => debug!("image {name} has no manifest for {arch}"),
                Err(e) => warn!("getting gadget image descriptor for {name}: {e}"),
            }
        }
        images.sort_by_cached_key(|image| image.reference.to_string());
        Ok(images)
    }

    /// The creation date in the manifest for `arch`; `None` when there is no such manifest.
    fn created(&self, entry: &Descriptor, arch: Arch) -> Result<Option<Option<String>>> {
        let index = Index::parse(&self.read_blob(entry)?).context("unmarshalling image index")?;
        let Some(descriptor) = index.manifest_for(arch) else {
            return Ok(None);
        };
        let manifest = Manifest::parse(&self.read_blob(descriptor)?).context("decoding manifest")?;
        Ok(Some(manifest.annotations.get(annotations::CREATED).cloned()))
    }
}

/// The full reference that an entry of `index.json` is the tag of.
fn tag_of(entry: &Descriptor) -> Option<&String> {
    entry.annotations.get(annotations::REF_NAME)
}

fn without_tag(mut entry: Descriptor) -> Descriptor {
    entry.annotations.remove(annotations::REF_NAME);
    entry
}
