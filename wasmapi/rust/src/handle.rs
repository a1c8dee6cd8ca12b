//! Handles.

use crate::host;

/// Forgets a handle. Maps that were made with [`Map::new`](crate::map::Map::new) are closed by that.
pub fn release_handle<T: Into<u32>>(handle: T) -> Result<(), String> {
    let handle = handle.into();
    match host::release_handle(handle) {
        0 => Ok(()),
        _ => Err(format!("releasing handle {handle} failed")),
    }
}
