//! A gadget's object before it is loaded: what it declares, as data sources, parameters and programs.
//!
//! Nothing here needs privileges: the same is done to show a gadget's help as to run it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use libbpf_rs::{MapType, ObjectBuilder, OpenObject};

use super::attach::Section;
use super::attach::uprobe::{SPECS_MAP, SpecLayout};
use super::btf::{Btf, CoreRelocations, KernelBtf, TypeId};
use super::elf::{GadgetElf, Variable};
use super::fields::{EnumValues, struct_fields};
use super::markers::{MapClass, Markers};
use super::params::{EbpfParam, ParamOverride};
use super::print;
use crate::data::{Container, DataSource, Flow, NewField, RecordIds, Scalar, Settings, SourceType, Stream};
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

/// An enum field that gets a text field beside it.
#[derive(Debug)]
struct EnumField {
    stream: usize,
    source: crate::data::FieldId,
    target: crate::data::FieldId,
    values: EnumValues,
    separator: String,
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
    enums: Vec<EnumField>,
    asks_usdt_arguments: bool,
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
            enums: Vec::new(),
            asks_usdt_arguments: maps.contains_key(SPECS_MAP),
            markers,
        };
        object.register(&btf, config, streams)?;
        Ok(object)
    }

    fn register(&mut self, btf: &Btf<'_>, config: &Arc<Config>, streams: &mut Vec<Stream>) -> Result<()> {
        let mut enums: HashMap<TypeId, EnumValues> = HashMap::new();
        let mut enum_fields = Vec::new();
        for tracer in &self.markers.tracers {
            let settings = Arc::new(SourceSettings {
                config: Arc::clone(config),
                source: tracer.name.clone(),
            });
            let mut source = DataSource::new(&tracer.name, SourceType::Single, Some(settings));
            let fields = struct_fields(btf, &tracer.event)?;
            let first = source.len();
            let container = source.add_static_fields(fields.size, &fields.fields)?;
            let find = |tag: &str| {
                source
                    .with_tag(tag)
                    .next()
                    .map(|(_, field)| (field.offset(), field.size()))
            };
            let record = RecordIds {
                mntns: find("type:gadget_mntns_id"),
                timestamp: find("type:gadget_timestamp")
                    .filter(|(_, size)| *size == 8)
                    .map(|(offset, _)| offset),
            };
            self.tracers.push(TracerSource {
                map: tracer.map.clone(),
                stream: streams.len(),
                container,
            });
            for (index, id) in &fields.enums {
                if let Some(values) = EnumValues::read(btf, *id) {
                    enums.insert(*id, values);
                    enum_fields.push((streams.len(), first + index, *id));
                }
            }
            streams.push(Stream {
                record,
                ..Stream::new(source)
            });
        }
        if !enums.is_empty()
            && let Some(kernel) = KernelBtf::running()?
        {
            EnumValues::prefer_kernel(&mut enums, &kernel.parse()?);
        }
        for (stream, index, id) in enum_fields {
            let source = &mut streams[stream].source;
            let Some(field) = source.fields().nth(index).map(|(id, _)| id) else {
                continue;
            };
            if let Some(target) = add_text_field(source, field, "ebpf.formatter.enum")? {
                let separator = source
                    .get(field)
                    .annotation("ebpf.formatter.bitfield.separator")
                    .unwrap_or_default();
                let separator = if separator.is_empty() { "|" } else { separator }.to_owned();
                let values = enums[&id].clone();
                self.enums.push(EnumField {
                    stream,
                    source: field,
                    target,
                    values,
                    separator,
                });
            }
        }
        Ok(())
    }

    /// Subscribes the conversions of enums to text at `priority`.
    pub fn prepare(&mut self, streams: &mut [Stream], priority: i32) {
        for field in self.enums.drain(..) {
            let stream = &mut streams[field.stream];
            if !stream.demand.wants(field.target) {
                continue;
            }
            let source = stream.source.accessor(field.source);
            let target = stream.source.accessor(field.target);
            stream.pipeline.subscribe(priority, move |element| {
                let value = source.bits(element);
                target.write(element, |out| field.values.format(value, &field.separator, out));
                Ok(Flow::Continue)
            });
        }
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

    /// Whether the object can be restricted to mount namespaces.
    pub fn filters_mntns(&self) -> bool {
        self.markers.filters_mntns
    }

    /// Whether programs are attached in containers, as they come and go.
    pub fn attaches_in_places(&self) -> bool {
        self.programs.iter().any(|program| program.target.is_in_places())
    }

    /// How the object wants to be told of the arguments of static probes, if it does.
    pub(super) fn usdt_layout(&self) -> Result<Option<SpecLayout>> {
        if !self.asks_usdt_arguments {
            return Ok(None);
        }
        Ok(SpecLayout::read(&Btf::parse(GadgetElf::parse(&self.bytes)?.btf)?))
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

/// Adds the text field of a raw field and hides the raw one. The name is what `annotation` says, else the raw name without
/// `_raw`; without either there is none.
fn add_text_field(
    source: &mut DataSource,
    raw: crate::data::FieldId,
    annotation: &str,
) -> Result<Option<crate::data::FieldId>> {
    let field = source.get(raw);
    let name = field
        .annotation(annotation)
        .or_else(|| field.name().strip_suffix("_raw"))
        .map(str::to_owned);
    let full_name = field.full_name().to_owned();
    source.set_hidden(raw, true, false);
    match name {
        Some(name) => source.add_sibling(raw, NewField::new(name, Scalar::String)).map(Some),
        None => {
            tracing::warn!("field {full_name:?}: neither {annotation:?} annotation nor '_raw' suffix found");
            Ok(None)
        }
    }
}

/// What the configuration says about one data source.
#[derive(Debug)]
struct SourceSettings {
    config: Arc<Config>,
    source: String,
}

impl Settings for SourceSettings {
    fn annotations(&self) -> crate::data::Annotations {
        self.config
            .strings_map(&format!("datasources.{}.annotations", self.source))
    }

    fn tags(&self) -> Vec<String> {
        self.config.strings(&format!("datasources.{}.tags", self.source))
    }

    fn field(&self, full_name: &str) -> Option<crate::data::FieldSettings> {
        let said = self
            .config
            .sub(&format!("datasources.{}.fields.{full_name}", self.source))?;
        Some(crate::data::FieldSettings {
            tags: said.strings("tags"),
            annotations: said.strings_map("annotations"),
        })
    }
}
