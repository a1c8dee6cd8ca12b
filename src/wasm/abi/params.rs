//! Parameters and configuration.

use std::sync::Arc;

use crate::data::{Scalar, scalar_of};
use crate::wasm::host::{Answer, Caller, Host, status, store_bytes, text};

/// `getParamValue`: the value of a parameter of the guest's, as somebody gave it.
pub(in crate::wasm) fn get_param_value(mut caller: Caller<'_>, key: u64, to: u64) -> u32 {
    let value = text(&mut caller, key).and_then(|key| {
        let value = caller.data().params.get(&key);
        value
            .map(str::to_owned)
            .ok_or_else(|| format!("parameter {key:?} not found").into())
    });
    let result = value.and_then(|value| match value.is_empty() {
        true => Ok(()),
        false => store_bytes(&mut caller, to, value.as_bytes()),
    });
    status(&mut caller, "getParamValue", result)
}

/// `setConfig`: sets a text in the gadget's configuration, for whoever reads it later.
pub(in crate::wasm) fn set_config(mut caller: Caller<'_>, key: u64, value: u64, kind: u32) -> u32 {
    let texts = text(&mut caller, key).and_then(|key| Ok((key, text(&mut caller, value)?)));
    let result = try_set_config(caller.data_mut(), texts, kind);
    status(&mut caller, "setConfig", result)
}

fn try_set_config(host: &mut Host, texts: Answer<(String, String)>, kind: u32) -> Answer<()> {
    if host.config.is_none() {
        return Err("there is no configuration that could still be changed".into());
    }
    if scalar_of(kind) != Some(Scalar::String) {
        return Err("only texts can be set".into());
    }
    let (key, value) = texts?;
    host.charge(key.len() + value.len())?;
    // Parts deep down cost more than their bytes, and nobody reads them.
    const DEEPEST: usize = 64;
    let path: Vec<&str> = key.split('.').collect();
    if path.len() > DEEPEST {
        return Err("the key has too many parts".into());
    }
    if let Some(config) = &mut host.config {
        Arc::make_mut(config).set(&path, value);
    }
    Ok(())
}
