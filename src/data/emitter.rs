//! Emitters: what a producer holds of a stream while a gadget runs.

use std::sync::Arc;

use super::element::{Element, Layout};
use super::loss::{LossPlace, Losses};
use super::pipeline::Pipeline;
use super::rest::Rest;
use super::screen::Screen;
use crate::Result;

/// A pipeline that several producers have, in the keeping of whoever holds what they have to take turns at.
pub trait SharedPipeline: Send + Sync {
    /// See [`Emitter::emit`].
    fn emit(&self, element: &mut Element) -> Result<()>;
    /// See [`Emitter::emit_array`].
    fn emit_array(&self, elements: &mut Vec<Element>) -> Result<()>;
    /// See [`Emitter::flush`].
    fn flush(&self) -> Result<()>;
    /// See [`Emitter::watches_losses`].
    fn watches_losses(&self) -> bool;
    /// See [`Emitter::lose`].
    fn lose(&self, place: LossPlace, count: u64) -> Result<()>;
}

/// The producer's end of a stream, taken with [`Stream::emitter`](super::Stream::emitter) when everybody has subscribed.
#[derive(Debug, Default)]
pub struct Emitter {
    layout: Layout,
    route: Route,
    screen: Option<Screen>,
    losses: Arc<Losses>,
    rest: Option<Rest>,
}

/// Whose pipeline it is.
pub(super) enum Route {
    Own(Pipeline),
    Shared(Arc<dyn SharedPipeline>),
}

impl Default for Route {
    fn default() -> Self {
        Self::Own(Pipeline::default())
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own(pipeline) => pipeline.fmt(f),
            Self::Shared(_) => f.write_str("Shared"),
        }
    }
}

impl Emitter {
    pub(super) fn new(
        layout: Layout,
        route: Route,
        screen: Option<Screen>,
        losses: Arc<Losses>,
        rest: Option<Rest>,
    ) -> Self {
        Self {
            layout,
            route,
            screen,
            losses,
            rest,
        }
    }

    /// Layout of the elements.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Makes `element` that of `record`, which fills the structs in its front; `false` if the record is to be left out, after which the
    /// element is nobody's.
    #[inline]
    pub(super) fn admit(&mut self, record: &[u8], element: &mut Element) -> bool {
        if let Some(screen) = &mut self.screen {
            element.preview(&self.layout, record, screen.needed());
            if !screen.passes(element) {
                return false;
            }
        }
        element.reset(&self.layout, record);
        true
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
        match self.screen.as_mut().is_none_or(|screen| screen.passes(element)) {
            true => self.emit_admitted(element),
            false => Ok(()),
        }
    }

    /// The same for an element that was [admitted](Self::admit).
    #[inline]
    pub(super) fn emit_admitted(&mut self, element: &mut Element) -> Result<()> {
        match &mut self.route {
            Route::Own(pipeline) => pipeline.emit(element),
            Route::Shared(shared) => shared.emit(element),
        }
    }

    /// Hands one batch of an array data source to all subscribers, and lets the sinks write it out.
    pub fn emit_array(&mut self, elements: &mut Vec<Element>) -> Result<()> {
        match &mut self.route {
            Route::Own(pipeline) => {
                pipeline.emit_array(elements)?;
                pipeline.flush()
            }
            Route::Shared(shared) => shared.emit_array(elements),
        }
    }

    /// Tells the sinks that the producer pauses.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.route {
            Route::Own(pipeline) => pipeline.flush(),
            Route::Shared(shared) => shared.flush(),
        }
    }

    /// Whether somebody wants to know of losses where they happen.
    pub fn watches_losses(&self) -> bool {
        match &self.route {
            Route::Own(pipeline) => pipeline.watches_losses(),
            Route::Shared(shared) => shared.watches_losses(),
        }
    }

    /// Tells those who want to know that `count` events were lost before the next one. The counters are not touched.
    pub fn lose(&mut self, place: LossPlace, count: u64) -> Result<()> {
        match &mut self.route {
            Route::Own(pipeline) => pipeline.lose(place, count),
            Route::Shared(shared) => shared.lose(place, count),
        }
    }
}
