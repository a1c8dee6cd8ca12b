//! Inlets: the way of a raw record into the pipeline of its data source.
//!
//! A record is copied once, into an element that is reused. Before that a [`Gate`] may drop it, or hold it back until it is
//! known whose it is; a [`Tap`] gets it in any case.

use std::sync::Arc;

use super::element::Element;
use super::emitter::Emitter;
use super::gate::{Gate, Verdict};
use super::loss::LossPlace;
use super::packing::Packing;
use super::tap::{Knowledge, Tap};
use crate::Result;

/// What an inlet hands on to the next one.
pub type InletParts = (Emitter, Option<Box<dyn Gate>>, Option<Box<dyn Tap>>);

/// See the module documentation.
pub struct Inlet {
    element: Element,
    elements: Vec<Element>,
    emitter: Emitter,
    gate: Option<Box<dyn Gate>>,
    tap: Option<Box<dyn Tap>>,
    knowledge: Option<Arc<dyn Knowledge>>,
    packing: Option<Packing>,
    events: u64,
    failed: u64,
    accounted: Accounted,
}

/// How much of each loss has been counted for the data source.
#[derive(Debug, Default)]
struct Accounted {
    buffer: u64,
    held: u64,
    failed: u64,
}

impl std::fmt::Debug for Inlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inlet")
            .field("emitter", &self.emitter)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Inlet {
    /// Records that `gate` lets through go to `emitter`.
    pub fn new(emitter: Emitter, gate: Option<Box<dyn Gate>>, tap: Option<Box<dyn Tap>>) -> Self {
        Self {
            element: emitter.element(),
            elements: Vec::new(),
            accounted: Accounted {
                // What a gate gave up at an earlier inlet is counted already.
                held: gate.as_ref().map_or(0, |gate| gate.lost()),
                ..Accounted::default()
            },
            emitter,
            gate,
            knowledge: tap.as_ref().and_then(|tap| tap.knowledge()),
            tap,
            packing: None,
            events: 0,
            failed: 0,
        }
    }

    /// What arrives in batches are packed elements, if there is a packing, and no records of the kernel's.
    #[must_use]
    pub fn unpacking(mut self, packing: Option<Packing>) -> Self {
        self.packing = packing;
        self
    }

    /// Takes it apart, for another inlet to go on.
    pub fn into_parts(self) -> InletParts {
        (self.emitter, self.gate, self.tap)
    }

    /// Records that reached the pipeline.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Where elements go.
    pub fn emitter(&mut self) -> &mut Emitter {
        &mut self.emitter
    }

    /// Whether every record is copied.
    pub fn has_tap(&self) -> bool {
        self.tap.is_some()
    }

    /// A record of a single data source arrived.
    #[inline]
    pub fn record(&mut self, record: &[u8]) {
        match &self.knowledge {
            None => self.take(record),
            Some(knowledge) => {
                let knowledge = Arc::clone(knowledge);
                let _held = knowledge.hold();
                self.take(record);
            }
        }
    }

    #[inline]
    fn take(&mut self, record: &[u8]) {
        let verdict = match &mut self.gate {
            Some(gate) => gate.admit(record),
            None => Verdict::Pass,
        };
        if let Some(tap) = &mut self.tap {
            tap.record(record);
        }
        if verdict != Verdict::Pass {
            return;
        }
        if self.holds() {
            self.give_back(false);
        }
        self.emit(record);
    }

    /// Records of an array data source arrived, which belong together, and everything is known about whose they are.
    pub fn batch<'r>(&mut self, records: impl Iterator<Item = &'r [u8]>) {
        let mut count = 0;
        for record in records {
            let verdict = match &mut self.gate {
                Some(gate) => gate.admit(record),
                None => Verdict::Pass,
            };
            if verdict == Verdict::Pass {
                add(
                    &self.emitter,
                    self.packing.as_ref(),
                    &mut self.elements,
                    &mut count,
                    record,
                );
            }
        }
        if let Some(gate) = &mut self.gate {
            gate.release(true, &mut |record| {
                add(
                    &self.emitter,
                    self.packing.as_ref(),
                    &mut self.elements,
                    &mut count,
                    record,
                );
            });
        }
        self.elements.truncate(count);
        self.events += count as u64;
        let result = self.emitter.emit_array(&mut self.elements);
        self.note(result, count as u64);
    }

    #[inline]
    fn emit(&mut self, record: &[u8]) {
        self.events += 1;
        if !self.emitter.admit(record, &mut self.element) {
            return;
        }
        let filled = match self.emitter.rest() {
            Some(rest) => rest.fill(&mut self.element, record),
            None => Ok(()),
        };
        let result = filled.and_then(|()| self.emitter.emit_admitted(&mut self.element));
        self.note(result, 1);
    }

    #[inline]
    fn note(&mut self, result: Result<()>, count: u64) {
        if let Err(error) = result {
            if self.failed == 0 {
                tracing::warn!(
                    "error processing event: {error} (said once; the number of such events follows at the end)"
                );
            }
            self.failed += count;
        }
    }

    /// Whether records are held back.
    #[inline]
    pub fn holds(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.holds())
    }

    /// Emits the held records about which everything is known now; `last` gives up on the others.
    pub fn release(&mut self, last: bool) {
        let knowledge = self.knowledge.clone();
        let _held = knowledge.as_deref().map(Knowledge::hold);
        if let (true, Some(tap)) = (self.holds(), &mut self.tap) {
            tap.released();
        }
        self.give_back(last);
    }

    fn give_back(&mut self, last: bool) {
        let Some(mut gate) = self.gate.take() else { return };
        gate.release(last, &mut |record| self.emit(record));
        self.gate = Some(gate);
    }

    /// Counts what was lost since the last time, and tells those who want to know where it was. `lost_in_buffer` is how many
    /// records got lost so far before they arrived here.
    pub fn account(&mut self, lost_in_buffer: u64) -> Result<()> {
        let held = self.gate.as_ref().map_or(0, |gate| gate.lost());
        let Accounted {
            buffer,
            held: held_before,
            failed,
        } = &mut self.accounted;
        for (place, total, accounted) in [
            (LossPlace::Buffer, lost_in_buffer, buffer),
            (LossPlace::Held, held, held_before),
            (LossPlace::Failed, self.failed, failed),
        ] {
            let new = total.saturating_sub(*accounted);
            if new == 0 {
                continue;
            }
            *accounted = total;
            // What happens to records after they have arrived happens again when they are replayed.
            if let (LossPlace::Buffer, Some(tap)) = (place, &mut self.tap) {
                tap.lost(place, new);
            }
            self.emitter.losses().add(place, new);
            self.emitter.lose(place, new)?;
        }
        Ok(())
    }
}

/// Makes a record, or what was packed, the element after the first `count` ones.
fn add(emitter: &Emitter, packing: Option<&Packing>, elements: &mut Vec<Element>, count: &mut usize, record: &[u8]) {
    if elements.len() == *count {
        elements.push(emitter.element());
    }
    let Some(element) = elements.get_mut(*count) else {
        return;
    };
    *count += 1;
    match packing {
        None => element.reset(emitter.layout(), record),
        Some(packing) => {
            element.reset(emitter.layout(), &[]);
            packing.unpack(record, element);
        }
    }
}
