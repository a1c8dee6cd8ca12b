//! One gadget: its metadata, its parameters and its life from instantiation to stop.

pub mod config;
pub mod duration;
pub mod metadata;
pub mod yaml;
