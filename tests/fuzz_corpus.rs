//! The fuzz targets on stable Rust: every input of the corpus, and mutations of them that are the same in every run.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::path::Path;

/// Marsaglia's xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<(String, Vec<u8>)> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "{target} has a corpus");
    inputs
}

/// Some bytes changed, dropped, repeated, or taken from another input.
fn mutate(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const INTERESTING: &[&[u8]] = &[
        b"\0",
        b"\xff",
        b"\x1b[2J",
        b"\n",
        b"(",
        b"[",
        b"{",
        b"}",
        b"\"",
        b"'",
        b"\\",
        b",",
        b":",
        b"=",
        b"-1",
        b"0",
        b"9223372036854775807",
        b"18446744073709551616",
        b"1e400",
        b"#",
        b"&a",
        b"*a",
        b"\xc3\xa9",
        b"\xe2\x80\xae",
    ];
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(9)).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            4 => drop(bytes.splice(at..at, INTERESTING[random.below(INTERESTING.len())].iter().copied())),
            5 => {
                let from = random.below(other.len() + 1);
                let to = (from + random.below(17)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Runs a target; an input that panics is named and shown.
fn replay(target: &str, mutations: usize, run: fn(&[u8])) {
    let inputs = corpus(target);
    let check = |name: &str, input: &[u8]| {
        let outcome = std::panic::catch_unwind(|| run(input));
        assert!(outcome.is_ok(), "{target}, {name}: b\"{}\"", input.escape_ascii());
    };
    for (name, input) in &inputs {
        check(name, input);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for i in 0..mutations {
        let (name, input) = &inputs[i % inputs.len()];
        let (_, other) = &inputs[random.below(inputs.len())];
        check(&format!("mutation {i} of {name}"), &mutate(input, other, &mut random));
    }
}

#[test]
fn gadget_yaml() {
    replay("gadget_yaml", 3000, bodies::gadget_yaml::run);
}

#[test]
fn filter() {
    replay("filter", 4000, bodies::filter::run);
}

#[test]
fn filter_expr() {
    replay("filter_expr", 4000, bodies::filter_expr::run);
}

#[test]
fn fields() {
    replay("fields", 4000, bodies::fields::run);
}

#[test]
fn event() {
    replay("event", 4000, bodies::event::run);
}

#[test]
fn recording() {
    replay("recording", 600, bodies::recording::run);
}

#[test]
fn guest() {
    replay("guest", 300, bodies::guest::run);
}

#[test]
fn binary() {
    replay("binary", 1500, bodies::binary::run);
}

#[test]
fn btf() {
    replay("btf", 1500, bodies::btf::run);
}

#[test]
fn ld_cache() {
    replay("ld_cache", 4000, bodies::ld_cache::run);
}

#[test]
fn object() {
    replay("object", 600, bodies::object::run);
}

#[test]
fn symbols() {
    replay("symbols", 600, bodies::symbols::run);
}

#[test]
fn usdt_args() {
    replay("usdt_args", 4000, bodies::usdt_args::run);
}
