//! Reading an array map, whose entries are always there.

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::{Failure, OnRecord, Source};
use crate::{Error, ErrorKind, Result};

/// Reads the entries of an array that are not all zeroes.
#[derive(Debug)]
pub(super) struct ArrayReader {
    map: MapHandle,
    /// A key and its value.
    entry: Vec<u8>,
}

impl ArrayReader {
    pub(super) fn new(map: &MapHandle) -> Result<Self> {
        Ok(Self {
            map: MapHandle::try_from(map)
                .map_err(|error| Error::from_source(ErrorKind::Io, error).context(format!("map {:?}", map.name())))?,
            entry: Vec::new(),
        })
    }
}

impl Source for ArrayReader {
    fn fetch(&mut self, record: &mut OnRecord<'_>) -> Result<(), Failure> {
        for index in 0..self.map.max_entries() {
            let key = index.to_ne_bytes();
            let value = self.map.lookup(&key, MapFlags::ANY).map_err(|error| Failure {
                error: Error::from_source(ErrorKind::Io, error),
                keep: true,
            })?;
            let Some(value) = value.filter(|value| value.iter().any(|byte| *byte != 0)) else {
                continue;
            };
            self.entry.clear();
            self.entry.extend_from_slice(&key);
            self.entry.extend_from_slice(&value);
            record(&self.entry);
        }
        Ok(())
    }

    fn complaint(&self) -> &'static str {
        "error from map:"
    }
}
