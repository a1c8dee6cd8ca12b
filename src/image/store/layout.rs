//! The files of the layout that are not blobs, and the locks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::{Store, tag_of, without_tag};
use crate::image::oci_layout::{self, INDEX_FILE, MARKER, MARKER_FILE};
use crate::image::{Descriptor, Index, annotations, json};
use crate::{Error, ErrorKind, Result, ResultExt};

pub(super) const INDEX_LOCK: &str = "index.json.lock";
pub(super) const INGEST_LOCK: &str = "ingest.lock";
pub(super) const INGEST_DIR: &str = "ingest";
pub(super) const BLOBS_DIR: &str = "blobs/sha256";

/// More than any real store's `index.json`, in bytes.
const MAX_INDEX: u64 = 64 << 20;

impl Store {
    /// The decoded `index.json`; an empty one when there is no store.
    pub(super) fn read_index(&self) -> Result<Index> {
        // Programs that rewrite the file in place do so under the lock. Where there is no lock file nobody ever did.
        let _lock = match File::open(self.dir.join(INDEX_LOCK)) {
            Ok(file) => {
                file.lock_shared().with_context(|| self.failed("locking"))?;
                Some(file)
            }
            Err(_) => None,
        };
        self.parse_index()
    }

    /// Changes `index.json` under its lock. Nothing is written when `change` fails or changes nothing.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Index) -> Result<T>) -> Result<T> {
        self.update_then(change, |_, _| {})
    }

    /// Like [`Self::update`]; `then` runs after the change is on disk and before the lock is released.
    pub(super) fn update_then<T>(
        &self,
        change: impl FnOnce(&mut Index) -> Result<T>,
        then: impl FnOnce(&Index, &T),
    ) -> Result<T> {
        self.create()?;
        let _lock = self.lock(INDEX_LOCK)?;
        let mut index = self.parse_index()?;
        let before = index.manifests.clone();
        let result = change(&mut index)?;
        if index.manifests != before || !self.dir.join(INDEX_FILE).exists() {
            self.write_index(&index)?;
        }
        then(&index, &result);
        Ok(result)
    }

    fn parse_index(&self) -> Result<Index> {
        let path = self.dir.join(INDEX_FILE);
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(file) => {
                file.take(MAX_INDEX + 1)
                    .read_to_end(&mut text)
                    .with_context(|| self.failed("reading"))?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Index::empty()),
            Err(e) => return Err(Error::from(e).context(self.failed("reading"))),
        }
        let damaged = |e: Error| {
            e.context(format!("{} is damaged", path.display()))
                .context("reading image store")
                .with_hint(format!(
                    "the images' blobs are still there; move the file away (mv {0} {0}.bad), then build or pull the images again",
                    path.display()
                ))
        };
        if text.len() as u64 > MAX_INDEX {
            return Err(damaged(Error::invalid("too large")));
        }
        Index::parse(&text).map_err(damaged)
    }

    fn write_index(&self, index: &Index) -> Result<()> {
        self.replace(INDEX_FILE, &json::to_vec(index)?)
            .with_context(|| self.failed("writing index.json of"))
    }

    /// Writes a file of the layout so that a crash leaves the old or the new content.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(&format!("{name}_"))
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(self.dir.join(INGEST_DIR))?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(self.dir.join(name))?;
        sync_dir(&self.dir)
    }

    /// Creates what a store consists of, where it is missing.
    pub(super) fn create(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("image store {} is open for reading only", self.dir.display()),
            ));
        }
        self.create_files().map_err(|e| {
            let denied = e.kind() == io::ErrorKind::PermissionDenied;
            let e = Error::from(e).context(self.failed("creating"));
            if denied {
                e.with_hint("run as the user whose store it is, or with sudo")
            } else {
                e
            }
        })?;
        self.check_layout()
    }

    fn create_files(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.dir)?;
        builder.mode(0o777);
        builder.create(self.dir.join(BLOBS_DIR))?;
        builder.create(self.dir.join(INGEST_DIR))
    }

    fn check_layout(&self) -> Result<()> {
        let current = fs::read(self.dir.join(MARKER_FILE)).unwrap_or_default();
        if current == MARKER.as_bytes() {
            return Ok(());
        }
        // Whatever does not even parse is what a crash left of it.
        if let Some(version) = oci_layout::version(&current) {
            if version == oci_layout::VERSION {
                return Ok(());
            }
            return Err(Error::unsupported(format!(
                "image store {}: unsupported layout version {version:?}",
                self.dir.display()
            )));
        }
        self.replace(MARKER_FILE, MARKER.as_bytes())
            .with_context(|| self.failed("creating"))
    }

    /// Opens a lock file, creating it if necessary.
    pub(super) fn lock_file(&self, name: &str) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.dir.join(name))
            .with_context(|| self.failed("locking"))
    }

    /// Holds a lock exclusively until the file is dropped.
    pub(super) fn lock(&self, name: &str) -> Result<File> {
        let file = self.lock_file(name)?;
        file.lock().with_context(|| self.failed("locking"))?;
        Ok(file)
    }

    pub(super) fn failed(&self, doing: &str) -> String {
        format!("{doing} image store {}", self.dir.display())
    }
}

/// Makes renames in `dir` survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Lets `name` stand for `descriptor`. What it stood for before stays known without a name.
pub(super) fn set_tag(index: &mut Index, descriptor: &Descriptor, name: &str) {
    let mut entry = descriptor.clone();
    entry
        .annotations
        .insert(annotations::REF_NAME.to_owned(), name.to_owned());

    let previous = index
        .manifests
        .iter()
        .position(|entry| tag_of(entry).is_some_and(|tag| tag == name));
    let previous = previous.map(|at| index.manifests.remove(at));
    index
        .manifests
        .retain(|entry| entry.digest != descriptor.digest || tag_of(entry).is_some());
    index.manifests.push(entry);
    if let Some(previous) = previous {
        add_untagged(index, without_tag(previous));
    }
}

/// Makes a manifest known that has no name, unless it is known already.
pub(super) fn add_untagged(index: &mut Index, descriptor: Descriptor) {
    if !index.manifests.iter().any(|entry| entry.digest == descriptor.digest) {
        index.manifests.push(descriptor);
    }
}
