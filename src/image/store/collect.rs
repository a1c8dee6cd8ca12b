//! Removing images, and the blobs that nothing needs any more.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tracing::{debug, warn};

use super::layout::{BLOBS_DIR, INGEST_DIR, INGEST_LOCK};
use super::{Store, blobs, tag_of, without_tag};
use crate::image::{Descriptor, Digest, Index, Manifest, Reference};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Younger files that `index.json` does not know may belong to a program that is still adding its image.
const MIN_ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// How deep indexes may nest.
const MAX_DEPTH: usize = 8;

pub(super) fn remove(store: &Store, reference: &Reference) -> Result<()> {
    store.resolve(reference).context("resolving image")?;
    let name = reference.to_string();

    store.create()?;
    let ingest = exclusive_ingest(store)?;
    let untie_it = |index: &mut Index| {
        let Some(at) = index.manifests.iter().position(|entry| tag_of(entry) == Some(&name)) else {
            return Err(Error::not_found("not found").context("resolving image"));
        };
        let removed = without_tag(index.manifests.remove(at));
        if index
            .manifests
            .iter()
            .any(|entry| entry.digest == removed.digest && tag_of(entry).is_some())
        {
            return Ok(BTreeSet::new());
        }
        untie(store, index, removed)
    };
    // The names are gone before the blobs are: what fails or is skipped then costs space and nothing else.
    store.update_then(untie_it, |index, unneeded| {
        if ingest.is_none() {
            debug!("another process is adding an image: keeping the blobs of {name} for now");
        } else if !unneeded.is_empty() {
            for digest in unneeded {
                delete(&blobs::path(&store.dir, digest));
            }
            sweep(store, index);
        }
    })?;
    Ok(())
}

/// The exclusive right to delete blobs, or nothing if somebody is adding some.
fn exclusive_ingest(store: &Store) -> Result<Option<File>> {
    let file = store.lock_file(INGEST_LOCK)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(Error::from(e).context(store.failed("locking"))),
    }
}

/// Takes everything out of the index that no name leads to. Returns the blobs that only `removed` and those needed.
fn untie(store: &Store, index: &mut Index, removed: Descriptor) -> Result<BTreeSet<Digest>> {
    let roots = index.manifests.iter().filter(|entry| tag_of(entry).is_some());
    let mut needed = BTreeSet::new();
    for root in roots {
        if let Err(e) = walk(store, root, 0, &mut needed) {
            // A damaged image may need anything.
            warn!("keeping all blobs: {e}");
            return Ok(BTreeSet::new());
        }
    }
    // Signatures and the like stay with what they are about.
    loop {
        let before = needed.len();
        for entry in &index.manifests {
            if !needed.contains(&entry.digest)
                && subject(store, entry).is_some_and(|subject| needed.contains(&subject))
                && let Err(e) = walk(store, entry, 0, &mut needed)
            {
                debug!("{e}");
            }
        }
        if needed.len() == before {
            break;
        }
    }

    let mut dropped = vec![removed];
    let (kept, untied) = index
        .manifests
        .drain(..)
        .partition(|entry| needed.contains(&entry.digest));
    index.manifests = kept;
    dropped.extend(untied);

    let mut unneeded = BTreeSet::new();
    for entry in &dropped {
        if let Err(e) = walk(store, entry, 0, &mut unneeded) {
            debug!("{e}");
        }
    }
    unneeded.retain(|digest| !needed.contains(digest));
    Ok(unneeded)
}

/// Collects the digests of everything that `descriptor` leads to. Blobs that are missing lead nowhere.
fn walk(store: &Store, descriptor: &Descriptor, depth: usize, seen: &mut BTreeSet<Digest>) -> Result<()> {
    if !seen.insert(descriptor.digest) || depth > MAX_DEPTH {
        return Ok(());
    }
    let next = match successors(store, descriptor) {
        Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
        next => next?,
    };
    next.iter().try_for_each(|next| walk(store, next, depth + 1, seen))
}

/// What a manifest or an index names; nothing for other blobs.
pub(crate) fn successors(store: &Store, descriptor: &Descriptor) -> Result<Vec<Descriptor>> {
    if descriptor.is_index() {
        let index = Index::parse(&store.read_blob(descriptor)?)?;
        Ok(index.manifests.into_iter().chain(index.subject).collect())
    } else if descriptor.is_manifest() {
        let manifest = Manifest::parse(&store.read_blob(descriptor)?)?;
        Ok([manifest.config]
            .into_iter()
            .chain(manifest.layers)
            .chain(manifest.subject)
            .collect())
    } else {
        Ok(Vec::new())
    }
}

fn subject(store: &Store, descriptor: &Descriptor) -> Option<Digest> {
    let content = store.read_blob(descriptor).ok()?;
    let subject = if descriptor.is_index() {
        Index::parse(&content).ok()?.subject
    } else {
        Manifest::parse(&content).ok()?.subject
    };
    subject.map(|subject| subject.digest)
}

/// Deletes what crashes left behind: old temporary files, and old blobs that the index does not lead to.
fn sweep(store: &Store, index: &Index) {
    let mut known = BTreeSet::new();
    for entry in &index.manifests {
        if let Err(e) = walk(store, entry, 0, &mut known) {
            debug!("keeping all blobs: {e}");
            return;
        }
    }
    for (path, name) in old_files(&store.dir.join(BLOBS_DIR)) {
        if Digest::from_hex(&name).is_some_and(|digest| !known.contains(&digest)) {
            delete(&path);
        }
    }
    for (path, _) in old_files(&store.dir.join(INGEST_DIR)) {
        delete(&path);
    }
}

fn old_files(dir: &Path) -> Vec<(std::path::PathBuf, String)> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let now = SystemTime::now();
    entries
        .flatten()
        .filter(|entry| {
            entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > MIN_ORPHAN_AGE))
        })
        .map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn delete(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => warn!("deleting {}: {e}", path.display()),
    }
}
