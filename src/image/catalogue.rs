//! The gadgets that come with the program.
//!
//! They are packed on demand from an archive, by the same code and with the same result as when they were built: a bundled
//! gadget has one digest, wherever it is computed.

use std::borrow::Cow;
use std::io::Read;
use std::path::{Component, Path};
use std::sync::{Arc, LazyLock};

use super::created::created_at_epoch;
use super::{
    Arch, DEFAULT_DOMAIN, DEFAULT_PREFIX, Digest, MetadataAnnotations, PackInput, PackedImage, Reference, pack,
};
use crate::{Error, Result, ResultExt};

/// The archive that the build made of the directory `gadgets/`.
const BUNDLED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/catalogue.zst"));

/// The version that bundled gadgets are built with, and the tag under which they may be asked for.
const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// The build date of bundled gadgets, in seconds since the epoch, unless the program's own build fixed another one.
const DEFAULT_EPOCH: &str = "1767225600";

/// A set of gadgets in a compressed archive.
///
/// The archive is a zstd-compressed tar with the members `<gadget>/gadget.yaml`, `<gadget>/<arch>.bpf.o` and
/// `<gadget>/program.wasm`, those of a gadget side by side. When it consists of several zstd frames each must hold exactly one
/// gadget; then only the frame that is needed is decompressed.
#[derive(Debug)]
pub struct Catalogue {
    archive: Cow<'static, [u8]>,
}

impl Catalogue {
    /// The gadgets that come with this program.
    pub fn bundled() -> Arc<Self> {
        static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| Arc::new(Catalogue::from_archive(BUNDLED)));
        CATALOGUE.clone()
    }

    /// The gadgets in an archive; none in an empty one. Nothing is read before it is needed.
    pub fn from_archive(archive: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            archive: archive.into(),
        }
    }

    /// The names of all gadgets, sorted.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        self.visit(|gadget, _, _| {
            if names.last().is_none_or(|last| last != gadget) {
                names.push(gadget.to_owned());
            }
            Ok(Next::Gadget)
        })?;
        names.sort();
        Ok(names)
    }

    /// The image of a gadget.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub fn image(&self, name: &str) -> Result<Option<PackedImage>> {
        let mut found = None;
        self.visit(|gadget, member, content| {
            if gadget == name {
                add_member(found.get_or_insert_with(PackInput::default), member, content)?;
                return Ok(Next::Member);
            }
            Ok(if found.is_some() { Next::Stop } else { Next::Gadget })
        })?;
        found.map(finish).transpose()
    }

    /// The image that a reference stands for, if it names a bundled gadget in this version.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<PackedImage>> {
        let ours = reference.domain() == DEFAULT_DOMAIN
            && reference.path().strip_prefix(DEFAULT_PREFIX) == Some(reference.name())
            && reference.tag().is_none_or(|tag| tag == "latest" || tag == VERSION);
        if !ours {
            return Ok(None);
        }
        let image = self.image(reference.name())?;
        Ok(image.filter(|image| reference.digest().is_none_or(|digest| digest == image.digest())))
    }

    /// The digests of all gadgets. Packs every one of them: ask [`Self::contains`] instead, if that is the question.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub fn digests(&self) -> Result<Vec<Digest>> {
        let mut inputs: Vec<(String, PackInput)> = Vec::new();
        self.visit(|gadget, member, content| {
            if inputs.last().is_none_or(|(last, _)| last != gadget) {
                inputs.push((gadget.to_owned(), PackInput::default()));
            }
            if let Some((_, input)) = inputs.last_mut() {
                add_member(input, member, content)?;
            }
            Ok(Next::Member)
        })?;
        inputs
            .into_iter()
            .map(|(_, input)| finish(input).map(|image| *image.digest()))
            .collect()
    }

    /// Whether an image is one of these gadgets, under whatever name it is known elsewhere; `name` is the likely one.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub fn contains(&self, digest: &Digest, name: &str) -> Result<bool> {
        if self.image(name)?.is_some_and(|image| image.digest() == digest) {
            return Ok(true);
        }
        Ok(self.digests()?.contains(digest))
    }

    /// Calls `visit` with gadget, member and content of each member.
    fn visit(&self, mut visit: impl FnMut(&str, &str, &mut dyn Read) -> Result<Next>) -> Result<()> {
        let frames = frames(&self.archive)?;
        for frame in &frames {
            let decoder = zstd::stream::read::Decoder::with_buffer(*frame).context(READING)?;
            let mut archive = tar::Archive::new(decoder.single_frame());
            for entry in archive.entries().context(READING)? {
                let mut entry = entry.context(READING)?;
                let path = entry.path().context(READING)?.into_owned();
                let Some((gadget, member)) = split(&path) else { continue };
                match visit(gadget, member, &mut entry)? {
                    Next::Member => {}
                    Next::Gadget if frames.len() == 1 => {}
                    Next::Gadget => break,
                    Next::Stop => return Ok(()),
                }
            }
        }
        Ok(())
    }
}

const READING: &str = "reading the bundled gadgets";

/// Where to go on in the archive.
enum Next {
    Member,
    Gadget,
    Stop,
}

/// The compressed frames of an archive.
fn frames(mut archive: &[u8]) -> Result<Vec<&[u8]>> {
    let mut frames = Vec::new();
    while !archive.is_empty() {
        let size = zstd::zstd_safe::find_frame_compressed_size(archive)
            .map_err(|code| Error::invalid(zstd::zstd_safe::get_error_name(code)).context(READING))?;
        let Some((frame, rest)) = archive.split_at_checked(size) else {
            return Err(Error::invalid("truncated").context(READING));
        };
        frames.push(frame);
        archive = rest;
    }
    Ok(frames)
}

/// `trace_open/gadget.yaml` → `trace_open`, `gadget.yaml`.
fn split(path: &Path) -> Option<(&str, &str)> {
    let mut names = path.components().filter_map(|component| match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    match (names.next(), names.next(), names.next()) {
        (Some(gadget), Some(member), None) => Some((gadget, member)),
        _ => None,
    }
}

fn add_member(input: &mut PackInput, member: &str, content: &mut dyn Read) -> Result<()> {
    let mut read = || -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).context(READING)?;
        Ok(bytes)
    };
    match member {
        "gadget.yaml" => input.metadata = Some(read()?),
        "program.wasm" => input.wasm = Some(read()?),
        object => {
            if let Some(arch) = object.strip_suffix(".bpf.o").and_then(Arch::from_name) {
                input.objects.insert(arch, read()?);
            }
        }
    }
    Ok(())
}

fn finish(mut input: PackInput) -> Result<PackedImage> {
    if let Some(metadata) = &input.metadata {
        input.annotations = MetadataAnnotations::from_yaml(metadata).context(READING)?;
    }
    input.builder_version = VERSION.to_owned();
    input.created = created_at_epoch(option_env!("SOURCE_DATE_EPOCH").unwrap_or(DEFAULT_EPOCH))?;
    pack(input)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn tar_of(gadgets: &[&str]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for gadget in gadgets {
            for (member, content) in [
                ("amd64.bpf.o", format!("amd64 {gadget}")),
                ("arm64.bpf.o", format!("arm64 {gadget}")),
                ("gadget.yaml", format!("name: {gadget}\n")),
            ] {
                let mut header = tar::Header::new_ustar();
                header.set_size(content.len() as u64);
                header.set_mode(0o644);
                tar.append_data(&mut header, format!("{gadget}/{member}"), content.as_bytes())
                    .unwrap();
            }
        }
        tar.into_inner().unwrap()
    }

    /// An archive of one frame.
    pub(crate) fn archive(gadgets: &[&str]) -> Vec<u8> {
        zstd::encode_all(&*tar_of(gadgets), 3).unwrap()
    }

    fn archive_of_frames(gadgets: &[&str]) -> Vec<u8> {
        gadgets.iter().flat_map(|gadget| archive(&[gadget])).collect()
    }

    #[test]
    fn finds_gadgets_in_both_kinds_of_archive() {
        let gadgets = ["alpha", "beta", "gamma"];
        let one = Catalogue::from_archive(archive(&gadgets));
        let many = Catalogue::from_archive(archive_of_frames(&gadgets));
        assert_eq!(one.names().unwrap(), gadgets);
        assert_eq!(many.names().unwrap(), gadgets);
        assert_eq!(one.digests().unwrap(), many.digests().unwrap());
        for gadget in gadgets {
            let image = many.image(gadget).unwrap().unwrap();
            assert_eq!(image.digest(), one.image(gadget).unwrap().unwrap().digest());
            assert!(many.contains(image.digest(), "another").unwrap());
            let object = format!("amd64 {gadget}");
            assert_eq!(image.blob(&Digest::of(object.as_bytes())), Some(object.as_bytes()));
        }
        assert!(one.image("delta").unwrap().is_none());
        assert!(many.image("delta").unwrap().is_none());
        assert!(!one.contains(&Digest::of(b""), "alpha").unwrap());
    }

    #[test]
    fn the_frame_of_another_gadget_is_not_needed() {
        let mut archive = archive_of_frames(&["alpha", "beta", "gamma"]);
        let beta_starts = frames(&archive).unwrap()[0].len();
        let beta_ends = beta_starts + frames(&archive).unwrap()[1].len();
        // A raw block of ours in place of beta's: valid for who skips, no tar for who reads on past its first member.
        let other = zstd::encode_all(&tar_of(&["beta"])[..1024], 3).unwrap();
        archive.splice(beta_starts..beta_ends, other);
        let catalogue = Catalogue::from_archive(archive);
        assert!(catalogue.image("gamma").unwrap().is_some());
        assert_eq!(catalogue.names().unwrap(), ["alpha", "beta", "gamma"]);
    }

    #[test]
    fn references_to_bundled_gadgets() {
        let catalogue = Catalogue::from_archive(archive(&["alpha"]));
        let digest = *catalogue.image("alpha").unwrap().unwrap().digest();
        let resolve = |name: &str| catalogue.resolve(&Reference::parse(name).unwrap()).unwrap().is_some();
        assert!(resolve("alpha"));
        assert!(resolve("ghcr.io/inspektor-gadget/gadget/alpha:latest"));
        assert!(resolve(&format!("alpha:v{}", env!("CARGO_PKG_VERSION"))));
        assert!(resolve(&format!("alpha@{digest}")));
        assert!(!resolve(&format!("alpha@{}", Digest::of(b""))));
        assert!(!resolve("alpha:v0.0.1"));
        assert!(!resolve("ttl.sh/alpha"));
        assert!(!resolve("me/alpha"));
        assert!(!resolve("beta"));
    }

    #[test]
    fn an_empty_or_broken_archive() {
        let none = Catalogue::from_archive(&[][..]);
        assert_eq!(none.names().unwrap(), [""; 0]);
        assert!(none.image("alpha").unwrap().is_none());
        let mut broken = archive(&["alpha"]);
        broken.truncate(broken.len() / 2);
        let error = Catalogue::from_archive(broken).image("alpha").unwrap_err();
        assert!(
            error.to_string().starts_with("reading the bundled gadgets: "),
            "{error}"
        );
    }
}
