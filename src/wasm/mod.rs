//! A gadget's own code: a wasm module that adds data sources and fields, sees packets on their way, and has a part in the gadget's
//! life.
//!
//! A [`Guest`] is such a module in a sandbox: it can do what the functions of module `ig` (`abi`) let it do, within
//! [`limits`], and nothing else; WASI is there and closed (`wasi`). Whatever a guest does wrong gets an error value, or ends its function.
//!
//! A guest is one instance behind one lock (`events`): at any time it runs for one packet, or in one function of its life cycle.
//! Code that it calls may call it again on the same thread.
//!
//! Compiled modules are kept on disk (`cache`). Gadgets without a module never get here.

mod abi;
mod cache;
mod engine;
mod events;
mod handles;
mod host;
mod inspect;
mod kallsyms;
pub mod limits;
mod lines;
mod maps;
mod memory;
mod perf;
mod phases;
mod profile;
mod syscalls;
#[cfg(test)]
mod tests;
mod trap;
mod undeclared;
mod wasi;
mod watchdog;

pub use inspect::upcalls;
pub use phases::{API_VERSION, Guest, GuestOptions, PARAM_PREFIX};
pub use profile::{FunctionTime, Profile, Side};
