//! One gadget: its metadata, its parameters and its life from instantiation to stop.
//!
//! ```no_run
//! use std::time::Duration;
//! use inspektor_gadget::gadget::Gadget;
//! use inspektor_gadget::image::{ResolveOptions, Resolver};
//!
//! # fn main() -> inspektor_gadget::Result<()> {
//! let image = Resolver::new(ResolveOptions::default())?.resolve("trace_open")?; // store, catalogue or registry; verified
//! let mut gadget = Gadget::builder(&image).host().build()?; // everything is known, nothing is loaded yet
//! gadget.set_param("failed", "true")?;
//! let fname = gadget.data_source("open")?.field("fname")?.str()?; // looked up once
//! gadget.subscribe("open", ["fname"], move |event| println!("{}", fname.get(event)))?;
//! let mut running = gadget.start()?; // loaded and attached; detached when dropped
//! running.wait(Some(Duration::from_secs(10)));
//! let report = running.stop()?;
//! assert!(report.losses().is_empty());
//! # Ok(())
//! # }
//! ```

mod annotate;
mod custom;
mod kernel_side;
mod record;
mod run;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

pub use annotate::annotate;
use custom::Custom;
pub use run::{Loss, Report, Running};

use crate::containers::{Collection, CollectionOptions, Host};
use crate::data::{DataSource, Element, Flow};
use crate::ebpf::btf::KeptBtf;
use crate::ebpf::buffer::BufferSettings;
use crate::ebpf::object::EbpfObject;
use crate::ebpf::sockets::SocketFields;
use crate::image::GadgetImage;
use crate::metadata::config::Config;
use crate::metadata::params::{Param, ParamValues};
use crate::operators::bpfstats::Statistics;
use crate::operators::cgroup::Cgroups;
use crate::operators::env::Environment;
use crate::operators::filter::{Filter, KernelSide};
use crate::operators::formatters::Formatters;
use crate::operators::include_self::OwnEvents;
use crate::operators::limiter::Limiter;
use crate::operators::local_manager::{self, ContainerNeeds, ContainerSource, LocalManager};
use crate::operators::metrics::Metrics;
use crate::operators::process::Processes;
use crate::operators::sort::Sort;
use crate::operators::uidgid::UidGidResolver;
use crate::operators::ustack::UserStacks;
use crate::operators::{Context, Instance, RecordedStacks, priority};
use crate::recording::{Player, RecordFile, Recording};
use crate::stop::StopSignal;
use crate::wasm::{self, Guest, GuestOptions};
use crate::{Error, Result, ResultExt};

/// Makes a [`Gadget`] of an image or of a recording.
#[derive(Debug)]
pub struct GadgetBuilder<'i> {
    origin: Origin<'i>,
    annotations: Vec<String>,
    values: ParamValues,
    environment: Vec<String>,
    containers: Option<ContainerSource>,
    host_files: Option<Host>,
    buffers: BufferSettings,
    host: bool,
    guest: GuestOptions,
    revised: Option<Revision>,
}

/// What takes the place of an image's metadata and of its code.
type Revision = (Vec<u8>, Option<Arc<[u8]>>);

/// What a gadget is made of.
#[derive(Debug)]
enum Origin<'i> {
    Image(&'i GadgetImage),
    Recording(Box<Recording>),
}

/// A gadget that is instantiated: data sources and parameters are known, nothing is in the kernel.
pub struct Gadget {
    context: Context,
    object: Option<EbpfObject>,
    /// The gadget's own code.
    guest: Option<Guest>,
    /// In place of an object: where records come from.
    player: Option<Box<Player>>,
    about: record::About,
    record_to: Option<RecordFile>,
    containers: ContainerSource,
    instances: Vec<Box<dyn Instance>>,
    custom: Custom,
    defaults: Config,
    values: ParamValues,
    buffers: BufferSettings,
    socket_fields: SocketFields,
    /// For whatever needs it before the gadget is loaded.
    kernel_btf: Option<KeptBtf>,
    /// The id that the kernel's programs see this process by, if it can be known.
    own_pid: Option<u32>,
}

impl std::fmt::Debug for Gadget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gadget")
            .field("streams", &self.context.streams)
            .finish_non_exhaustive()
    }
}

impl<'i> GadgetBuilder<'i> {
    fn new(origin: Origin<'i>) -> Self {
        Self {
            origin,
            annotations: Vec::new(),
            values: ParamValues::new(),
            environment: Vec::new(),
            containers: None,
            host_files: None,
            buffers: BufferSettings::default(),
            host: false,
            guest: GuestOptions::default(),
            revised: None,
        }
    }

    /// Takes this metadata and this code of its own in place of those that the gadget comes with. So a recording can be replayed through what
    /// has become of its gadget since; the records are the recorded ones.
    #[must_use]
    pub fn revised(mut self, metadata: impl Into<Vec<u8>>, code: Option<&[u8]>) -> Self {
        self.revised = Some((metadata.into(), code.map(Into::into)));
        self
    }

    /// How to run the gadget's own code.
    #[must_use]
    pub fn guest(mut self, options: GuestOptions) -> Self {
        self.guest = options;
        self
    }

    /// Lays annotations over the metadata; see [`annotate`].
    #[must_use]
    pub fn annotate(mut self, annotations: impl IntoIterator<Item = String>) -> Self {
        self.annotations.extend(annotations);
        self
    }

    /// Gives values of parameters, by full name. Those of custom parameters can only be given here, since the metadata depends on
    /// them: without a value the metadata stays as it is.
    #[must_use]
    pub fn values(mut self, values: &ParamValues) -> Self {
        for (name, value) in values.iter() {
            self.values.set(name, value);
        }
        self
    }

    /// Lets the gadget see these environment variables of this process.
    #[must_use]
    pub fn environment(mut self, allowed: impl IntoIterator<Item = String>) -> Self {
        self.environment.extend(allowed);
        self
    }

    /// Where the host's files are; `$HOST_ROOT` or `/` if this is not said.
    #[must_use]
    pub fn host_files(mut self, host: Host) -> Self {
        self.host_files = Some(host);
        self
    }

    /// Uses containers from here instead of starting a collection of its own.
    #[must_use]
    pub fn containers(mut self, source: ContainerSource) -> Self {
        self.containers = Some(source);
        self
    }

    /// Traces the whole host, not only containers.
    #[must_use]
    pub fn host(mut self) -> Self {
        self.host = true;
        self
    }

    /// Kind and size of event buffers.
    #[must_use]
    pub fn buffers(mut self, settings: BufferSettings) -> Self {
        self.buffers = settings;
        self
    }

    /// Instantiates the gadget.
    pub fn build(self) -> Result<Gadget> {
        let mut about = record::About::of(&self.origin, &self.annotations)?;
        if let Some((metadata, code)) = self.revised {
            about.metadata = metadata;
            about.code = code;
        }
        let mut config = Config::parse(&about.metadata)
            .context("unmarshalling metadata")
            .context("setting metadata")?;
        let mut values = self.values;
        if let Origin::Recording(recording) = &self.origin {
            // What the gadget was made of is settled.
            for (name, value) in &recording.head().params {
                if name.starts_with(crate::metadata::custom::PREFIX) {
                    values.set(name, value);
                }
            }
        }
        let custom = Custom::apply(&mut config, &values).context("setting metadata")?;
        annotate(&mut config, &about.annotations)?;
        let config = Arc::new(config);
        let host_files = self.host_files.unwrap_or_else(Host::from_env);
        let mut context = Context {
            config: Arc::clone(&config),
            ..Context::default()
        };
        let own_pid = match &self.origin {
            Origin::Image(_) => own_pid(&host_files),
            Origin::Recording(recording) => recording.head().host.own_pid,
        };
        let (object, player, containers) = match self.origin {
            Origin::Image(image) => {
                let object = instantiate(image, &config, &mut context)?;
                let containers = self.containers.unwrap_or_else(start_collection);
                (object, None, containers)
            }
            Origin::Recording(recording) => {
                let player = Player::instantiate(*recording, &config, &mut context)?;
                // Selected are the containers that the run selected, until somebody says otherwise.
                let params = &player.recording.head().params;
                let chosen = params
                    .iter()
                    .filter(|(name, _)| name.starts_with(local_manager::PARAM_PREFIX));
                chosen.for_each(|(name, value)| values.set(name, value));
                let of_guest = params.iter().filter(|(name, _)| name.starts_with(wasm::PARAM_PREFIX));
                of_guest.for_each(|(name, value)| values.set(name, value));
                let containers = self.containers.unwrap_or_else(|| player.containers());
                (None, Some(Box::new(player)), containers)
            }
        };
        let guest = match &about.code {
            None => None,
            Some(code) => {
                let options = GuestOptions {
                    // Whoever made a recording is nobody whose code may do anything in the kernel.
                    without_kernel: player.is_some(),
                    ..self.guest
                };
                let guest = Guest::instantiate(code, &options, &mut context, &values);
                Some(guest.context("instantiating operator \"wasm\"")?)
            }
        };
        let filters_mntns = match &player {
            Some(player) => player.recording.head().filters_mntns,
            None => object.as_ref().is_some_and(EbpfObject::filters_mntns),
        };
        let visits_netns = object.as_ref().is_some_and(EbpfObject::visits_network_namespaces);
        let mut instances: Vec<Box<dyn Instance>> = Vec::new();
        let processes = Processes::instantiate(&mut context, &host_files)?;
        instances.extend(processes.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let cgroups = Cgroups::instantiate(&mut context, &host_files)?;
        instances.extend(cgroups.map(|instance| Box::new(instance) as Box<dyn Instance>));
        if player.is_none() {
            let statistics = Statistics::instantiate(&mut context, &host_files)?;
            instances.extend(statistics.map(|instance| Box::new(instance) as Box<dyn Instance>));
        }
        let needs = ContainerNeeds {
            filters: filters_mntns,
            visits_netns,
            attaches: object.as_ref().is_some_and(EbpfObject::attaches_in_places),
            attaches_to_interfaces: object.as_ref().is_some_and(EbpfObject::attaches_to_interfaces),
        };
        let local_manager = LocalManager::instantiate(&mut context, containers.clone(), needs)?;
        instances.extend(local_manager.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let formatters = Formatters::instantiate(&mut context)?;
        instances.extend(formatters.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let environment = Environment::instantiate(&mut context, &self.environment)?;
        instances.extend(environment.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let uid_gid = UidGidResolver::instantiate(&mut context)?;
        instances.extend(uid_gid.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let stacks = UserStacks::instantiate(&mut context, &host_files)?;
        instances.extend(stacks.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let sort = Sort::instantiate(&mut context);
        instances.extend(sort.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let limiter = Limiter::instantiate(&mut context);
        instances.extend(limiter.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let metrics = Metrics::instantiate(&mut context)?;
        instances.extend(metrics.map(|instance| Box::new(instance) as Box<dyn Instance>));
        // Last, because whatever data source there is then can be filtered.
        let mut attached_to: Vec<String> = object.iter().flat_map(EbpfObject::attached_to).collect();
        if guest.as_ref().is_some_and(Guest::changes_config) {
            // Where to is the guest's to say, later.
            attached_to.push("*".to_owned());
        }
        let kernel = KernelSide {
            filters_mntns,
            attached_to,
            has_code: guest.as_ref().is_some_and(Guest::sees_packets),
        };
        instances.push(Box::new(Filter::instantiate(&mut context, kernel)));
        instances.push(Box::new(OwnEvents));
        let mut gadget = Gadget {
            context,
            object,
            guest,
            player,
            about,
            record_to: None,
            containers,
            instances,
            custom,
            defaults: config.sub("paramdefaults").cloned().unwrap_or_default(),
            values,
            buffers: self.buffers,
            socket_fields: SocketFields::default(),
            kernel_btf: None,
            own_pid,
        };
        gadget.set_include_self(false);
        if self.host {
            gadget.set_param("host", "true")?;
        }
        Ok(gadget)
    }
}

/// The image's object, if it has one.
fn instantiate(image: &GadgetImage, config: &Arc<Config>, context: &mut Context) -> Result<Option<EbpfObject>> {
    let mut objects = image.ebpf();
    let object = match objects.next() {
        None => None,
        Some(bytes) => {
            let mut object = EbpfObject::instantiate(bytes.into(), config, &mut context.streams)?;
            object.set_btf_archive(image.btfgen());
            Some(object)
        }
    };
    if objects.next().is_some() {
        return Err(Error::unsupported(
            "images with several eBPF layers are not supported by this version of ig",
        ));
    }
    Ok(object)
}

fn start_collection() -> ContainerSource {
    match Collection::start(CollectionOptions::default()) {
        Ok(collection) => ContainerSource::Collection(collection),
        Err(error) => ContainerSource::Unavailable(error.to_string()),
    }
}

impl Gadget {
    /// Starts making a gadget of an image.
    pub fn builder(image: &GadgetImage) -> GadgetBuilder<'_> {
        GadgetBuilder::new(Origin::Image(image))
    }

    /// Starts making a gadget whose records come from a recording. Needs neither kernel nor privileges. The run ends by itself
    /// when everything has been replayed. Containers are selected as they were, until a parameter says otherwise.
    pub fn replay(recording: Recording) -> GadgetBuilder<'static> {
        GadgetBuilder::new(Origin::Recording(Box::new(recording)))
    }

    /// Records the raw events of the run to `path`; see [`RecordFile::create`] for what may be there.
    pub fn record(&mut self, path: &Path) -> Result<()> {
        self.record_to = Some(RecordFile::create(path)?);
        self.context.recorded_stacks = RecordedStacks::Described(Vec::new());
        Ok(())
    }

    /// All parameters with their prefixes: the gadget's custom ones, the object's, those of its own code, then the operators' in the order of their priority. Their
    /// defaults are those that the gadget's author [advertises](Self::advertise).
    pub fn params(&self) -> Vec<Param> {
        let mut params = self.declared_params();
        self.advertise(&mut params);
        params
    }

    /// Gives those of `params` that `paramDefaults` in the metadata names the default that it says. That is what whoever asks the user
    /// begins with; who sends no value gets what the parameter's owner has declared.
    pub fn advertise(&self, params: &mut [Param]) {
        for param in params {
            if let Some(default) = self.defaults.get_str(&param.full_name().to_lowercase()) {
                param.default = default.into_owned();
            }
        }
    }

    /// All parameters with the defaults that count where nobody gives a value.
    fn declared_params(&self) -> Vec<Param> {
        let object = self.object.iter().flat_map(EbpfObject::params);
        let guest = self.guest.iter().flat_map(Guest::params);
        let instances = self.instances.iter().flat_map(|instance| instance.params());
        let custom = self.custom.params.params().cloned();
        custom.chain(object).chain(guest).chain(instances).collect()
    }

    /// Sets a parameter by its full name, its key or its alternative key.
    pub fn set_param(&mut self, name: &str, value: &str) -> Result<()> {
        let params = self.params();
        let param = params
            .iter()
            .find(|param| param.full_name() == name)
            .or_else(|| {
                params
                    .iter()
                    .find(|param| param.key == name || param.alternative_key == name)
            })
            .ok_or_else(|| Error::not_found(format!("the gadget has no parameter {name:?}")))?;
        param.validate(value)?;
        if param.prefix == crate::metadata::custom::PREFIX {
            return Err(Error::invalid(format!(
                "the metadata depends on parameter {:?}, so its value must be known when the gadget is built",
                param.full_name()
            )));
        }
        self.values.set(param.full_name(), value);
        Ok(())
    }

    /// Whether the metadata would be different if the gadget had been built with `values`, so that it must be built anew.
    ///
    /// # Errors
    ///
    /// That of a custom parameter's patch.
    pub fn depends_on(&self, values: &ParamValues) -> Result<bool> {
        self.custom.depends_on(values)
    }

    /// Sets many parameters by their full names. Names of other operators, and values of custom parameters, are ignored.
    pub fn set_values(&mut self, values: &ParamValues) {
        for (name, value) in values.iter() {
            self.values.set(name, value);
        }
    }

    /// Sets kind and size of event buffers.
    pub fn set_buffers(&mut self, settings: BufferSettings) {
        self.buffers = settings;
    }

    /// Keeps the kernel's BTF until the gadget is loaded, so that whatever else has needed it before has read it for this, too.
    pub fn set_kept_btf(&mut self, kept: KeptBtf) {
        self.kernel_btf = Some(kept);
    }

    /// Sets what is remembered of the owners of sockets, as far as the gadget looks at it.
    pub fn set_socket_fields(&mut self, fields: SocketFields) {
        self.socket_fields = fields;
    }

    /// Whether events of this very process are events like any other; by default they are left out, so that a gadget does not
    /// show the work of showing it.
    pub fn set_include_self(&mut self, include: bool) {
        self.context.own_pid = self.own_pid.filter(|_| !include);
    }

    /// The data sources that are referenced, in order of registration.
    pub fn data_sources(&self) -> impl Iterator<Item = &DataSource> {
        self.context
            .streams
            .iter()
            .map(|stream| &stream.source)
            .filter(|source| source.is_referenced())
    }

    /// The data source of this name.
    pub fn data_source(&self, name: &str) -> Result<&DataSource> {
        self.data_sources()
            .find(|source| source.name() == name)
            .ok_or_else(|| Error::not_found(format!("the gadget has no data source {name:?}")))
    }

    /// With which the run can be ended from anywhere.
    pub fn stop_signal(&self) -> StopSignal {
        self.context.stop.clone()
    }

    /// Adds an operator of the caller's own, such as a sink.
    pub fn add_instance(&mut self, instance: impl Instance + 'static) {
        self.instances.push(Box::new(instance));
    }

    /// Lets an operator that is to be added look at the data sources.
    pub fn context(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Calls `call` with every event of data source `source`, after everything else. `fields` are the full names of those that
    /// it reads; others may be empty then, because nobody asked for them.
    pub fn subscribe<'f>(
        &mut self,
        source: &str,
        fields: impl IntoIterator<Item = &'f str>,
        call: impl FnMut(&Element) + Send + 'static,
    ) -> Result<()> {
        let ds = self.data_source(source)?;
        let fields = fields
            .into_iter()
            .map(|name| ds.field(name).map(|field| field.id()))
            .collect::<Result<_>>()?;
        self.add_instance(Subscription {
            source: source.to_owned(),
            fields,
            call: Some(Box::new(call)),
        });
        Ok(())
    }
}

fn own_pid(host: &Host) -> Option<u32> {
    host.own_pid()
        .inspect_err(|error| tracing::debug!("events of our own cannot be told from others: {error}"))
        .ok()
}

type EventFn = Box<dyn FnMut(&Element) + Send>;

/// A function of the caller's as an operator.
struct Subscription {
    source: String,
    fields: Vec<crate::data::FieldId>,
    call: Option<EventFn>,
}

impl Instance for Subscription {
    fn name(&self) -> &'static str {
        "subscription"
    }

    fn priority(&self) -> i32 {
        priority::instance::SINK
    }

    fn demand(&self, context: &mut Context) {
        for stream in context
            .streams
            .iter_mut()
            .filter(|stream| stream.source.name() == self.source)
        {
            for field in &self.fields {
                stream.demand.add(*field);
            }
        }
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        let stream = context
            .streams
            .iter_mut()
            .find(|stream| stream.source.name() == self.source);
        if let (Some(stream), Some(mut call)) = (stream, self.call.take()) {
            stream.pipeline.subscribe(priority::subscription::SINK, move |element| {
                call(element);
                Ok(Flow::Continue)
            });
        }
        Ok(())
    }
}
