//! What a guest may use, in one place. A guest that wants more gets an error; the host and other gadgets notice nothing.

use std::time::Duration;

/// Pages (64 KiB) of linear memory. A module that declares more as its minimum is refused, a larger maximum is lowered.
pub const MEMORY_PAGES: u32 = 256;
/// Entries of all tables of a module together; tables do not grow.
pub const TABLE_ENTRIES: u32 = 1 << 20;
/// Bytes of a module.
pub const MODULE_BYTES: usize = 64 << 20;
/// Handles open at the same time.
pub const HANDLES: usize = 4096;
/// Data sources that a guest makes.
pub const SOURCES: usize = 256;
/// Fields of a data source to which a guest adds.
pub const FIELDS: usize = 4096;
/// Subscriptions.
pub const SUBSCRIPTIONS: usize = 4096;
/// Elements of an array to which a guest appends.
pub const ARRAY_ELEMENTS: usize = 1 << 20;
/// Bytes of host memory for what a guest keeps: packets that it holds, texts of fields, tags and configuration.
pub const KEPT_BYTES: usize = 256 << 20;
/// Emissions by the guest of a source within emissions of the same one.
pub const NESTED_EMISSIONS: usize = 1024;
/// Symbols of the kernel that are looked up without counting as the guest's time.
pub const FREE_LOOKUPS: u32 = 16;
/// Warnings about one host function; later ones are counted.
pub const WARNINGS: u32 = 10;
/// Bytes of one line of the guest's standard error.
pub const LOG_LINE: usize = 4096;

/// How long a guest may compute in one call.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// In functions of the life cycle.
    pub phase: Duration,
    /// In a callback, per event.
    pub callback: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            phase: Duration::from_secs(10),
            callback: Duration::from_secs(1),
        }
    }
}
