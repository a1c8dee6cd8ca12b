//! What a gadget says of itself and can be told: the configuration tree, parameters, durations.

pub mod params;
