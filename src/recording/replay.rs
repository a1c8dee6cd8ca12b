//! Replaying: what a recording holds goes through the pipelines of a gadget, as if it arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::format::{BatchRecords, Entry, next_entry};
use super::head::NamesHead;
use super::reader::{Next, Recording};
use super::sparse::Unpacker;
use crate::containers::Collection;
use crate::data::{Inlet, LossPlace};
use crate::ebpf::schema::Texts;
use crate::operators::KnownStacks;
use crate::operators::uidgid::RecordedNames;
use crate::stop::StopSignal;
use crate::{Error, ErrorKind, Result, ResultExt};

/// A recording that a gadget was made of, before it is replayed.
#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) recording: Recording,
    /// Gets to know what the recorded run knew about containers.
    pub(crate) collection: Option<Arc<Collection>>,
    pub(crate) names: Option<RecordedNames>,
    /// Gets to know the texts of stacks.
    pub(crate) stacks: KnownStacks,
    /// The fields that get a text beside them.
    pub(crate) texts: Texts,
}

/// A recording that is being replayed.
#[derive(Debug)]
pub(crate) struct Playing {
    thread: Option<JoinHandle<()>>,
    events: Arc<AtomicU64>,
    stop: StopSignal,
}

impl Player {
    /// Replays into `inlets`, those of the recording's data sources in their order, and ends the run when everything has been
    /// replayed. The run fails if the recording is damaged.
    pub(crate) fn start(self, inlets: Vec<Inlet>, stop: &StopSignal) -> Result<Playing> {
        let events = Arc::new(AtomicU64::new(0));
        let mut play = Play {
            buffer_losses: vec![0; inlets.len()],
            inlets,
            collection: self.collection,
            names: self.names,
            stacks: self.stacks,
            unpacker: Unpacker::default(),
            events: Arc::clone(&events),
            stop: stop.clone(),
            damage: None,
        };
        let (recording, ended) = (self.recording, stop.clone());
        let thread = std::thread::Builder::new()
            .name("replay".to_owned())
            .spawn(move || {
                let name = recording.name.clone();
                match play.run(recording) {
                    Ok(()) => ended.request(),
                    Err(error) => ended.fail(error.context(format!("recording {name}"))),
                }
            })
            .context("starting the replay's thread")?;
        Ok(Playing {
            thread: Some(thread),
            events,
            stop: stop.clone(),
        })
    }
}

impl Playing {
    /// Events that reached the data sources so far.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Ends it where it is. Returns how many events reached the data sources.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.end()
            .map_err(|()| Error::new(ErrorKind::Other, "the replay's thread panicked"))?;
        Ok(self.events())
    }

    fn end(&mut self) -> Result<(), ()> {
        self.stop.request();
        match self.thread.take() {
            Some(thread) => thread.join().map_err(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        // What went wrong was said through the stop signal.
        let _ = self.end();
    }
}

struct Play {
    inlets: Vec<Inlet>,
    collection: Option<Arc<Collection>>,
    names: Option<RecordedNames>,
    stacks: KnownStacks,
    unpacker: Unpacker,
    /// How many records were lost before they arrived, by data source.
    buffer_losses: Vec<u64>,
    events: Arc<AtomicU64>,
    stop: StopSignal,
    damage: Option<Damage>,
}

/// The first thing that was wrong, and how much was skipped because of such things.
struct Damage {
    error: Error,
    blocks: u64,
    events: u64,
}

impl Play {
    fn run(&mut self, recording: Recording) -> Result<()> {
        let times = recording.times;
        let mut kept = Vec::new();
        let result = self.play_once(recording, |payload| {
            if times > 1 {
                kept.push(Box::<[u8]>::from(payload));
            }
        });
        for _ in 1..times {
            for payload in &kept {
                if self.stop.is_requested() {
                    break;
                }
                if self.entries(payload, false).is_err() {
                    break; // said the first time
                }
                self.pause()?;
            }
        }
        for inlet in &mut self.inlets {
            inlet.release(true);
        }
        self.pause()?;
        result?;
        match self.damage.take() {
            None => Ok(()),
            Some(Damage { error, blocks, events }) => {
                let skipped = format!("{blocks} of its blocks with {events} events were left out");
                Err(error.with_hint(format!("{skipped}; all others were replayed")))
            }
        }
    }

    fn play_once(&mut self, mut recording: Recording, mut keep: impl FnMut(&[u8])) -> Result<()> {
        let name = recording.name;
        let blocks = &mut recording.blocks;
        while !self.stop.is_requested() {
            let offset = blocks.offset();
            match blocks.next()? {
                Next::Stream => {
                    keep(blocks.payload());
                    if let Err(error) = self.entries(blocks.payload(), true) {
                        self.damaged(error.context(format!("damaged at byte {offset}")), 0);
                    }
                    self.pause()?;
                }
                Next::Skipped => {}
                Next::End(_) => return Ok(()),
                Next::CutOff { offset } => {
                    tracing::warn!(
                        "recording {name}: cut off at byte {offset}: it was not ended, and what came last may be missing"
                    );
                    return Ok(());
                }
                Next::Damaged { offset, events, why } => {
                    tracing::warn!("recording {name}: damaged at byte {offset}: {why}: {events} events are left out");
                    self.damaged(Error::invalid(format!("damaged at byte {offset}: {why}")), events);
                }
                Next::Lost { offset, why } => {
                    return Err(Error::invalid(format!("damaged at byte {offset}: {why}"))
                        .with_hint("everything before was replayed; what follows cannot be read"));
                }
            }
        }
        Ok(())
    }

    fn damaged(&mut self, error: Error, events: u32) {
        let damage = self.damage.get_or_insert(Damage {
            error,
            blocks: 0,
            events: 0,
        });
        damage.blocks += 1;
        damage.events += u64::from(events);
        // Whose they were is not known if there are several data sources.
        if let [inlet] = &mut self.inlets[..] {
            inlet.emitter().losses().add(LossPlace::Recording, u64::from(events));
        }
    }

    /// Replays the entries of one block. Only the first time is said what is no event.
    fn entries(&mut self, mut payload: &[u8], first: bool) -> Result<()> {
        while let Some((source, entry, rest)) = next_entry(payload)? {
            payload = rest;
            let Some(inlet) = self.inlets.get_mut(usize::from(source)) else {
                return Err(Error::invalid(format!(
                    "an entry of data source {source}, which does not exist"
                )));
            };
            match entry {
                Entry::Record(record) => inlet.record(record),
                Entry::Sparse(sparse) => inlet.record(self.unpacker.unpack(sparse)?),
                Entry::Batch(records) => inlet.batch(BatchRecords(records)),
                Entry::Released => inlet.release(false),
                Entry::Loss(..) | Entry::Containers(_) | Entry::Names(_) | Entry::Stack(_) | Entry::Skipped
                    if !first => {}
                Entry::Loss(LossPlace::Buffer, count) => {
                    let total = &mut self.buffer_losses[usize::from(source)];
                    *total = total.saturating_add(count);
                    inlet.account(*total)?;
                }
                Entry::Loss(place, count) => {
                    inlet.emitter().losses().add(place, count);
                    inlet.emitter().lose(place, count)?;
                }
                Entry::Containers(json) => {
                    let change = serde_json::from_slice(json).map_err(|error| Error::invalid(error.to_string()))?;
                    if let Some(collection) = &self.collection {
                        collection.replay(change);
                    }
                }
                Entry::Names(json) => {
                    let tables: NamesHead =
                        serde_json::from_slice(json).map_err(|error| Error::invalid(error.to_string()))?;
                    if let Some(names) = &self.names {
                        names.replace(tables.into_tables());
                    }
                }
                Entry::Stack(json) => {
                    let stack = serde_json::from_slice(json).map_err(|error| Error::invalid(error.to_string()))?;
                    self.stacks.add(stack);
                }
                Entry::Skipped => {}
            }
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        let mut events = 0;
        for (inlet, lost) in self.inlets.iter_mut().zip(&self.buffer_losses) {
            inlet.account(*lost)?;
            inlet.emitter().flush()?;
            events += inlet.events();
        }
        self.events.store(events, Ordering::Relaxed);
        Ok(())
    }
}
