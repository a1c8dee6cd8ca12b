//! When to read a buffer.
//!
//! Waking up for every event costs more than handling it. So: block only while nothing comes; after the first wake-up read on
//! a timer, often enough that at the rate just seen only a quarter of the buffer fills, and only some hundred records come,
//! between two reads, and block again when several reads in a row found nothing. At low rates every event is handled at once, at
//! high rates in batches. They must not be too large: a thread that sleeps often and works for less than its time slice is let
//! run at once when it wakes up, one that works longer is sent to the end of the queue while its buffer overflows.
//!
//! The thread that reads goes a little before those that cause the events: where all CPUs are busy, a buffer fills within the
//! time that it would otherwise have to wait for its turn.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use super::{Reader, SLEEP};
use crate::{Result, ResultExt};

/// Records that are read between two looks at the rest of the world.
const BATCH: usize = 4096;
/// Records that are to come between two reads, at the most: less than a millisecond's work.
const TURN: f64 = 512.0;
/// When so many came at once, more come before anybody would have to be woken.
const MANY: usize = 64;
/// After this many reads that found nothing, block.
const IDLE_READS: u32 = 4;

/// How far the nice value is lowered; auditd does the same by default.
const PRIORITY_BOOST: i32 = 4;

/// What the drain loop serves besides the buffer.
pub trait Served {
    /// The buffer is empty for now, or a batch was read: write out what was gathered. `lost` records could so far not be written
    /// to the buffer, as the reader was told.
    fn pause(&mut self, lost: u64) -> Result<()>;
    /// When [`periodic`](Self::periodic) wants to be called while nothing comes, if at all.
    fn idle_interval(&self) -> Option<Duration>;
    /// Called between batches and while idle.
    fn periodic(&mut self) -> Result<()>;
    /// Whether to end. The buffer is read once more to its end before the loop returns.
    fn finished(&self) -> bool;
}

/// Reads `reader` until `served` is finished. A write to `wake` interrupts waiting.
pub fn drain(reader: &mut dyn Reader, served: &mut dyn Served, wake: &EventFd) -> Result<()> {
    go_first();
    let mut pace = Pace::new(reader.capacity());
    let mut empty_reads = 0;
    while !served.finished() {
        let count = reader.read(BATCH)?;
        served.periodic()?;
        served.pause(reader.lost())?;
        if count >= MANY {
            reader.set_quiet(true)?;
        }
        if count >= BATCH {
            continue;
        }
        empty_reads = if count == 0 { empty_reads + 1 } else { 0 };
        if empty_reads == IDLE_READS - 1 {
            // One more read comes before the wait for what woke nobody.
            reader.set_quiet(false)?;
        }
        if empty_reads >= IDLE_READS {
            wait(reader, served.idle_interval(), wake)?;
            empty_reads = 0;
            pace.restart(reader.bytes_read());
        } else {
            std::thread::sleep(pace.next(reader.bytes_read(), count));
        }
    }
    Ok(())
}

/// Raises the priority of this thread, if that is allowed; it does its work otherwise as well.
fn go_first() {
    // SAFETY: takes and returns a number; on Linux it is about the calling thread alone.
    unsafe { libc::nice(-PRIORITY_BOOST) };
}

/// Reads what is left after the last event.
pub fn drain_rest(reader: &mut dyn Reader, served: &mut dyn Served) -> Result<()> {
    while reader.read(BATCH)? > 0 {
        served.pause(reader.lost())?;
    }
    served.periodic()?;
    served.pause(reader.lost())
}

fn wait(reader: &dyn Reader, interval: Option<Duration>, wake: &EventFd) -> Result<()> {
    let timeout = match interval {
        None => PollTimeout::NONE,
        Some(interval) => PollTimeout::try_from(interval).unwrap_or(PollTimeout::MAX),
    };
    let mut fds = [
        PollFd::new(reader.wake_fd(), PollFlags::POLLIN),
        PollFd::new(wake.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error).context("waiting for events"),
    }
    if fds[1].any().unwrap_or(false) {
        // Non-blocking; that there is nothing left to read is as good as reading it.
        let _ = wake.read();
    }
    Ok(())
}

/// How long to sleep between two reads, by the rate at which bytes come.
struct Pace {
    capacity: f64,
    last: Instant,
    bytes: u64,
}

impl Pace {
    fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity as f64,
            last: Instant::now(),
            bytes: 0,
        }
    }

    fn restart(&mut self, bytes: u64) {
        self.last = Instant::now();
        self.bytes = bytes;
    }

    /// `records` were just read.
    fn next(&mut self, bytes: u64, records: usize) -> Duration {
        let elapsed = self.last.elapsed().as_secs_f64().max(1e-6);
        let bytes_per_second = (bytes - self.bytes) as f64 / elapsed;
        self.restart(bytes);
        sleep_for(self.capacity, bytes_per_second, records as f64 / elapsed)
    }
}

fn sleep_for(capacity: f64, bytes_per_second: f64, records_per_second: f64) -> Duration {
    let (least, most) = SLEEP;
    if bytes_per_second <= 0.0 {
        return most;
    }
    let seconds = (capacity / 4.0 / bytes_per_second).min(TURN / records_per_second);
    Duration::from_secs_f64(seconds.clamp(least.as_secs_f64(), most.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_while_little_comes() {
        let ring = 4.0 * 1024.0 * 1024.0;
        assert_eq!(sleep_for(ring, 0.0, 0.0), SLEEP.1);
        assert_eq!(sleep_for(ring, 1000.0, 5.0), SLEEP.1);
        assert_eq!(sleep_for(ring, 1e12, 1e9), SLEEP.0);
        let near = |sleep: Duration, micros: u64| {
            let expected = Duration::from_micros(micros);
            assert!(
                sleep.abs_diff(expected) < Duration::from_micros(50),
                "{sleep:?}, not {expected:?}"
            );
        };
        near(sleep_for(ring, 500_000.0 * 200.0, 500_000.0), 1024);
        // Of large records a quarter of the buffer is less than that.
        near(sleep_for(ring, 100_000.0 * 8192.0, 100_000.0), 1280);
    }
}
