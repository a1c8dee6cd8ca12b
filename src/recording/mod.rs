//! Recordings: the raw records of a run in a file, with everything that is needed to understand them elsewhere.
//!
//! A [`Recorder`] taps the [inlets](crate::data::Inlet) of a run, before anything in user space has filtered, and a [`Recording`] is
//! read back into a [`Gadget`](crate::gadget::Gadget) that needs neither kernel nor privileges:
//!
//! ```no_run
//! use inspektor_gadget::gadget::Gadget;
//! use inspektor_gadget::recording::Recording;
//!
//! # fn main() -> inspektor_gadget::Result<()> {
//! let recording = Recording::open("open.igrec")?;
//! let mut gadget = Gadget::replay(recording).build()?;
//! let fname = gadget.data_source("open")?.field("fname")?.str()?;
//! gadget.subscribe("open", ["fname"], move |event| println!("{}", fname.get(event)))?;
//! let mut running = gadget.start()?;
//! running.wait(None); // until the end of the recording
//! let report = running.stop()?; // an error if the recording is damaged
//! assert!(!report.lost_anything());
//! # Ok(())
//! # }
//! ```
//!
//! # Format, version 1
//!
//! All numbers are little-endian. A file is a header of 16 bytes and then blocks, back to back:
//!
//! | Bytes of the header | |
//! |---|---|
//! | 0–7 | `89 49 47 52 45 43 0d 0a` (`\x89IGREC\r\n`) |
//! | 8–11 | version |
//! | 12–15 | CRC-32 of the bytes before |
//!
//! | Bytes of a block | |
//! |---|---|
//! | 0–1 | type: 1 head, 2 stream, 3 end |
//! | 2–3 | flags: bit 0 whoever does not know the type may skip the block, bit 1 the payload is a zstd frame |
//! | 4–7 | length of the payload in the file |
//! | 8–11 | length of the payload when it is unpacked |
//! | 12–15 | number of events in the block |
//! | 16–19 | CRC-32 of the payload in the file |
//! | 20–23 | CRC-32 of the bytes before |
//! | 24– | payload |
//!
//! The *head* comes first: JSON ([`Head`]) with the gadget's metadata, the layout of its records, the values of parameters and
//! facts about the machine. *Stream* blocks are [entries](Entry) in the order in which things happened: records, losses, what became
//! known about containers, changed user names, the texts of stacks before the first record with their ids. Records are there [without
//! their zeroes](Entry::Sparse) where that is shorter. A block holds about [256 KiB](BLOCK) of entries with whole records and is written at the latest [half
//! a second](FLUSH_EVERY) after its first entry. The *end* is JSON with totals ([`End`]); without it the recording was cut off.
//!
//! What is read is never trusted: lengths have limits, and memory is taken only for bytes that are there. A file that ends within a block
//! is read up to that block. A stream block whose payload is damaged is skipped, and its events are counted as lost; where a
//! block's header is damaged, reading ends. Both make the replay fail, after everything that can be read has been replayed.

mod format;
mod head;
mod reader;
mod replay;
mod sparse;
mod stacks;
#[cfg(test)]
mod tests;
mod writer;

use std::time::Duration;

pub use format::Entry;
pub use head::{End, FieldHead, Head, HostHead, KernelParam, NamesHead, SourceHead, StructHead};
pub use reader::Recording;
pub(crate) use replay::{Player, Playing};
pub(crate) use stacks::StackTap;
pub use writer::{RecordFile, Recorded, Recorder};

/// Bytes of entries from which on a block is written.
pub const BLOCK: usize = 256 << 10;
/// The longest that an entry waits for its block to be written.
pub const FLUSH_EVERY: Duration = Duration::from_millis(500);
