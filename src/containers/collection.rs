//! The collection: one lock around the [table](super::table), one thread that feeds it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libbpf_rs::{MapCore, MapHandle};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::filter::{FilterState, KernelSet, NamespaceSet, SPARE_ENTRIES, create_map, entries};
use super::hook::{FILTERS, Hook, SharedState};
use super::host::{HostNamespaces, boot_ns, boot_to_wall_ns};
use super::journal::{Change, Journal, Playback};
use super::namespace::Lookup;
use super::options::{CollectionOptions, DOCKER_SOCKET, MissingSocket, RuntimeKind};
use super::runtime::docker;
use super::table::{Request, Table};
use super::{Container, ContainerEvent, MntnsFilter, Selector};
use crate::{Error, ErrorKind, Result, ResultExt};

/// How often the thread looks for what has timed out.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// The longest that [`Collection::wait_initial`] waits.
const INITIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// The containers of this host, kept up to date by a thread that ends when the value is dropped.
pub struct Collection {
    shared: Arc<Shared>,
    /// Dropping it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

/// What the collection shares with its thread and its filters.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// The table's generation as of the last change.
    generation: AtomicU64,
    hook_state: OnceLock<Arc<SharedState>>,
    /// The hook's sequence number up to which records are in the table.
    drained: AtomicU64,
    decisions: AtomicU64,
    wakers: Mutex<Vec<Weak<dyn Fn() + Send + Sync>>>,
    initial: Mutex<Initial>,
    initial_done: Condvar,
    /// Writes changes down, if somebody wants that. Locked after the table.
    journal: Mutex<Option<Journal>>,
    /// Makes changes that were written down.
    playback: Mutex<Playback>,
}

struct Inner {
    table: Table,
    hook: Option<Hook>,
    slots: [Option<Slot>; FILTERS],
    /// A map that the hook feeds from the beginning, for the first filter: to give the hook another map takes a grace period
    /// of the kernel, some 10 ms, and this way it passes while the hook is being loaded. It belongs to the first slot.
    spare: Option<MapHandle>,
    lost: u64,
}

struct Slot {
    state: Weak<FilterState>,
    map: MapHandle,
    /// Whether the map is the one that the hook has from the beginning.
    is_spare: bool,
    /// What the hook's counter of full maps said when the slot was taken.
    full_before: u64,
}

#[derive(Clone, Copy, Debug)]
struct Initial {
    hook: bool,
    runtimes: bool,
}

impl Collection {
    /// Starts to collect. Cheap: the work is done by threads; [`wait_initial`](Self::wait_initial) waits for its first results.
    ///
    /// # Errors
    ///
    /// A runtime that was named explicitly cannot be used; the host's namespaces cannot be read.
    pub fn start(options: CollectionOptions) -> Result<Arc<Self>> {
        let docker_socket = docker_socket(&options)?;
        let host_namespaces = options.host.namespaces()?;
        let (request_sender, requests) = tokio::sync::mpsc::unbounded_channel();
        let table = Table::new(host_namespaces, boot_to_wall_ns(), options.details, request_sender);
        let use_hook = options.hook && docker_socket.is_some();
        let spare = if use_hook {
            create_map(SPARE_ENTRIES).inspect_err(|error| debug!("{error}")).ok()
        } else {
            None
        };
        let first = spare.as_ref().map(clone_map).transpose()?;
        let shared = Arc::new(Shared::new(
            table,
            spare,
            Initial {
                hook: !use_hook,
                runtimes: docker_socket.is_none(),
            },
        ));

        let (stop, stopped) = oneshot::channel();
        let mut threads = Vec::new();
        if let Some(socket) = docker_socket {
            let (hook_sender, hook) = oneshot::channel();
            if use_hook {
                let (shared, options) = (shared.clone(), options.clone());
                threads.push(spawn("ig-hook-load", move || {
                    load_hook(&shared, &options, host_namespaces, first, hook_sender);
                })?);
            }
            let shared = shared.clone();
            threads.push(spawn("ig-containers", move || {
                let client = docker::Client::new(shared.clone(), socket, &options);
                if let Err(error) = run(&shared, client, requests, hook, stopped) {
                    warn!("watching containers: {error}");
                }
                shared.set_initial(|initial| initial.runtimes = true);
            })?);
        }
        Ok(Arc::new(Self {
            shared,
            stop: Some(stop),
            threads,
        }))
    }

    /// A collection that knows only what it is told with [`replay`](Self::replay). `host` are the namespaces of the host that it
    /// is told about.
    pub fn replayed(host: HostNamespaces) -> Arc<Self> {
        // Nobody answers requests.
        let (requests, _) = tokio::sync::mpsc::unbounded_channel();
        let known = Initial {
            hook: true,
            runtimes: true,
        };
        Arc::new(Self {
            shared: Arc::new(Shared::new(Table::new(host, 0, false, requests), None, known)),
            stop: None,
            threads: Vec::new(),
        })
    }

    /// Makes a change that a [journal](Self::journal) wrote down, as the next one.
    pub fn replay(&self, change: Change) {
        let mut inner = lock(&self.shared.inner);
        lock(&self.shared.playback).apply(&mut inner.table, change);
        self.shared.publish(&inner);
    }

    /// Calls `write` with everything that is known, and from then on with every change, before anybody gets an answer that it
    /// makes different. `write` must not call back into the collection. Replaces an earlier journal.
    pub fn journal(&self, write: impl FnMut(Change) + Send + 'static) {
        let inner = lock(&self.shared.inner);
        *lock(&self.shared.journal) = Some(Journal::new(Box::new(write)));
        self.shared.publish(&inner);
    }

    /// Ends the journal.
    pub fn end_journal(&self) {
        *lock(&self.shared.journal) = None;
    }

    /// The host's own namespaces.
    pub fn host(&self) -> HostNamespaces {
        lock(&self.shared.inner).table.host()
    }

    /// Waits until the kernel hook is attached and the containers that run already are known, or neither can be.
    pub fn wait_initial(&self) {
        let deadline = Instant::now() + INITIAL_TIMEOUT;
        let mut initial = lock(&self.shared.initial);
        while !(initial.hook && initial.runtimes) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                warn!(
                    "the list of containers is not complete after {} seconds",
                    INITIAL_TIMEOUT.as_secs()
                );
                return;
            }
            let waited = self.shared.initial_done.wait_timeout(initial, left);
            initial = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether there is a container runtime to ask. Without one no container is ever known.
    pub fn has_runtimes(&self) -> bool {
        !self.threads.is_empty()
    }

    /// The running containers, ordered by id.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        self.shared.update(|table| table.containers())
    }

    /// The containers in the network namespace `netns`: those that run, or else those that ended in the last seconds.
    pub fn containers_by_netns(&self, netns: u64) -> Vec<Arc<Container>> {
        self.shared.update(|table| table.by_netns(netns))
    }

    /// Creates the filter map for `selector`, with room for at least `max_entries_hint` namespaces.
    ///
    /// The map is complete when [`wait_initial`](Self::wait_initial) has returned, before or after this call; called after, it
    /// is also sized by what is there.
    pub fn filter(&self, selector: Selector, max_entries_hint: u32) -> Result<MntnsFilter> {
        let mut inner = lock(&self.shared.inner);
        self.shared.drain(&mut inner);
        let wanted = entries(inner.table.containers().len(), max_entries_hint);
        let spare = inner.spare.take_if(|spare| spare.max_entries() >= wanted);
        let (map, slot, is_spare) = match spare {
            Some(map) => (map, Some(0), true),
            None => {
                let first = usize::from(inner.spare.is_some());
                let free = inner.slots[first..].iter().position(Option::is_none);
                (create_map(wanted)?, free.map(|free| first + free), false)
            }
        };
        let set = KernelSet(clone_map(&map)?);
        if is_spare {
            // What the hook has put into it so far may have ended meanwhile.
            for mntns in set.keys().into_iter().filter(|&mntns| !inner.table.is_known(mntns)) {
                set.remove(mntns);
            }
        }
        let state = FilterState::new(selector, Box::new(set));
        match slot {
            Some(slot) => {
                let full_before = inner.hook.as_ref().map_or(0, |hook| hook.state().full(slot));
                // Before the table fills the map: what is created in between is then in it from both sides. A hook that is
                // not there yet is given the map when it is.
                if let (Some(hook), false) = (&inner.hook, is_spare) {
                    hook.set_filter(slot, Some(map.as_fd()))?;
                }
                inner.slots[slot] = Some(Slot {
                    state: Arc::downgrade(&state),
                    map: clone_map(&map)?,
                    is_spare,
                    full_before,
                });
            }
            None => debug!("more than {FILTERS} filters at once: this one is only filled from user space"),
        }
        inner.table.add_filter(&state);
        self.shared.drain(&mut inner);
        self.shared.publish(&inner);
        Ok(MntnsFilter {
            state,
            map,
            _registration: slot.map(|slot| Registration {
                shared: Arc::downgrade(&self.shared),
                slot,
            }),
        })
    }

    /// What is known about the mount namespace `mntns` of an event that happened `at_boot_ns` nanoseconds after boot; 0 means now.
    ///
    /// The creation of a namespace is always known before an event from inside it is asked about. [`LookupCache`](super::LookupCache) makes repeated questions cheap.
    pub fn lookup(&self, mntns: u64, at_boot_ns: u64) -> Lookup {
        self.lookup_since(mntns, at_boot_ns).0
    }

    pub(super) fn lookup_since(&self, mntns: u64, at_boot_ns: u64) -> (Lookup, Option<u64>) {
        let mut inner = lock(&self.shared.inner);
        if self.shared.is_behind() {
            self.shared.drain(&mut inner);
            self.shared.publish(&inner);
        }
        inner.table.lookup(mntns, at_boot_ns)
    }

    /// A number that changes whenever an answer of [`lookup`](Self::lookup) may have changed. Costs a few nanoseconds.
    pub fn generation(&self) -> u64 {
        if self.shared.is_behind() {
            self.shared.update(|_| ());
        }
        self.shared.generation.load(Ordering::Acquire)
    }

    /// How many [decisions](super::Decision) have been made: when it changed, those who wait for one can look again.
    pub fn decisions(&self) -> u64 {
        self.shared.decisions.load(Ordering::Acquire)
    }

    /// Calls `wake` after decisions have been made, as long as the caller keeps it. It must not call back into the collection.
    pub fn on_decision(&self, wake: &Arc<dyn Fn() + Send + Sync>) {
        lock(&self.shared.wakers).push(Arc::downgrade(wake));
    }

    /// The running containers that match `selector`, and a channel with every later event about one that does.
    pub fn subscribe(&self, selector: Selector) -> (Vec<Arc<Container>>, mpsc::Receiver<ContainerEvent>) {
        let (sender, receiver) = mpsc::channel();
        let running = self.subscribe_with(selector, move |event| sender.send(event).is_ok());
        (running, receiver)
    }

    /// The same with a function that gets the events until it says `false`. It must neither block nor call back into the collection.
    pub fn subscribe_with(
        &self,
        selector: Selector,
        deliver: impl FnMut(ContainerEvent) -> bool + Send + 'static,
    ) -> Vec<Arc<Container>> {
        self.shared.update(|table| table.subscribe(selector, Box::new(deliver)))
    }

    /// Whether new containers are seen by the kernel hook, before anything is executed in them.
    pub fn has_hook(&self) -> bool {
        self.shared.hook_state.get().is_some()
    }
}

impl std::fmt::Debug for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection")
            .field("hook", &self.has_hook())
            .finish_non_exhaustive()
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a thread that watches containers has panicked");
            }
        }
    }
}

/// Takes a filter's place with the hook away when the filter is dropped.
pub(super) struct Registration {
    shared: Weak<Shared>,
    slot: usize,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registration").field(&self.slot).finish()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut inner = lock(&shared.inner);
        if let Some(hook) = &inner.hook
            && let Err(error) = hook.set_filter(self.slot, None)
        {
            debug!("{error}");
        }
        inner.slots[self.slot] = None;
    }
}

impl Shared {
    fn new(table: Table, spare: Option<MapHandle>, initial: Initial) -> Self {
        Self {
            generation: AtomicU64::new(table.generation()),
            inner: Mutex::new(Inner {
                table,
                hook: None,
                slots: [const { None }; FILTERS],
                spare,
                lost: 0,
            }),
            hook_state: OnceLock::new(),
            drained: AtomicU64::new(0),
            decisions: AtomicU64::new(0),
            wakers: Mutex::default(),
            initial: Mutex::new(initial),
            initial_done: Condvar::new(),
            journal: Mutex::default(),
            playback: Mutex::default(),
        }
    }

    /// Whether the hook has sent records that are not in the table.
    fn is_behind(&self) -> bool {
        self.hook_state
            .get()
            .is_some_and(|state| state.sequence() != self.drained.load(Ordering::Acquire))
    }

    /// Runs `f` on a table that is up to date, and lets everybody know of what it changed.
    pub(super) fn update<R>(&self, f: impl FnOnce(&mut Table) -> R) -> R {
        let mut inner = lock(&self.inner);
        self.drain(&mut inner);
        let result = f(&mut inner.table);
        self.publish(&inner);
        result
    }

    /// Lets go of what is too old.
    fn sweep(&self) {
        let mut inner = lock(&self.inner);
        self.drain(&mut inner);
        if inner.table.needs_sweep() && inner.table.sweep(boot_ns()) {
            // A number that was taken out of the filters may have come back to life just before.
            self.drain(&mut inner);
        }
        self.publish(&inner);
    }

    /// Takes the hook's records into the table.
    fn drain(&self, inner: &mut Inner) {
        let Inner {
            table,
            hook: Some(hook),
            slots,
            lost,
            ..
        } = inner
        else {
            return;
        };
        let sequence = hook.state().sequence();
        if sequence == self.drained.load(Ordering::Acquire) {
            return;
        }
        for record in hook.take_records() {
            tracing::trace!(?record, "container hook");
            table.record(record);
        }
        self.drained.store(sequence, Ordering::Release);
        let lost_now = hook.state().lost();
        if lost_now != *lost {
            warn!(
                "{} records about new containers were lost: asking the runtimes again",
                lost_now - *lost
            );
            *lost = lost_now;
            table.resync();
        }
        for (index, slot) in slots.iter().enumerate() {
            if let Some(slot) = slot
                && hook.state().full(index) != slot.full_before
                && let Some(state) = slot.state.upgrade()
            {
                state.overflow();
            }
        }
    }

    /// Makes the table's counters visible and wakes those who wait for decisions.
    fn publish(&self, inner: &Inner) {
        if let Some(journal) = lock(&self.journal).as_mut() {
            journal.look(&inner.table);
        }
        self.generation.store(inner.table.generation(), Ordering::Release);
        let decisions = inner.table.decisions();
        if self.decisions.swap(decisions, Ordering::AcqRel) != decisions {
            lock(&self.wakers).retain(|waker| match waker.upgrade() {
                Some(wake) => {
                    wake();
                    true
                }
                None => false,
            });
        }
    }

    fn install(&self, hook: Hook) -> Result<()> {
        let mut inner = lock(&self.inner);
        for (index, slot) in inner.slots.iter().enumerate() {
            match slot {
                Some(slot) if slot.is_spare && hook.feeds_first() => {}
                Some(slot) => hook.set_filter(index, Some(slot.map.as_fd()))?,
                // The filter that had the spare map has come and gone.
                None if index == 0 && hook.feeds_first() && inner.spare.is_none() => hook.set_filter(index, None)?,
                None => {}
            }
        }
        if !hook.feeds_first() {
            inner.spare = None;
        }
        inner.table.set_pending(hook.pending()?);
        // A hook is installed once.
        let _ = self.hook_state.set(hook.state().clone());
        inner.hook = Some(hook);
        self.drain(&mut inner);
        self.publish(&inner);
        Ok(())
    }

    fn set_initial(&self, set: impl FnOnce(&mut Initial)) {
        set(&mut lock(&self.initial));
        self.initial_done.notify_all();
    }

    /// The containers that run already are known, or cannot be.
    pub(super) fn runtimes_listed(&self) {
        self.set_initial(|initial| initial.runtimes = true);
    }
}

/// A panic of another thread leaves the table usable: each change is small, and the worst is a container less.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn clone_map(map: &MapHandle) -> Result<MapHandle> {
    MapHandle::try_from(map)
        .map_err(super::filter::bpf_error)
        .context("duplicating a map")
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .with_context(|| format!("starting thread {name}"))
}

/// The path of docker's socket if docker is to be used.
fn docker_socket(options: &CollectionOptions) -> Result<Option<PathBuf>> {
    let mut docker = None;
    for &kind in &options.runtimes {
        if kind != RuntimeKind::Docker {
            if options.explicit_runtimes {
                return Err(
                    Error::unsupported(format!("runtime \"{kind}\": this build can only ask docker so far"))
                        .with_hint("leave it out, or use `-r docker`"),
                );
            }
            debug!("Ignoring runtime \"{kind}\": this build can only ask docker so far");
            continue;
        }
        let path = match options.docker_socket.as_os_str().is_empty() {
            false => options.docker_socket.clone(),
            true => match std::env::var_os("INSPEKTOR_GADGET_DOCKER_SOCKETPATH").filter(|path| !path.is_empty()) {
                Some(path) => PathBuf::from(path),
                None => DOCKER_SOCKET.into(),
            },
        };
        let wait = options.missing_socket == MissingSocket::Wait;
        let resolved = match options.host.secure_join(&path) {
            Ok(resolved) => resolved,
            Err(error) if wait => {
                let root = options.host.root().display();
                return Err(error.context(format!("securejoining {root} to docker socket path")));
            }
            Err(error) => {
                debug!("Ignoring runtime \"docker\": {error}");
                continue;
            }
        };
        if wait || resolved.exists() {
            docker = Some(resolved);
        } else if options.explicit_runtimes || options.explicit_docker_socket {
            let message = format!(
                "runtime \"docker\" with non-existent socketPath {:?}",
                path.display().to_string()
            );
            return Err(Error::not_found(message).with_hint("is the docker daemon running?"));
        } else {
            debug!(
                "Ignoring runtime \"docker\" with non-existent socketPath {:?}",
                path.display().to_string()
            );
        }
    }
    Ok(docker)
}

fn load_hook(
    shared: &Shared,
    options: &CollectionOptions,
    host: HostNamespaces,
    first: Option<MapHandle>,
    poll_fd: oneshot::Sender<OwnedFd>,
) {
    let hook = Hook::load(host.mnt, options.hook_buffer, options.btf.as_deref(), first);
    let installed = hook.and_then(|hook| {
        let fd = hook.poll_fd()?;
        shared.install(hook)?;
        Ok(fd)
    });
    match installed {
        // Fails only when the other thread is ending.
        Ok(fd) => drop(poll_fd.send(fd)),
        Err(error) if error.kind() == ErrorKind::Permission => debug!("{error}"),
        Err(error) => {
            warn!("{error}");
            warn!("new containers are known only when their runtime has announced their start");
        }
    }
    shared.set_initial(|initial| initial.hook = true);
}

/// The life of the collection's thread.
fn run(
    shared: &Arc<Shared>,
    client: docker::Client,
    requests: UnboundedReceiver<Request>,
    hook: oneshot::Receiver<OwnedFd>,
    stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::select! {
            _ = stopped => {}
            () = client.run(requests) => {}
            () = watch_hook(shared, hook) => {}
        }
    });
    Ok(())
}

/// Takes in the hook's records as they come, and sweeps now and then. Never ends.
async fn watch_hook(shared: &Shared, hook: oneshot::Receiver<OwnedFd>) {
    let sweep = async {
        let mut tick = tokio::time::interval(SWEEP_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            shared.sweep();
        }
    };
    let watch = async {
        let watched = match hook.await {
            // SAFETY: the descriptor is owned by the AsyncFd from here on, and nobody else closes it.
            Ok(fd) => unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) },
            Err(_) => return std::future::pending::<()>().await,
        };
        let fd = match watched {
            Ok(fd) => fd,
            Err(error) => {
                // The sweep takes records in as well, only later.
                debug!("watching the container hook: {error}");
                return std::future::pending::<()>().await;
            }
        };
        while let Ok(mut ready) = fd.readable().await {
            ready.clear_ready();
            shared.update(|_| ());
        }
        std::future::pending::<()>().await
    };
    tokio::join!(sweep, watch);
}
