//! From a gadget’s source directory to an OCI image: clang, metadata, packing.

pub mod clang;
pub mod strip;
pub mod tar;
#[cfg(test)]
pub(crate) mod testing;
