//! Skeletons of the gadgets below `tests/gadgets`: a module for each, called as its directory is.

#![allow(clippy::all, clippy::undocumented_unsafe_blocks, dead_code, unused_imports)]

include!(concat!(env!("OUT_DIR"), "/skeletons.rs"));
