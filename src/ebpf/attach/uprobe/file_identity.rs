//! Which files are the same one.
//!
//! Containers of one image share its files, each through an overlay of its own, in which device and inode numbers differ. The
//! kernel puts a probe on the one inode below, once per registration: registered by two containers, it would report
//! each call twice. So files are told apart by the inode that is mapped when they run.
//!
//! The kernel's iterator over mappings (Linux 5.12) tells which that is. Where it cannot be used, `/proc/self/maps` is asked, or for
//! files on overlayfs, which newer kernels do not show there as they are, number, size and times, which are those of the file below.

use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

use crate::ebpf::btf::CustomBtf;
use crate::{Error, ErrorKind, Result, ResultExt};

#[allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/mapped_inode.skel.rs"));
}

/// The types that the program looks into.
const TYPES: [&str; 6] = [
    "bpf_iter__task_vma",
    "bpf_iter_meta",
    "file",
    "seq_file",
    "task_struct",
    "vm_area_struct",
];
const ENTRY: usize = 16;

/// Stands for a file as long as that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FileId {
    /// The kernel's inode.
    Inode(u64),
    /// Device and number.
    Numbers(u64, u64),
    /// Number, size, and when it was changed: of a file on overlayfs.
    Overlaid(u64, i64, (i64, i64)),
}

/// How files are told apart on this kernel.
pub(super) enum Identifier {
    /// By an iterator over our own mappings.
    Iterator(OwnedFd),
    /// By the text in /proc.
    Maps,
}

impl Identifier {
    /// Takes the best way that there is.
    pub(super) fn new() -> Self {
        match load() {
            Ok(link) => Self::Iterator(link),
            Err(error) => {
                tracing::debug!("telling files apart by /proc/self/maps, because the kernel cannot be asked: {error}");
                Self::Maps
            }
        }
    }

    /// What `file` is. The answer holds as long as the file is open.
    pub(super) fn identify(&self, file: &File) -> Result<FileId> {
        let mapping = Mapping::of(file).context("mapping it")?;
        let found = match self {
            Self::Iterator(link) => mapped_inode(link, mapping.start()).context("reading the kernel's mappings"),
            Self::Maps if fstatfs(file)?.filesystem_type() == OVERLAYFS_SUPER_MAGIC => {
                let status = fstat(file)?;
                let changed = (status.st_ctime, status.st_ctime_nsec);
                Ok(Some(FileId::Overlaid(status.st_ino, status.st_size, changed)))
            }
            Self::Maps => mapped_numbers(mapping.start()).context("reading /proc/self/maps"),
        };
        found?.ok_or_else(|| Error::not_found("its mapping was not found"))
    }
}

/// The first page of a file, mapped but never touched.
struct Mapping {
    start: *mut libc::c_void,
}

impl Mapping {
    const SIZE: usize = 1;

    fn of(file: &File) -> Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice, which nobody reads or writes.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::SIZE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        match start {
            libc::MAP_FAILED => Err(Errno::last().into()),
            start => Ok(Self { start }),
        }
    }

    fn start(&self) -> u64 {
        self.start as u64
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it exists.
        unsafe { libc::munmap(self.start, Self::SIZE) };
    }
}

/// Loads the iterator and restricts it to this process where the kernel can.
fn load() -> Result<OwnedFd> {
    let error = |error: libbpf_rs::Error| Error::new(ErrorKind::Unsupported, error.to_string());
    let btf = CustomBtf::of_kernel(&TYPES)?;
    let mut storage = MaybeUninit::uninit();
    let mut builder = skel::MappedInodeSkelBuilder::default();
    if let Some(btf) = &btf {
        builder.obj_builder.btf_custom_path(btf.path()).map_err(error)?;
    }
    let (skel, log) = crate::ebpf::print::capture(|| builder.open(&mut storage).and_then(|open| open.load()));
    let skel = skel.map_err(error);
    let skel = skel.with_context(|| {
        log.cause()
            .unwrap_or_else(|| "loading the iterator over mappings".to_owned())
    })?;
    let program = skel.progs.ig_mapped_inode.as_fd();
    let own = std::process::id();
    iterator(program.as_raw_fd(), Some(own)).or_else(|_| iterator(program.as_raw_fd(), None))
}

fn iterator(program: i32, process: Option<u32>) -> Result<OwnedFd> {
    let mut info = libbpf_sys::bpf_iter_link_info::default();
    info.task.pid = process.unwrap_or_default();
    let mut options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    if process.is_some() {
        options.iter_info = &raw mut info;
        options.iter_info_len = size_of::<libbpf_sys::bpf_iter_link_info>() as u32;
    }
    // SAFETY: `options` and what it points to live until the call returns.
    let fd = unsafe { libbpf_sys::bpf_link_create(program, 0, libbpf_sys::BPF_TRACE_ITER, &raw const options) };
    owned(fd)
}

/// A descriptor that libbpf has just returned, or its negative error number.
fn owned(fd: i32) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::from_raw(-fd).into());
    }
    // SAFETY: the descriptor is new, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn mapped_inode(link: &OwnedFd, start: u64) -> Result<Option<FileId>> {
    // SAFETY: the call takes no memory of ours.
    let iterator = owned(unsafe { libbpf_sys::bpf_iter_create(link.as_raw_fd()) })?;
    let mut bytes = Vec::new();
    File::from(iterator).read_to_end(&mut bytes)?;
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).unwrap_or_default();
    let entry = bytes
        .chunks_exact(ENTRY)
        .map(|entry| entry.split_at(8))
        .find(|(address, _)| number(address) == start);
    Ok(entry.map(|(_, inode)| FileId::Inode(number(inode))))
}

fn mapped_numbers(start: u64) -> Result<Option<FileId>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let prefix = format!("{start:08x}-");
    let line = maps.lines().find(|line| line.starts_with(&prefix));
    Ok(line.and_then(|line| {
        // address, permissions, offset, device, inode
        let mut fields = line.split_whitespace().skip(3);
        let (major, minor) = fields.next()?.split_once(':')?;
        let device = u64::from_str_radix(major, 16).ok()? << 32 | u64::from_str_radix(minor, 16).ok()?;
        Some(FileId::Numbers(device, fields.next()?.parse().ok()?))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_mappings() {
        let dir = tempfile::tempdir().unwrap();
        let create = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, name).unwrap();
            File::open(path).unwrap()
        };
        let (one, other) = (create("one"), create("other"));
        let same = File::open(dir.path().join("one")).unwrap();
        let id = |file: &File| Identifier::Maps.identify(file).unwrap();
        assert_eq!(id(&one), id(&same));
        assert_ne!(id(&one), id(&other));
    }
}
