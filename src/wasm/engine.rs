//! The engine: wasmer with Cranelift, limited to what guests need, and the way from a module's bytes to code.

use std::path::Path;
use std::ptr::NonNull;

use wasmer::sys::vm::{VMMemory, VMMemoryDefinition, VMTable, VMTableDefinition};
use wasmer::sys::{
    BaseTunables, CpuFeature, Cranelift, CraneliftOptLevel, Features, NativeEngineExt, Target, Tunables,
};
use wasmer::{Engine, MemoryError, MemoryStyle, MemoryType, Module, Pages, TableStyle, TableType};

use super::cache::{Cache, Key};
use super::limits::{MEMORY_PAGES, MODULE_BYTES, TABLE_ENTRIES};
use crate::{Error, Result};

/// What compiled code depends on besides the module: another engine gets other entries of the cache.
const ENGINE: &str = concat!("wasmer 7.4.0 cranelift speed, ", env!("CARGO_PKG_VERSION"));

/// The engine for one instance.
pub(super) fn engine() -> Engine {
    let mut compiler = Cranelift::new();
    compiler.opt_level(CraneliftOptLevel::Speed);
    let mut features = Features::none();
    features
        .reference_types(true)
        .simd(true)
        .bulk_memory(true)
        .multi_value(true)
        .extended_const(true);
    let mut engine = <Engine as NativeEngineExt>::new(Box::new(compiler), Target::default(), features);
    engine.set_tunables(Limited(BaseTunables::new()));
    engine
}

/// The code of the module `wasm`: from the cache in `cache`, else compiled, and then kept there.
///
/// # Errors
///
/// When it is no module that the engine takes.
pub(super) fn load(engine: &Engine, wasm: &[u8], cache: Option<&Path>) -> Result<Module> {
    if wasm.len() > MODULE_BYTES {
        return Err(Error::invalid(format!(
            "the module is larger than {} MiB",
            MODULE_BYTES >> 20
        )));
    }
    let cache = cache.and_then(Cache::open);
    let key = Key::of(&format!("{ENGINE}, {:?}", CpuFeature::for_host()), wasm);
    if let Some(entry) = cache.as_ref().and_then(|cache| cache.find(&key)) {
        // SAFETY: the entry was serialized by this version of the engine for this processor, which the key says. Only we can write
        // to the directory, and the checksum is that of what we wrote.
        match unsafe { Module::deserialize(engine, entry) } {
            Ok(module) => return Ok(module),
            Err(why) => tracing::debug!("wasm cache: an entry is compiled anew: {why}"),
        }
    }
    let module = Module::new(engine, wasm).map_err(|error| Error::invalid(error.to_string()))?;
    if let Some(cache) = cache {
        match module.serialize() {
            Ok(code) => cache.keep(&key, &code),
            Err(why) => tracing::debug!("wasm cache: not kept: {why}"),
        }
    }
    Ok(module)
}

/// Lowers what modules ask for to [limits](super::limits).
struct Limited(BaseTunables);

impl Limited {
    fn memory(ty: &MemoryType) -> Result<MemoryType, MemoryError> {
        let most = Pages(MEMORY_PAGES);
        if ty.minimum > most {
            return Err(MemoryError::Generic(format!(
                "section memory: min {} pages over limit of {MEMORY_PAGES} pages (16 MiB)",
                ty.minimum.0
            )));
        }
        if ty.shared {
            return Err(MemoryError::Generic("shared memories are not supported".to_owned()));
        }
        let mut ty = *ty;
        ty.maximum = Some(ty.maximum.map_or(most, |maximum| maximum.min(most)));
        Ok(ty)
    }

    fn table(ty: &TableType) -> Result<TableType, String> {
        if ty.minimum > TABLE_ENTRIES {
            return Err(format!(
                "a table of {} entries is over the limit of {TABLE_ENTRIES}",
                ty.minimum
            ));
        }
        let mut ty = *ty;
        // No compiler makes code that lets tables grow, and what never allocates can always be interrupted.
        ty.maximum = Some(ty.minimum);
        Ok(ty)
    }
}

impl Tunables for Limited {
    fn memory_style(&self, memory: &MemoryType) -> MemoryStyle {
        self.0.memory_style(memory)
    }

    fn table_style(&self, table: &TableType) -> TableStyle {
        self.0.table_style(table)
    }

    fn create_host_memory(&self, ty: &MemoryType, style: &MemoryStyle) -> Result<VMMemory, MemoryError> {
        self.0.create_host_memory(&Self::memory(ty)?, style)
    }

    unsafe fn create_vm_memory(
        &self,
        ty: &MemoryType,
        style: &MemoryStyle,
        location: NonNull<VMMemoryDefinition>,
    ) -> Result<VMMemory, MemoryError> {
        let ty = Self::memory(ty)?;
        // SAFETY: the caller's promise about `location` is handed on.
        unsafe { self.0.create_vm_memory(&ty, style, location) }
    }

    fn create_host_table(&self, ty: &TableType, style: &TableStyle) -> Result<VMTable, String> {
        self.0.create_host_table(&Self::table(ty)?, style)
    }

    unsafe fn create_vm_table(
        &self,
        ty: &TableType,
        style: &TableStyle,
        location: NonNull<VMTableDefinition>,
    ) -> Result<VMTable, String> {
        let ty = Self::table(ty)?;
        // SAFETY: the caller's promise about `location` is handed on.
        unsafe { self.0.create_vm_table(&ty, style, location) }
    }
}
