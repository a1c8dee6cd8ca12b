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
mod run;

use std::sync::Arc;

pub use annotate::annotate;
pub use run::{Loss, Report, Running};

use crate::containers::{Collection, CollectionOptions};
use crate::data::{DataSource, Element, Flow};
use crate::ebpf::buffer::BufferSettings;
use crate::ebpf::object::EbpfObject;
use crate::image::GadgetImage;
use crate::metadata::config::Config;
use crate::metadata::params::{Param, ParamValues};
use crate::operators::formatters::Formatters;
use crate::operators::local_manager::{ContainerSource, KernelSide, LocalManager};
use crate::operators::uidgid::UidGidResolver;
use crate::operators::ustack::UserStacks;
use crate::operators::{Context, Instance, priority};
use crate::stop::StopSignal;
use crate::{Error, Result, ResultExt};

/// Makes a [`Gadget`] of an image.
#[derive(Debug)]
pub struct GadgetBuilder<'i> {
    image: &'i GadgetImage,
    annotations: Vec<String>,
    containers: Option<ContainerSource>,
    buffers: BufferSettings,
    host: bool,
}

/// A gadget that is instantiated: data sources and parameters are known, nothing is in the kernel.
pub struct Gadget {
    context: Context,
    object: Option<EbpfObject>,
    instances: Vec<Box<dyn Instance>>,
    defaults: Config,
    values: ParamValues,
    buffers: BufferSettings,
}

impl std::fmt::Debug for Gadget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gadget")
            .field("streams", &self.context.streams)
            .finish_non_exhaustive()
    }
}

impl GadgetBuilder<'_> {
    /// Lays annotations over the metadata; see [`annotate`].
    #[must_use]
    pub fn annotate(mut self, annotations: impl IntoIterator<Item = String>) -> Self {
        self.annotations.extend(annotations);
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
        let mut config = Config::parse(self.image.metadata())
            .context("unmarshalling metadata")
            .context("setting metadata")?;
        annotate(&mut config, &self.annotations)?;
        let config = Arc::new(config);
        let mut context = Context {
            config: Arc::clone(&config),
            ..Context::default()
        };
        let mut objects = self.image.ebpf();
        let object = match objects.next() {
            None => None,
            Some(bytes) => Some(EbpfObject::instantiate(bytes.into(), &config, &mut context.streams)?),
        };
        if objects.next().is_some() {
            return Err(Error::unsupported(
                "images with several eBPF layers are not supported by this version of ig",
            ));
        }
        if self.image.wasm().is_some() {
            tracing::warn!(
                "this version of ig does not run wasm: the gadget's wasm layer is skipped, and what it computes is missing"
            );
        }
        let filters_mntns = object.as_ref().is_some_and(EbpfObject::filters_mntns);
        let containers = match self.containers {
            Some(source) => source,
            None => match Collection::start(CollectionOptions::default()) {
                Ok(collection) => ContainerSource::Collection(collection),
                Err(error) => ContainerSource::Unavailable(error.to_string()),
            },
        };
        let mut instances: Vec<Box<dyn Instance>> = Vec::new();
        let attaches = object.as_ref().is_some_and(EbpfObject::attaches_in_places);
        let kernel_side = KernelSide {
            filters: filters_mntns,
            attaches,
        };
        let local_manager = LocalManager::instantiate(&mut context, containers, kernel_side)?;
        instances.extend(local_manager.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let formatters = Formatters::instantiate(&mut context)?;
        instances.extend(formatters.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let uid_gid = UidGidResolver::instantiate(&mut context)?;
        instances.extend(uid_gid.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let stacks = UserStacks::instantiate(&mut context)?;
        instances.extend(stacks.map(|instance| Box::new(instance) as Box<dyn Instance>));
        let mut gadget = Gadget {
            context,
            object,
            instances,
            defaults: config.sub("paramdefaults").cloned().unwrap_or_default(),
            values: ParamValues::new(),
            buffers: self.buffers,
        };
        if self.host {
            gadget.set_param("host", "true")?;
        }
        Ok(gadget)
    }
}

impl Gadget {
    /// Starts making a gadget of an image.
    pub fn builder(image: &GadgetImage) -> GadgetBuilder<'_> {
        GadgetBuilder {
            image,
            annotations: Vec::new(),
            containers: None,
            buffers: BufferSettings::default(),
            host: false,
        }
    }

    /// All parameters with their prefixes and defaults: the object's, then the operators' in the order of their priority.
    pub fn params(&self) -> Vec<Param> {
        let object = self.object.iter().flat_map(EbpfObject::params);
        let instances = self.instances.iter().flat_map(|instance| instance.params());
        let mut params: Vec<Param> = object.chain(instances).collect();
        for param in &mut params {
            if let Some(default) = self.defaults.get_str(&param.full_name().to_lowercase()) {
                param.default = default.into_owned();
            }
        }
        params
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
        self.values.set(param.full_name(), value);
        Ok(())
    }

    /// Sets many parameters by their full names. Names of other operators are ignored.
    pub fn set_values(&mut self, values: &ParamValues) {
        for (name, value) in values.iter() {
            self.values.set(name, value);
        }
    }

    /// Sets kind and size of event buffers.
    pub fn set_buffers(&mut self, settings: BufferSettings) {
        self.buffers = settings;
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
