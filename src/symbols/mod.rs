//! From addresses to names: the kernel's and those of processes.
//!
//! Binaries belong to whoever runs them. They are read in pieces by a parser of our own (`elf`), and what names are found in is copied into
//! memory before blazesym sees it, so that a file that shrinks meanwhile harms nobody.

pub(crate) mod elf;
pub mod kallsyms;
mod maps;
mod slim;
pub mod user;

pub use kallsyms::KernelSymbols;
pub use user::{BuildIds, Process, Stack, UserSymbols, UserSymbolsOptions};
