//! BTF: a bounds-checked reader over a byte slice, and the minimal kernel BTF that objects are relocated against.
//!
//! The reader borrows; types are decoded when asked for. Nothing in a BTF blob is trusted: offsets, ids and lengths are
//! checked, and chains of types are followed to a bounded depth only.

pub mod archive;
mod custom;
mod extra;
mod kernel;
mod mapping;
mod minimal;
mod reloc;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use custom::CustomBtf;
pub use extra::{ExtraStruct, ExtraType};
pub use kernel::{KeptBtf, KernelBtf, Origin};
pub use minimal::{MinimalOptions, minimal};
pub use reloc::{CoreRelocations, essential_name};

use std::borrow::Cow;

use crate::{Error, Result};

/// Types are followed through at most this many typedefs, qualifiers and arrays.
pub(super) const MAX_DEPTH: usize = 32;

/// Number of a type; 0 is void.
pub type TypeId = u32;

/// The kinds of BTF types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BtfKind {
    Void,
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    Datasec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl BtfKind {
    fn from_number(number: u32) -> Option<Self> {
        use BtfKind::*;
        const ALL: [BtfKind; 20] = [
            Void, Int, Ptr, Array, Struct, Union, Enum, Fwd, Typedef, Volatile, Const, Restrict, Func, FuncProto, Var,
            Datasec, Float, DeclTag, TypeTag, Enum64,
        ];
        ALL.get(number as usize).copied()
    }

    /// Bytes that follow the 12-byte header of a type with `vlen` entries.
    fn extra_len(self, vlen: usize) -> usize {
        match self {
            BtfKind::Int | BtfKind::Var | BtfKind::DeclTag => 4,
            BtfKind::Array => 12,
            BtfKind::Struct | BtfKind::Union | BtfKind::Datasec | BtfKind::Enum64 => vlen * 12,
            BtfKind::Enum | BtfKind::FuncProto => vlen * 8,
            _ => 0,
        }
    }
}

/// One type, decoded as far as its header.
#[derive(Clone, Copy, Debug)]
pub struct BtfType<'a> {
    /// Its number.
    pub id: TypeId,
    /// Its kind.
    pub kind: BtfKind,
    name_off: u32,
    info: u32,
    size_or_type: u32,
    extra: &'a [u8],
}

impl<'a> BtfType<'a> {
    /// Size in bytes, for kinds that have one.
    pub fn size(&self) -> u32 {
        self.size_or_type
    }

    /// The type it refers to, for kinds that refer to one.
    pub fn target(&self) -> TypeId {
        self.size_or_type
    }

    /// Kind flag: of structs, members carry bitfield sizes; of enums, values are signed.
    pub fn kind_flag(&self) -> bool {
        self.info >> 31 != 0
    }

    /// Whether this is a typedef or a qualifier, which say nothing about the value.
    pub fn is_modifier(&self) -> bool {
        matches!(
            self.kind,
            BtfKind::Typedef | BtfKind::Const | BtfKind::Volatile | BtfKind::Restrict | BtfKind::TypeTag
        )
    }

    /// Encoding of an INT: bit 0 signed, bit 1 char, bit 2 bool.
    pub fn int_encoding(&self) -> u32 {
        self.word(0) >> 24 & 0xf
    }

    /// Element type of an ARRAY.
    pub fn array_element(&self) -> TypeId {
        self.word(0)
    }

    /// Element count of an ARRAY.
    pub fn array_len(&self) -> u32 {
        self.word(2)
    }

    /// Whether other objects can see this VAR.
    pub fn is_global(&self) -> bool {
        self.word(0) == 1
    }

    fn word(&self, index: usize) -> u32 {
        word(self.extra, index * 4)
    }

    fn records<const WORDS: usize>(&self) -> impl Iterator<Item = [u32; WORDS]> + use<'a, WORDS> {
        self.extra
            .chunks_exact(WORDS * 4)
            .map(|chunk| std::array::from_fn(|i| word(chunk, i * 4)))
    }
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Name; empty for anonymous members.
    pub name: &'a str,
    /// Type.
    pub type_id: TypeId,
    /// Offset from the start of the struct, in bits.
    pub bit_offset: u32,
    /// Width in bits of a bitfield, 0 for ordinary members.
    pub bitfield_size: u32,
}

/// BTF in a byte slice.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Offset of type i + 1 in `types`.
    offsets: Cow<'a, [u32]>,
}

impl<'a> Btf<'a> {
    /// Reads the header and finds the start of every type.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        let (types, strings) = Self::sections(data)?;
        Ok(Self {
            types,
            strings,
            offsets: Self::find_types(types)?.into(),
        })
    }

    /// The same where the starts of the types are known: they must come from [`find_types`](Self::find_types) of the same data.
    fn with_offsets(data: &'a [u8], offsets: &'a [u32]) -> Result<Self> {
        let (types, strings) = Self::sections(data)?;
        Ok(Self {
            types,
            strings,
            offsets: offsets.into(),
        })
    }

    /// The types and the strings.
    fn sections(data: &'a [u8]) -> Result<(&'a [u8], &'a [u8])> {
        let bad = |what: &str| Error::invalid(format!("invalid BTF: {what}"));
        if data.len() < 24 {
            return Err(bad("truncated header"));
        }
        match [data[0], data[1]] {
            [0x9f, 0xeb] => {}
            [0xeb, 0x9f] => return Err(bad("big endian BTF is not supported")),
            _ => return Err(bad("wrong magic number")),
        }
        let section = |off: usize, len: usize| {
            let start = (word(data, 4) as usize).checked_add(word(data, off) as usize)?;
            data.get(start..start.checked_add(word(data, len) as usize)?)
        };
        let types = section(8, 12).ok_or_else(|| bad("type section outside the data"))?;
        let strings = section(16, 20).ok_or_else(|| bad("string section outside the data"))?;
        Ok((types, strings))
    }

    fn find_types(types: &[u8]) -> Result<Vec<u32>> {
        let bad = |what: &str| Error::invalid(format!("invalid BTF: {what}"));
        let mut offsets = Vec::with_capacity(types.len() / 24);
        let mut at = 0;
        while at < types.len() {
            let header = types.get(at..at + 12).ok_or_else(|| bad("truncated type"))?;
            let info = word(header, 4);
            let kind = BtfKind::from_number(info >> 24 & 0x1f)
                .filter(|kind| *kind != BtfKind::Void)
                .ok_or_else(|| {
                    bad(&format!(
                        "unknown kind {} of type {}",
                        info >> 24 & 0x1f,
                        offsets.len() + 1
                    ))
                })?;
            offsets.push(at as u32);
            at += 12 + kind.extra_len(info as usize & 0xffff);
        }
        if at != types.len() {
            return Err(bad("truncated type"));
        }
        Ok(offsets)
    }

    /// Number of types, void not counted. Ids run from 1 to this number.
    pub fn len(&self) -> u32 {
        self.offsets.len() as u32
    }

    /// Whether there is no type.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The type of this number; `None` for void and for numbers that do not exist.
    pub fn get(&self, id: TypeId) -> Option<BtfType<'a>> {
        let at = *self.offsets.get((id as usize).checked_sub(1)?)? as usize;
        let header = &self.types[at..at + 12];
        let info = word(header, 4);
        let kind = BtfKind::from_number(info >> 24 & 0x1f)?;
        let extra = &self.types[at + 12..at + 12 + kind.extra_len(info as usize & 0xffff)];
        Some(BtfType {
            id,
            kind,
            name_off: word(header, 0),
            info,
            size_or_type: word(header, 8),
            extra,
        })
    }

    /// All types in order of their numbers.
    pub fn types(&self) -> impl Iterator<Item = BtfType<'a>> + '_ {
        (1..=self.len()).filter_map(|id| self.get(id))
    }

    /// The string at `offset`; empty if there is none.
    pub fn string(&self, offset: u32) -> &'a str {
        std::str::from_utf8(self.string_bytes(offset)).unwrap_or("")
    }

    fn string_bytes(&self, offset: u32) -> &'a [u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|b| *b == 0).next().unwrap_or_default()
    }

    /// The name of a type; empty for anonymous ones.
    pub fn name(&self, of: &BtfType<'_>) -> &'a str {
        self.string(of.name_off)
    }

    /// The first type of this kind and name.
    pub fn find(&self, kind: BtfKind, name: &str) -> Option<BtfType<'a>> {
        self.types().find(|t| t.kind == kind && self.name(t) == name)
    }

    /// Members of a struct or union in declaration order.
    pub fn members(&self, of: &BtfType<'a>) -> impl Iterator<Item = Member<'a>> + '_ {
        let bitfields = of.kind_flag();
        of.records::<3>().map(move |[name, type_id, offset]| Member {
            name: self.string(name),
            type_id,
            bit_offset: if bitfields { offset & 0xff_ffff } else { offset },
            bitfield_size: if bitfields { offset >> 24 } else { 0 },
        })
    }

    /// Enumerators of an ENUM or ENUM64 with their values as 64-bit patterns, sign-extended if the enum is signed.
    pub fn enumerators(&self, of: &BtfType<'a>) -> Vec<(&'a str, u64)> {
        match of.kind {
            BtfKind::Enum => of
                .records::<2>()
                .map(|[name, value]| {
                    let value = if of.kind_flag() {
                        i64::from(value as i32) as u64
                    } else {
                        u64::from(value)
                    };
                    (self.string(name), value)
                })
                .collect(),
            BtfKind::Enum64 => of
                .records::<3>()
                .map(|[name, low, high]| (self.string(name), u64::from(low) | u64::from(high) << 32))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Variables of a DATASEC: type, offset, size.
    pub fn variables(&self, of: &BtfType<'a>) -> impl Iterator<Item = (TypeId, u32, u32)> + use<'a> {
        of.records::<3>().map(|[type_id, offset, size]| (type_id, offset, size))
    }

    /// Names and types of the variables in the section `name`; none if there is no such section.
    pub fn section_variables(&self, name: &str) -> Vec<(&'a str, TypeId)> {
        self.find(BtfKind::Datasec, name)
            .iter()
            .flat_map(|section| self.variables(section))
            .filter_map(|(id, ..)| self.get(id).filter(|variable| variable.kind == BtfKind::Var))
            .map(|variable| (self.name(&variable), variable.target()))
            .collect()
    }

    /// Bytes that a value of the type takes; `None` for what has no size, and for more than 4 GiB.
    pub fn size_of(&self, id: TypeId) -> Option<u32> {
        let (mut id, mut count) = (id, 1_u32);
        for _ in 0..MAX_DEPTH {
            let t = self.resolve(id)?;
            match t.kind {
                BtfKind::Array => {
                    count = count.checked_mul(t.array_len())?;
                    id = t.array_element();
                }
                // Of eBPF, whatever compiles it.
                BtfKind::Ptr => return count.checked_mul(8),
                BtfKind::Int | BtfKind::Struct | BtfKind::Union | BtfKind::Enum | BtfKind::Float | BtfKind::Enum64 => {
                    return count.checked_mul(t.size());
                }
                _ => return None,
            }
        }
        None
    }

    /// Follows typedefs and qualifiers. `None` for void, for missing types and for chains that are too long.
    pub fn resolve(&self, id: TypeId) -> Option<BtfType<'a>> {
        let mut current = self.get(id)?;
        for _ in 0..MAX_DEPTH {
            if !current.is_modifier() {
                return Some(current);
            }
            current = self.get(current.target())?;
        }
        None
    }

    /// Follows qualifiers but not typedefs.
    pub fn skip_qualifiers(&self, id: TypeId) -> Option<BtfType<'a>> {
        let mut current = self.get(id)?;
        for _ in 0..MAX_DEPTH {
            if !current.is_modifier() || current.kind == BtfKind::Typedef {
                return Some(current);
            }
            current = self.get(current.target())?;
        }
        None
    }
}

/// The little-endian word at byte `offset`; 0 outside the slice.
fn word(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..offset + 4)
        .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

#[cfg(test)]
mod tests {
    use super::testing::Builder;
    use super::*;

    #[test]
    fn reads_what_it_is_given() {
        let mut b = Builder::default();
        let int = b.int("unsigned int", 4, 0);
        let typedef = b.typedef("__u32", int);
        let s = b.structure("s", 8, &[("a", typedef, 0), ("b", int, 32)]);
        let e = b.enumeration("e", true, &[("NEG", -1), ("ONE", 1)]);
        let bytes = b.build();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.len(), 4);
        let s = btf.get(s).unwrap();
        let members: Vec<_> = btf.members(&s).map(|m| (m.name, m.type_id, m.bit_offset)).collect();
        assert_eq!(members, [("a", typedef, 0), ("b", int, 32)]);
        assert_eq!(btf.resolve(typedef).unwrap().id, int);
        assert_eq!(btf.enumerators(&btf.get(e).unwrap()), [("NEG", u64::MAX), ("ONE", 1)]);
        assert!(btf.get(0).is_none() && btf.get(99).is_none());
    }

    #[test]
    fn refuses_damage_at_any_byte_without_panicking() {
        let mut b = Builder::default();
        let int = b.int("int", 4, 1);
        let s = b.structure("s", 4, &[("a", int, 0)]);
        b.pointer(s);
        let bytes = b.build();
        for len in 0..bytes.len() {
            let _ = Btf::parse(&bytes[..len]);
        }
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[i] ^= 1 << bit;
                if let Ok(btf) = Btf::parse(&damaged) {
                    for t in btf.types() {
                        btf.name(&t);
                        btf.members(&t).for_each(drop);
                        btf.enumerators(&t);
                        btf.resolve(t.id);
                        btf.size_of(t.id);
                        btf.section_variables(btf.name(&t));
                    }
                }
            }
        }
    }

    #[test]
    fn knows_the_sizes_of_values() {
        let mut b = Builder::default();
        let int = b.int("unsigned int", 4, 0);
        let row = b.array(int, 3);
        let typedef = b.typedef("row_t", row);
        let rows = b.array(typedef, 5);
        let pointer = b.pointer(int);
        let pointers = b.array(pointer, 2);
        let s = b.structure("s", 24, &[]);
        let many = b.array(rows, u32::MAX);
        let variable = b.variable("v", int, 1);
        let bytes = b.build();
        let btf = Btf::parse(&bytes).unwrap();
        let sizes = [int, rows, pointers, s, many, variable, 0, 99].map(|id| btf.size_of(id));
        assert_eq!(sizes, [Some(4), Some(60), Some(16), Some(24), None, None, None, None]);
    }

    #[test]
    fn ends_on_a_loop_of_typedefs() {
        let mut b = Builder::default();
        let typedef = b.typedef("loop", 1);
        let bytes = b.build();
        assert!(Btf::parse(&bytes).unwrap().resolve(typedef).is_none());
    }
}
