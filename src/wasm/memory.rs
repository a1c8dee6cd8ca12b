//! The guest's memory, and the pointers with a length by which it passes ranges of it.

use wasmer::{AsStoreRef, Memory, MemoryView};

use super::host::Refusal;

/// A range of the guest's memory as one number: the length in the upper half, the address in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufPtr(pub(super) u64);

impl BufPtr {
    pub(super) fn address(self) -> u64 {
        self.0 & 0xffff_ffff
    }

    pub(super) fn len(self) -> usize {
        (self.0 >> 32) as usize
    }

    /// Whether it lies in `view`. The number 0 is the empty range, which is nowhere.
    pub(super) fn check(self, view: &MemoryView<'_>) -> Result<(), Refusal> {
        match self.0 == 0 || self.address() + self.len() as u64 <= view.data_size() {
            true => Ok(()),
            false => Err(OUTSIDE.into()),
        }
    }
}

const OUTSIDE: &str = "a pointer is outside of the guest's memory";

/// The guest's memory while a host function runs. Anything that lets the guest run may move it.
pub(super) fn view<'s>(memory: Option<&Memory>, store: &'s impl AsStoreRef) -> Result<MemoryView<'s>, Refusal> {
    match memory {
        Some(memory) => Ok(memory.view(store)),
        None => Err("the guest has no memory yet".into()),
    }
}

/// A copy of what the guest passes.
pub(super) fn read(view: &MemoryView<'_>, range: BufPtr) -> Result<Vec<u8>, Refusal> {
    range.check(view)?;
    let mut bytes = vec![0; range.len()];
    if !bytes.is_empty() {
        view.read(range.address(), &mut bytes).map_err(|_| OUTSIDE)?;
    }
    Ok(bytes)
}

/// A text that the guest passes; what is not UTF-8 in it is replaced.
pub(super) fn read_text(view: &MemoryView<'_>, range: BufPtr) -> Result<String, Refusal> {
    let bytes = read(view, range)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Writes to the beginning of a range that the guest gave for it. All of `bytes` or nothing; what follows them stays as it is.
pub(super) fn write(view: &MemoryView<'_>, range: BufPtr, bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.len() > range.len() {
        return Err(format!(
            "the guest's buffer has {} bytes, {} are needed",
            range.len(),
            bytes.len()
        )
        .into());
    }
    view.write(range.address(), bytes).map_err(|_| OUTSIDE.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_above_the_address() {
        let range = BufPtr(0x0000_0005_0000_1000);
        assert_eq!((range.len(), range.address()), (5, 0x1000));
        assert_eq!(
            (BufPtr(u64::MAX).len(), BufPtr(u64::MAX).address()),
            (0xffff_ffff, 0xffff_ffff)
        );
    }
}
