//! Arguments of static probes, for programs that ask for them with libbpf's `bpf_usdt_arg`.
//!
//! Such a program finds in the map [`SPECS_MAP`], at the number that its attachment carries as a cookie, where each argument is.
//! The struct in there has changed with libbpf; how this object has it is in its own BTF.

use std::collections::HashMap;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::ebpf::btf::{Btf, BtfKind, Member};
use crate::{Error, ErrorKind, Result};

/// The map of libbpf's header.
pub(in crate::ebpf) const SPECS_MAP: &str = "__bpf_usdt_specs";
const SPEC: &str = "__bpf_usdt_spec";
const ARGUMENT: &str = "__bpf_usdt_arg_spec";

/// Where the value of an argument is. Registers are offsets in the kernel's `pt_regs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Constant(i64),
    Register(u16),
    Memory {
        base: u16,
        offset: i64,
    },
    Indexed {
        base: u16,
        index: u16,
        shift: u8,
        offset: i64,
    },
}

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Argument {
    /// 1, 2, 4 or 8 bytes.
    size: u8,
    signed: bool,
    place: Place,
}

/// A member of a struct: bit offset and width.
#[derive(Clone, Copy, Debug)]
struct Slot {
    offset: usize,
    bits: usize,
}

impl Slot {
    /// Writes the low bits of `value`. Bits that are outside are left out.
    fn put(self, bytes: &mut [u8], base: usize, value: u64) {
        for bit in 0..self.bits.min(64) {
            let at = base * 8 + self.offset + bit;
            if value >> bit & 1 != 0
                && let Some(byte) = bytes.get_mut(at / 8)
            {
                *byte |= 1 << (at % 8);
            }
        }
    }
}

/// How an object lays out what is known of one place of a probe.
#[derive(Clone, Debug)]
pub(in crate::ebpf) struct SpecLayout {
    size: usize,
    arguments: usize,
    count: Slot,
    most: usize,
    argument_size: usize,
    value: Slot,
    kind: Slot,
    register: Slot,
    signed: Slot,
    shift: Slot,
    /// Of indexed memory, which older headers do not have.
    index: Option<(Slot, Slot)>,
}

impl SpecLayout {
    /// Reads the layout from an object's BTF. `None` if it does not ask for arguments.
    pub(in crate::ebpf) fn read(btf: &Btf<'_>) -> Option<Self> {
        let spec = btf.find(BtfKind::Struct, SPEC)?;
        let argument = btf.find(BtfKind::Struct, ARGUMENT)?;
        let slot = |member: Member<'_>| {
            let bits = match member.bitfield_size {
                0 => btf.size_of(member.type_id)? * 8,
                bits => bits,
            };
            Some(Slot {
                offset: member.bit_offset as usize,
                bits: bits as usize,
            })
        };
        let find = |name: &str| btf.members(&argument).find(|member| member.name == name).and_then(slot);
        let arguments = btf.members(&spec).find(|member| member.name == "args")?;
        Some(Self {
            size: spec.size() as usize,
            arguments: arguments.bit_offset as usize / 8,
            count: slot(btf.members(&spec).find(|member| member.name == "arg_cnt")?)?,
            most: btf.resolve(arguments.type_id)?.array_len() as usize,
            argument_size: argument.size() as usize,
            value: find("val_off")?,
            kind: find("arg_type")?,
            register: find("reg_off")?,
            signed: find("arg_signed")?,
            shift: find("arg_bitshift")?,
            index: find("idx_reg_off").zip(find("scale_bitshift")),
        })
    }

    fn encode(&self, arguments: &[Argument]) -> Result<Vec<u8>> {
        if arguments.len() > self.most {
            return Err(Error::unsupported(format!("more than {} arguments", self.most)));
        }
        let mut bytes = vec![0; self.size];
        for (index, argument) in arguments.iter().enumerate() {
            let base = self.arguments + index * self.argument_size;
            let (kind, value, register) = match argument.place {
                Place::Constant(value) => (0, value, 0),
                Place::Register(register) => (1, 0, register),
                Place::Memory { base, offset } => (2, offset, base),
                Place::Indexed { base, offset, .. } => (3, offset, base),
            };
            if let Place::Indexed { index, shift, .. } = argument.place {
                let (register, scale) = self.index.ok_or_else(|| {
                    Error::unsupported("an argument in an array, which needs a gadget built with libbpf 1.7")
                })?;
                register.put(&mut bytes, base, u64::from(index));
                scale.put(&mut bytes, base, u64::from(shift));
            }
            self.kind.put(&mut bytes, base, kind);
            self.value.put(&mut bytes, base, value as u64);
            self.register.put(&mut bytes, base, u64::from(register));
            self.signed.put(&mut bytes, base, u64::from(argument.signed));
            self.shift.put(&mut bytes, base, 64 - u64::from(argument.size) * 8);
        }
        self.count.put(&mut bytes, 0, arguments.len() as u64);
        Ok(bytes)
    }
}

/// The entries of an object's map of argument places. Places with the same arguments share one.
pub(in crate::ebpf) struct Specs {
    layout: SpecLayout,
    map: MapHandle,
    room: u32,
    used: HashMap<Vec<u8>, Entry>,
    free: Vec<u32>,
}

struct Entry {
    id: u32,
    users: usize,
}

impl Specs {
    pub(in crate::ebpf) fn new(layout: SpecLayout, map: MapHandle) -> Self {
        let room = map.max_entries();
        Self {
            layout,
            map,
            room,
            used: HashMap::new(),
            free: Vec::new(),
        }
    }

    /// The entry for a place with these arguments, to be [released](Self::release).
    pub(super) fn take(&mut self, arguments: &str) -> Result<u32> {
        let bytes = self.layout.encode(&parse(arguments, registers())?)?;
        if let Some(entry) = self.used.get_mut(&bytes) {
            entry.users += 1;
            return Ok(entry.id);
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => u32::try_from(self.used.len()).unwrap_or(u32::MAX),
        };
        if id >= self.room {
            return Err(Error::unsupported(format!(
                "more than {} different places of static probes (BPF_USDT_MAX_SPEC_CNT)",
                self.room
            )));
        }
        if let Err(error) = self.map.update(&id.to_ne_bytes(), &bytes, MapFlags::ANY) {
            self.free.push(id);
            return Err(Error::new(ErrorKind::Io, format!("map {SPECS_MAP}: {error}")));
        }
        self.used.insert(bytes, Entry { id, users: 1 });
        Ok(id)
    }

    /// Gives an entry back.
    pub(super) fn release(&mut self, id: u32) {
        let free = &mut self.free;
        self.used.retain(|_, entry| {
            entry.users -= usize::from(entry.id == id);
            if entry.users == 0 {
                free.push(entry.id);
            }
            entry.users > 0
        });
    }
}

/// How the machine's assembler writes places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    /// `-4@-20(%rbp)`
    X86,
    /// `-4@[sp, 20]`
    Arm64,
}

fn registers() -> Syntax {
    if cfg!(target_arch = "aarch64") {
        Syntax::Arm64
    } else {
        Syntax::X86
    }
}

/// How many arguments `text` says.
pub(super) fn count(text: &str) -> Result<usize> {
    parse(text, registers()).map(|arguments| arguments.len())
}

fn parse(text: &str, syntax: Syntax) -> Result<Vec<Argument>> {
    let unknown = || {
        Error::unsupported(format!(
            "arguments of the static probe in a form that is not known: {text:?}"
        ))
    };
    let mut arguments = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (size, after) = rest.split_once('@').ok_or_else(unknown)?;
        let size: i8 = size.trim().parse().map_err(|_| unknown())?;
        // Places of arm64 have blanks inside brackets.
        let end = match after.trim_start().starts_with('[') {
            true => after.find(']').map(|end| end + 1),
            false => after
                .trim_start()
                .find(char::is_whitespace)
                .map(|end| end + after.len() - after.trim_start().len()),
        };
        let (place, after) = after.split_at(end.unwrap_or(after.len()));
        rest = after.trim_start();
        let place = match syntax {
            Syntax::X86 => x86_place(place.trim()),
            Syntax::Arm64 => arm64_place(place.trim()),
        };
        match size.unsigned_abs() {
            bytes @ (1 | 2 | 4 | 8) => arguments.push(Argument {
                size: bytes,
                signed: size < 0,
                place: place.ok_or_else(unknown)?,
            }),
            _ => return Err(unknown()),
        }
    }
    Ok(arguments)
}

fn x86_place(text: &str) -> Option<Place> {
    if let Some(constant) = text.strip_prefix('$') {
        return constant.parse().ok().map(Place::Constant);
    }
    if text.starts_with('%') {
        return x86_register(text).map(Place::Register);
    }
    let (offset, inside) = text.strip_suffix(')')?.split_once('(')?;
    let offset = if offset.is_empty() { 0 } else { offset.parse().ok()? };
    let mut parts = inside.split(',').map(str::trim);
    let base = x86_register(parts.next()?)?;
    let Some(index) = parts.next() else {
        return Some(Place::Memory { base, offset });
    };
    let shift = match parts.next() {
        None | Some("1") => 0,
        Some("2") => 1,
        Some("4") => 2,
        Some("8") => 3,
        Some(_) => return None,
    };
    Some(Place::Indexed {
        base,
        index: x86_register(index)?,
        shift,
        offset,
    })
}

/// Offset in `pt_regs`.
fn x86_register(text: &str) -> Option<u16> {
    const ORDER: [&str; 15] = [
        "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
    ];
    let name = text.strip_prefix('%')?;
    let index = match name
        .strip_prefix('r')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        // r8, r8d, r8w, r8b
        Some(_) => ORDER
            .iter()
            .position(|known| *known == name.trim_end_matches(['d', 'w', 'b'])),
        None => {
            let short = match name {
                "al" => "ax",
                "bl" => "bx",
                "cl" => "cx",
                "dl" => "dx",
                "sil" => "si",
                "dil" => "di",
                "bpl" => "bp",
                "spl" => "sp",
                _ if name.len() == 3 => name.strip_prefix(['r', 'e'])?,
                _ => name,
            };
            match short {
                "ip" => Some(16),
                "sp" => Some(19),
                _ => ORDER.iter().position(|known| *known == short),
            }
        }
    }?;
    u16::try_from(index * 8).ok()
}

fn arm64_place(text: &str) -> Option<Place> {
    if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let (base, offset) = match inside.split_once(',') {
            Some((base, offset)) => (base, offset.trim().parse().ok()?),
            None => (inside, 0),
        };
        let base = arm64_register(base.trim())?;
        return Some(Place::Memory { base, offset });
    }
    match text.parse() {
        Ok(constant) => Some(Place::Constant(constant)),
        Err(_) => arm64_register(text).map(Place::Register),
    }
}

/// Offset in `user_pt_regs`.
fn arm64_register(text: &str) -> Option<u16> {
    if text == "sp" {
        return Some(31 * 8);
    }
    let number: u16 = text.strip_prefix('x')?.parse().ok()?;
    (number < 31).then_some(number * 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebpf::btf::testing::Builder;

    fn argument(size: u8, signed: bool, place: Place) -> Argument {
        Argument { size, signed, place }
    }

    #[test]
    fn places_on_amd64() {
        let parsed = parse(
            "-4@%edi 8@$-7  1@-20(%rbp) 2@(%rsp) 8@16(%rax,%r12,8) -8@%r10 4@%r9d 1@%sil",
            Syntax::X86,
        );
        assert_eq!(
            parsed.unwrap(),
            [
                argument(4, true, Place::Register(112)),
                argument(8, false, Place::Constant(-7)),
                argument(1, false, Place::Memory { base: 32, offset: -20 }),
                argument(2, false, Place::Memory { base: 152, offset: 0 }),
                argument(
                    8,
                    false,
                    Place::Indexed {
                        base: 80,
                        index: 24,
                        shift: 3,
                        offset: 16
                    }
                ),
                argument(8, true, Place::Register(56)),
                argument(4, false, Place::Register(64)),
                argument(1, false, Place::Register(104)),
            ]
        );
        for bad in [
            "4",
            "3@%eax",
            "4@%xmm0",
            "8@variable(%rip",
            "8@name+4(%rip)",
            "4@(%rax,%rbx,3)",
            "4@",
            "@%eax",
            "4@€",
        ] {
            assert!(parse(bad, Syntax::X86).is_err(), "{bad}");
        }
        assert!(parse("", Syntax::X86).unwrap().is_empty());
    }

    #[test]
    fn places_on_arm64() {
        let parsed = parse("-4@[sp, 96] 8@x19 4@5 8@[x0]", Syntax::Arm64).unwrap();
        assert_eq!(
            parsed,
            [
                argument(4, true, Place::Memory { base: 248, offset: 96 }),
                argument(8, false, Place::Register(152)),
                argument(4, false, Place::Constant(5)),
                argument(8, false, Place::Memory { base: 0, offset: 0 }),
            ]
        );
        assert!(parse("8@x31", Syntax::Arm64).is_err());
        assert!(parse("8@[x1", Syntax::Arm64).is_err());
    }

    #[test]
    fn the_objects_layout_is_followed() {
        let mut btf = Builder::default();
        let u64_type = btf.int("__u64", 8, 0);
        let u32_type = btf.int("int", 4, 1);
        let short = btf.int("short", 2, 1);
        let byte = btf.int("char", 1, 0);
        let argument = btf.structure(
            ARGUMENT,
            16,
            &[
                ("val_off", u64_type, 0),
                ("arg_type", u32_type, 64),
                ("reg_off", short, 96),
                ("arg_signed", byte, 112),
                ("arg_bitshift", byte, 120),
            ],
        );
        let arguments = btf.array(argument, 12);
        btf.structure(
            SPEC,
            208,
            &[
                ("args", arguments, 0),
                ("usdt_cookie", u64_type, 192 * 8),
                ("arg_cnt", short, 200 * 8),
            ],
        );
        let bytes = btf.build();
        let layout = SpecLayout::read(&Btf::parse(&bytes).unwrap()).unwrap();
        let encoded = layout
            .encode(&parse("8@$5 -4@-20(%rbp)", Syntax::X86).unwrap())
            .unwrap();
        assert_eq!(encoded.len(), 208);
        assert_eq!(encoded[..16], [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encoded[16..24], (-20i64).to_le_bytes());
        assert_eq!(encoded[24..32], [2, 0, 0, 0, 32, 0, 1, 32]);
        assert_eq!(encoded[200..], [2, 0, 0, 0, 0, 0, 0, 0]);
        let error = layout
            .encode(&parse("8@(%rax,%rbx)", Syntax::X86).unwrap())
            .unwrap_err();
        assert!(error.to_string().contains("libbpf 1.7"), "{error}");
        assert!(
            layout
                .encode(&parse(&"8@$1 ".repeat(13), Syntax::X86).unwrap())
                .is_err()
        );
    }
}
