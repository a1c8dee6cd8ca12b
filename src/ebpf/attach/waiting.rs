//! Containers whose interfaces come later than the containers: some runtimes put them in when the process is about to start.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::interface::Interfaces;
use super::netlink;
use super::netns::inside;
use super::sites::PerSite;
use crate::containers::{Host, Place, PlaceAttachment};
use crate::{ErrorKind, ResultExt};

/// How long a container may be without an interface until it counts as one that has none.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the end is looked for while something is waited for.
const TICK: u16 = 100;

/// Attaches to the interfaces of places, when these have them.
pub(super) struct WaitsForInterfaces {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    host: Host,
    stop: AtomicBool,
}

struct State {
    attached: PerSite<Interfaces>,
    /// Places without an interface, by key, with the time when they are given up.
    waiting: HashMap<String, (Place, Instant)>,
    watched: bool,
}

impl WaitsForInterfaces {
    pub(super) fn new(attached: PerSite<Interfaces>, host: Host) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    attached,
                    waiting: HashMap::new(),
                    watched: false,
                }),
                host,
                stop: AtomicBool::new(false),
            }),
            watcher: None,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while holding the lock cannot leave half a value that matters here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries those who wait whenever an interface of the host has changed, until nobody waits.
    fn watch(&self) {
        let changes = Place::host(self.host.clone())
            .network_namespace()
            .and_then(|namespace| inside(&namespace, netlink::changes));
        if let Err(error) = &changes {
            tracing::debug!("watching network interfaces: {error}");
        }
        // One may have come in between.
        self.retry();
        while !self.stop.load(Ordering::Relaxed) {
            {
                let mut state = self.lock();
                if state.waiting.is_empty() {
                    state.watched = false;
                    return;
                }
            }
            match &changes {
                Ok(changes) => {
                    let mut fds = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut fds, PollTimeout::from(TICK)).is_ok_and(|ready| ready > 0) {
                        netlink::drain(changes);
                        self.retry();
                    }
                }
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(TICK.into()));
                    self.retry();
                }
            }
            self.give_up();
        }
    }

    fn retry(&self) {
        let State { attached, waiting, .. } = &mut *self.lock();
        waiting.retain(|_, (place, _)| attached.try_attach(place).is_err());
    }

    fn give_up(&self) {
        let State { attached, waiting, .. } = &mut *self.lock();
        let now = Instant::now();
        waiting.retain(|_, (place, deadline)| {
            if now < *deadline {
                return true;
            }
            if let Err(error) = attached.try_attach(place) {
                attached.give_up(place, &error);
            }
            false
        });
    }
}

impl PlaceAttachment for WaitsForInterfaces {
    fn attach(&mut self, place: &Place) {
        let start = {
            let state = &mut *self.shared.lock();
            match state.attached.try_attach(place) {
                Ok(()) => return,
                Err(error) if error.kind() == ErrorKind::NotFound && place.container().is_some() => {
                    let deadline = Instant::now() + PATIENCE;
                    state.waiting.insert(place.key().to_owned(), (place.clone(), deadline));
                    !std::mem::replace(&mut state.watched, true)
                }
                Err(error) => return state.attached.give_up(place, &error),
            }
        };
        if start {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name("ig-interfaces".to_owned())
                .spawn(move || shared.watch());
            match thread.context("starting thread ig-interfaces") {
                // The one before has ended, or is about to.
                Ok(thread) => self.watcher = Some(thread),
                Err(error) => self.shared.lock().attached.give_up(place, &error),
            }
        }
    }

    fn detach(&mut self, place: &Place) {
        let state = &mut *self.shared.lock();
        state.waiting.remove(place.key());
        state.attached.detach(place);
    }

    fn settled(&mut self) {
        self.shared.lock().attached.settled();
    }
}

impl Drop for WaitsForInterfaces {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if self.watcher.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the thread that waits for network interfaces has panicked");
        }
    }
}
