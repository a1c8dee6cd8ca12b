//! The version of the interface.

/// What the host asks first.
#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetAPIVersion() -> u64 {
    1
}
