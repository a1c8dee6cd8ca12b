//! Static probes: the notes that compilers leave in a binary for `DTRACE_PROBE` and its like.

use crate::symbols::elf::binary::{Binary, Section, Source, c_string};
use crate::{Error, Result};

const NOTES: &str = ".note.stapsdt";
const BASE: &str = ".stapsdt.base";
const SHT_PROGBITS: u32 = 1;
const SHT_NOTE: u32 = 7;
const OWNER: &[u8] = b"stapsdt\0";
const NOTE_TYPE: u32 = 3;

const MAX_NOTES: usize = 10_000;
const MAX_SECTION: u64 = 16 << 20;
/// The longest text of a note.
const MAX_TEXT: usize = 1 << 20;

/// A place in the code where a probe is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// Of the instruction, in the file.
    pub(super) offset: u64,
    /// Of the counter that tells the program whether anybody traces, in the file; 0 if there is none.
    pub(super) semaphore: u64,
    /// Where the arguments are, as the assembler wrote it.
    pub(super) arguments: String,
}

/// All places of the probe `name` of `provider`, by offset.
pub(super) fn locations<S: Source>(binary: &Binary<S>, provider: &str, name: &str) -> Result<Vec<Location>> {
    let notes = binary
        .section_named(NOTES)
        .filter(|section| section.kind == SHT_NOTE)
        .ok_or_else(|| Error::not_found("there are no static probes (no section .note.stapsdt)"))?;
    let base = binary
        .section_named(BASE)
        .filter(|section| section.kind == SHT_PROGBITS);
    let bytes = binary.content(&notes, MAX_SECTION)?;
    let mut found = Vec::new();
    let mut rest = bytes.as_slice();
    for _ in 0..MAX_NOTES {
        let Some((note, after)) = next_note(binary, rest)? else {
            break;
        };
        rest = after;
        let Some(descriptor) = note else { continue };
        let probe = parse(binary, descriptor)?;
        if probe.provider == provider.as_bytes() && probe.name == name.as_bytes() {
            found.push(probe.location(binary, base.as_ref())?);
        }
    }
    // A place that is inlined twice at one address would be hit twice.
    found.sort_by_key(|location: &Location| location.offset);
    found.dedup_by_key(|location| location.offset);
    if found.is_empty() {
        return Err(Error::not_found(format!("static probe {provider}:{name} not found")));
    }
    Ok(found)
}

/// The descriptor of a note, if it is one of a probe, and what is behind it.
type Split<'n> = (Option<&'n [u8]>, &'n [u8]);

fn next_note<'n, S: Source>(binary: &Binary<S>, bytes: &'n [u8]) -> Result<Option<Split<'n>>> {
    if bytes.len() < 12 {
        return Ok(None);
    }
    let fields = binary.fields(bytes);
    let (name_size, size, kind) = (fields.u32(0)?, fields.u32(4)?, fields.u32(8)?);
    let malformed = || Error::invalid("malformed notes of static probes");
    let aligned = |size: u32| (size as usize).checked_next_multiple_of(4).ok_or_else(malformed);
    let name = bytes.get(12..12 + name_size as usize).ok_or_else(malformed)?;
    let start = 12 + aligned(name_size)?;
    let descriptor = start
        .checked_add(size as usize)
        .and_then(|end| bytes.get(start..end))
        .ok_or_else(malformed)?;
    // The last one need not be filled up.
    let after = bytes.get(start + aligned(size)?..).unwrap_or_default();
    let is_probe = name == OWNER && kind == NOTE_TYPE;
    Ok(Some((is_probe.then_some(descriptor), after)))
}

struct Probe<'n> {
    address: u64,
    /// Where the section [`BASE`] was when the note was written.
    base: u64,
    semaphore: u64,
    provider: &'n [u8],
    name: &'n [u8],
    arguments: &'n [u8],
}

fn parse<'n, S: Source>(binary: &Binary<S>, descriptor: &'n [u8]) -> Result<Probe<'n>> {
    let word = if binary.is_wide() { 8 } else { 4 };
    let fields = binary.fields(descriptor);
    let mut at = 3 * word;
    let mut text = || {
        let text = c_string(descriptor, at as u64)
            .filter(|text| text.len() <= MAX_TEXT)
            .ok_or_else(|| Error::invalid("malformed note of a static probe"))?;
        at += text.len() + 1;
        Ok::<_, Error>(text)
    };
    Ok(Probe {
        address: fields.word(0)?,
        base: fields.word(word)?,
        semaphore: fields.word(2 * word)?,
        provider: text()?,
        name: text()?,
        arguments: text()?,
    })
}

impl Probe<'_> {
    fn location<S: Source>(&self, binary: &Binary<S>, base: Option<&Section>) -> Result<Location> {
        // The linker that moved the code (prelink) moved the section too, but did not know of the note.
        let moved = base.map_or(0, |base| base.address.wrapping_sub(self.base));
        let adjust = |address: u64| {
            let address = address.wrapping_add(moved);
            if binary.is_wide() {
                address
            } else {
                address & 0xffff_ffff
            }
        };
        let offset = binary
            .code_offset(adjust(self.address))
            .ok_or_else(|| Error::invalid("a static probe is outside the code"))?;
        let semaphore = match self.semaphore {
            0 => 0,
            address => binary
                .file_offset(adjust(address))
                .ok_or_else(|| Error::invalid("a static probe's semaphore is outside the data"))?,
        };
        Ok(Location {
            offset,
            semaphore,
            arguments: String::from_utf8_lossy(self.arguments).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::elf::binary::testing::{BASE as SEGMENT, ElfBuilder, damage};

    fn note(elf: &ElfBuilder, owner: &[u8], kind: u32, words: [u64; 3], texts: &str) -> Vec<u8> {
        let mut descriptor: Vec<u8> = words.iter().flat_map(|word| elf.word(*word)).collect();
        descriptor.extend(texts.as_bytes());
        let mut note = (owner.len() as u32).to_le_bytes().to_vec();
        note.extend((descriptor.len() as u32).to_le_bytes());
        note.extend(kind.to_le_bytes());
        note.extend(owner);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend(descriptor);
        note.resize(note.len().next_multiple_of(4), 0);
        note
    }

    fn binary(wide: bool) -> Vec<u8> {
        let mut elf = ElfBuilder::new(wide);
        let base = 0x5000;
        // Written when the base was 0x10 lower.
        let before = |address: u64| address - 0x10;
        let notes = [
            note(&elf, b"GNU\0", 3, [1, 2, 3], "app\0start\0\0"),
            note(
                &elf,
                OWNER,
                3,
                [before(SEGMENT + 40), before(base), 0],
                "app\0start\x00-4@%edi\0",
            ),
            note(
                &elf,
                OWNER,
                3,
                [before(SEGMENT + 20), before(base), before(SEGMENT + 60)],
                "app\0start\08@%rax\0",
            ),
            note(&elf, OWNER, 3, [before(SEGMENT + 20), before(base), 0], "app\0stop\0\0"),
            note(&elf, OWNER, 4, [before(SEGMENT + 4), before(base), 0], "app\0start\0\0"),
        ];
        elf.section(NOTES, SHT_NOTE, 0, 0, notes.concat());
        elf.section(BASE, SHT_PROGBITS, base, 0, vec![0]);
        elf.build()
    }

    #[test]
    fn all_places_of_a_probe_in_both_widths() {
        for wide in [true, false] {
            let bytes = binary(wide);
            let elf = Binary::parse(bytes.clone()).unwrap();
            let place = |offset, semaphore, arguments: &str| Location {
                offset,
                semaphore,
                arguments: arguments.into(),
            };
            assert_eq!(
                locations(&elf, "app", "start").unwrap(),
                [place(20, 60, "8@%rax"), place(40, 0, "-4@%edi")]
            );
            assert_eq!(locations(&elf, "app", "stop").unwrap(), [place(20, 0, "")]);
            let error = locations(&elf, "other", "start").unwrap_err().to_string();
            assert_eq!(error, "static probe other:start not found");
            damage(&bytes, |bytes| {
                if let Ok(elf) = Binary::parse(bytes) {
                    let _ = locations(&elf, "app", "start");
                }
            });
        }
    }

    #[test]
    fn a_binary_without_probes_says_so() {
        let elf = Binary::parse(ElfBuilder::new(true).build()).unwrap();
        let error = locations(&elf, "a", "b").unwrap_err().to_string();
        assert!(error.contains("no static probes"), "{error}");
    }
}
