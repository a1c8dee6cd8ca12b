//! Kernel symbols, and the filter of mount namespaces.

use libbpf_rs::{MapCore, MapFlags};

use crate::wasm::host::{Caller, answer, text};
use crate::wasm::kallsyms;

/// `kallsymsSymbolExists`: 1 if the kernel has exactly one symbol of that name.
pub(in crate::wasm) fn symbol_exists(mut caller: Caller<'_>, symbol: u64) -> u32 {
    let result = text(&mut caller, symbol).map(|symbol| u32::from(kallsyms::has_one(&symbol)));
    answer(&mut caller, "kallsymsSymbolExists", 0, result)
}

/// `shouldDiscardMntnsID`: 1 if events of that mount namespace are not asked for.
pub(in crate::wasm) fn should_discard_mntns_id(caller: Caller<'_>, id: u64) -> u32 {
    let Some(filter) = &caller.data().mntns_filter else {
        return 0;
    };
    match filter.lookup(&id.to_ne_bytes(), MapFlags::ANY) {
        Ok(Some(_)) => 0,
        _ => 1,
    }
}
