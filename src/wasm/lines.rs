//! The gadget's data sources as the guest has them: description, subscribers, and what waits for its turn.

use super::host::Answer;
use super::limits::{NESTED_EMISSIONS, SOURCES};
use crate::data::{CodeSubscription, DataSource, Element, Pipeline, SourceType, Stream};

/// A packet on its way.
#[derive(Debug)]
pub(super) enum Packet {
    Single(Element),
    Array(Vec<Element>),
}

/// One data source.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) source: DataSource,
    /// Its subscribers; not here while a packet is with them.
    pipeline: Option<Box<Pipeline>>,
    /// Subscriptions that were made meanwhile.
    pending: Vec<(i32, CodeSubscription)>,
    /// Packets that were emitted meanwhile.
    queued: Vec<Packet>,
    /// Whether the guest has made it.
    own: bool,
}

impl Line {
    fn new(source: DataSource, pipeline: Pipeline) -> Self {
        Self {
            source,
            pipeline: Some(Box::new(pipeline)),
            pending: Vec::new(),
            queued: Vec::new(),
            own: false,
        }
    }

    /// Takes the subscribers for a packet; `None` if they have one.
    #[inline]
    pub(super) fn begin(&mut self) -> Option<Box<Pipeline>> {
        self.pipeline.take()
    }

    /// Puts the subscribers back. The packets that were emitted meanwhile are the caller's to emit.
    #[inline(always)]
    pub(super) fn end(&mut self, pipeline: Box<Pipeline>) -> Vec<Packet> {
        self.pipeline = Some(pipeline);
        match self.pending.is_empty() && self.queued.is_empty() {
            true => Vec::new(),
            false => self.catch_up(),
        }
    }

    /// Adds the subscriptions that were made meanwhile.
    #[cold]
    fn catch_up(&mut self) -> Vec<Packet> {
        for (priority, subscription) in std::mem::take(&mut self.pending) {
            self.subscribe(priority, subscription);
        }
        std::mem::take(&mut self.queued)
    }

    /// A packet for when the present one is through.
    pub(super) fn queue(&mut self, packet: Packet) -> Answer<()> {
        if self.queued.len() >= NESTED_EMISSIONS {
            return Err("too many packets are emitted from callbacks of the same data source".into());
        }
        self.queued.push(packet);
        Ok(())
    }

    pub(super) fn subscribe(&mut self, priority: i32, subscription: CodeSubscription) {
        match &mut self.pipeline {
            Some(pipeline) => pipeline.subscribe_code(priority, subscription),
            None => self.pending.push((priority, subscription)),
        }
    }

    pub(super) fn pipeline(&mut self) -> Option<&mut Pipeline> {
        self.pipeline.as_deref_mut()
    }
}

/// All data sources of the gadget, at the positions they have there.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<Line>);

impl Lines {
    /// Takes description and subscribers out of the gadget's streams, until [`give_back`](Self::give_back).
    pub(super) fn borrow(streams: &mut [Stream]) -> Self {
        let lines = streams.iter_mut().map(|stream| {
            let empty = DataSource::new("", SourceType::Single, None);
            Line::new(
                std::mem::replace(&mut stream.source, empty),
                std::mem::take(&mut stream.pipeline),
            )
        });
        Self(lines.collect())
    }

    /// Puts everything back where it was; new data sources become new streams.
    pub(super) fn give_back(&mut self, streams: &mut Vec<Stream>) {
        for (position, line) in self.0.drain(..).enumerate() {
            let pipeline = line.pipeline.map_or_else(Pipeline::default, |pipeline| *pipeline);
            match streams.get_mut(position) {
                Some(stream) => {
                    stream.source = line.source;
                    stream.pipeline = pipeline;
                }
                None => {
                    let mut stream = Stream::new(line.source);
                    stream.pipeline = pipeline;
                    streams.push(stream);
                }
            }
        }
    }

    /// Adds a data source whose subscribers the guest's side keeps from now on.
    pub(super) fn keep(&mut self, source: DataSource, pipeline: Pipeline) {
        self.0.push(Line::new(source, pipeline));
    }

    #[inline]
    pub(super) fn get(&self, position: usize) -> Answer<&Line> {
        self.0.get(position).ok_or("the data source is not there now".into())
    }

    #[inline]
    pub(super) fn get_mut(&mut self, position: usize) -> Answer<&mut Line> {
        self.0
            .get_mut(position)
            .ok_or("the data source is not there now".into())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.0.iter_mut()
    }

    /// The position of the referenced data source of that name; of several, the last one.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.0
            .iter()
            .rposition(|line| line.source.name() == name)
            .filter(|position| self.0[*position].source.is_referenced())
    }

    /// Registers a data source. One that has the name already loses it.
    pub(super) fn add(&mut self, source: DataSource) -> Answer<usize> {
        if self.0.iter().filter(|line| line.own).count() >= SOURCES {
            return Err(format!("a guest can make {SOURCES} data sources").into());
        }
        for line in &mut self.0 {
            if line.source.name() == source.name() {
                line.source.unreference();
            }
        }
        let mut line = Line::new(source, Pipeline::default());
        line.own = true;
        self.0.push(line);
        Ok(self.0.len() - 1)
    }
}
