//! The signal that ends a run.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Error;

/// Ends a run, from any thread. Clones are the same signal.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    state: Arc<(Mutex<StopState>, Condvar)>,
}

#[derive(Debug, Default)]
struct StopState {
    requested: bool,
    failure: Option<Error>,
}

impl StopSignal {
    /// Asks the run to end as it would at its time-out.
    pub fn request(&self) {
        self.set(None);
    }

    /// Ends the run because of `error`. The first error counts.
    pub fn fail(&self, error: Error) {
        self.set(Some(error));
    }

    /// Whether the run has been asked to end.
    pub fn is_requested(&self) -> bool {
        self.lock().requested
    }

    /// Waits until the run is asked to end or `timeout` is over, whatever comes first.
    pub fn wait(&self, timeout: Option<Duration>) {
        let state = self.lock();
        let waiting = |state: &mut StopState| !state.requested;
        // A poisoned lock means that a thread died while it asked for the end.
        match timeout {
            None => drop(self.state.1.wait_while(state, waiting)),
            Some(timeout) => drop(self.state.1.wait_timeout_while(state, timeout, waiting)),
        }
    }

    /// The error that ended the run, if one did.
    pub fn take_failure(&self) -> Option<Error> {
        self.lock().failure.take()
    }

    fn set(&self, failure: Option<Error>) {
        let mut state = self.lock();
        state.requested = true;
        if state.failure.is_none() {
            state.failure = failure;
        }
        self.state.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, StopState> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
