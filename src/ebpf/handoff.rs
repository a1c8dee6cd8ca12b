//! Handing records over to a thread that may take its time.
//!
//! The thread that reads the kernel's buffer must not wait for a gadget's own code. It collects records in batches, which go through
//! a bounded queue; when that is full, records wait in the kernel's buffer, where those that find no room are counted.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A batch of so many bytes is handed over though more is coming.
const BATCH: usize = 256 << 10;
/// Bytes that may wait.
const WAITING: usize = 64 << 20;
/// Batches whose memory is kept for later ones.
const SPARE: usize = 4;

/// Records one after the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// The records, in the order in which they came.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    spare: Vec<Batch>,
    waiting: usize,
    lost: u64,
    /// Something happened that the worker is to look at, though there may be no batch.
    woken: bool,
    /// No batch comes any more.
    closed: bool,
    /// Nobody takes batches any more.
    abandoned: bool,
}

/// The queue between the two threads.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    room: Condvar,
}

/// What the worker finds.
pub(super) enum Taken {
    /// Records.
    Batch(Batch),
    /// Nothing for now, or the time is over. So many records were lost before they arrived.
    Nothing(u64),
    /// Nothing for ever.
    End(u64),
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch. Says once that there is none, then waits, at most `timeout`.
    pub(super) fn next(&self, timeout: Option<Duration>) -> Taken {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.batches.pop_front() {
                state.waiting -= batch.bytes.len();
                // Whatever else there is to look at, it is looked at when there is no batch.
                state.woken = true;
                self.room.notify_one();
                return Taken::Batch(batch);
            }
            if state.closed {
                return Taken::End(state.lost);
            }
            if std::mem::take(&mut state.woken) {
                return Taken::Nothing(state.lost);
            }
            state = match timeout {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    let (state, result) = self
                        .changed
                        .wait_timeout(state, timeout)
                        .unwrap_or_else(PoisonError::into_inner);
                    if result.timed_out() && state.batches.is_empty() && !state.closed {
                        return Taken::Nothing(state.lost);
                    }
                    state
                }
            };
        }
    }

    /// A batch whose records are done with.
    pub(super) fn give_back(&self, mut batch: Batch) {
        batch.bytes.clear();
        batch.ends.clear();
        let mut state = self.lock();
        if state.spare.len() < SPARE {
            state.spare.push(batch);
        }
    }

    /// Lets the worker look at what it holds back.
    pub(super) fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_one();
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Nobody takes anything any more.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
        self.room.notify_one();
    }

    fn push(&self, batch: Batch, lost: u64) -> Batch {
        let mut state = self.lock();
        while state.waiting >= WAITING && !state.abandoned {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.lost = lost;
        if !state.abandoned && !batch.ends.is_empty() {
            state.waiting += batch.bytes.len();
            state.batches.push_back(batch);
        }
        state.woken = true;
        self.changed.notify_one();
        state.spare.pop().unwrap_or_default()
    }
}

/// The reading thread's end.
#[derive(Debug)]
pub(super) struct Batches {
    queue: Arc<Queue>,
    batch: Batch,
    lost: u64,
}

impl Batches {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            batch: Batch::default(),
            lost: 0,
        }
    }

    /// A record came.
    pub(super) fn add(&mut self, record: &[u8]) {
        self.batch.bytes.extend_from_slice(record);
        self.batch.ends.push(self.batch.bytes.len());
        if self.batch.bytes.len() >= BATCH {
            self.hand_over(self.lost);
        }
    }

    /// Hands over what there is. So many records were lost before they arrived.
    pub(super) fn hand_over(&mut self, lost: u64) {
        if self.batch.ends.is_empty() && lost == self.lost {
            return;
        }
        self.lost = lost;
        let batch = std::mem::take(&mut self.batch);
        self.batch = self.queue.push(batch, lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_arrive_in_order_and_then_it_ends() {
        let queue = Arc::new(Queue::default());
        let worker = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let (mut seen, mut pauses) = (Vec::new(), 0);
                loop {
                    match queue.next(None) {
                        Taken::Batch(batch) => {
                            seen.extend(batch.records().map(<[u8]>::to_vec));
                            queue.give_back(batch);
                        }
                        Taken::Nothing(_) => pauses += 1,
                        Taken::End(lost) => return (seen, pauses, lost),
                    }
                }
            }
        });
        let mut batches = Batches::new(Arc::clone(&queue));
        let record = |i: u32| vec![i as u8; 1 + i as usize % 700];
        for i in 0..5000 {
            batches.add(&record(i));
            if i % 100 == 0 {
                batches.hand_over(u64::from(i / 1000));
            }
        }
        batches.hand_over(9);
        queue.close();
        let (seen, pauses, lost) = worker.join().unwrap();
        assert_eq!(seen.len(), 5000);
        assert!(seen.iter().enumerate().all(|(i, bytes)| *bytes == record(i as u32)));
        assert_eq!(lost, 9);
        assert!(pauses <= 5100);
    }

    #[test]
    fn who_hands_over_does_not_wait_for_nobody() {
        let queue = Arc::new(Queue::default());
        let mut batches = Batches::new(Arc::clone(&queue));
        queue.abandon();
        let record = vec![0; 1 << 20];
        for _ in 0..2 * (WAITING >> 20) {
            batches.add(&record);
        }
    }
}
