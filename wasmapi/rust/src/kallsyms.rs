//! Symbols of the running kernel.

use crate::helpers::string_to_buf_ptr;
use crate::host;

/// Whether the kernel has exactly one symbol of that name, so that a kprobe can be attached to it.
pub fn kallsyms_symbol_exists(symbol: &str) -> bool {
    host::kallsyms_symbol_exists(string_to_buf_ptr(symbol).0) == 1
}
