//! The kernel hook: loads `bpf/container_hook.bpf.c` and reads its records.
//!
//! Attached programs and maps live as long as the [`Hook`]; libbpf's own object (and the copy of BTF in it) is let go as
//! soon as all is attached.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, MapType, PerfBuffer, PerfBufferBuilder, ProgramMut};
use tracing::{debug, warn};

use super::filter::bpf_error;
use super::id;
use super::options::HookBuffer;
use super::table::{Pending, Record, RecordKind};
use crate::ebpf::btf::{CustomBtf, KernelBtf};
use crate::ebpf::buffer::ring::Ring;
use crate::ebpf::features::Feature;
use crate::{Error, ErrorKind, Result, ResultExt};

#[allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/container_hook.skel.rs"));
}

/// How many filter maps the hook can feed.
pub(super) const FILTERS: usize = 16;
/// Pages of the perf buffer, per CPU.
const PERF_PAGES: usize = 64;

/// The attached hook.
pub(super) struct Hook {
    // Order matters: first detach, then let go of what the programs use.
    _links: Vec<Link>,
    reader: Reader,
    /// The kernel empties a perf event array when the file that filled it is closed.
    _records_map: MapHandle,
    records: Arc<Mutex<Vec<Record>>>,
    filters: MapHandle,
    pending: MapHandle,
    state: Arc<SharedState>,
    feeds_first: bool,
}

enum Reader {
    Ring(Ring),
    Perf(PerfBuffer<'static>),
}

impl Hook {
    /// Loads and attaches the hook. `host_mntns` is the mount namespace that is not to be reported. `first` is the filter map to
    /// feed under the index 0, if there is one already: it then costs no time, see [`feeds_first`](Self::feeds_first).
    ///
    /// Without `btf`, the kernel's own is cut down to what the programs ask for: libbpf's search in the whole takes ten times
    /// as long as everything else.
    pub(super) fn load(
        host_mntns: u64,
        buffer: HookBuffer,
        btf: Option<&Path>,
        first: Option<MapHandle>,
    ) -> Result<Self> {
        let filters = first.and_then(|first| {
            Filters::start(first)
                .inspect_err(|error| debug!("container hook: {error}"))
                .ok()
        });
        let map = filters.as_ref().map(|filters| filters.map.as_fd());
        let load = || {
            if btf.is_none() {
                let minimal = CustomBtf::of_kernel(&TYPES)
                    .and_then(|btf| btf.ok_or_else(|| Error::unsupported("some types may be in modules")));
                match minimal.and_then(|btf| Self::load_with(host_mntns, buffer, Path::new(&btf.path()), map)) {
                    Ok(hook) => return Ok(hook),
                    Err(error) => debug!("container hook: {error}; trying with the kernel's whole BTF"),
                }
            }
            Self::load_with(host_mntns, buffer, btf.unwrap_or(Path::new(KernelBtf::PATH)), map)
        };
        let mut hook = load()?;
        hook.feeds_first = filters.is_some_and(Filters::finish);
        Ok(hook)
    }

    fn load_with(host_mntns: u64, buffer: HookBuffer, btf: &Path, filters: Option<BorrowedFd<'_>>) -> Result<Self> {
        let perf = match buffer {
            HookBuffer::Auto => Feature::RingBuffer.is_there() == Some(false),
            HookBuffer::Ring => false,
            HookBuffer::Perf => true,
        };
        let mut storage = MaybeUninit::uninit();
        let mut builder = skel::ContainerHookSkelBuilder::default();
        builder
            .obj_builder
            .btf_custom_path(btf)
            .map_err(bpf_error)
            .context("setting the BTF of the container hook")?;
        let mut open = builder
            .open(&mut storage)
            .map_err(bpf_error)
            .context("opening the container hook")?;
        if let Some(rodata) = open.maps.rodata_data.as_mut() {
            rodata.hook_config.host_mntns = host_mntns;
            rodata.hook_config.use_perf = perf.into();
        }
        if perf {
            let records = &mut open.maps.records;
            records
                .set_type(MapType::PerfEventArray)
                .and_then(|()| records.set_key_size(4))
                .and_then(|()| records.set_value_size(4))
                .and_then(|()| records.set_max_entries(0))
                .map_err(bpf_error)
                .context("preparing the perf buffer of the container hook")?;
        }
        if let Some(filters) = filters {
            open.maps
                .filters
                .reuse_fd(filters)
                .map_err(bpf_error)
                .context("preparing the filters of the container hook")?;
        }
        let unshare = tracepoint_exists("sys_enter_unshare") && tracepoint_exists("sys_exit_unshare");
        let pivot_root = tracepoint_exists("sys_exit_pivot_root");
        open.progs.ig_hook_unshare_e.set_autoload(unshare);
        open.progs.ig_hook_unshare_x.set_autoload(unshare);
        open.progs.ig_hook_pivot_root_x.set_autoload(pivot_root);
        if !unshare || !pivot_root {
            warn!(
                "the system call tracepoints of tracefs are not available: containers that start from now on are known only \
                 when their runtime has announced their start"
            );
        }
        let skel = open.load().map_err(bpf_error).context("loading the container hook")?;

        let state = Arc::new(SharedState::map(skel.maps.state.as_fd())?);
        let records = Arc::new(Mutex::new(Vec::new()));
        let records_map = MapHandle::try_from(&skel.maps.records).map_err(bpf_error)?;
        let reader = match perf {
            false => Reader::Ring(Ring::new(&records_map).context("container hook")?),
            true => perf_reader(&records_map, &records)?,
        };
        let filters = MapHandle::try_from(&skel.maps.filters).map_err(bpf_error)?;
        let pending = MapHandle::try_from(&skel.maps.pending).map_err(bpf_error)?;

        let progs = &skel.progs;
        let mut links = Vec::new();
        // The exits first: an entry without an exit would leave a note behind.
        for (wanted, program) in [
            (unshare, &progs.ig_hook_unshare_x),
            (unshare, &progs.ig_hook_unshare_e),
            (pivot_root, &progs.ig_hook_pivot_root_x),
            (true, &progs.ig_hook_exec),
            (true, &progs.ig_hook_fork),
        ] {
            if wanted {
                links.extend(attach(program));
            }
        }
        if links.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "attaching the container hook: no program could be attached",
            ));
        }
        Ok(Self {
            _links: links,
            reader,
            _records_map: records_map,
            records,
            filters,
            pending,
            state,
            feeds_first: false,
        })
    }

    /// Whether the programs feed the map that was given to [`load`](Self::load).
    pub(super) fn feeds_first(&self) -> bool {
        self.feeds_first
    }

    /// What the programs share with us.
    pub(super) fn state(&self) -> &Arc<SharedState> {
        &self.state
    }

    /// The records that have come since the last call, in order.
    pub(super) fn take_records(&mut self) -> Vec<Record> {
        let consumed = match &mut self.reader {
            Reader::Ring(ring) => ring.consume(usize::MAX, |bytes| keep(&self.records, bytes)).map(drop),
            Reader::Perf(perf) => perf.consume().map_err(bpf_error),
        };
        if let Err(error) = consumed {
            debug!("reading the container hook's records: {error}");
        }
        let mut records = std::mem::take(&mut *self.records.lock().unwrap_or_else(PoisonError::into_inner));
        if matches!(self.reader, Reader::Perf(_)) {
            // Each CPU has a buffer of its own.
            records.sort_by_key(|record| record.timestamp);
        }
        records
    }

    /// A descriptor that becomes readable with every record.
    pub(super) fn poll_fd(&self) -> Result<OwnedFd> {
        match &self.reader {
            Reader::Ring(ring) => Ok(ring.fd().try_clone_to_owned()?),
            Reader::Perf(perf) => {
                // SAFETY: the descriptor belongs to the reader, which outlives this borrow.
                let borrowed = unsafe { BorrowedFd::borrow_raw(perf.epoll_fd()) };
                Ok(borrowed.try_clone_to_owned()?)
            }
        }
    }

    /// Makes the programs insert new namespaces into `map`, under the index `slot`; none ends that.
    pub(super) fn set_filter(&self, slot: usize, map: Option<BorrowedFd<'_>>) -> Result<()> {
        let key = (slot as u32).to_ne_bytes();
        let result = match map {
            Some(map) => self.filters.update(&key, &map.as_raw_fd().to_ne_bytes(), MapFlags::ANY),
            None => self.filters.delete(&key),
        };
        result
            .map_err(bpf_error)
            .context("registering a filter with the container hook")
    }

    /// The set of namespaces about which records are wanted.
    pub(super) fn pending(&self) -> Result<Box<dyn Pending>> {
        Ok(Box::new(PendingMap(
            MapHandle::try_from(&self.pending).map_err(bpf_error)?,
        )))
    }
}

/// The table of filter maps with its first entry.
///
/// To change such a table takes a grace period of the kernel, some 10 ms: it passes while the programs are being loaded.
struct Filters {
    map: MapHandle,
    change: JoinHandle<bool>,
}

impl Filters {
    fn start(first: MapHandle) -> Result<Self> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            inner_map_fd: first.as_fd().as_raw_fd().unsigned_abs(),
            ..Default::default()
        };
        let map = MapHandle::create(
            MapType::ArrayOfMaps,
            Some("filters"),
            size_of::<u32>() as u32,
            size_of::<u32>() as u32,
            FILTERS as u32,
            &options,
        )
        .map_err(bpf_error)
        .context("creating the table of filters")?;
        let table = MapHandle::try_from(&map)
            .map_err(bpf_error)
            .context("duplicating the table of filters")?;
        let change = std::thread::Builder::new()
            .name("ig-hook-filter".to_owned())
            .spawn(move || {
                let value = first.as_fd().as_raw_fd().to_ne_bytes();
                table
                    .update(&0u32.to_ne_bytes(), &value, MapFlags::ANY)
                    .inspect_err(|error| debug!("filling the table of filters: {error}"))
                    .is_ok()
            })
            .context("starting a thread")?;
        Ok(Self { map, change })
    }

    /// Waits until the programs see the entry. Whether they do.
    fn finish(self) -> bool {
        self.change.join().unwrap_or(false)
    }
}

/// Every type whose layout a program asks for.
const TYPES: [&str; 13] = [
    "bpf_raw_tracepoint_args",
    "cgroup",
    "cgroup_subsys_id",
    "cgroup_subsys_state",
    "css_set",
    "kernfs_node",
    "mnt_namespace",
    "net",
    "ns_common",
    "nsproxy",
    "syscall_trace_enter",
    "syscall_trace_exit",
    "task_struct",
];

struct PendingMap(MapHandle);

impl Pending for PendingMap {
    fn forget(&self, mntns: u64) {
        // Fails when it is not there, which is as well.
        let _ = self.0.delete(&mntns.to_ne_bytes());
    }
}

fn attach(program: &ProgramMut<'_>) -> Option<Link> {
    let name = program.name().to_string_lossy();
    let section = program.section().to_string_lossy();
    program
        .attach()
        .inspect_err(|error| warn!("attaching {name} of the container hook to {section}: {error}"))
        .ok()
}

fn tracepoint_exists(name: &str) -> bool {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .iter()
        .any(|root| Path::new(root).join("events/syscalls").join(name).join("id").exists())
}

fn perf_reader(map: &impl MapCore, records: &Arc<Mutex<Vec<Record>>>) -> Result<Reader> {
    let records = records.clone();
    let perf = PerfBufferBuilder::new(map)
        .pages(PERF_PAGES)
        .sample_cb(move |_cpu, bytes| keep(&records, bytes))
        .build()
        .map_err(bpf_error)
        .context("opening the perf buffer of the container hook")?;
    Ok(Reader::Perf(perf))
}

fn keep(records: &Mutex<Vec<Record>>, bytes: &[u8]) {
    match decode(bytes) {
        Some(record) => records.lock().unwrap_or_else(PoisonError::into_inner).push(record),
        None => debug!(
            "the container hook sent a record of {} bytes that cannot be read",
            bytes.len()
        ),
    }
}

/// Layout of `struct hook_record`.
mod layout {
    pub(super) const KIND: usize = 48;
    pub(super) const PID: usize = 52;
    pub(super) const COMM: usize = 56;
    pub(super) const NAMES: usize = 72;
    pub(super) const NAME: usize = 96;
    /// Three of the default hierarchy, then three of a v1 hierarchy.
    pub(super) const NAME_COUNT: usize = 6;
}

const _: () = assert!(size_of::<skel::types::hook_state>() == 16 + 8 * FILTERS);

fn decode(bytes: &[u8]) -> Option<Record> {
    let u64_at = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let text_at = |at: usize, len: usize| {
        let text = bytes.get(at..at + len)?;
        let end = text.iter().position(|&b| b == 0).unwrap_or(len);
        Some(String::from_utf8_lossy(&text[..end]).into_owned())
    };
    let names = (0..layout::NAME_COUNT)
        .map(|i| text_at(layout::NAMES + i * layout::NAME, layout::NAME))
        .collect::<Option<Vec<_>>>()?;
    Some(Record {
        kind: match u32_at(layout::KIND)? {
            1 => RecordKind::Created,
            2 => RecordKind::PivotRoot,
            3 => RecordKind::Exec,
            _ => return None,
        },
        mntns: u64_at(0)?,
        parent_mntns: u64_at(8)?,
        netns: u64_at(16)?,
        cgroup_id: u64_at(24)?,
        timestamp: u64_at(32)?,
        started_at: u64_at(40)?,
        pid: u32_at(layout::PID)?,
        comm: text_at(layout::COMM, 16)?,
        container_id: id::in_cgroup_names(names.iter().map(String::as_str)).map(str::to_owned),
    })
}

/// `struct hook_state`, mapped from the kernel.
pub(super) struct SharedState {
    address: NonNull<c_void>,
}

// SAFETY: the mapping is not tied to a thread, and it is only read, by atomic loads.
unsafe impl Send for SharedState {}
// SAFETY: as above.
unsafe impl Sync for SharedState {}

impl SharedState {
    const LEN: usize = size_of::<skel::types::hook_state>();

    fn map(fd: BorrowedFd<'_>) -> Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::LEN,
                libc::PROT_READ,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("mapping the state of the container hook");
        }
        let address = NonNull::new(address)
            .ok_or_else(|| Error::new(ErrorKind::Io, "mapping the state of the container hook"))?;
        Ok(Self { address })
    }

    fn word(&self, index: usize) -> u64 {
        debug_assert!(index < Self::LEN / 8);
        // SAFETY: the mapping is Self::LEN bytes long, aligned to a page, and the kernel writes whole aligned words.
        let word = unsafe { AtomicU64::from_ptr(self.address.as_ptr().cast::<u64>().add(index)) };
        word.load(Ordering::Acquire)
    }

    /// Goes up with each record; who sees a value finds the records up to it in the buffer.
    pub(super) fn sequence(&self) -> u64 {
        self.word(0)
    }

    /// How many records were lost.
    pub(super) fn lost(&self) -> u64 {
        self.word(1)
    }

    /// How many namespaces did not fit into the filter map at `slot`.
    pub(super) fn full(&self, slot: usize) -> u64 {
        if slot < FILTERS { self.word(2 + slot) } else { 0 }
    }
}

impl Drop for SharedState {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and nobody else has its address.
        unsafe { libc::munmap(self.address.as_ptr(), Self::LEN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_decode() {
        const ID: &str = "66b67a2b72657510bf25d5acceba26109bb4e1ee3e035251a3a90ad24f9d70c3";
        let mut bytes = vec![0; layout::NAMES + layout::NAME_COUNT * layout::NAME];
        for (i, value) in [1u64, 2, 3, 4, 5, 6].into_iter().enumerate() {
            bytes[i * 8..i * 8 + 8].copy_from_slice(&value.to_ne_bytes());
        }
        bytes[layout::KIND..][..4].copy_from_slice(&3u32.to_ne_bytes());
        bytes[layout::PID..][..4].copy_from_slice(&77u32.to_ne_bytes());
        bytes[layout::COMM..][..4].copy_from_slice(b"runc");
        let v1_name = layout::NAMES + 3 * layout::NAME;
        bytes[v1_name..][..ID.len()].copy_from_slice(ID.as_bytes());
        let record = decode(&bytes).unwrap();
        assert_eq!((record.mntns, record.parent_mntns, record.netns), (1, 2, 3));
        assert_eq!((record.cgroup_id, record.timestamp, record.started_at), (4, 5, 6));
        assert_eq!(
            (record.kind, record.pid, record.comm.as_str()),
            (RecordKind::Exec, 77, "runc")
        );
        assert_eq!(record.container_id.as_deref(), Some(ID));
        assert!(decode(&bytes[..bytes.len() - 1]).is_none());
        bytes[layout::KIND] = 9;
        assert!(decode(&bytes).is_none());
    }
}
