//! One array on its way from records to the pipeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::data::{Element, Emitter, Gate, Knowledge, LossPlace, Tap, Verdict};

/// How long an array waits for it to become known whose its last records are.
const FINAL_WAIT: Duration = Duration::from_millis(500);
/// Spare elements that are kept in any case.
const KEPT: usize = 1024;

/// The elements of one array, which are reused for the next.
pub(super) struct Batch {
    pub(super) emitter: Emitter,
    pub(super) gate: Option<Box<dyn Gate>>,
    elements: Vec<Element>,
    spare: Vec<Element>,
    /// Records of this array so far, those that the gate let through or not.
    records: u64,
    copies: Option<Copies>,
    knowledge: Option<Arc<dyn Knowledge>>,
    /// What the gate had given up when it was looked at last.
    held_lost: u64,
    failed: bool,
}

impl Batch {
    pub(super) fn new(emitter: Emitter, gate: Option<Box<dyn Gate>>, tap: Option<Box<dyn Tap>>) -> Self {
        Self {
            held_lost: gate.as_ref().map_or(0, |gate| gate.lost()),
            emitter,
            gate,
            elements: Vec::new(),
            spare: Vec::new(),
            records: 0,
            knowledge: tap.as_ref().and_then(|tap| tap.knowledge()),
            copies: tap.map(Copies::new),
            failed: false,
        }
    }

    /// Begins a new array.
    pub(super) fn begin(&mut self) {
        self.spare.append(&mut self.elements);
        self.records = 0;
        if let Some(copies) = &mut self.copies {
            copies.clear();
        }
    }

    /// Adds a record to the array, unless it belongs to nobody who is asked for.
    pub(super) fn record(&mut self, record: &[u8]) {
        self.records += 1;
        let knowledge = self.knowledge.clone();
        let _held = knowledge.as_deref().map(Knowledge::hold);
        let verdict = match &mut self.gate {
            Some(gate) => gate.admit(record),
            None => Verdict::Pass,
        };
        if let Some(copies) = &mut self.copies {
            copies.add(record, verdict == Verdict::Held);
        }
        if verdict != Verdict::Pass {
            return;
        }
        add(&self.emitter, &mut self.spare, &mut self.elements, record);
    }

    /// Gives the gate some time to find out about records that it holds; `wait` returns when it may have.
    pub(super) fn settle(&mut self, mut wait: impl FnMut(Duration)) {
        let deadline = Instant::now() + FINAL_WAIT;
        while self.gate.as_ref().is_some_and(|gate| gate.holds()) {
            let left = deadline.saturating_duration_since(Instant::now());
            self.release(left.is_zero());
            if left.is_zero() {
                break;
            }
            if self.gate.as_ref().is_some_and(|gate| gate.holds()) {
                wait(left);
            }
        }
        let lost = self.gate.as_ref().map_or(0, |gate| gate.lost());
        let new = lost.saturating_sub(self.held_lost);
        if new > 0 {
            self.held_lost = lost;
            self.lose(LossPlace::Held, new);
        }
    }

    /// Hands the array on, also when it is empty. Returns how many elements it had.
    pub(super) fn emit(&mut self) -> u64 {
        let count = self.elements.len() as u64;
        let knowledge = self.knowledge.clone();
        let _held = knowledge.as_deref().map(Knowledge::hold);
        if let Some(copies) = &mut self.copies {
            copies.hand_over();
        }
        if let Err(error) = self.emitter.emit_array(&mut self.elements) {
            self.lose(LossPlace::Failed, count.max(1));
            if !std::mem::replace(&mut self.failed, true) {
                tracing::warn!(
                    "error processing event: {error} (said once; the number of such events follows at the end)"
                );
            }
        }
        // One huge array must not keep its memory for the rest of the run.
        let kept = (2 * self.elements.len()).max(KEPT);
        self.spare.truncate(kept);
        self.spare.shrink_to(kept);
        count
    }

    /// Throws the array away; its records are lost, and `more` of which not all came.
    pub(super) fn abandon(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.release(true, &mut |_| ());
        }
        self.spare.append(&mut self.elements);
        let records = self.records;
        self.lose(LossPlace::Failed, records.max(1));
    }

    fn release(&mut self, last: bool) {
        let Some(gate) = &mut self.gate else { return };
        let _held = self.knowledge.as_deref().map(Knowledge::hold);
        gate.release(last, &mut |record| {
            add(&self.emitter, &mut self.spare, &mut self.elements, record);
        });
    }

    fn lose(&mut self, place: LossPlace, count: u64) {
        self.emitter.losses().add(place, count);
        if let Err(error) = self.emitter.lose(place, count) {
            tracing::debug!("telling of lost events: {error}");
        }
    }
}

/// Copies of the records of one array. They wait until everything is known about the containers they belong to, so that a replay
/// knows it before.
struct Copies {
    tap: Box<dyn Tap>,
    records: Vec<u8>,
    /// Where each ends, and whether the gate held it.
    ends: Vec<(usize, bool)>,
}

impl Copies {
    fn new(tap: Box<dyn Tap>) -> Self {
        Self {
            tap,
            records: Vec::new(),
            ends: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.records.clear();
        self.ends.clear();
    }

    fn add(&mut self, record: &[u8], held: bool) {
        self.records.extend_from_slice(record);
        self.ends.push((self.records.len(), held));
    }

    /// Those that were held come last, as in the array.
    fn hand_over(&mut self) {
        let of = |wanted: bool| {
            let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
            let records = starts.zip(&self.ends).filter(move |(_, (_, held))| *held == wanted);
            records.filter_map(|(start, (end, _))| self.records.get(start..*end))
        };
        self.tap.batch(&mut of(false).chain(of(true)));
    }
}

fn add(emitter: &Emitter, spare: &mut Vec<Element>, elements: &mut Vec<Element>, record: &[u8]) {
    let mut element = spare.pop().unwrap_or_else(|| emitter.element());
    element.reset(emitter.layout(), record);
    elements.push(element);
}
