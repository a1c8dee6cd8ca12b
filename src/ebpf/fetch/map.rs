//! Emptying a hash map that programs go on writing.
//!
//! Each entry leaves the map exactly once, in one step of the kernel under the lock of its bucket: no entry is delivered twice, and
//! one that is put in while the map is being emptied is either delivered now or stays for the next time. What no reader can help is
//! a program that has looked an entry up before it was taken and adds to it afterwards: that one addition is lost. Counts are
//! exact whenever no program is at work at the moment of the fetch, and otherwise off by at most one addition per CPU.
//!
//! Kernels before 5.6 cannot take many entries at once; kernels before 5.14 cannot take a single one of a hash map in one step:
//! there it is looked up and then deleted, and what is added in between is lost.

use std::io;

use libbpf_rs::MapHandle;

use super::sys::{Cursor, HashMap};
use crate::{Error, ErrorKind, Result};

/// Entries per call. More than a few thousand gains nothing.
const BATCH: usize = 4096;
/// A batch of large entries takes at most about this many bytes.
const BATCH_BYTES: usize = 1 << 20;

/// Of the kernel's own, not in any header for programs.
const ENOTSUPP: i32 = 524;

/// How entries are taken out of a map, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Many with one call (Linux 5.6).
    Batch,
    /// One by one (Linux 5.14).
    Each,
    /// Each looked up, then deleted.
    LookupThenDelete,
}

/// Takes everything out of a hash map, again and again, with buffers that are reused.
#[derive(Debug)]
pub struct MapDrain {
    map: HashMap,
    method: Method,
    batch: usize,
    keys: Vec<u8>,
    values: Vec<u8>,
    /// A key and its value.
    entry: Vec<u8>,
}

impl MapDrain {
    /// Empties `map`, which must be of type `BPF_MAP_TYPE_HASH`.
    pub fn new(map: &MapHandle) -> Result<Self> {
        let map = HashMap::new(map)?;
        let entry_size = map.key_size() + map.value_size();
        let batch = (BATCH_BYTES / entry_size.max(1)).clamp(1, BATCH);
        Ok(Self {
            batch: batch.min(map.max_entries().max(1) as usize),
            method: Method::Batch,
            keys: Vec::new(),
            values: Vec::new(),
            entry: vec![0; entry_size],
            map,
        })
    }

    /// Begins with another method, and with `batch` entries per call.
    #[must_use]
    pub fn with_method(mut self, method: Method, batch: usize) -> Self {
        self.method = method;
        self.batch = batch.max(1);
        self
    }

    /// The method that the kernel has turned out to know.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Takes all entries out and hands on each, a key followed by its value.
    ///
    /// # Errors
    ///
    /// The kernel's. What was handed on until then is out of the map.
    pub fn drain(&mut self, mut entry: impl FnMut(&[u8])) -> Result<()> {
        let failed = |error: io::Error| Error::from_source(ErrorKind::Io, error);
        if self.method == Method::Batch && self.drain_batches(&mut entry).map_err(failed)? {
            return Ok(());
        }
        self.drain_each(&mut entry).map_err(failed)
    }

    /// `false` if the kernel does not know how.
    fn drain_batches(&mut self, entry: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        let (key_size, value_size) = (self.map.key_size(), self.map.value_size());
        let mut from = None;
        loop {
            self.keys.resize(self.batch * key_size, 0);
            self.values.resize(self.batch * value_size, 0);
            let mut to = Cursor::default();
            let (taken, result) = self.map.take_batch(from, &mut to, &mut self.keys, &mut self.values);
            let keys = self.keys.chunks_exact(key_size);
            for (key, value) in keys.zip(self.values.chunks_exact(value_size)).take(taken) {
                let (to_key, to_value) = self.entry.split_at_mut(key_size);
                to_key.copy_from_slice(key);
                to_value.copy_from_slice(value);
                entry(&self.entry);
            }
            let Err(error) = result else {
                from = Some(to);
                continue;
            };
            match error.raw_os_error() {
                Some(libc::ENOENT) => return Ok(true),
                // One bucket has more entries than a batch: they are taken together or not at all.
                Some(libc::ENOSPC) if self.batch < self.map.max_entries() as usize => self.batch *= 2,
                Some(libc::EINTR) => {}
                _ if from.is_none() && is_unknown(&error) => {
                    tracing::debug!("this kernel cannot take many entries out of a map at once: {error}");
                    self.method = Method::Each;
                    return Ok(false);
                }
                _ => return Err(error),
            }
        }
    }

    fn drain_each(&mut self, entry: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let key_size = self.map.key_size();
        let mut next = vec![0; key_size];
        if !self.map.next_key(None, &mut self.entry[..key_size])? {
            return Ok(());
        }
        // Programs may put entries in as fast as they are taken out; what comes later is for the next time.
        for _ in 0..u64::from(self.map.max_entries()) * 2 {
            // While the entry is still there: after one that is gone the kernel begins with the first again.
            let more = self.map.next_key(Some(&self.entry[..key_size]), &mut next)?;
            if self.take_entry()? {
                entry(&self.entry);
            }
            if !more {
                break;
            }
            self.entry[..key_size].copy_from_slice(&next);
        }
        Ok(())
    }

    /// Takes the entry whose key is in `self.entry` out of the map. `false` when it is not there any more.
    fn take_entry(&mut self) -> io::Result<bool> {
        let (key, value) = self.entry.split_at_mut(self.map.key_size());
        if self.method != Method::LookupThenDelete {
            match self.map.take(key, value) {
                Err(error) if is_unknown(&error) => {
                    tracing::debug!("this kernel cannot take an entry out of a map in one step: {error}");
                    self.method = Method::LookupThenDelete;
                }
                taken => return taken,
            }
        }
        Ok(self.map.lookup(key, value)? && self.map.delete(key)?)
    }
}

/// Whether the kernel does not know the command, or not for hash maps.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP))
}
