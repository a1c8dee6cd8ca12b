//! How ranges of memory are handed to the host.

/// A range of memory as one number: the length in the upper half, the address in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufPtr(pub u64);

impl BufPtr {
    /// The range of a slice, which must live as long as it is used.
    pub fn bytes(bytes: &[u8]) -> Self {
        match bytes.len() {
            0 => Self(0),
            len => Self(((len as u64) << 32) | (bytes.as_ptr() as usize as u64 & 0xffff_ffff)),
        }
    }

    /// The range of a slice that the host writes to.
    pub fn bytes_mut(bytes: &mut [u8]) -> Self {
        match bytes.len() {
            0 => Self(0),
            len => Self(((len as u64) << 32) | (bytes.as_mut_ptr() as usize as u64 & 0xffff_ffff)),
        }
    }
}

/// The range of a text.
pub fn string_to_buf_ptr(text: &str) -> BufPtr {
    BufPtr::bytes(text.as_bytes())
}

/// The range of some bytes.
pub fn bytes_to_buf_ptr(bytes: &[u8]) -> BufPtr {
    BufPtr::bytes(bytes)
}

/// The range of a value's bytes as they are in memory. The value must have no padding.
pub fn any_to_buf_ptr<T>(value: &T) -> BufPtr {
    let address = std::ptr::from_ref(value) as usize as u64;
    BufPtr(((size_of::<T>() as u64) << 32) | (address & 0xffff_ffff))
}

/// The range of a value's bytes, for the host to write to. Any bytes must be a value of that type.
pub fn any_to_buf_ptr_mut<T>(value: &mut T) -> BufPtr {
    let address = std::ptr::from_mut(value) as usize as u64;
    BufPtr(((size_of::<T>() as u64) << 32) | (address & 0xffff_ffff))
}

/// The text up to the first NUL; what is not UTF-8 in it is replaced.
pub fn from_c_string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_above_the_address() {
        let bytes = [1u8; 5];
        let range = BufPtr::bytes(&bytes).0;
        assert_eq!(range >> 32, 5);
        assert_eq!(range & 0xffff_ffff, bytes.as_ptr() as usize as u64 & 0xffff_ffff);
        assert_eq!(BufPtr::bytes(&[]).0, 0);
        assert_eq!(any_to_buf_ptr(&7u64).0 >> 32, 8);
    }

    #[test]
    fn texts_end_with_nul() {
        assert_eq!(from_c_string(b"abc\0def"), "abc");
        assert_eq!(from_c_string(b"abc"), "abc");
        assert_eq!(from_c_string(b"\xffa\0"), "\u{fffd}a");
    }
}
