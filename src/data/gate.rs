//! Gates: what decides about raw records before they become elements.

use std::sync::Arc;

/// What becomes of a record before anything is spent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On to the pipeline.
    Pass,
    /// Not one of ours.
    Drop,
    /// The gate has taken a copy and gives it back when it knows more.
    Held,
}

/// Decides about raw records.
pub trait Gate: Send {
    /// Looks at a record.
    fn admit(&mut self, record: &[u8]) -> Verdict;
    /// Whether records are held back.
    fn holds(&self) -> bool;
    /// Gives back, in order, the held records about which everything is known now; `last` gives up on the others.
    fn release(&mut self, last: bool, emit: &mut dyn FnMut(&[u8]));
    /// Records that were given up because too many were held back at once.
    fn lost(&self) -> u64;
    /// Calls `wake` whenever held records may have become known.
    fn on_change(&mut self, wake: Arc<dyn Fn() + Send + Sync>);
}
