//! The life of a guest: instantiated with the gadget, asked before and at its start, told of its end.

use std::path::PathBuf;
use std::sync::Arc;

use libbpf_rs::MapHandle;
use wasmer::{AsStoreMut, FunctionEnv, Imports, Instance, Store, Value};

use super::events::{Entrance, Live, Shared, flush};
use super::host::Host;
use super::limits::TimeLimits;
use super::lines::Lines;
use super::profile::{Meter, Profile};
use super::watchdog::Watchdog;
use super::{abi, engine, trap, wasi};
use crate::data::Demand;
use crate::metadata::params::{Param, ParamValues};
use crate::operators::Context;
use crate::{Error, Result, ResultExt};

/// Prefix of the full names of a guest's parameters.
pub const PARAM_PREFIX: &str = "operator.oci.wasm.";

/// The version of the interface that this host has.
pub const API_VERSION: u64 = 1;

/// How to run a guest.
#[derive(Clone, Debug, Default)]
pub struct GuestOptions {
    /// A directory of ours that keeps compiled modules.
    pub cache: Option<PathBuf>,
    /// How long it may compute.
    pub limits: TimeLimits,
    /// Whether to measure where its time goes.
    pub profile: bool,
    /// Whether it can neither make maps nor open buffers.
    pub without_kernel: bool,
}

/// A gadget's module, instantiated.
pub struct Guest {
    pub(super) shared: Arc<Shared>,
    pub(super) instance: Instance,
    params: Vec<Param>,
    /// Whether it can look for fields or subscribe when others have said already what they need.
    comes_later: bool,
    /// Whether it takes part in packets at all.
    sees_packets: bool,
    /// Whether it can change the gadget's configuration.
    changes_config: bool,
    started: bool,
    // Ends when nobody enters any more.
    _watchdog: Watchdog,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest")
            .field("params", &self.params.len())
            .finish_non_exhaustive()
    }
}

impl Guest {
    /// Compiles and instantiates `wasm`, and lets it add its data sources and fields to those in `context`. `values` are the parameters that
    /// somebody gave already.
    ///
    /// # Errors
    ///
    /// When it is no module for this host, or when its `gadgetInit` fails.
    pub fn instantiate(
        wasm: &[u8],
        options: &GuestOptions,
        context: &mut Context,
        values: &ParamValues,
    ) -> Result<Self> {
        Self::new(wasm, options, context, values).context("initializing wasm")
    }

    fn new(wasm: &[u8], options: &GuestOptions, context: &mut Context, values: &ParamValues) -> Result<Self> {
        const INSTANTIATING: &str = "instantiating wasm";
        const START: &str = "the start function";
        let engine = engine::engine();
        let module = engine::load(&engine, wasm, options.cache.as_deref()).context(INSTANTIATING)?;
        let imports = |names: &[&str]| module.imports().any(|import| names.contains(&import.name()));
        let sees_packets = imports(&["dataSourceSubscribe", "dataSourceEmitAndRelease"]);
        let changes_config = imports(&["setConfig"]);
        let mut store = Store::new(engine);
        let watchdog = Watchdog::start(store.interrupter())?;
        let mut host = Host::new(watchdog.turnstile(), options.limits, context.stop.clone());
        host.params = values.with_prefix(PARAM_PREFIX);
        host.without_kernel = options.without_kernel;
        host.profile = options.profile.then(Meter::default);
        let env = FunctionEnv::new(&mut store, host);
        let mut imports = Imports::new();
        abi::define(&mut imports, &mut store.as_store_mut(), &env);
        wasi::define(&mut imports, &mut store.as_store_mut(), &env);
        let mut live = Live {
            store,
            env,
            lines: Lines::default(),
        };
        let instance = {
            let mut inside = live.inside();
            inside.host().watch(options.limits.phase);
            let result = Instance::new(&mut inside.store, &module, &imports);
            inside.host().unwatch();
            result.map_err(|error| {
                let text = match error {
                    wasmer::InstantiationError::Start(error) => {
                        trap::settle(inside.host(), &error, START, options.limits.phase)
                    }
                    error => error.to_string(),
                };
                Error::invalid(text).context(INSTANTIATING)
            })?
        };
        live.inside().host().memory = instance.exports.get_memory("memory").ok().cloned();
        let later = ["gadgetPreStart", "gadgetStart", "gadgetStop", "gadgetPostStop"];
        let mut guest = Self {
            comes_later: later.iter().any(|name| instance.exports.get_function(name).is_ok()),
            sees_packets,
            changes_config,
            shared: Shared::new(live),
            instance,
            params: Vec::new(),
            started: false,
            _watchdog: watchdog,
        };
        if let Err(failure) = guest.call("_initialize") {
            // A reactor that ends with success has initialized itself.
            if failure.exit_code != Some(0) {
                return Err(Error::invalid(failure.text).context(INSTANTIATING));
            }
        }
        guest.check_version()?;
        {
            let mut live = guest.shared.lock();
            let mut inside = live.inside();
            let callback = guest
                .instance
                .exports
                .get_typed_function(&inside, "dataSourceCallback")
                .ok();
            inside.host().callback = callback;
        }
        guest
            .phase("gadgetInit", Some(context))
            .context("initializing wasm guest")?;
        guest.params = params(context)?;
        Ok(guest)
    }

    fn check_version(&mut self) -> Result<()> {
        const VERSION: &str = "gadgetAPIVersion";
        if self.instance.exports.get_function(VERSION).is_err() {
            return Err(Error::invalid(format!("wasm module doesn't export {VERSION}")));
        }
        let results = self
            .call(VERSION)
            .map_err(|failure| Error::invalid(failure.text).context("calling version"))?
            .unwrap_or_default();
        let version = match *results {
            [Value::I64(version)] => version as u64,
            [Value::I32(version)] => u64::from(version as u32),
            [Value::F32(_) | Value::F64(_)] => 0,
            _ => return Err(Error::invalid("version returned wrong number of values")),
        };
        match version == API_VERSION {
            true => Ok(()),
            false => Err(Error::unsupported(format!(
                "unsupported gadget API version: {version}, expected: {API_VERSION}"
            ))),
        }
    }

    /// Whether it takes part in packets at all.
    pub fn sees_packets(&self) -> bool {
        self.sees_packets
    }

    /// Whether it can change the gadget's configuration.
    pub fn changes_config(&self) -> bool {
        self.changes_config
    }

    /// The guest's parameters, with their prefix.
    pub fn params(&self) -> impl Iterator<Item = Param> + '_ {
        self.params.iter().cloned()
    }

    /// Takes over the values of all parameters.
    pub fn configure(&mut self, values: &ParamValues) {
        self.shared.lock().inside().host().params = values.with_prefix(PARAM_PREFIX);
    }

    /// Tells the streams which fields the guest reads: those that it has looked up, or all if it can look for more later.
    pub fn demand(&self, context: &mut Context) {
        let mut live = self.shared.lock();
        let mut inside = live.inside();
        let read = std::mem::take(&mut inside.host().reads);
        for (position, stream) in context.streams.iter_mut().enumerate() {
            let demand: &mut Demand = &mut stream.demand;
            demand.set_reader("wasm");
            match self.comes_later && self.sees_packets {
                true => stream.source.fields().for_each(|(id, _)| demand.add(id)),
                false => {
                    let of_this = read.iter().filter(|(source, _)| *source == position);
                    of_this.for_each(|(_, id)| demand.add(*id));
                }
            }
        }
    }

    /// Before anything is loaded: the last moment for the guest to change the configuration.
    pub fn pre_start(&mut self, context: &mut Context) -> Result<()> {
        self.phase("gadgetPreStart", Some(context))
    }

    /// Takes over the subscribers of all data sources, when everybody has subscribed: from now on who emits takes turns.
    pub fn adopt(&mut self, context: &mut Context) {
        let mut live = self.shared.lock();
        live.lines = Lines::default();
        for (position, stream) in context.streams.iter_mut().enumerate() {
            // A guest that has nothing to do with packets does not cost any.
            if !self.sees_packets {
                continue;
            }
            let entrance = Entrance {
                guest: Arc::clone(&self.shared),
                source: position,
            };
            let pipeline = stream.share(Arc::new(entrance));
            live.lines.keep(stream.source.clone(), pipeline);
        }
    }

    /// The gadget's object is in the kernel, with these maps; `filter` has the mount namespaces that are let through, if something is
    /// filtered.
    pub fn start(&mut self, maps: Vec<(String, MapHandle)>, filter: Option<MapHandle>) -> Result<()> {
        {
            let mut live = self.shared.lock();
            let mut inside = live.inside();
            let host = inside.host();
            host.maps = maps.into_iter().collect();
            host.mntns_filter = filter;
        }
        self.phase("gadgetStart", None)?;
        self.started = true;
        Ok(())
    }

    /// Everybody else has emitted the last packet; the guest may emit more. Maps are open still.
    pub fn stop(&mut self) -> Result<()> {
        let result = match self.started {
            true => self.phase("gadgetStop", None),
            false => Ok(()),
        };
        let mut live = self.shared.lock();
        let mut inside = live.inside();
        let host = inside.host();
        host.handles.close();
        host.callback = None;
        host.maps.clear();
        if host.failures > 1 {
            tracing::warn!("wasm: {} calls of dataSourceCallback failed", host.failures);
        }
        result
            .and(host.undeclared.result())
            .context("stopping operator \"wasm\"")
    }

    /// Where the guest's time went, if that was to be measured.
    pub fn profile(&self) -> Option<Profile> {
        self.shared.lock().inside().host().profile.as_ref().map(Meter::profile)
    }

    /// The very end.
    pub fn post_stop(&mut self) -> Result<()> {
        match std::mem::take(&mut self.started) {
            true => self
                .phase("gadgetPostStop", None)
                .context("post-stopping operator \"wasm\"")
                .context("post-stopping operators"),
            false => Ok(()),
        }
    }

    /// Calls a function of the life cycle, if the guest has it. With `context` it can change data sources and configuration.
    fn phase(&mut self, function: &'static str, mut context: Option<&mut Context>) -> Result<()> {
        if let Some(context) = &mut context {
            let lines = Lines::borrow(&mut context.streams);
            let mut live = self.shared.lock();
            live.lines = lines;
            live.inside().host().config = Some(Arc::clone(&context.config));
        }
        let result = self.call(function);
        if let Some(context) = context {
            let mut live = self.shared.lock();
            live.lines.give_back(&mut context.streams);
            if let Some(config) = live.inside().host().config.take() {
                context.config = config;
            }
        }
        match result {
            Err(failure) => Err(Error::invalid(failure.text).context(format!("calling {function}"))),
            // A function without a result has nothing to complain about.
            Ok(Some(results)) if matches!(results.first(), Some(Value::I32(0)) | None) => Ok(()),
            Ok(Some(_)) => Err(Error::invalid(format!("{function} failed"))),
            Ok(None) => Ok(()),
        }
    }

    /// Calls an exported function without parameters; `None` if there is none.
    fn call(&self, function: &'static str) -> Result<Option<Box<[Value]>>, Failure> {
        let Ok(exported) = self.instance.exports.get_function(function) else {
            return Ok(None);
        };
        let mut live = self.shared.lock();
        let mut inside = live.inside();
        if exported.param_arity(&inside) != 0 {
            return Err(Failure::new(format!("the module's {function} takes parameters")));
        }
        if let Some(closed) = &inside.host().closed {
            return Err(Failure::new(closed.clone()));
        }
        let limit = inside.host().limits.phase;
        inside.move_lines().enter(function, limit);
        let result = exported.call(&mut inside.store, &[]);
        inside.move_lines().leave();
        let result = match result {
            Ok(results) => {
                inside.host().output.forget();
                Ok(Some(results))
            }
            Err(error) => Err(Failure {
                exit_code: error.downcast_ref::<trap::Exit>().map(|exit| exit.0),
                text: trap::settle(inside.host(), &error, function, limit),
            }),
        };
        if let Err(error) = flush(&mut inside) {
            return result.and(Err(Failure::new(error.to_string())));
        }
        result
    }
}

/// Why a call of the guest failed.
struct Failure {
    text: String,
    exit_code: Option<u32>,
}

impl Failure {
    fn new(text: String) -> Self {
        Self { text, exit_code: None }
    }
}

/// The parameters that the configuration declares, in its order.
fn params(context: &Context) -> Result<Vec<Param>> {
    let Some(declared) = context.config.sub("params.wasm") else {
        return Ok(Vec::new());
    };
    declared
        .entries()
        .map(|(name, said)| match said {
            crate::metadata::config::Config::Map(_) => Ok(Param {
                prefix: PARAM_PREFIX.to_owned(),
                ..Param::from_config(said)
            }),
            _ => {
                Err(Error::invalid(format!("params.wasm.{name}: expected a mapping"))
                    .context("unmarshalling extra params"))
            }
        })
        .collect()
}
