//! eBPF instructions as text, one per line, in the notation of the kernel's and LLVM's disassemblers.

use std::fmt::{self, Write};

use super::helpers::helper_name;
use super::object::{Body, Instruction};

/// The text of a program: each function's name, then its instructions numbered by their place in their section.
pub(super) fn listing(bodies: &[Body]) -> String {
    let mut out = String::new();
    for body in bodies {
        let _ = writeln!(out, "{}:", printable(&body.name));
        for instruction in &body.instructions {
            let _ = writeln!(out, "{:6}: {}", instruction.position, Text(instruction));
        }
    }
    out
}

struct Text<'a>(&'a Instruction);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let i = self.0;
        match i.opcode & 0x07 {
            0x00 => load(i, f),
            0x01 => write!(
                f,
                "r{} = *({} *)(r{} {})",
                i.dst,
                width(i, false),
                i.src,
                Offset(i.offset)
            ),
            0x02 => write!(
                f,
                "*({} *)(r{} {}) = {}",
                width(i, false),
                i.dst,
                Offset(i.offset),
                i.imm
            ),
            0x03 => store(i, f),
            0x04 => arithmetic(i, 'w', f),
            0x05 => jump(i, 'r', f),
            0x06 => jump(i, 'w', f),
            _ => arithmetic(i, 'r', f),
        }
    }
}

/// The signed offset of a memory access.
struct Offset(i16);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.0 < 0 { '-' } else { '+' }, self.0.unsigned_abs())
    }
}

fn unknown(i: &Instruction, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "unknown instruction {:#04x} r{} r{} {} {}",
        i.opcode, i.dst, i.src, i.offset, i.imm
    )
}

fn width(i: &Instruction, signed: bool) -> &'static str {
    let signed = signed || i.opcode & 0xe0 == 0x80;
    match (i.opcode & 0x18, signed) {
        (0x00, false) => "u32",
        (0x08, false) => "u16",
        (0x10, false) => "u8",
        (0x00, true) => "s32",
        (0x08, true) => "s16",
        (0x10, true) => "s8",
        _ => "u64",
    }
}

fn load(i: &Instruction, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !i.is_wide() {
        return match i.opcode & 0xe0 {
            0x20 => write!(f, "r0 = *({} *)skb[{}]", width(i, false), i.imm),
            0x40 => write!(f, "r0 = *({} *)skb[r{} + {}]", width(i, false), i.src, i.imm),
            _ => unknown(i, f),
        };
    }
    write!(f, "r{} = ", i.dst)?;
    match (&i.map, &i.symbol) {
        (Some(map), Some(variable)) => write!(f, "{}({}) ll", printable(variable), printable(map)),
        // Of a section of variables, the immediate value is the offset.
        (Some(map), None) if i.imm != 0 => write!(f, "{} + {} ll", printable(map), i.imm),
        (Some(map), None) => write!(f, "{} ll", printable(map)),
        (None, Some(symbol)) => write!(f, "{} ll", printable(symbol)),
        (None, None) => write!(f, "{:#x} ll", i.imm),
    }
}

fn store(i: &Instruction, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (place, w) = (width(i, false), if i.opcode & 0x18 == 0 { 'w' } else { 'r' });
    if i.opcode & 0xe0 == 0x60 {
        return write!(f, "*({place} *)(r{} {}) = r{}", i.dst, Offset(i.offset), i.src);
    }
    if i.opcode & 0xe0 != 0xc0 {
        return unknown(i, f);
    }
    let (target, src) = (format!("({place} *)(r{} {})", i.dst, Offset(i.offset)), i.src);
    let operator = match i.imm & 0xf0 {
        0x00 => "+",
        0x40 => "|",
        0x50 => "&",
        0xa0 => "^",
        0xe0 if i.imm & 1 == 1 => return write!(f, "{w}{src} = xchg({target}, {w}{src})"),
        0xf0 if i.imm & 1 == 1 => return write!(f, "{w}0 = cmpxchg({target}, {w}0, {w}{src})"),
        _ => return unknown(i, f),
    };
    match i.imm & 1 {
        0 => write!(f, "lock *{target} {operator}= {w}{src}"),
        _ => write!(f, "{w}{src} = atomic_fetch({target} {operator}= {w}{src})"),
    }
}

fn arithmetic(i: &Instruction, w: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let dst = i.dst;
    let operand = if i.opcode & 0x08 != 0 {
        format!("{w}{}", i.src)
    } else {
        i.imm.to_string()
    };
    let signed = if i.offset == 1 { "s" } else { "" };
    match i.opcode & 0xf0 {
        0x00 => write!(f, "{w}{dst} += {operand}"),
        0x10 => write!(f, "{w}{dst} -= {operand}"),
        0x20 => write!(f, "{w}{dst} *= {operand}"),
        0x30 => write!(f, "{w}{dst} {signed}/= {operand}"),
        0x40 => write!(f, "{w}{dst} |= {operand}"),
        0x50 => write!(f, "{w}{dst} &= {operand}"),
        0x60 => write!(f, "{w}{dst} <<= {operand}"),
        0x70 => write!(f, "{w}{dst} >>= {operand}"),
        0x80 => write!(f, "{w}{dst} = -{w}{dst}"),
        0x90 => write!(f, "{w}{dst} {signed}%= {operand}"),
        0xa0 => write!(f, "{w}{dst} ^= {operand}"),
        0xb0 if i.opcode & 0x08 != 0 && matches!(i.offset, 8 | 16 | 32) => {
            write!(f, "{w}{dst} = (s{}){operand}", i.offset)
        }
        0xb0 => write!(f, "{w}{dst} = {operand}"),
        0xc0 => write!(f, "{w}{dst} s>>= {operand}"),
        0xd0 => {
            let order = match (w, i.opcode & 0x08) {
                ('r', _) => "bswap",
                (_, 0) => "le",
                _ => "be",
            };
            write!(f, "r{dst} = {order}{} r{dst}", i.imm)
        }
        _ => unknown(i, f),
    }
}

fn jump(i: &Instruction, w: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let comparison = match i.opcode & 0xf0 {
        0x00 if w == 'w' => return write!(f, "gotol {:+}", i.imm),
        0x00 => return write!(f, "goto {:+}", i.offset),
        0x80 => return call(i, f),
        0x90 => return f.write_str("exit"),
        0x10 => "==",
        0x20 => ">",
        0x30 => ">=",
        0x40 => "&",
        0x50 => "!=",
        0x60 => "s>",
        0x70 => "s>=",
        0xa0 => "<",
        0xb0 => "<=",
        0xc0 => "s<",
        0xd0 => "s<=",
        _ => return unknown(i, f),
    };
    write!(f, "if {w}{} {comparison} ", i.dst)?;
    match i.opcode & 0x08 {
        0 => write!(f, "{}", i.imm)?,
        _ => write!(f, "{w}{}", i.src)?,
    }
    write!(f, " goto {:+}", i.offset)
}

fn call(i: &Instruction, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (&i.symbol, i.helper().map(|number| (number, helper_name(number)))) {
        (Some(symbol), _) => write!(f, "call {}", printable(symbol)),
        (None, Some((number, Some(name)))) => write!(f, "call bpf_{name}#{number}"),
        (None, Some((number, None))) => write!(f, "call helper#{number}"),
        (None, None) if i.opcode & 0x08 != 0 => write!(f, "callx r{}", i.dst),
        (None, None) => write!(f, "call {:+}", i.imm),
    }
}

fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::compile;
    use crate::ebpf::inspect::object::ObjectFile;

    fn text(code: [u8; 8]) -> String {
        let [opcode, registers, o0, o1, i0, i1, i2, i3] = code;
        let instruction = Instruction {
            position: 0,
            opcode,
            dst: registers & 0xf,
            src: registers >> 4,
            offset: i16::from_le_bytes([o0, o1]),
            imm: i32::from_le_bytes([i0, i1, i2, i3]).into(),
            map: None,
            symbol: None,
        };
        Text(&instruction).to_string()
    }

    #[test]
    fn reads_like_other_disassemblers() {
        // Expected texts are those of llvm-objdump for the same bytes, but for helpers' names and the sign of jumps.
        for (code, expected) in [
            ([0xbf, 0x16, 0, 0, 0, 0, 0, 0], "r6 = r1"),
            ([0xb7, 0x01, 0, 0, 0xff, 0xff, 0xff, 0xff], "r1 = -1"),
            ([0xb4, 0x00, 0, 0, 5, 0, 0, 0], "w0 = 5"),
            ([0x61, 0xa1, 0xfc, 0xff, 0, 0, 0, 0], "r1 = *(u32 *)(r10 - 4)"),
            ([0x79, 0x12, 0x10, 0, 0, 0, 0, 0], "r2 = *(u64 *)(r1 + 16)"),
            ([0x91, 0x12, 0x10, 0, 0, 0, 0, 0], "r2 = *(s8 *)(r1 + 16)"),
            ([0x63, 0x1a, 0xfc, 0xff, 0, 0, 0, 0], "*(u32 *)(r10 - 4) = r1"),
            ([0x7a, 0x0a, 0xf8, 0xff, 1, 0, 0, 0], "*(u64 *)(r10 - 8) = 1"),
            ([0x77, 0x01, 0, 0, 32, 0, 0, 0], "r1 >>= 32"),
            ([0xc7, 0x01, 0, 0, 32, 0, 0, 0], "r1 s>>= 32"),
            ([0x0f, 0x21, 0, 0, 0, 0, 0, 0], "r1 += r2"),
            ([0x87, 0x01, 0, 0, 0, 0, 0, 0], "r1 = -r1"),
            ([0xdc, 0x01, 0, 0, 16, 0, 0, 0], "r1 = be16 r1"),
            ([0x15, 0x00, 0x03, 0, 0, 0, 0, 0], "if r0 == 0 goto +3"),
            ([0xcd, 0x21, 0xfd, 0xff, 0, 0, 0, 0], "if r1 s< r2 goto -3"),
            ([0x16, 0x00, 0x03, 0, 0, 0, 0, 0], "if w0 == 0 goto +3"),
            ([0x05, 0x00, 0xfe, 0xff, 0, 0, 0, 0], "goto -2"),
            ([0x85, 0, 0, 0, 1, 0, 0, 0], "call bpf_map_lookup_elem#1"),
            ([0x85, 0, 0, 0, 0xff, 0xff, 0, 0], "call helper#65535"),
            ([0x95, 0, 0, 0, 0, 0, 0, 0], "exit"),
            ([0xdb, 0x12, 0x08, 0, 0, 0, 0, 0], "lock *(u64 *)(r2 + 8) += r1"),
            (
                [0xdb, 0x12, 0x08, 0, 1, 0, 0, 0],
                "r1 = atomic_fetch((u64 *)(r2 + 8) += r1)",
            ),
            (
                [0xdb, 0x12, 0x08, 0, 0xf1, 0, 0, 0],
                "r0 = cmpxchg((u64 *)(r2 + 8), r0, r1)",
            ),
        ] {
            assert_eq!(text(code), expected);
        }
    }

    #[test]
    fn every_opcode_has_a_text() {
        for opcode in 0..=u8::MAX {
            for imm in [0, 0x41, 0xe1] {
                assert!(!text([opcode, 0x21, 1, 0, imm, 0, 0, 0]).is_empty());
            }
        }
    }

    #[test]
    fn names_maps_variables_and_functions() {
        let elf = compile(
            r#"
#define SEC(name) __attribute__((section(name), used))
typedef unsigned int u32;
static void *(*const lookup)(void *, const void *) = (void *)1;
struct { int (*type)[1]; int (*max_entries)[16]; u32 *key; u32 *value; } counts SEC(".maps");
const volatile u32 wanted = 7;
__attribute__((noinline)) static u32 helper(u32 key) { u32 *v = lookup(&counts, &key); return v ? *v : 0; }
__attribute__((noinline)) static u32 second(u32 key) { return helper(key) + helper(key + 1); }
SEC("raw_tp/x") int enter(void *ctx) { return second(wanted); }
"#,
        );
        let object = ObjectFile::parse(&elf).unwrap();
        let text = listing(&object.bodies(&object.programs["enter"]));
        assert!(
            text.starts_with("enter:\n     0: r1 = wanted(.rodata) ll\n     2: r1 = *(u32 *)(r1 + 0)\n"),
            "{text}"
        );
        assert!(
            text.contains(": call second\n") && text.contains("\nsecond:\n"),
            "{text}"
        );
        assert_eq!(text.matches("\nhelper:\n").count(), 1, "{text}");
        assert!(text.contains("r1 = counts ll\n"), "{text}");
        assert!(text.contains("call bpf_map_lookup_elem#1\n"), "{text}");
    }
}
