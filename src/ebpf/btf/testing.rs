//! A BTF writer for tests.

use super::TypeId;

/// Builds small BTF blobs.
#[derive(Default)]
pub(crate) struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Builder {
    fn string(&mut self, text: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if text.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        offset
    }

    fn push(&mut self, name: &str, kind: u32, flag: bool, vlen: usize, size_or_type: u32, extra: &[u32]) -> TypeId {
        let name = self.string(name);
        let info = u32::from(flag) << 31 | kind << 24 | vlen as u32;
        for word in [name, info, size_or_type].iter().chain(extra) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    pub(crate) fn int(&mut self, name: &str, size: u32, encoding: u32) -> TypeId {
        self.push(name, 1, false, 0, size, &[(encoding << 24) | (size * 8)])
    }

    pub(crate) fn float(&mut self, name: &str, size: u32) -> TypeId {
        self.push(name, 16, false, 0, size, &[])
    }

    pub(crate) fn pointer(&mut self, target: TypeId) -> TypeId {
        self.push("", 2, false, 0, target, &[])
    }

    pub(crate) fn typedef(&mut self, name: &str, target: TypeId) -> TypeId {
        self.push(name, 8, false, 0, target, &[])
    }

    pub(crate) fn constant(&mut self, target: TypeId) -> TypeId {
        self.push("", 10, false, 0, target, &[])
    }

    pub(crate) fn volatile(&mut self, target: TypeId) -> TypeId {
        self.push("", 9, false, 0, target, &[])
    }

    pub(crate) fn array(&mut self, element: TypeId, len: u32) -> TypeId {
        self.push("", 3, false, 0, 0, &[element, element, len])
    }

    pub(crate) fn structure(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32)]) -> TypeId {
        self.composite(4, name, size, members)
    }

    pub(crate) fn union(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32)]) -> TypeId {
        self.composite(5, name, size, members)
    }

    fn composite(&mut self, kind: u32, name: &str, size: u32, members: &[(&str, TypeId, u32)]) -> TypeId {
        let extra: Vec<u32> = members
            .iter()
            .flat_map(|(name, type_id, offset)| [self.string(name), *type_id, *offset])
            .collect();
        self.push(name, kind, false, members.len(), size, &extra)
    }

    pub(crate) fn enumeration(&mut self, name: &str, signed: bool, values: &[(&str, i32)]) -> TypeId {
        let extra: Vec<u32> = values
            .iter()
            .flat_map(|(name, value)| [self.string(name), *value as u32])
            .collect();
        self.push(name, 6, signed, values.len(), 4, &extra)
    }

    /// A global (linkage 1) or static (0) variable.
    pub(crate) fn variable(&mut self, name: &str, type_id: TypeId, linkage: u32) -> TypeId {
        self.push(name, 14, false, 0, type_id, &[linkage])
    }

    /// A section with these variables and their sizes.
    pub(crate) fn section(&mut self, name: &str, variables: &[(TypeId, u32)]) -> TypeId {
        let extra: Vec<u32> = variables.iter().flat_map(|(id, size)| [*id, 0, *size]).collect();
        let size = variables.iter().map(|(_, size)| size).sum();
        self.push(name, 15, false, variables.len(), size, &extra)
    }

    /// A marker as the gadget macros emit it: a global `const void *`.
    pub(crate) fn marker(&mut self, name: &str) -> TypeId {
        let constant = self.constant(0);
        let pointer = self.pointer(constant);
        self.variable(name, pointer, 1)
    }

    pub(crate) fn build(&mut self) -> Vec<u8> {
        self.string("");
        let mut out = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, self.types.len(), self.types.len(), self.strings.len()] {
            out.extend_from_slice(&(word as u32).to_le_bytes());
        }
        out.extend_from_slice(&self.types);
        out.extend_from_slice(&self.strings);
        out
    }
}
