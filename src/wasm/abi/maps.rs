//! Maps.

use libbpf_rs::MapHandle;

use crate::wasm::handles::Object;
use crate::wasm::host::{Answer, Caller, Host, answer, bytes, status, store_bytes, text, wrong};
use crate::wasm::maps::{Found, GuestMap, map_type};

/// Any, no-exist, exist, lock.
const LAST_FLAG: u64 = 4;

fn map(host: &Host, handle: u32) -> Answer<&GuestMap> {
    match host.handles.get(handle) {
        Some(Object::Map(map)) => Ok(map),
        other => Err(wrong(handle, other, "map")),
    }
}

/// `newMap`: a map of the guest's own.
pub(in crate::wasm) fn new_map(
    mut caller: Caller<'_>,
    name: u64,
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
) -> u32 {
    let allowed = caller.data().may_use_kernel();
    let result = allowed
        .and_then(|()| map_type(kind))
        .and_then(|_| text(&mut caller, name))
        .and_then(|name| GuestMap::create(&name, kind, key_size, value_size, max_entries))
        .and_then(|map| caller.data_mut().open(Object::Map(map)));
    answer(&mut caller, "newMap", 0, result)
}

/// `getMap`: a map of the gadget's object.
pub(in crate::wasm) fn get_map(mut caller: Caller<'_>, name: u64) -> u32 {
    let result = text(&mut caller, name).and_then(|name| {
        let host = caller.data_mut();
        let map = host.maps.get(&name).ok_or_else(|| format!("map {name:?} not found"))?;
        let map = GuestMap::of(MapHandle::try_from(map)?)?;
        host.open(Object::Map(map))
    });
    answer(&mut caller, "getMap", 0, result)
}

/// `mapLookup`: the value of a key. A key that is not there leaves the buffer as it is.
pub(in crate::wasm) fn lookup(mut caller: Caller<'_>, handle: u32, key: u64, to: u64) -> u32 {
    let result = try_lookup(&mut caller, handle, key, to);
    status(&mut caller, "mapLookup", result)
}

fn try_lookup(caller: &mut Caller<'_>, handle: u32, key: u64, to: u64) -> Answer<()> {
    map(caller.data(), handle)?;
    let key = bytes(caller, key)?;
    match map(caller.data(), handle)?.lookup(&key)? {
        Found::Nothing => Ok(()),
        Found::Value(value) => store_bytes(caller, to, &value),
        Found::Inner(inner) => {
            // With all handles in use the guest gets the number of nothing.
            let inner = GuestMap::of(inner)?;
            let handle = caller.data_mut().open(Object::Map(inner)).unwrap_or(0);
            let stored = store_bytes(caller, to, &handle.to_le_bytes());
            if stored.is_err() && handle != 0 {
                caller.data_mut().close_handle(handle, "map", |_| true)?;
            }
            stored
        }
    }
}

/// `mapUpdate`: sets the value of a key.
pub(in crate::wasm) fn update(mut caller: Caller<'_>, handle: u32, key: u64, value: u64, flags: u64) -> u32 {
    let result = try_update(&mut caller, handle, key, value, flags);
    status(&mut caller, "mapUpdate", result)
}

fn try_update(caller: &mut Caller<'_>, handle: u32, key: u64, value: u64, flags: u64) -> Answer<()> {
    use std::os::fd::{AsFd, AsRawFd};

    if flags > LAST_FLAG {
        return Err(format!("unknown flags {flags}").into());
    }
    map(caller.data(), handle)?;
    let (key, value) = (bytes(caller, key)?, bytes(caller, value)?);
    let host = caller.data();
    let outer = map(host, handle)?;
    if !outer.holds_maps() {
        return outer.update(&key, &value, flags);
    }
    // What comes after the handle is the guest's business.
    let inner = value.first_chunk().ok_or("a map is given by a handle of 4 bytes")?;
    let inner = map(host, u32::from_le_bytes(*inner))?;
    outer.update(&key, &inner.map.as_fd().as_raw_fd().to_ne_bytes(), flags)
}

/// `mapDelete`: removes a key.
pub(in crate::wasm) fn delete(mut caller: Caller<'_>, handle: u32, key: u64) -> u32 {
    let result = map(caller.data(), handle)
        .map(drop)
        .and_then(|()| bytes(&mut caller, key))
        .and_then(|key| map(caller.data(), handle)?.delete(&key));
    status(&mut caller, "mapDelete", result)
}

/// `mapRelease`: closes a map that the guest made.
pub(in crate::wasm) fn release(mut caller: Caller<'_>, handle: u32) -> u32 {
    let own = |object: &Object| matches!(object, Object::Map(map) if map.own);
    let result = caller
        .data_mut()
        .close_handle(handle, "map of the guest's own", own)
        .map(drop);
    status(&mut caller, "mapRelease", result)
}

/// `releaseHandle`: forgets a handle.
pub(in crate::wasm) fn release_handle(mut caller: Caller<'_>, handle: u32) -> u32 {
    let result = caller.data_mut().close_handle(handle, "object", |_| true).map(drop);
    status(&mut caller, "releaseHandle", result)
}
