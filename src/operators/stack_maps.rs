//! The maps of stacks of a loaded object, for those who turn ids into addresses.

use std::sync::{Arc, PoisonError, RwLock};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::symbols::BuildIds;

/// Ids from here on are negative error numbers: there is no stack.
const FIRST_ERROR: u32 = 1 << 31;
/// Bytes of a `struct bpf_stack_build_id`: status, build id, offset or address.
const BUILD_ID_FRAME: usize = 32;
/// So many stacks that are not there are said one by one.
const SAID: usize = 10;

/// The maps; none before the object is loaded. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct StackMaps {
    inner: Arc<RwLock<Maps>>,
}

#[derive(Debug, Default)]
struct Maps {
    kernel: Option<MapHandle>,
    user: Option<MapHandle>,
    build_ids: Option<MapHandle>,
    lost: std::sync::atomic::AtomicUsize,
}

/// What the kernel found out of one frame's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFile {
    /// A build id and an offset in the file.
    BuildId([u8; 20], u64),
    /// Nothing but the address.
    Address(u64),
}

impl StackMaps {
    /// Sets the maps of kernel stacks, of user stacks and of build ids.
    pub fn set(&self, kernel: Option<MapHandle>, user: Option<MapHandle>, build_ids: Option<MapHandle>) {
        let mut maps = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        *maps = Maps {
            kernel,
            user,
            build_ids,
            ..Maps::default()
        };
    }

    /// The addresses of a kernel stack, the innermost first. `None` if there is none.
    pub fn kernel_stack(&self, id: u32) -> Option<Vec<u64>> {
        self.stack(id, |maps| maps.kernel.as_ref())
    }

    /// The addresses of a user stack, the innermost first. `None` if there is none.
    pub fn user_stack(&self, id: u32) -> Option<Vec<u64>> {
        self.stack(id, |maps| maps.user.as_ref())
    }

    fn stack(&self, id: u32, map: impl Fn(&Maps) -> Option<&MapHandle>) -> Option<Vec<u64>> {
        if id >= FIRST_ERROR {
            return None;
        }
        let maps = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let found = map(&maps)?.lookup(&id.to_ne_bytes(), MapFlags::ANY);
        match found {
            Ok(Some(value)) => Some(addresses(&value)),
            Ok(None) => {
                maps.say_lost(id, "it is not in the map");
                None
            }
            Err(error) => {
                maps.say_lost(id, &error.to_string());
                None
            }
        }
    }

    /// What is known of the files of a user stack's frames; empty if that was not collected.
    pub fn frame_files(&self, id: u32) -> Vec<FrameFile> {
        let maps = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let found = maps
            .build_ids
            .as_ref()
            .and_then(|map| map.lookup(&id.to_ne_bytes(), MapFlags::ANY).ok().flatten());
        found.map_or_else(Vec::new, |value| frame_files(&value))
    }
}

impl Maps {
    fn say_lost(&self, id: u32, why: &str) {
        match self.lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            said if said < SAID => tracing::warn!("stack with ID {id} is lost: {why}"),
            SAID => tracing::warn!("more stacks are lost, which are not said any more"),
            _ => {}
        }
    }
}

/// The addresses up to the first 0.
fn addresses(value: &[u8]) -> Vec<u64> {
    value
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bytes| u64::from_ne_bytes(*bytes))
        .take_while(|address| *address != 0)
        .collect()
}

/// The frames up to the first empty one.
fn frame_files(value: &[u8]) -> Vec<FrameFile> {
    const BUILD_ID: i32 = 1;
    const ADDRESS: i32 = 2;

    value
        .as_chunks::<BUILD_ID_FRAME>()
        .0
        .iter()
        .map_while(|frame| {
            let status = i32::from_ne_bytes(frame[..4].try_into().ok()?);
            let number = u64::from_ne_bytes(frame[24..].try_into().ok()?);
            match status {
                BUILD_ID => Some(FrameFile::BuildId(frame[4..24].try_into().ok()?, number)),
                ADDRESS => Some(FrameFile::Address(number)),
                _ => None,
            }
        })
        .collect()
}

/// The same for whoever looks files up by it.
pub(super) fn build_ids(frames: &[FrameFile]) -> BuildIds {
    frames
        .iter()
        .map(|frame| match frame {
            FrameFile::BuildId(id, offset) => Some((*id, *offset)),
            FrameFile::Address(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_end_at_the_first_that_is_empty() {
        let frame = |status: i32, id: u8, number: u64| {
            let mut bytes = status.to_ne_bytes().to_vec();
            bytes.extend([id; 20]);
            bytes.extend(number.to_ne_bytes());
            bytes
        };
        let value = [frame(1, 0xab, 0x10), frame(2, 0, 0x20), frame(0, 0, 0), frame(1, 1, 1)].concat();
        let frames = frame_files(&value);
        assert_eq!(frames, [FrameFile::BuildId([0xab; 20], 0x10), FrameFile::Address(0x20)]);
        assert_eq!(build_ids(&frames), [Some(([0xab; 20], 0x10)), None]);
        assert!(frame_files(&value[..31]).is_empty());
        let addresses: Vec<u8> = [3_u64, 4, 0, 5].iter().flat_map(|a| a.to_ne_bytes()).collect();
        assert_eq!(super::addresses(&addresses), [3, 4]);
    }

    #[test]
    fn what_is_no_stack_is_not_looked_for() {
        let maps = StackMaps::default();
        assert_eq!(maps.user_stack(0xffff_fff2), None, "-EFAULT");
        assert_eq!(maps.kernel_stack(1), None, "nothing is loaded");
        assert!(maps.frame_files(1).is_empty());
    }
}
