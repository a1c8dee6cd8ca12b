//! What the host keeps for one guest, and what its functions have in common.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use libbpf_rs::MapHandle;
use wasmer::{
    AsStoreMut, AsStoreRef, FunctionEnv, FunctionEnvMut, Memory, MemoryView, RuntimeError, StoreMut, TypedFunction,
};

use super::handles::{FieldOf, Handles, Object};
use super::limits::{KEPT_BYTES, TimeLimits, WARNINGS};
use super::lines::Lines;
use super::memory::{self, BufPtr};
use super::profile::{Meter, Side};
use super::undeclared::Undeclared;
use super::watchdog::Turnstile;
use crate::data::RawError;
use crate::metadata::config::Config;
use crate::metadata::params::ParamValues;
use crate::stop::StopSignal;

/// The state behind all host functions of one guest.
pub(super) struct Host {
    pub(super) memory: Option<Memory>,
    /// The guest's `dataSourceCallback`, once it may be called.
    pub(super) callback: Option<TypedFunction<(u64, u32, u32), ()>>,
    pub(super) handles: Handles,
    /// The data sources, while the guest runs.
    pub(super) lines: Lines,
    pub(super) config: Option<Arc<Config>>,
    /// Values of the guest's parameters, by key.
    pub(super) params: ParamValues,
    /// The maps of the gadget's object, as soon as they are in the kernel.
    pub(super) maps: BTreeMap<String, MapHandle>,
    /// The mount namespaces that are let through, if something is filtered.
    pub(super) mntns_filter: Option<MapHandle>,
    pub(super) stop: StopSignal,
    pub(super) turnstile: Turnstile,
    pub(super) limits: TimeLimits,
    /// Whether the guest can neither make maps nor open buffers.
    pub(super) without_kernel: bool,
    /// How deep the guest is in itself: 0 while it does not run.
    pub(super) depth: u32,
    /// Why the guest cannot be called any more.
    pub(super) closed: Option<String>,
    /// Callbacks that failed.
    pub(super) failures: u64,
    pub(super) subscriptions: usize,
    /// Symbols of the kernel that were looked up at our expense.
    pub(super) lookups: u32,
    /// Bytes of host memory that the guest has made the host keep, apart from what hangs on handles.
    pub(super) kept: usize,
    pub(super) output: super::wasi::Output,
    pub(super) profile: Option<Meter>,
    /// By how much packets grew that are lent to the guest at the moment.
    pub(super) lent_growth: usize,
    /// The fields that the guest has looked up.
    pub(super) reads: Vec<(usize, crate::data::FieldId)>,
    pub(super) undeclared: Undeclared,
    warnings: HashMap<&'static str, u32>,
}

impl Host {
    pub(super) fn new(turnstile: Turnstile, limits: TimeLimits, stop: StopSignal) -> Self {
        Self {
            memory: None,
            callback: None,
            handles: Handles::default(),
            lines: Lines::default(),
            config: None,
            params: ParamValues::new(),
            maps: BTreeMap::new(),
            mntns_filter: None,
            stop,
            turnstile,
            limits,
            without_kernel: false,
            depth: 0,
            closed: None,
            failures: 0,
            subscriptions: 0,
            lookups: 0,
            kept: 0,
            output: super::wasi::Output::default(),
            profile: None,
            lent_growth: 0,
            reads: Vec::new(),
            undeclared: Undeclared::default(),
            warnings: HashMap::new(),
        }
    }

    /// The guest's `function` is about to be called; [`leave`](Self::leave) follows.
    #[inline]
    pub(super) fn enter(&mut self, function: &'static str, limit: Duration) {
        self.begin(Side::Guest, function);
        self.watch(limit);
    }

    /// The function of the guest that was called last has ended.
    #[inline]
    pub(super) fn leave(&mut self) {
        self.unwatch();
        self.end();
    }

    /// The guest is about to run, for `limit` at most if it is not running already. [`unwatch`](Self::unwatch) follows.
    #[inline]
    pub(super) fn watch(&mut self, limit: Duration) {
        if self.depth == 0 {
            self.lent_growth = 0;
            self.turnstile.enter(limit);
        }
        self.depth += 1;
    }

    /// What was begun last has ended.
    #[inline]
    pub(super) fn unwatch(&mut self) {
        self.depth -= 1;
        if self.depth == 0 {
            self.turnstile.leave();
        }
    }

    /// A function is called, if that is to be measured.
    #[inline]
    pub(super) fn begin(&mut self, side: Side, function: &'static str) {
        if let Some(meter) = &mut self.profile {
            meter.begin(side, function);
        }
    }

    /// The function that was called last has ended.
    #[inline]
    pub(super) fn end(&mut self) {
        if let Some(meter) = &mut self.profile {
            meter.end();
        }
    }

    /// Says what a host function did not like. Guests may do the same wrong thing with every event.
    #[cold]
    pub(super) fn warn(&mut self, function: &'static str, refusal: &Refusal) {
        let said = self.warnings.entry(function).or_default();
        *said = said.saturating_add(1);
        if *said <= WARNINGS {
            tracing::warn!("wasm: {function}: {refusal}");
        }
        if *said == WARNINGS {
            tracing::warn!("wasm: {function}: further warnings are left out");
        }
    }

    /// Accounts for `bytes` more that are kept for the guest.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        match self.kept.checked_add(bytes).filter(|kept| *kept <= KEPT_BYTES) {
            Some(kept) => {
                self.kept = kept;
                Ok(())
            }
            None => Err(format!("the guest keeps more than {} MiB", KEPT_BYTES >> 20).into()),
        }
    }

    /// Accounts for `bytes` more that hang on the object with number `handle`. What is only lent to the guest for a call must not
    /// grow too much in that call.
    pub(super) fn grow(&mut self, handle: u32, bytes: usize) -> Result<(), Refusal> {
        if !self.handles.is_lent(handle) {
            return self.charge(bytes);
        }
        self.lent_growth = self.lent_growth.saturating_add(bytes);
        match self.lent_growth <= KEPT_BYTES {
            true => Ok(()),
            false => Err("the packet grows too much".into()),
        }
    }

    /// Notes that the guest reads a field.
    pub(super) fn note_read(&mut self, source: usize, field: crate::data::FieldId) {
        // Later nobody asks any more.
        const MOST: usize = 1 << 16;
        if self.reads.len() < MOST {
            self.reads.push((source, field));
        }
    }

    /// Notes that the guest wants to write a field though the metadata says that it does not.
    pub(super) fn refuse_write(&mut self, field: &FieldOf) -> Refusal {
        let what = match self.lines.get(field.source) {
            Ok(line) => format!(
                "writing field {:?} of data source {:?}, which is not declared",
                line.source.get(field.id).full_name(),
                line.source.name()
            ),
            Err(refusal) => refusal.to_string(),
        };
        self.undeclared.refuse(&what);
        what.into()
    }

    /// Whether the guest may make elements of a data source.
    pub(super) fn may_make_elements(&mut self, source: usize) -> Answer<()> {
        let description = &self.lines.get(source)?.source;
        if self.undeclared.may_make_elements(source, description) {
            return Ok(());
        }
        let what = format!(
            "making elements of data source {:?}, of which it is declared what the module writes",
            description.name()
        );
        self.undeclared.refuse(&what);
        Err(what.into())
    }

    /// Gives `object` a number.
    pub(super) fn open(&mut self, object: Object) -> Result<u32, Refusal> {
        self.charge(object.kept())?;
        let bytes = object.kept();
        self.handles.insert(object).map_err(|_| {
            self.kept -= bytes;
            "too many open handles".into()
        })
    }

    /// Takes an object away from the guest.
    pub(super) fn close_handle(
        &mut self,
        handle: u32,
        what: &str,
        fits: impl FnOnce(&Object) -> bool,
    ) -> Result<Object, Refusal> {
        let object = self.handles.remove(handle, fits).ok_or_else(|| no_such(handle, what))?;
        self.kept = self.kept.saturating_sub(object.kept());
        Ok(object)
    }

    /// Whether the guest may have something made in the kernel.
    pub(super) fn may_use_kernel(&self) -> Result<(), Refusal> {
        match self.without_kernel {
            true => Err("what is replayed has no part in the kernel".into()),
            false => Ok(()),
        }
    }

    /// The position of the data source with number `handle`.
    #[inline]
    pub(super) fn source(&self, handle: u32) -> Result<usize, Refusal> {
        match self.handles.get(handle) {
            Some(Object::Source(source)) => Ok(*source),
            other => Err(wrong(handle, other, "data source")),
        }
    }

    /// The elements of the array with number `handle`.
    pub(super) fn array(&self, handle: u32) -> Result<(usize, &Vec<crate::data::Element>), Refusal> {
        match self.handles.get(handle) {
            Some(Object::Array(source, elements)) => Ok((*source, elements)),
            other => Err(wrong(handle, other, "array")),
        }
    }
}

/// Why a number does not do.
#[cold]
pub(super) fn wrong(handle: u32, found: Option<&Object>, wanted: &str) -> Refusal {
    match found {
        Some(object) => format!("handle {handle} is of a {}, not of a {wanted}", object.name()).into(),
        None => no_such(handle, wanted),
    }
}

/// That a number is nobody's.
#[cold]
pub(super) fn no_such(handle: u32, wanted: &str) -> Refusal {
    format!("handle {handle} is of no {wanted} that the guest could use here").into()
}

/// Why a host function returns its error value.
#[derive(Debug)]
pub(super) struct Refusal(Cow<'static, str>);

/// What a host function has to say.
pub(super) type Answer<T> = Result<T, Refusal>;

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Refusal {
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<RawError> for Refusal {
    fn from(error: RawError) -> Self {
        Self(error.to_string().into())
    }
}

impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Self {
        Self(error.to_string().into())
    }
}

impl From<libbpf_rs::Error> for Refusal {
    fn from(error: libbpf_rs::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// What a host function returns: its value, or an error that ends the guest.
pub(super) trait Returned {
    /// What the guest gets.
    type Value;
    /// Either of them.
    fn returned(self) -> Result<Self::Value, RuntimeError>;
}

macro_rules! values {
    ($($value:ty)*) => {$(
        impl Returned for $value {
            type Value = Self;
            #[inline]
            fn returned(self) -> Result<Self, RuntimeError> {
                Ok(self)
            }
        }
    )*};
}

values!(() u32 i32 u64);

impl<T> Returned for Result<T, RuntimeError> {
    type Value = T;
    #[inline]
    fn returned(self) -> Self {
        self
    }
}

/// A host function's view of who called it.
pub(super) type Caller<'a> = FunctionEnvMut<'a, Host>;

/// The value to return: `refused`, with a warning, when the function did not like something.
#[inline(always)]
pub(super) fn answer<T>(caller: &mut Caller<'_>, function: &'static str, refused: T, result: Answer<T>) -> T {
    match result {
        Ok(value) => value,
        Err(refusal) => {
            caller.data_mut().warn(function, &refusal);
            refused
        }
    }
}

/// Whether it went well: 0 or 1.
pub(super) fn status(caller: &mut Caller<'_>, function: &'static str, result: Answer<()>) -> u32 {
    answer(caller, function, 1, result.map(|()| 0))
}

/// Calls `f` with the host's state and the guest's memory.
pub(super) fn with_memory<T>(
    caller: &mut Caller<'_>,
    f: impl FnOnce(&mut Host, &MemoryView<'_>) -> Answer<T>,
) -> Answer<T> {
    let (host, store) = caller.data_and_store_mut();
    let guest = host.memory.clone();
    let view = memory::view(guest.as_ref(), &store)?;
    f(host, &view)
}

/// A text that the guest passes.
pub(super) fn text(caller: &mut Caller<'_>, range: u64) -> Answer<String> {
    with_memory(caller, |_, view| memory::read_text(view, BufPtr(range)))
}

/// Bytes that the guest passes.
pub(super) fn bytes(caller: &mut Caller<'_>, range: u64) -> Answer<Vec<u8>> {
    with_memory(caller, |_, view| memory::read(view, BufPtr(range)))
}

/// Writes to a buffer of the guest.
pub(super) fn store_bytes(caller: &mut Caller<'_>, range: u64, bytes: &[u8]) -> Answer<()> {
    with_memory(caller, |_, view| memory::write(view, BufPtr(range), bytes))
}

/// The way into the guest, for whoever holds it: the thread that entered it, or a host function that it called.
pub(super) struct Inside<'a> {
    pub(super) store: StoreMut<'a>,
    pub(super) env: FunctionEnv<Host>,
    /// The data sources. While the guest runs, [`Host`] has them.
    pub(super) lines: &'a mut Lines,
}

impl Inside<'_> {
    /// Calls `f` with the way into the guest that has called a host function.
    pub(super) fn of<T>(caller: &mut Caller<'_>, f: impl FnOnce(&mut Inside<'_>) -> T) -> T {
        let mut lines = std::mem::take(&mut caller.data_mut().lines);
        let env = caller.as_ref();
        let result = f(&mut Inside {
            store: caller.as_store_mut(),
            env,
            lines: &mut lines,
        });
        caller.data_mut().lines = lines;
        result
    }

    #[inline]
    pub(super) fn host(&mut self) -> &mut Host {
        self.env.as_mut(&mut self.store)
    }

    /// The guest is about to run, or has run: its data sources are moved.
    #[inline]
    pub(super) fn move_lines(&mut self) -> &mut Host {
        let host = self.env.as_mut(&mut self.store);
        std::mem::swap(&mut host.lines, self.lines);
        host
    }
}

impl AsStoreRef for Inside<'_> {
    fn as_store_ref(&self) -> wasmer::StoreRef<'_> {
        self.store.as_store_ref()
    }
}
