//! What a compiled gadget is made of, without loading it: the extra information that `ig image inspect` shows.
//!
//! Everything here is a pure function of the object's bytes, which may come from anywhere: no input makes it panic, recurse
//! without bound or call into the kernel.

pub mod btf;
pub mod object;
