//! Why the guest's code ended before its time.

use std::time::Duration;

use wasmer::RuntimeError;
use wasmer::sys::vm::TrapCode;

use super::host::Host;

/// The guest asked to end, or made an error after which it must not go on.
#[derive(Debug)]
pub(super) struct Exit(pub(super) u32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "module closed with exit_code({})", self.0)
    }
}

impl std::error::Error for Exit {}

/// The guest has run for too long.
#[derive(Debug)]
pub(super) struct TimeUp;

impl std::fmt::Display for TimeUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("time is up")
    }
}

impl std::error::Error for TimeUp {}

/// What to say of `error`, that the guest's `function` ended with. A guest that exited or was interrupted is not called any more:
/// nobody knows what state it is in. One that trapped is.
pub(super) fn settle(host: &mut Host, error: &RuntimeError, function: &str, limit: Duration) -> String {
    let panic = host.output.take_tail();
    if let Some(exit) = error.downcast_ref::<Exit>() {
        let text = with_panic(exit.to_string(), panic);
        host.closed.get_or_insert_with(|| exit.to_string());
        return text;
    }
    if error.downcast_ref::<TimeUp>().is_some() || error.clone().to_trap() == Some(TrapCode::HostInterrupt) {
        let text = format!("it ran for more than {}", seconds(limit));
        host.closed
            .get_or_insert_with(|| format!("module closed: {function} ran for more than {}", seconds(limit)));
        return text;
    }
    with_panic(error.message(), panic)
}

/// The error with what the guest said on its standard error last, which is why.
fn with_panic(text: String, panic: Option<String>) -> String {
    match panic {
        Some(panic) => format!("{text}: the guest said: {panic}"),
        None => text,
    }
}

fn seconds(limit: Duration) -> String {
    format!("{limit:?}")
}
