//! Control groups whose CPU time is limited as a data source: how often and for how long each was held back, at intervals.
//!
//! On if the metadata says `operator.cgroup.emitstats: true`. Only groups of the unified hierarchy (cgroup v2) that have processes and
//! a finite `cpu.max` are there. Values are those of the time since the last look, so a group is shown from the second on, and only
//! if something happened in it.

mod collect;
mod files;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::collect::{Throttling, Value};
use super::periodic::{Periodic, Schedule};
use super::{Context, Explanation, Instance, OperatorNote, Stream, priority};
use crate::Result;
use crate::containers::{Host, cgroup};
use crate::data::{Accessor, DataSource, FieldId, NewField, Packing, Scalar, SourceType};
use crate::metadata::SourceSettings;

const CONFIG: &str = "operator.cgroup";
const SOURCE: &str = "cgroups";
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// The control groups' part in one gadget.
#[derive(Debug)]
pub struct Cgroups {
    stream: usize,
    schedule: Schedule,
    host: Host,
    columns: Vec<(FieldId, Accessor, Value)>,
    running: Option<Periodic>,
    /// Elements come from a recording, and nothing is collected.
    replayed: bool,
}

impl Cgroups {
    /// Adds the data source `cgroups` if the metadata asks for it. `host` says where `/proc` is.
    ///
    /// # Errors
    ///
    /// Settings of the wrong type.
    pub fn instantiate(context: &mut Context, host: &Host) -> Result<Option<Self>> {
        let config = &context.config;
        if !config.get_bool(&format!("{CONFIG}.emitstats")) {
            return Ok(None);
        }
        let schedule = Schedule::read(config, CONFIG, DEFAULT_INTERVAL)?;
        let settings = SourceSettings::new(config, SOURCE);
        let mut source = DataSource::new(SOURCE, SourceType::Array, Some(settings));
        source.annotate("fetch-interval", schedule.interval_text());
        let mut columns = Vec::new();
        for (field, value) in fields() {
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

fn fields() -> impl Iterator<Item = (NewField, Value)> {
    const RIGHT: (&str, &str) = ("columns.alignment", "right");
    const DURATION: &str = "type:gadget_duration";
    let wide = |width: &'static str| [RIGHT, ("columns.maxwidth", width)];
    let number = |name: &str, width| NewField::new(name, Scalar::Uint64).annotations(wide(width));
    let ratio = |name: &str| {
        NewField::new(name, Scalar::Float64).annotations([RIGHT, ("columns.precision", "2"), ("columns.maxwidth", "8")])
    };
    let path = [("columns.maxwidth", "60"), ("columns.ellipsis", "start")];
    let period = [RIGHT, ("columns.maxwidth", "10"), ("columns.hidden", "true")];
    let duration = |field: NewField| field.tag(DURATION);
    [
        (
            NewField::new("cgroupPath", Scalar::String).annotations(path),
            Value::Path,
        ),
        (number("nrPeriods", "10"), Value::Periods),
        (number("nrThrottled", "12"), Value::Throttled),
        (duration(number("throttledTime_raw", "14")), Value::ThrottledTime),
        (ratio("throttleRatio"), Value::ThrottleRatio),
        (duration(number("cpuQuota_raw", "10")), Value::Quota),
        (
            duration(NewField::new("cpuPeriod_raw", Scalar::Uint64).annotations(period)),
            Value::Period,
        ),
        (ratio("cpuLimitCores"), Value::LimitCores),
        (ratio("psiSomeAvg10"), Value::PressureAvg10),
        (ratio("psiSomeAvg60"), Value::PressureAvg60),
        (
            NewField::new("mountnsid", Scalar::Uint64)
                .annotations([("template", "mntns_id")])
                .tag("type:gadget_mntns_id"),
            Value::MountNamespace,
        ),
    ]
    .into_iter()
}

impl Instance for Cgroups {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn priority(&self) -> i32 {
        priority::instance::CGROUP
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
        let throttling = Throttling::new(&self.host, cgroup::mount_point()?, wanted);
        self.running = Some(Periodic::start(
            self.name(),
            self.schedule,
            stream,
            throttling,
            context.stop.clone(),
        )?);
        Ok(())
    }

    fn pre_stop(&mut self) -> Result<()> {
        self.running.as_mut().map_or(Ok(()), Periodic::stop)
    }
}
