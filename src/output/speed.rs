//! How long encoding an event takes. Ignored by default; run with
//! `cargo test --release --lib output::speed -- --ignored --nocapture`.

use std::time::Instant;

use super::columns::Table;
use super::fields::Selection;
use super::{json, testing, yaml};
use crate::data::Element;
use crate::operators::formatters::Formatters;
use crate::operators::uidgid::UidGidResolver;
use crate::operators::{Context, Instance, Stream};

fn measure(what: &str, mut call: impl FnMut(&mut Vec<u8>)) -> f64 {
    const ROUNDS: u32 = 100_000;
    let mut out = Vec::new();
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            out.clear();
            call(&mut out);
            std::hint::black_box(&out);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
    }
    eprintln!("{what}: {best:.0} ns per event");
    best
}

#[test]
#[ignore = "a measurement, for release builds"]
fn nanoseconds_per_event() {
    let ds = testing::source(testing::TRACE_OPEN, "", &[]);
    let line = include_str!("../../tests/reference/samples/trace_open.docker.jsonl")
        .lines()
        .next()
        .unwrap();
    let mut element = Element::new(ds.layout());
    testing::fill(&ds, &mut element, &serde_json::from_str(line).unwrap());
    let compact = json::Encoder::compact(&ds);
    let json = measure("trace_open, all fields, json", |out| compact.encode(&element, out));
    let pretty = json::Encoder::pretty(&ds);
    measure("trace_open, all fields, jsonpretty", |out| pretty.encode(&element, out));
    let mut yaml = yaml::Encoder::new(&ds);
    measure("trace_open, all fields, yaml", |out| yaml.encode(&element, out));
    let table = Table::new(&ds, &Selection::default_of(&ds), None).unwrap();
    measure("trace_open, default columns", |out| table.row(&element, out));

    let mut context = Context {
        streams: vec![Stream::new(testing::source(testing::TRACE_OPEN, "error", &[]))],
    };
    let mut formatters = Formatters::instantiate(&mut context).unwrap().unwrap();
    let mut names = UidGidResolver::instantiate(&mut context).unwrap().unwrap();
    let stream = &mut context.streams[0];
    let all: Vec<_> = stream.source.fields().map(|(id, _)| id).collect();
    all.into_iter().for_each(|id| stream.demand.add(id));
    formatters.prepare(&mut context).unwrap();
    names.prepare(&mut context).unwrap();
    let stream = &mut context.streams[0];
    let record = vec![0u8; stream.source.layout().fixed_len()];
    let mut element = Element::default();
    measure("trace_open, all formatters and names", |_| {
        element.reset(stream.source.layout(), &record);
        stream.pipeline.emit(&mut element).unwrap();
    });
    assert!(json < 1000.0, "the aim is a microsecond");
}
