//! Loading and attaching an object.
//!
//! Everything that the verifier may use is set before: parameters, the mount-namespace filter, the kind and size of event
//! buffers, and the BTF to relocate against. Programs that the gadget can do without are left out when the kernel cannot load
//! or attach them; any other failure is the gadget's.

use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, MapType, Object, OpenMapMut, OpenObject, ProgramAttachType};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::attach::uprobe::{self, SPECS_MAP, SpecLayout, Specs, UprobeProgram, Uprobes};
use super::attach::{self, IterKind, Section};
use super::btf::{KernelBtf, MinimalOptions, minimal};
use super::buffer::{BufferKind, BufferSettings};
use super::markers::{BUILD_ID_MAP, MNTNS_FILTER_MAP, MNTNS_FILTER_SWITCH, SOCKETS_MAP, STACK_MAPS, SWITCHED_MAPS};
use super::object::{EbpfObject, PARAM_PREFIX, ProgramInfo, open};
use super::print::{self, Log};
use super::sockets::{SocketFields, SocketOwners};
use crate::containers::PlaceAttachment;
use crate::metadata::params::ParamValues;
use crate::operators::StackMaps;
use crate::{Error, ErrorKind, Result, ResultExt};

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

/// An object in the kernel. Programs are detached and unloaded when this is dropped.
#[derive(Debug)]
pub struct Loaded {
    links: Vec<Link>,
    /// Links of iterators, which do nothing before they are opened, by program.
    iterators: Vec<(String, Link)>,
    object: Object,
    programs: Vec<ProgramInfo>,
    kind: BufferKind,
    /// How the object wants to be told of the arguments of static probes.
    usdt_layout: Option<SpecLayout>,
}

impl EbpfObject {
    /// Loads the object into the kernel. Nothing is attached yet.
    pub fn load(&self, options: &LoadOptions<'_>) -> Result<Loaded> {
        if let Some(what) = self.unsupported().first() {
            return Err(Error::unsupported(format!(
                "{what} is not supported by this version of ig"
            )));
        }
        let kind = options.buffers.kind()?;
        let socket_fields = options.sockets.map_or(SocketFields::NONE, SocketOwners::fields);
        let custom_btf = self.custom_btf(kind, socket_fields)?;
        let mut left_out: Vec<String> = Vec::new();
        let only = options.only.as_deref();
        left_out.extend(
            self.programs()
                .iter()
                .filter(|program| only.is_some_and(|only| only != program.name))
                .map(|program| program.name.clone()),
        );
        let optional = |program: &ProgramInfo| program.optional.is_some() && only.is_none();
        for program in self
            .programs()
            .iter()
            .filter(|program| only.is_none_or(|only| only == program.name))
        {
            // libbpf would refuse the whole object for it, with fewer words.
            match program.target.check(&program.name) {
                Err(error) if optional(program) => {
                    say_left_out(program, &error);
                    left_out.push(program.name.clone());
                }
                checked => checked?,
            }
        }
        loop {
            let mut object = open(self.bytes(), custom_btf.as_ref().map(CustomBtf::path).as_deref())?;
            self.set_variables(&mut object, options)?;
            self.set_maps(&mut object, kind, options)?;
            for mut program in object.progs_mut() {
                let name = program.name().to_string_lossy().into_owned();
                program.set_autoload(!left_out.contains(&name));
                if let Some(program_type) = self
                    .programs()
                    .iter()
                    .find(|p| p.name == name)
                    .and_then(|p| p.target.program_type())
                {
                    program.set_prog_type(program_type);
                }
                // A kernel without such links refuses programs for them; one by one they can be attached there too.
                if self
                    .programs()
                    .iter()
                    .any(|p| p.name == name && p.target.is_uprobe_multi())
                    && !uprobe::has_multi()
                {
                    program.set_attach_type(ProgramAttachType::CgroupInetIngress);
                }
            }
            let (result, log) = print::capture(|| object.load());
            let error = match result {
                Ok(object) => {
                    let programs = self
                        .programs()
                        .iter()
                        .filter(|p| !left_out.contains(&p.name))
                        .cloned()
                        .map(|program| ProgramInfo {
                            optional: program.optional.filter(|_| only.is_none()),
                            ..program
                        })
                        .collect();
                    return Ok(Loaded {
                        links: Vec::new(),
                        iterators: Vec::new(),
                        object,
                        programs,
                        kind,
                        usdt_layout: self.usdt_layout()?,
                    });
                }
                Err(error) => error,
            };
            let refused = log.refusal(LOG_TAIL).map(|refusal| refusal.program);
            match self
                .programs()
                .iter()
                .find(|p| Some(&p.name) == refused.as_ref() && optional(p))
            {
                Some(program) if !left_out.contains(&program.name) => {
                    say_left_out(program, &load_error(&error, &log));
                    left_out.push(program.name.clone());
                }
                _ => return Err(load_error(&error, &log).context("creating eBPF collection")),
            }
        }
    }

    /// The BTF to relocate against, in memory, when it is not the kernel's own.
    fn custom_btf(&self, kind: BufferKind, socket_fields: SocketFields) -> Result<Option<CustomBtf>> {
        if self.relocations().names.is_empty() && !self.relocations().needs_whole_kernel {
            return Ok(None);
        }
        let kernel = KernelBtf::running()?.ok_or_else(|| {
            Error::unsupported("this kernel does not show its types (no /sys/kernel/btf/vmlinux)")
                .with_hint("use a kernel of 5.4 or later that is built with CONFIG_DEBUG_INFO_BTF")
        })?;
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

impl Loaded {
    /// Attaches all programs in file order.
    pub fn attach(&mut self) -> Result<()> {
        let (mut wanted, mut working) = (0, 0);
        for info in &self.programs {
            let iterated_map = info.iterated_map.as_deref().map(|map| self.map(map)).transpose()?;
            let Some(mut program) = self
                .object
                .progs_mut()
                .find(|program| program.name() == info.name.as_str())
            else {
                continue;
            };
            wanted += usize::from(info.target != Section::Disabled);
            match attach::attach(&mut program, &info.target, iterated_map.as_ref().map(AsFd::as_fd)) {
                Ok(links) => {
                    working += usize::from(info.target != Section::Disabled);
                    match info.target {
                        Section::Iter { .. } => {
                            let named = links.into_iter().map(|link| (info.name.clone(), link));
                            self.iterators.extend(named);
                        }
                        _ => self.links.extend(links),
                    }
                }
                Err(error) if info.optional.is_some() => say_left_out(info, &error),
                Err(error) => return Err(error),
            }
        }
        if working == 0 && wanted > 0 {
            return Err(Error::unsupported("none of the gadget's programs could be attached"));
        }
        Ok(())
    }

    /// What is to be attached in containers, besides what [`attach`](Self::attach) has attached.
    ///
    /// These must be dropped before this value is [detached](Self::detach).
    pub fn place_attachments(&self) -> Result<Vec<Box<dyn PlaceAttachment>>> {
        let mut uprobes = Vec::new();
        for info in &self.programs {
            let Section::Uprobe(target) = &info.target else {
                continue;
            };
            match uprobe::check(target, self.usdt_layout.is_some()) {
                Err(error) if info.optional.is_some() => {
                    say_left_out(info, &error);
                    continue;
                }
                checked => checked.with_context(|| format!("attaching eBPF program {:?}", info.name))?,
            }
            let Some(program) = self.object.progs().find(|program| program.name() == info.name.as_str()) else {
                continue;
            };
            uprobes.push(UprobeProgram {
                name: info.name.clone(),
                program: program.as_fd().try_clone_to_owned()?,
                target: target.clone(),
                // libbpf loads static probes for such links too, where the kernel has them.
                multi: matches!(program.attach_type(), ProgramAttachType::TraceUprobeMulti),
            });
        }
        if uprobes.is_empty() {
            return Ok(Vec::new());
        }
        let specs = match &self.usdt_layout {
            Some(layout) => Some(Specs::new(layout.clone(), self.map(SPECS_MAP)?)),
            None => None,
        };
        Ok(vec![Box::new(Uprobes::new(uprobes, specs))])
    }

    /// What the iterator program `name` goes through, and its link, from which it can be opened as long as somebody holds it.
    /// `None` if it is not attached.
    pub fn iterator(&self, name: &str) -> Result<Option<(IterKind, OwnedFd)>> {
        let info = self.programs.iter().find(|program| program.name == name);
        let link = self.iterators.iter().find(|(program, _)| program == name);
        let (Some(Section::Iter { kind }), Some((_, link))) = (info.map(|info| &info.target), link) else {
            return Ok(None);
        };
        let fd = link
            .as_fd()
            .try_clone_to_owned()
            .with_context(|| format!("iterator program {name:?}"))?;
        Ok(Some((*kind, fd)))
    }

    /// Names of the attached iterator programs.
    pub fn iterators(&self) -> impl Iterator<Item = &str> {
        self.iterators.iter().map(|(program, _)| program.as_str())
    }

    /// Detaches all programs; no event is sent from now on. Iterators that are open, or whose link is held, stay.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// A handle on a map of the object.
    pub fn map(&self, name: &str) -> Result<MapHandle> {
        let map = self
            .object
            .maps()
            .find(|map| map.name() == name)
            .ok_or_else(|| Error::not_found(format!("map {name:?} not found in eBPF object")))?;
        MapHandle::try_from(&map).map_err(|error| Error::new(ErrorKind::Io, format!("map {name:?}: {error}")))
    }

    /// The maps of stacks that the object has, by name.
    pub fn stack_maps(&self) -> Vec<(&'static str, MapHandle)> {
        let found = |name| Some((name, self.map(name).ok()?));
        STACK_MAPS.into_iter().filter_map(found).collect()
    }

    /// Lets those who turn ids of stacks into texts find them.
    pub fn publish_stacks(&self, to: &StackMaps) {
        let [kernel, user, build_ids] = STACK_MAPS.map(|name| self.map(name).ok());
        to.set(kernel, user, build_ids);
    }

    /// Which kind of buffer carries the events of maps that can be either.
    pub fn buffer_kind(&self) -> BufferKind {
        self.kind
    }

    /// The counter of records that the kernel side found no room for in buffer `map`, if the object has one.
    pub fn loss_counter(&self, map: &str) -> Result<Option<LossCounter>> {
        let name = format!("{map}_lost_samples");
        match self.object.maps().find(|map| map.name() == name.as_str()) {
            None => Ok(None),
            Some(counter) => match MapHandle::try_from(&counter) {
                Ok(map) => Ok(Some(LossCounter { map })),
                Err(error) => Err(Error::new(ErrorKind::Io, format!("map {name:?}: {error}"))),
            },
        }
    }
}

/// Counts, on each CPU, records that found no room in an event buffer.
#[derive(Debug)]
pub struct LossCounter {
    map: MapHandle,
}

impl LossCounter {
    /// The sum over all CPUs.
    pub fn read(&self) -> u64 {
        let per_cpu = self
            .map
            .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
            .ok()
            .flatten()
            .unwrap_or_default();
        per_cpu
            .iter()
            .filter_map(|value| Some(u64::from_ne_bytes(value.get(..8)?.try_into().ok()?)))
            .fold(0, u64::saturating_add)
    }
}

fn set_buffer(map: &mut OpenMapMut<'_>, kind: BufferKind, settings: &BufferSettings) -> libbpf_rs::Result<()> {
    match kind {
        BufferKind::Ring => map.set_max_entries(settings.ring_bytes(map.max_entries())),
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

fn say_left_out(program: &ProgramInfo, error: &Error) {
    let fields = program.optional.as_deref().unwrap_or_default().join(", ");
    let lost = if fields.is_empty() {
        String::new()
    } else {
        format!("; without it these fields are not exact: {fields}")
    };
    tracing::warn!("program {:?} is left out: {error}{lost}", program.name);
}

/// Why the kernel did not take the object: the refused program with the end of the verifier's log, or libbpf's complaint.
fn load_error(error: &libbpf_rs::Error, log: &Log) -> Error {
    let permission = error.kind() == libbpf_rs::ErrorKind::PermissionDenied && !log.mentions("BEGIN PROG LOAD LOG");
    if permission {
        return Error::new(ErrorKind::Permission, format!("the kernel does not allow it: {error}")).with_hint(
            "loading eBPF needs CAP_BPF and CAP_PERFMON, or root, and a kernel that is not locked down against it",
        );
    }
    match log.refusal(LOG_TAIL) {
        Some(refusal) => {
            let place = refusal
                .source_line
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
        None => Error::unsupported(
            log.cause()
                .map_or_else(|| error.to_string(), |cause| format!("{cause}: {error}")),
        ),
    }
}

/// BTF in a memory file, which libbpf opens by path.
pub(super) struct CustomBtf {
    file: std::fs::File,
}

impl CustomBtf {
    pub(super) fn new(bytes: &[u8]) -> Result<Self> {
        let fd = memfd_create(c"ig-btf", MFdFlags::MFD_CLOEXEC).context("creating a memory file for BTF")?;
        let mut file = std::fs::File::from(fd);
        file.write_all(bytes).context("writing BTF")?;
        Ok(Self { file })
    }

    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}
