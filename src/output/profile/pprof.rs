//! Profiles for `pprof`: the message `perftools.profiles.Profile`, compressed with gzip.
//!
//! The few kinds of fields that it needs are written by hand; a library for protocol buffers would be larger than this program's
//! other encoders together.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::UNIX_EPOCH;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Profile;

/// Appends the profile.
pub(super) fn write(profile: &Profile, out: &mut Vec<u8>) {
    let message = message(profile);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    if encoder.write_all(&message).is_ok()
        && let Ok(bytes) = encoder.finish()
    {
        out.extend_from_slice(&bytes);
    }
}

/// Strings by number; the first is empty.
#[derive(Default)]
struct Strings {
    all: Vec<String>,
    known: HashMap<String, u64>,
}

impl Strings {
    fn new() -> Self {
        let mut strings = Self::default();
        strings.number("");
        strings
    }

    fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.known.get(text) {
            return *number;
        }
        let number = self.all.len() as u64;
        self.all.push(text.to_owned());
        self.known.insert(text.to_owned(), number);
        number
    }
}

fn message(profile: &Profile) -> Vec<u8> {
    let mut strings = Strings::new();
    // Functions by the number of their name; each is at one location.
    let mut functions: HashMap<u64, u64> = HashMap::new();
    let mut order: Vec<u64> = Vec::new();
    let mut samples = Vec::new();
    for ((frames, labels), sample) in &profile.samples {
        // The innermost first. What stands for the process is in the labels, too, but readers want it in the graph.
        let locations: Vec<u64> = frames
            .iter()
            .rev()
            .map(|frame| {
                let name = strings.number(frame);
                *functions.entry(name).or_insert_with(|| {
                    order.push(name);
                    order.len() as u64
                })
            })
            .collect();
        let mut message = Vec::new();
        packed(1, &locations, &mut message);
        packed(2, &[sample.count], &mut message);
        for ((key, _), value) in profile.labels.iter().zip(labels).filter(|(_, value)| !value.is_empty()) {
            let mut label = Vec::new();
            number(1, strings.number(key), &mut label);
            number(2, strings.number(value), &mut label);
            bytes(3, &label, &mut message);
        }
        bytes(2, &message, &mut samples);
    }
    let mut value_type = |kind: &str, unit: &str| {
        let mut message = Vec::new();
        number(1, strings.number(kind), &mut message);
        number(2, strings.number(unit), &mut message);
        message
    };
    let (sample_type, period_type) = (
        value_type(&profile.kind, &profile.unit),
        value_type(&profile.name, &profile.unit),
    );
    let mut out = Vec::new();
    bytes(1, &sample_type, &mut out);
    out.append(&mut samples);
    for id in 1..=order.len() as u64 {
        let mut line = Vec::new();
        number(1, id, &mut line);
        let mut location = Vec::new();
        number(1, id, &mut location);
        bytes(4, &line, &mut location);
        bytes(4, &location, &mut out);
    }
    for (id, name) in (1..).zip(&order) {
        let mut function = Vec::new();
        number(1, id, &mut function);
        number(2, *name, &mut function);
        number(3, *name, &mut function);
        bytes(5, &function, &mut out);
    }
    for text in &strings.all {
        bytes(6, text.as_bytes(), &mut out);
    }
    let begun = profile.begun.duration_since(UNIX_EPOCH).unwrap_or_default();
    let lasted = profile.begun.elapsed().unwrap_or_default();
    number(9, begun.as_nanos() as u64, &mut out);
    number(10, lasted.as_nanos() as u64, &mut out);
    bytes(11, &period_type, &mut out);
    number(12, 1, &mut out);
    out
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(field: u64, value: u64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(value, out);
}

fn bytes(field: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn packed(field: u64, values: &[u64], out: &mut Vec<u8>) {
    let mut message = Vec::new();
    values.iter().for_each(|value| varint(*value, &mut message));
    bytes(field, &message, out);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::super::{Form, testing};

    /// Field numbers with their values: numbers, or bytes.
    fn fields(mut message: &[u8]) -> Vec<(u64, u64, &[u8])> {
        fn varint(message: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..64).step_by(7) {
                let (byte, rest) = message.split_first().unwrap();
                *message = rest;
                value |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            value
        }
        let mut found = Vec::new();
        while !message.is_empty() {
            let key = varint(&mut message);
            let value = varint(&mut message);
            match key & 7 {
                0 => found.push((key >> 3, value, &[][..])),
                2 => {
                    let (bytes, rest) = message.split_at(value as usize);
                    found.push((key >> 3, 0, bytes));
                    message = rest;
                }
                other => panic!("wire type {other}"),
            }
        }
        found
    }

    #[test]
    fn every_sample_has_its_frames_and_labels() {
        let mut message = Vec::new();
        GzDecoder::new(&testing::written(Form::Pprof)[..])
            .read_to_end(&mut message)
            .unwrap();
        let all = fields(&message);
        let of = |number: u64| {
            all.iter()
                .filter(move |(field, ..)| *field == number)
                .map(|(.., bytes)| *bytes)
        };
        let strings: Vec<&str> = of(6).map(|bytes| std::str::from_utf8(bytes).unwrap()).collect();
        assert_eq!(strings[0], "");
        let number = |message: &[u8], field: u64| fields(message).iter().find(|(f, ..)| *f == field).unwrap().1;
        let functions: Vec<&str> = of(5).map(|function| strings[number(function, 2) as usize]).collect();
        let mut samples: Vec<(Vec<&str>, u64, Option<&str>)> = of(2)
            .map(|sample| {
                let parts = fields(sample);
                let part = |field: u64| parts.iter().find(|(f, ..)| *f == field).map(|(.., bytes)| *bytes);
                let frames = part(1)
                    .unwrap()
                    .iter()
                    .map(|id| functions[usize::from(*id) - 1])
                    .collect();
                let label = part(3).map(|label| {
                    assert_eq!(strings[number(label, 1) as usize], "comm");
                    strings[number(label, 2) as usize]
                });
                (frames, u64::from(part(2).unwrap()[0]), label)
            })
            .collect();
        samples.sort();
        assert_eq!(
            samples,
            [
                (vec!["<a&b>;c", "main", "x\"y"], 5, Some("x\"y")),
                (vec!["k_leaf", "k_entry", "leaf", "main", "app", "web"], 13, Some("app")),
                (vec!["leaf", "main", "app", "web"], 4, Some("app")),
            ]
        );
        assert_eq!(of(4).count(), functions.len(), "a location for each function");
        let kinds: Vec<&str> = [1, 2]
            .map(|field| strings[number(of(1).next().unwrap(), field) as usize])
            .into();
        assert_eq!(kinds, ["samples", "count"]);
    }
}
