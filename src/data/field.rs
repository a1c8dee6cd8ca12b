//! Field records: what a data source says about each of its values.

use std::collections::BTreeMap;
use std::ops::{BitOr, BitOrAssign};

use super::kind::Kind;
use super::template::template;

/// Annotations of a field or data source, in key order.
pub type Annotations = BTreeMap<String, String>;

/// The position of a field in its data source's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub(super) u32);

impl FieldId {
    /// The position as a number, counted from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Field flags. The bit values are upstream's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// Carries no value; a pure parent such as `k8s`.
    pub const EMPTY: Flags = Flags(1);
    /// Not shown by default in columns.
    pub const HIDDEN: Flags = Flags(4);
    /// Has a parent.
    pub const HAS_PARENT: Flags = Flags(8);
    /// Lives inside a static container.
    pub const STATIC_MEMBER: Flags = Flags(16);
    /// Removed from the name map; no output shows it.
    pub const UNREFERENCED: Flags = Flags(32);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits as upstream's wire carries them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    pub(super) fn set(&mut self, other: Flags, on: bool) {
        if on {
            self.0 |= other.0;
        } else {
            self.0 &= !other.0;
        }
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

/// Where an element keeps the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: the field is empty.
    Nowhere,
    /// In the fixed part, at this byte offset.
    Fixed { offset: u32, len: u32 },
    /// In some bits of the fixed part: those that remain of the (little-endian) bytes after a shift, cut to a width.
    Bits {
        offset: u32,
        len: u32,
        shift: u8,
        width: u8,
    },
    /// In the slot of this number; any length.
    Slot(u32),
}

/// One field of a data source.
#[derive(Clone, Debug)]
pub struct Field {
    pub(super) name: String,
    pub(super) full_name: String,
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) size: u32,
    pub(super) offset: u32,
    pub(super) payload: u32,
    pub(super) place: Place,
    pub(super) order: i32,
    pub(super) parent: Option<FieldId>,
    pub(super) tags: Vec<String>,
    pub(super) annotations: Annotations,
}

impl Field {
    /// Last component of the full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Dotted path from the root of the data source.
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// What the field holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Flags.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether columns leave the field out by default.
    pub fn is_hidden(&self) -> bool {
        self.flags.has(Flags::HIDDEN)
    }

    /// Whether no output shows the field.
    pub fn is_unreferenced(&self) -> bool {
        self.flags.has(Flags::UNREFERENCED)
    }

    /// Whether the field carries no value of its own.
    pub fn is_empty(&self) -> bool {
        self.flags.has(Flags::EMPTY)
    }

    /// Size in bytes of a static member, 0 otherwise.
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// Byte offset of a static member in its container.
    pub fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Number of the payload that holds the value, as upstream's wire counts them.
    pub fn payload(&self) -> usize {
        self.payload as usize
    }

    /// Rank in the default column order; equal ranks keep list order.
    pub fn order(&self) -> i32 {
        self.order
    }

    /// The field this one is a child of.
    pub fn parent(&self) -> Option<FieldId> {
        self.parent
    }

    /// Tags in the order in which they were added.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Whether the field has this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag)
    }

    /// Annotations in key order.
    pub fn annotations(&self) -> &Annotations {
        &self.annotations
    }

    /// The value of annotation `key`.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }
}

/// The annotations a field starts with when its creator gives none.
pub(super) fn default_annotations() -> Annotations {
    [
        ("columns.width", "16"),
        ("columns.ellipsis", "end"),
        ("columns.alignment", "left"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into()
}

/// Copies the annotations of template `name` over `annotations`; an unknown name is worth a warning.
pub(super) fn apply_template(annotations: &mut Annotations, name: &str) {
    match template(name) {
        Some(pairs) => annotations.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))),
        None => tracing::warn!("unknown annotation template {name:?}"),
    }
}

/// What metadata says about one field.
#[derive(Clone, Debug, Default)]
pub struct FieldSettings {
    /// Tags to append.
    pub tags: Vec<String>,
    /// Annotations to set; `template` names a template that the others override.
    pub annotations: Annotations,
}

/// What metadata says about a data source. The gadget's configuration tree implements it.
pub trait Settings: Send + Sync {
    /// Annotations of the data source itself.
    fn annotations(&self) -> Annotations;
    /// Tags of the data source itself.
    fn tags(&self) -> Vec<String>;
    /// What is said about the field of this full name (compared ignoring case).
    fn field(&self, full_name: &str) -> Option<FieldSettings>;
}

/// How to make a field that is not part of a static struct.
#[derive(Clone, Debug)]
pub struct NewField {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) order: i32,
    pub(super) tags: Vec<String>,
    pub(super) annotations: Annotations,
}

impl NewField {
    /// A field called `name` of `kind`, with the default annotations.
    pub fn new(name: impl Into<String>, kind: impl Into<Kind>) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            flags: Flags::NONE,
            order: 0,
            tags: Vec::new(),
            annotations: default_annotations(),
        }
    }

    /// A pure parent: no value, only children.
    pub fn empty(name: impl Into<String>) -> Self {
        Self::new(name, super::Scalar::Invalid).flags(Flags::EMPTY)
    }

    /// Adds flags.
    #[must_use]
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags |= flags;
        self
    }

    /// Sets the rank in the default column order; 0 means "by position" for root fields.
    #[must_use]
    pub fn order(mut self, order: i32) -> Self {
        self.order = order;
        self
    }

    /// Appends a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Replaces the whole annotation map, dropping the default annotations.
    #[must_use]
    pub fn annotations<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.annotations = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        self
    }
}

/// A member of a static struct, as the loader found it.
#[derive(Clone, Debug)]
pub struct StaticField {
    /// Last component of the full name; may be empty for anonymous members.
    pub name: String,
    /// What the member holds.
    pub kind: Kind,
    /// Byte offset from the start of the struct.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
    /// Of a bitfield: how many low bits of the bytes to skip, and how many bits there are.
    pub bits: Option<(u8, u8)>,
    /// Index of the parent in the same list.
    pub parent: Option<usize>,
    /// Tags in order.
    pub tags: Vec<String>,
    /// Annotations laid over the default ones.
    pub annotations: Annotations,
}

impl StaticField {
    /// A member at the top of its struct, no bitfield, without tags and annotations of its own.
    pub fn new(name: &str, kind: impl Into<Kind>, offset: u32, size: u32) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.into(),
            offset,
            size,
            bits: None,
            parent: None,
            tags: Vec::new(),
            annotations: Annotations::new(),
        }
    }
}
