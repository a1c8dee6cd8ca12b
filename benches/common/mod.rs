//! What benches share.

#![allow(dead_code, unreachable_pub)]

use std::process::ExitCode;
use std::time::Duration;

use inspektor_gadget::{Result, ResultExt};
use nix::time::{ClockId, clock_gettime};

/// How a bench ends: an error is said, and is a failure.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The processor time that all threads of this process have had.
pub fn processor_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).context("reading the clock")?;
    Ok(time.into())
}
