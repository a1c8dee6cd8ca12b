//! The data sources that an object declares, registered as streams.

use std::collections::HashMap;
use std::sync::Arc;

use super::btf::{Btf, BtfKind, KernelBtf, TypeId};
use super::fetch::schedule::{DEFAULT_MAP_INTERVAL, MapFetches, Schedule};
use super::fields::{EnumValues, StructFields, struct_fields, struct_fields_of};
use super::markers::{BpfIterator, Declared, MapIterator, Tracer};
use crate::data::{Container, DataSource, FieldId, NewField, RecordIds, Scalar, SourceType, Stream};
use crate::metadata::SourceSettings;
use crate::metadata::config::Config;
use crate::{Error, Result};

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

/// An iterator, registered as a data source.
#[derive(Clone, Debug)]
pub struct IteratorSource {
    /// Index of the stream.
    pub stream: usize,
    /// The programs whose output makes the array, in order.
    pub programs: Vec<String>,
    /// Size in bytes of one element's struct.
    pub record_size: usize,
    /// When it is fetched.
    pub schedule: Schedule,
}

/// A map iterator, registered as a data source. An element's record is a key followed by its value.
#[derive(Clone, Debug)]
pub struct MapSource {
    /// Index of the stream.
    pub stream: usize,
    /// Name of the map.
    pub map: String,
    /// When it is fetched.
    pub schedule: Schedule,
}

/// An enum field that gets a text field beside it.
#[derive(Debug)]
pub(super) struct EnumField {
    pub(super) stream: usize,
    pub(super) source: FieldId,
    pub(super) target: FieldId,
    pub(super) values: EnumValues,
    pub(super) separator: String,
}

/// All data sources of an object, each kind in declaration order.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) tracers: Vec<TracerSource>,
    pub(super) iterators: Vec<IteratorSource>,
    pub(super) maps: Vec<MapSource>,
    pub(super) enums: Vec<EnumField>,
}

impl Sources {
    /// Adds the data sources `declared` to `streams`.
    pub(super) fn register(
        btf: &Btf<'_>,
        declared: &[Declared],
        config: &Arc<Config>,
        streams: &mut Vec<Stream>,
    ) -> Result<Self> {
        let mut registration = Registration {
            btf,
            config,
            streams,
            sources: Self::default(),
            enums: HashMap::new(),
            enum_fields: Vec::new(),
        };
        for source in declared {
            match source {
                Declared::Tracer(tracer) => registration.tracer(tracer)?,
                Declared::Iterator(iterator) => registration.iterator(iterator)?,
                Declared::MapIterator(iterator) => registration.map(iterator)?,
            }
        }
        let mut sources = registration.finish()?;
        // What the data sources say before anybody has given a value.
        sources.schedule_maps(DEFAULT_MAP_INTERVAL, "0", streams)?;
        Ok(sources)
    }

    /// Takes over the values of `map-fetch-interval` and `map-fetch-count`, and annotates the data sources with them.
    pub(super) fn schedule_maps(&mut self, interval: &str, count: &str, streams: &mut [Stream]) -> Result<()> {
        if self.maps.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.maps.iter().map(|map| streams[map.stream].source.name()).collect();
        let fetches = MapFetches::parse(interval, count, &names)?;
        for map in &mut self.maps {
            map.schedule = Schedule::of_map(&mut streams[map.stream].source, &fetches);
        }
        Ok(())
    }
}

struct Registration<'r, 'b> {
    btf: &'r Btf<'b>,
    config: &'r Arc<Config>,
    streams: &'r mut Vec<Stream>,
    sources: Sources,
    enums: HashMap<TypeId, EnumValues>,
    /// Index of the stream, index of the field, type.
    enum_fields: Vec<(usize, usize, TypeId)>,
}

impl Registration<'_, '_> {
    fn tracer(&mut self, tracer: &Tracer) -> Result<()> {
        let mut source = self.data_source(&tracer.name, SourceType::Single);
        let fields = struct_fields(self.btf, &tracer.event)?;
        let (container, record) = self.add(&mut source, &fields, RecordIds::default(), 0)?;
        self.sources.tracers.push(TracerSource {
            map: tracer.map.clone(),
            stream: self.streams.len(),
            container,
        });
        self.push(source, record);
        Ok(())
    }

    fn iterator(&mut self, iterator: &BpfIterator) -> Result<()> {
        let mut source = self.data_source(&iterator.name, SourceType::Array);
        let fields = struct_fields(self.btf, &iterator.element)?;
        let (container, record) = self.add(&mut source, &fields, RecordIds::default(), 0)?;
        let schedule = Schedule::of_iterator(&mut source)?;
        self.sources.iterators.push(IteratorSource {
            stream: self.streams.len(),
            programs: iterator.programs.clone(),
            record_size: container.size(),
            schedule,
        });
        self.push(source, record);
        Ok(())
    }

    fn map(&mut self, iterator: &MapIterator) -> Result<()> {
        let mut source = self.data_source(&iterator.name, SourceType::Array);
        let structure = |id: TypeId| match self.btf.get(id).filter(|t| t.kind == BtfKind::Struct) {
            Some(t) => struct_fields_of(self.btf, &t),
            None => Err(Error::not_found(format!("struct {id} not found in eBPF object"))),
        };
        let (mut key, value) = (structure(iterator.key)?, structure(iterator.value)?);
        for field in &mut key.fields {
            field.tags.push("role:key".to_owned());
        }
        let (container, record) = self.add(&mut source, &key, RecordIds::default(), 0)?;
        let (_, record) = self.add(&mut source, &value, record, container.size())?;
        self.sources.maps.push(MapSource {
            stream: self.streams.len(),
            map: iterator.map.clone(),
            schedule: Schedule::default(),
        });
        self.push(source, record);
        Ok(())
    }

    fn data_source(&self, name: &str, source_type: SourceType) -> DataSource {
        let settings = SourceSettings::new(self.config, name);
        DataSource::new(name, source_type, Some(settings))
    }

    /// Adds a struct that begins `base` bytes after the beginning of a record, and finds in it the ids that `known` lacks.
    fn add(
        &mut self,
        source: &mut DataSource,
        fields: &StructFields,
        known: RecordIds,
        base: usize,
    ) -> Result<(Container, RecordIds)> {
        let first = source.len();
        let container = source.add_static_fields(fields.size, &fields.fields)?;
        let find = |tag: &str| {
            source
                .with_tag(tag)
                .find(|(id, _)| id.index() >= first)
                .map(|(_, field)| (base + field.offset(), field.size()))
        };
        let record = RecordIds {
            mntns: known.mntns.or_else(|| find("type:gadget_mntns_id")),
            timestamp: known.timestamp.or_else(|| {
                find("type:gadget_timestamp")
                    .filter(|(_, size)| *size == 8)
                    .map(|(offset, _)| offset)
            }),
        };
        for (index, id) in &fields.enums {
            if let Some(values) = EnumValues::read(self.btf, *id) {
                self.enums.insert(*id, values);
                self.enum_fields.push((self.streams.len(), first + index, *id));
            }
        }
        Ok((container, record))
    }

    fn push(&mut self, source: DataSource, record: RecordIds) {
        self.streams.push(Stream {
            record,
            ..Stream::new(source)
        });
    }

    /// Adds the texts of enums, after everything else.
    fn finish(mut self) -> Result<Sources> {
        if !self.enums.is_empty()
            && let Some(kernel) = KernelBtf::running()?
        {
            EnumValues::prefer_kernel(&mut self.enums, &kernel.parse()?);
        }
        for (stream, index, id) in self.enum_fields {
            let source = &mut self.streams[stream].source;
            let Some(field) = source.fields().nth(index).map(|(id, _)| id) else {
                continue;
            };
            if let Some(target) = add_text_field(source, field, "ebpf.formatter.enum")? {
                let separator = source
                    .get(field)
                    .annotation("ebpf.formatter.bitfield.separator")
                    .unwrap_or_default();
                let separator = if separator.is_empty() { "|" } else { separator }.to_owned();
                self.sources.enums.push(EnumField {
                    stream,
                    source: field,
                    target,
                    values: self.enums[&id].clone(),
                    separator,
                });
            }
        }
        Ok(self.sources)
    }
}

/// Adds the text field of a raw field and hides the raw one. The name is what `annotation` says, else the raw name without
/// `_raw`; without either there is none.
fn add_text_field(source: &mut DataSource, raw: FieldId, annotation: &str) -> Result<Option<FieldId>> {
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
