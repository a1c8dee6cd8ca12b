//! For gadgets whose own code is in Rust.
//!
//! A gadget exports functions of its life cycle; the host calls them. In them it asks for data sources and fields, and subscribes
//! to events:
//!
//! ```no_run
//! use api::datasources::{DataSource, FieldKind};
//! use api::info;
//!
//! #[no_mangle]
//! fn gadgetInit() -> i32 {
//!     match init() {
//!         Ok(()) => 0,
//!         Err(error) => {
//!             api::errorf!("initializing: {error:?}");
//!             1
//!         }
//!     }
//! }
//!
//! fn init() -> api::datasources::Result<()> {
//!     let open = DataSource::get_datasource("open".to_string())?;
//!     let flags = open.get_field("flags_raw")?;
//!     let written = open.add_field("written", FieldKind::Bool)?;
//!     open.subscribe(
//!         move |_source, data| {
//!             if let Ok(flags) = flags.u32(data) {
//!                 let _ = written.set_bool(data, flags & 3 != 0);
//!             }
//!         },
//!         0,
//!     )?;
//!     info!("ready");
//!     Ok(())
//! }
//! # fn main() {}
//! ```
//!
//! | Function | Called |
//! |---|---|
//! | `gadgetInit` | when the gadget is instantiated: data sources and fields of the eBPF program are there; add your own here |
//! | `gadgetPreStart` | before anything is loaded: the last moment for [`config::set_config`] |
//! | `gadgetStart` | when the gadget is loaded: [maps](map) are there |
//! | `gadgetStop` | after the last event: maps are still there, and what is emitted now is still shown |
//! | `gadgetPostStop` | at the very end |
//!
//! All return 0 for success. On other targets than wasm every call of the host fails, so that code that does not need it can be
//! tested where it is written.

pub mod config;
pub mod datasources;
pub mod fields;
pub mod filter;
pub mod handle;
pub mod helpers;
mod host;
pub mod kallsyms;
pub mod log;
pub mod map;
pub mod params;
pub mod perf;
pub mod syscall;
pub mod version;
