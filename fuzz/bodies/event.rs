//! An event of any layout through every encoder. The input is the layout and then the record:
//!
//! | Bytes | |
//! |---|---|
//! | 1 | number of fields (modulo 16) |
//! | 6 per field | kind, offset, size, parent, bits, length of the name |
//! | … per field | the name |
//! | rest | the record; its end is the value of each field of variable length, too |

use std::collections::HashSet;

use inspektor_gadget::data::{Annotations, DataSource, Element, Kind, NewField, SourceType, StaticField};
use inspektor_gadget::output::columns::Table;
use inspektor_gadget::output::fields::Selection;
use inspektor_gadget::output::{json, yaml};

/// Size of the static struct.
const SIZE: u32 = 96;

pub fn run(data: &[u8]) {
    let Some((source, element)) = decode(data) else { return };
    encode(&source, &element);
}

fn take<'d>(data: &mut &'d [u8], len: usize) -> Option<&'d [u8]> {
    let (taken, rest) = data.split_at_checked(len)?;
    *data = rest;
    Some(taken)
}

fn decode(mut data: &[u8]) -> Option<(DataSource, Element)> {
    let count = usize::from(*take(&mut data, 1)?.first()? % 16);
    let mut members: Vec<StaticField> = Vec::new();
    let mut added: Vec<NewField> = Vec::new();
    // Names that fields have twice are refused, which is another subject.
    let mut names = HashSet::new();
    for i in 0..count {
        let &[kind, offset, size, parent, bits, name_len] = take(&mut data, 6)? else {
            return None;
        };
        let name = String::from_utf8_lossy(take(&mut data, usize::from(name_len % 32))?).into_owned();
        let name = format!("{i}{}", name.replace('.', "_"));
        if !names.insert(name.to_lowercase()) {
            continue;
        }
        let number = u32::from(kind % 15) | if kind & 0x80 == 0 { 0 } else { 0x1000_0000 };
        let kind = Kind::from_wire(number)?;
        if size & 0x80 != 0 {
            added.push(NewField::new(name, kind));
            continue;
        }
        let offset = u32::from(offset) % SIZE;
        let size = kind
            .fixed_size()
            .map_or(u32::from(size), |size| size as u32)
            .min(SIZE - offset);
        members.push(StaticField {
            name,
            kind,
            offset,
            size,
            bits: (bits & 0x80 != 0 && size <= 8).then_some((bits & 7, (bits >> 3) & 15)),
            parent: members.len().checked_sub(usize::from(parent % 16) + 1),
            tags: Vec::new(),
            annotations: Annotations::new(),
        });
    }
    let mut source = DataSource::new("events", SourceType::Single, None);
    let container = source.add_static_fields(SIZE, &members).ok()?;
    let mut ids = Vec::new();
    for field in added {
        ids.push(source.add_field(field).ok()?);
    }
    let mut element = Element::new(source.layout());
    element.set_container(container, data);
    let tail = &data[data.len().saturating_sub(40)..];
    for id in ids {
        // Fields of fixed size want exactly that size.
        let _ = source.accessor(id).set(&mut element, tail);
    }
    Some((source, element))
}

fn encode(source: &DataSource, element: &Element) {
    let mut out = Vec::new();
    for terminal in [None, Some(7), Some(120)] {
        if let Ok(mut table) = Table::new(source, &Selection::default_of(source), terminal) {
            out.clear();
            table.header(&mut out);
            table.row(element, &mut out);
            super::assert_harmless(&out);
        }
    }
    let mut values = Vec::new();
    for mut encoder in [json::Encoder::compact(source), json::Encoder::pretty(source)] {
        out.clear();
        encoder.encode(element, &mut out);
        super::assert_harmless(&out);
        let value: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
        assert!(value.is_object());
        values.push(value);
        out.clear();
        encoder.encode_array(&[element.clone(), element.clone()], &mut out);
        let list: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
        assert_eq!(list.as_array().map(Vec::len), Some(2));
    }
    assert_eq!(values[0], values[1], "both forms say the same");
    out.clear();
    yaml::Encoder::new(source).encode(element, &mut out);
    super::assert_harmless(&out);
}
