//! Processes as a data source: what `/proc` of the host says about each, at intervals.
//!
//! On if the metadata says `operator.process.emitstats: true`. `operator.process.fields` chooses what is shown; of that, only what
//! somebody reads is collected. The first collection is only there to compare CPU times with.

mod collect;
mod fields;
pub(in crate::operators) mod procfs;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::collect::Statistics;
use self::fields::{Column, Value};
use super::periodic::{Periodic, Schedule};
use super::{Context, Explanation, Instance, OperatorNote, Stream, priority};
use crate::Result;
use crate::containers::Host;
use crate::data::{Accessor, DataSource, FieldId, Packing, SourceType};
use crate::metadata::SourceSettings;

const CONFIG: &str = "operator.process";
const SOURCE: &str = "processes";
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// The processes' part in one gadget.
#[derive(Debug)]
pub struct Processes {
    stream: usize,
    schedule: Schedule,
    host: Host,
    columns: Vec<(FieldId, Accessor, Value)>,
    running: Option<Periodic>,
    /// Elements come from a recording, and nothing is collected.
    replayed: bool,
}

impl Processes {
    /// Adds the data source `processes` if the metadata asks for it. `host` says where `/proc` is.
    ///
    /// # Errors
    ///
    /// Settings of the wrong type; a field that is listed twice.
    pub fn instantiate(context: &mut Context, host: &Host) -> Result<Option<Self>> {
        let config = &context.config;
        if !config.get_bool(&format!("{CONFIG}.emitstats")) {
            return Ok(None);
        }
        let schedule = Schedule::read(config, CONFIG, DEFAULT_INTERVAL)?;
        let listed = config.strings(&format!("{CONFIG}.fields"));
        let settings = SourceSettings::new(config, SOURCE);
        let mut source = DataSource::new(SOURCE, SourceType::Array, Some(settings));
        source.annotate("fetch-interval", schedule.interval_text());
        let mut columns = Vec::new();
        for Column { field, value } in fields::columns(&listed) {
            let id = source.add_field(field)?;
            columns.push((id, source.accessor(id), value));
        }
        let stream = context.streams.len();
        context.streams.push(Stream {
            packing: Some(Packing::of(columns.iter().map(|(_, accessor, _)| *accessor))),
            ..Stream::new(source)
        });
        Ok(Some(Self {
            stream,
            schedule,
            host: host.clone(),
            columns,
            running: None,
            replayed: context.replayed,
        }))
    }
}

impl Instance for Processes {
    fn name(&self) -> &'static str {
        "process"
    }

    fn priority(&self) -> i32 {
        priority::instance::PROCESS
    }

    fn prepare(&mut self, _context: &mut Context) -> Result<()> {
        Ok(())
    }

    fn explain(&self, _context: &Context, to: &mut Explanation) {
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: true,
            why: format!("{CONFIG}.emitstats is set, interval {}", self.schedule.interval_text()),
        });
    }

    fn start(&mut self, context: &mut Context) -> Result<()> {
        if self.replayed {
            return Ok(());
        }
        let Some(stream) = context.streams.get_mut(self.stream) else {
            return Ok(());
        };
        let all = stream.tap.is_some();
        let wanted = self.columns.iter().filter(|(id, ..)| all || stream.demand.wants(*id));
        let wanted = wanted.map(|(_, accessor, value)| (*accessor, *value)).collect();
        let statistics = Statistics::new(&self.host, wanted);
        self.running = Some(Periodic::start(
            self.name(),
            self.schedule,
            stream,
            statistics,
            context.stop.clone(),
        )?);
        Ok(())
    }

    fn pre_stop(&mut self) -> Result<()> {
        self.running.as_mut().map_or(Ok(()), Periodic::stop)
    }
}
