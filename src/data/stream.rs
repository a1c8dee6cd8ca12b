//! Streams: a data source with everything that is attached to it.

use std::collections::HashMap;
use std::sync::Arc;

use super::emitter::{Emitter, Route, SharedPipeline};
use super::field::FieldId;
use super::gate::Gate;
use super::loss::Losses;
use super::packing::Packing;
use super::pipeline::Pipeline;
use super::rest::Rest;
use super::screen::Screen;
use super::source::DataSource;
use super::tap::Tap;

/// A data source with what is subscribed to it and which of its fields somebody reads.
pub struct Stream {
    /// The data source.
    pub source: DataSource,
    /// Its subscribers.
    pub pipeline: Pipeline,
    /// The fields that are read by a sink, a filter or another operator.
    pub demand: Demand,
    /// Decides about raw records, if something has to.
    pub gate: Option<Box<dyn Gate>>,
    /// Leaves packets of a single data source out, if there are conditions that only look at records.
    pub screen: Option<Screen>,
    /// Gets every raw record, if something wants to.
    pub tap: Option<Box<dyn Tap>>,
    /// Where the ids are by which records belong to containers.
    pub record: RecordIds,
    /// What becomes of the bytes behind the struct of a record; they are left out if nothing is said.
    pub rest: Option<Rest>,
    /// The fields of which elements are made, if they are made of no record.
    pub packing: Option<Packing>,
    /// Counts what does not arrive.
    pub losses: Arc<Losses>,
    /// Who keeps the pipeline for several producers, if somebody does.
    pub(crate) shared: Option<Arc<dyn SharedPipeline>>,
    /// See [`is_slow`](Self::is_slow).
    pub(crate) slow: bool,
}

/// Where a stream's raw records carry what containers are found by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordIds {
    /// Byte offset and size of the mount namespace id.
    pub mntns: Option<(usize, usize)>,
    /// Byte offset of the 8-byte boot-time timestamp.
    pub timestamp: Option<usize>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("source", &self.source)
            .field("pipeline", &self.pipeline)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// A stream that nobody reads yet.
    pub fn new(source: DataSource) -> Self {
        Self {
            source,
            pipeline: Pipeline::default(),
            demand: Demand::default(),
            gate: None,
            screen: None,
            tap: None,
            record: RecordIds::default(),
            rest: None,
            packing: None,
            losses: Arc::default(),
            shared: None,
            slow: false,
        }
    }

    /// Hands the pipeline over to who keeps it for several producers; emitters go through `shared` from now on.
    pub fn share(&mut self, shared: Arc<dyn SharedPipeline>) -> Pipeline {
        self.shared = Some(shared);
        self.slow |= self.pipeline.has_code();
        std::mem::take(&mut self.pipeline)
    }

    /// Whether subscribers may take so long that a producer who must not wait hands over to a thread that may.
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    /// The producer's end. Nobody can subscribe any more.
    pub fn emitter(&mut self) -> Emitter {
        let route = match &self.shared {
            Some(shared) => Route::Shared(Arc::clone(shared)),
            None => Route::Own(std::mem::take(&mut self.pipeline)),
        };
        let screen = self.screen.take();
        let losses = Arc::clone(&self.losses);
        Emitter::new(self.source.layout().clone(), route, screen, losses, self.rest)
    }
}

/// The fields of a data source that somebody reads, and who.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    readers: HashMap<FieldId, Vec<&'static str>>,
    /// In whose name fields are added at the moment.
    reader: &'static str,
}

impl Demand {
    /// Notes that `field` is read.
    pub fn add(&mut self, field: FieldId) {
        let readers = self.readers.entry(field).or_default();
        if !readers.contains(&self.reader) {
            readers.push(self.reader);
        }
    }

    /// Says who reads the fields that are added from now on. A gadget says it of each operator before that one speaks.
    pub fn set_reader(&mut self, name: &'static str) {
        self.reader = name;
    }

    /// Whether `field` is read.
    pub fn wants(&self, field: FieldId) -> bool {
        self.readers.contains_key(&field)
    }

    /// Who reads `field`, in the order in which they said so.
    pub fn readers(&self, field: FieldId) -> &[&'static str] {
        self.readers.get(&field).map_or(&[], Vec::as_slice)
    }
}
