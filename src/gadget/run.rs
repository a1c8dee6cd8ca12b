//! Running a gadget: prepare, load, attach; wait; detach, drain, stop.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::Gadget;
use super::record::ActiveRecording;
use crate::containers::{Follower, Places};
use crate::data::{Emitter, Gate, Inlet, LossPlace, Losses, Stream, Tap};
use crate::ebpf::buffer::BufferSettings;
use crate::ebpf::fetch::schedule::Schedule;
use crate::ebpf::fetch::{Fetcher, FetcherSetup, IteratorProgram, IteratorReader, MapDrain, Source};
use crate::ebpf::object::{EbpfObject, IteratorSource};
use crate::ebpf::tracer::{Tracer, TracerSetup};
use crate::ebpf::{LoadOptions, Loaded};
use crate::metadata::params::ParamValues;
use crate::operators::{Context, Explanation, Instance, KernelFilter, NetworkNamespaces, priority};
use crate::recording::{Player, Playing, Recorded};
use crate::stop::StopSignal;
use crate::{Result, ResultExt};

/// How often a run looks whether the kernel's filter is still large enough.
const FILTER_CHECK: Duration = Duration::from_millis(500);

/// A gadget that runs. It is detached when this is dropped; [`stop`](Self::stop) also says how it went.
pub struct Running {
    kernel: Option<KernelSide>,
    playing: Option<Playing>,
    recording: Option<ActiveRecording>,
    instances: Vec<Box<dyn Instance>>,
    stop: StopSignal,
    /// Events of tracers that have ended.
    events: u64,
    /// The counters of all data sources.
    losses: Vec<(String, Arc<Losses>)>,
}

/// What a run has in the kernel, and what is needed to load it anew.
struct KernelSide {
    // Dropped first: no event is sent while the tracers end.
    follower: Option<Follower>,
    loaded: Loaded,
    tracers: Vec<RunningTracer>,
    /// Those of the object's iterators, then those of its map iterators.
    fetchers: Vec<Fetcher>,
    object: EbpfObject,
    values: ParamValues,
    buffers: BufferSettings,
    filter: Option<KernelFilter>,
    namespaces: Option<NetworkNamespaces>,
    places: Places,
}

struct RunningTracer {
    source: String,
    map: String,
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
    /// Where they stayed.
    pub place: LossPlace,
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    losses: Vec<Loss>,
    events: u64,
    recorded: Option<Recorded>,
}

impl Report {
    /// What was lost or left out, in the order of the data sources; empty if nothing was.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Whether something was lost that nobody asked to leave out.
    pub fn lost_anything(&self) -> bool {
        self.losses.iter().any(|loss| !loss.place.is_intended())
    }

    /// Events that reached the data sources.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What was recorded, if anything was to be.
    pub fn recorded(&self) -> Option<&Recorded> {
        self.recorded.as_ref()
    }
}

impl Gadget {
    /// Loads and attaches the gadget. Events flow when this returns.
    pub fn start(mut self) -> Result<Running> {
        self.settle()?;
        if let Some(object) = &mut self.object {
            object.prepare(&mut self.context.streams, priority::subscription::EBPF);
        }
        if let Some(player) = &mut self.player {
            player
                .texts
                .prepare(&mut self.context.streams, priority::subscription::EBPF);
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

    /// What a run would do and why; nothing is loaded.
    pub fn explain(mut self) -> Result<Explanation> {
        self.settle()?;
        let mut explanation = Explanation::default();
        for instance in &self.instances {
            instance.explain(&self.context, &mut explanation);
        }
        Ok(explanation)
    }

    /// Settles what is to be done: the values of all parameters, and which fields are read.
    fn settle(&mut self) -> Result<()> {
        let params = self.params();
        self.values.prepare(&params)?;
        self.instances
            .sort_by_key(|instance| (instance.priority(), instance.name()));
        for instance in self.instances.iter_mut().rev() {
            instance.adjust(&mut self.values, &params, &mut self.context)?;
        }
        if let Some(object) = &mut self.object {
            object.configure(&self.values, &mut self.context.streams)?;
        }
        for instance in &mut self.instances {
            instance.configure(&self.values, &mut self.context)?;
        }
        for instance in self.instances.iter().rev() {
            for stream in &mut self.context.streams {
                stream.demand.set_reader(instance.name());
            }
            instance.demand(&mut self.context);
        }
        Ok(())
    }

    /// Loads, starts, attaches. What was started before something failed is stopped again.
    fn launch(self) -> Result<Running> {
        let Gadget {
            mut context,
            object,
            player,
            about,
            record_to,
            containers,
            instances,
            values,
            buffers,
            ..
        } = self;
        let recording = match record_to {
            Some(file) => Some(ActiveRecording::begin(
                file,
                about,
                object.as_ref(),
                &values,
                &containers,
                &mut context,
            )?),
            None => None,
        };
        let losses = context
            .streams
            .iter()
            .map(|stream| (stream.source.name().to_owned(), Arc::clone(&stream.losses)))
            .collect();
        let mut running = Running {
            kernel: None,
            playing: None,
            recording,
            instances: Vec::with_capacity(instances.len()),
            stop: context.stop.clone(),
            events: 0,
            losses,
        };
        match running.launch(object, player, instances, &mut context, values, buffers) {
            Ok(()) => Ok(running),
            Err(error) => {
                // The first error is the one that matters.
                if let Err(also) = running.end() {
                    tracing::debug!("after a failed start: {also}");
                }
                Err(error)
            }
        }
    }
}

fn load(
    object: &EbpfObject,
    values: &ParamValues,
    filter: Option<&KernelFilter>,
    buffers: BufferSettings,
    reused_maps: Vec<(&str, BorrowedFd<'_>)>,
) -> Result<Loaded> {
    let mntns_filter = filter.map(|filter| filter.map.as_fd());
    object.load(&LoadOptions {
        values: values.clone(),
        mntns_filter,
        buffers,
        reused_maps,
        only: None,
    })
}

/// Attaches everything; what is attached in containers, as long as the follower lives.
fn attach(loaded: &mut Loaded, places: &Places) -> Result<Option<Follower>> {
    loaded.attach()?;
    let attachments = loaded.place_attachments()?;
    match attachments.is_empty() {
        true => Ok(None),
        false => Follower::start(places, attachments).map(Some),
    }
}

/// What reads the programs of one data source.
fn iterator_reader(
    loaded: &Loaded,
    source: &IteratorSource,
    namespaces: Option<&NetworkNamespaces>,
) -> Result<IteratorReader> {
    let mut programs = Vec::new();
    for name in &source.programs {
        if let Some((kind, link)) = loaded.iterator(name)? {
            programs.push(IteratorProgram {
                name: name.clone(),
                kind,
                link,
            });
        }
    }
    Ok(IteratorReader::new(programs, source.record_size, namespaces.cloned()))
}

/// A tracer that is about to be started.
struct StartTracer {
    source: String,
    map: String,
    timestamp: Option<usize>,
    emitter: Emitter,
    gate: Option<Box<dyn Gate>>,
    tap: Option<Box<dyn Tap>>,
    not_before: u64,
}

impl StartTracer {
    fn on(self, loaded: &Loaded, buffers: BufferSettings, stop: &StopSignal) -> Result<RunningTracer> {
        let tracer = Tracer::start(TracerSetup {
            name: self.source.clone(),
            map: loaded.map(&self.map)?,
            settings: buffers,
            emitter: self.emitter,
            lost_reservations: loaded.loss_counter(&self.map)?,
            gate: self.gate,
            tap: self.tap,
            stop: stop.clone(),
            timestamp: self.timestamp,
            not_before: self.not_before,
        })?;
        Ok(RunningTracer {
            source: self.source,
            map: self.map,
            timestamp: self.timestamp,
            tracer,
        })
    }
}

impl KernelSide {
    fn filter_overflowed(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| (filter.overflowed)())
    }

    /// Starts what fetches arrays. Everything is attached.
    fn start_fetchers(&mut self, context: &mut Context) -> Result<()> {
        for name in self.loaded.iterators() {
            if !self
                .object
                .iterators()
                .iter()
                .any(|source| source.programs.iter().any(|program| program == name))
            {
                tracing::warn!("No iterator will run iterator program {name:?}");
            }
        }
        for iterator in self.object.iterators() {
            let source = iterator_reader(&self.loaded, iterator, self.namespaces.as_ref())?;
            let stream = &mut context.streams[iterator.stream];
            let fetcher = start_fetcher(stream, Box::new(source), iterator.schedule, &context.stop)?;
            self.fetchers.push(fetcher);
        }
        for map in self.object.map_iterators() {
            let source = MapDrain::new(&self.loaded.map(&map.map)?)?;
            let stream = &mut context.streams[map.stream];
            let fetcher = start_fetcher(stream, Box::new(source), map.schedule, &context.stop)?;
            self.fetchers.push(fetcher);
        }
        Ok(())
    }

    /// Loads the object anew, this time without the kernel's filter: the gates go on filtering. Both objects
    /// are attached for a moment, and the time of an event says whose it is, so that none in between is lost or seen twice; only
    /// events of a gadget whose records carry no time can be.
    ///
    /// A map that is fetched stays the same one, and since what is counted in it has no time, the old programs are then detached
    /// before the new ones are attached.
    fn drop_filter(&mut self, stop: &StopSignal, events: &mut u64) -> Result<()> {
        let fetched = self.object.map_iterators().iter().map(|map| map.map.as_str());
        let maps = fetched
            .map(|name| Ok((name, self.loaded.map(name)?)))
            .collect::<Result<Vec<_>>>()?;
        let reused = maps.iter().map(|(name, map)| (*name, map.as_fd())).collect();
        let mut loaded = load(&self.object, &self.values, None, self.buffers, reused)?;
        if !maps.is_empty() {
            self.follower = None;
            self.loaded.detach();
        }
        let follower = attach(&mut loaded, &self.places)?;
        let handover = boot_time()?;
        for running in &self.tracers {
            running.tracer.hand_over(handover);
        }
        self.follower = follower;
        self.loaded.detach();
        // Its counters are read once more when its tracers end.
        let _old = std::mem::replace(&mut self.loaded, loaded);
        for running in std::mem::take(&mut self.tracers) {
            let RunningTracer {
                source,
                map,
                timestamp,
                tracer,
            } = running;
            let finished = tracer.finish()?;
            *events += finished.events;
            let start = StartTracer {
                source,
                map,
                timestamp,
                emitter: finished.emitter,
                gate: finished.gate,
                tap: finished.tap,
                not_before: handover,
            };
            self.tracers.push(start.on(&self.loaded, self.buffers, stop)?);
        }
        for (iterator, fetcher) in self.object.iterators().iter().zip(&self.fetchers) {
            let source = iterator_reader(&self.loaded, iterator, self.namespaces.as_ref())?;
            fetcher.replace(Box::new(source));
        }
        self.filter = None;
        Ok(())
    }

    /// Detaches, and handles every event that was sent until then.
    fn finish(mut self, events: &mut u64) -> Result<()> {
        self.follower = None;
        self.loaded.detach();
        for running in self.tracers.drain(..) {
            *events += running.tracer.finish()?.events;
        }
        for fetcher in self.fetchers.drain(..) {
            *events += fetcher.finish()?;
        }
        Ok(())
    }
}

fn start_fetcher(
    stream: &mut Stream,
    source: Box<dyn Source>,
    schedule: Schedule,
    stop: &StopSignal,
) -> Result<Fetcher> {
    Fetcher::start(FetcherSetup {
        name: stream.source.name().to_owned(),
        source,
        schedule,
        emitter: stream.emitter(),
        gate: stream.gate.take(),
        stop: stop.clone(),
    })
}

/// Nanoseconds since boot, as `bpf_ktime_get_boot_ns` counts them.
fn boot_time() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

impl Running {
    fn launch(
        &mut self,
        object: Option<EbpfObject>,
        player: Option<Box<Player>>,
        instances: Vec<Box<dyn Instance>>,
        context: &mut Context,
        values: ParamValues,
        buffers: BufferSettings,
    ) -> Result<()> {
        let in_ebpf = || "starting operator \"ebpf\"";
        if let Some(object) = object {
            let filter = context.mntns_filter.take();
            let loaded = load(&object, &values, filter.as_ref(), buffers, Vec::new()).with_context(in_ebpf)?;
            let mut tracers = Vec::new();
            for tracer in object.tracers() {
                let stream = &mut context.streams[tracer.stream];
                let start = StartTracer {
                    source: stream.source.name().to_owned(),
                    map: tracer.map.clone(),
                    timestamp: stream.record.timestamp,
                    emitter: stream.emitter(),
                    gate: stream.gate.take(),
                    tap: stream.tap.take(),
                    not_before: 0,
                };
                tracers.push(start.on(&loaded, buffers, &self.stop).with_context(in_ebpf)?);
            }
            self.kernel = Some(KernelSide {
                follower: None,
                loaded,
                tracers,
                fetchers: Vec::new(),
                object,
                values,
                buffers,
                filter,
                namespaces: context.network_namespaces.take(),
                places: context.places.take().unwrap_or_default(),
            });
        }
        for mut instance in instances {
            let name = instance.name();
            instance
                .start(context)
                .with_context(|| format!("starting operator {name:?}"))?;
            self.instances.push(instance);
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.follower = attach(&mut kernel.loaded, &kernel.places).with_context(in_ebpf)?;
            kernel.start_fetchers(context).with_context(in_ebpf)?;
        }
        if let Some(player) = player {
            // The data sources of a recording are the first ones.
            let sources = player.recording.head().sources.len();
            let streams = context.streams.iter_mut().take(sources);
            let inlets = streams.map(|stream| Inlet::new(stream.emitter(), stream.gate.take(), None));
            self.playing = Some(player.start(inlets.collect(), &self.stop)?);
        }
        Ok(())
    }

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
        if let Err(error) = kernel.drop_filter(&self.stop, &mut self.events) {
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
        let fetchers = self.kernel.iter().flat_map(|kernel| &kernel.fetchers);
        let played = self.playing.iter().map(Playing::events);
        self.events
            + tracers
                .map(|running| running.tracer.events())
                .chain(fetchers.map(Fetcher::elements))
                .chain(played)
                .sum::<u64>()
    }

    /// Detaches, handles every event that was sent until then, and says what was lost.
    pub fn stop(mut self) -> Result<Report> {
        let result = self.end();
        let recorded = self.recording.take().map(ActiveRecording::finish).transpose();
        if let Some(failure) = self.stop.take_failure() {
            return Err(failure);
        }
        result?;
        Ok(Report {
            recorded: recorded?,
            ..self.report()
        })
    }

    /// Ends everything that was started, in reverse, whatever fails on the way.
    fn end(&mut self) -> Result<()> {
        let mut result = match self.kernel.take() {
            Some(kernel) => kernel.finish(&mut self.events),
            None => Ok(()),
        };
        if let Some(playing) = self.playing.take() {
            result = result.and(playing.finish().map(|events| self.events += events));
        }
        if let Some(playing) = self.playing.take() {
            result = result.and(playing.finish().map(|events| self.events += events));
        }
        let phases: [fn(&mut dyn Instance) -> Result<()>; 2] = [|i| i.pre_stop(), |i| i.stop()];
        for phase in phases {
            for instance in self.instances.iter_mut().rev() {
                let name = instance.name();
                let stopped = phase(instance.as_mut()).with_context(|| format!("stopping operator {name:?}"));
                result = result.and(stopped.context("stopping operators"));
            }
        }
        result
    }

    fn report(&self) -> Report {
        let losses = self.losses.iter().flat_map(|(source, losses)| {
            LossPlace::ALL.into_iter().map(|place| Loss {
                source: source.clone(),
                count: losses.at(place),
                place,
            })
        });
        Report {
            losses: losses.filter(|loss| loss.count > 0).collect(),
            events: self.events,
            recorded: None,
        }
    }
}
