//! One gadget: its metadata, its parameters and its life from instantiation to stop.

pub mod metadata;
