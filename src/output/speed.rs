//! How long encoding an event takes. Ignored by default; run with
//! `cargo test --release --lib output::speed -- --ignored --nocapture`.

use nix::time::{ClockId, clock_gettime};

use super::columns::Table;
use super::fields::Selection;
use super::{json, testing, yaml};
use crate::data::Element;
use crate::operators::formatters::Formatters;
use crate::operators::uidgid::UidGidResolver;
use crate::operators::{Context, Instance, Stream};

/// The best of many short rounds in CPU time, so that a busy machine does not count.
fn measure(what: &str, mut call: impl FnMut(&mut Vec<u8>)) -> f64 {
    const EVENTS: u32 = 200;
    let mut out = Vec::new();
    let mut best = f64::MAX;
    for _ in 0..5000 {
        let start = cpu_time();
        for _ in 0..EVENTS {
            out.clear();
            call(&mut out);
            std::hint::black_box(&out);
        }
        best = best.min((cpu_time() - start) as f64 / f64::from(EVENTS));
    }
    eprintln!("{what}: {best:.0} ns per event");
    best
}

fn cpu_time() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() * 1_000_000_000 + time.tv_nsec()
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
    let mut compact = json::Encoder::compact(&ds);
    let json = measure("trace_open, all fields, json", |out| compact.encode(&element, out));
    let mut pretty = json::Encoder::pretty(&ds);
    measure("trace_open, all fields, jsonpretty", |out| pretty.encode(&element, out));
    let mut yaml = yaml::Encoder::new(&ds);
    measure("trace_open, all fields, yaml", |out| yaml.encode(&element, out));
    let mut table = Table::new(&ds, &Selection::default_of(&ds), None).unwrap();
    measure("trace_open, default columns", |out| table.row(&element, out));

    let mut context = Context {
        streams: vec![Stream::new(testing::source(testing::TRACE_OPEN, "error", &[]))],
        ..Context::default()
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
