//! Running a gadget: prepare, load, attach; wait; detach, drain, stop.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::Gadget;
use crate::data::{Gate, Layout, Pipeline};
use crate::ebpf::buffer::BufferSettings;
use crate::ebpf::object::EbpfObject;
use crate::ebpf::tracer::{Tracer, TracerCounts, TracerSetup};
use crate::ebpf::{LoadOptions, Loaded};
use crate::metadata::params::ParamValues;
use crate::operators::{Instance, KernelFilter, priority};
use crate::stop::StopSignal;
use crate::{Result, ResultExt};

/// How often a run looks whether the kernel's filter is still large enough.
const FILTER_CHECK: Duration = Duration::from_millis(500);

/// A gadget that runs. It is detached when this is dropped; [`stop`](Self::stop) also says how it went.
pub struct Running {
    kernel: Option<KernelSide>,
    instances: Vec<Box<dyn Instance>>,
    stop: StopSignal,
    report: Report,
}

/// What a run has in the kernel, and what is needed to load it anew.
struct KernelSide {
    // Dropped first: no event is sent while the tracers end.
    loaded: Loaded,
    tracers: Vec<RunningTracer>,
    object: EbpfObject,
    values: ParamValues,
    buffers: BufferSettings,
    filter: Option<KernelFilter>,
}

struct RunningTracer {
    source: String,
    map: String,
    layout: Layout,
    timestamp: Option<usize>,
    tracer: Tracer,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("instances", &self.instances.len())
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
            if count == 0 {
                continue;
            }
            match self
                .losses
                .iter_mut()
                .find(|loss| loss.source == source && loss.place == place)
            {
                Some(loss) => loss.count += count,
                None => self.losses.push(Loss {
                    source: source.to_owned(),
                    count,
                    place,
                }),
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
            object.prepare(&mut self.context.streams, priority::subscription::EBPF);
        }
        for instance in &mut self.instances {
            let name = instance.name();
            instance
                .prepare(&mut self.context)
                .with_context(|| format!("pre-starting operator {name:?}"))
                .context("pre-starting operators")?;
        }
        self.launch().context("starting operators")
    }

    fn launch(self) -> Result<Running> {
        let Gadget {
            mut context,
            object,
            mut instances,
            values,
            buffers,
            ..
        } = self;
        let in_ebpf = || "starting operator \"ebpf\"";
        let stop = context.stop.clone();
        let mut kernel = None;
        if let Some(object) = object {
            let filter = context.mntns_filter.take();
            let loaded = load(&object, &values, filter.as_ref(), buffers).with_context(in_ebpf)?;
            let mut tracers = Vec::new();
            for tracer in object.tracers() {
                let stream = &mut context.streams[tracer.stream];
                let start = StartTracer {
                    source: stream.source.name().to_owned(),
                    map: tracer.map.clone(),
                    layout: stream.source.layout().clone(),
                    timestamp: stream.record.timestamp,
                    pipeline: std::mem::take(&mut stream.pipeline),
                    gate: stream.gate.take(),
                    not_before: 0,
                };
                tracers.push(start.on(&loaded, buffers, &stop).with_context(in_ebpf)?);
            }
            kernel = Some(KernelSide {
                loaded,
                tracers,
                object,
                values,
                buffers,
                filter,
            });
        }
        for instance in &mut instances {
            let name = instance.name();
            instance
                .start()
                .with_context(|| format!("starting operator {name:?}"))?;
        }
        if let Some(kernel) = &mut kernel {
            kernel.loaded.attach().with_context(in_ebpf)?;
        }
        Ok(Running {
            kernel,
            instances,
            stop,
            report: Report::default(),
        })
    }
}

fn load(
    object: &EbpfObject,
    values: &ParamValues,
    filter: Option<&KernelFilter>,
    buffers: BufferSettings,
) -> Result<Loaded> {
    let mntns_filter = filter.map(|filter| filter.map.as_fd());
    object.load(&LoadOptions {
        values: values.clone(),
        mntns_filter,
        buffers,
    })
}

/// A tracer that is about to be started.
struct StartTracer {
    source: String,
    map: String,
    layout: Layout,
    timestamp: Option<usize>,
    pipeline: Pipeline,
    gate: Option<Box<dyn Gate>>,
    not_before: u64,
}

impl StartTracer {
    fn on(self, loaded: &Loaded, buffers: BufferSettings, stop: &StopSignal) -> Result<RunningTracer> {
        let tracer = Tracer::start(TracerSetup {
            name: self.source.clone(),
            map: loaded.map(&self.map)?,
            settings: buffers,
            layout: self.layout.clone(),
            pipeline: self.pipeline,
            gate: self.gate,
            stop: stop.clone(),
            timestamp: self.timestamp,
            not_before: self.not_before,
        })?;
        Ok(RunningTracer {
            source: self.source,
            map: self.map,
            layout: self.layout,
            timestamp: self.timestamp,
            tracer,
        })
    }
}

impl KernelSide {
    fn filter_overflowed(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| (filter.overflowed)())
    }

    /// Loads the object anew, this time without the kernel's filter: the gates go on filtering. Both objects
    /// are attached for a moment, and the time of an event says whose it is, so that none in between is lost or seen twice; only
    /// events of a gadget whose records carry no time can be.
    fn drop_filter(&mut self, stop: &StopSignal, report: &mut Report) -> Result<()> {
        let mut loaded = load(&self.object, &self.values, None, self.buffers)?;
        loaded.attach()?;
        let handover = boot_time()?;
        for running in &self.tracers {
            running.tracer.hand_over(handover);
        }
        self.loaded.detach();
        let old = std::mem::replace(&mut self.loaded, loaded);
        for running in std::mem::take(&mut self.tracers) {
            let RunningTracer {
                source,
                map,
                layout,
                timestamp,
                tracer,
            } = running;
            let finished = tracer.finish()?;
            // The gate goes on with its count, which is added when the last tracer ends.
            let counts = TracerCounts {
                lost_while_held: 0,
                ..finished.counts
            };
            report.add(&source, old.lost_reservations(&map), counts);
            let start = StartTracer {
                source,
                map,
                layout,
                timestamp,
                pipeline: finished.pipeline,
                gate: finished.gate,
                not_before: handover,
            };
            self.tracers.push(start.on(&self.loaded, self.buffers, stop)?);
        }
        self.filter = None;
        Ok(())
    }

    /// Detaches, and handles every event that was sent until then.
    fn finish(mut self, report: &mut Report) -> Result<()> {
        self.loaded.detach();
        for running in self.tracers.drain(..) {
            let finished = running.tracer.finish()?;
            report.add(
                &running.source,
                self.loaded.lost_reservations(&running.map),
                finished.counts,
            );
        }
        Ok(())
    }
}

/// Nanoseconds since boot, as `bpf_ktime_get_boot_ns` counts them.
fn boot_time() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

impl Running {
    /// Waits until somebody asks the run to end, or until `timeout` is over.
    pub fn wait(&mut self, timeout: Option<Duration>) {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while !self.stop.is_requested() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return;
            }
            let watched = self.kernel.as_ref().is_some_and(|kernel| kernel.filter.is_some());
            let slice = if watched {
                Some(left.map_or(FILTER_CHECK, |left| left.min(FILTER_CHECK)))
            } else {
                left
            };
            self.stop.wait(slice);
            self.check_filter();
        }
    }

    fn check_filter(&mut self) {
        let Some(kernel) = self.kernel.as_mut().filter(|kernel| kernel.filter_overflowed()) else {
            return;
        };
        tracing::warn!("more mount namespaces than the kernel's filter holds: filtering in user space from now on");
        if let Err(error) = kernel.drop_filter(&self.stop, &mut self.report) {
            self.stop.fail(error.context("filtering in user space"));
        }
    }

    /// With which the run can be ended from anywhere.
    pub fn stop_signal(&self) -> StopSignal {
        self.stop.clone()
    }

    /// Events that reached the data sources so far.
    pub fn events(&self) -> u64 {
        let tracers = self.kernel.iter().flat_map(|kernel| &kernel.tracers);
        self.report.events + tracers.map(|running| running.tracer.events()).sum::<u64>()
    }

    /// Detaches, handles every event that was sent until then, and says what was lost.
    pub fn stop(mut self) -> Result<Report> {
        let mut result = match self.kernel.take() {
            Some(kernel) => kernel.finish(&mut self.report),
            None => Ok(()),
        };
        for instance in self.instances.iter_mut().rev() {
            let name = instance.name();
            let stopped = instance.stop().with_context(|| format!("stopping operator {name:?}"));
            result = result.and(stopped.context("stopping operators"));
        }
        if let Some(failure) = self.stop.take_failure() {
            return Err(failure);
        }
        result.map(|()| std::mem::take(&mut self.report))
    }
}
