//! Packets and the guest: emissions, from outside and from inside, and the callbacks that they lead to.
//!
//! Whoever emits on a data source of a gadget with a guest takes the guest's lock first, so that there is one order of locks, and
//! one packet or function of the life cycle at a time. Code that is inside already nests instead.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmer::{AsStoreMut, FunctionEnv, RuntimeError, Store};

use super::handles::Lent;
use super::host::{Answer, Host, Inside};
use super::limits::NESTED_EMISSIONS;
use super::lines::{Lines, Packet};
use super::trap;
use crate::data::{Code, CodeSubscription, Element, LossPlace, Pipeline, SharedPipeline, SourceType};
use crate::{Error, Result};

/// A guest and the host's state for it.
pub(super) struct Live {
    pub(super) store: Store,
    pub(super) env: FunctionEnv<Host>,
    /// The data sources, while the guest does not run.
    pub(super) lines: Lines,
}

// SAFETY: a store is not tied to a thread as long as what its functions carry along may be sent to another one. What they carry here
// is `Host`, which is (wasmer asks for it); the functions themselves capture nothing but atomics, no callback of wasmer's `on_called` is ever
// set, and only one thread at a time has the store, which is behind the lock of `Shared`.
unsafe impl Send for Live {}

impl Live {
    pub(super) fn inside(&mut self) -> Inside<'_> {
        Inside {
            store: self.store.as_store_mut(),
            env: self.env.clone(),
            lines: &mut self.lines,
        }
    }
}

/// A guest with the lock that everybody takes who enters it.
pub(super) struct Shared(Mutex<Live>);

impl Shared {
    pub(super) fn new(live: Live) -> Arc<Self> {
        Arc::new(Self(Mutex::new(live)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way of a producer's packets to the subscribers of one data source.
pub(super) struct Entrance {
    pub(super) guest: Arc<Shared>,
    pub(super) source: usize,
}

impl SharedPipeline for Entrance {
    fn emit(&self, element: &mut Element) -> Result<()> {
        let mut live = self.guest.lock();
        let mut inside = live.inside();
        let Some(mut pipeline) = begin(&mut inside, self.source) else {
            return Ok(());
        };
        let result = pipeline.emit_with(element, &mut inside);
        let queued = end(&mut inside, self.source, pipeline);
        if queued.is_empty() {
            return result;
        }
        result.and(emit_queued(&mut inside, self.source, queued))
    }

    fn emit_array(&self, elements: &mut Vec<Element>) -> Result<()> {
        let mut live = self.guest.lock();
        let mut inside = live.inside();
        let Some(mut pipeline) = begin(&mut inside, self.source) else {
            return Ok(());
        };
        let result = pipeline.emit_array_with(elements, &mut inside);
        let queued = end(&mut inside, self.source, pipeline);
        result
            .and(emit_queued(&mut inside, self.source, queued))
            .and(flush(&mut inside))
    }

    fn flush(&self) -> Result<()> {
        flush(&mut self.guest.lock().inside())
    }

    fn watches_losses(&self) -> bool {
        let mut live = self.guest.lock();
        let line = live.lines.get_mut(self.source).ok();
        line.and_then(|line| line.pipeline())
            .is_some_and(|pipeline| pipeline.watches_losses())
    }

    fn lose(&self, place: LossPlace, count: u64) -> Result<()> {
        let mut live = self.guest.lock();
        let line = live.lines.get_mut(self.source).ok();
        line.and_then(|line| line.pipeline())
            .map_or(Ok(()), |pipeline| pipeline.lose(place, count))
    }
}

#[inline]
fn begin(inside: &mut Inside<'_>, source: usize) -> Option<Box<Pipeline>> {
    inside.lines.get_mut(source).ok()?.begin()
}

#[inline(always)]
fn end(inside: &mut Inside<'_>, source: usize, pipeline: Box<Pipeline>) -> Vec<Packet> {
    match inside.lines.get_mut(source) {
        Ok(line) => line.end(pipeline),
        Err(_) => Vec::new(),
    }
}

/// Emits what callbacks of the same data source have emitted. That may lead to more; there is a bound to it.
fn emit_queued(inside: &mut Inside<'_>, source: usize, mut queued: Vec<Packet>) -> Result<()> {
    let mut left = NESTED_EMISSIONS;
    while !queued.is_empty() {
        for packet in std::mem::take(&mut queued) {
            left = left.checked_sub(1).ok_or_else(|| {
                Error::invalid("callbacks of a data source go on emitting packets on the same data source")
            })?;
            queued.extend(emit_one(inside, source, packet)?);
        }
    }
    Ok(())
}

fn emit_one(inside: &mut Inside<'_>, source: usize, packet: Packet) -> Result<Vec<Packet>> {
    let Some(mut pipeline) = begin(inside, source) else {
        return Ok(Vec::new());
    };
    let result = match packet {
        Packet::Single(mut element) => pipeline.emit_with(&mut element, inside),
        Packet::Array(mut elements) => pipeline.emit_array_with(&mut elements, inside),
    };
    let queued = end(inside, source, pipeline);
    result.map(|()| queued)
}

/// Emits a packet on behalf of the guest.
pub(super) fn emit(inside: &mut Inside<'_>, source: usize, packet: Packet) -> Answer<()> {
    let line = inside.lines.get_mut(source)?;
    let fits = match packet {
        Packet::Single(_) => line.source.source_type() == SourceType::Single,
        Packet::Array(_) => line.source.source_type() == SourceType::Array,
    };
    if !fits {
        return Err("the packet is of the other type than the data source".into());
    }
    if line.pipeline().is_none() {
        return line.queue(packet);
    }
    let queued = emit_one(inside, source, packet)?;
    Ok(emit_queued(inside, source, queued)?)
}

/// Tells the sinks of all data sources that there is nothing more for now: the guest may have emitted on any of them.
pub(super) fn flush(inside: &mut Inside<'_>) -> Result<()> {
    for line in inside.lines.iter_mut() {
        if let Some(pipeline) = line.pipeline() {
            pipeline.flush()?;
        }
    }
    Ok(())
}

impl Code for Inside<'_> {
    fn single(&mut self, subscription: CodeSubscription, element: &mut Element) {
        call_back(self, subscription, Lent::Single(element));
    }

    fn element(&mut self, subscription: CodeSubscription, element: &mut Element) {
        call_back(self, subscription, Lent::Element(element));
    }

    fn array(&mut self, subscription: CodeSubscription, elements: &mut Vec<Element>) {
        call_back(self, subscription, Lent::Array(elements));
    }
}

/// What a guest does with a packet.
const CALLBACK: &str = "dataSourceCallback";

/// Calls the guest with what it is lent.
#[inline]
fn call_back(inside: &mut Inside<'_>, subscription: CodeSubscription, mut lent: Lent<'_>) {
    let host = inside.env.as_mut(&mut inside.store);
    let (Some(callback), None) = (host.callback.clone(), &host.closed) else {
        host.failures += u64::from(host.closed.is_some());
        return;
    };
    // With all handles in use, the guest is called all the same.
    let handle = host.handles.lend(subscription.source, &mut lent);
    host.enter(CALLBACK, host.limits.callback);
    std::mem::swap(&mut host.lines, inside.lines);
    let result = callback.call(
        &mut inside.store,
        subscription.id,
        subscription.source_handle,
        handle.unwrap_or_default(),
    );
    let host = inside.move_lines();
    host.leave();
    if let Some(handle) = handle {
        host.handles.take_back(handle, &mut lent);
    }
    match result {
        Ok(()) => host.output.forget(),
        Err(error) => failed(inside, subscription.source, &error),
    }
}

/// Counts a call that failed, and says so the first time.
#[cold]
fn failed(inside: &mut Inside<'_>, source: usize, error: &RuntimeError) {
    let host = inside.host();
    let text = trap::settle(host, error, CALLBACK, host.limits.callback);
    host.failures += 1;
    if host.failures == 1 {
        let name = inside.lines.get(source).map_or("", |line| line.source.name());
        tracing::warn!(
            "wasm: calling {CALLBACK} for data source {name:?}: {text} (said once; the number of such failures follows at the end)"
        );
    }
}
