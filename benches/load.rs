//! How long each bundled gadget takes to be loaded and attached, beside a program in C that does it with libbpf.
//!
//! `benches/load.sh [GADGET]…` builds the objects and the C program and runs this. Both sides take turns, each in a process of its own (the
//! kernel's BTF is read once per process); the figures are medians of `ROUNDS`.
//!
//! The comparison is of the same object with the same maps: what `ig` changes by default, larger event buffers, is part of its figure.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use inspektor_gadget::ebpf::LoadOptions;
use inspektor_gadget::ebpf::object::EbpfObject;
use inspektor_gadget::metadata::config::Config;
use inspektor_gadget::{Error, Result};

/// Microseconds that opening and loading took, and attaching.
#[derive(Clone, Copy)]
struct Times {
    load: f64,
    attach: f64,
}

/// What this program does in a process of its own: `--ours OBJECT`.
fn ours(path: &str) -> Result<()> {
    let bytes: Arc<[u8]> = std::fs::read(path)?.into();
    // The configuration says which programs are optional; it is beside the object.
    let metadata = std::fs::read(Path::new(path).with_file_name("gadget.yaml")).unwrap_or_default();
    let config = Arc::new(if metadata.is_empty() {
        Config::default()
    } else {
        Config::parse(&metadata)?
    });
    let start = Instant::now();
    let object = EbpfObject::instantiate(bytes, &config, &mut Vec::new())?;
    let mut loaded = object.load(&LoadOptions::default())?;
    let load = start.elapsed();
    let start = Instant::now();
    loaded.attach()?;
    println!("{path}\t{:.0}\t{:.0}\t0", micros(load), micros(start.elapsed()));
    // Detaching is not measured, and takes long.
    Ok(())
}

fn micros(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The times that a program prints for `object`; why not.
fn measure(command: &mut Command, object: &str) -> std::result::Result<Times, String> {
    let output = command.arg(object).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let fields: Vec<&str> = text.trim().split('\t').collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    match (number(1), number(2)) {
        (Some(load), Some(attach)) => Ok(Times { load, attach }),
        _ => Err(format!(
            "{}{}",
            text.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn compare(floor: &str, objects: &[String]) -> Result<()> {
    let rounds: usize = std::env::var("ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(9);
    let own = std::env::current_exe()?;
    let mut times: BTreeMap<(usize, &str), Vec<Times>> = BTreeMap::new();
    let mut failures: BTreeMap<usize, String> = BTreeMap::new();
    for _ in 0..rounds {
        for (index, object) in objects.iter().enumerate() {
            let mut sides = [("ours", Command::new(&own)), ("libbpf", Command::new(floor))];
            sides[0].1.arg("--ours");
            for (side, command) in &mut sides {
                match measure(command, object) {
                    Ok(taken) => times.entry((index, side)).or_default().push(taken),
                    Err(error) => {
                        failures.insert(index, format!("{side}: {error}"));
                    }
                }
            }
        }
    }
    println!(
        "| gadget | load, ours | libbpf | attach, ours | libbpf | sum, ours / libbpf |\n|---|---|---|---|---|---|"
    );
    for (index, object) in objects.iter().enumerate() {
        let name = Path::new(object).parent().and_then(Path::file_name).unwrap_or_default();
        let of = |side, part: fn(&Times) -> f64| {
            let taken = times.get(&(index, side)).map_or(&[][..], Vec::as_slice);
            median(taken.iter().map(part).collect())
        };
        let row = ["ours", "libbpf"].map(|side| (of(side, |t| t.load), of(side, |t| t.attach)));
        let [(load, attach), (floor_load, floor_attach)] = row;
        if let Some(failure) = failures.get(&index) {
            println!(
                "| {} | {} | | | | |",
                name.to_string_lossy(),
                failure.lines().next().unwrap_or_default()
            );
            continue;
        }
        let ratio = (load + attach) / (floor_load + floor_attach);
        println!(
            "| {} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {ratio:.2} |",
            name.to_string_lossy(),
            load / 1e3,
            floor_load / 1e3,
            attach / 1e3,
            floor_attach / 1e3,
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let result = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--ours", object] => ours(object),
        ["--floor", floor, ..] if words.len() > 2 => compare(floor, &words[2..]),
        _ => Err(Error::invalid(
            "expected --floor PROGRAM OBJECT...: run benches/load.sh",
        )),
    };
    common::exit(result)
}
