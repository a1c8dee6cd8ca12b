//! What a gadget says of itself and can be told: the configuration tree, parameters, durations. Pure, no I/O.

pub mod config;
pub mod duration;
pub(crate) mod layout;
pub mod params;
pub mod yaml;
