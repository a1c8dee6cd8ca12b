//! Blobs: verified reads, atomic writes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::layout::{BLOBS_DIR, INGEST_DIR};
use crate::image::digest::Hasher;
use crate::image::{Descriptor, Digest};
use crate::{Error, ErrorKind, Result, ResultExt};

pub(super) fn path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join(BLOBS_DIR).join(digest.hex())
}

/// Reads a blob. The memory used is bounded by the file's real size, whatever the descriptor says.
pub(super) fn read(dir: &Path, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let digest = &descriptor.digest;
    let way_out = |e: Error| e.with_hint("pull or build the image again: what is missing or damaged is then replaced");
    let mut file = match File::open(path(dir, digest)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let message = format!("blob {digest} is missing from image store {}", dir.display());
            return Err(way_out(Error::not_found(message)));
        }
        Err(e) => return Err(Error::from(e).context(format!("reading blob {digest}"))),
    };
    let content = check_size(&file, descriptor).and_then(|()| {
        let mut content = Vec::with_capacity(usize::try_from(descriptor.size).unwrap_or_default());
        (&mut file)
            .take(descriptor.size + 1)
            .read_to_end(&mut content)
            .context("reading")?;
        match Digest::of(&content) {
            actual if actual == *digest => Ok(content),
            actual => Err(Error::invalid(format!("its digest is {actual}"))),
        }
    });
    content.map_err(|e| way_out(e.context(format!("blob {digest} in image store {} is damaged", dir.display()))))
}

fn check_size(file: &File, descriptor: &Descriptor) -> Result<()> {
    match file.metadata()?.len() {
        size if size == descriptor.size => Ok(()),
        size => Err(Error::invalid(format!("{size} bytes instead of {}", descriptor.size))),
    }
}

/// Whether the blob is there and intact.
pub(super) fn is_intact(dir: &Path, descriptor: &Descriptor) -> bool {
    let check = || -> Option<bool> {
        let mut file = File::open(path(dir, &descriptor.digest)).ok()?;
        check_size(&file, descriptor).ok()?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer).ok()? {
                0 => return Some(hasher.finish() == descriptor.digest),
                n => hasher.update(&buffer[..n]),
            }
        }
    };
    check().unwrap_or(false)
}

/// Receives a blob in pieces; it appears in the store only when complete and verified.
pub(crate) struct BlobWriter {
    dir: PathBuf,
    descriptor: Descriptor,
    file: NamedTempFile,
    hasher: Hasher,
    written: u64,
}

impl BlobWriter {
    pub(super) fn new(dir: &Path, descriptor: &Descriptor) -> Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(&format!("{}_", descriptor.digest.hex()))
            .tempfile_in(dir.join(INGEST_DIR))
            .with_context(|| format!("writing blob {}", descriptor.digest))?;
        Ok(Self {
            dir: dir.to_owned(),
            descriptor: descriptor.clone(),
            file,
            hasher: Hasher::default(),
            written: 0,
        })
    }

    /// Appends a piece.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.written += piece.len() as u64;
        if self.written > self.descriptor.size {
            return Err(self.mismatch(format!("more than the announced {} bytes", self.descriptor.size)));
        }
        self.hasher.update(piece);
        self.file.write_all(piece).map_err(|e| self.failed(e))
    }

    /// Verifies what was written and gives it its place.
    pub(crate) fn finish(mut self) -> Result<()> {
        if self.written != self.descriptor.size {
            let message = format!(
                "{} bytes instead of the announced {}",
                self.written, self.descriptor.size
            );
            return Err(self.mismatch(message));
        }
        let digest = std::mem::take(&mut self.hasher).finish();
        if digest != self.descriptor.digest {
            return Err(self.mismatch(format!("the content's digest is {digest}")));
        }
        let place = path(&self.dir, &digest);
        let synced = self
            .file
            .as_file()
            .sync_all()
            .and_then(|()| self.file.as_file().set_permissions(fs::Permissions::from_mode(0o444)));
        if let Err(e) = synced {
            return Err(self.failed(e));
        }
        self.file
            .persist(place)
            .map(drop)
            .map_err(|e| Error::from(e.error).context(format!("writing blob {digest}")))
    }

    fn failed(&self, error: io::Error) -> Error {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let error = Error::from(error).context(format!(
            "writing blob {} to image store {}",
            self.descriptor.digest,
            self.dir.display()
        ));
        if full {
            error.with_hint("make room on that file system; images that are stored already are not affected")
        } else {
            error
        }
    }

    fn mismatch(&self, message: String) -> Error {
        Error::new(ErrorKind::InvalidInput, message)
            .context(format!("blob {} failed verification", self.descriptor.digest))
    }
}
