//! The head of a recording: what has to be known to understand its stream. Also its end.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::containers::HostNamespaces;
use crate::data::{DataSource, Kind, SourceType, StaticField};
use crate::ebpf::fields::EnumValues;
use crate::ebpf::schema::{SourceSchema, StructSchema};
use crate::operators::host::{Architecture, HostFacts};
use crate::operators::uidgid::{NameTables, RecordedNames};
use crate::{Error, Result};

/// Records are never longer than this.
const MAX_STRUCT: u32 = 1 << 20;
/// No data source has more fields.
const MAX_FIELDS: usize = 8192;
/// No gadget has more data sources.
const MAX_SOURCES: usize = 256;
/// Fields are never nested deeper.
const MAX_NESTING: usize = 64;
/// Names of fields are never longer.
const MAX_NAME: usize = 1024;

/// What has to be known to understand the stream of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Version of the program that recorded.
    pub recorder: String,
    /// The image as it was named.
    #[serde(default)]
    pub image: String,
    /// Digest of the image's manifest.
    #[serde(default)]
    pub digest: String,
    /// Text of the image's `gadget.yaml`.
    pub metadata: String,
    /// Annotations that were laid over it.
    #[serde(default)]
    pub annotations: Vec<String>,
    /// The gadget's own code (a wasm module, in base64), if it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The data sources, in the order of the streams' indices.
    pub sources: Vec<SourceHead>,
    /// The values of all parameters by full name.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// The parameters of the kernel side, which are fixed in the recording.
    #[serde(default)]
    pub kernel_params: Vec<KernelParam>,
    /// Whether the kernel side was able to select containers.
    #[serde(default)]
    pub filters_mntns: bool,
    /// Whether there was something to tell containers by; else this is why not.
    #[serde(default)]
    pub without_containers: Option<String>,
    /// The machine.
    pub host: HostHead,
}

/// A parameter of the kernel side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelParam {
    /// The name of its flag.
    pub key: String,
    /// The one-letter flag.
    #[serde(default)]
    pub alias: Option<char>,
    /// Whether the flag stands without a value.
    #[serde(default)]
    pub is_bool: bool,
    /// The value that was used.
    pub value: String,
}

/// The layout of one data source's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceHead {
    /// Name of the data source.
    pub name: String,
    /// Upstream's number: 1 for single elements, 2 for arrays.
    pub source_type: u32,
    /// Size in bytes of the struct that a record begins with.
    pub size: u32,
    /// Its members, parents before children.
    pub fields: Vec<FieldHead>,
    /// The struct that follows it: of a map, whose records are keys and values, the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<StructHead>,
    /// Its elements are made of no records: an operator fills their fields, and what is recorded are these, packed. All else is in the
    /// metadata.
    #[serde(default, skip_serializing_if = "is_false")]
    pub packed: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The layout of a record's second struct.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StructHead {
    /// Its size in bytes.
    pub size: u32,
    /// Its members, parents before children.
    pub fields: Vec<FieldHead>,
}

/// One member of a record's struct.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldHead {
    /// Last component of the full name.
    pub name: String,
    /// Upstream's number of the kind.
    pub kind: u32,
    /// Byte offset in the struct.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
    /// Of a bitfield: how many low bits to skip, and how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<(u8, u8)>,
    /// Index of the parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<usize>,
    /// Tags in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Annotations by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Of an enum: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enum_name: Option<String>,
    /// Of an enum: names and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enum_values: Vec<(String, u64)>,
}

/// Facts about the machine that formatting needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostHead {
    /// Release of the kernel.
    pub kernel: String,
    /// `amd64` or `arm64`.
    pub architecture: String,
    /// `little` or `big`: the order of the bytes in records.
    pub byte_order: String,
    /// Nanoseconds from boot to the epoch.
    pub boot_offset: i64,
    /// When the recording was begun, in nanoseconds since the epoch.
    pub begun_at: i64,
    /// Name of the time zone, if it has one.
    #[serde(default)]
    pub zone: Option<String>,
    /// Seconds from UTC at that time.
    #[serde(default)]
    pub utc_offset: i32,
    /// The recorder's own process, whose events the run left out, if it did.
    #[serde(default)]
    pub own_pid: Option<u32>,
    /// Inode number of the host's mount namespace.
    pub mntns: u64,
    /// Inode number of the host's network namespace.
    pub netns: u64,
    /// Names of users and groups.
    pub names: NamesHead,
}

/// Ids and names of users and groups; none where the machine has no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesHead {
    /// Users.
    #[serde(default)]
    pub users: Option<Vec<(u32, String)>>,
    /// Groups.
    #[serde(default)]
    pub groups: Option<Vec<(u32, String)>>,
}

/// Totals of a recording that was ended in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Events that were recorded, by data source.
    pub events: Vec<u64>,
    /// Events that could not be recorded, by data source.
    pub missing: Vec<u64>,
}

/// The order of bytes on this machine.
const BYTE_ORDER: &str = if cfg!(target_endian = "big") { "big" } else { "little" };

impl NamesHead {
    pub(super) fn of(tables: &NameTables) -> Self {
        Self {
            users: tables.users(),
            groups: tables.groups(),
        }
    }

    pub(super) fn into_tables(self) -> NameTables {
        NameTables::new(self.users, self.groups)
    }
}

impl HostHead {
    /// This machine, with what `facts` say.
    pub(crate) fn of(facts: &mut HostFacts, namespaces: HostNamespaces, names: &NameTables) -> Result<Self> {
        let kernel = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
        Ok(Self {
            kernel: kernel.unwrap_or_default(),
            architecture: facts.architecture.name().to_owned(),
            byte_order: BYTE_ORDER.to_owned(),
            boot_offset: facts.boot_offset()?,
            begun_at: crate::operators::host::nanoseconds(nix::time::ClockId::CLOCK_REALTIME)?,
            zone: facts.zone().iana_name().map(str::to_owned),
            utc_offset: facts.utc_offset(),
            own_pid: None,
            mntns: namespaces.mnt,
            netns: namespaces.net,
            names: NamesHead::of(names),
        })
    }

    /// What formatting uses in place of facts about this machine.
    ///
    /// # Errors
    ///
    /// Records of a machine with another order of bytes, or an unknown architecture.
    pub(crate) fn facts(&self) -> Result<HostFacts> {
        if self.byte_order != BYTE_ORDER {
            return Err(Error::unsupported(format!(
                "it has the records of a {}-endian machine, and this one is {BYTE_ORDER}-endian",
                self.byte_order
            )));
        }
        let architecture = Architecture::ALL
            .into_iter()
            .find(|architecture| architecture.name() == self.architecture)
            .ok_or_else(|| Error::unsupported(format!("architecture {:?} is not known", self.architecture)))?;
        let zone: TimeZone = HostFacts::zone_of(self.zone.as_deref(), self.utc_offset);
        Ok(HostFacts {
            boot_offset: Some(self.boot_offset),
            unstamped: Some(self.begun_at),
            zone: Some(zone),
            architecture,
            names: Some(RecordedNames::new(self.names.clone().into_tables())),
        })
    }

    /// The host's own namespaces.
    pub(crate) fn namespaces(&self) -> HostNamespaces {
        HostNamespaces {
            mnt: self.mntns,
            net: self.netns,
        }
    }
}

impl SourceHead {
    /// Writes a schema down.
    pub(crate) fn of(schema: &SourceSchema) -> Self {
        let mut structs = schema.structs.iter().map(StructHead::of);
        let StructHead { size, fields } = structs.next().unwrap_or_default();
        Self {
            name: schema.name.clone(),
            source_type: schema.source_type.to_wire(),
            size,
            fields,
            value: structs.next(),
            packed: false,
        }
    }

    /// Writes down a data source whose elements are packed.
    pub(crate) fn packed(source: &DataSource) -> Self {
        Self {
            name: source.name().to_owned(),
            source_type: source.source_type().to_wire(),
            packed: true,
            ..Self::default()
        }
    }

    /// Reads it back.
    ///
    /// # Errors
    ///
    /// What no object could have declared.
    pub(crate) fn schema(&self) -> Result<SourceSchema> {
        let structs = || -> Result<Vec<StructSchema>> {
            let mut structs = vec![read_struct(self.size, &self.fields)?];
            if let Some(StructHead { size, fields }) = &self.value {
                structs.push(read_struct(*size, fields)?);
            }
            Ok(structs)
        };
        let read = || {
            Ok(SourceSchema {
                name: self.name.clone(),
                source_type: SourceType::from_wire(self.source_type)?,
                structs: structs()?,
            })
        };
        read().map_err(|error: Error| error.context(format!("data source {:?}", self.name)))
    }
}

impl StructHead {
    fn of(schema: &StructSchema) -> Self {
        let mut fields: Vec<FieldHead> = schema
            .fields
            .iter()
            .map(|field| FieldHead {
                name: field.name.clone(),
                kind: field.kind.to_wire(),
                offset: field.offset,
                size: field.size,
                bits: field.bits,
                parent: field.parent,
                tags: field.tags.clone(),
                annotations: field.annotations.clone(),
                ..FieldHead::default()
            })
            .collect();
        for (index, values) in &schema.enums {
            if let Some(field) = fields.get_mut(*index) {
                field.enum_name = Some(values.name.clone());
                field.enum_values.clone_from(&values.values);
            }
        }
        Self {
            size: schema.size,
            fields,
        }
    }
}

fn read_struct(size: u32, members: &[FieldHead]) -> Result<StructSchema> {
    if size > MAX_STRUCT || members.len() > MAX_FIELDS {
        return Err(Error::invalid("it is too large"));
    }
    let mut depths: Vec<usize> = Vec::with_capacity(members.len());
    let mut fields = Vec::with_capacity(members.len());
    let mut enums = Vec::new();
    for (index, field) in members.iter().enumerate() {
        let wrong = |what: &str| Error::invalid(format!("field {:?}: {what}", field.name));
        let kind = Kind::from_wire(field.kind).ok_or_else(|| wrong("its kind is not known"))?;
        let depth = match field.parent {
            None => 0,
            Some(parent) => {
                depths
                    .get(parent)
                    .ok_or_else(|| wrong("its parent does not precede it"))?
                    + 1
            }
        };
        if depth > MAX_NESTING || field.name.len() > MAX_NAME {
            return Err(wrong("its name is too long or its nesting too deep"));
        }
        depths.push(depth);
        let whole = kind.fixed_size().is_none_or(|size| size == field.size as usize);
        let bits = field.bits.is_some_and(|(shift, width)| {
            field.size <= 8 && (1..=64).contains(&width) && u32::from(shift) + u32::from(width) <= 64
        });
        if !(whole && field.bits.is_none() || bits) {
            return Err(wrong("its size is not that of its kind"));
        }
        if let Some(name) = &field.enum_name {
            enums.push((
                index,
                EnumValues {
                    name: name.clone(),
                    values: field.enum_values.clone(),
                },
            ));
        }
        fields.push(StaticField {
            name: field.name.clone(),
            kind,
            offset: field.offset,
            size: field.size,
            bits: field.bits,
            parent: field.parent,
            tags: field.tags.clone(),
            annotations: field.annotations.clone(),
        });
    }
    Ok(StructSchema { size, fields, enums })
}

impl Head {
    /// Reads a head.
    pub(super) fn parse(json: &[u8]) -> Result<Self> {
        let head: Self = serde_json::from_slice(json).map_err(|error| Error::invalid(error.to_string()))?;
        if head.sources.len() > MAX_SOURCES {
            return Err(Error::invalid("it has too many data sources"));
        }
        Ok(head)
    }

    /// The layouts of all data sources that have records.
    pub(crate) fn schemas(&self) -> Result<Vec<SourceSchema>> {
        let of_records = self.sources.iter().filter(|source| !source.packed);
        of_records.map(SourceHead::schema).collect()
    }
}
