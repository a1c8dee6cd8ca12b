//! A reader of BTF, the type information of an object, for looking at objects that are not loaded.
//!
//! It works on bytes that may come from anywhere: every offset is checked, and following references ends after a bounded number
//! of steps.

use crate::{Error, Result};

const MAGIC: u16 = 0xeb9f;
/// How many typedefs, qualifiers and tags may lie between a reference and what it refers to.
const MAX_CHAIN: usize = 64;

/// The types of an object.
#[derive(Debug)]
pub struct Btf<'a> {
    /// Index is the type id; the first is void.
    types: Vec<Type<'a>>,
}

/// A type: its name (empty if it has none, or none in UTF-8) and what it is.
#[derive(Debug)]
pub struct Type<'a> {
    /// The name.
    pub name: &'a str,
    /// What it is.
    pub kind: Kind<'a>,
}

/// The kinds of types, as far as anybody here asks.
#[derive(Debug)]
pub enum Kind<'a> {
    /// No type.
    Void,
    /// A pointer to the type with that id.
    Ptr(u32),
    /// An array.
    Array {
        /// Type id of the elements.
        element: u32,
        /// How many there are.
        len: u32,
    },
    /// A struct.
    Struct {
        /// In bytes.
        size: u32,
        /// The members, in order.
        members: Vec<Member<'a>>,
    },
    /// An alias of the type with that id.
    Typedef(u32),
    /// A type with a qualifier or tag that does not matter here.
    Qualified(u32),
    /// `const`.
    Const(u32),
    /// `volatile`.
    Volatile(u32),
    /// A variable.
    Var {
        /// Type id.
        ty: u32,
        /// Whether other objects can see it.
        global: bool,
    },
    /// A section of variables.
    DataSec(Vec<u32>),
    /// A type of that many bytes that is taken as a whole.
    Sized(u32),
    /// Anything else.
    Other,
}

/// A member of a struct.
#[derive(Debug)]
pub struct Member<'a> {
    /// The name; empty for an anonymous struct or union.
    pub name: &'a str,
    /// Type id.
    pub ty: u32,
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*word))
    }
}

impl<'a> Btf<'a> {
    /// Reads the contents of a `.BTF` section.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when it is damaged.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        Self::read(data).ok_or_else(|| Error::invalid("damaged BTF"))
    }

    fn read(data: &'a [u8]) -> Option<Self> {
        let magic = u16::from_le_bytes(*data.first_chunk()?);
        if magic != MAGIC {
            return None;
        }
        let mut header = Cursor(data.get(4..)?);
        let body = data.get(usize::try_from(header.u32()?).ok()?..)?;
        let part = |offset: u32, len: u32| body.get(offset as usize..(offset as usize).checked_add(len as usize)?);
        let types = part(header.u32()?, header.u32()?)?;
        let strings = part(header.u32()?, header.u32()?)?;
        let name = |offset: u32| -> Option<&'a str> {
            let rest = strings.get(offset as usize..)?;
            let end = rest.iter().position(|&byte| byte == 0)?;
            Some(std::str::from_utf8(rest.get(..end)?).unwrap_or_default())
        };
        let mut cursor = Cursor(types);
        let mut types = vec![Type {
            name: "",
            kind: Kind::Void,
        }];
        while !cursor.0.is_empty() {
            let type_name = name(cursor.u32()?)?;
            let info = cursor.u32()?;
            let value = cursor.u32()?;
            let vlen = (info & 0xffff) as usize;
            let skip = |cursor: &mut Cursor<'_>, words: usize| {
                cursor.0 = cursor.0.get(words * 4..)?;
                Some(())
            };
            let kind = match (info >> 24) & 0x1f {
                1 => {
                    skip(&mut cursor, 1)?;
                    Kind::Sized(value)
                }
                2 => Kind::Ptr(value),
                3 => {
                    let element = cursor.u32()?;
                    skip(&mut cursor, 1)?;
                    let len = cursor.u32()?;
                    Kind::Array { element, len }
                }
                kind @ (4 | 5) => {
                    let mut members = Vec::new();
                    for _ in 0..vlen {
                        let name = name(cursor.u32()?)?;
                        let ty = cursor.u32()?;
                        skip(&mut cursor, 1)?;
                        members.push(Member { name, ty });
                    }
                    match kind {
                        4 => Kind::Struct { size: value, members },
                        _ => Kind::Sized(value),
                    }
                }
                6 => {
                    skip(&mut cursor, 2 * vlen)?;
                    Kind::Sized(value)
                }
                8 => Kind::Typedef(value),
                9 => Kind::Volatile(value),
                10 => Kind::Const(value),
                11 | 18 => Kind::Qualified(value),
                7 | 12 => Kind::Other,
                13 => {
                    skip(&mut cursor, 2 * vlen)?;
                    Kind::Other
                }
                14 => Kind::Var {
                    ty: value,
                    global: cursor.u32()? == 1,
                },
                15 => {
                    let mut variables = Vec::new();
                    for _ in 0..vlen {
                        variables.push(cursor.u32()?);
                        skip(&mut cursor, 2)?;
                    }
                    Kind::DataSec(variables)
                }
                16 => Kind::Sized(value),
                17 => {
                    skip(&mut cursor, 1)?;
                    Kind::Other
                }
                19 => {
                    skip(&mut cursor, 3 * vlen)?;
                    Kind::Sized(value)
                }
                _ => return None,
            };
            types.push(Type { name: type_name, kind });
        }
        Some(Self { types })
    }

    /// The type with that id; void if there is none.
    pub fn get(&self, id: u32) -> &Type<'a> {
        self.types.get(id as usize).unwrap_or(&self.types[0])
    }

    /// All types in order of their ids.
    pub fn types(&self) -> impl Iterator<Item = &Type<'a>> {
        self.types.iter()
    }

    /// The variable `name`: its type id and whether it is global.
    pub fn variable(&self, name: &str) -> Option<(u32, bool)> {
        self.types.iter().find_map(|ty| match ty.kind {
            Kind::Var { ty: id, global } if ty.name == name => Some((id, global)),
            _ => None,
        })
    }

    /// The members of the struct `name`.
    pub fn struct_members(&self, name: &str) -> Option<&[Member<'a>]> {
        self.types.iter().find_map(|ty| match &ty.kind {
            Kind::Struct { members, .. } if ty.name == name => Some(members.as_slice()),
            _ => None,
        })
    }

    /// The variables of the section `name`: names and type ids.
    pub fn section_variables(&self, name: &str) -> Vec<(&'a str, u32)> {
        let section = self.types.iter().find_map(|ty| match &ty.kind {
            Kind::DataSec(variables) if ty.name == name => Some(variables),
            _ => None,
        });
        section
            .into_iter()
            .flatten()
            .filter_map(|&id| {
                let variable = self.get(id);
                match variable.kind {
                    Kind::Var { ty, .. } => Some((variable.name, ty)),
                    _ => None,
                }
            })
            .collect()
    }

    /// What `id` is behind typedefs, qualifiers and tags.
    pub fn resolve(&self, mut id: u32) -> &Type<'a> {
        for _ in 0..MAX_CHAIN {
            match self.get(id).kind {
                Kind::Typedef(next) | Kind::Const(next) | Kind::Volatile(next) | Kind::Qualified(next) => id = next,
                _ => return self.get(id),
            }
        }
        &self.types[0]
    }

    /// Bytes that a value of type `id` takes; `None` for what has no size.
    pub fn size(&self, id: u32) -> Option<u32> {
        let mut count: u32 = 1;
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            match &self.resolve(id).kind {
                Kind::Struct { size, .. } | Kind::Sized(size) => return size.checked_mul(count),
                Kind::Ptr(_) => return count.checked_mul(8),
                Kind::Array { element, len } => {
                    count = count.checked_mul(*len)?;
                    id = *element;
                }
                _ => return None,
            }
        }
        None
    }
}
