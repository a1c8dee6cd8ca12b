//! BTF that libbpf is given in place of the kernel's.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{CoreRelocations, KernelBtf, MinimalOptions, minimal};
use crate::{Result, ResultExt};

/// BTF in a memory file, which libbpf opens by path.
pub(crate) struct CustomBtf {
    file: File,
}

impl CustomBtf {
    /// Of these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self> {
        let fd = memfd_create(c"ig-btf", MFdFlags::MFD_CLOEXEC).context("creating a memory file for BTF")?;
        let mut file = File::from(fd);
        file.write_all(bytes).context("writing BTF")?;
        Ok(Self { file })
    }

    /// With these types of the running kernel, and what they are made of. `None` if some may be in modules.
    ///
    /// A type that this kernel does not have is left out: what needs it fails to load, and does not go wrong.
    pub(crate) fn of_kernel(types: &[&str]) -> Result<Option<Self>> {
        let wanted = CoreRelocations {
            names: types.iter().map(|name| (*name).to_owned()).collect(),
            ..CoreRelocations::default()
        };
        let bytes = minimal(&*KernelBtf::required()?, &wanted, MinimalOptions::default())?;
        bytes.map(|bytes| Self::new(&bytes)).transpose()
    }

    /// Where libbpf finds it, as long as this lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}
