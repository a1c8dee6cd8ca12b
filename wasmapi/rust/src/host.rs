//! The functions of the host.
//!
//! All of them take numbers only, so calling them is safe as long as the ranges of memory that they are given are what
//! [`BufPtr`](crate::helpers::BufPtr) makes of slices that live during the call.

macro_rules! functions {
    ($($(#[$doc:meta])* $link:literal $name:ident($($arg:ident: $kind:ty),*) $(-> $result:ty = $fails:expr)?;)*) => {
        #[cfg(target_arch = "wasm32")]
        mod imported {
            #[link(wasm_import_module = "ig")]
            extern "C" {
                $(#[link_name = $link] pub(super) fn $name($($arg: $kind),*) $(-> $result)?;)*
            }
        }

        $(
            $(#[$doc])*
            #[cfg(target_arch = "wasm32")]
            pub(crate) fn $name($($arg: $kind),*) $(-> $result)? {
                // SAFETY: see the module documentation.
                unsafe { imported::$name($($arg),*) }
            }

            /// There is no host here: as if it failed.
            #[cfg(not(target_arch = "wasm32"))]
            pub(crate) fn $name($($arg: $kind),*) $(-> $result)? {
                $(let _ = $arg;)*
                $($fails)?
            }
        )*
    };
}

functions! {
    "gadgetLog" gadget_log(level: u32, message: u64);
    "gadgetShouldLog" gadget_should_log(level: u32) -> u32 = 0;
    "newDataSource" new_data_source(name: u64, kind: u32) -> u32 = 0;
    "getDataSource" get_data_source(name: u64) -> u32 = 0;
    "dataSourceSubscribe" data_source_subscribe(source: u32, kind: u32, priority: u32, id: u64) -> u32 = 1;
    "dataSourceGetField" data_source_get_field(source: u32, name: u64) -> u32 = 0;
    "dataSourceAddField" data_source_add_field(source: u32, name: u64, kind: u32) -> u32 = 0;
    "dataSourceNewPacketSingle" data_source_new_packet_single(source: u32) -> u32 = 0;
    "dataSourceNewPacketArray" data_source_new_packet_array(source: u32) -> u32 = 0;
    "dataSourceEmitAndRelease" data_source_emit_and_release(source: u32, packet: u32) -> u32 = 1;
    "dataSourceRelease" data_source_release(source: u32, packet: u32) -> u32 = 1;
    "dataSourceUnreference" data_source_unreference(source: u32) -> u32 = 1;
    "dataSourceIsReferenced" data_source_is_referenced(source: u32) -> u32 = 2;
    "dataArrayNew" data_array_new(array: u32) -> u32 = 0;
    "dataArrayAppend" data_array_append(array: u32, data: u32) -> u32 = 1;
    "dataArrayRelease" data_array_release(array: u32, data: u32) -> u32 = 1;
    "dataArrayLen" data_array_len(array: u32) -> u32 = 0;
    "dataArrayGet" data_array_get(array: u32, index: u32) -> u32 = 0;
    "fieldGetScalar" field_get_scalar_at(field: u32, data: u32, kind: u32, error: u32) -> u64 = 0;
    "fieldGetBuffer" field_get_buffer(field: u32, data: u32, kind: u32, to: u64) -> i32 = -1;
    "fieldSet" field_set(field: u32, data: u32, kind: u32, value: u64) -> u32 = 1;
    "fieldAddTag" field_add_tag(field: u32, tag: u64) -> u32 = 1;
    "getParamValue" get_param_value(key: u64, to: u64) -> u32 = 1;
    "setConfig" set_config(key: u64, value: u64, kind: u32) -> u32 = 1;
    "newMap" new_map(name: u64, kind: u32, key_size: u32, value_size: u32, max_entries: u32) -> u32 = 0;
    "getMap" get_map(name: u64) -> u32 = 0;
    "mapLookup" map_lookup(map: u32, key: u64, to: u64) -> u32 = 1;
    "mapUpdate" map_update(map: u32, key: u64, value: u64, flags: u64) -> u32 = 1;
    "mapDelete" map_delete(map: u32, key: u64) -> u32 = 1;
    "mapRelease" map_release(map: u32) -> u32 = 1;
    "releaseHandle" release_handle(handle: u32) -> u32 = 1;
    "getSyscallName" get_syscall_name(id: u32, to: u64) -> u32 = 1;
    "getSyscallID" get_syscall_id(name: u64) -> i32 = -1;
    "getSyscallDeclaration" get_syscall_declaration(name: u64, to: u64) -> u32 = 1;
    "newPerfReader" new_perf_reader(map: u32, size: u32, overwritable: u32) -> u32 = 0;
    "perfReaderPause" perf_reader_pause(reader: u32) -> u32 = 1;
    "perfReaderResume" perf_reader_resume(reader: u32) -> u32 = 1;
    "perfReaderRead" perf_reader_read(reader: u32, to: u64) -> u32 = 1;
    "perfReaderClose" perf_reader_close(reader: u32) -> u32 = 1;
    "kallsymsSymbolExists" kallsyms_symbol_exists(symbol: u64) -> u32 = 0;
    "shouldDiscardMntnsID" should_discard_mntns_id(id: u64) -> u32 = 1;
}

/// The value of a field in 64 bits; `None` if it could not be read.
pub(crate) fn field_get_scalar(field: u32, data: u32, kind: u32) -> Option<u64> {
    // The host writes here only when it fails. Where there is no host it always does.
    let mut failed = u32::from(cfg!(not(target_arch = "wasm32")));
    let value = field_get_scalar_at(field, data, kind, &raw mut failed as usize as u32);
    // SAFETY: it is a local of ours, which the host may have written to behind the compiler's back.
    (unsafe { std::ptr::read_volatile(&raw const failed) } == 0).then_some(value)
}
