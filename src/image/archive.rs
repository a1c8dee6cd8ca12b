//! Images in a file: an OCI layout in a tar archive.
//!
//! The archive of the same images is the same, byte for byte, whoever writes it and whenever.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::gadget_image::MAX_DOCUMENT;
use super::oci_layout::{INDEX_FILE, MARKER, MARKER_FILE};
use super::store::successors;
use super::{Descriptor, Digest, Index, Manifest, Reference, Store, annotations, json};
use crate::{Error, Result, ResultExt};

const BLOBS: &str = "blobs/sha256/";

/// The most members that an archive may have.
const MAX_MEMBERS: usize = 100_000;
/// How deep indexes may nest.
const MAX_DEPTH: usize = 8;

/// Writes images with everything they consist of to `file`, which is replaced.
///
/// # Errors
///
/// When an image is not stored or is damaged, or when the file cannot be written; the file is then as it was before.
pub fn export(store: &Store, references: &[Reference], file: &Path) -> Result<()> {
    let mut entries = Vec::new();
    let mut blobs = BTreeMap::new();
    for reference in references {
        let copying = || "copying image to remote repository";
        let root = store
            .resolve(reference)
            .context("failed to perform \"Resolve\" on source")
            .with_context(copying)?;
        collect(store, &root, 0, &mut blobs, &mut entries)
            .context("failed to perform \"Fetch\" on source")
            .with_context(copying)?;
        let mut tagged = root;
        tagged
            .annotations
            .insert(annotations::REF_NAME.to_owned(), reference.to_string());
        entries.push(tagged);
    }
    // A manifest that has a name needs no second entry without one.
    let name = |entry: &Descriptor| entry.annotations.get(annotations::REF_NAME).cloned();
    let named: BTreeSet<Digest> = entries
        .iter()
        .filter(|entry| name(entry).is_some())
        .map(|entry| entry.digest)
        .collect();
    entries.retain(|entry| name(entry).is_some() || !named.contains(&entry.digest));
    entries.sort_by_cached_key(|entry| (entry.digest, name(entry)));
    entries.dedup_by_key(|entry| (entry.digest, name(entry)));
    let index = Index {
        manifests: entries,
        ..Index::empty()
    };
    let index = json::to_vec(&index)?;

    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let write = || -> Result<()> {
        let mut target = tempfile::Builder::new()
            .prefix(".export")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(dir)?;
        let mut tar = tar::Builder::new(io::BufWriter::new(target.as_file_mut()));
        for (digest, descriptor) in &blobs {
            append(
                &mut tar,
                &format!("{BLOBS}{}", digest.hex()),
                0o444,
                &store.read_blob(descriptor)?,
            )?;
        }
        append(&mut tar, INDEX_FILE, 0o644, &index)?;
        append(&mut tar, MARKER_FILE, 0o644, MARKER.as_bytes())?;
        tar.into_inner()?.flush()?;
        target.as_file().sync_all()?;
        target.persist(file).map_err(|e| e.error)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", file.display()))
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, name, content)
}

/// Collects everything that `descriptor` leads to, and the manifests below it a second time on their own.
fn collect(
    store: &Store,
    descriptor: &Descriptor,
    depth: usize,
    blobs: &mut BTreeMap<Digest, Descriptor>,
    manifests: &mut Vec<Descriptor>,
) -> Result<()> {
    if depth > MAX_DEPTH || blobs.insert(descriptor.digest, descriptor.clone()).is_some() {
        return Ok(());
    }
    for next in successors(store, descriptor)? {
        if next.is_index() || next.is_manifest() {
            manifests.push(next.clone());
        }
        collect(store, &next, depth + 1, blobs, manifests)?;
    }
    Ok(())
}

/// Stores every image that the archive names. Returns the full names, ascending, those of signatures excepted.
///
/// # Errors
///
/// When the file is no such archive, when a blob does not match its digest, or when the store cannot be written to.
pub fn import(store: &Store, file: &Path) -> Result<Vec<String>> {
    let mut archive = Archive::open(file).context("loading src bundle")?;
    let mut names = Vec::new();
    for entry in archive.index.manifests.clone() {
        let Some(name) = entry.annotations.get(annotations::REF_NAME).cloned() else {
            continue;
        };
        archive
            .copy(store, &entry)
            .with_context(|| format!("copying image {name:?}"))?;
        names.push(name);
    }
    names.sort();
    names.dedup();
    names.retain(|name| !name.ends_with(".sig"));
    Ok(names)
}

/// An archive whose members' places are known.
struct Archive {
    file: File,
    members: BTreeMap<String, (u64, u64)>,
    index: Index,
}

impl Archive {
    fn open(path: &Path) -> Result<Self> {
        // Messages name the file in full: a relative path says little in a log.
        let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let file = File::open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Error::not_found("no such file or directory").context(format!("open {}", shown.display()))
            }
            _ => Error::from(e).context(format!("open {}", shown.display())),
        })?;
        let mut archive = Self {
            members: members(&file)?,
            file,
            index: Index::empty(),
        };
        if !archive.members.contains_key(MARKER_FILE) {
            return Err(Error::invalid(format!("{MARKER_FILE} is missing")).with_hint(
                "the file must be an archive that `ig image export` wrote, or another tar of an OCI layout",
            ));
        }
        let index = archive.read(INDEX_FILE, MAX_DOCUMENT)?;
        archive.index = Index::parse(&index).with_context(|| format!("decoding {INDEX_FILE}"))?;
        Ok(archive)
    }

    fn read(&mut self, member: &str, limit: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.reader(member)?
            .take(limit + 1)
            .read_to_end(&mut content)
            .with_context(|| format!("reading {member}"))?;
        if content.len() as u64 > limit {
            return Err(Error::invalid(format!(
                "{member} is longer than the {limit} bytes that are accepted"
            )));
        }
        Ok(content)
    }

    fn reader(&mut self, member: &str) -> Result<impl Read + use<'_>> {
        let (start, size) = *self
            .members
            .get(member)
            .ok_or_else(|| Error::not_found(format!("{member} is missing from the archive")))?;
        self.file
            .seek(SeekFrom::Start(start))
            .with_context(|| format!("reading {member}"))?;
        Ok((&mut self.file).take(size))
    }

    fn copy(&mut self, store: &Store, entry: &Descriptor) -> Result<()> {
        let name = entry
            .annotations
            .get(annotations::REF_NAME)
            .cloned()
            .unwrap_or_default();
        let addition = store.begin()?;
        let mut manifests = Vec::new();
        self.copy_graph(&addition, entry, 0, &mut BTreeSet::new(), &mut manifests)?;
        // Signatures and the like lead to what they are about, and not the other way round.
        for other in self.index.manifests.clone() {
            let untagged = !other.annotations.contains_key(annotations::REF_NAME);
            if untagged && self.subject(&other) == Some(entry.digest) {
                self.copy_graph(&addition, &other, 0, &mut BTreeSet::new(), &mut manifests)?;
                manifests.push(other);
            }
        }
        let mut root = entry.clone();
        root.annotations.remove(annotations::REF_NAME);
        addition.commit_as(&root, &manifests, Some(&name))
    }

    fn subject(&mut self, descriptor: &Descriptor) -> Option<Digest> {
        let text = self.read(&member_of(descriptor), MAX_DOCUMENT).ok()?;
        Some(Manifest::parse(&text).ok()?.subject?.digest)
    }

    /// Copies everything that `descriptor` leads to, then itself.
    fn copy_graph(
        &mut self,
        addition: &super::store::Addition<'_>,
        descriptor: &Descriptor,
        depth: usize,
        seen: &mut BTreeSet<Digest>,
        manifests: &mut Vec<Descriptor>,
    ) -> Result<()> {
        if depth > MAX_DEPTH || !seen.insert(descriptor.digest) {
            return Ok(());
        }
        let member = member_of(descriptor);
        if descriptor.is_index() || descriptor.is_manifest() {
            let text = self.read(&member, MAX_DOCUMENT)?;
            let next = if descriptor.is_index() {
                Index::parse(&text)
                    .with_context(|| format!("decoding {member}"))?
                    .manifests
            } else {
                let manifest = Manifest::parse(&text).with_context(|| format!("decoding {member}"))?;
                [manifest.config].into_iter().chain(manifest.layers).collect()
            };
            for next in &next {
                self.copy_graph(addition, next, depth + 1, seen, manifests)?;
                if next.is_index() || next.is_manifest() {
                    manifests.push(next.clone());
                }
            }
            return addition.put(descriptor, &text);
        }
        if addition.has(descriptor) {
            return Ok(());
        }
        let mut writer = addition.writer(descriptor)?;
        let mut reader = self.reader(&member)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match reader.read(&mut buffer).with_context(|| format!("reading {member}"))? {
                0 => return writer.finish(),
                n => writer.write(&buffer[..n])?,
            }
        }
    }
}

fn member_of(descriptor: &Descriptor) -> String {
    format!("{BLOBS}{}", descriptor.digest.hex())
}

/// Name, place and size of every regular file in the archive.
fn members(file: &File) -> Result<BTreeMap<String, (u64, u64)>> {
    let invalid = |_| Error::invalid("archive/tar: invalid tar header");
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(invalid)? {
        let entry = entry.map_err(invalid)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        members.insert(name, (entry.raw_file_position(), entry.size()));
        if members.len() > MAX_MEMBERS {
            return Err(Error::invalid(format!(
                "the archive has more than {MAX_MEMBERS} members"
            )));
        }
    }
    Ok(members)
}
