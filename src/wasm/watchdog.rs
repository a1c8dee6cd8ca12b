//! Time limits: a thread that ends a guest that computes for too long.
//!
//! What counts is the time on the processor of the thread that runs the guest, so that nobody is punished for a busy machine. Going
//! in and out costs a few stores: the thread looks from time to time whether the guest is still in the same call.
//!
//! A guest that calls host functions is ended by the next of them. Only one that does nothing but compute is interrupted: on the way
//! into a host function and back wasmer takes locks and allocates, and what is interrupted there never gives them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use wasmer::{Interrupter, RuntimeError};

use super::trap::TimeUp;
use crate::{Result, ResultExt};

/// How often the thread looks.
const INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct State {
    /// Counts entries and exits: odd while the guest runs.
    turns: AtomicU64,
    /// Whether a host function was called since the thread looked last.
    called: AtomicBool,
    /// The turn that has taken too long; 0 before there was one.
    expired: AtomicU64,
    /// The thread that runs it.
    thread: AtomicI32,
    limit_ns: AtomicU64,
    over: AtomicBool,
}

/// Watches one instance.
#[derive(Debug)]
pub(super) struct Watchdog {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the watchdog of entries and exits.
#[derive(Clone, Debug)]
pub(super) struct Turnstile(Arc<State>);

impl Turnstile {
    /// The guest is entered, from outside, by this thread.
    pub(super) fn enter(&self, limit: Duration) {
        thread_local!(static THREAD: i32 = nix::unistd::gettid().as_raw());
        self.0.thread.store(THREAD.with(|id| *id), Ordering::Relaxed);
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.0.limit_ns.store(limit, Ordering::Relaxed);
        self.turn();
    }

    /// The guest is left.
    pub(super) fn leave(&self) {
        self.turn();
    }

    /// The guest calls a host function.
    ///
    /// # Errors
    ///
    /// It has run for too long, and must not go on.
    #[inline]
    pub(super) fn called(&self) -> std::result::Result<(), RuntimeError> {
        let state = &*self.0;
        state.called.store(true, Ordering::Relaxed);
        match state.expired.load(Ordering::Relaxed) {
            0 => Ok(()),
            expired => state.check(expired),
        }
    }

    /// Nobody else counts at the same time: there is one way into a guest.
    fn turn(&self) {
        let turn = self.0.turns.load(Ordering::Relaxed);
        self.0.turns.store(turn.wrapping_add(1), Ordering::Release);
    }
}

impl State {
    /// Whether this turn is one that may go on, when there is one that may not.
    #[cold]
    fn check(&self, expired: u64) -> std::result::Result<(), RuntimeError> {
        match expired == self.turns.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(RuntimeError::user(Box::new(TimeUp))),
        }
    }
}

impl Watchdog {
    pub(super) fn start(interrupter: Interrupter) -> Result<Self> {
        let state = Arc::new(State::default());
        let watched = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("guest watchdog".to_owned())
            .spawn(move || watch(&watched, &interrupter))
            .context("starting the guest's watchdog")?;
        Ok(Self {
            state,
            thread: Some(thread),
        })
    }

    pub(super) fn turnstile(&self) -> Turnstile {
        Turnstile(Arc::clone(&self.state))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn watch(state: &State, interrupter: &Interrupter) {
    // The turn that was under way when last looked at, and the thread's time then.
    let mut seen = (0, 0);
    while !state.over.load(Ordering::Acquire) {
        std::thread::park_timeout(INTERVAL);
        let turn = state.turns.load(Ordering::Acquire);
        if turn.is_multiple_of(2) {
            continue;
        }
        let only_computes = !state.called.swap(false, Ordering::Relaxed);
        let Some(now) = thread_time(state.thread.load(Ordering::Relaxed)) else {
            continue;
        };
        if turn != seen.0 {
            seen = (turn, now);
        } else if now.saturating_sub(seen.1) >= state.limit_ns.load(Ordering::Relaxed) {
            state.expired.store(turn, Ordering::Relaxed);
            // Not every interruption arrives; then there is a next one.
            if only_computes {
                interrupter.interrupt();
            }
        }
    }
}

/// Nanoseconds that a thread of ours has been on a processor.
fn thread_time(thread: i32) -> Option<u64> {
    // The kernel's number for the clock of a thread: its id inverted, above the bits for "of a thread" and "scheduled time".
    const PER_THREAD: i32 = 4;
    const SCHEDULED: i32 = 2;
    let clock = ClockId::from_raw((!thread << 3) | PER_THREAD | SCHEDULED);
    let time = clock_gettime(clock).ok()?;
    Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_thread_grows_with_its_work_only() {
        let me = nix::unistd::gettid().as_raw();
        let before = thread_time(me).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let slept = thread_time(me).unwrap() - before;
        assert!(slept < 20_000_000, "{slept}");
        let start = thread_time(me).unwrap();
        let mut number = 1u64;
        while thread_time(me).unwrap() - start < 5_000_000 {
            number = std::hint::black_box(number.wrapping_mul(7));
        }
        assert_eq!(thread_time(0x7fff_fffe), None);
    }
}
