//! The calls of bpf(2) that libbpf-rs has not got, or only with a copy of each entry.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libbpf_rs::{MapCore, MapHandle, MapType};
use libbpf_sys::{
    bpf_iter_create, bpf_map_delete_elem, bpf_map_get_next_key, bpf_map_lookup_and_delete_batch,
    bpf_map_lookup_and_delete_elem, bpf_map_lookup_elem,
};

use crate::{Error, Result, ResultExt};

/// Opens the iterator of `link` in the namespaces of this thread. Reading it runs the program.
pub(in crate::ebpf) fn open_iterator(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: only takes a descriptor, which is open.
    let fd = check(unsafe { bpf_iter_create(link.as_raw_fd()) })?;
    // SAFETY: the call made it for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A map of type `BPF_MAP_TYPE_HASH`, whose entries have the sizes that the map declares.
#[derive(Debug)]
pub(super) struct HashMap {
    fd: OwnedFd,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
}

/// Where a batch begins; the kernel's own business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor(u32);

impl HashMap {
    /// # Errors
    ///
    /// When the map is of another type: the kernel writes other sizes there.
    pub(super) fn new(map: &MapHandle) -> Result<Self> {
        let name = map.name().to_string_lossy();
        if map.map_type() != MapType::Hash {
            return Err(Error::invalid(format!("map {name:?} is not a hash map")));
        }
        if map.key_size() == 0 || map.value_size() == 0 {
            return Err(Error::invalid(format!("map {name:?} has no keys or no values")));
        }
        Ok(Self {
            fd: map
                .as_fd()
                .try_clone_to_owned()
                .with_context(|| format!("map {name:?}"))?,
            key_size: map.key_size() as usize,
            value_size: map.value_size() as usize,
            max_entries: map.max_entries(),
        })
    }

    pub(super) fn key_size(&self) -> usize {
        self.key_size
    }

    pub(super) fn value_size(&self) -> usize {
        self.value_size
    }

    pub(super) fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Takes up to as many entries as `keys` and `values` have room for out of the map. Returns how many it were, also when it fails.
    pub(super) fn take_batch(
        &self,
        from: Option<Cursor>,
        to: &mut Cursor,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> (usize, io::Result<()>) {
        let room = (keys.len() / self.key_size).min(values.len() / self.value_size);
        let mut count = u32::try_from(room).unwrap_or(u32::MAX);
        let mut from = from;
        let in_batch = from
            .as_mut()
            .map_or(ptr::null_mut(), |Cursor(from)| ptr::from_mut(from).cast());
        // SAFETY: keys and values have room for `count` entries of the map's sizes; the cursors of hash maps are 4 bytes
        // whatever the size of a key. All live until the call returns.
        let ret = unsafe {
            bpf_map_lookup_and_delete_batch(
                self.fd.as_raw_fd(),
                in_batch,
                ptr::from_mut(&mut to.0).cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &raw mut count,
                ptr::null(),
            )
        };
        // A kernel that does not know the command leaves the count as it was.
        let result = check(ret).map(drop);
        let known = match &result {
            Ok(()) => true,
            Err(error) => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOSPC | libc::EINTR)),
        };
        let taken = if known { (count as usize).min(room) } else { 0 };
        (taken, result)
    }

    /// The key after `key`, or the first one. `false` when there is none.
    pub(super) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
        assert!(next.len() >= self.key_size && key.is_none_or(|key| key.len() >= self.key_size));
        let key = key.map_or(ptr::null(), |key| key.as_ptr().cast());
        // SAFETY: both have room for a key.
        found(unsafe { bpf_map_get_next_key(self.fd.as_raw_fd(), key, next.as_mut_ptr().cast()) })
    }

    /// Takes one entry out of the map in one step. `false` when it is not there.
    pub(super) fn take(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        assert!(key.len() >= self.key_size && value.len() >= self.value_size);
        // SAFETY: there is a key, and room for a value.
        found(unsafe {
            bpf_map_lookup_and_delete_elem(self.fd.as_raw_fd(), key.as_ptr().cast(), value.as_mut_ptr().cast())
        })
    }

    /// Reads one entry. `false` when it is not there.
    pub(super) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        assert!(key.len() >= self.key_size && value.len() >= self.value_size);
        // SAFETY: there is a key, and room for a value.
        found(unsafe { bpf_map_lookup_elem(self.fd.as_raw_fd(), key.as_ptr().cast(), value.as_mut_ptr().cast()) })
    }

    /// Deletes one entry. `false` when it is not there.
    pub(super) fn delete(&self, key: &[u8]) -> io::Result<bool> {
        assert!(key.len() >= self.key_size);
        // SAFETY: there is a key.
        found(unsafe { bpf_map_delete_elem(self.fd.as_raw_fd(), key.as_ptr().cast()) })
    }
}

/// libbpf returns the negative error number.
fn check(ret: i32) -> io::Result<i32> {
    if ret < 0 {
        Err(io::Error::from_raw_os_error(-ret))
    } else {
        Ok(ret)
    }
}

fn found(ret: i32) -> io::Result<bool> {
    match check(ret) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
