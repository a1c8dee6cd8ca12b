//! Interrupts: the first asks the run to end, the second ends the process at once.
//!
//! SIGINT and SIGTERM are blocked in every thread and taken by one thread of ours, so that no code runs inside a signal handler.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal};

use crate::stop::StopSignal;
use crate::{Result, ResultExt};

/// Takes interrupts from when it is made. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Interrupts {
    run: Arc<Mutex<Option<StopSignal>>>,
    came: Arc<AtomicBool>,
}

impl Interrupts {
    /// Must be called while the process has one thread: threads inherit which signals are blocked.
    pub(super) fn take() -> Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block().context("blocking signals")?;
        let run: Arc<Mutex<Option<StopSignal>>> = Arc::default();
        let target = Arc::clone(&run);
        let came = Arc::new(AtomicBool::new(false));
        let comes = Arc::clone(&came);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                loop {
                    let Ok(signal) = signals.wait() else { continue };
                    comes.store(true, Ordering::Release);
                    match &*target.lock().unwrap_or_else(PoisonError::into_inner) {
                        // Nothing runs yet that would have to be undone: end as if the signal had not been taken.
                        None => exit_at_once(128 + signal as i32),
                        Some(run) if run.is_requested() => exit_at_once(1),
                        Some(run) => run.request(),
                    }
                }
            })
            .context("starting the signal thread")?;
        Ok(Self { run, came })
    }

    /// Whether there was an interrupt.
    pub(super) fn came(&self) -> bool {
        self.came.load(Ordering::Acquire)
    }

    /// From now on an interrupt ends `run`.
    pub(super) fn end(&self, run: StopSignal) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }
}

/// Ends without running destructors of other threads' data, which may be in use.
fn exit_at_once(status: i32) -> ! {
    super::top::screen::restore();
    // SAFETY: `_exit` may be called from any thread at any time; it does not return.
    unsafe { libc::_exit(status) }
}
