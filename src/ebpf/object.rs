//! A gadget's object before it is loaded: what it declares, as data sources, parameters and programs.
//!
//! Nothing here needs privileges: the same is done to show a gadget's help as to run it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use libbpf_rs::{MapType, ObjectBuilder, OpenObject};

use super::attach::Section;
use super::btf::{Btf, CoreRelocations, KernelBtf, TypeId};
use super::elf::{GadgetElf, Variable};
use super::fields::{EnumValues, struct_fields};
use super::markers::{MapClass, Markers};
use super::params::{EbpfParam, ParamOverride};
use super::print;
use super::schema::{EnumTexts, SourceSchema};
use crate::data::{Container, SourceType, Stream};
use crate::metadata::config::Config;
use crate::metadata::params::{Param, TypeHint};
use crate::{Error, Result, ResultExt};

/// Prefix of the full names of an object's parameters.
pub const PARAM_PREFIX: &str = "operator.oci.ebpf.";

/// One program of the object.
#[derive(Clone, Debug)]
pub struct ProgramInfo {
    /// Name of the C function.
    pub name: String,
    /// Its ELF section.
    pub section: String,
    /// Where it is to be attached: what the configuration says, else the section.
    pub target: Section,
    /// Whether the gadget can do without it, and which fields are then lost.
    pub optional: Option<Vec<String>>,
}

/// A tracer, registered as a data source.
#[derive(Clone, Debug)]
pub struct TracerSource {
    /// Name of the map that carries the events.
    pub map: String,
    /// Index of the stream.
    pub stream: usize,
    /// The struct that an event begins with.
    pub container: Container,
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
    tracers: Vec<TracerSource>,
    schemas: Vec<SourceSchema>,
    enums: EnumTexts,
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
        let maps: HashMap<String, MapType> = open
            .maps()
            .map(|map| (map.name().to_string_lossy().into_owned(), map.map_type()))
            .collect();
        let class = |name: &str| {
            maps.get(name).map(|map_type| {
                let class = match map_type {
                    MapType::RingBuf => MapClass::RingBuffer,
                    MapType::PerfEventArray => MapClass::PerfEventArray,
                    _ => MapClass::Other,
                };
                (class, format!("{map_type:?}"))
            })
        };
        let markers = Markers::discover(&btf, class).context("analyzing")?;
        let programs = open
            .progs()
            .map(|program| {
                program_info(
                    &program.name().to_string_lossy(),
                    &program.section().to_string_lossy(),
                    config,
                )
            })
            .collect();
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
        let mut object = Self {
            bytes: Arc::clone(&bytes),
            params,
            variables: elf.variables.clone(),
            relocations,
            programs,
            tracers: Vec::new(),
            schemas: Vec::new(),
            enums: EnumTexts::default(),
            markers,
        };
        object.register(&btf, config, streams)?;
        Ok(object)
    }

    fn register(&mut self, btf: &Btf<'_>, config: &Arc<Config>, streams: &mut Vec<Stream>) -> Result<()> {
        let mut enums: HashMap<TypeId, EnumValues> = HashMap::new();
        let mut found = Vec::new();
        for tracer in &self.markers.tracers {
            let fields = struct_fields(btf, &tracer.event)?;
            for (_, id) in &fields.enums {
                if let Some(values) = EnumValues::read(btf, *id) {
                    enums.insert(*id, values);
                }
            }
            found.push((tracer, fields));
        }
        if !enums.is_empty()
            && let Some(kernel) = KernelBtf::running()?
        {
            EnumValues::prefer_kernel(&mut enums, &kernel.parse()?);
        }
        for (tracer, fields) in found {
            let enum_fields = fields.enums.iter();
            let schema = SourceSchema {
                name: tracer.name.clone(),
                source_type: SourceType::Single,
                size: fields.size,
                enums: enum_fields
                    .filter_map(|(index, id)| Some((*index, enums.get(id)?.clone())))
                    .collect(),
                fields: fields.fields,
            };
            self.tracers.push(TracerSource {
                map: tracer.map.clone(),
                stream: streams.len(),
                container: schema.register(config, streams, &mut self.enums)?,
            });
            self.schemas.push(schema);
        }
        Ok(())
    }

    /// Subscribes the conversions of enums to text at `priority`.
    pub fn prepare(&mut self, streams: &mut [Stream], priority: i32) {
        self.enums.prepare(streams, priority);
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
        own.chain([trace_pipe])
            .map(|mut param| {
                param.prefix = PARAM_PREFIX.to_owned();
                param
            })
            .collect()
    }

    /// The programs in file order.
    pub fn programs(&self) -> &[ProgramInfo] {
        &self.programs
    }

    /// The tracers in declaration order.
    pub fn tracers(&self) -> &[TracerSource] {
        &self.tracers
    }

    /// What is needed to understand the records of the data sources, in the order of their streams.
    pub fn schemas(&self) -> &[SourceSchema] {
        &self.schemas
    }

    /// Whether the object can be restricted to mount namespaces.
    pub fn filters_mntns(&self) -> bool {
        self.markers.filters_mntns
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

    pub(super) fn unsupported(&self) -> &[String] {
        &self.markers.unsupported
    }
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

fn program_info(name: &str, section: &str, config: &Config) -> ProgramInfo {
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
        target: Section::parse(section, attach_to.as_deref(), config),
        optional,
    }
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
