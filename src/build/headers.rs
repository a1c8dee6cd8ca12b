//! The headers that gadgets are compiled against: the gadget API, `vmlinux.h` and libbpf's, which this program carries with it.

use std::path::Path;

use super::tar;
use crate::image::Digest;
use crate::{Error, Result, ResultExt};

/// A compressed archive of `gadget/*.h`, `gadget/<arch>/vmlinux.h` and `bpf/*.h`.
static ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/headers.tar.zst"));

/// Tells one set of headers from another.
pub(super) fn digest() -> Digest {
    Digest::of(ARCHIVE)
}

/// Writes all headers below `dir`, which becomes what `/usr/include` is elsewhere.
///
/// # Errors
/// When `dir` cannot be written.
pub fn unpack(dir: &Path) -> Result<()> {
    let archive = zstd::decode_all(ARCHIVE).context("decompressing headers")?;
    for (name, content) in tar::read(&archive).map_err(Error::invalid)? {
        let path = dir.join(name);
        let parent = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libbpfs_headers_are_there() {
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path()).unwrap();
        let helpers = std::fs::read_to_string(dir.path().join("bpf/bpf_helpers.h")).unwrap();
        assert!(helpers.contains("#define SEC("));
        assert!(dir.path().join("bpf/bpf_helper_defs.h").is_file());
    }
}
