//! Emitters: what a producer holds of a stream while a gadget runs.

use std::sync::Arc;

use super::element::{Element, Layout};
use super::loss::{LossPlace, Losses};
use super::pipeline::Pipeline;
use super::rest::Rest;
use crate::Result;

/// The producer's end of a stream, taken with [`Stream::emitter`](super::Stream::emitter) when everybody has subscribed.
#[derive(Debug, Default)]
pub struct Emitter {
    layout: Layout,
    pipeline: Pipeline,
    losses: Arc<Losses>,
    rest: Option<Rest>,
}

impl Emitter {
    pub(super) fn new(layout: Layout, pipeline: Pipeline, losses: Arc<Losses>, rest: Option<Rest>) -> Self {
        Self {
            layout,
            pipeline,
            losses,
            rest,
        }
    }

    /// Layout of the elements.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What becomes of the bytes behind the struct of a record.
    pub(super) fn rest(&self) -> Option<&Rest> {
        self.rest.as_ref()
    }

    /// The counters of what did not arrive.
    pub fn losses(&self) -> &Arc<Losses> {
        &self.losses
    }

    /// A new element with every value zero or empty.
    pub fn element(&self) -> Element {
        Element::new(&self.layout)
    }

    /// Hands one element of a single data source to all subscribers.
    #[inline]
    pub fn emit(&mut self, element: &mut Element) -> Result<()> {
        self.pipeline.emit(element)
    }

    /// Hands one batch of an array data source to all subscribers, and lets the sinks write it out.
    pub fn emit_array(&mut self, elements: &mut Vec<Element>) -> Result<()> {
        self.pipeline.emit_array(elements)?;
        self.pipeline.flush()
    }

    /// Tells the sinks that the producer pauses.
    pub fn flush(&mut self) -> Result<()> {
        self.pipeline.flush()
    }

    /// Whether somebody wants to know of losses where they happen.
    pub fn watches_losses(&self) -> bool {
        self.pipeline.watches_losses()
    }

    /// Tells those who want to know that `count` events were lost before the next one. The counters are not touched.
    pub fn lose(&mut self, place: LossPlace, count: u64) -> Result<()> {
        self.pipeline.lose(place, count)
    }
}
