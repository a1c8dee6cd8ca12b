//! Build, run and share eBPF programs ("gadgets") packed as OCI images.
//!
//! One event goes through this crate as
//!
//! ```text
//! eBPF program ─► ring/perf buffer ─► packet ─► pipeline (enrich → format → filter → sort → limit) ─► sink
//! ```
//!
//! and one gadget, from author to machine, as
//!
//! ```text
//! program.bpf.c + gadget.yaml ─► build ─► OCI image ─► registry / store ─► verify ─► load ─► attach ─► run
//! ```
//!
//! Each module is one room of that house; `docs/architecture.md` tells which.

pub mod build;
pub mod cli;
pub mod containers;
pub mod data;
pub mod ebpf;
pub mod error;
pub mod expr;
pub mod features;
pub mod gadget;
pub mod image;
mod local_time;
pub mod metadata;
pub mod operators;
pub mod output;
mod pattern;
mod places;
mod private_dir;
pub mod recording;
pub mod stop;
pub mod symbols;
mod text;
pub mod vm;
pub mod wasm;

pub use error::{Error, ErrorKind, Result, ResultExt};
