//! Running a gadget: prepare, load, attach; wait; detach, drain, stop.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libbpf_rs::{MapHandle, MapInfo};

use super::Gadget;
use super::kernel_side::{KernelSide, ToLoad};
use super::record::{self, ActiveRecording};
use crate::containers::Replica;
use crate::data::{LossPlace, Losses};
use crate::ebpf::object::EbpfObject;
use crate::operators::local_manager::ContainerSource;
use crate::operators::{Context, Explanation, Instance, priority};
use crate::recording::{Player, Playing, Recorded};
use crate::stop::StopSignal;
use crate::wasm::{Guest, Profile};
use crate::{Error, ErrorKind, Result, ResultExt};

/// How often a run looks whether the kernel's filter is still large enough.
const FILTER_CHECK: Duration = Duration::from_millis(500);

/// A gadget that runs. It is detached when this is dropped; [`stop`](Self::stop) also says how it went.
pub struct Running {
    kernel: Option<KernelSide>,
    guest: Option<Guest>,
    playing: Option<Playing>,
    recording: Option<ActiveRecording>,
    instances: Vec<Box<dyn Instance>>,
    stop: StopSignal,
    /// Events of tracers that have ended.
    events: u64,
    /// The counters of all data sources.
    losses: Vec<(String, Arc<Losses>)>,
    /// Where the time of a guest that has ended went.
    profile: Option<Profile>,
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
    profile: Option<Profile>,
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

    /// Where the time of the gadget's own code went, if it has some and that was to be measured.
    pub fn guest_profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }
}

impl Gadget {
    /// Loads and attaches the gadget. Events flow when this returns.
    pub fn start(mut self) -> Result<Running> {
        self.settle()?;
        if let Some(object) = &mut self.object {
            object.prepare(&mut self.context, priority::subscription::EBPF);
        }
        if let Some(player) = &mut self.player {
            player.texts.prepare(&mut self.context, priority::subscription::EBPF);
        }
        self.arrange()?;
        if let (Some(_), ContainerSource::Collection(collection)) = (&self.record_to, &self.containers) {
            self.context.replica = Some(Replica::of(collection));
        }
        for instance in &mut self.instances {
            let name = instance.name();
            instance
                .prepare(&mut self.context)
                .with_context(|| format!("pre-starting operator {name:?}"))
                .context("pre-starting operators")?;
        }
        if let Some(guest) = &mut self.guest {
            guest.adopt(&mut self.context);
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

    /// The object as a run would load it when nobody gives a value to any parameter.
    pub(crate) fn into_object(mut self) -> Result<Option<EbpfObject>> {
        for param in self.params() {
            if !param.default.is_empty() {
                self.values.set(param.full_name(), &param.default);
            }
        }
        self.settle()?;
        self.arrange()?;
        Ok(self.object)
    }

    /// Lets the gadget's own code say what its programs are attached to.
    fn arrange(&mut self) -> Result<()> {
        let Some(guest) = &mut self.guest else { return Ok(()) };
        let before = Arc::clone(&self.context.config);
        guest
            .pre_start(&mut self.context)
            .context("pre-starting operator \"wasm\"")
            .context("pre-starting operator \"oci\"")
            .context("pre-starting operators")?;
        let config = &self.context.config;
        if let Some(object) = self.object.as_mut().filter(|_| !Arc::ptr_eq(&before, config)) {
            object.retarget(config);
        }
        Ok(())
    }

    /// Settles what is to be done: the values of all parameters, and which fields are read.
    pub(super) fn settle(&mut self) -> Result<()> {
        let params = self.declared_params();
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
        // Before those that add what it may read.
        if let Some(guest) = &mut self.guest {
            guest.configure(&self.values);
            guest.demand(&mut self.context);
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
            guest,
            player,
            about,
            record_to,
            containers,
            instances,
            values,
            buffers,
            socket_fields,
            kernel_btf,
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
            guest: None,
            playing: None,
            recording,
            instances: Vec::with_capacity(instances.len()),
            stop: context.stop.clone(),
            events: 0,
            losses,
            profile: None,
        };
        let object = object.map(|object| ToLoad {
            object,
            values,
            buffers,
            socket_fields,
            kernel_btf,
        });
        let launched = running.launch(object, guest, player, instances, &mut context);
        match launched {
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

impl Running {
    #[allow(clippy::too_many_arguments, reason = "what a gadget consists of")]
    fn launch(
        &mut self,
        object: Option<ToLoad>,
        guest: Option<Guest>,
        player: Option<Box<Player>>,
        instances: Vec<Box<dyn Instance>>,
        context: &mut Context,
    ) -> Result<()> {
        let in_ebpf = || "starting operator \"ebpf\"";
        let filter = match (&guest, &context.mntns_filter) {
            (Some(_), Some(filter)) => Some(map_of(&filter.map)?),
            _ => None,
        };
        if let Some(object) = object {
            let kernel = KernelSide::load(object, context).with_context(in_ebpf)?;
            self.kernel = Some(kernel);
        }
        if let Some(mut guest) = guest {
            let maps = match &mut self.kernel {
                Some(kernel) => kernel.share_maps().with_context(in_ebpf)?,
                None => Vec::new(),
            };
            guest
                .start(maps, filter)
                .context("starting operator \"wasm\"")
                .context("starting operator \"oci\"")?;
            self.guest = Some(guest);
        }
        for mut instance in instances {
            let name = instance.name();
            instance
                .start(context)
                .with_context(|| format!("starting operator {name:?}"))?;
            self.instances.push(instance);
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.attach(context).with_context(in_ebpf)?;
        }
        if let Some(player) = player {
            let inlets = record::inlets(player.recording.head(), &mut context.streams)?;
            self.playing = Some(player.start(inlets, &self.stop)?);
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
            let watched = self.kernel.as_ref().is_some_and(KernelSide::is_filtered);
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
        let kernel = self.kernel.iter().map(KernelSide::events);
        let played = self.playing.iter().map(Playing::events);
        self.events + kernel.chain(played).sum::<u64>()
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
        result = result.and(self.stop_instances(|instance| instance.pre_stop()));
        // What it emits now goes to subscribers that are still there.
        if let Some(guest) = &mut self.guest {
            result = result.and(guest.stop().context("stopping operators"));
        }
        result = result.and(self.stop_instances(|instance| instance.stop()));
        if let Some(mut guest) = self.guest.take() {
            result = result.and(guest.post_stop());
            self.profile = guest.profile();
        }
        result
    }

    fn stop_instances(&mut self, phase: fn(&mut dyn Instance) -> Result<()>) -> Result<()> {
        let mut result = Ok(());
        for instance in self.instances.iter_mut().rev() {
            let name = instance.name();
            let stopped = phase(instance.as_mut()).with_context(|| format!("stopping operator {name:?}"));
            result = result.and(stopped.context("stopping operators"));
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
            profile: self.profile.clone(),
        }
    }
}

/// A handle on the map of a descriptor.
fn map_of(fd: &OwnedFd) -> Result<MapHandle> {
    let info = MapInfo::new(fd.as_fd()).and_then(|info| MapHandle::from_map_id(info.info.id));
    info.map_err(|error| {
        Error::new(
            ErrorKind::Io,
            format!("opening the filter of mount namespaces: {error}"),
        )
    })
}
