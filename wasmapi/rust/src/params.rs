//! Parameters of the gadget, as `params.wasm` in gadget.yaml declares them.

use crate::helpers::{from_c_string, string_to_buf_ptr, BufPtr};
use crate::host;

/// The value of a parameter, which has at most `max_size` bytes. Values are known from `gadgetPreStart` on.
pub fn get_param_value(key: String, max_size: u64) -> Result<String, String> {
    let mut value = vec![0; usize::try_from(max_size).map_err(|error| error.to_string())?];
    match host::get_param_value(string_to_buf_ptr(&key).0, BufPtr::bytes_mut(&mut value).0) {
        0 => Ok(from_c_string(&value)),
        _ => Err(format!("getting parameter {key:?} failed")),
    }
}
