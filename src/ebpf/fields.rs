//! From a BTF struct to the fields of a data source.

use std::collections::HashMap;

use super::btf::{Btf, BtfKind, BtfType, Member, TypeId};
use crate::data::{Annotations, Kind, Scalar, StaticField, template};
use crate::{Error, Result};

/// Structs deeper than this are refused; the kernel's own verifier allows less.
const MAX_NESTING: usize = 32;
/// More fields than this are refused.
const MAX_FIELDS: usize = 4096;

/// Members of types with these names are annotated with the template of the name without `gadget_`.
const TEMPLATE_TYPES: [&str; 11] = [
    "gadget_comm",
    "gadget_pcomm",
    "gadget_pid",
    "gadget_ppid",
    "gadget_tid",
    "gadget_uid",
    "gadget_gid",
    "gadget_timestamp",
    "gadget_mntns_id",
    "gadget_netns_id",
    "gadget_user_stack",
];

/// Structs whose own column is hidden and whose members are called by their short name.
const PROCESS_TYPES: [&str; 3] = ["gadget_process", "gadget_creds", "gadget_parent"];

/// The fields of one struct.
#[derive(Clone, Debug, Default)]
pub struct StructFields {
    /// Size of the struct in bytes.
    pub size: u32,
    /// Fields in member order, parents before children.
    pub fields: Vec<StaticField>,
    /// Of the fields whose type is an enum itself: their index in `fields`, and the enum.
    pub enums: Vec<(usize, TypeId)>,
}

/// The fields of struct `name`.
pub fn struct_fields(btf: &Btf<'_>, name: &str) -> Result<StructFields> {
    let of = btf
        .find(BtfKind::Struct, name)
        .ok_or_else(|| Error::not_found(format!("finding struct {name:?} in eBPF object: not found")))?;
    struct_fields_of(btf, &of)
}

/// The fields of the struct `of`.
pub fn struct_fields_of(btf: &Btf<'_>, of: &BtfType<'_>) -> Result<StructFields> {
    let mut walk = Walk {
        btf,
        out: StructFields {
            size: of.size(),
            ..StructFields::default()
        },
    };
    let aliased = PROCESS_TYPES.contains(&btf.name(of));
    walk.members(of, None, 0, aliased, 0)?;
    Ok(walk.out)
}

/// The fields of a value of type `id`: the members of a struct, or else one field called `name`.
pub fn value_fields(btf: &Btf<'_>, name: &str, id: TypeId) -> Result<StructFields> {
    let of = btf
        .resolve(id)
        .ok_or_else(|| Error::not_found(format!("type {id} not found in eBPF object")))?;
    if of.kind == BtfKind::Struct {
        return struct_fields_of(btf, &of);
    }
    let size = btf.size_of(id).unwrap_or_default();
    let mut walk = Walk {
        btf,
        out: StructFields {
            size,
            ..StructFields::default()
        },
    };
    let whole = Member {
        name,
        type_id: id,
        bit_offset: 0,
        bitfield_size: 0,
    };
    walk.member(&whole, None, 0, false, 0)?;
    if walk.out.fields.is_empty() {
        return Err(Error::invalid(format!(
            "the type of the {name} is not one that can be shown"
        )));
    }
    Ok(walk.out)
}

struct Walk<'b, 'a> {
    btf: &'b Btf<'a>,
    out: StructFields,
}

impl<'a> Walk<'_, 'a> {
    fn members(
        &mut self,
        of: &BtfType<'a>,
        parent: Option<usize>,
        bit_base: u64,
        aliased: bool,
        depth: usize,
    ) -> Result<()> {
        if depth > MAX_NESTING {
            return Err(Error::invalid(format!(
                "struct {:?} is nested too deeply",
                self.btf.name(of)
            )));
        }
        for member in self.btf.members(of).collect::<Vec<_>>() {
            if member.name.starts_with("__") {
                continue;
            }
            self.member(&member, parent, bit_base, aliased, depth)?;
        }
        Ok(())
    }

    fn member(
        &mut self,
        member: &Member<'_>,
        parent: Option<usize>,
        bit_base: u64,
        aliased: bool,
        depth: usize,
    ) -> Result<()> {
        if self.out.fields.len() >= MAX_FIELDS {
            return Err(Error::invalid(format!("more than {MAX_FIELDS} fields in one struct")));
        }
        let Some(direct) = self.btf.get(member.type_id) else {
            return Ok(());
        };
        let bits = bit_base + u64::from(member.bit_offset);
        let offset = u32::try_from(bits / 8).map_err(|_| Error::invalid("struct is too large"))?;
        let (names, value) = self.describe(member.type_id);
        let composite = matches!(direct.kind, BtfKind::Struct | BtfKind::Union);
        let (kind, size) = match value {
            Some(value) => value,
            None if composite => (Kind::One(Scalar::Bytes), direct.size()),
            None => {
                tracing::debug!("member {:?} has a type that is no field", member.name);
                return Ok(());
            }
        };
        if size == 0 {
            return Ok(());
        }
        let mut field = StaticField {
            name: member.name.to_owned(),
            kind,
            offset,
            size,
            bits: None,
            parent,
            tags: names.iter().map(|name| format!("type:{name}")).collect(),
            annotations: well_known_annotations(&names),
        };
        if member.bitfield_size > 0 {
            self.bitfield(&mut field, member, bits)?;
        }
        field.tags.push(format!("name:{}", member.name));
        field.tags.push("src:ebpf".to_owned());
        if aliased {
            field
                .annotations
                .insert("columns.alias".to_owned(), member.name.to_owned());
        }
        let index = self.out.fields.len();
        self.out.fields.push(field);
        if matches!(direct.kind, BtfKind::Enum | BtfKind::Enum64) {
            self.out.enums.push((index, direct.id));
        }
        if composite {
            let aliased = PROCESS_TYPES.contains(&self.btf.name(&direct));
            self.members(&direct, Some(index), bits, aliased, depth + 1)?;
        }
        Ok(())
    }

    /// A bitfield keeps kind and size of its declared type, but its value is cut out of the bytes it shares.
    fn bitfield(&self, field: &mut StaticField, member: &Member<'_>, bits: u64) -> Result<()> {
        let shift = (bits % 8) as u32;
        let width = member.bitfield_size;
        if !matches!(field.kind, Kind::One(scalar) if scalar.is_integer() || scalar == Scalar::Bool)
            || shift + width > 64
        {
            return Err(Error::invalid(format!(
                "bitfield {:?} of {width} bits is not supported",
                member.name
            )));
        }
        field.bits = Some((shift as u8, width as u8));
        field.size = field.size.min(self.out.size.saturating_sub(field.offset));
        Ok(())
    }

    /// The names a type is known by (its own, its typedefs', its elements'), and its kind and size if it is a value.
    fn describe(&self, id: TypeId) -> (Vec<&'a str>, Option<(Kind, u32)>) {
        let mut names = Vec::new();
        let value = self.value(id, &mut names, 0);
        (names, value)
    }

    fn value(&self, id: TypeId, names: &mut Vec<&'a str>, depth: usize) -> Option<(Kind, u32)> {
        if depth > MAX_NESTING {
            return None;
        }
        let t = self.btf.get(id)?;
        match t.kind {
            BtfKind::Const | BtfKind::Volatile | BtfKind::Restrict | BtfKind::TypeTag => {
                return self.value(t.target(), names, depth + 1);
            }
            BtfKind::Array => return self.array(&t, names, depth),
            _ => {}
        }
        let name = self.btf.name(&t);
        if !name.is_empty() {
            names.push(name);
        }
        let size = t.size();
        let scalar = match t.kind {
            BtfKind::Typedef => return self.value(t.target(), names, depth + 1),
            BtfKind::Int => match t.int_encoding() {
                0 => Scalar::integer(size as usize, false)?,
                1 => Scalar::integer(size as usize, true)?,
                2 if size == 1 => Scalar::Uint8,
                4 if size == 1 => Scalar::Bool,
                _ => return None,
            },
            BtfKind::Float if size == 4 => Scalar::Float32,
            BtfKind::Float if size == 8 => Scalar::Float64,
            BtfKind::Enum | BtfKind::Enum64 => Scalar::integer(size as usize, t.kind_flag())?,
            _ => return None,
        };
        Some((Kind::One(scalar), size))
    }

    fn array(&self, t: &BtfType<'a>, names: &mut Vec<&'a str>, depth: usize) -> Option<(Kind, u32)> {
        let mut element_names = Vec::new();
        let (element, element_size) = self.value(t.array_element(), &mut element_names, depth + 1)?;
        let size = element_size.checked_mul(t.array_len())?;
        let kind = match element {
            Kind::One(Scalar::Int8) if element_names.contains(&"char") => Kind::One(Scalar::CString),
            Kind::One(Scalar::CString) => Kind::Array(Scalar::CString),
            Kind::One(scalar) if scalar != Scalar::Invalid => Kind::Array(scalar),
            _ => Kind::One(Scalar::Invalid),
        };
        names.append(&mut element_names);
        Some((kind, size))
    }
}

fn well_known_annotations(names: &[&str]) -> Annotations {
    let mut annotations = Annotations::new();
    for name in names {
        if TEMPLATE_TYPES.contains(name) {
            let pairs = name.strip_prefix("gadget_").and_then(template).unwrap_or_default();
            annotations.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        }
        if PROCESS_TYPES.contains(name) {
            annotations.insert("columns.hidden".to_owned(), "true".to_owned());
        }
    }
    annotations
}

/// Enumerators of an enum: names and values, in declaration order, and whether it is a set of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumValues {
    /// Name of the enum.
    pub name: String,
    /// Names and values as 64-bit patterns.
    pub values: Vec<(String, u64)>,
}

impl EnumValues {
    /// Reads enum `id`.
    pub fn read(btf: &Btf<'_>, id: TypeId) -> Option<Self> {
        let t = btf.get(id)?;
        Some(Self {
            name: btf.name(&t).to_owned(),
            values: btf
                .enumerators(&t)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        })
    }

    /// Whether values are sets of bits.
    pub fn is_set(&self) -> bool {
        self.name.ends_with("_set")
    }

    /// Appends the text of `value`: the enumerator's name, or for sets the names of all enumerators it contains.
    pub fn format(&self, value: u64, separator: &str, out: &mut Vec<u8>) {
        if !self.is_set() {
            let found = self.values.iter().find(|(_, v)| *v == value);
            out.extend_from_slice(found.map_or("UNKNOWN", |(name, _)| name).as_bytes());
            return;
        }
        let mut first = true;
        for (name, _) in self.values.iter().filter(|(_, v)| value & v == *v) {
            if !first {
                out.extend_from_slice(separator.as_bytes());
            }
            first = false;
            out.extend_from_slice(name.as_bytes());
        }
    }

    /// Replaces names and values by those that the kernel's own enums of the same names have.
    pub fn prefer_kernel(enums: &mut HashMap<TypeId, EnumValues>, kernel: &Btf<'_>) {
        let wanted: Vec<&str> = enums
            .values()
            .map(|e| e.name.as_str())
            .filter(|name| !name.is_empty())
            .collect();
        if wanted.is_empty() {
            return;
        }
        let found: Vec<EnumValues> = kernel
            .types()
            .filter(|t| matches!(t.kind, BtfKind::Enum | BtfKind::Enum64) && wanted.contains(&kernel.name(t)))
            .filter_map(|t| EnumValues::read(kernel, t.id))
            .collect();
        for own in enums.values_mut() {
            if let Some(theirs) = found.iter().find(|theirs| theirs.name == own.name) {
                own.values.clone_from(&theirs.values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::btf::testing::Builder;
    use super::*;

    fn names(fields: &StructFields) -> Vec<&str> {
        fields.fields.iter().map(|f| f.name.as_str()).collect()
    }

    #[test]
    fn type_names_follow_typedefs_and_elements() {
        let mut b = Builder::default();
        let int = b.int("int32", 4, 1);
        let t2 = b.typedef("typedef2", int);
        let t1 = b.typedef("typedef1", t2);
        let array = b.array(int, 10);
        let nested = b.array(array, 2);
        let typed_array = b.array(t1, 4);
        let unnamed = b.int("", 2, 0);
        let character = b.int("c", 1, 2);
        let bytes = b.build();
        let btf = Btf::parse(&bytes).unwrap();
        let walk = Walk {
            btf: &btf,
            out: StructFields::default(),
        };
        let int32 = Scalar::Int32;
        assert_eq!(
            walk.describe(t1),
            (vec!["typedef1", "typedef2", "int32"], Some((Kind::One(int32), 4)))
        );
        assert_eq!(walk.describe(array), (vec!["int32"], Some((Kind::Array(int32), 40))));
        assert_eq!(
            walk.describe(nested),
            (vec!["int32"], Some((Kind::One(Scalar::Invalid), 80)))
        );
        assert_eq!(walk.describe(typed_array).0, ["typedef1", "typedef2", "int32"]);
        assert_eq!(walk.describe(unnamed), (vec![], Some((Kind::One(Scalar::Uint16), 2))));
        assert_eq!(walk.describe(0), (vec![], None));
        assert_eq!(walk.describe(character).1, Some((Kind::One(Scalar::Uint8), 1)));
    }

    #[test]
    fn structs_expand_in_place() {
        let mut b = Builder::default();
        let u32_ = b.int("unsigned int", 4, 0);
        let character = b.int("char", 1, 1);
        let comm = b.typedef("gadget_comm", character);
        let comm = b.array(comm, 16);
        let pid = b.typedef("gadget_pid", u32_);
        let process = b.structure("gadget_process", 20, &[("comm", comm, 0), ("pid", pid, 128)]);
        let pointer = b.pointer(process);
        let wide = b.int("__int128", 16, 1);
        let float = b.float("float", 4);
        let anonymous = b.union("", 4, &[("x", u32_, 0), ("y", u32_, 0)]);
        let process_alias = b.typedef("process_t", process);
        let two = b.array(character, 4);
        let two = b.array(two, 2);
        b.structure(
            "event",
            128,
            &[
                ("proc", process, 64),
                ("ptr", pointer, 256),
                ("__private", u32_, 320),
                ("wide", wide, 384),
                ("", anonymous, 512),
                ("f", float, 544),
                ("alias", process_alias, 576),
                ("names", two, 800),
            ],
        );
        let bytes = b.build();
        let btf = Btf::parse(&bytes).unwrap();
        let fields = struct_fields(&btf, "event").unwrap();
        assert_eq!(names(&fields), ["proc", "comm", "pid", "", "x", "y", "f", "names"]);
        let [process, comm, pid, _, x, ..] = &fields.fields[..] else {
            panic!()
        };
        assert_eq!(
            (comm.kind, comm.offset, comm.size, comm.parent),
            (Scalar::CString.into(), 8, 16, Some(0))
        );
        assert_eq!(comm.tags, ["type:gadget_comm", "type:char", "name:comm", "src:ebpf"]);
        assert_eq!(comm.annotations["columns.alias"], "comm");
        assert_eq!(pid.annotations["columns.minwidth"], "7");
        assert_eq!(process.tags, ["type:gadget_process", "name:proc", "src:ebpf"]);
        assert_eq!(process.annotations["columns.hidden"], "true");
        assert_eq!((x.offset, x.parent), (64, Some(3)));
        assert_eq!(fields.fields[7].kind, Kind::Array(Scalar::CString));
        assert!(
            struct_fields(&btf, "nosuch")
                .unwrap_err()
                .to_string()
                .contains("finding struct \"nosuch\"")
        );
    }

    #[test]
    fn a_struct_that_contains_itself_is_refused() {
        let mut b = Builder::default();
        b.structure("loop", 8, &[("again", 1, 0)]);
        let bytes = b.build();
        let btf = Btf::parse(&bytes).unwrap();
        assert!(struct_fields(&btf, "loop").is_err());
    }

    #[test]
    fn enum_texts() {
        let values = |name: &str, values: &[(&str, u64)]| EnumValues {
            name: name.to_owned(),
            values: values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect(),
        };
        let plain = values("testenum", &[("A", 1), ("B", 2), ("C", 3)]);
        let set = values("testenum_set", &[("A", 1), ("B", 2), ("C", 3)]);
        let zero = values("x_set", &[("NONE", 0), ("A", 1)]);
        for (of, value, separator, expected) in [
            (&plain, 1, "|", "A"),
            (&plain, 5, "|", "UNKNOWN"),
            (&set, 3, "|", "A|B|C"),
            (&set, 3, ", ", "A, B, C"),
            (&set, 0, "|", ""),
            (&set, 1, "|", "A"),
            (&zero, 1, "|", "NONE|A"),
        ] {
            let mut out = Vec::new();
            of.format(value, separator, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
