//! A gadget's object before it is loaded: what it declares, as data sources, parameters and programs.
//!
//! Nothing here needs privileges: the same is done to show a gadget's help as to run it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use libbpf_rs::{MapType, ObjectBuilder, OpenMap, OpenObject};

use super::attach::Section;
use super::attach::uprobe::{SPECS_MAP, SpecLayout};
use super::btf::{Btf, CoreRelocations};
use super::elf::{GadgetElf, Variable};
use super::fetch::schedule::DEFAULT_MAP_INTERVAL;
use super::markers::{DeclaredMap, MNTNS_FILTER_MAP, MapClass, Markers, Parts, SOCKETS_MAP};
use super::params::{EbpfParam, ParamOverride};
use super::print;
use super::schema::SourceSchema;
use super::sockets::{SocketFields, VALUE_TYPE};
use super::sources::Sources;
pub use super::sources::{IteratorSource, MapSource, TracerSource};
use crate::data::Stream;
use crate::metadata::config::Config;
use crate::metadata::params::{Param, ParamValues, TypeHint};
use crate::operators::Context;
use crate::{Error, Result, ResultExt};

/// Prefix of the full names of an object's parameters.
pub const PARAM_PREFIX: &str = "operator.oci.ebpf.";

/// Key of the parameter that names a network interface.
pub(super) const IFACE: &str = "iface";
const FETCH_INTERVAL: &str = "map-fetch-interval";
const FETCH_COUNT: &str = "map-fetch-count";

/// One program of the object.
#[derive(Clone, Debug)]
pub struct ProgramInfo {
    /// Name of the C function.
    pub name: String,
    /// Its ELF section.
    pub section: String,
    /// Where it is to be attached: what the configuration says, else the section.
    pub target: Section,
    /// The map that it walks, if it is an iterator over a map's elements.
    pub iterated_map: Option<String>,
    /// Whether the gadget can do without it, and which fields are then lost.
    pub optional: Option<Vec<String>>,
}

/// A gadget's object, analysed and registered.
#[derive(Debug)]
pub struct EbpfObject {
    bytes: Arc<[u8]>,
    markers: Markers,
    params: Vec<EbpfParam>,
    variables: BTreeMap<String, Variable>,
    relocations: CoreRelocations,
    programs: Vec<ProgramInfo>,
    sources: Sources,
    asks_usdt_arguments: bool,
    reads_sockets: bool,
    alternatives: Vec<Vec<String>>,
    /// What the image brings for kernels that show no BTF.
    btf_archive: Option<Arc<[u8]>>,
}

impl EbpfObject {
    /// Analyses `bytes` and adds its data sources to `streams`.
    pub fn instantiate(bytes: Arc<[u8]>, config: &Arc<Config>, streams: &mut Vec<Stream>) -> Result<Self> {
        Self::new(bytes, config, streams).context("initializing ebpf gadget")
    }

    fn new(bytes: Arc<[u8]>, config: &Arc<Config>, streams: &mut Vec<Stream>) -> Result<Self> {
        let elf = GadgetElf::parse(&bytes)?;
        let btf = Btf::parse(elf.btf)?;
        let open = open(&bytes, None)?;
        let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
        let parts = Parts {
            maps: open.maps().map(|map| (text(map.name()), declared_map(&map))).collect(),
            programs: open
                .progs()
                .map(|program| (text(program.name()), text(program.section())))
                .collect(),
        };
        let markers = Markers::discover(&btf, &parts).context("analyzing")?;
        let programs = open
            .progs()
            .map(|program| {
                program_info(
                    &program.name().to_string_lossy(),
                    &program.section().to_string_lossy(),
                    config,
                    &markers,
                )
            })
            .collect();
        let alternatives = alternatives(config, &parts)?;
        let params = markers
            .params
            .iter()
            .map(|name| EbpfParam::new(&btf, &elf, name, &param_override(config, name)))
            .collect::<Result<Vec<_>>>()
            .context("handling type by prefix \"param\"")
            .context("analyzing")?;
        let relocations = if elf.btf_ext.is_empty() {
            CoreRelocations::default()
        } else {
            CoreRelocations::parse(&btf, elf.btf_ext)?
        };
        let first = streams.len();
        let sources = Sources::register(&btf, &markers.sources, config, streams)?;
        for (kind, map, header) in [
            ("type:gadget_kernel_stack", "ig_kstack", "<gadget/kernel_stack_map.h>"),
            ("type:gadget_user_stack", "ig_ustack", "<gadget/user_stack_map.h>"),
        ] {
            let has_stacks = streams
                .iter()
                .skip(first)
                .any(|stream| stream.source.with_tag(kind).next().is_some());
            if has_stacks && !parts.maps.contains_key(map) {
                return Err(Error::invalid(format!("there are stacks but no map {map:?}"))
                    .with_hint(format!("include {header} in the program")));
            }
        }
        Ok(Self {
            bytes: Arc::clone(&bytes),
            params,
            variables: elf.variables.clone(),
            relocations,
            programs,
            sources,
            asks_usdt_arguments: parts.maps.contains_key(SPECS_MAP),
            reads_sockets: parts.maps.contains_key(SOCKETS_MAP),
            markers,
            alternatives,
            btf_archive: None,
        })
    }

    /// Gives the object an archive of BTF for kernels that show none.
    pub fn set_btf_archive(&mut self, archive: Option<&[u8]>) {
        self.btf_archive = archive.map(Arc::from);
    }

    /// Takes over what the parameters say about the data sources: when map iterators are fetched.
    pub fn configure(&mut self, values: &ParamValues, streams: &mut [Stream]) -> Result<()> {
        let value = |key: &str| values.get(&format!("{PARAM_PREFIX}{key}")).unwrap_or_default();
        self.sources
            .schedule_maps(value(FETCH_INTERVAL), value(FETCH_COUNT), streams)?;
        for map in self.sources.scheduled_maps() {
            map.schedule.check_map(streams[map.stream].source.name())?;
        }
        Ok(())
    }

    /// Subscribes the conversions of enums and of kernel stacks to text at `priority`.
    pub fn prepare(&mut self, context: &mut Context, priority: i32) {
        self.sources.texts.prepare(context, priority);
    }

    /// The parameters, with their prefix.
    pub fn params(&self) -> Vec<Param> {
        let own = self.params.iter().map(|param| param.param.clone());
        let trace_pipe = Param {
            title: "Print Kernel Tracing Messages".to_owned(),
            ..Param::new("trace-pipe")
                .type_hint(TypeHint::Bool)
                .default_value("false")
                .description("Prints kernel messages from the trace pipe (e.g. coming from bpf_trace_printk)")
                .tag("advanced")
                .tag("group:eBPF")
        };
        let iface = Param::new(IFACE).description("Network interface to attach to");
        let iface = self.attaches_to_interfaces().then_some(iface);
        own.chain(iface)
            .chain([trace_pipe])
            .chain(fetch_params(self.sources.scheduled_maps().next().is_some()))
            .map(|mut param| {
                param.prefix = PARAM_PREFIX.to_owned();
                param
            })
            .collect()
    }

    /// Says anew where the programs are attached, because the configuration has changed.
    pub fn retarget(&mut self, config: &Config) {
        for program in &mut self.programs {
            *program = program_info(&program.name, &program.section, config, &self.markers);
        }
    }

    /// Whether a second load of the object can go on using the map `name` of the first one: not buffers of events, the filter, and
    /// what holds variables.
    pub fn keeps_map(&self, name: &str) -> bool {
        name != MNTNS_FILTER_MAP && !name.contains('.') && !self.markers.buffers.iter().any(|buffer| buffer == name)
    }

    /// The programs in file order.
    pub fn programs(&self) -> &[ProgramInfo] {
        &self.programs
    }

    /// Where the programs are attached: their sections, and the targets that the configuration says instead.
    pub fn attached_to(&self) -> impl Iterator<Item = String> {
        self.programs.iter().flat_map(|program| {
            let target = match &program.target {
                Section::Kprobe { symbol, .. } => symbol.clone(),
                Section::Tracepoint { group, name } => format!("tracepoint/{group}/{name}"),
                Section::RawTracepoint { name } => format!("raw_tp/{name}"),
                Section::Tracing { family, target } => format!("{family}/{target}"),
                Section::KprobeMulti { pattern, .. } => pattern.clone(),
                Section::Ksyscall { name, .. } => name.clone(),
                _ => String::new(),
            };
            [program.section.clone(), target]
        })
    }

    /// The tracers in declaration order.
    pub fn tracers(&self) -> &[TracerSource] {
        &self.sources.tracers
    }

    /// The iterators in declaration order.
    pub fn iterators(&self) -> &[IteratorSource] {
        &self.sources.iterators
    }

    /// The map iterators in declaration order.
    pub fn map_iterators(&self) -> &[MapSource] {
        &self.sources.maps
    }

    /// Whether there are programs that see one network namespace at a time.
    pub fn visits_network_namespaces(&self) -> bool {
        self.programs
            .iter()
            .any(|program| matches!(program.target, Section::Iter { kind } if kind.is_per_network_namespace()))
    }

    /// What is needed to understand the records of all data sources, in the order of their streams.
    pub fn schemas(&self) -> &[SourceSchema] {
        &self.sources.schemas
    }

    /// Whether the object can be restricted to mount namespaces.
    pub fn filters_mntns(&self) -> bool {
        self.markers.filters_mntns
    }

    /// Whether programs are attached in containers, as they come and go.
    pub fn attaches_in_places(&self) -> bool {
        self.programs
            .iter()
            .any(|program| program.target.is_in_places() && !program.target.is_on_interfaces())
    }

    /// Whether programs are attached to network interfaces: of containers, as they come and go, or one that is named.
    pub fn attaches_to_interfaces(&self) -> bool {
        self.programs.iter().any(|program| program.target.is_on_interfaces())
    }

    /// Whether the object looks for the owners of sockets.
    pub fn reads_sockets(&self) -> bool {
        self.reads_sockets
    }

    /// Which of the optional `fields` of sockets' owners the object looks at.
    pub fn socket_fields(&self, fields: SocketFields) -> SocketFields {
        let read = |member: &str, size: u32| match self.relocations.reads(VALUE_TYPE, member) {
            true => size,
            false => 0,
        };
        SocketFields {
            cwd: read("cwd", fields.cwd),
            exepath: read("exepath", fields.exepath),
        }
    }

    /// How the object wants to be told of the arguments of static probes, if it does.
    pub(super) fn usdt_layout(&self) -> Result<Option<SpecLayout>> {
        if !self.asks_usdt_arguments {
            return Ok(None);
        }
        Ok(SpecLayout::read(&Btf::parse(GadgetElf::parse(&self.bytes)?.btf)?))
    }

    pub(super) fn btf_archive(&self) -> Option<&[u8]> {
        self.btf_archive.as_deref()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn ebpf_params(&self) -> &[EbpfParam] {
        &self.params
    }

    pub(super) fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }

    pub(super) fn relocations(&self) -> &CoreRelocations {
        &self.relocations
    }

    pub(super) fn buffers(&self) -> &[String] {
        &self.markers.buffers
    }

    /// Event buffers that are what they are declared as, wherever they run.
    pub(super) fn fixed_buffers(&self) -> &[String] {
        &self.markers.fixed_buffers
    }

    /// Lists of programs of which the first that the kernel can run is taken.
    pub(crate) fn alternatives(&self) -> &[Vec<String>] {
        &self.alternatives
    }

    /// Whether there are programs for several security hooks. No kernel has all of them.
    pub(super) fn has_many_security_hooks(&self) -> bool {
        let hooks = self
            .programs
            .iter()
            .filter(|program| matches!(program.target, Section::Tracing { family: "lsm", .. }));
        hooks.count() > 1
    }
}

/// When map iterators are fetched.
fn fetch_params(has_maps: bool) -> impl Iterator<Item = Param> {
    let params = has_maps.then(|| {
        [
            Param {
                title: "Map fetch interval".to_owned(),
                ..Param::new(FETCH_INTERVAL)
                    .type_hint(TypeHint::String)
                    .default_value(DEFAULT_MAP_INTERVAL)
                    .description("interval in which to iterate over maps")
                    .tag("group:Data Collection")
            },
            Param {
                title: "Map fetch count".to_owned(),
                ..Param::new(FETCH_COUNT)
                    .type_hint(TypeHint::PlainInt)
                    .per_data_source()
                    .default_value("0")
                    .description("number of map fetch cycles - use 0 for unlimited")
                    .tag("group:Data Collection")
            },
        ]
    });
    params.into_iter().flatten()
}

/// Opens the object with libbpf; nothing is loaded yet. `custom_btf` is the path of the BTF to relocate against.
pub(super) fn open(bytes: &[u8], custom_btf: Option<&str>) -> Result<OpenObject> {
    let (result, log) = print::capture(|| {
        let mut builder = ObjectBuilder::default();
        if let Some(path) = custom_btf {
            builder.btf_custom_path(path)?;
        }
        builder.open_memory(bytes)
    });
    result.map_err(|error| {
        Error::invalid(format!(
            "opening the eBPF object: {}",
            log.cause().unwrap_or_else(|| error.to_string())
        ))
        .with_hint("rebuild the image with `ig image build`")
    })
}

fn declared_map(map: &OpenMap<'_>) -> DeclaredMap {
    let map_type = map.map_type();
    DeclaredMap {
        class: match map_type {
            MapType::RingBuf => MapClass::RingBuffer,
            MapType::PerfEventArray => MapClass::PerfEventArray,
            MapType::Hash => MapClass::Hash,
            MapType::Sockmap | MapType::Sockhash => MapClass::Sockets,
            _ => MapClass::Other,
        },
        type_name: format!("{map_type:?}"),
        key_size: map.key_size(),
        value_size: map.value_size(),
    }
}

fn program_info(name: &str, section: &str, config: &Config, markers: &Markers) -> ProgramInfo {
    let setting = |key: &str| format!("programs.{name}.{key}");
    let attach_to = config
        .get_str(&setting("attach_to"))
        .filter(|target| !target.is_empty());
    let optional = config
        .get_bool(&setting("optional"))
        .then(|| config.strings(&setting("fields")));
    ProgramInfo {
        name: name.to_owned(),
        section: section.to_owned(),
        target: match Section::parse(name, section, attach_to.as_deref(), config) {
            Section::SockMap { .. } => Section::SockMap {
                map: of_program(&markers.socket_maps, name),
            },
            other => other,
        },
        iterated_map: of_program(&markers.iterated_maps, name),
        optional,
    }
}

/// The map of `program` in a list of both.
fn of_program(maps: &[(String, String)], program: &str) -> Option<String> {
    let found = maps.iter().find(|(known, _)| known == program);
    found.map(|(_, map)| map.clone())
}

/// `alternatives` of the configuration: a list of programs, or several of them.
fn alternatives(config: &Config, parts: &Parts) -> Result<Vec<Vec<String>>> {
    let list = config.list("alternatives");
    let groups = match list.iter().all(|entry| entry.as_text().is_some()) {
        true if list.is_empty() => Vec::new(),
        true => vec![texts(list)],
        false => list
            .iter()
            .map(|entry| match entry {
                Config::List(items) => texts(items),
                _ => Vec::new(),
            })
            .collect(),
    };
    let mut seen = HashSet::new();
    for name in groups.iter().flatten() {
        if !parts.programs.contains_key(name) {
            return Err(Error::invalid(format!(
                "alternatives: program {name:?} not found in eBPF object"
            )));
        }
        if !seen.insert(name) {
            return Err(Error::invalid(format!("alternatives: program {name:?} is named twice")));
        }
    }
    Ok(groups)
}

fn texts(list: &[Config]) -> Vec<String> {
    list.iter()
        .filter_map(|entry| Some(entry.as_text()?.into_owned()))
        .collect()
}

fn param_override(config: &Config, variable: &str) -> ParamOverride {
    let said = ["params.ebpf", "ebpfparams"]
        .iter()
        .find_map(|section| config.sub(&format!("{section}.{variable}")));
    let text = |key: &str| said.and_then(|said| said.get_str(key)).unwrap_or_default().into_owned();
    ParamOverride {
        key: text("key"),
        default: text("defaultvalue"),
        description: text("description"),
    }
}
