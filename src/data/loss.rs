//! Losses: how many events of a data source did not arrive, and where they stayed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where events can stay on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossPlace {
    /// The kernel side found no room in the event buffer.
    Buffer,
    /// Too many waited for the name of their container.
    Held,
    /// A subscriber failed.
    Failed,
    /// The user asked for at most so many elements.
    Limiter,
    /// The reader of the output did not keep up.
    Sink,
    /// The recording did not keep up, or a part of it is damaged.
    Recording,
}

impl LossPlace {
    /// All places, in the order of an event's way.
    pub const ALL: [LossPlace; 6] = [
        LossPlace::Buffer,
        LossPlace::Held,
        LossPlace::Failed,
        LossPlace::Limiter,
        LossPlace::Sink,
        LossPlace::Recording,
    ];

    fn reason(self) -> &'static str {
        match self {
            LossPlace::Buffer => "the event buffer was full",
            LossPlace::Held => "too many waited for the name of their container",
            LossPlace::Failed => "they could not be processed",
            LossPlace::Limiter => "more than --max-entries",
            LossPlace::Sink => "the reader of the output was too slow",
            LossPlace::Recording => "they are missing in the recording",
        }
    }

    /// One word for machines.
    pub fn name(self) -> &'static str {
        match self {
            LossPlace::Buffer => "buffer",
            LossPlace::Held => "held",
            LossPlace::Failed => "failed",
            LossPlace::Limiter => "limiter",
            LossPlace::Sink => "sink",
            LossPlace::Recording => "recording",
        }
    }

    /// Whether the user asked for it, so that nothing went wrong.
    pub fn is_intended(self) -> bool {
        self == LossPlace::Limiter
    }
}

/// The reason, as the end of a sentence about lost events.
impl std::fmt::Display for LossPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

/// The counters of one data source, shared by all who can lose its events.
#[derive(Debug, Default)]
pub struct Losses {
    counts: [AtomicU64; LossPlace::ALL.len()],
}

impl Losses {
    /// Counts `count` events that stayed at `place`.
    #[inline]
    pub fn add(&self, place: LossPlace, count: u64) {
        self.counts[place as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// How many stayed at `place` so far.
    pub fn at(&self, place: LossPlace) -> u64 {
        self.counts[place as usize].load(Ordering::Relaxed)
    }
}
