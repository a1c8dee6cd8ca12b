//! Outputs: rows of all data sources, in order, on their way to one reader.
//!
//! Who appends a row does not write. What can be written without waiting is written at once: always, when the
//! writer cannot block (a regular file), and small pieces when a pipe has room. Everything else is handed to a thread of the
//! output, in pieces of 64 KiB under load. Buffers are reused, and while nothing is written nobody wakes up.
//!
//! When [`LIMIT`] bytes wait, a reader that reads is given as long for the next piece as it took these to come ([`GRACE`]): meanwhile events
//! wait in the kernel's buffer, where they are smaller and cost nothing, so that a burst is lost at neither place. A reader that has not read in that time is not waited for
//! again until it does: rows are dropped whole and counted for their data source, so that the stream stays valid; if the data
//! source wants to, a line in the stream says how many and where. What comes from a recording is never dropped:
//! [`patient`](Output::patient).
//!
//! A reader that went away ends the output quietly; any other write error ends it too, and is kept for the caller to report.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::data::{LossPlace, Losses};
use crate::output::loss::LossLine;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Bytes from which on a buffer is written even though its producer goes on.
pub(super) const FULL: usize = 64 * 1024;
/// Room for the row that fills the buffer.
const CAPACITY: usize = 2 * FULL;
/// Bytes that may wait for the reader before rows are dropped. The row that reaches the limit is still taken.
pub const LIMIT: usize = 4 * 1024 * 1024;
/// How long a reader may take for one piece before it counts as stalled, at the least and at the most. In between it is the time in which the
/// last [`LIMIT`] bytes came: the records that they show take less than half of that, so that the smallest kernel buffer has room for
/// what comes meanwhile. On a busy machine a reader may have to wait longer than the least for its turn.
const GRACE: (Duration, Duration) = (Duration::from_millis(15), Duration::from_millis(250));
/// Empty buffers that are kept for the next ones.
const SPARE: usize = 16;
/// What a pipe that has room takes without making the writer wait: `PIPE_BUF` of Linux.
const AT_ONCE: usize = 4096;

/// Where shown events go. Clones write to the same place.
#[derive(Clone)]
pub struct Output {
    handle: Arc<Handle>,
}

/// Ends the thread when the last clone is gone.
struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something for the thread.
    work: Condvar,
    /// The thread has nothing left.
    done: Condvar,
    /// The thread has written something.
    room: Condvar,
    ended: AtomicBool,
    patience: Patience,
}

/// What the writer does when its reader is slow.
enum Patience {
    /// It never waits for anybody.
    Unneeded,
    /// It is a pipe, which is asked whether it has room.
    Pipe(OwnedFd),
    /// It may wait for any time.
    Unknown,
}

struct State {
    /// `None` while the thread writes.
    writer: Option<Box<dyn Write + Send>>,
    /// What rows are appended to.
    filling: Vec<u8>,
    /// Full buffers, the oldest first.
    full: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    /// Bytes that the thread has or will get, without those of `filling`.
    handed_over: usize,
    pace: Pace,
    /// `filling` is to be written as it is.
    flush: bool,
    /// The thread waits for work.
    idle: bool,
    /// Producers that wait for room.
    waiting: usize,
    /// The reader has not read for too long, and not since.
    stalled: bool,
    /// Nothing is dropped, however long the reader takes.
    patient: bool,
    /// The thread is to end when nothing is left.
    closed: bool,
    lanes: Vec<LaneState>,
    error: Option<Error>,
    on_end: Option<Box<dyn FnOnce() + Send>>,
}

/// What is known of one data source.
struct LaneState {
    losses: Arc<Losses>,
    line: Option<LossLine>,
    /// Losses that no line says yet, because there was no room for one.
    unsaid: [u64; LossPlace::ALL.len()],
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("ended", &self.ended()).finish()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.flush();
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

impl Output {
    /// Writes to `writer` on the threads that append. For writers that nobody can make wait.
    pub fn new(writer: Box<dyn Write + Send>) -> Self {
        Self {
            handle: Arc::new(Handle {
                shared: Arc::new(Shared::new(writer, Patience::Unneeded)),
            }),
        }
    }

    /// Writes to `writer` on a thread of its own, so that it may wait as long as it likes. The thread ends when the last clone is
    /// dropped and everything is written.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn queued(writer: Box<dyn Write + Send>) -> Result<Self> {
        Self::start(writer, Patience::Unknown)
    }

    /// Standard output, without a buffer of the standard library in between.
    ///
    /// # Errors
    ///
    /// Standard output is closed, or the thread cannot be started.
    pub fn stdout() -> Result<Self> {
        Self::file(File::from(io::stdout().as_fd().try_clone_to_owned()?))
    }

    /// Writes to `file`, in the way that suits it: a pipe's reader or a terminal's user may make a writer wait, a disk does not.
    ///
    /// # Errors
    ///
    /// The file cannot be examined, or the thread cannot be started.
    pub fn file(file: File) -> Result<Self> {
        let kind = file.metadata()?.file_type();
        if kind.is_file() || is_null(&file)? {
            return Ok(Self::new(Box::new(file)));
        }
        let patience = if kind.is_fifo() {
            Patience::Pipe(file.as_fd().try_clone_to_owned()?)
        } else {
            Patience::Unknown
        };
        Self::start(Box::new(Waiting(file)), patience)
    }

    fn start(writer: Box<dyn Write + Send>, patience: Patience) -> Result<Self> {
        let shared = Arc::new(Shared::new(writer, patience));
        std::thread::Builder::new()
            .name("output".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.write_what_waits()
            })
            .context("starting the output thread")?;
        Ok(Self {
            handle: Arc::new(Handle { shared }),
        })
    }

    /// Has producers wait for the reader, however long that takes, in place of dropping anything: for producers that nobody waits for.
    #[must_use]
    pub fn patient(self) -> Self {
        self.handle.shared.lock().patient = true;
        self
    }

    /// Has `call` called once when nothing can be written any more: the moment to end the run.
    pub fn on_end(&self, call: impl FnOnce() + Send + 'static) {
        self.handle.shared.lock().on_end = Some(Box::new(call));
    }

    /// Whether nothing can be written any more.
    pub fn ended(&self) -> bool {
        self.handle.shared.ended()
    }

    /// The error that ended the output, once. `None` if it has not ended, or ended because the reader went away.
    pub fn take_error(&self) -> Option<Error> {
        self.handle.shared.lock().error.take()
    }

    /// The way of one data source into this output. What has to be dropped is counted in `losses`; `line` is how that is said in
    /// the stream, if it is.
    pub fn lane(&self, losses: Arc<Losses>, line: Option<LossLine>) -> Lane {
        let mut state = self.handle.shared.lock();
        state.lanes.push(LaneState {
            losses,
            line,
            unsaid: Default::default(),
        });
        Lane {
            output: self.clone(),
            number: state.lanes.len() - 1,
        }
    }

    /// Has written what was appended, as soon as the reader takes it.
    pub fn flush(&self) {
        self.handle.shared.flush();
    }

    /// Waits until everything that was appended is written, or until nothing can be written any more.
    pub fn finish(&self) {
        let shared = &self.handle.shared;
        shared.flush();
        if matches!(shared.patience, Patience::Unneeded) {
            return;
        }
        let mut state = shared.lock();
        while !shared.ended() && (state.handed_over > 0 || !state.filling.is_empty()) {
            state = shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The way of one data source into an output. Clones are the same way.
#[derive(Clone, Debug)]
pub struct Lane {
    output: Output,
    number: usize,
}

impl Lane {
    /// Lets `row` append what shows `events` events. If too much waits for a reader that has stalled, `row` is not called and they are
    /// counted as lost. What comes after the end of the output is dropped.
    #[inline]
    pub fn append(&self, events: usize, row: impl FnOnce(&mut Vec<u8>)) {
        let shared = &*self.output.handle.shared;
        if shared.ended() {
            return;
        }
        let mut state = shared.lock();
        if !state.has_room() {
            state = shared.wait_for_room(state);
            if shared.ended() {
                return;
            }
        }
        if state.has_room() {
            row(&mut state.filling);
            if state.filling.len() >= FULL {
                shared.hand_over(state);
            }
        } else if let Some(lane) = state.lanes.get_mut(self.number) {
            lane.losses.add(LossPlace::Sink, events as u64);
            lane.note(LossPlace::Sink, events as u64);
        }
    }

    /// Appends what belongs to no event (a header), even if much waits for the reader.
    pub fn append_always(&self, text: impl FnOnce(&mut Vec<u8>)) {
        let shared = &*self.output.handle.shared;
        if !shared.ended() {
            text(&mut shared.lock().filling);
        }
    }

    /// Says in the stream that `count` events were lost before the next one, if the data source has such lines. What the user did not
    /// want is not lost.
    pub fn say_lost(&self, place: LossPlace, count: u64) {
        let shared = &*self.output.handle.shared;
        if place.is_intended() || shared.ended() {
            return;
        }
        let mut state = shared.lock();
        if let Some(lane) = state.lanes.get_mut(self.number) {
            lane.note(place, count);
        }
        if state.has_room() {
            state.say_losses();
        }
    }

    /// See [`Output::flush`].
    pub fn flush(&self) {
        self.output.flush();
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.handed_over + self.filling.len() < LIMIT
    }

    /// Appends the lines for losses that no line says yet. Nothing was appended for their data sources since, so that this is where
    /// they happened.
    fn say_losses(&mut self) {
        for lane in &mut self.lanes {
            let Some(line) = &lane.line else { continue };
            for place in LossPlace::ALL {
                let count = std::mem::take(&mut lane.unsaid[place as usize]);
                if count > 0 {
                    line.append(place, count, &mut self.filling);
                    // No event may follow for long.
                    self.flush = true;
                }
            }
        }
    }

    /// Moves `filling` to the full buffers.
    fn turn(&mut self) {
        let empty = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(CAPACITY));
        let full = std::mem::replace(&mut self.filling, empty);
        self.handed_over += full.len();
        self.pace.add(full.len());
        self.full.push_back(full);
    }

    /// The next buffer for the thread to write.
    fn next(&mut self) -> Option<Vec<u8>> {
        if self.full.is_empty() && std::mem::take(&mut self.flush) && !self.filling.is_empty() {
            self.turn();
        }
        self.full.pop_front()
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        // One huge batch must not keep its memory for the rest of the run.
        buffer.shrink_to(CAPACITY);
        if self.spare.len() < SPARE {
            self.spare.push(buffer);
        }
    }
}

/// How fast bytes come.
struct Pace {
    since: Instant,
    bytes: usize,
    /// How long the last [`LIMIT`] bytes took.
    last: Duration,
}

impl Pace {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            bytes: 0,
            last: Duration::ZERO,
        }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= LIMIT {
            self.last = self.since.elapsed();
            *self = Self {
                last: self.last,
                ..Self::new()
            };
        }
    }

    /// How long a reader may take for its next piece.
    fn grace(&self) -> Duration {
        self.last.clamp(GRACE.0, GRACE.1)
    }
}

impl LaneState {
    fn note(&mut self, place: LossPlace, count: u64) {
        if self.line.is_some() {
            self.unsaid[place as usize] += count;
        }
    }
}

impl Shared {
    fn new(writer: Box<dyn Write + Send>, patience: Patience) -> Self {
        Self {
            state: Mutex::new(State {
                writer: Some(writer),
                filling: Vec::with_capacity(CAPACITY),
                full: VecDeque::new(),
                spare: Vec::new(),
                handed_over: 0,
                pace: Pace::new(),
                flush: false,
                idle: false,
                waiting: 0,
                stalled: false,
                patient: false,
                closed: false,
                lanes: Vec::new(),
                error: None,
                on_end: None,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            room: Condvar::new(),
            ended: AtomicBool::new(false),
            patience,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn flush(&self) {
        if self.ended() {
            return;
        }
        let mut state = self.lock();
        if state.filling.is_empty() {
            return;
        }
        if state.handed_over == 0 && self.takes_at_once(state.filling.len()) {
            self.write_at_once(state);
        } else {
            state.flush = true;
            self.wake(&state);
        }
    }

    /// Called when the filling buffer is full.
    #[inline(never)]
    fn hand_over(&self, mut state: MutexGuard<'_, State>) {
        if matches!(self.patience, Patience::Unneeded) {
            self.write_at_once(state);
        } else {
            state.turn();
            self.wake(&state);
        }
    }

    /// Gives the reader its time.
    #[cold]
    fn wait_for_room<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let deadline = Instant::now() + state.pace.grace();
        state.waiting += 1;
        while !self.ended() && !state.has_room() && (state.patient || !state.stalled) {
            if state.patient {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            state.stalled = left.is_zero();
            let waited = self.room.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
        state
    }

    fn wake(&self, state: &State) {
        // Waking is a system call, even if nobody sleeps.
        if state.idle {
            self.work.notify_one();
        }
    }

    fn takes_at_once(&self, len: usize) -> bool {
        match &self.patience {
            Patience::Unneeded => true,
            Patience::Unknown => false,
            Patience::Pipe(pipe) => {
                let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
                len <= AT_ONCE && matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
            }
        }
    }

    /// Writes the filling buffer on this thread. The thread of the output, if there is one, writes nothing at this moment.
    fn write_at_once(&self, mut guard: MutexGuard<'_, State>) {
        let state = &mut *guard;
        let Some(writer) = &mut state.writer else { return };
        let result = write(writer.as_mut(), &state.filling);
        state.filling.clear();
        state.filling.shrink_to(CAPACITY);
        if let Err(error) = result {
            self.end(guard, error);
        }
    }

    /// The thread: writes what waits until the output is closed.
    fn write_what_waits(&self) {
        let mut state = self.lock();
        loop {
            let Some(buffer) = state.next() else {
                self.done.notify_all();
                if state.closed {
                    return;
                }
                state.idle = true;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle = false;
                continue;
            };
            let Some(mut writer) = state.writer.take() else { return };
            drop(state);
            let result = write(writer.as_mut(), &buffer);
            state = self.lock();
            state.writer = Some(writer);
            state.handed_over -= buffer.len();
            state.recycle(buffer);
            state.stalled = false;
            if state.waiting > 0 {
                self.room.notify_all();
            }
            match result {
                // There is room again.
                Ok(()) => state.say_losses(),
                Err(error) => return self.end(state, error),
            }
        }
    }

    fn end(&self, mut state: MutexGuard<'_, State>, error: io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            state.error = Some(Error::from_source(ErrorKind::Io, error).context("writing output"));
        }
        self.ended.store(true, Ordering::Relaxed);
        state.full.clear();
        let call = state.on_end.take();
        drop(state);
        self.done.notify_all();
        self.room.notify_all();
        if let Some(call) = call {
            call();
        }
    }
}

fn write(writer: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    let write = AssertUnwindSafe(|| writer.write_all(bytes).and_then(|()| writer.flush()));
    // Whoever waits for the thread would wait forever. After an error the writer is not used any more.
    catch_unwind(write).unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
}

/// Whether `file` is `/dev/null`, which never makes anybody wait.
fn is_null(file: &File) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    Ok(metadata.file_type().is_char_device() && metadata.rdev() == nix::sys::stat::makedev(1, 3))
}

/// A file that waits for its reader even if somebody else has made it non-blocking.
struct Waiting(File);

impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
                    // Whatever this says, the next write knows better.
                    let _ = poll(&mut fds, PollTimeout::NONE);
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
