//! The CO-RE relocations of an object: which kernel types it needs, from `.BTF.ext`.

use std::collections::BTreeSet;

use super::{Btf, BtfKind, word};
use crate::{Error, Result};

/// The name without a CO-RE flavour: `task_struct___old` is `task_struct`.
pub fn essential_name(name: &str) -> &str {
    let bytes = name.as_bytes();
    let flavour = (0..bytes.len().saturating_sub(4))
        .rev()
        .find(|i| bytes[*i] != b'_' && &bytes[i + 1..i + 4] == b"___" && bytes[i + 4] != b'_');
    match flavour {
        Some(i) => &name[..=i],
        None => name,
    }
}

/// What an object's CO-RE relocations refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreRelocations {
    /// Essential names of the types that are looked for in the kernel.
    pub names: BTreeSet<String>,
    /// Whether some relocation needs more than the named types and what they embed: type ids of the kernel, or comparisons
    /// that follow pointers.
    pub needs_whole_kernel: bool,
    /// Members that are looked at: type, member of it, without flavours.
    pub members: BTreeSet<(String, String)>,
}

/// Relocation kinds, as the compiler numbers them.
mod kind {
    pub(super) const TYPE_ID_LOCAL: u32 = 6;
    pub(super) const TYPE_ID_TARGET: u32 = 7;
    pub(super) const TYPE_EXISTS: u32 = 8;
    pub(super) const TYPE_SIZE: u32 = 9;
    pub(super) const TYPE_MATCHES: u32 = 12;
}

impl CoreRelocations {
    /// Reads the relocations from the contents of `.BTF.ext`; `btf` is the object's own.
    pub fn parse(btf: &Btf<'_>, ext: &[u8]) -> Result<Self> {
        let bad = |what: &str| Error::invalid(format!("invalid .BTF.ext: {what}"));
        let mut found = Self::default();
        if ext.len() < 8 || ext[..2] != [0x9f, 0xeb] {
            return Err(bad("wrong header"));
        }
        let header_len = word(ext, 4) as usize;
        if header_len < 32 {
            return Ok(found);
        }
        let start = header_len.saturating_add(word(ext, 24) as usize);
        let len = word(ext, 28) as usize;
        if len == 0 {
            return Ok(found);
        }
        let section = start
            .checked_add(len)
            .and_then(|end| ext.get(start..end))
            .ok_or_else(|| bad("relocations outside the section"))?;
        let record_len = word(section, 0) as usize;
        if record_len < 16 {
            return Err(bad("relocation records are too short"));
        }
        let mut rest = &section[4..];
        while !rest.is_empty() {
            if rest.len() < 8 {
                return Err(bad("truncated relocations"));
            }
            let count = word(rest, 4) as usize;
            let bytes = count
                .checked_mul(record_len)
                .and_then(|len| rest.get(8..8usize.checked_add(len)?))
                .ok_or_else(|| bad("truncated relocations"))?;
            for record in bytes.chunks_exact(record_len) {
                found.add(btf, word(record, 4), btf.string(word(record, 8)), word(record, 12));
            }
            rest = &rest[8 + bytes.len()..];
        }
        Ok(found)
    }

    fn add(&mut self, btf: &Btf<'_>, type_id: u32, access: &str, relocation: u32) {
        if relocation == kind::TYPE_ID_LOCAL {
            return;
        }
        let Some(root) = btf.get(type_id) else {
            return;
        };
        let compares_deeply = matches!(relocation, kind::TYPE_EXISTS | kind::TYPE_SIZE)
            && !matches!(
                root.kind,
                BtfKind::Struct | BtfKind::Union | BtfKind::Enum | BtfKind::Enum64 | BtfKind::Int
            );
        if matches!(relocation, kind::TYPE_ID_TARGET | kind::TYPE_MATCHES) || compares_deeply {
            self.needs_whole_kernel = true;
        }
        let name = essential_name(btf.name(&root));
        if !name.is_empty() {
            self.names.insert(name.to_owned());
        }
        // `0:3:1` is the fourth member's second; the first number is an index, as of a pointer.
        let member = access
            .split(':')
            .nth(1)
            .and_then(|index| btf.members(&root).nth(index.parse().ok()?))
            .filter(|_| matches!(root.kind, BtfKind::Struct | BtfKind::Union));
        if let Some(member) = member {
            self.members.insert((name.to_owned(), member.name.to_owned()));
        }
    }

    /// Whether `member` of `type_name` is looked at.
    pub fn reads(&self, type_name: &str, member: &str) -> bool {
        self.members.iter().any(|(of, name)| of == type_name && name == member)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Builder;
    use super::*;

    #[test]
    fn essential_names_drop_the_flavour() {
        for (name, expected) in [
            ("task_struct", "task_struct"),
            ("task_struct___o", "task_struct"),
            ("inode___older_v66", "inode"),
            ("a___b___c", "a___b"),
            ("___x", "___x"),
            ("a____b", "a____b"),
            ("a___", "a___"),
        ] {
            assert_eq!(essential_name(name), expected, "{name}");
        }
    }

    fn ext(records: &[[u32; 4]]) -> Vec<u8> {
        let relocations: Vec<u32> = [16, 1, records.len() as u32]
            .into_iter()
            .chain(records.iter().flatten().copied())
            .collect();
        let mut out = vec![0x9f, 0xeb, 1, 0];
        for word in [32, 0, 0, 0, 0, 0, relocations.len() as u32 * 4]
            .iter()
            .chain(&relocations)
        {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out
    }

    #[test]
    fn collects_the_names_of_kernel_types() {
        let mut b = Builder::default();
        let int = b.int("int", 4, 1);
        let task = b.structure("task_struct___x", 4, &[("pid", int, 0)]);
        let typedef = b.typedef("btf_trace_x", int);
        let bytes = b.build();
        let btf = Btf::parse(&bytes).unwrap();
        let found = CoreRelocations::parse(&btf, &ext(&[[0, task, 0, 0], [8, int, 0, 6]])).unwrap();
        assert_eq!(found.names.iter().collect::<Vec<_>>(), ["task_struct"]);
        assert!(!found.needs_whole_kernel);
        assert!(
            CoreRelocations::parse(&btf, &ext(&[[0, typedef, 0, 8]]))
                .unwrap()
                .needs_whole_kernel
        );
        assert!(
            CoreRelocations::parse(&btf, &ext(&[[0, task, 0, 12]]))
                .unwrap()
                .needs_whole_kernel
        );
    }

    #[test]
    fn refuses_damage() {
        let mut b = Builder::default();
        let int = b.int("int", 4, 1);
        let bytes = b.build();
        let btf = Btf::parse(&bytes).unwrap();
        let good = ext(&[[0, int, 0, 0]]);
        for len in 0..good.len() {
            let _ = CoreRelocations::parse(&btf, &good[..len]);
        }
        for i in 0..good.len() {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = good.clone();
                damaged[i] = value;
                let _ = CoreRelocations::parse(&btf, &damaged);
            }
        }
    }
}
