//! Clients of container runtimes.

pub(super) mod docker;
