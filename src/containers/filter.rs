//! The mount-namespace filter: the kernel's set of namespaces that a run is interested in.
//!
//! A gadget only asks whether a namespace is in its filter map. The value tells whether the namespace is there because it
//! is selected or because it is not decided yet; it is for us, the kernel side does not look at it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use tracing::{debug, warn};

use super::namespace::Decision;
use super::{Container, Selector};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Value of a namespace that is selected.
pub(super) const SELECTED: u32 = 1;
/// Value of a namespace that may yet turn out to be selected or not.
pub(super) const UNDECIDED: u32 = 2;

/// Fewer entries than upstream's maps have would surprise.
const MIN_ENTRIES: u32 = 1024;
/// Enough for nearly every host.
pub(super) const SPARE_ENTRIES: u32 = 4096;
const MAX_ENTRIES: u32 = 1 << 20;

/// The mount namespaces of the containers that a [`Selector`] selects, as a BPF map that is kept up to date while this
/// value lives.
///
/// The map (hash, u64 namespace → u32) takes the place of a gadget's own `gadget_mntns_filter_map`. It also holds
/// namespaces that are too new to be decided; their events have to wait for the [decision](super::Namespace::decision).
#[derive(Debug)]
pub struct MntnsFilter {
    pub(super) state: Arc<FilterState>,
    pub(super) map: MapHandle,
    pub(super) _registration: Option<super::collection::Registration>,
}

impl MntnsFilter {
    /// The map, to be put in place of a gadget's own before that is loaded.
    pub fn map(&self) -> &MapHandle {
        &self.map
    }

    /// Whether `container` is one that is selected.
    pub fn selected(&self, container: &Container) -> bool {
        self.state.selects(container)
    }

    /// Whether a namespace did not fit into the map, so that some events of selected containers were not seen.
    pub fn overflowed(&self) -> bool {
        self.state.overflowed.load(Ordering::Relaxed)
    }
}

impl AsFd for MntnsFilter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// A set of mount namespaces with a value each. The real one is a BPF map.
pub(super) trait NamespaceSet: Send + Sync + std::fmt::Debug {
    /// Sets the value of `mntns`; unless `replace`, only when it is not in the set.
    fn insert(&self, mntns: u64, value: u32, replace: bool) -> Result<()>;
    /// Takes `mntns` out of the set.
    fn remove(&self, mntns: u64);
}

/// What the collection keeps of a filter.
#[derive(Debug)]
pub(super) struct FilterState {
    selector: Selector,
    set: Box<dyn NamespaceSet>,
    overflowed: AtomicBool,
}

impl FilterState {
    pub(super) fn new(selector: Selector, set: Box<dyn NamespaceSet>) -> Arc<Self> {
        Arc::new(Self {
            selector,
            set,
            overflowed: AtomicBool::new(false),
        })
    }

    pub(super) fn selects(&self, container: &Container) -> bool {
        !container.is_nameless() && self.selector.matches(container)
    }

    /// Puts `mntns` into the set, unless it is in there.
    pub(super) fn insert(&self, mntns: u64, value: u32) {
        self.count(self.set.insert(mntns, value, false));
    }

    /// Takes `mntns` out of the set.
    pub(super) fn remove(&self, mntns: u64) {
        self.set.remove(mntns);
    }

    /// Makes the set agree with a decision.
    pub(super) fn apply(&self, mntns: u64, decision: &Decision) {
        match decision {
            Decision::Container(container) if self.selects(container) => {
                self.count(self.set.insert(mntns, SELECTED, true));
            }
            _ => self.set.remove(mntns),
        }
    }

    fn count(&self, result: Result<()>) {
        if let Err(error) = result {
            debug!("adding to the mount namespace filter: {error}");
            self.overflow();
        }
    }

    /// Notes that a namespace did not fit, and says so the first time.
    pub(super) fn overflow(&self) {
        if !self.overflowed.swap(true, Ordering::Relaxed) {
            warn!("the mount namespace filter is full");
        }
    }
}

/// How many entries a filter needs that has room for `containers` containers and what may come.
pub(super) fn entries(containers: usize, hint: u32) -> u32 {
    let wanted = u32::try_from(containers.saturating_mul(4)).unwrap_or(MAX_ENTRIES);
    wanted.max(hint).clamp(MIN_ENTRIES, MAX_ENTRIES)
}

/// Creates the BPF map of a filter.
pub(super) fn create_map(entries: u32) -> Result<MapHandle> {
    let opts = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    // Preallocated: a program that runs in any context may insert.
    MapHandle::create(MapType::Hash, Some("ig_mntns_filter"), 8, 4, entries, &opts)
        .map_err(bpf_error)
        .context("creating the mount namespace filter map")
}

/// A BPF map as a set of namespaces.
#[derive(Debug)]
pub(super) struct KernelSet(pub(super) MapHandle);

impl KernelSet {
    /// The namespaces in the set.
    pub(super) fn keys(&self) -> Vec<u64> {
        self.0
            .keys()
            .filter_map(|key| Some(u64::from_ne_bytes(key.try_into().ok()?)))
            .collect()
    }
}

impl NamespaceSet for KernelSet {
    fn insert(&self, mntns: u64, value: u32, replace: bool) -> Result<()> {
        let flags = if replace { MapFlags::ANY } else { MapFlags::NO_EXIST };
        match self.0.update(&mntns.to_ne_bytes(), &value.to_ne_bytes(), flags) {
            Err(error) if !replace && error.kind() == libbpf_rs::ErrorKind::AlreadyExists => Ok(()),
            result => result.map_err(bpf_error),
        }
    }

    fn remove(&self, mntns: u64) {
        // Fails when it is not there, which is as well.
        let _ = self.0.delete(&mntns.to_ne_bytes());
    }
}

/// Our error for one of libbpf's.
pub(super) fn bpf_error(error: libbpf_rs::Error) -> Error {
    let kind = match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => ErrorKind::Permission,
        libbpf_rs::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Io,
    };
    Error::from_source(kind, error)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    /// A set in plain memory, with room for a given number of namespaces.
    #[derive(Debug, Clone)]
    pub(in crate::containers) struct MemorySet {
        pub(in crate::containers) map: Arc<Mutex<BTreeMap<u64, u32>>>,
        room: usize,
    }

    impl MemorySet {
        pub(in crate::containers) fn new(room: usize) -> Self {
            Self {
                map: Arc::default(),
                room,
            }
        }

        pub(in crate::containers) fn get(&self, mntns: u64) -> Option<u32> {
            self.map.lock().unwrap().get(&mntns).copied()
        }
    }

    impl NamespaceSet for MemorySet {
        fn insert(&self, mntns: u64, value: u32, replace: bool) -> Result<()> {
            let mut map = self.map.lock().unwrap();
            if map.contains_key(&mntns) && !replace {
                return Ok(());
            }
            if map.len() == self.room && !map.contains_key(&mntns) {
                return Err(Error::new(ErrorKind::Io, "full"));
            }
            map.insert(mntns, value);
            Ok(())
        }

        fn remove(&self, mntns: u64) {
            self.map.lock().unwrap().remove(&mntns);
        }
    }

    #[test]
    fn a_full_set_is_noted() {
        let set = MemorySet::new(1);
        let state = FilterState::new(Selector::default(), Box::new(set.clone()));
        state.insert(1, UNDECIDED);
        state.insert(1, UNDECIDED);
        assert!(!state.overflowed.load(Ordering::Relaxed));
        state.insert(2, UNDECIDED);
        assert!(state.overflowed.load(Ordering::Relaxed));
        assert_eq!((set.get(1), set.get(2)), (Some(UNDECIDED), None));
    }

    #[test]
    fn nameless_containers_are_never_selected() {
        let state = FilterState::new(Selector::default(), Box::new(MemorySet::new(1)));
        let mut container = Container::default();
        assert!(!state.selects(&container));
        container.k8s.container_name = "c".into();
        assert!(state.selects(&container));
    }
}
