//! The gadget's configuration: what gadget.yaml says.

use crate::datasources::FieldKind;
use crate::helpers::string_to_buf_ptr;
use crate::host;

/// What can be a value.
pub trait Allowed {
    /// As the host takes it: the kind, and the text.
    #[doc(hidden)]
    fn parts(&self) -> (FieldKind, &str);
}

impl Allowed for String {
    fn parts(&self) -> (FieldKind, &str) {
        (FieldKind::String, self)
    }
}

impl Allowed for &str {
    fn parts(&self) -> (FieldKind, &str) {
        (FieldKind::String, self)
    }
}

/// Sets the value at a dotted path, for whoever reads it later: `programs.NAME.attach_to` until `gadgetPreStart`, and what concerns a data
/// source before that is made.
pub fn set_config<T: Allowed>(key: String, value: T) -> Result<(), String> {
    let (kind, text) = value.parts();
    match host::set_config(string_to_buf_ptr(&key).0, string_to_buf_ptr(text).0, kind as u32) {
        0 => Ok(()),
        _ => Err(format!("setting {key:?} failed")),
    }
}
