//! What a gadget says of itself and can be told: the configuration tree, parameters, durations. Pure, no I/O.

pub mod config;
pub mod custom;
pub mod duration;
pub(crate) mod layout;
pub mod params;
mod source_settings;
pub mod template;
pub mod yaml;

pub use source_settings::SourceSettings;
