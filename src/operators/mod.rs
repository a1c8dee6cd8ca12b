//! What happens to an event between the kernel and the sink: one file per operator.
//!
//! An operator is asked once per gadget whether it has something to do there (*instantiate*: look at the data sources, add
//! fields). Then every instance says which fields it reads (*demand*), subscribes to pipelines (*prepare*), and takes part in
//! start and stop. Instances are called in ascending priority, ties by name, and stopped in reverse.
//!
//! Nobody pays for what nobody reads: an instance whose added fields are not demanded does not subscribe.

pub mod formatters;
pub mod priority;
pub mod sink;
pub mod uidgid;
pub mod ustack;

use std::collections::HashSet;

use crate::Result;
use crate::data::{DataSource, FieldId, Pipeline};

/// A data source with what is subscribed to it and which of its fields somebody reads.
#[derive(Debug)]
pub struct Stream {
    /// The data source.
    pub source: DataSource,
    /// Its subscribers.
    pub pipeline: Pipeline,
    /// The fields that are read by a sink, a filter or another operator.
    pub demand: Demand,
}

impl Stream {
    /// A stream that nobody reads yet.
    pub fn new(source: DataSource) -> Self {
        Self {
            source,
            pipeline: Pipeline::default(),
            demand: Demand::default(),
        }
    }
}

/// The fields of a data source that somebody reads.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    fields: HashSet<FieldId>,
}

impl Demand {
    /// Notes that `field` is read.
    pub fn add(&mut self, field: FieldId) {
        self.fields.insert(field);
    }

    /// Whether `field` is read.
    pub fn wants(&self, field: FieldId) -> bool {
        self.fields.contains(&field)
    }
}

/// What operators work on while a gadget is instantiated and prepared.
#[derive(Debug, Default)]
pub struct Context {
    /// The gadget's streams, in order of registration.
    pub streams: Vec<Stream>,
}

impl Context {
    /// The streams whose data sources are referenced.
    pub fn referenced(&mut self) -> impl Iterator<Item = (usize, &mut Stream)> {
        self.streams
            .iter_mut()
            .enumerate()
            .filter(|(_, stream)| stream.source.is_referenced())
    }
}

/// One operator's part in one gadget.
pub trait Instance: Send {
    /// Name for messages.
    fn name(&self) -> &'static str;

    /// Tells the streams which fields this instance reads, given which are already demanded. Called in *descending* priority,
    /// so that consumers of added fields have spoken before the operators that add them.
    fn demand(&self, _context: &mut Context) {}

    /// Subscribes to pipelines. No event flows yet.
    fn prepare(&mut self, context: &mut Context) -> Result<()>;

    /// Called when everything is prepared and before the first event.
    fn start(&mut self) -> Result<()> {
        Ok(())
    }

    /// Called after the last event.
    fn stop(&mut self) -> Result<()> {
        Ok(())
    }
}
