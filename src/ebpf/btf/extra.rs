//! A struct that is in no kernel's BTF, as something to relocate against.

use super::{Btf, word};
use crate::{Error, Result};

/// A struct of numbers and texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraStruct {
    /// Its name.
    pub name: &'static str,
    /// Bytes.
    pub size: u32,
    /// Its members: name, offset in bytes, type.
    pub members: Vec<(&'static str, u32, ExtraType)>,
}

/// The type of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraType {
    /// An unsigned number of 8 bytes.
    U64,
    /// An unsigned number of 4 bytes.
    U32,
    /// A `char`.
    Char,
    /// A text of that many bytes.
    Text(u32),
}

const INT: u32 = 1 << 24;
const ARRAY: u32 = 3 << 24;
const STRUCT: u32 = 4 << 24;
const HEADER: usize = 24;

impl ExtraStruct {
    /// `btf` with this struct behind all others.
    pub(super) fn append_to(&self, btf: &[u8]) -> Result<Vec<u8>> {
        let (types, strings) = Btf::sections(btf)?;
        let first = Btf::find_types(types)?.len() as u32 + 1;
        let (mut types, mut strings) = (types.to_vec(), strings.to_vec());
        let mut text = |name: &str| {
            let offset = strings.len() as u32;
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
            offset
        };
        let mut words: Vec<u32> = Vec::new();
        // By their order: first, first + 1, first + 2.
        for (name, size) in [("unsigned long long", 8_u32), ("unsigned int", 4), ("char", 1)] {
            words.extend([text(name), INT, size, size * 8]);
        }
        let (u64_id, u32_id, char_id) = (first, first + 1, first + 2);
        let mut next = first + 3;
        let mut members = Vec::with_capacity(self.members.len() * 3);
        for (name, offset, kind) in &self.members {
            let id = match kind {
                ExtraType::U64 => u64_id,
                ExtraType::U32 => u32_id,
                ExtraType::Char => char_id,
                ExtraType::Text(len) => {
                    words.extend([0, ARRAY, 0, char_id, u32_id, *len]);
                    next += 1;
                    next - 1
                }
            };
            members.extend([text(name), id, offset * 8]);
        }
        words.extend([text(self.name), STRUCT | self.members.len() as u32, self.size]);
        words.extend(members);
        types.extend(words.iter().flat_map(|word| word.to_le_bytes()));

        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| Error::invalid("the BTF is too large"));
        let (types_len, strings_len) = (length(&types)?, length(&strings)?);
        let mut out = Vec::with_capacity(HEADER + types.len() + strings.len());
        // Magic, version and flags stay.
        out.extend_from_slice(&word(btf, 0).to_le_bytes());
        for number in [HEADER as u32, 0, types_len, types_len, strings_len] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.append(&mut types);
        out.append(&mut strings);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::BtfKind;
    use super::super::testing::Builder;
    use super::*;

    #[test]
    fn is_found_beside_what_was_there() {
        let mut b = Builder::default();
        let int = b.int("int", 4, 1);
        b.structure("s", 4, &[("a", int, 0)]);
        let extra = ExtraStruct {
            name: "extra",
            size: 32,
            members: vec![
                ("number", 0, ExtraType::U64),
                ("text", 8, ExtraType::Text(16)),
                ("small", 24, ExtraType::U32),
                ("letter", 28, ExtraType::Char),
            ],
        };
        let bytes = extra.append_to(&b.build()).unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        assert!(btf.find(BtfKind::Struct, "s").is_some());
        let found = btf.find(BtfKind::Struct, "extra").unwrap();
        assert_eq!(found.size(), 32);
        let members: Vec<_> = btf
            .members(&found)
            .map(|member| (member.name, member.bit_offset / 8, btf.size_of(member.type_id)))
            .collect();
        assert_eq!(
            members,
            [
                ("number", 0, Some(8)),
                ("text", 8, Some(16)),
                ("small", 24, Some(4)),
                ("letter", 28, Some(1))
            ]
        );
        assert!(extra.append_to(b"no BTF").is_err());
    }
}
