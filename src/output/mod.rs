//! Encoders: from elements to the bytes that readers get.
//!
//! An encoder is compiled from a data source before the first event: which fields, in which order, with which text between
//! them. Encoding an event then looks nothing up and allocates nothing; it appends to a buffer and does no I/O. Writing that
//! buffer is the business of [`operators::sink`](crate::operators::sink).
//!
//! What comes from a traced process is data, never formatting: JSON and YAML escape it by their own rules, and columns escape
//! everything that a terminal could take for a command.

pub mod columns;
pub mod csv;
pub mod fields;
pub mod histogram;
pub mod json;
pub mod loss;
mod memo;
pub mod mode;
pub(crate) mod number;
pub mod pcapng;
mod plan;
mod point;
pub mod profile;
mod repeats;
mod scan;
pub mod schema;
pub(crate) mod terminal;
#[cfg(test)]
pub(crate) mod testing;
mod tree;
mod watch;
pub mod yaml;
