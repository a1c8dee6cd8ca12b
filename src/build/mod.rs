//! From a gadget’s source directory to an OCI image: clang, metadata, packing.
//!
//! ```text
//! build.yaml ─► Source ─► clang for each architecture ─► strip ─► update and validate gadget.yaml ─► Built
//! ```
//!
//! clang is the only program that is needed for eBPF: the headers come with us, and DWARF is dropped here. A gadget's own code is built with
//! the user's go or cargo. The same source and the same
//! clang give the same bytes, wherever they are.

mod btfgen;
mod cache;
pub mod clang;
pub mod headers;
pub mod metadata;
mod pack;
mod pipeline;
mod source;
pub mod strip;
pub mod tar;
#[cfg(test)]
pub(crate) mod testing;
mod wasm;
mod watch;

pub use clang::Target;
pub use pipeline::{BuildEvent, BuildOptions, Built, build_gadget};
pub use source::{BUILD_FILE, Source, is_source_path};
pub use watch::SourceWatch;
