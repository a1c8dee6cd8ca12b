//! What a run has in the kernel: the loaded object, and the threads that take events from it.

use std::os::fd::{AsFd, BorrowedFd};

use libbpf_rs::MapHandle;
use nix::time::{ClockId, clock_gettime};

use crate::Result;
use crate::containers::{Follower, Places};
use crate::data::{Emitter, Gate, Stream, Tap};
use crate::ebpf::btf::KeptBtf;
use crate::ebpf::buffer::BufferSettings;
use crate::ebpf::fetch::schedule::Schedule;
use crate::ebpf::fetch::{Fetcher, FetcherSetup, IteratorProgram, IteratorReader, Source, map_source};
use crate::ebpf::markers::STACK_MAPS;
use crate::ebpf::object::{EbpfObject, IteratorSource, PARAM_PREFIX};
use crate::ebpf::sockets::{SocketFields, SocketOwners};
use crate::ebpf::trace_pipe::TracePipe;
use crate::ebpf::tracer::{Tracer, TracerSetup};
use crate::ebpf::{LoadOptions, Loaded};
use crate::metadata::params::ParamValues;
use crate::operators::{Context, KernelFilter, NetworkNamespaces};
use crate::stop::StopSignal;

/// What is to be loaded, and with what.
pub(super) struct ToLoad {
    pub(super) object: EbpfObject,
    pub(super) values: ParamValues,
    pub(super) buffers: BufferSettings,
    pub(super) socket_fields: SocketFields,
    pub(super) kernel_btf: Option<KeptBtf>,
}

/// What a run has in the kernel, and what is needed to load it anew.
pub(super) struct KernelSide {
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
    /// Ends after everything is detached.
    #[allow(dead_code, reason = "it is held, not read")]
    trace_pipe: Option<TracePipe>,
    sockets: Option<SocketOwners>,
    namespaces: Option<NetworkNamespaces>,
    places: Places,
    /// Whether somebody else has handles on the maps, too, which must then stay the same.
    maps_are_shared: bool,
}

struct RunningTracer {
    source: String,
    map: String,
    timestamp: Option<usize>,
    slow: bool,
    tracer: Tracer,
}

fn load(
    object: &EbpfObject,
    values: &ParamValues,
    filter: Option<&KernelFilter>,
    buffers: BufferSettings,
    sockets: Option<&SocketOwners>,
    reused_maps: Vec<(&str, BorrowedFd<'_>)>,
) -> Result<Loaded> {
    let mntns_filter = filter.map(|filter| filter.map.as_fd());
    object.load(&LoadOptions {
        values: values.clone(),
        mntns_filter,
        buffers,
        reused_maps,
        sockets,
        only: None,
    })
}

/// Begins to remember the owners of sockets, if the object looks for them. Without them it runs, too.
fn socket_owners(object: &EbpfObject, fields: SocketFields) -> Option<SocketOwners> {
    if !object.reads_sockets() {
        return None;
    }
    SocketOwners::start(object.socket_fields(fields))
        .inspect_err(|error| tracing::warn!("the processes of sockets are not known: {error}"))
        .ok()
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
    slow: bool,
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
            slow: self.slow,
        })?;
        Ok(RunningTracer {
            source: self.source,
            map: self.map,
            timestamp: self.timestamp,
            slow: self.slow,
            tracer,
        })
    }
}

impl KernelSide {
    /// Loads the object and starts what reads its buffers. Nothing is attached.
    pub(super) fn load(what: ToLoad, context: &mut Context) -> Result<Self> {
        let ToLoad {
            object,
            values,
            buffers,
            socket_fields,
            kernel_btf,
        } = what;
        let trace_pipe = match values.is_true(&format!("{PARAM_PREFIX}trace-pipe")) {
            true => Some(TracePipe::start()?),
            false => None,
        };
        let filter = context.mntns_filter.take();
        let sockets = socket_owners(&object, socket_fields);
        let loaded = load(&object, &values, filter.as_ref(), buffers, sockets.as_ref(), Vec::new())?;
        // Megabytes, which are not to be there together with the buffers.
        drop(kernel_btf);
        loaded.publish_stacks(&context.stack_maps);
        let mut tracers = Vec::new();
        for tracer in object.tracers() {
            let stream = &mut context.streams[tracer.stream];
            let start = StartTracer {
                source: stream.source.name().to_owned(),
                map: tracer.map.clone(),
                timestamp: stream.record.timestamp,
                slow: stream.is_slow(),
                emitter: stream.emitter(),
                gate: stream.gate.take(),
                tap: stream.tap.take(),
                not_before: 0,
            };
            tracers.push(start.on(&loaded, buffers, &context.stop)?);
        }
        Ok(Self {
            follower: None,
            loaded,
            tracers,
            fetchers: Vec::new(),
            object,
            values,
            buffers,
            filter,
            trace_pipe,
            sockets,
            namespaces: context.network_namespaces.take(),
            places: context.places.take().unwrap_or_default(),
            maps_are_shared: false,
        })
    }

    /// Handles on all maps of the object, by name, which stay valid however often it is loaded anew.
    pub(super) fn share_maps(&mut self) -> Result<Vec<(String, MapHandle)>> {
        self.maps_are_shared = true;
        self.loaded.map_handles()
    }

    /// Attaches everything, then starts what fetches arrays.
    pub(super) fn attach(&mut self, context: &mut Context) -> Result<()> {
        self.follower = attach(&mut self.loaded, &self.places)?;
        self.start_fetchers(context)
    }

    /// Whether the kernel's set of mount namespaces is in use.
    pub(super) fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }

    /// Events that reached the data sources through threads that still run.
    pub(super) fn events(&self) -> u64 {
        let traced = self.tracers.iter().map(|running| running.tracer.events());
        traced.chain(self.fetchers.iter().map(Fetcher::elements)).sum()
    }

    pub(super) fn filter_overflowed(&self) -> bool {
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
            let source = map_source(&self.loaded.map(&map.map)?)?;
            let stream = &mut context.streams[map.stream];
            let fetcher = start_fetcher(stream, source, map.schedule, &context.stop)?;
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
    pub(super) fn drop_filter(&mut self, stop: &StopSignal, events: &mut u64) -> Result<()> {
        let mut maps = self.loaded.map_handles()?;
        maps.retain(|(name, _)| {
            let fetched = self.object.map_iterators().iter().any(|map| map.map == *name);
            let shared = self.maps_are_shared && self.object.keeps_map(name);
            fetched || shared || STACK_MAPS.contains(&name.as_str())
        });
        let reused = maps.iter().map(|(name, map)| (name.as_str(), map.as_fd())).collect();
        let mut loaded = load(
            &self.object,
            &self.values,
            None,
            self.buffers,
            self.sockets.as_ref(),
            reused,
        )?;
        // Ids of stacks go on meaning the same, which hurts nobody.
        if maps.iter().any(|(name, _)| !STACK_MAPS.contains(&name.as_str())) {
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
                slow,
                tracer,
            } = running;
            let finished = tracer.finish()?;
            *events += finished.events;
            let start = StartTracer {
                source,
                map,
                timestamp,
                slow,
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
    pub(super) fn finish(mut self, events: &mut u64) -> Result<()> {
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
        tap: stream.tap.take(),
        stop: stop.clone(),
    })
}

/// Nanoseconds since boot, as `bpf_ktime_get_boot_ns` counts them.
fn boot_time() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}
