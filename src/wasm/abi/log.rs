//! The gadget's log.

use crate::wasm::host::{Caller, answer, text};

/// `gadgetLog`: a message of a level from 0 (error) to 4 (trace), as it is.
pub(in crate::wasm) fn gadget_log(mut caller: Caller<'_>, level: u32, message: u64) {
    let message = text(&mut caller, message).map(Some);
    let Some(message) = answer(&mut caller, "gadgetLog", None, message) else {
        return;
    };
    match level {
        0 => tracing::error!("{message}"),
        1 => tracing::warn!("{message}"),
        2 => tracing::info!("{message}"),
        3 => tracing::debug!("{message}"),
        4 => tracing::trace!("{message}"),
        _ => tracing::warn!("unknown log level {level}: {message}"),
    }
}

/// `gadgetShouldLog`: 1 if a message of that level would be shown.
pub(in crate::wasm) fn gadget_should_log(_: Caller<'_>, level: u32) -> u32 {
    u32::from(match level {
        0 => tracing::enabled!(tracing::Level::ERROR),
        1 => tracing::enabled!(tracing::Level::WARN),
        2 => tracing::enabled!(tracing::Level::INFO),
        3 => tracing::enabled!(tracing::Level::DEBUG),
        4 => tracing::enabled!(tracing::Level::TRACE),
        _ => false,
    })
}
