//! Perf readers of guests.

pub(super) use crate::ebpf::buffer::per_cpu::{Next, PerCpuReader as PerfReader};
