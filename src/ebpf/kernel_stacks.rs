//! The texts of kernel stacks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::operators::{RecordedStack, StackKey, StackMaps};
use crate::symbols::KernelSymbols;

/// Texts that are kept; then all are made anew.
const MAX_KEPT: usize = 16_384;

/// Makes the texts of stacks, each once: an id means the same stack as long as its map is there.
#[derive(Debug)]
pub(super) struct KernelStackTexts {
    maps: StackMaps,
    /// Once somebody has needed them.
    symbols: Option<Arc<KernelSymbols>>,
    kept: HashMap<u32, Vec<u8>>,
}

impl KernelStackTexts {
    pub(super) fn new(maps: StackMaps) -> Self {
        Self {
            maps,
            symbols: None,
            kept: HashMap::new(),
        }
    }

    /// Appends the text of stack `id`; nothing if there is none.
    pub(super) fn append(&mut self, id: u32, out: &mut Vec<u8>) {
        if let Some(text) = self.kept.get(&id) {
            out.extend_from_slice(text);
        } else if let Some(text) = self.make(id) {
            out.extend_from_slice(text);
        }
    }

    /// Stack `id` with its text, if there is one that has not been described before.
    pub(super) fn describe(&mut self, id: u32) -> Option<RecordedStack> {
        if self.kept.contains_key(&id) {
            return None;
        }
        let text = String::from_utf8_lossy(self.make(id)?).into_owned();
        Some(RecordedStack {
            key: StackKey::Kernel(id),
            texts: vec![text],
        })
    }

    fn make(&mut self, id: u32) -> Option<&[u8]> {
        let addresses = self.maps.kernel_stack(id)?;
        let symbols = self.symbols.get_or_insert_with(symbols);
        let mut text = Vec::new();
        symbols.append_stack(addresses, &mut text);
        if self.kept.len() >= MAX_KEPT {
            self.kept.clear();
        }
        Some(self.kept.entry(id).insert_entry(text).into_mut())
    }
}

/// The symbols of the running kernel, which all who need them share. Without them every function is unknown.
fn symbols() -> Arc<KernelSymbols> {
    static SHARED: Mutex<Weak<KernelSymbols>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(symbols) = shared.upgrade() {
        return symbols;
    }
    let symbols = KernelSymbols::running(Path::new("/proc")).unwrap_or_else(|error| {
        tracing::warn!("functions of the kernel have no names: {error}");
        KernelSymbols::default()
    });
    let symbols = Arc::new(symbols);
    *shared = Arc::downgrade(&symbols);
    symbols
}
