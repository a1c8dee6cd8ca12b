//! What an event costs on its way through the pipeline: events of real runs, from a recording, again and again.
//!
//! `cargo bench --bench pipeline [-- [--stage STAGE] [--events COUNT] [RECORDING]…]` prints nanoseconds of processor time per event for each
//! recording and stage. Stages contain those before them:
//!
//! | Stage | What happens to an event |
//! |---|---|
//! | `decode` | copied from the recording into an element |
//! | `select` | and its container looked up and found to be selected |
//! | `reject` | and left out by a filter on a number that the kernel wrote |
//! | `enrich` | instead of the one before: all fields of the container written |
//! | `format` | and all other fields written: everything that JSON has |
//! | `columns` | only the fields that columns show by default written, and shown in columns, into `/dev/null` |
//! | `json` | shown as JSON, into `/dev/null` |
//!
//! `benches/stages.sh` counts instructions instead, which do not depend on what else the machine does.

mod common;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use inspektor_gadget::gadget::Gadget;
use inspektor_gadget::operators::sink::{CliSink, Options, Output};
use inspektor_gadget::recording::Recording;
use inspektor_gadget::{Error, Result};

const STAGES: [&str; 7] = ["decode", "select", "reject", "enrich", "format", "columns", "json"];

struct Arguments {
    stages: Vec<String>,
    events: u64,
    recordings: Vec<PathBuf>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut arguments = Self {
            stages: STAGES.map(str::to_owned).into(),
            events: 3_000_000,
            recordings: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| Error::invalid(format!("{word} needs a value")))
            };
            match word.as_str() {
                // What cargo says to every bench.
                "--bench" => {}
                "--stage" => arguments.stages = vec![value()?],
                "--events" => {
                    arguments.events = value()?
                        .parse()
                        .map_err(|_| Error::invalid("--events needs a number"))?;
                }
                _ => arguments.recordings.push(word.into()),
            }
        }
        if arguments.recordings.is_empty() {
            let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/recordings");
            arguments.recordings = ["trace_open.igrec", "trace_exec.igrec"]
                .map(|name| bundled.join(name))
                .into();
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    common::exit(run())
}

fn run() -> Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    for path in &arguments.recordings {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let in_it = replay(path, 1, "decode")?.events;
        for stage in &arguments.stages {
            let run = replay(path, arguments.events.div_ceil(in_it.max(1)), stage)?;
            let each = run.time.as_nanos() as f64 / run.events as f64;
            println!("{name:<12} {stage:<8} {each:>8.1} ns  {:>9} events", run.events);
        }
    }
    Ok(())
}

/// What a replay took.
struct Taken {
    events: u64,
    /// Processor time of the whole process.
    time: Duration,
}

fn replay(path: &Path, times: u64, stage: &str) -> Result<Taken> {
    let mut gadget = Gadget::replay(Recording::open(path)?.repeated(times)).build()?;
    if stage == "decode" {
        gadget.set_param("host", "true")?;
    }
    let source = gadget
        .data_sources()
        .next()
        .ok_or_else(|| Error::invalid("the recording has no data source"))?;
    let name = source.name().to_owned();
    let all: Vec<String> = source
        .fields()
        .filter(|(_, field)| !field.is_empty() && !field.is_unreferenced())
        .map(|(_, field)| field.full_name().to_owned())
        .collect();
    let fields: Vec<&str> = match stage {
        "decode" | "select" => Vec::new(),
        "enrich" => all
            .iter()
            .map(String::as_str)
            .filter(|name| name.starts_with("runtime.") || name.starts_with("k8s."))
            .collect(),
        "format" => all.iter().map(String::as_str).collect(),
        "reject" | "columns" | "json" => Vec::new(),
        other => return Err(Error::invalid(format!("there is no stage {other:?}"))),
    };
    if stage == "reject" {
        gadget.set_param("filter", "proc.pid==1")?;
    }
    if matches!(stage, "reject" | "columns" | "json") {
        let mode = if stage == "reject" { "json" } else { stage };
        let output = Output::new(Box::new(OpenOptions::new().write(true).open("/dev/null")?));
        let options = Options {
            output: Some(mode.to_owned()),
            ..Options::default()
        };
        let sink = CliSink::instantiate(gadget.context(), &options, output)?;
        gadget.add_instance(sink);
    } else {
        gadget.subscribe(&name, fields, |event| {
            std::hint::black_box(event);
        })?;
    }
    let before = common::processor_time()?;
    let mut running = gadget.start()?;
    running.wait(None);
    let events = running.stop()?.events();
    Ok(Taken {
        events,
        time: common::processor_time()?.saturating_sub(before),
    })
}
