//! Running a gadget: prepare, load, attach; wait; detach, drain, stop.

use std::os::fd::AsFd;
use std::time::Duration;

use super::Gadget;
use crate::ebpf::tracer::{Tracer, TracerCounts, TracerSetup};
use crate::ebpf::{LoadOptions, Loaded};
use crate::operators::{Instance, StopSignal};
use crate::{Result, ResultExt};

/// A gadget that runs. It is detached when this is dropped; [`stop`](Self::stop) also says how it went.
pub struct Running {
    loaded: Option<Loaded>,
    tracers: Vec<RunningTracer>,
    instances: Vec<Box<dyn Instance>>,
    stop: StopSignal,
}

struct RunningTracer {
    source: String,
    map: String,
    tracer: Tracer,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("tracers", &self.tracers.len())
            .finish_non_exhaustive()
    }
}

/// Events of one data source that did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Name of the data source.
    pub source: String,
    /// How many there were.
    pub count: u64,
    /// Where they were lost, as the end of a sentence.
    pub place: &'static str,
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    losses: Vec<Loss>,
    events: u64,
}

impl Report {
    /// What was lost; empty if nothing was.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Events that reached the data sources.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn add(&mut self, source: &str, reservations: u64, counts: TracerCounts) {
        self.events += counts.events;
        for (count, place) in [
            (
                reservations.saturating_add(counts.lost_in_buffer),
                "the event buffer was full",
            ),
            (
                counts.lost_while_held,
                "too many waited for the name of their container",
            ),
            (counts.failed, "they could not be processed"),
        ] {
            if count > 0 {
                self.losses.push(Loss {
                    source: source.to_owned(),
                    count,
                    place,
                });
            }
        }
    }
}

impl Gadget {
    /// Loads and attaches the gadget. Events flow when this returns.
    pub fn start(mut self) -> Result<Running> {
        let params = self.params();
        self.values.prepare(&params)?;
        self.instances
            .sort_by_key(|instance| (instance.priority(), instance.name()));
        for instance in &mut self.instances {
            instance.configure(&self.values, &mut self.context)?;
        }
        for instance in self.instances.iter().rev() {
            instance.demand(&mut self.context);
        }
        if let Some(object) = &mut self.object {
            object.prepare(&mut self.context);
        }
        for instance in &mut self.instances {
            let name = instance.name();
            instance
                .prepare(&mut self.context)
                .with_context(|| format!("pre-starting operator {name:?}"))
                .context("pre-starting operators")?;
        }
        let mut running = Running {
            loaded: None,
            tracers: Vec::new(),
            instances: Vec::new(),
            stop: self.context.stop.clone(),
        };
        running.launch(self).context("starting operators")?;
        Ok(running)
    }
}

impl Running {
    fn launch(&mut self, gadget: Gadget) -> Result<()> {
        let Gadget {
            mut context,
            object,
            mut instances,
            values,
            buffers,
            ..
        } = gadget;
        if let Some(object) = object {
            let in_ebpf = || "starting operator \"ebpf\"";
            let mntns_filter = context.mntns_filter.as_ref().map(AsFd::as_fd);
            let options = LoadOptions {
                values,
                mntns_filter,
                buffers,
            };
            let loaded = object.load(&options).with_context(in_ebpf)?;
            for tracer in object.tracers() {
                let stream = &mut context.streams[tracer.stream];
                let source = stream.source.name().to_owned();
                let setup = TracerSetup {
                    name: source.clone(),
                    map: loaded.map(&tracer.map).with_context(in_ebpf)?,
                    settings: buffers,
                    layout: stream.source.layout().clone(),
                    pipeline: std::mem::take(&mut stream.pipeline),
                    gate: stream.gate.take(),
                    stop: context.stop.clone(),
                };
                let tracer_thread = Tracer::start(setup).with_context(in_ebpf)?;
                self.tracers.push(RunningTracer {
                    source,
                    map: tracer.map.clone(),
                    tracer: tracer_thread,
                });
            }
            self.loaded = Some(loaded);
        }
        for instance in &mut instances {
            let name = instance.name();
            instance
                .start()
                .with_context(|| format!("starting operator {name:?}"))?;
        }
        self.instances = instances;
        if let Some(loaded) = &mut self.loaded {
            loaded.attach().context("starting operator \"ebpf\"")?;
        }
        Ok(())
    }

    /// Waits until somebody asks the run to end, or until `timeout` is over.
    pub fn wait(&self, timeout: Option<Duration>) {
        self.stop.wait(timeout);
    }

    /// With which the run can be ended from anywhere.
    pub fn stop_signal(&self) -> StopSignal {
        self.stop.clone()
    }

    /// Events that reached the data sources so far.
    pub fn events(&self) -> u64 {
        self.tracers.iter().map(|running| running.tracer.events()).sum()
    }

    /// Detaches, handles every event that was sent until then, and says what was lost.
    pub fn stop(mut self) -> Result<Report> {
        let mut report = Report::default();
        let mut result = Ok(());
        if let Some(loaded) = &mut self.loaded {
            loaded.detach();
        }
        for running in self.tracers.drain(..) {
            let counts = running.tracer.finish()?;
            let reservations = self
                .loaded
                .as_ref()
                .map_or(0, |loaded| loaded.lost_reservations(&running.map));
            report.add(&running.source, reservations, counts);
        }
        for instance in self.instances.iter_mut().rev() {
            let name = instance.name();
            let stopped = instance.stop().with_context(|| format!("stopping operator {name:?}"));
            result = result.and(stopped.context("stopping operators"));
        }
        if let Some(failure) = self.stop.take_failure() {
            return Err(failure);
        }
        result.map(|()| report)
    }
}
