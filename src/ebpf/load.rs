//! Loading and attaching an object.
//!
//! Everything that the verifier may use is set before: parameters, the mount-namespace filter, the kind and size of event
//! buffers, and the BTF to relocate against. Programs that the gadget can do without are left out when the kernel cannot load
//! or attach them; any other failure is the gadget's.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use libbpf_rs::{MapType, Object, OpenMapMut, OpenObject, ProgramAttachType};

use super::attach::{Section, freplace};
use super::btf::archive::{self, Machine};
use super::btf::{BtfKind, CustomBtf, KernelBtf, MinimalOptions, minimal};
use super::buffer::{BufferKind, BufferSettings};
use super::features::{self, Feature};
use super::loaded::Loaded;
use super::markers::{BUILD_ID_MAP, MNTNS_FILTER_MAP, MNTNS_FILTER_SWITCH, SOCKETS_MAP, SWITCHED_MAPS};
use super::object::{EbpfObject, IFACE, PARAM_PREFIX, ProgramInfo, open};
use super::print::{self, Log, Refusal};
use super::sockets::{SocketFields, SocketOwners};
use crate::metadata::params::ParamValues;
use crate::{Error, ErrorKind, Result};

/// How many lines of the verifier's log an error shows.
const LOG_TAIL: usize = 12;

/// What to load an object with.
#[derive(Debug, Default)]
pub struct LoadOptions<'a> {
    /// Values of parameters by full name; missing ones have their default.
    pub values: ParamValues,
    /// The map that takes the place of the object's mount-namespace filter, which is then on.
    pub mntns_filter: Option<BorrowedFd<'a>>,
    /// Kind and size of the event buffers.
    pub buffers: BufferSettings,
    /// Maps of another load of the same object that this one goes on using, by name.
    pub reused_maps: Vec<(&'a str, BorrowedFd<'a>)>,
    /// The map that takes the place of the object's map of sockets, and what is in it.
    pub sockets: Option<&'a SocketOwners>,
    /// Loads only the program of this name, and treats it as one that the gadget cannot do without.
    pub only: Option<String>,
}

impl EbpfObject {
    /// Loads the object into the kernel. Nothing is attached yet.
    pub fn load(&self, options: &LoadOptions<'_>) -> Result<Loaded> {
        let kind = options.buffers.kind()?;
        let socket_fields = options.sockets.map_or(SocketFields::NONE, SocketOwners::fields);
        let custom_btf = self.custom_btf(kind, socket_fields)?;
        let mut selection = Selection::new(self, options.only.as_deref());
        selection.leave_out_what_cannot_be()?;
        let mut with_links = true;
        loop {
            selection.check_that_something_is_left()?;
            let attempt = self.load_selected(&selection, kind, custom_btf.as_ref(), options, with_links);
            match attempt? {
                Attempt::WithoutLinks => with_links = false,
                Attempt::Loaded(object) => {
                    let mut loaded = Loaded::new(
                        self,
                        object,
                        selection.programs(),
                        kind,
                        options
                            .values
                            .get(&format!("{PARAM_PREFIX}{IFACE}"))
                            .unwrap_or_default(),
                    )?;
                    let custom_btf = custom_btf.as_ref().map(CustomBtf::path);
                    self.load_replacements(&mut loaded, custom_btf.as_deref(), &mut selection, options)?;
                    match loaded.attach_alternatives(&selection.alternatives()) {
                        Ok(()) => return Ok(loaded),
                        Err((program, error)) => selection.refuse(&program, error)?,
                    }
                }
                Attempt::Refused(program, error) => {
                    selection
                        .refuse(&program, error)
                        .map_err(|error| error.context("creating eBPF collection"))?;
                }
            }
        }
    }

    /// Loads the object with the programs that are selected.
    fn load_selected(
        &self,
        selection: &Selection<'_>,
        kind: BufferKind,
        custom_btf: Option<&CustomBtf>,
        options: &LoadOptions<'_>,
        with_links: bool,
    ) -> Result<Attempt> {
        let mut object = open(self.bytes(), custom_btf.map(CustomBtf::path).as_deref())?;
        self.set_variables(&mut object, options)?;
        self.set_maps(&mut object, kind, options)?;
        let linked = with_links && link_operations(&mut object)?;
        for mut program in object.progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            let info = self.programs().iter().find(|info| info.name == name);
            program.set_autoload(selection.has(&name));
            let Some(info) = info else { continue };
            if let Some((program_type, attach_type)) = info.target.load_as(&info.section) {
                program.set_prog_type(program_type);
                if let Some(attach_type) = attach_type {
                    program.set_attach_type(attach_type);
                }
            }
            // A kernel without such links refuses programs for them; one by one they can be attached there too.
            if info.target.is_uprobe_multi() && Feature::UprobeMulti.is_there() != Some(true) {
                program.set_attach_type(ProgramAttachType::CgroupInetIngress);
            }
        }
        let (result, log) = print::capture(|| object.load());
        let error = match result {
            Ok(object) => return Ok(Attempt::Loaded(object)),
            Err(error) => error,
        };
        let refusal = log.refusal(LOG_TAIL);
        let error = load_error(&error, &log, refusal.as_ref());
        let refused = refusal.map(|refusal| refusal.program);
        match refused {
            None if linked => Ok(Attempt::WithoutLinks),
            Some(program) => {
                let info = self.programs().iter().find(|info| info.name == program);
                let error = match info.and_then(too_old) {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                };
                Ok(Attempt::Refused(program, error))
            }
            None => Err(error.context("creating eBPF collection")),
        }
    }

    /// Loads the programs that take the place of functions of others, each of which has to be in the kernel before.
    fn load_replacements(
        &self,
        loaded: &mut Loaded,
        custom_btf: Option<&str>,
        selection: &mut Selection<'_>,
        options: &LoadOptions<'_>,
    ) -> Result<()> {
        for info in self.programs() {
            let Section::Freplace { program, function } = &info.target else {
                continue;
            };
            if !selection.wants_replacement(&info.name) {
                continue;
            }
            let replace = freplace::Replacement {
                name: &info.name,
                program: program.as_deref(),
                function,
            };
            let object = replace.load(loaded, || {
                let mut object = open(self.bytes(), custom_btf)?;
                self.set_variables(&mut object, options)?;
                Ok(object)
            });
            match object {
                Ok(object) => loaded.add(object, selection.info(info)),
                Err(error) if selection.is_optional(info) => say_left_out(info, &error),
                Err(error) => return Err(error.context("creating eBPF collection")),
            }
        }
        Ok(())
    }

    /// The BTF to relocate against, in memory, when it is not the kernel's own.
    fn custom_btf(&self, kind: BufferKind, socket_fields: SocketFields) -> Result<Option<CustomBtf>> {
        if self.relocations().names.is_empty() && !self.relocations().needs_whole_kernel {
            return Ok(None);
        }
        let kernel = match (KernelBtf::running()?, self.btf_archive()) {
            (Some(kernel), _) => kernel,
            (None, Some(archive)) => Arc::new(archive::find(archive, &Machine::this()?)?),
            (None, None) => return Err(KernelBtf::missing()),
        };
        let layout = self.reads_sockets().then(|| socket_fields.layout());
        let options = MinimalOptions {
            without_ring_buffer: kind == BufferKind::Perf,
            extra: layout.as_ref(),
        };
        minimal(&kernel, self.relocations(), options)?
            .map(|bytes| CustomBtf::new(&bytes))
            .transpose()
    }

    fn set_variables(&self, object: &mut OpenObject, options: &LoadOptions<'_>) -> Result<()> {
        for param in self.ebpf_params() {
            let full_name = format!("{PARAM_PREFIX}{}", param.param.key);
            let value = options.values.get(&full_name).unwrap_or(&param.param.default);
            let variable = self
                .variable(&param.variable)
                .ok_or_else(|| missing_variable(&param.variable))?;
            if let Some(bytes) = param.encode(variable, value)? {
                self.set_variable(object, &param.variable, &bytes)?;
            }
        }
        if options.mntns_filter.is_some() && self.filters_mntns() {
            self.set_variable(object, MNTNS_FILTER_SWITCH, &[1])?;
        }
        Ok(())
    }

    fn set_variable(&self, object: &mut OpenObject, name: &str, bytes: &[u8]) -> Result<()> {
        let variable = self.variable(name).ok_or_else(|| missing_variable(name))?;
        // libbpf calls the map of section .rodata of an object without a name `.rodata`.
        let mut section = object
            .maps_mut()
            .find(|map| map.name().to_string_lossy().ends_with(&variable.section))
            .ok_or_else(|| missing_variable(name))?;
        let target = section
            .initial_value_mut()
            .and_then(|value| value.get_mut(variable.offset..variable.offset.checked_add(bytes.len())?))
            .ok_or_else(|| missing_variable(name))?;
        target.copy_from_slice(bytes);
        Ok(())
    }

    fn set_maps(&self, object: &mut OpenObject, kind: BufferKind, options: &LoadOptions<'_>) -> Result<()> {
        for mut map in object.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            let failed = |error: libbpf_rs::Error| Error::invalid(format!("preparing map {name:?}: {error}"));
            if self.buffers().contains(&name) && map.map_type() == MapType::RingBuf {
                set_buffer(&mut map, kind, &options.buffers).map_err(failed)?;
            } else if self.fixed_buffers().contains(&name) {
                let kind = match map.map_type() {
                    MapType::RingBuf => BufferKind::Ring,
                    _ => BufferKind::Perf,
                };
                set_buffer(&mut map, kind, &options.buffers).map_err(failed)?;
            } else if name == MNTNS_FILTER_MAP && self.filters_mntns() {
                if let Some(filter) = options.mntns_filter {
                    map.reuse_fd(filter).map_err(failed)?;
                }
            } else if name == SOCKETS_MAP && self.reads_sockets() {
                match options.sockets {
                    Some(sockets) => map.reuse_fd(sockets.map()),
                    // Nobody is ever found in it.
                    None => map
                        .set_value_size(SocketFields::NONE.value_size())
                        .and_then(|()| map.set_max_entries(1)),
                }
                .map_err(failed)?;
            } else if let Some((_, fd)) = options.reused_maps.iter().find(|(reused, _)| *reused == name) {
                map.reuse_fd(*fd).map_err(failed)?;
            } else if self.is_unused(&name, options)? {
                map.set_max_entries(1).map_err(failed)?;
            } else if let Some(entries) = self.max_entries(&name, options)? {
                map.set_max_entries(entries).map_err(failed)?;
            } else if name == BUILD_ID_MAP && map.max_entries() == 0 {
                map.set_max_entries(1).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Whether the constant that turns the use of `map` on is off: then the map only has to exist, and takes time and memory
    /// for nothing.
    fn is_unused(&self, map: &str, options: &LoadOptions<'_>) -> Result<bool> {
        match SWITCHED_MAPS.iter().find(|(switched, _)| *switched == map) {
            None => Ok(false),
            Some((_, switch)) => Ok(self
                .value(switch, options)?
                .is_some_and(|value| value.iter().all(|byte| *byte == 0))),
        }
    }

    /// The bytes that variable `name` is going to have, if there is one.
    fn value(&self, name: &str, options: &LoadOptions<'_>) -> Result<Option<Vec<u8>>> {
        let Some(variable) = self.variable(name) else {
            return Ok(None);
        };
        let mut bytes = variable.initial.clone();
        if let Some(param) = self.ebpf_params().iter().find(|param| param.variable == name) {
            let full_name = format!("{PARAM_PREFIX}{}", param.param.key);
            let value = options.values.get(&full_name).unwrap_or(&param.param.default);
            bytes = param.encode(variable, value)?.unwrap_or(bytes);
        }
        Ok(Some(bytes))
    }

    /// The size of map `<map>` that variable `<map>_max_entries` asks for.
    fn max_entries(&self, map: &str, options: &LoadOptions<'_>) -> Result<Option<u32>> {
        let name = format!("{map}_max_entries");
        let Some(bytes) = self.value(&name, options)? else {
            return Ok(None);
        };
        match <[u8; 4]>::try_from(bytes) {
            Ok(bytes) => Ok(Some(u32::from_le_bytes(bytes)).filter(|entries| *entries > 0)),
            Err(_) => {
                tracing::warn!("variable {name:?} is not 4 bytes wide: map {map:?} keeps its size");
                Ok(None)
            }
        }
    }
}

/// What became of an object that was to be loaded.
enum Attempt {
    Loaded(Object),
    /// The kernel did not take the program of this name.
    Refused(String, Error),
    /// The kernel may not know links for structs of operations, and is to be asked without.
    WithoutLinks,
}

/// Which programs of an object are to be loaded.
struct Selection<'a> {
    object: &'a EbpfObject,
    only: Option<&'a ProgramInfo>,
    left_out: HashSet<String>,
    /// Of each list of alternatives, how many have been refused, and why.
    refused: Vec<Vec<Error>>,
    /// Why the last one of the others was left out.
    last: Option<Error>,
}

impl<'a> Selection<'a> {
    fn new(object: &'a EbpfObject, only: Option<&str>) -> Self {
        Self {
            object,
            only: only.and_then(|only| object.programs().iter().find(|program| program.name == only)),
            left_out: HashSet::new(),
            refused: object.alternatives().iter().map(|_| Vec::new()).collect(),
            last: None,
        }
    }

    /// Refuses what libbpf would refuse the whole object for, with fewer words.
    fn leave_out_what_cannot_be(&mut self) -> Result<()> {
        let mut missing = Vec::new();
        let hooks = self.security_hooks()?;
        for program in self.object.programs() {
            if !self.has(&program.name) && !self.wants_replacement(&program.name) {
                continue;
            }
            if let Err(error) = program.target.check(&program.name) {
                self.refuse(&program.name, error)?;
            }
            if let Section::Tracing { family: "lsm", target } = &program.target
                && hooks.as_ref().is_some_and(|hooks| !hooks.contains(target))
                && self.is_optional(program)
            {
                missing.push(target.clone());
                self.left_out.insert(program.name.clone());
            }
        }
        if !missing.is_empty() {
            tracing::warn!(
                "security hooks that this kernel lacks are left out: {}",
                missing.join(", ")
            );
        }
        Ok(())
    }

    /// The security hooks of the kernel, if the gadget has programs for several.
    fn security_hooks(&self) -> Result<Option<HashSet<String>>> {
        if self.only.is_some() || !self.object.has_many_security_hooks() {
            return Ok(None);
        }
        let Some(kernel) = KernelBtf::running()? else {
            return Ok(None);
        };
        let btf = kernel.parse()?;
        let functions = btf.types().filter(|t| t.kind == BtfKind::Func);
        let hooks: HashSet<String> = functions
            .filter_map(|t| btf.name(&t).strip_prefix("bpf_lsm_").map(str::to_owned))
            .collect();
        // A kernel without any says so itself.
        Ok((!hooks.is_empty()).then_some(hooks))
    }

    /// Whether the program is to be loaded together with the object.
    fn has(&self, name: &str) -> bool {
        let Some(info) = self.object.programs().iter().find(|program| program.name == name) else {
            return false;
        };
        let needed = match self.only {
            None => true,
            Some(only) => {
                only.name == name
                    // Operations are registered as a whole, and what is replaced has to be there.
                    || matches!((&only.target, &info.target), (Section::StructOps, Section::StructOps))
                    || matches!(only.target, Section::Freplace { .. })
            }
        };
        needed && !matches!(info.target, Section::Freplace { .. }) && self.is_chosen(name)
    }

    /// Whether the program is to be loaded after the object, because it replaces a part of another.
    fn wants_replacement(&self, name: &str) -> bool {
        let replaces = |info: &ProgramInfo| matches!(info.target, Section::Freplace { .. }) && info.name == name;
        self.object.programs().iter().any(replaces)
            && self.only.is_none_or(|only| only.name == name)
            && self.is_chosen(name)
    }

    /// Whether it is neither left out nor an alternative to one that is tried first.
    fn is_chosen(&self, name: &str) -> bool {
        let others = self.object.alternatives().iter().zip(&self.refused);
        !self.left_out.contains(name)
            && (self.only.is_some()
                || others
                    .filter(|(group, _)| group.iter().any(|member| member == name))
                    .all(|(group, refused)| group.get(refused.len()).is_some_and(|chosen| chosen == name)))
    }

    /// Whether the gadget can do without the program: because it says so, or because it is one of many for security hooks, of which no
    /// kernel has all.
    fn is_optional(&self, program: &ProgramInfo) -> bool {
        let is_hook = matches!(program.target, Section::Tracing { family: "lsm", .. });
        self.only.is_none() && (program.optional.is_some() || (is_hook && self.object.has_many_security_hooks()))
    }

    /// The programs that are chosen now, of lists of alternatives.
    fn alternatives(&self) -> Vec<String> {
        let groups = self.object.alternatives().iter().zip(&self.refused);
        groups
            .filter_map(|(group, refused)| group.get(refused.len()).cloned())
            .filter(|_| self.only.is_none())
            .collect()
    }

    /// Goes on without the program `name`, which the kernel cannot run.
    ///
    /// # Errors
    ///
    /// The gadget cannot do without it, or it has been left out before.
    fn refuse(&mut self, name: &str, error: Error) -> Result<()> {
        let Some(program) = self.object.programs().iter().find(|program| program.name == name) else {
            return Err(error);
        };
        let group = self.object.alternatives().iter();
        let group = group
            .zip(&mut self.refused)
            .find(|(group, _)| group.iter().any(|member| member == name));
        if let (Some((group, refused)), None) = (group, self.only) {
            tracing::debug!("program {name:?} cannot run here, so its alternative is taken: {error}");
            refused.push(error);
            if refused.len() < group.len() {
                return Ok(());
            }
            let reasons: Vec<String> = group
                .iter()
                .zip(&*refused)
                .map(|(member, reason)| format!("\n  {member}: {reason}"))
                .collect();
            let all = Error::unsupported(format!("none of these alternatives can run here:{}", reasons.concat()));
            if program.optional.is_some() {
                say_left_out(program, &all);
                return Ok(());
            }
            return Err(all);
        }
        // What is not allowed for one security hook is not allowed for the others.
        let for_all = program.optional.is_none() && error.kind() == ErrorKind::Permission;
        if !self.is_optional(program) || for_all || !self.left_out.insert(name.to_owned()) {
            return Err(error);
        }
        say_left_out(program, &error);
        self.last = Some(error);
        Ok(())
    }

    /// A gadget of which nothing runs is none.
    fn check_that_something_is_left(&mut self) -> Result<()> {
        let mut programs = self.object.programs().iter();
        if programs.any(|program| self.has(&program.name) || self.wants_replacement(&program.name)) {
            return Ok(());
        }
        self.last.take().map_or(Ok(()), Err)
    }

    /// The programs that are loaded with the object, as [`Loaded`] wants to know them.
    fn programs(&self) -> Vec<ProgramInfo> {
        let loaded = self.object.programs().iter().filter(|program| self.has(&program.name));
        // What is there to be replaced does not run.
        let for_others = |program: &&ProgramInfo| {
            self.only
                .is_none_or(|only| !matches!(only.target, Section::Freplace { .. }) || program.name == only.name)
        };
        loaded.filter(for_others).map(|program| self.info(program)).collect()
    }

    fn info(&self, program: &ProgramInfo) -> ProgramInfo {
        let optional = program.optional.clone().or_else(|| Some(Vec::new()));
        ProgramInfo {
            optional: optional.filter(|_| self.is_optional(program)),
            ..program.clone()
        }
    }
}

/// Has structs of operations registered by links (Linux 6.4), which end with this process however it ends: else what a killed run has
/// registered stays. Returns whether that changed anything.
fn link_operations(object: &mut OpenObject) -> Result<bool> {
    let mut changed = false;
    for mut map in object.maps_mut() {
        let flags = map.map_flags();
        if map.map_type() == MapType::StructOps && flags & libbpf_sys::BPF_F_LINK == 0 {
            map.set_map_flags(flags | libbpf_sys::BPF_F_LINK)
                .map_err(|error| Error::invalid(format!("preparing a struct of operations: {error}")))?;
            changed = true;
        }
    }
    Ok(changed)
}

fn set_buffer(map: &mut OpenMapMut<'_>, kind: BufferKind, settings: &BufferSettings) -> libbpf_rs::Result<()> {
    match kind {
        BufferKind::Ring => {
            // The older convention declares the type of events here, which is not the kernel's business.
            map.set_key_size(0)?;
            map.set_value_size(0)?;
            map.set_max_entries(settings.ring_bytes(map.max_entries()))
        }
        BufferKind::Perf => {
            map.set_type(MapType::PerfEventArray)?;
            map.set_key_size(4)?;
            map.set_value_size(4)?;
            map.set_max_entries(u32::try_from(libbpf_rs::num_possible_cpus()?).unwrap_or(u32::MAX))
        }
    }
}

fn missing_variable(name: &str) -> Error {
    Error::not_found(format!("variable {name:?} not found on ebpf spec: file does not exist"))
}

/// What is said of a program that this kernel is too old for.
fn too_old(program: &ProgramInfo) -> Option<String> {
    let since = features::too_old_for(&program.section)?;
    let (name, section) = (&program.name, &program.section);
    Some(format!(
        "programs like {name:?} (section {section:?}) came with Linux {since}"
    ))
}

pub(super) fn say_left_out(program: &ProgramInfo, error: &Error) {
    let fields = program.optional.as_deref().unwrap_or_default().join(", ");
    let lost = if fields.is_empty() {
        String::new()
    } else {
        format!("; without it these fields are not exact: {fields}")
    };
    tracing::warn!("program {:?} is left out: {error}{lost}", program.name);
}

/// Why the kernel did not take the object: the refused program with the end of the verifier's log, or libbpf's complaint.
fn load_error(error: &libbpf_rs::Error, log: &Log, refusal: Option<&Refusal>) -> Error {
    let is_denied = error.kind() == libbpf_rs::ErrorKind::PermissionDenied;
    if is_denied && !log.mentions("BEGIN PROG LOAD LOG") {
        return features::not_allowed(error);
    }
    match refusal {
        Some(refusal) if !refusal.tail.is_empty() => {
            let place = refusal
                .source_line
                .as_ref()
                .map(|line| format!(" at `{line}`"))
                .unwrap_or_default();
            let tail = refusal
                .tail
                .iter()
                .map(|line| format!("\n  {line}"))
                .collect::<String>();
            Error::unsupported(format!(
                "program {:?} was refused by the kernel's verifier{place}: {error}{tail}",
                refusal.program
            ))
            .with_hint("run with `-v` for the whole log")
        }
        _ => {
            let unexplained = Error::unsupported(
                log.cause()
                    .map_or_else(|| error.to_string(), |cause| format!("{cause}: {error}")),
            );
            match is_denied {
                true => unexplained.with_hint(features::what_is_needed()),
                false => unexplained,
            }
        }
    }
}
