//! The data sources that an object declares, registered as streams.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::btf::{Btf, KernelBtf, TypeId};
use super::convention;
use super::fetch::schedule::{DEFAULT_MAP_INTERVAL, MapFetches, Schedule};
use super::fields::{EnumValues, StructFields, struct_fields, value_fields};
use super::markers::{Declared, MapShape};
use super::schema::{SourceSchema, StructSchema, Texts};
use crate::Result;
use crate::data::{SourceType, Stream};
use crate::metadata::config::Config;

/// A tracer, registered as a data source.
#[derive(Clone, Debug)]
pub struct TracerSource {
    /// Name of the map that carries the events.
    pub map: String,
    /// Index of the stream.
    pub stream: usize,
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
    /// What its entries are.
    pub shape: MapShape,
    /// When it is fetched.
    pub schedule: Schedule,
}

/// How histograms are shown unless the metadata says otherwise.
const HISTOGRAMS: [(&str, &str); 2] = [
    ("cli.supported-output-modes", "histogram,json,jsonpretty,none,yaml"),
    ("cli.default-output-mode", "histogram"),
];

/// All data sources of an object, each kind in declaration order.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) tracers: Vec<TracerSource>,
    pub(super) iterators: Vec<IteratorSource>,
    pub(super) maps: Vec<MapSource>,
    /// Those of all, in the order of their streams.
    pub(super) schemas: Vec<SourceSchema>,
    pub(super) texts: Texts,
}

impl Sources {
    /// Adds the data sources `declared` to `streams`.
    pub(super) fn register(
        btf: &Btf<'_>,
        declared: &[Declared],
        config: &Arc<Config>,
        streams: &mut Vec<Stream>,
    ) -> Result<Self> {
        let records = declared
            .iter()
            .map(|source| Record::of(btf, source))
            .collect::<Result<Vec<_>>>()?;
        let mut registration = Registration {
            config,
            streams,
            sources: Self::default(),
            enums: enums_of(btf, &records)?,
        };
        for (source, record) in declared.iter().zip(records) {
            registration.add(source, record)?;
        }
        let mut sources = registration.sources;
        // What the data sources say before anybody has given a value.
        sources.schedule_maps(DEFAULT_MAP_INTERVAL, "0", streams)?;
        Ok(sources)
    }

    /// Takes over the values of `map-fetch-interval` and `map-fetch-count`, and annotates the data sources with them.
    pub(super) fn schedule_maps(&mut self, interval: &str, count: &str, streams: &mut [Stream]) -> Result<()> {
        let names: Vec<&str> = self
            .scheduled_maps()
            .map(|map| streams[map.stream].source.name())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let fetches = MapFetches::parse(interval, count, &names)?;
        for map in self.maps.iter_mut().filter(|map| map.shape == MapShape::Rows) {
            map.schedule = Schedule::of_map(&mut streams[map.stream].source, &fetches);
        }
        Ok(())
    }

    /// Those whose fetches the parameters are about.
    pub(super) fn scheduled_maps(&self) -> impl Iterator<Item = &MapSource> {
        self.maps.iter().filter(|map| map.shape == MapShape::Rows)
    }
}

/// The structs that a record consists of.
enum Record {
    One(StructFields),
    KeyAndValue(StructFields, StructFields),
}

impl Record {
    fn into_structs(self) -> Vec<StructFields> {
        match self {
            Self::One(fields) => vec![fields],
            Self::KeyAndValue(key, value) => vec![key, value],
        }
    }

    fn of(btf: &Btf<'_>, declared: &Declared) -> Result<Self> {
        Ok(match declared {
            Declared::Tracer(tracer) => Self::One(struct_fields(btf, &tracer.event)?),
            Declared::Iterator(iterator) => Self::One(struct_fields(btf, &iterator.element)?),
            Declared::MapIterator(iterator) => {
                let mut key = value_fields(btf, "key", iterator.key)?;
                for field in &mut key.fields {
                    field.tags.push("role:key".to_owned());
                }
                Self::KeyAndValue(key, convention::value_of(btf, iterator)?)
            }
        })
    }

    fn structs(&self) -> impl Iterator<Item = &StructFields> {
        let (first, second) = match self {
            Self::One(fields) => (fields, None),
            Self::KeyAndValue(key, value) => (key, Some(value)),
        };
        std::iter::once(first).chain(second)
    }
}

/// The names of the values of all enums in `records`: the running kernel's where it has an enum of that name.
fn enums_of(btf: &Btf<'_>, records: &[Record]) -> Result<HashMap<TypeId, EnumValues>> {
    let ids = records
        .iter()
        .flat_map(Record::structs)
        .flat_map(|fields| &fields.enums)
        .map(|(_, id)| *id);
    let mut enums: HashMap<TypeId, EnumValues> = ids.filter_map(|id| Some((id, EnumValues::read(btf, id)?))).collect();
    if !enums.is_empty()
        && let Some(kernel) = KernelBtf::running()?
    {
        EnumValues::prefer_kernel(&mut enums, &kernel.parse()?);
    }
    Ok(enums)
}

struct Registration<'r> {
    config: &'r Arc<Config>,
    streams: &'r mut Vec<Stream>,
    sources: Sources,
    enums: HashMap<TypeId, EnumValues>,
}

impl Registration<'_> {
    fn add(&mut self, declared: &Declared, record: Record) -> Result<()> {
        let stream = self.streams.len();
        let (name, source_type) = match declared {
            Declared::Tracer(tracer) => (&tracer.name, SourceType::Single),
            Declared::Iterator(iterator) => (&iterator.name, SourceType::Array),
            Declared::MapIterator(iterator) => (&iterator.name, SourceType::Array),
        };
        let schema = SourceSchema {
            name: name.clone(),
            source_type,
            structs: record
                .into_structs()
                .into_iter()
                .map(|fields| self.schema(fields))
                .collect(),
        };
        schema.register(self.config, self.streams, &mut self.sources.texts)?;
        match declared {
            Declared::Tracer(tracer) => self.sources.tracers.push(TracerSource {
                map: tracer.map.clone(),
                stream,
            }),
            Declared::Iterator(iterator) => self.sources.iterators.push(IteratorSource {
                stream,
                programs: iterator.programs.clone(),
                record_size: schema.record_size(),
                schedule: Schedule::of_iterator(&mut self.streams[stream].source)?,
            }),
            Declared::MapIterator(iterator) => {
                let histograms = iterator.shape == MapShape::Histograms;
                let source = &mut self.streams[stream].source;
                for (annotation, value) in HISTOGRAMS.into_iter().filter(|_| histograms) {
                    if source.annotation(annotation).is_none() {
                        source.annotate(annotation, value);
                    }
                }
                self.sources.maps.push(MapSource {
                    stream,
                    map: iterator.map.clone(),
                    shape: iterator.shape,
                    schedule: Schedule::new(Duration::ZERO, 0, histograms),
                });
            }
        }
        self.sources.schemas.push(schema);
        Ok(())
    }

    fn schema(&self, fields: StructFields) -> StructSchema {
        let enums = fields.enums.iter();
        StructSchema {
            size: fields.size,
            enums: enums
                .filter_map(|(index, id)| Some((*index, self.enums.get(id)?.clone())))
                .collect(),
            fields: fields.fields,
        }
    }
}
