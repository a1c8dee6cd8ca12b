//! What a data source of an object looks like before any operator has touched it, and how it becomes a stream.
//!
//! A schema is all that is needed of an object to understand its records: the object makes it from its BTF, a recording
//! keeps it.

use std::sync::Arc;

use super::fields::EnumValues;
use super::kernel_stacks::KernelStackTexts;
use crate::data::{
    DataSource, Derivation, Element, FieldId, NewField, RecordIds, Rest, Scalar, SourceType, StaticField, Stream,
};
use crate::metadata::SourceSettings;
use crate::metadata::config::Config;
use crate::operators::{Context, RecordedStacks, StackKey};
use crate::{Error, Result};

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

/// The fields that get a text field beside them: enums and kernel stacks.
#[derive(Debug, Default)]
pub struct Texts {
    enums: Vec<EnumField>,
    kernel_stacks: Vec<KernelStackField>,
}

#[derive(Debug)]
struct KernelStackField {
    stream: usize,
    source: FieldId,
    target: FieldId,
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
    /// Adds the data source to `streams`, with what `config` says about it. The texts of its enums and stacks are noted in `texts`.
    ///
    /// # Errors
    ///
    /// Members outside of the struct, names that are there twice.
    pub fn register(&self, config: &Arc<Config>, streams: &mut Vec<Stream>, texts: &mut Texts) -> Result<()> {
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
        let rest = self.rest(&mut source)?;
        // After all members: of a name that both structs have the member gets it.
        for (index, values) in enums {
            let field = source.fields().nth(index).map(|(id, _)| id);
            if let Some(field) = field {
                texts.add_enum(&mut source, streams.len(), field, values)?;
            }
        }
        texts.add_kernel_stacks(&mut source, streams.len())?;
        streams.push(Stream {
            record,
            rest,
            ..Stream::new(source)
        });
        Ok(())
    }

    /// Adds the field of trailing data that annotations ask for. Elements of arrays have none.
    fn rest(&self, source: &mut DataSource) -> Result<Option<Rest>> {
        let annotation = |key: &str| {
            source
                .annotation(key)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let (Some(name), SourceType::Single) = (annotation("ebpf.rest.name"), self.source_type) else {
            return Ok(None);
        };
        let len = match annotation("ebpf.rest.len") {
            None => None,
            Some(len) => {
                let field = source
                    .field(&len)
                    .map_err(|_| Error::not_found(format!("rest length accessor field {len:?} not found")))?;
                Some(field.id())
            }
        };
        let field = source.add_field(NewField::new(name, Scalar::Bytes))?;
        Ok(Some(Rest {
            size: self.record_size(),
            field: source.accessor(field),
            len: len.map(|len| source.accessor(len)),
        }))
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

impl Texts {
    /// Adds the text of `field` to `source`, the data source of stream `stream`.
    pub(super) fn add_enum(
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
        self.enums.push(EnumField {
            stream,
            source: field,
            target,
            values: values.clone(),
            separator,
        });
        Ok(())
    }

    /// Adds the texts of all kernel stacks of `source`, the data source of stream `stream`.
    pub(super) fn add_kernel_stacks(&mut self, source: &mut DataSource, stream: usize) -> Result<()> {
        let stacks: Vec<FieldId> = source.with_tag("type:gadget_kernel_stack").map(|(id, _)| id).collect();
        for field in stacks {
            if let Some(target) = add_text_field(source, field, "ebpf.formatter.kstack")? {
                self.kernel_stacks.push(KernelStackField {
                    stream,
                    source: field,
                    target,
                });
            }
        }
        Ok(())
    }

    /// Subscribes the conversions to text at `priority`, as far as the texts are demanded.
    pub fn prepare(&mut self, context: &mut Context, priority: i32) {
        self.prepare_enums(&mut context.streams, priority);
        for field in self.kernel_stacks.drain(..) {
            let stream = &mut context.streams[field.stream];
            let id = stream.source.accessor(field.source);
            let target = stream.source.accessor(field.target);
            if let RecordedStacks::Described(describers) = &mut context.recorded_stacks {
                let mut texts = KernelStackTexts::new(context.stack_maps.clone());
                let describe = move |element: &Element| texts.describe(id.bits(element) as u32);
                describers.push((field.stream, Box::new(describe)));
            }
            if !stream.demand.wants(field.target) {
                continue;
            }
            if let RecordedStacks::Known(known) = &context.recorded_stacks {
                let known = known.clone();
                let derivation = Derivation::always([target], move |element| {
                    let key = StackKey::Kernel(id.bits(element) as u32);
                    known.write(key, &[target], element);
                });
                stream.pipeline.derive(priority, derivation);
                continue;
            }
            let mut texts = KernelStackTexts::new(context.stack_maps.clone());
            let derivation = Derivation::always([target], move |element| {
                let id = id.bits(element) as u32;
                target.write(element, |out| texts.append(id, out));
            });
            stream.pipeline.derive(priority, derivation);
        }
    }

    fn prepare_enums(&mut self, streams: &mut [Stream], priority: i32) {
        for field in self.enums.drain(..) {
            let stream = &mut streams[field.stream];
            if !stream.demand.wants(field.target) {
                continue;
            }
            let source = stream.source.accessor(field.source);
            let target = stream.source.accessor(field.target);
            let text = move |element: &mut Element| {
                let value = source.bits(element);
                target.write(element, |out| field.values.format(value, &field.separator, out));
            };
            let derivation = Derivation::new([source], [target], text);
            stream.pipeline.derive(priority, derivation);
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
