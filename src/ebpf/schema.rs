//! What a data source of an object looks like before any operator has touched it, and how it becomes a stream.
//!
//! A schema is all that is needed of an object to understand its records: the object makes it from its BTF, a recording
//! keeps it.

use std::sync::Arc;

use super::fields::EnumValues;
use crate::Result;
use crate::data::{DataSource, FieldId, Flow, NewField, RecordIds, Scalar, SourceType, StaticField, Stream};
use crate::metadata::SourceSettings;
use crate::metadata::config::Config;

/// One data source as the object declares it.
#[derive(Clone, Debug)]
pub struct SourceSchema {
    /// Name of the data source.
    pub name: String,
    /// Whether its elements come one by one or in batches.
    pub source_type: SourceType,
    /// The structs that a record begins with, back to back: one, or of a map a key and its value.
    pub structs: Vec<StructSchema>,
}

/// One struct of a record.
#[derive(Clone, Debug, Default)]
pub struct StructSchema {
    /// Its size in bytes.
    pub size: u32,
    /// Its members, parents before children.
    pub fields: Vec<StaticField>,
    /// The enums among them: index in `fields`, and the names of the values.
    pub enums: Vec<(usize, EnumValues)>,
}

/// The enum fields that get a text field beside them.
#[derive(Debug, Default)]
pub struct EnumTexts {
    fields: Vec<EnumField>,
}

#[derive(Debug)]
struct EnumField {
    stream: usize,
    source: FieldId,
    target: FieldId,
    values: EnumValues,
    separator: String,
}

impl SourceSchema {
    /// Adds the data source to `streams`, with what `config` says about it. The texts of its enums are noted in `texts`.
    ///
    /// # Errors
    ///
    /// Members outside of the struct, names that are there twice.
    pub fn register(&self, config: &Arc<Config>, streams: &mut Vec<Stream>, texts: &mut EnumTexts) -> Result<()> {
        let settings = SourceSettings::new(config, &self.name);
        let mut source = DataSource::new(&self.name, self.source_type, Some(settings));
        let mut record = RecordIds::default();
        let mut enums = Vec::new();
        let mut base = 0;
        for part in &self.structs {
            let first = source.len();
            let container = source.add_static_fields(part.size, &part.fields)?;
            record = part.ids(&source, first, base, record);
            enums.extend(part.enums.iter().map(|(index, values)| (first + index, values)));
            base += container.size();
        }
        // After all members: of a name that both structs have the member gets it.
        for (index, values) in enums {
            let field = source.fields().nth(index).map(|(id, _)| id);
            if let Some(field) = field {
                texts.add(&mut source, streams.len(), field, values)?;
            }
        }
        streams.push(Stream {
            record,
            ..Stream::new(source)
        });
        Ok(())
    }

    /// Size in bytes of the structs together.
    pub fn record_size(&self) -> usize {
        self.structs.iter().map(|part| part.size as usize).sum()
    }
}

impl StructSchema {
    /// Finds the ids that `known` lacks among the fields of `source` from `first` on, those of this struct, which begins `base` bytes after
    /// the beginning of a record.
    fn ids(&self, source: &DataSource, first: usize, base: usize, known: RecordIds) -> RecordIds {
        let find = |tag: &str| {
            source
                .with_tag(tag)
                .find(|(id, _)| id.index() >= first)
                .map(|(_, field)| (base + field.offset(), field.size()))
        };
        RecordIds {
            mntns: known.mntns.or_else(|| find("type:gadget_mntns_id")),
            timestamp: known.timestamp.or_else(|| {
                find("type:gadget_timestamp")
                    .filter(|(_, size)| *size == 8)
                    .map(|(offset, _)| offset)
            }),
        }
    }
}

impl EnumTexts {
    /// Adds the text of `field` to `source`, the data source of stream `stream`.
    fn add(&mut self, source: &mut DataSource, stream: usize, field: FieldId, values: &EnumValues) -> Result<()> {
        let Some(target) = add_text_field(source, field, "ebpf.formatter.enum")? else {
            return Ok(());
        };
        let separator = source
            .get(field)
            .annotation("ebpf.formatter.bitfield.separator")
            .unwrap_or_default();
        let separator = if separator.is_empty() { "|" } else { separator }.to_owned();
        self.fields.push(EnumField {
            stream,
            source: field,
            target,
            values: values.clone(),
            separator,
        });
        Ok(())
    }

    /// Subscribes the conversions of enums to text at `priority`, as far as the texts are demanded.
    pub fn prepare(&mut self, streams: &mut [Stream], priority: i32) {
        for field in self.fields.drain(..) {
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
