//! What a gadget says of itself and can be told: the configuration tree, parameters, durations.

pub mod params;

pub mod config;
pub mod duration;
pub mod yaml;
