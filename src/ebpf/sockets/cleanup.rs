//! The thread that deletes entries of sockets that are gone.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::libc;
use nix::time::{ClockId, clock_gettime};

use super::failed;
use crate::ebpf::fetch::sys::open_iterator;
use crate::{Result, ResultExt};

/// How often entries are looked for.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long an entry stays after its socket is gone: `LATE_NS` of `bpf/socket_enricher.bpf.c`.
const LATE: Duration = Duration::from_secs(5);
/// Where in a value it is said when the socket was gone, in nanoseconds of the monotonic clock; 0 while it is there.
const DELETION_TIMESTAMP: usize = 64;

/// Deletes entries until it is dropped.
#[derive(Debug)]
pub(super) struct Cleanup {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Who looks for them.
#[derive(Debug)]
pub(super) enum Sweeper {
    /// A program that goes through the map.
    Iterator(OwnedFd),
    /// This process, where the kernel has no iterators over maps, or refuses them.
    Map(MapHandle),
}

impl Cleanup {
    pub(super) fn start(sweeper: Sweeper) -> Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("ig-sockets".to_owned())
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                    if let Err(error) = sweeper.sweep() {
                        tracing::warn!("owners of sockets that are gone stay remembered: {error}");
                        break;
                    }
                }
            })
            .context("starting a thread")?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Sweeper {
    fn sweep(&self) -> Result<()> {
        match self {
            Self::Iterator(link) => run(link.as_fd()),
            Self::Map(map) => sweep(map),
        }
    }
}

/// Deletes the entries of `map` whose time is over. One that is renewed between the look and the deletion is lost until its socket is
/// heard of again.
fn sweep(map: &MapHandle) -> Result<()> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("asking for the time")?;
    let now = Duration::from(now);
    // Keys begin anew where the last one was deleted meanwhile.
    let most = 2 * map.max_entries() as usize;
    let is_over = |key: &Vec<u8>| {
        let value = map.lookup(key, MapFlags::ANY).ok().flatten()?;
        let gone = u64::from_ne_bytes(*value.get(DELETION_TIMESTAMP..)?.first_chunk()?);
        Some(gone != 0 && now.saturating_sub(Duration::from_nanos(gone)) >= LATE)
    };
    let over: Vec<Vec<u8>> = map
        .keys()
        .take(most)
        .filter(|key| is_over(key).unwrap_or_default())
        .collect();
    for key in over {
        match map.delete(&key) {
            Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                return Err(failed(error)).context("deleting an entry");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Runs an iterator that writes nothing.
pub(super) fn run(link: BorrowedFd<'_>) -> Result<()> {
    let mut iterator = File::from(open_iterator(link)?);
    let mut nothing = [0; 64];
    loop {
        match iterator.read(&mut nothing) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // So many things were gone through without anything being written.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("reading an iterator"),
        }
    }
}
