//! The functions of module `ig`, a file per family.
//!
//! None of them trusts an argument or traps because of one: each says once what it did not like, and returns its error value.
//!
//! What guests call for every event is inlined by force: each function has two callers, of which one is hot.

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

use super::host::{Caller, Host, Returned};
use super::profile::Side;

/// Name of the module.
pub(super) const MODULE: &str = "ig";

/// Adds all functions to `imports`. Calls of a guest whose time is measured go through a layer that does it; others do not pay for that.
pub(super) fn define(imports: &mut Imports, store: &mut StoreMut<'_>, env: &FunctionEnv<Host>) {
    let measured = env.as_ref(store).profile.is_some();
    let turnstile = env.as_ref(store).turnstile.clone();
    macro_rules! functions {
        ($($name:literal => $family:ident::$function:ident($($argument:ident),*)),* $(,)?) => {$(
            {
                let turnstile = turnstile.clone();
                let function = match measured {
                    false => Function::new_typed_with_env(store, env, move |caller: Caller<'_>, $($argument),*| {
                        turnstile.called()?;
                        $family::$function(caller, $($argument),*).returned()
                    }),
                    true => Function::new_typed_with_env(store, env, move |mut caller: Caller<'_>, $($argument),*| {
                        turnstile.called()?;
                        caller.data_mut().begin(Side::Host, $name);
                        let result = $family::$function(caller.as_mut(), $($argument),*);
                        caller.data_mut().end();
                        result.returned()
                    }),
                };
                imports.define(MODULE, $name, function);
            }
        )*};
    }
    functions!(
        "gadgetLog" => log::gadget_log(level, message),
        "gadgetShouldLog" => log::gadget_should_log(level),
        "newDataSource" => sources::new_data_source(name, kind),
        "getDataSource" => sources::get_data_source(name),
        "dataSourceSubscribe" => sources::subscribe(source, kind, priority, id),
        "dataSourceGetField" => sources::get_field(source, name),
        "dataSourceAddField" => sources::add_field(source, name, kind),
        "dataSourceNewPacketSingle" => sources::new_packet_single(source),
        "dataSourceNewPacketArray" => sources::new_packet_array(source),
        "dataSourceEmitAndRelease" => sources::emit_and_release(source, packet),
        "dataSourceRelease" => sources::release(source, packet),
        "dataSourceUnreference" => sources::unreference(source),
        "dataSourceIsReferenced" => sources::is_referenced(source),
        "dataArrayNew" => arrays::new(array),
        "dataArrayAppend" => arrays::append(array, data),
        "dataArrayRelease" => arrays::release(array, data),
        "dataArrayLen" => arrays::len(array),
        "dataArrayGet" => arrays::get(array, index),
        "fieldGetScalar" => fields::get_scalar(field, data, kind, error),
        "fieldGetBuffer" => fields::get_buffer(field, data, kind, to),
        "fieldSet" => fields::set(field, data, kind, value),
        "fieldAddTag" => fields::add_tag(field, tag),
        "getParamValue" => params::get_param_value(key, to),
        "setConfig" => params::set_config(key, value, kind),
        "newMap" => maps::new_map(name, kind, key, value, entries),
        "getMap" => maps::get_map(name),
        "mapLookup" => maps::lookup(map, key, to),
        "mapUpdate" => maps::update(map, key, value, flags),
        "mapDelete" => maps::delete(map, key),
        "mapRelease" => maps::release(map),
        "releaseHandle" => maps::release_handle(handle),
        "getSyscallName" => syscalls::get_name(id, to),
        "getSyscallID" => syscalls::get_id(name),
        "getSyscallDeclaration" => syscalls::get_declaration(name, to),
        "newPerfReader" => perf::new(map, size, overwritable),
        "perfReaderPause" => perf::pause(reader),
        "perfReaderResume" => perf::resume(reader),
        "perfReaderRead" => perf::read(reader, to),
        "perfReaderClose" => perf::close(reader),
        "kallsymsSymbolExists" => kernel::symbol_exists(name),
        "shouldDiscardMntnsID" => kernel::should_discard_mntns_id(id),
    );
}
