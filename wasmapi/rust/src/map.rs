//! eBPF maps.

use crate::helpers::{any_to_buf_ptr, any_to_buf_ptr_mut, string_to_buf_ptr};
use crate::host;

/// What functions of this module return.
pub type Result<T> = std::result::Result<T, String>;

/// The kernel's types of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum MapType {
    UnspecifiedMap = 0,
    Hash,
    Array,
    ProgramArray,
    PerfEventArray,
    PerCPUHash,
    PerCPUArray,
    StackTrace,
    CGroupArray,
    LRUHash,
    LRUCPUHash,
    LPMTrie,
    ArrayOfMaps,
    HashOfMaps,
    DevMap,
    SockMap,
    CPUMap,
    XSKMap,
    SockHash,
    CGroupStorage,
    ReusePortSockArray,
    PerCPUCGroupStorage,
    Queue,
    Stack,
    SkStorage,
    DevMapHash,
    StructOpsMap,
    RingBuf,
    InodeStorage,
    TaskStorage,
    BloomFilter,
    UserRingbuf,
    CgroupStorage,
    Arena,
}

/// What an update may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum MapUpdateFlags {
    /// Add or replace.
    UpdateAny = 0,
    /// Only add.
    UpdateNoExist = 1,
    /// Only replace.
    UpdateExist = 2,
    /// Under the lock of the value.
    UpdateLock = 4,
}

/// What a new map is to be.
#[derive(Clone, Debug)]
pub struct MapSpec {
    /// Its name.
    pub name: String,
    /// Its type.
    pub typ: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// How many entries it has room for.
    pub max_entries: u32,
}

/// A map. One that was made with [`new`](Self::new) is closed when dropped. As a value it is put into maps of maps, and read from
/// them; such an inner map is given up with [`release_handle`](crate::handle::release_handle).
#[derive(Debug, Default)]
#[repr(C)]
pub struct Map {
    /// The host's number for it.
    pub handle: u32,
    created: bool,
}

impl From<&Map> for u32 {
    fn from(map: &Map) -> u32 {
        map.handle
    }
}

fn check(status: u32, what: &str) -> Result<()> {
    match status {
        0 => Ok(()),
        _ => Err(format!("{what} a map failed")),
    }
}

impl Map {
    /// A map of the gadget's own.
    pub fn new(spec: &MapSpec) -> Result<Self> {
        let name = string_to_buf_ptr(&spec.name).0;
        match host::new_map(name, spec.typ as u32, spec.key_size, spec.value_size, spec.max_entries) {
            0 => Err(format!("creating map {:?} failed", spec.name)),
            handle => Ok(Self { handle, created: true }),
        }
    }

    /// A map of the gadget's eBPF program. They are there from `gadgetStart` on.
    pub fn get(name: &str) -> Result<Self> {
        match host::get_map(string_to_buf_ptr(name).0) {
            0 => Err(format!("getting map {name:?} failed")),
            handle => Ok(Self { handle, created: false }),
        }
    }

    /// Looks a key up. A key that is not there leaves `value` as it is, and is no error.
    ///
    /// Keys and values are taken as they are in memory: both types must be `#[repr(C)]` without padding, and any bytes a `U`.
    pub fn lookup<T, U>(&self, key: &T, value: &mut U) -> Result<()> {
        let status = host::map_lookup(self.handle, any_to_buf_ptr(key).0, any_to_buf_ptr_mut(value).0);
        check(status, "looking up a key in")
    }

    /// Sets the value of a key.
    pub fn put<T, U>(&self, key: &T, value: &U) -> Result<()> {
        self.update(key, value, MapUpdateFlags::UpdateAny)
    }

    /// Sets the value of a key, if `flags` allow it.
    pub fn update<T, U>(&self, key: &T, value: &U, flags: MapUpdateFlags) -> Result<()> {
        let (key, value) = (any_to_buf_ptr(key).0, any_to_buf_ptr(value).0);
        check(host::map_update(self.handle, key, value, flags as u64), "updating")
    }

    /// Removes a key, which must be there.
    pub fn delete<T>(&self, key: &T) -> Result<()> {
        check(host::map_delete(self.handle, any_to_buf_ptr(key).0), "deleting a key of")
    }

    /// Closes a map of the gadget's own, and says whether that went well.
    pub fn close(mut self) -> Result<()> {
        self.created = false;
        check(host::map_release(self.handle), "closing")
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if self.created {
            host::map_release(self.handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_eight_bytes_with_the_handle_first() {
        assert_eq!(size_of::<Map>(), 8);
        assert_eq!(std::mem::offset_of!(Map, handle), 0);
        assert_eq!(MapType::Arena as u32, 33);
        assert_eq!(MapType::PerfEventArray as u32, 4);
    }
}
