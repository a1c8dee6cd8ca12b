//! Data sources: named streams of elements with a list of fields.
//!
//! A data source is built while a gadget is instantiated (operators add fields) and only read afterwards. Adding a field never
//! moves the value of another one, so accessors stay valid while later operators add theirs.

use std::collections::HashMap;
use std::sync::Arc;

use super::accessor::{Accessor, Text, Typed, Value};
use super::element::{Container, Layout};
use super::field::{
    Annotations, Field, FieldId, Flags, NewField, Place, Settings, StaticField, apply_template, default_annotations,
};
use super::kind::Kind;
use crate::{Error, Result};

/// Whether a data source delivers elements one by one or in batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceType {
    /// One element per packet.
    Single,
    /// A list of elements per packet.
    Array,
}

impl SourceType {
    /// Upstream's wire number.
    pub fn to_wire(self) -> u32 {
        match self {
            SourceType::Single => 1,
            SourceType::Array => 2,
        }
    }

    /// The type with this wire number.
    pub fn from_wire(number: u32) -> Result<Self> {
        match number {
            1 => Ok(SourceType::Single),
            2 => Ok(SourceType::Array),
            other => Err(Error::invalid(format!("invalid data source type: {other}"))),
        }
    }
}

/// A data source: name, type, fields, annotations, tags.
#[derive(Clone)]
pub struct DataSource {
    name: String,
    source_type: SourceType,
    fields: Vec<Field>,
    /// Referenced fields by full name. When two have the same one (anonymous members), the last wins.
    by_name: HashMap<String, FieldId>,
    annotations: Annotations,
    tags: Vec<String>,
    referenced: bool,
    payloads: u32,
    layout: Layout,
    settings: Option<Arc<dyn Settings>>,
}

impl std::fmt::Debug for DataSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataSource")
            .field("name", &self.name)
            .field("fields", &self.fields.len())
            .finish()
    }
}

impl DataSource {
    /// An empty data source, with what the metadata says about it.
    pub fn new(name: impl Into<String>, source_type: SourceType, settings: Option<Arc<dyn Settings>>) -> Self {
        let (annotations, tags) = settings
            .as_ref()
            .map(|s| (s.annotations(), s.tags()))
            .unwrap_or_default();
        Self {
            name: name.into(),
            source_type,
            fields: Vec::new(),
            by_name: HashMap::new(),
            annotations,
            tags,
            referenced: true,
            payloads: 0,
            layout: Layout::default(),
            settings,
        }
    }

    /// A data source called `name` with the same fields at the same places, and the same annotations.
    ///
    /// Fields can be added to it; [`Element::copied`](super::Element::copied) makes its elements of those of this one.
    pub fn copy_as(&self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            source_type: self.source_type,
            fields: self.fields.clone(),
            by_name: self.by_name.clone(),
            annotations: self.annotations.clone(),
            tags: Vec::new(),
            referenced: true,
            payloads: self.payloads,
            layout: self.layout.clone(),
            settings: None,
        }
    }

    /// Name, unique in a gadget.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Single or array.
    pub fn source_type(&self) -> SourceType {
        self.source_type
    }

    /// All fields in list order, unreferenced ones included.
    pub fn fields(&self) -> impl Iterator<Item = (FieldId, &Field)> {
        self.fields
            .iter()
            .enumerate()
            .map(|(i, field)| (FieldId(i as u32), field))
    }

    /// The field at `id`.
    pub fn get(&self, id: FieldId) -> &Field {
        &self.fields[id.index()]
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Annotations in key order.
    pub fn annotations(&self) -> &Annotations {
        &self.annotations
    }

    /// The value of annotation `key`.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// Sets an annotation.
    pub fn annotate(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.annotations.insert(key.into(), value.into());
    }

    /// Tags in the order in which they were added.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Whether operators and clients get to see this data source.
    pub fn is_referenced(&self) -> bool {
        self.referenced
    }

    /// Hides this data source from operators that look for data sources from now on.
    pub fn unreference(&mut self) {
        self.referenced = false;
    }

    /// Number of payloads of an element, as upstream's wire counts them.
    pub fn payloads(&self) -> usize {
        self.payloads as usize
    }

    /// How elements of this data source are laid out.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The field of this full name: exact, else ignoring case (then the first in list order).
    pub fn find(&self, full_name: &str) -> Option<FieldId> {
        if let Some(id) = self.by_name.get(full_name) {
            return Some(*id);
        }
        self.fields()
            .find(|(_, field)| !field.is_unreferenced() && field.full_name.eq_ignore_ascii_case(full_name))
            .map(|(id, _)| id)
    }

    /// Like [`find`](Self::find), with an error that names the field and the data source.
    pub fn field(&self, full_name: &str) -> Result<FieldRef<'_>> {
        let id = self
            .find(full_name)
            .ok_or_else(|| Error::not_found(format!("field {full_name:?} not found in datasource {}", self.name)))?;
        Ok(FieldRef { source: self, id })
    }

    /// Direct children of `id` in list order, unreferenced ones included.
    pub fn children(&self, id: FieldId) -> impl Iterator<Item = (FieldId, &Field)> {
        self.fields().filter(move |(_, field)| field.parent == Some(id))
    }

    /// Fields that have `tag`, in list order, unreferenced ones included.
    pub fn with_tag<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = (FieldId, &'a Field)> {
        self.fields().filter(move |(_, field)| field.has_tag(tag))
    }

    /// Whether two fields have bytes of a record in common.
    pub fn share_bytes(&self, one: FieldId, other: FieldId) -> bool {
        let (one, other) = (self.get(one), self.get(other));
        let is_static = |field: &Field| field.flags.has(Flags::STATIC_MEMBER);
        is_static(one)
            && is_static(other)
            && one.payload == other.payload
            && one.offset < other.offset + other.size
            && other.offset < one.offset + one.size
    }

    /// Untyped access to the value of `id`.
    pub fn accessor(&self, id: FieldId) -> Accessor {
        let field = self.get(id);
        Accessor::new(field.place, field.kind, field.flags.has(Flags::STATIC_MEMBER))
    }

    /// Adds a static struct of `size` bytes with its members, all or none.
    pub fn add_static_fields(&mut self, size: u32, members: &[StaticField]) -> Result<Container> {
        for (i, member) in members.iter().enumerate() {
            if member.offset.checked_add(member.size).is_none_or(|end| end > size) {
                return Err(Error::invalid(format!(
                    "field {:?} exceeds size of container (offs {}, size {}, container size {size})",
                    member.name, member.offset, member.size
                )));
            }
            if self.by_name.contains_key(&member.name) {
                return Err(Error::invalid(format!("field {:?} already exists", member.name)));
            }
            if member.parent.is_some_and(|parent| parent >= i) {
                return Err(Error::invalid(format!("invalid parent for field {:?}", member.name)));
            }
        }
        let base = self.layout.add_struct(size);
        let payload = self.next_payload();
        let first = self.fields.len();
        for member in members {
            let parent = member.parent.map(|index| FieldId((first + index) as u32));
            let mut annotations = default_annotations();
            annotations.extend(member.annotations.clone());
            let mut flags = Flags::STATIC_MEMBER;
            flags.set(Flags::HAS_PARENT, parent.is_some());
            self.push(Field {
                name: member.name.clone(),
                full_name: self.full_name(parent, &member.name),
                kind: member.kind,
                flags,
                size: member.size,
                offset: member.offset,
                payload,
                place: match member.bits {
                    None => Place::Fixed {
                        offset: base + member.offset,
                        len: member.size,
                    },
                    Some((shift, width)) => Place::Bits {
                        offset: base + member.offset,
                        len: member.size,
                        shift,
                        width,
                    },
                },
                order: 0,
                parent,
                tags: member.tags.clone(),
                annotations,
            });
        }
        Ok(Container { offset: base, size })
    }

    /// Adds a root field.
    pub fn add_field(&mut self, new: NewField) -> Result<FieldId> {
        self.add(new, None, true)
    }

    /// Adds a field beside `sibling`: under the same parent, if it has one.
    pub fn add_sibling(&mut self, sibling: FieldId, new: NewField) -> Result<FieldId> {
        self.add(new, self.get(sibling).parent, true)
    }

    /// Adds a child of `parent`.
    pub fn add_sub_field(&mut self, parent: FieldId, new: NewField) -> Result<FieldId> {
        self.add(new, Some(parent), false)
    }

    /// Shows or hides a field in columns, with all its descendants if `recurse`.
    pub fn set_hidden(&mut self, id: FieldId, hidden: bool, recurse: bool) {
        self.update(id, recurse, |field| field.flags.set(Flags::HIDDEN, hidden));
    }

    /// Appends a tag to those of a field.
    pub fn tag_field(&mut self, id: FieldId, tag: impl Into<String>) {
        self.fields[id.index()].tags.push(tag.into());
    }

    /// Sets an annotation of a field.
    pub fn annotate_field(&mut self, id: FieldId, key: impl Into<String>, value: impl Into<String>) {
        self.fields[id.index()].annotations.insert(key.into(), value.into());
    }

    /// Removes a field from the names and from every output, with all its descendants if `recurse`. Accessors keep working.
    pub fn remove_reference(&mut self, id: FieldId, recurse: bool) {
        self.update(id, recurse, |field| field.flags.set(Flags::UNREFERENCED, true));
        let fields = &self.fields;
        self.by_name.retain(|_, id| !fields[id.index()].is_unreferenced());
    }

    /// Renames a root field.
    pub fn rename(&mut self, id: FieldId, name: &str) -> Result<()> {
        if self.get(id).parent.is_some() {
            return Err(Error::invalid("sub fields cannot be renamed"));
        }
        if self.by_name.contains_key(name) {
            return Err(Error::invalid(format!("field with name {name:?} already exists")));
        }
        let field = &mut self.fields[id.index()];
        self.by_name.remove(&field.full_name);
        field.name = name.to_owned();
        field.full_name = name.to_owned();
        self.by_name.insert(name.to_owned(), id);
        Ok(())
    }

    /// The fields shown by default, in default order: by rank, equal ranks in list order.
    pub fn default_columns(&self) -> Vec<FieldId> {
        let mut ids: Vec<FieldId> = self
            .fields()
            .filter(|(_, field)| !field.is_hidden() && !field.is_unreferenced() && !field.is_empty())
            .map(|(id, _)| id)
            .collect();
        ids.sort_by_key(|id| self.get(*id).order);
        ids
    }

    fn add(&mut self, new: NewField, parent: Option<FieldId>, rank_by_position: bool) -> Result<FieldId> {
        let full_name = self.full_name(parent, &new.name);
        if self.by_name.contains_key(&full_name) {
            return Err(Error::invalid(if rank_by_position {
                format!("field {full_name:?} already exists")
            } else {
                format!("field with name {full_name:?} already exists")
            }));
        }
        let mut flags = new.flags;
        flags.set(Flags::HAS_PARENT, parent.is_some());
        let (payload, place) = if flags.has(Flags::EMPTY) {
            (0, Place::Nowhere)
        } else if let Some(size) = new.kind.fixed_size() {
            let offset = self.layout.add_fixed(size as u32);
            (
                self.next_payload(),
                Place::Fixed {
                    offset,
                    len: size as u32,
                },
            )
        } else {
            let slot = self.layout.add_slot();
            (self.next_payload(), Place::Slot(slot))
        };
        let order = if new.order == 0 && rank_by_position {
            self.fields.len() as i32
        } else {
            new.order
        };
        Ok(self.push(Field {
            name: new.name,
            full_name,
            kind: new.kind,
            flags,
            size: 0,
            offset: 0,
            payload,
            place,
            order,
            parent,
            tags: new.tags,
            annotations: new.annotations,
        }))
    }

    /// Lays the metadata over the field and puts it into the list.
    fn push(&mut self, mut field: Field) -> FieldId {
        if let Some(name) = field.annotations.get("template").cloned() {
            apply_template(&mut field.annotations, &name);
        }
        if let Some(said) = self
            .settings
            .as_ref()
            .and_then(|settings| settings.field(&field.full_name))
        {
            field.tags.extend(said.tags);
            if let Some(name) = said.annotations.get("template") {
                apply_template(&mut field.annotations, name);
            }
            field.annotations.extend(said.annotations);
        }
        if field
            .annotations
            .get("columns.hidden")
            .is_some_and(|value| value == "true")
        {
            field.flags.set(Flags::HIDDEN, true);
        }
        let id = FieldId(self.fields.len() as u32);
        self.by_name.insert(field.full_name.clone(), id);
        self.fields.push(field);
        id
    }

    fn full_name(&self, parent: Option<FieldId>, name: &str) -> String {
        match parent {
            Some(id) => format!("{}.{name}", self.get(id).full_name),
            None => name.to_owned(),
        }
    }

    fn next_payload(&mut self) -> u32 {
        self.payloads += 1;
        self.payloads - 1
    }

    fn update(&mut self, id: FieldId, recurse: bool, change: impl Fn(&mut Field) + Copy) {
        change(&mut self.fields[id.index()]);
        if recurse {
            let children: Vec<FieldId> = self.children(id).map(|(child, _)| child).collect();
            for child in children {
                self.update(child, true, change);
            }
        }
    }
}

/// One field of a data source, from which typed accessors are made.
#[derive(Clone, Copy, Debug)]
pub struct FieldRef<'a> {
    source: &'a DataSource,
    id: FieldId,
}

impl FieldRef<'_> {
    /// The field's position.
    pub fn id(&self) -> FieldId {
        self.id
    }

    /// Untyped access.
    pub fn any(&self) -> Accessor {
        self.source.accessor(self.id)
    }

    pub(super) fn kind(&self) -> Kind {
        self.source.get(self.id).kind
    }

    pub(super) fn full_name(&self) -> &str {
        &self.source.get(self.id).full_name
    }
}

impl FieldRef<'_> {
    /// Typed access; an error if the field is of another kind.
    pub fn typed<T: Value>(&self) -> Result<Typed<T>> {
        if !T::accepts(self.kind()) {
            return Err(Error::invalid(format!(
                "field {:?} is of kind {}, which cannot be read as {}",
                self.full_name(),
                self.kind(),
                std::any::type_name::<T>()
            )));
        }
        Ok(Typed::new(self.any()))
    }

    /// Access to a text.
    pub fn str(&self) -> Result<Typed<Text>> {
        self.typed()
    }

    /// Access to an unsigned 32-bit integer.
    pub fn u32(&self) -> Result<Typed<u32>> {
        self.typed()
    }

    /// Access to an unsigned 64-bit integer.
    pub fn u64(&self) -> Result<Typed<u64>> {
        self.typed()
    }
}
