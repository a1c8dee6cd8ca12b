//! The elements of an array packet.

use super::element::Element;
use crate::{Error, Result};

/// Leaves the first `len` elements of an array.
///
/// # Errors
///
/// When there are fewer: whoever wants more appends them, with their values.
pub fn resize(elements: &mut Vec<Element>, len: usize) -> Result<()> {
    if len > elements.len() {
        return Err(Error::invalid("resizing to a larger size is not supported"));
    }
    elements.truncate(len);
    Ok(())
}
