//! The functions of module `ig`, a file per family.
//!
//! None of them trusts an argument or traps because of one: each says once what it did not like, and returns its error value.

mod arrays;
mod fields;
mod kernel;
mod log;
mod maps;
mod params;
mod perf;
mod sources;
mod syscalls;

use wasmer::{Function, FunctionEnv, Imports, StoreMut};

use super::host::Host;

/// Name of the module.
pub(super) const MODULE: &str = "ig";

/// Adds all functions to `imports`.
pub(super) fn define(imports: &mut Imports, store: &mut StoreMut<'_>, env: &FunctionEnv<Host>) {
    macro_rules! functions {
        ($($name:literal => $function:path),* $(,)?) => {$(
            imports.define(MODULE, $name, Function::new_typed_with_env(store, env, $function));
        )*};
    }
    functions!(
        "gadgetLog" => log::gadget_log,
        "gadgetShouldLog" => log::gadget_should_log,
        "newDataSource" => sources::new_data_source,
        "getDataSource" => sources::get_data_source,
        "dataSourceSubscribe" => sources::subscribe,
        "dataSourceGetField" => sources::get_field,
        "dataSourceAddField" => sources::add_field,
        "dataSourceNewPacketSingle" => sources::new_packet_single,
        "dataSourceNewPacketArray" => sources::new_packet_array,
        "dataSourceEmitAndRelease" => sources::emit_and_release,
        "dataSourceRelease" => sources::release,
        "dataSourceUnreference" => sources::unreference,
        "dataSourceIsReferenced" => sources::is_referenced,
        "dataArrayNew" => arrays::new,
        "dataArrayAppend" => arrays::append,
        "dataArrayRelease" => arrays::release,
        "dataArrayLen" => arrays::len,
        "dataArrayGet" => arrays::get,
        "fieldGetScalar" => fields::get_scalar,
        "fieldGetBuffer" => fields::get_buffer,
        "fieldSet" => fields::set,
        "fieldAddTag" => fields::add_tag,
        "getParamValue" => params::get_param_value,
        "setConfig" => params::set_config,
        "newMap" => maps::new_map,
        "getMap" => maps::get_map,
        "mapLookup" => maps::lookup,
        "mapUpdate" => maps::update,
        "mapDelete" => maps::delete,
        "mapRelease" => maps::release,
        "releaseHandle" => maps::release_handle,
        "getSyscallName" => syscalls::get_name,
        "getSyscallID" => syscalls::get_id,
        "getSyscallDeclaration" => syscalls::get_declaration,
        "newPerfReader" => perf::new,
        "perfReaderPause" => perf::pause,
        "perfReaderResume" => perf::resume,
        "perfReaderRead" => perf::read,
        "perfReaderClose" => perf::close,
        "kallsymsSymbolExists" => kernel::symbol_exists,
        "shouldDiscardMntnsID" => kernel::should_discard_mntns_id,
    );
}
