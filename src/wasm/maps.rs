//! Maps of the kernel as guests have them.

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use super::host::{Answer, Refusal};
use super::limits::KEPT_BYTES;

/// The last type of map that is known. A newer one might hand descriptors to the guest.
const LAST_TYPE: u32 = 33;

/// A map, and whether the guest made it.
#[derive(Debug)]
pub(super) struct GuestMap {
    pub(super) map: MapHandle,
    pub(super) own: bool,
    /// Bytes of the kernel's memory that it may take, if the guest made it.
    pub(super) bytes: usize,
}

/// What a map holds.
pub(super) enum Found {
    /// The value's bytes.
    Value(Vec<u8>),
    /// A map.
    Inner(MapHandle),
    /// There is no such key.
    Nothing,
}

/// The type of map with this number.
pub(super) fn map_type(number: u32) -> Answer<MapType> {
    match number <= LAST_TYPE {
        true => Ok(MapType::from(number)),
        false => Err(format!("unknown type of map: {number}").into()),
    }
}

fn known(map: &MapHandle) -> Answer<()> {
    match map.map_type() {
        MapType::Unknown => Err("the map is of a type that is not known".into()),
        _ => Ok(()),
    }
}

/// Whether values of the map are descriptors of something else than maps.
fn has_descriptors(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::ProgArray | MapType::PerfEventArray | MapType::CgroupArray
    )
}

fn is_of_maps(map_type: MapType) -> bool {
    matches!(map_type, MapType::ArrayOfMaps | MapType::HashOfMaps)
}

impl GuestMap {
    /// A map of the gadget's object, or one that another map holds.
    pub(super) fn of(map: MapHandle) -> Answer<Self> {
        known(&map)?;
        Ok(Self {
            map,
            own: false,
            bytes: 0,
        })
    }

    /// A new map.
    pub(super) fn create(name: &str, number: u32, key: u32, value: u32, entries: u32) -> Answer<Self> {
        let map_type = map_type(number)?;
        let (key, value) = match map_type {
            MapType::PerfEventArray if [0, 4].contains(&key) && [0, 4].contains(&value) => (4, 4),
            MapType::PerfEventArray => return Err("keys and values of a perf event array have 4 bytes".into()),
            MapType::ArrayOfMaps | MapType::HashOfMaps => return Err("maps of maps cannot be made".into()),
            _ => (key, value),
        };
        let entries = match map_type {
            MapType::PerfEventArray | MapType::Cpumap => match cpus()? {
                cpus if entries == 0 || entries > cpus => cpus,
                _ => entries,
            },
            _ => entries,
        };
        let bytes = memory_of(map_type, key, value, entries)?;
        if bytes > KEPT_BYTES {
            return Err(format!("a map of {bytes} bytes is more than a guest may have").into());
        }
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let name = kernel_name(name);
        let map = MapHandle::create(map_type, Some(&name), key, value, entries, &options)?;
        Ok(Self { map, own: true, bytes })
    }

    fn usable(&self) -> Answer<MapType> {
        known(&self.map)?;
        let map_type = self.map.map_type();
        match has_descriptors(map_type) {
            true => Err(format!("maps of type {map_type:?} hold what guests must not see").into()),
            false => Ok(map_type),
        }
    }

    /// Looks a key up.
    pub(super) fn lookup(&self, key: &[u8]) -> Answer<Found> {
        let map_type = self.usable()?;
        if map_type.is_percpu() {
            let Some(values) = self.map.lookup_percpu(key, MapFlags::ANY)? else {
                return Ok(Found::Nothing);
            };
            let mut image = Vec::new();
            for mut value in values {
                value.resize(value.len().next_multiple_of(8), 0);
                image.extend_from_slice(&value);
            }
            return Ok(Found::Value(image));
        }
        let Some(value) = self.map.lookup(key, MapFlags::ANY)? else {
            return match is_of_maps(map_type) {
                true => Err("there is no such key".into()),
                false => Ok(Found::Nothing),
            };
        };
        match (is_of_maps(map_type), <[u8; 4]>::try_from(value.as_slice())) {
            (true, Ok(id)) => Ok(Found::Inner(MapHandle::from_map_id(u32::from_ne_bytes(id))?)),
            _ => Ok(Found::Value(value)),
        }
    }

    /// Whether the values are maps.
    pub(super) fn holds_maps(&self) -> bool {
        is_of_maps(self.map.map_type())
    }

    /// Sets the value of a key.
    pub(super) fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Answer<()> {
        let map_type = self.usable()?;
        let flags = MapFlags::from_bits_retain(flags);
        if !map_type.is_percpu() {
            return Ok(self.map.update(key, value, flags)?);
        }
        let (size, cpus) = (self.map.value_size() as usize, cpus()? as usize);
        let padded = size.next_multiple_of(8);
        let values: Vec<Vec<u8>> = if value.len() == padded * cpus {
            let images = value.chunks_exact(padded);
            images.map(|image| image.iter().take(size).copied().collect()).collect()
        } else if size == 1 && value.len() <= cpus {
            let missing = std::iter::repeat_n(0, cpus - value.len());
            value.iter().copied().chain(missing).map(|byte| vec![byte]).collect()
        } else {
            return Err(format!("a value of {} bytes per CPU has {} bytes", size, padded * cpus).into());
        };
        Ok(self.map.update_percpu(key, &values, flags)?)
    }

    /// Removes a key.
    pub(super) fn delete(&self, key: &[u8]) -> Answer<()> {
        self.usable()?;
        Ok(self.map.delete(key)?)
    }
}

/// How many CPUs there can be.
pub(super) fn cpus() -> Answer<u32> {
    let cpus = libbpf_rs::num_possible_cpus().map_err(Refusal::from)?;
    Ok(u32::try_from(cpus).unwrap_or(u32::MAX))
}

/// About how much memory the kernel takes for a map.
fn memory_of(map_type: MapType, key: u32, value: u32, entries: u32) -> Answer<usize> {
    /// What the kernel adds to each entry.
    const ENTRY: usize = 64;
    let (key, value, entries) = (key as usize, value as usize, entries as usize);
    Ok(match map_type {
        MapType::RingBuf | MapType::UserRingBuf => entries,
        // Pages.
        MapType::Arena => entries.saturating_mul(4096),
        _ if map_type.is_percpu() => value
            .saturating_mul(cpus()? as usize)
            .saturating_add(key + ENTRY)
            .saturating_mul(entries),
        _ => value.saturating_add(key + ENTRY).saturating_mul(entries),
    })
}

/// What the kernel takes of a name.
fn kernel_name(name: &str) -> String {
    const LONGEST: usize = 15;
    let allowed = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '.');
    allowed.take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_kernel_takes() {
        assert_eq!(kernel_name("perf_buffer_4026531840"), "perf_buffer_402");
        assert_eq!(kernel_name("a-b c\0d/é.x"), "abcd.x");
        assert_eq!(kernel_name(""), "");
    }

    #[test]
    fn types_that_are_not_known_are_refused() {
        assert!(map_type(33).is_ok());
        assert!(map_type(34).is_err());
    }
}
