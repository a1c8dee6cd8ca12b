//! Kernel symbols, and the filter of mount namespaces.

use libbpf_rs::{MapCore, MapFlags};

use crate::wasm::host::{Caller, Host, answer, text};
use crate::wasm::kallsyms;
use crate::wasm::limits::FREE_LOOKUPS;

/// `kallsymsSymbolExists`: 1 if the kernel has exactly one symbol of that name.
pub(in crate::wasm) fn symbol_exists(mut caller: Caller<'_>, symbol: u64) -> u32 {
    let result = text(&mut caller, symbol).map(|symbol| u32::from(has_one(caller.data_mut(), &symbol)));
    answer(&mut caller, "kallsymsSymbolExists", 0, result)
}

/// The kernel takes its time to write its list of symbols: on a slow machine a few of them would be all that the guest may take. So the
/// first ones are looked up by another thread, whose time is not the guest's.
fn has_one(host: &mut Host, symbol: &str) -> bool {
    if host.lookups >= FREE_LOOKUPS {
        return kallsyms::has_one(symbol);
    }
    host.lookups += 1;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || kallsyms::has_one(symbol));
        match thread {
            Ok(thread) => thread.join().unwrap_or(false),
            Err(_) => kallsyms::has_one(symbol),
        }
    })
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
