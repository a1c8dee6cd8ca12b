//! The kernel's BTF: where it comes from, read once for everybody who needs it.
//!
//! A kernel that was built with `CONFIG_DEBUG_INFO_BTF` shows it. For one that was not it can be given: a file that the user names, or one
//! of the [directory](KernelBtf::DIRECTORY) for that. What an image brings is for its own object only, see
//! [`archive`](super::archive).

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::Btf;
use super::archive::Machine;
use super::mapping::Mapping;
use crate::{Error, Result, ResultExt};

/// The kernel's BTF in memory.
#[derive(Debug)]
pub struct KernelBtf {
    bytes: Bytes,
    origin: Origin,
    /// Where the types begin, once somebody has looked; `None` if that fails.
    offsets: OnceLock<Option<Vec<u32>>>,
}

/// Where BTF comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The running kernel shows it.
    Kernel,
    /// A file, in place of what the kernel shows or because it shows nothing.
    File(PathBuf),
    /// Bytes that somebody had.
    Memory,
}

/// What [`KernelBtf::running`] gave last.
static RUNNING: Mutex<Running> = Mutex::new(Running {
    leases: 0,
    kept: None,
    last: Weak::new(),
    given: None,
});

struct Running {
    leases: usize,
    kept: Option<Arc<KernelBtf>>,
    last: Weak<KernelBtf>,
    /// In place of everything else.
    given: Option<Arc<KernelBtf>>,
}

/// While one of these exists, the BTF of the running kernel is read once only and kept; see [`KernelBtf::keep`].
#[derive(Debug)]
pub struct KeptBtf(());

impl Drop for KeptBtf {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.leases -= 1;
        if running.leases == 0 {
            running.kept = None;
        }
    }
}

#[derive(Debug)]
enum Bytes {
    /// Where it is in the kernel's own memory.
    Mapped(Mapping),
    /// A copy.
    Read(Vec<u8>),
}

impl KernelBtf {
    /// Where the kernel shows its BTF.
    pub const PATH: &str = "/sys/kernel/btf/vmlinux";

    /// Where BTF is looked for when the kernel shows none: `<ID>/<VERSION_ID>/<uname -m>/<uname -r>.btf`, as in os-release, or
    /// `<uname -r>.btf`.
    pub const DIRECTORY: &str = "/var/lib/ig/btf";

    /// The BTF of the running kernel, `None` if there is none. Who asks while others have it shares theirs.
    ///
    /// # Errors
    ///
    /// There is some that cannot be read.
    pub fn running() -> Result<Option<Arc<Self>>> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(given) = &running.given {
            return Ok(Some(Arc::clone(given)));
        }
        if let Some(btf) = running.last.upgrade() {
            return Ok(Some(btf));
        }
        let Some(btf) = Self::of_kernel()?.map_or_else(Self::of_directory, |btf| Ok(Some(btf)))? else {
            return Ok(None);
        };
        let btf = Arc::new(btf);
        running.last = Arc::downgrade(&btf);
        running.kept = (running.leases > 0).then(|| Arc::clone(&btf));
        Ok(Some(btf))
    }

    /// [`running`](Self::running), with an error that says where BTF can come from.
    ///
    /// # Errors
    ///
    /// There is none, or some that cannot be read.
    pub fn required() -> Result<Arc<Self>> {
        Self::running()?.ok_or_else(Self::missing)
    }

    /// What is said when there is no BTF.
    pub fn missing() -> Error {
        Error::unsupported(format!("this kernel does not show its types (no {})", Self::PATH)).with_hint(format!(
            "use a kernel of 5.4 or later that is built with CONFIG_DEBUG_INFO_BTF, or give its BTF with --btf FILE, as {}/{}, or in an \
             image that was built with --btfgen",
            Self::DIRECTORY,
            Machine::file_name()
        ))
    }

    /// What the kernel shows.
    fn of_kernel() -> Result<Option<Self>> {
        let read = || -> std::io::Result<Bytes> {
            let mut file = File::open(Self::PATH)?;
            if let Some(mapping) = Mapping::of_kernel_file(&file) {
                return Ok(Bytes::Mapped(mapping));
            }
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(Bytes::Read(bytes))
        };
        match read() {
            Ok(bytes) => Ok(Some(Self::new(bytes, Origin::Kernel))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(format!("reading {}", Self::PATH)),
        }
    }

    /// What the directory for that has.
    fn of_directory() -> Result<Option<Self>> {
        let names = Machine::this().map_or_else(|_| vec![Machine::file_name()], |machine| machine.names());
        let mut paths = names.iter().map(|name| Path::new(Self::DIRECTORY).join(name));
        match paths.find(|path| path.is_file()) {
            Some(path) => Self::from_file(&path).map(Some),
            None => Ok(None),
        }
    }

    /// Has everybody in this process get `btf`, whatever the kernel shows. What is attached by a number of the kernel's own BTF still
    /// needs that.
    pub fn give(btf: Self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).given = Some(Arc::new(btf));
    }

    /// Has what [`running`](Self::running) gives kept from its first call on, for as long as several are going to be made. It is
    /// megabytes large where the kernel cannot show it without a copy.
    pub fn keep() -> KeptBtf {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).leases += 1;
        KeptBtf(())
    }

    fn new(bytes: Bytes, origin: Origin) -> Self {
        Self {
            bytes,
            origin,
            offsets: OnceLock::new(),
        }
    }

    /// BTF that is in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::new(Bytes::Read(bytes), Origin::Memory)
    }

    /// Reads BTF from a file: as the kernel shows it, or the section `.BTF` of an ELF file such as `vmlinux`.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is neither.
    pub fn from_file(path: &Path) -> Result<Self> {
        let context = || format!("reading BTF from {}", path.display());
        let mut bytes = std::fs::read(path).with_context(context)?;
        if bytes.starts_with(b"\x7fELF") {
            bytes = section(&bytes).with_context(context)?;
        }
        let btf = Self::new(Bytes::Read(bytes), Origin::File(path.to_owned()));
        btf.parse().with_context(context)?;
        Ok(btf)
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether it is the kernel's own, beside which there may be that of modules.
    pub(super) fn is_shown_by_the_kernel(&self) -> bool {
        self.origin == Origin::Kernel
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(mapping) => mapping.bytes(),
            Bytes::Read(bytes) => bytes,
        }
    }

    /// A reader over it.
    pub fn parse(&self) -> Result<Btf<'_>> {
        let find = || Btf::sections(self.bytes()).and_then(|(types, _)| Btf::find_types(types));
        match self.offsets.get_or_init(|| find().ok()) {
            Some(offsets) => Btf::with_offsets(self.bytes(), offsets),
            // Once more, for the error.
            None => Btf::parse(self.bytes()),
        }
    }
}

/// The section `.BTF` of an ELF file.
fn section(elf: &[u8]) -> Result<Vec<u8>> {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(elf).map_err(|error| Error::invalid(error.to_string()))?;
    let section = file
        .section_by_name(".BTF")
        .ok_or_else(|| Error::invalid("the ELF file has no section .BTF"))?;
    let data = section.data().map_err(|error| Error::invalid(error.to_string()))?;
    Ok(data.to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Builder;
    use super::*;

    #[test]
    fn the_running_kernels_is_shared_while_it_is_in_use_or_kept() {
        let Some(first) = KernelBtf::running().unwrap() else {
            return;
        };
        assert!(Arc::ptr_eq(&first, &KernelBtf::running().unwrap().unwrap()));
        drop(first);
        let kept = KernelBtf::keep();
        let address = Arc::as_ptr(&KernelBtf::running().unwrap().unwrap());
        assert_eq!(Arc::as_ptr(&KernelBtf::running().unwrap().unwrap()), address);
        drop(kept);
    }

    #[test]
    fn a_mapping_shows_what_reading_shows() {
        // Where the kernel does not map its BTF, any file of an old time will do: what is shown must be what is there.
        let path = [KernelBtf::PATH, "/proc/self/exe"]
            .into_iter()
            .find(|path| File::open(path).is_ok_and(|file| Mapping::of_kernel_file(&file).is_some()))
            .unwrap();
        let mapping = Mapping::of_kernel_file(&File::open(path).unwrap()).unwrap();
        assert!(mapping.bytes() == std::fs::read(path).unwrap(), "{path}");
        let dir = tempfile::tempdir().unwrap();
        assert!(Mapping::of_kernel_file(&File::open(dir.path()).unwrap()).is_none());
    }

    #[test]
    fn files_are_checked_when_they_are_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.btf");
        let mut b = Builder::default();
        b.int("int", 4, 1);
        std::fs::write(&path, b.build()).unwrap();
        let btf = KernelBtf::from_file(&path).unwrap();
        assert_eq!(btf.origin(), &Origin::File(path.clone()));
        assert_eq!(btf.parse().unwrap().len(), 1);
        for (content, expected) in [(&b"text"[..], "some.btf"), (b"\x7fELF", "some.btf"), (b"", "some.btf")] {
            std::fs::write(&path, content).unwrap();
            let error = KernelBtf::from_file(&path).unwrap_err().to_string();
            assert!(
                error.starts_with("reading BTF from ") && error.contains(expected),
                "{error}"
            );
        }
        let program = std::fs::read("/proc/self/exe").unwrap();
        std::fs::write(&path, program).unwrap();
        let error = KernelBtf::from_file(&path).unwrap_err().to_string();
        assert!(error.ends_with("the ELF file has no section .BTF"), "{error}");
    }
}
