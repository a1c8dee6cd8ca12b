//! Taps: what gets a copy of every raw record that arrives, whatever becomes of it.

use super::loss::LossPlace;

/// Gets what arrives at an [`Inlet`](super::Inlet), in order.
pub trait Tap: Send {
    /// A record arrived. It is told after the gate has looked at it and before anything that follows from that.
    fn record(&mut self, record: &[u8]);
    /// Records of an array data source arrived, which belong together.
    fn batch(&mut self, records: &mut dyn Iterator<Item = &[u8]>);
    /// `count` records were lost on their way here, after the last one that arrived.
    fn lost(&mut self, place: LossPlace, count: u64);
    /// The gate is about to give back records that it held, though none has arrived.
    fn released(&mut self);
}
