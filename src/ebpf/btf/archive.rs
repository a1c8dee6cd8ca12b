//! Archives of BTF for kernels that show none, as images bring them: a gzip-compressed tar with a file for each kernel.
//!
//! A file is called `<ID>/<VERSION_ID>/<uname -m>/<uname -r>.btf`, with the first two as in os-release; newer builders of upstream
//! call it `./<uname -r>.btf`. The archive comes from an image, so that nothing in it is believed: it is read as a stream, with bounds.

use std::io::Read as _;
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use nix::sys::utsname::uname;

use super::KernelBtf;
use crate::{Error, Result, ResultExt};

/// More bytes than any archive has when it is unpacked. Thousands of kernels at some 10 KB each are a tenth of it.
const MAX_UNPACKED: u64 = 1 << 30;
/// The most bytes of one kernel's BTF; a whole one has 5 to 10 MB.
const MAX_BTF: u64 = 64 << 20;

/// What tells one kernel from others in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    id: String,
    version_id: String,
    machine: String,
    release: String,
}

impl Machine {
    /// The machine that this is.
    ///
    /// # Errors
    ///
    /// os-release is missing or lacks a key.
    pub fn this() -> Result<Self> {
        let root = std::env::var_os("HOST_ROOT").filter(|root| !root.is_empty());
        let root = root.as_deref().map_or(Path::new("/"), Path::new);
        let path = root.join("etc/os-release");
        let text = std::fs::read_to_string(&path)
            .with_context(|| path.display().to_string())
            .context("getting OS info")?;
        let (id, version_id) = os_release(&text).context("getting OS info")?;
        let name = uname()?;
        Ok(Self {
            id,
            version_id,
            machine: name.machine().to_string_lossy().into_owned(),
            release: name.release().to_string_lossy().into_owned(),
        })
    }

    /// Name of the file with the BTF of the running kernel.
    pub(super) fn file_name() -> String {
        match uname() {
            Ok(name) => format!("{}.btf", name.release().to_string_lossy()),
            Err(_) => "RELEASE.btf".to_owned(),
        }
    }

    /// The names that its file may have, the best first.
    pub(super) fn names(&self) -> Vec<String> {
        let Self {
            id,
            version_id,
            machine,
            release,
        } = self;
        vec![
            format!("{id}/{version_id}/{machine}/{release}.btf"),
            format!("{release}.btf"),
        ]
    }
}

/// `ID` and `VERSION_ID` of an os-release file.
fn os_release(text: &str) -> Result<(String, String)> {
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim().trim_matches('"').to_owned())
            .find(|value| !value.is_empty())
    };
    match (value("ID"), value("VERSION_ID")) {
        (Some(id), Some(version)) => Ok((id, version)),
        _ => Err(Error::invalid("os-release file is incomplete")),
    }
}

/// The BTF of `machine` in the archive.
///
/// # Errors
///
/// It is not there, or the archive is damaged.
pub fn find(archive: &[u8], machine: &Machine) -> Result<KernelBtf> {
    read(archive, machine).context("getting BTF file")
}

fn read(archive: &[u8], machine: &Machine) -> Result<KernelBtf> {
    let names = machine.names();
    let mut found: Option<(usize, Vec<u8>)> = None;
    let mut tar = tar::Archive::new(GzDecoder::new(archive).take(MAX_UNPACKED));
    for entry in tar.entries().context("reading the archive of BTF")? {
        let entry = entry.context("reading the archive of BTF")?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let Some(name) = entry.path().ok().and_then(|path| normal(&path)) else {
            continue;
        };
        let Some(rank) = names.iter().position(|wanted| *wanted == name) else {
            continue;
        };
        if found.as_ref().is_some_and(|(known, _)| *known <= rank) {
            continue;
        }
        if entry.size() > MAX_BTF {
            return Err(Error::invalid(format!(
                "BTF file {name:?} is too large: {} bytes",
                entry.size()
            )));
        }
        let mut bytes = Vec::new();
        entry
            .take(MAX_BTF)
            .read_to_end(&mut bytes)
            .with_context(|| format!("reading BTF file {name:?}"))?;
        found = Some((rank, bytes));
        if rank == 0 {
            break;
        }
    }
    let Some((_, bytes)) = found else {
        let name = names.first().map(String::as_str).unwrap_or_default();
        return Err(
            Error::not_found(format!("BTF file {name:?} not found")).with_hint(format!(
                "the image has none for this kernel: give it with --btf FILE or as {}/{}",
                KernelBtf::DIRECTORY,
                Machine::file_name()
            )),
        );
    };
    let btf = KernelBtf::from_bytes(bytes);
    btf.parse()?;
    Ok(btf)
}

/// A path without `./`; `None` for one that leads elsewhere or is no text.
fn normal(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::testing::Builder;
    use super::*;

    fn machine() -> Machine {
        Machine {
            id: "debian".to_owned(),
            version_id: "9".to_owned(),
            machine: "x86_64".to_owned(),
            release: "4.9.0-13-amd64".to_owned(),
        }
    }

    fn btf(types: usize) -> Vec<u8> {
        let mut b = Builder::default();
        for _ in 0..types {
            b.int("int", 4, 1);
        }
        b.build()
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            // As it is: `append_data` would drop the `./`.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn types(files: &[(&str, &[u8])]) -> Result<u32> {
        let btf = find(&archive(files), &machine())?;
        Ok(btf.parse().unwrap().len())
    }

    #[test]
    fn both_names_are_found_and_the_nested_one_is_preferred() {
        let nested = "debian/9/x86_64/4.9.0-13-amd64.btf";
        let (one, two) = (btf(1), btf(2));
        assert_eq!(types(&[("a.btf", &one), (nested, &two)]).unwrap(), 2);
        assert_eq!(types(&[("./4.9.0-13-amd64.btf", &one)]).unwrap(), 1);
        assert_eq!(types(&[("4.9.0-13-amd64.btf", &one), (nested, &two)]).unwrap(), 2);
        assert_eq!(types(&[(nested, &two), ("4.9.0-13-amd64.btf", &one)]).unwrap(), 2);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let one = btf(1);
        for name in [
            "debian/9/arm64/4.9.0-13-amd64.btf",
            "../4.9.0-13-amd64.btf",
            "4.9.0.btf",
        ] {
            let error = types(&[(name, &one)]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "getting BTF file: BTF file \"debian/9/x86_64/4.9.0-13-amd64.btf\" not found"
            );
            assert!(error.hint().is_some_and(|hint| hint.contains("--btf")));
        }
    }

    #[test]
    fn damaged_archives_are_errors() {
        assert!(find(b"no gzip", &machine()).is_err());
        assert!(types(&[("./4.9.0-13-amd64.btf", b"no BTF")]).is_err());
        let whole = archive(&[("./4.9.0-13-amd64.btf", &btf(100))]);
        assert!(find(&whole[..whole.len() / 2], &machine()).is_err());
        let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
        bomb.write_all(&[1; 4096]).unwrap();
        assert!(find(&bomb.finish().unwrap(), &machine()).is_err());
    }

    #[test]
    fn os_release_is_read_as_upstream_reads_it() {
        let both = ("ubuntu".to_owned(), "20.04".to_owned());
        assert_eq!(os_release("NAME=x\nID=ubuntu\nVERSION_ID=\"20.04\"\n").unwrap(), both);
        for incomplete in [
            "",
            "ID=arch\n",
            "VERSION_ID=\"1\"\nID=\n",
            "ID_LIKE=debian\nVERSION_ID=1",
        ] {
            let error = os_release(incomplete).unwrap_err().to_string();
            assert_eq!(error, "os-release file is incomplete", "{incomplete}");
        }
    }
}
