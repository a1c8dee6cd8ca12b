//! The writing side: taps gather entries in memory, one thread writes them.
//!
//! All taps append to one buffer under one lock, so that entries keep their order across data sources; the writing thread exchanges that
//! buffer for an empty one. In the steady state nothing is allocated, and an idle run does not wake anybody. When the disk is too
//! slow the buffer grows to a limit, and what comes then is counted as missing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::libc::{O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK};

use super::format::{self, BlockHeader, BlockType, FILE_HEADER, MAX_ENTRY};
use super::head::{End, Head, NamesHead};
use super::{BLOCK, FLUSH_EVERY};
use crate::containers::journal::Change;
use crate::data::{Knowledge, LossPlace, Losses, Tap};
use crate::operators::RecordedStack;
use crate::operators::uidgid::NameTables;
use crate::stop::StopSignal;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Entries that wait to be written take at most this many bytes.
const MAX_WAITING: usize = 32 << 20;
/// zstd's fastest level that still looks for matches well: records are mostly zeroes.
const LEVEL: i32 = 1;

/// A file that is to become a recording.
#[derive(Debug)]
pub struct RecordFile {
    file: File,
    path: PathBuf,
}

impl RecordFile {
    /// Creates the file, for nobody but its owner. An older recording, or an empty file, is overwritten.
    ///
    /// # Errors
    ///
    /// The path is a symbolic link, no regular file, of another user, or holds something else than a recording.
    pub fn create(path: &Path) -> Result<Self> {
        Self::open(path).with_context(|| format!("recording to {}", path.display()))
    }

    #[cfg(test)]
    pub(super) fn for_test(file: File) -> Self {
        Self {
            file,
            path: PathBuf::from("test"),
        }
    }

    fn open(path: &Path) -> Result<Self> {
        let options = |file: &mut OpenOptions| {
            file.read(true)
                .write(true)
                .mode(0o600)
                .custom_flags(O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
                .open(path)
        };
        let file = match options(OpenOptions::new().create_new(true)) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Self::reuse(&mut |file| options(file))?,
            result => result?,
        };
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    fn reuse(open: &mut dyn FnMut(&mut OpenOptions) -> std::io::Result<File>) -> Result<File> {
        let refuse = |why: &'static str| {
            Err(Error::new(ErrorKind::Refused, why).with_hint("name a file that does not exist, or an older recording"))
        };
        let mut file = match open(&mut OpenOptions::new()) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => return refuse("it is a symbolic link"),
            result => result?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return refuse("it is not a regular file");
        }
        if metadata.uid() != nix::unistd::geteuid().as_raw() || metadata.nlink() > 1 {
            return refuse("it belongs to another user, or has other names too");
        }
        let mut start = Vec::new();
        Read::by_ref(&mut file)
            .take(FILE_HEADER as u64)
            .read_to_end(&mut start)?;
        if !start.is_empty() && !format::is_recording(&start) {
            return refuse("it exists and is not a recording");
        }
        file.set_len(0)?;
        std::io::Seek::rewind(&mut file)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        Ok(file)
    }

    /// Writes the head and begins to record. `losses` are the counters of the data sources, in the order of the head.
    pub(crate) fn begin(
        self,
        head: &Head,
        names: NameTables,
        losses: Vec<Arc<Losses>>,
        stop: StopSignal,
    ) -> Result<Recorder> {
        let path = self.path;
        let mut writer = BlockWriter::new(self.file)?;
        let json = serde_json::to_vec(head).map_err(|error| Error::from_source(ErrorKind::Other, error))?;
        let begin = |writer: &mut BlockWriter| {
            writer.file.write_all(&format::file_header())?;
            writer.block(BlockType::Head, &json, 0)
        };
        begin(&mut writer).with_context(|| format!("recording to {}", path.display()))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                waiting: Vec::with_capacity(2 * BLOCK),
                events: vec![0; losses.len()],
                unsaid: vec![0; losses.len()],
                end: End {
                    events: vec![0; losses.len()],
                    missing: vec![0; losses.len()],
                },
                phase: Phase::Recording,
            }),
            wake: Condvar::new(),
            losses,
        });
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn({
                let (shared, path) = (Arc::clone(&shared), path.clone());
                move || {
                    let result = write(&shared, &mut writer, names);
                    if let Err(error) = result {
                        shared.lock().phase = Phase::Failed;
                        stop.fail(error.context(format!("recording to {}", path.display())));
                    }
                }
            })
            .context("starting the recorder's thread")?;
        Ok(Recorder {
            shared,
            path,
            thread: Some(thread),
        })
    }
}

/// Writes what the taps of a run get. Ends without totals when it is dropped.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

/// What was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Where.
    pub path: PathBuf,
    /// How many events.
    pub events: u64,
    /// How many events could not be recorded.
    pub missing: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    losses: Vec<Arc<Losses>>,
}

#[derive(Debug)]
struct State {
    /// Entries that are not written yet.
    waiting: Vec<u8>,
    /// Events in there and before, by data source.
    events: Vec<u64>,
    /// Events that are missing since the last entry, by data source.
    unsaid: Vec<u64>,
    end: End,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Recording,
    /// Whatever waits is to be written; then the totals if so desired.
    Closing {
        complete: bool,
    },
    /// Nothing can be written.
    Failed,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `append` add entries with `events` events of `source`, `size` bytes altogether.
    #[inline]
    fn append(&self, source: u16, events: u64, size: usize, append: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let index = usize::from(source);
        let before = state.waiting.len();
        if before + size > MAX_WAITING || size > MAX_ENTRY || state.phase != Phase::Recording {
            return self.missing(&mut state, index, events);
        }
        let unsaid = state.unsaid.get_mut(index).map_or(0, std::mem::take);
        if unsaid > 0 {
            format::append_loss(source, LossPlace::Recording, unsaid, &mut state.waiting);
        }
        append(&mut state.waiting);
        if let Some(count) = state.events.get_mut(index) {
            *count += events;
        }
        let after = state.waiting.len();
        drop(state);
        // The writer waits for the first entry, and then until there is a whole block.
        if before == 0 || (before < BLOCK && after >= BLOCK) {
            self.wake.notify_one();
        }
    }

    #[cold]
    fn missing(&self, state: &mut State, index: usize, events: u64) {
        if let (Some(unsaid), Some(missing)) = (state.unsaid.get_mut(index), state.end.missing.get_mut(index)) {
            *unsaid += events;
            *missing += events;
        }
        if let Some(losses) = self.losses.get(index) {
            losses.add(LossPlace::Recording, events);
        }
    }
}

impl Recorder {
    /// The tap for the data source of this index in the head, whose records are in order with changes of that knowledge.
    pub(crate) fn tap(&self, source: u16, knowledge: Option<Arc<dyn Knowledge>>) -> Box<dyn Tap> {
        Box::new(RecorderTap {
            shared: Arc::clone(&self.shared),
            source,
            batch: Vec::new(),
            knowledge,
        })
    }

    /// Writes changes of what is known of containers down.
    pub(crate) fn journal(&self) -> impl FnMut(Change) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |change| match serde_json::to_vec(&change) {
            Ok(json) => shared.append(0, 0, json.len(), |out| format::append_containers(&json, out)),
            Err(error) => tracing::warn!("recording what is known of containers: {error}"),
        }
    }

    /// Writes stacks down.
    pub(crate) fn stacks(&self) -> impl FnMut(&RecordedStack) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |stack| match serde_json::to_vec(stack) {
            Ok(json) => shared.append(0, 0, json.len(), |out| format::append_stack(&json, out)),
            Err(error) => tracing::warn!("recording the texts of a stack: {error}"),
        }
    }

    /// Writes what is left, and the totals.
    ///
    /// # Errors
    ///
    /// None of writing: these end the run while it goes on.
    pub(crate) fn finish(mut self) -> Result<Recorded> {
        self.close(true)?;
        let state = self.shared.lock();
        Ok(Recorded {
            path: self.path.clone(),
            events: state.events.iter().sum(),
            missing: state.end.missing.iter().sum(),
        })
    }

    fn close(&mut self, complete: bool) -> Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        {
            let mut state = self.shared.lock();
            if state.phase == Phase::Recording {
                state.phase = Phase::Closing { complete };
            }
        }
        self.shared.wake.notify_one();
        thread
            .join()
            .map_err(|_| Error::new(ErrorKind::Other, "the recorder's thread panicked"))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Only an error could be said, and nobody listens.
        let _ = self.close(false);
    }
}

/// What one inlet hands its records to.
struct RecorderTap {
    shared: Arc<Shared>,
    source: u16,
    batch: Vec<u8>,
    knowledge: Option<Arc<dyn Knowledge>>,
}

impl Tap for RecorderTap {
    #[inline]
    fn record(&mut self, record: &[u8]) {
        let source = self.source;
        self.shared.append(source, 1, record.len(), |out| {
            format::append_record(source, record, out)
        });
    }

    fn batch(&mut self, records: &mut dyn Iterator<Item = &[u8]>) {
        self.batch.clear();
        let mut events = 0;
        for record in records {
            format::append_batch_record(record, &mut self.batch);
            events += 1;
        }
        let (source, batch) = (self.source, &self.batch);
        self.shared.append(source, events, batch.len(), |out| {
            format::append_batch(source, batch, out)
        });
    }

    fn lost(&mut self, place: LossPlace, count: u64) {
        let source = self.source;
        self.shared
            .append(source, 0, 9, |out| format::append_loss(source, place, count, out));
    }

    fn released(&mut self) {
        let source = self.source;
        self.shared
            .append(source, 0, 0, |out| format::append_released(source, out));
    }

    fn knowledge(&self) -> Option<Arc<dyn Knowledge>> {
        self.knowledge.clone()
    }
}

/// The life of the writing thread.
fn write(shared: &Shared, writer: &mut BlockWriter, mut names: NameTables) -> Result<()> {
    let mut entries = Vec::with_capacity(2 * BLOCK);
    loop {
        let phase = take(shared, &mut entries);
        let now = NameTables::read();
        if !now.is_same(&names) {
            names = now;
            writer.names(&names)?;
        }
        writer.entries(&entries)?;
        entries.clear();
        // One stall of the disk must not keep its memory for the rest of the run.
        entries.shrink_to(4 * BLOCK);
        if let Phase::Closing { complete } = phase {
            return if complete { writer.end(shared) } else { Ok(()) };
        }
    }
}

/// Waits for a block of entries, or for the end, and takes what there is.
fn take(shared: &Shared, entries: &mut Vec<u8>) -> Phase {
    let mut state = shared.lock();
    let mut deadline = None;
    loop {
        if state.phase != Phase::Recording || state.waiting.len() >= BLOCK {
            break;
        }
        let Some(first) =
            (!state.waiting.is_empty()).then(|| *deadline.get_or_insert_with(|| Instant::now() + FLUSH_EVERY))
        else {
            state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = first.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let waited = shared.wake.wait_timeout(state, left);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    std::mem::swap(&mut state.waiting, entries);
    state.phase
}

/// Writes blocks.
struct BlockWriter {
    file: File,
    packer: zstd::bulk::Compressor<'static>,
    /// Entries of the block that is being written.
    payload: Vec<u8>,
    packed: Vec<u8>,
    block: Vec<u8>,
}

impl BlockWriter {
    fn new(file: File) -> Result<Self> {
        Ok(Self {
            file,
            packer: zstd::bulk::Compressor::new(LEVEL).context("starting zstd")?,
            payload: Vec::new(),
            packed: Vec::new(),
            block: Vec::new(),
        })
    }

    /// Writes entries in blocks, each of about [`BLOCK`] bytes before they are packed: no more is lost with one that gets damaged.
    fn entries(&mut self, mut entries: &[u8]) -> Result<()> {
        let mut payload = std::mem::take(&mut self.payload);
        while !entries.is_empty() {
            payload.clear();
            let (mut length, mut events) = (0, 0);
            while length < entries.len() {
                let next = format::entry_length(&entries[length..]);
                if length > 0 && length + next > BLOCK {
                    break;
                }
                let entry = &entries[length..length + next];
                events += format::entry_events(entry);
                format::append_packed(entry, &mut payload);
                length += next;
            }
            self.block(BlockType::Stream, &payload, events)?;
            entries = &entries[length..];
        }
        self.payload = payload;
        Ok(())
    }

    fn names(&mut self, names: &NameTables) -> Result<()> {
        let json = serde_json::to_vec(&NamesHead::of(names)).map_err(|e| Error::from_source(ErrorKind::Other, e))?;
        let mut entry = Vec::new();
        format::append_names(&json, &mut entry);
        self.entries(&entry)
    }

    fn end(&mut self, shared: &Shared) -> Result<()> {
        let mut state = shared.lock();
        let mut said = Vec::new();
        for (index, unsaid) in state.unsaid.iter_mut().enumerate().filter(|(_, unsaid)| **unsaid > 0) {
            format::append_loss(index as u16, LossPlace::Recording, std::mem::take(unsaid), &mut said);
        }
        let end = End {
            events: state.events.clone(),
            missing: state.end.missing.clone(),
        };
        drop(state);
        self.entries(&said)?;
        let json = serde_json::to_vec(&end).map_err(|error| Error::from_source(ErrorKind::Other, error))?;
        self.block(BlockType::End, &json, 0)
    }

    fn block(&mut self, block_type: BlockType, payload: &[u8], events: u32) -> Result<()> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(payload.len()));
        self.packer
            .compress_to_buffer(payload, &mut self.packed)
            .context("packing a block")?;
        let is_packed = self.packed.len() < payload.len();
        let body = if is_packed { &self.packed } else { payload };
        let header = BlockHeader {
            block_type,
            optional: false,
            packed: is_packed,
            stored: body.len() as u32,
            length: payload.len() as u32,
            events,
            crc: crc32fast::hash(body),
        };
        self.block.clear();
        self.block.extend_from_slice(&header.encode());
        self.block.extend_from_slice(body);
        // One write: after a crash a block is there or not.
        self.file.write_all(&self.block).map_err(Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        Shared {
            state: Mutex::new(State {
                waiting: Vec::new(),
                events: vec![0; 2],
                unsaid: vec![0; 2],
                end: End {
                    events: vec![0; 2],
                    missing: vec![0; 2],
                },
                phase: Phase::Recording,
            }),
            wake: Condvar::new(),
            losses: vec![Arc::default(), Arc::default()],
        }
    }

    #[test]
    fn what_the_disk_is_too_slow_for_is_counted_and_said_where_it_is_missing() {
        let shared = Arc::new(shared());
        let mut tap = RecorderTap {
            shared: Arc::clone(&shared),
            source: 1,
            batch: Vec::new(),
            knowledge: None,
        };
        let record = vec![7; 1 << 20];
        for _ in 0..40 {
            tap.record(&record);
        }
        let missing = shared.losses[1].at(LossPlace::Recording);
        assert_eq!(missing, 40 - 31, "what fits into 32 MiB with its headers was kept");
        assert_eq!(shared.losses[0].at(LossPlace::Recording), 0);
        let mut entries = Vec::new();
        take(&shared, &mut entries);
        tap.record(b"next");
        tap.record(&vec![0; MAX_ENTRY + 1]);
        let state = shared.lock();
        assert_eq!((state.events[1], state.end.missing[1]), (32, missing + 1));
        let (source, entry, rest) = format::next_entry(&state.waiting).unwrap().unwrap();
        assert_eq!((source, entry), (1, format::Entry::Loss(LossPlace::Recording, missing)));
        let (_, entry, rest) = format::next_entry(rest).unwrap().unwrap();
        assert_eq!((entry, rest), (format::Entry::Record(b"next"), &b""[..]));
    }

    #[test]
    fn entries_wait_for_a_block_or_for_their_time() {
        let shared = shared();
        let began = Instant::now();
        shared.append(0, 1, 3, |out| format::append_record(0, b"abc", out));
        let mut entries = Vec::new();
        take(&shared, &mut entries);
        assert!(began.elapsed() >= FLUSH_EVERY && !entries.is_empty());
        shared.append(0, 1, BLOCK, |out| format::append_record(0, &vec![0; BLOCK], out));
        entries.clear();
        take(&shared, &mut entries);
        assert!(entries.len() > BLOCK);
        shared.lock().phase = Phase::Closing { complete: true };
        entries.clear();
        assert_eq!(take(&shared, &mut entries), Phase::Closing { complete: true });
    }
}
