//! Binaries as ELF files. They belong to containers, so nothing in them is trusted.

pub(crate) mod binary;
pub(crate) mod gopclntab;
pub(crate) mod table;
