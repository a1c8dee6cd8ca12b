//! A compiled gadget taken apart without loading it: sections, programs, maps and variables.
//!
//! Works on bytes that may come from anywhere.

use std::collections::{BTreeMap, HashMap, HashSet};

use object::read::elf::{ElfFile64, FileHeader as _};
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionFlags, SymbolFlags,
    SymbolIndex, SymbolKind, elf,
};

use super::maps::Map;
use crate::ebpf::btf::Btf;
use crate::ebpf::elf::is_data_section;
use crate::{Error, Result, ResultExt};

/// More maps than any object has.
const MAX_MAPS: usize = 4096;

/// A BPF object.
#[derive(Debug)]
pub struct ObjectFile<'a> {
    /// The names of all sections in file order; the first is empty.
    pub sections: Vec<String>,
    /// The maps by name: those the program declares, and one for each section of variables.
    pub maps: BTreeMap<String, Map>,
    /// The programs by name.
    pub programs: BTreeMap<String, Program>,
    /// The variables, by map and offset.
    pub variables: Vec<Variable>,
    /// The types, unless the object has none.
    pub btf: Option<Btf<'a>>,
    code: HashMap<usize, Code<'a>>,
}

/// A program: where its instructions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Name of the section, which tells type and attachment.
    pub section: String,
    function: Function,
}

/// A variable in one of the data sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Offset in the map, in bytes.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
    /// The map, which is named like the section.
    pub map: String,
}

/// Where a function is: section, and range of bytes in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Function {
    section: usize,
    start: u64,
    end: u64,
    name: String,
}

/// A section with instructions.
#[derive(Debug)]
struct Code<'a> {
    data: &'a [u8],
    /// Offset of an instruction → what it refers to.
    references: HashMap<u64, Reference>,
    /// By offset of their first instruction.
    functions: BTreeMap<u64, Function>,
}

/// What the relocation of an instruction refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reference {
    /// A map or a section of variables; with the name of the variable if the symbol has one.
    Map { map: String, variable: Option<String> },
    /// A function, at a fixed place of a section; the instruction's immediate value counts from there.
    Function { section: usize, offset: u64 },
    /// Something outside the object: a kernel function or a `.ksyms`/`.kconfig` variable.
    Extern(String),
}

/// One instruction and what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Offset in its section, in instructions of 8 bytes.
    pub position: u64,
    /// Operation.
    pub opcode: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register.
    pub src: u8,
    /// Offset of a jump (in instructions) or a memory access (in bytes).
    pub offset: i16,
    /// Immediate value; 64 bits wide for the one instruction that takes two slots.
    pub imm: i64,
    /// The map whose address it loads, or whose variable.
    pub map: Option<String>,
    /// The variable or function it names.
    pub symbol: Option<String>,
}

/// A function's name and instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Name of the function.
    pub name: String,
    /// Its instructions, in order.
    pub instructions: Vec<Instruction>,
}

impl Instruction {
    /// Whether it loads a 64-bit immediate value and so takes two slots.
    pub fn is_wide(&self) -> bool {
        self.opcode == 0x18
    }

    /// The helper that it calls, if it does.
    pub fn helper(&self) -> Option<i64> {
        (self.opcode == 0x85 && self.src == 0 && self.symbol.is_none()).then_some(self.imm)
    }
}

impl<'a> ObjectFile<'a> {
    /// Reads the ELF file `data`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when it is not a little-endian BPF object, or is damaged.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        Self::read(data).context("reading eBPF object")
    }

    fn read(data: &'a [u8]) -> Result<Self> {
        let file = ElfFile64::<Endianness>::parse(data).map_err(damaged)?;
        let header = file.elf_header();
        let endian = file.endian();
        if header.e_machine(endian) != elf::EM_BPF || endian != Endianness::Little {
            return Err(Error::invalid("not a little-endian BPF object"));
        }
        let mut object = Self {
            sections: Vec::new(),
            maps: BTreeMap::new(),
            programs: BTreeMap::new(),
            variables: Vec::new(),
            btf: None,
            code: HashMap::new(),
        };
        let table = file.elf_section_table();
        for section in table.iter() {
            let name = table.section_name(endian, section).map_err(damaged)?;
            object.sections.push(String::from_utf8_lossy(name).into_owned());
        }
        if let Some(section) = file.section_by_name(".BTF") {
            object.btf = Some(Btf::parse(section.data().map_err(damaged)?)?);
        }
        object.add_data_maps(&file);
        object.add_declared_maps()?;
        object.add_code(&file)?;
        object.add_symbols(&file);
        object.check_functions()?;
        object.add_references(&file);
        object
            .variables
            .sort_by(|a, b| (&a.map, a.offset, &a.name).cmp(&(&b.map, b.offset, &b.name)));
        Ok(object)
    }

    fn add_data_maps(&mut self, file: &ElfFile64<'a>) {
        for section in file.sections().filter(|section| section.size() > 0) {
            let Ok(name) = section.name() else { continue };
            if is_data_section(name) {
                let size = u32::try_from(section.size()).unwrap_or(u32::MAX);
                self.maps.insert(name.to_owned(), Map::of_variables(size));
            }
        }
    }

    fn add_declared_maps(&mut self) -> Result<()> {
        let Some(btf) = &self.btf else { return Ok(()) };
        let declared = btf.section_variables(".maps");
        if declared.len() > MAX_MAPS {
            return Err(Error::invalid(format!("more than {MAX_MAPS} maps")));
        }
        for (name, ty) in declared {
            self.maps.insert(name.to_owned(), Map::declared(btf, ty));
        }
        if !btf.section_variables(".kconfig").is_empty() {
            self.maps.insert(".kconfig".to_owned(), Map::of_variables(0));
        }
        Ok(())
    }

    fn add_code(&mut self, file: &ElfFile64<'a>) -> Result<()> {
        for section in file.sections() {
            if is_executable(section.flags()) {
                let code = Code {
                    data: section.data().map_err(damaged)?,
                    references: HashMap::new(),
                    functions: BTreeMap::new(),
                };
                self.code.insert(section.index().0, code);
            }
        }
        Ok(())
    }

    fn add_symbols(&mut self, file: &ElfFile64<'a>) {
        for symbol in file.symbols() {
            let (Ok(name), Some(section)) = (symbol.name(), symbol.section_index()) else {
                continue;
            };
            let Ok(section_name) = file.section_by_index(section).and_then(|section| section.name()) else {
                continue;
            };
            let (start, size) = (symbol.address(), symbol.size());
            match symbol.kind() {
                SymbolKind::Text => {
                    let Some(code) = self.code.get_mut(&section.0) else {
                        continue;
                    };
                    let function = Function {
                        section: section.0,
                        start,
                        end: start.saturating_add(size),
                        name: name.to_owned(),
                    };
                    if section_name != ".text" && symbol.is_global() {
                        let program = Program {
                            section: section_name.to_owned(),
                            function: function.clone(),
                        };
                        self.programs.insert(name.to_owned(), program);
                    }
                    code.functions.insert(start, function);
                }
                SymbolKind::Data | SymbolKind::Tls if is_data_section(section_name) && !is_hidden(symbol.flags()) => {
                    self.variables.push(Variable {
                        name: name.to_owned(),
                        offset: start,
                        size,
                        map: section_name.to_owned(),
                    });
                }
                _ => {}
            }
        }
    }

    /// Compilers do not make functions overlap. Damaged symbols could make every function as large as its section, which would
    /// take forever to list.
    fn check_functions(&self) -> Result<()> {
        for code in self.code.values() {
            let sizes = code
                .functions
                .values()
                .map(|function| function.end.saturating_sub(function.start));
            if sizes.fold(0, u64::saturating_add) > code.data.len() as u64 {
                return Err(Error::invalid("functions overlap or are outside their section"));
            }
        }
        Ok(())
    }

    fn add_references(&mut self, file: &ElfFile64<'a>) {
        for section in file.sections() {
            let index = section.index().0;
            if !self.code.contains_key(&index) {
                continue;
            }
            let references: HashMap<u64, Reference> = section
                .relocations()
                .filter_map(|(offset, relocation)| match relocation.target() {
                    RelocationTarget::Symbol(symbol) => Some((offset, self.reference(file, symbol)?)),
                    _ => None,
                })
                .collect();
            if let Some(code) = self.code.get_mut(&index) {
                code.references = references;
            }
        }
    }

    fn reference(&self, file: &ElfFile64<'a>, symbol: SymbolIndex) -> Option<Reference> {
        let symbol = file.symbol_by_index(symbol).ok()?;
        let name = symbol.name().unwrap_or_default().to_owned();
        let Some(section) = symbol.section_index() else {
            return Some(Reference::Extern(name));
        };
        if self.code.contains_key(&section.0) {
            return Some(Reference::Function {
                section: section.0,
                offset: symbol.address(),
            });
        }
        let section = file.section_by_index(section).ok()?;
        Some(match section.name().ok()? {
            ".maps" => Reference::Map {
                map: name,
                variable: None,
            },
            section => Reference::Map {
                map: section.to_owned(),
                variable: (symbol.kind() != SymbolKind::Section && !name.is_empty()).then_some(name),
            },
        })
    }

    /// The functions that `program` consists of: itself first, then those it calls, each once, in order of the first call.
    pub fn bodies(&self, program: &Program) -> Vec<Body> {
        let mut queue = vec![program.function.clone()];
        let mut queued = HashSet::from([program.function.clone()]);
        let mut bodies = Vec::new();
        let mut next = 0;
        while let Some(function) = queue.get(next).cloned() {
            next += 1;
            let (instructions, called) = self.decode(&function);
            for callee in called {
                if queued.insert(callee.clone()) {
                    queue.push(callee);
                }
            }
            bodies.push(Body {
                name: function.name,
                instructions,
            });
        }
        bodies
    }

    fn decode(&self, function: &Function) -> (Vec<Instruction>, Vec<Function>) {
        let mut instructions = Vec::new();
        let mut called = Vec::new();
        let Some(code) = self.code.get(&function.section) else {
            return (instructions, called);
        };
        let range = usize::try_from(function.start)
            .ok()
            .zip(usize::try_from(function.end).ok());
        let bytes = range
            .and_then(|(start, end)| code.data.get(start..end))
            .unwrap_or_default();
        let mut at = function.start;
        let mut slots = bytes.chunks_exact(8);
        while let Some(slot) = slots.next() {
            let &[opcode, registers, o0, o1, i0, i1, i2, i3] = slot else {
                break;
            };
            let low = i32::from_le_bytes([i0, i1, i2, i3]);
            let mut instruction = Instruction {
                position: at / 8,
                opcode,
                dst: registers & 0xf,
                src: registers >> 4,
                offset: i16::from_le_bytes([o0, o1]),
                imm: low.into(),
                map: None,
                symbol: None,
            };
            let is_call = opcode == 0x85;
            let mut target = None;
            match code.references.get(&at) {
                Some(Reference::Map { map, variable }) => {
                    instruction.map = Some(map.clone());
                    instruction.symbol = variable.clone();
                }
                Some(Reference::Extern(name)) => instruction.symbol = Some(name.clone()),
                Some(&Reference::Function { section, offset }) => {
                    // A call counts from the instruction after it, in slots; a loaded address is in bytes.
                    let delta = if is_call { (i64::from(low) + 1) * 8 } else { low.into() };
                    target = offset.checked_add_signed(delta).map(|offset| (section, offset));
                }
                None if is_call && instruction.src == 1 => {
                    let delta = (i64::from(low) + 1) * 8;
                    target = at.checked_add_signed(delta).map(|offset| (function.section, offset));
                }
                None => {}
            }
            if let Some(callee) = target.and_then(|(section, offset)| self.function_at(section, offset)) {
                instruction.symbol = Some(callee.name.clone());
                called.push(callee.clone());
            }
            at += 8;
            if instruction.is_wide() {
                let high = slots
                    .next()
                    .and_then(|slot| slot.last_chunk::<4>())
                    .copied()
                    .unwrap_or_default();
                instruction.imm = i64::from(i32::from_le_bytes(high)) << 32 | i64::from(low as u32);
                at += 8;
            }
            instructions.push(instruction);
        }
        (instructions, called)
    }

    fn function_at(&self, section: usize, offset: u64) -> Option<&Function> {
        self.code.get(&section)?.functions.get(&offset)
    }
}

fn damaged(error: object::Error) -> Error {
    Error::from_source(crate::ErrorKind::InvalidInput, error)
}

fn is_executable(flags: SectionFlags) -> bool {
    matches!(flags, SectionFlags::Elf { sh_flags, .. } if sh_flags.contains(elf::SHF_EXECINSTR))
}

fn is_hidden(flags: SymbolFlags<object::SectionIndex, SymbolIndex>) -> bool {
    matches!(flags, SymbolFlags::Elf { st_other, .. } if st_other.visibility() == elf::STV_HIDDEN)
}
