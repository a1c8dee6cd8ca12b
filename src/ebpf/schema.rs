//! What a data source of an object looks like before any operator has touched it, and how it becomes a stream.
//!
//! A schema is all that is needed of an object to understand its records: the object makes it from its BTF, a recording
//! keeps it.

use std::sync::Arc;

use super::fields::EnumValues;
use crate::Result;
use crate::data::{Container, DataSource, FieldId, Flow, NewField, RecordIds, Scalar, SourceType, StaticField, Stream};
use crate::metadata::SourceSettings;
use crate::metadata::config::Config;

/// One data source as the object declares it.
#[derive(Clone, Debug)]
pub struct SourceSchema {
    /// Name of the data source.
    pub name: String,
    /// Whether its elements come one by one or in batches.
    pub source_type: SourceType,
    /// Size in bytes of the struct that a record begins with.
    pub size: u32,
    /// The struct's members, parents before children.
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
    pub fn register(
        &self,
        config: &Arc<Config>,
        streams: &mut Vec<Stream>,
        texts: &mut EnumTexts,
    ) -> Result<Container> {
        let settings = SourceSettings::new(config, &self.name);
        let mut source = DataSource::new(&self.name, self.source_type, Some(settings));
        let first = source.len();
        let container = source.add_static_fields(self.size, &self.fields)?;
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
        for (index, values) in &self.enums {
            let Some(field) = source.fields().nth(first + index).map(|(id, _)| id) else {
                continue;
            };
            texts.add(&mut source, streams.len(), field, values)?;
        }
        streams.push(Stream {
            record,
            ..Stream::new(source)
        });
        Ok(container)
    }
}

impl EnumTexts {
    /// Adds the text of `field` to `source`, the data source of stream `stream`.
    pub(super) fn add(
        &mut self,
        source: &mut DataSource,
        stream: usize,
        field: FieldId,
        values: &EnumValues,
    ) -> Result<()> {
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
