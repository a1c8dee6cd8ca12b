//! Values that are summed up, as text, for data sources whose metadata says `metrics.print: true`.
//!
//! The data source itself is not shown. In its place there is `<name>-rendered`, whose only field is the text of all its
//! histograms, counters and gauges since the start, at every interval. Who asks for JSON gets them so in that field.

mod instrument;
mod json;
mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::instrument::{Instrument, Role, Total};
use super::{Context, Explanation, Instance, OperatorNote, priority};
use crate::data::{
    Accessor, DataSource, Element, Emitter, FieldId, Flow, Kind, LossPlace, NewField, Scalar, SourceType, Stream,
};
use crate::metadata::duration;
use crate::metadata::params::typed::go_quote;
use crate::metadata::params::{Param, ParamValues, TypeHint};
use crate::output::histogram;
use crate::output::mode::Modes;
use crate::stop::StopSignal;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Prefix of the full names of the parameters, which are those of the operator that exports metrics.
const PARAM_PREFIX: &str = "operator.otel-metrics.";
const INTERVAL: &str = "otel-metrics-print-interval";
const DEFAULT_INTERVAL: &str = "1000ms";
/// Full name of the parameter that says how data sources are shown.
const OUTPUT: &str = "operator.cli.output";
const SHORTEST: Duration = Duration::from_millis(25);
/// Sums that are kept; elements with further keys are counted as failed.
const MAX_TOTALS: usize = 10_000;

/// The part of metrics in one gadget.
#[derive(Debug)]
pub struct Metrics {
    sources: Vec<Rendered>,
    interval: Duration,
    printers: Vec<Printer>,
}

/// A data source and the one that is shown in its place.
#[derive(Debug)]
struct Rendered {
    stream: usize,
    rendered: usize,
    text: FieldId,
    instruments: Vec<Instrument>,
    keys: Vec<Key>,
    form: Form,
    totals: Arc<Mutex<Totals>>,
}

/// How sums are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Text,
    Json,
    JsonPretty,
}

impl Form {
    fn named(mode: Option<&str>) -> Self {
        match mode {
            Some("json") => Self::Json,
            Some("jsonpretty") => Self::JsonPretty,
            _ => Self::Text,
        }
    }

    fn render(self, instruments: &[Instrument], totals: &Totals) -> String {
        match self {
            Self::Text => text::text(instruments, totals),
            Self::Json => format!("{}\n", json::values(instruments, totals)),
            Self::JsonPretty => format!("{:#}\n", json::values(instruments, totals)),
        }
    }
}

/// What tells sums of one instrument apart.
#[derive(Clone, Debug)]
struct Key {
    name: String,
    value: Accessor,
}

/// By instrument and the bytes of the keys.
type Totals = BTreeMap<(usize, Vec<u8>), Entry>;

/// A sum, with its keys as text and as values.
#[derive(Debug)]
struct Entry {
    keys: String,
    attributes: serde_json::Map<String, serde_json::Value>,
    total: Total,
}

impl Metrics {
    /// Adds the data sources of texts. `None` if none is asked for.
    ///
    /// To be called when nobody adds fields any more, and before those who select data sources.
    pub fn instantiate(context: &mut Context) -> Result<Option<Self>> {
        let mut sources = Vec::new();
        let asked: Vec<usize> = context
            .referenced()
            .filter(|(_, stream)| stream.source.annotation("metrics.print") == Some("true"))
            .map(|(index, _)| index)
            .collect();
        for stream in asked {
            let source = &mut context.streams[stream].source;
            source.unreference();
            let mut rendered = DataSource::new(format!("{}-rendered", source.name()), SourceType::Single, None);
            for (key, value) in [
                ("cli.supported-output-modes", histogram::MODE),
                ("cli.default-output-mode", histogram::MODE),
                ("cli.clear-screen-before", "true"),
            ] {
                rendered.annotate(key, value);
            }
            for (key, value) in source.annotations() {
                rendered.annotate(key, value);
            }
            let text = NewField::new("text", Scalar::String).annotations([("content-type", "text/plain")]);
            let text = rendered.add_field(text)?;
            sources.push(Rendered {
                stream,
                rendered: context.streams.len(),
                text,
                instruments: Vec::new(),
                keys: Vec::new(),
                form: Form::default(),
                totals: Arc::default(),
            });
            context.streams.push(Stream::new(rendered));
        }
        Ok((!sources.is_empty()).then(|| Self {
            sources,
            interval: Duration::from_secs(1),
            printers: Vec::new(),
        }))
    }
}

impl Rendered {
    /// Finds out what the fields of `source` are for.
    fn compile(&mut self, source: &DataSource) -> Result<()> {
        self.instruments.clear();
        self.keys.clear();
        if let Some(name) = source
            .annotation("metrics.implicit-counter.name")
            .filter(|name| !name.is_empty())
        {
            self.instruments.push(Instrument::of_elements(name));
        }
        for (id, field) in source.fields() {
            self.instruments.extend(Instrument::of(source, id)?);
            if Role::of(source, id) == Some(Role::Key) {
                let name = field.annotation("metrics.name").filter(|name| !name.is_empty());
                self.keys.push(Key {
                    name: name.unwrap_or(field.full_name()).to_owned(),
                    value: source.accessor(id),
                });
            }
        }
        Ok(())
    }
}

impl Key {
    /// The value as text that may go to a terminal.
    fn text(&self, element: &Element) -> String {
        match self.value.kind() {
            Kind::One(Scalar::Bool) => self.value.bool(element).to_string(),
            Kind::One(Scalar::Float32 | Scalar::Float64) => self.value.f64(element).to_string(),
            Kind::One(scalar) if scalar.is_integer() => self.value.i64(element).to_string(),
            _ => go_quote(&String::from_utf8_lossy(self.value.text(element))),
        }
    }
}

/// Takes one element in. What finds no room is counted in `full`.
fn add(instruments: &[Instrument], keys: &[Key], totals: &mut Totals, element: &Element, full: &mut u64) {
    let mut bytes = Vec::new();
    for key in keys {
        let value = key.value.bytes(element);
        bytes.extend_from_slice(&value.len().to_ne_bytes());
        bytes.extend_from_slice(value);
    }
    for (index, instrument) in instruments.iter().enumerate() {
        let place = (index, bytes.clone());
        if totals.len() >= MAX_TOTALS && !totals.contains_key(&place) {
            *full += 1;
            continue;
        }
        let entry = totals.entry(place).or_insert_with(|| Entry {
            keys: keys
                .iter()
                .map(|key| format!("{}={}", key.name, key.text(element)))
                .collect::<Vec<_>>()
                .join(", "),
            attributes: json::attributes(keys, element),
            total: instrument.start(),
        });
        instrument.add(element, &mut entry.total);
    }
}

impl Instance for Metrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn priority(&self) -> i32 {
        priority::instance::METRICS
    }

    fn params(&self) -> Vec<Param> {
        vec![Param {
            prefix: PARAM_PREFIX.to_owned(),
            title: "Metrics Print Interval".to_owned(),
            ..Param::new(INTERVAL)
                .type_hint(TypeHint::Duration)
                .default_value(DEFAULT_INTERVAL)
                .description("Interval in which histograms are printed")
                .tag("group:OpenTelemetry Metrics")
        }]
    }

    fn configure(&mut self, values: &ParamValues, context: &mut Context) -> Result<()> {
        let text = values
            .get(&format!("{PARAM_PREFIX}{INTERVAL}"))
            .unwrap_or(DEFAULT_INTERVAL);
        let nanos = duration::parse(text).context("parsing print interval")?;
        let interval = u64::try_from(nanos).map(Duration::from_nanos).unwrap_or_default();
        if interval < SHORTEST {
            return Err(Error::invalid(format!(
                "parsing print interval: expected at least 25ms, got {}",
                duration::format(nanos)
            )));
        }
        self.interval = interval;
        let modes = Modes::parse(values.get(OUTPUT).unwrap_or_default())?;
        for rendered in &mut self.sources {
            rendered.form = Form::named(modes.asked(&context.streams[rendered.rendered].source));
            rendered
                .compile(&context.streams[rendered.stream].source)
                .context("pre-starting operator \"otel-metrics\"")
                .context("pre-starting operators")?;
        }
        Ok(())
    }

    fn demand(&self, context: &mut Context) {
        for rendered in &self.sources {
            let Stream { source, demand, .. } = &mut context.streams[rendered.stream];
            for (id, _) in source.fields().filter(|(id, _)| Role::of(source, *id).is_some()) {
                demand.add(id);
            }
        }
    }

    fn explain(&self, _context: &Context, to: &mut Explanation) {
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: true,
            why: "the metadata asks for metrics as text".to_owned(),
        });
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for source in &self.sources {
            let stream = &mut context.streams[source.stream];
            let (totals, losses) = (Arc::clone(&source.totals), Arc::clone(&stream.losses));
            let (instruments, keys) = (source.instruments.clone(), source.keys.clone());
            stream
                .pipeline
                .subscribe(priority::subscription::METRICS, move |element| {
                    let mut full = 0;
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    add(&instruments, &keys, &mut totals, element, &mut full);
                    losses.add(LossPlace::Failed, full);
                    Ok(Flow::Continue)
                });
        }
        Ok(())
    }

    fn start(&mut self, context: &mut Context) -> Result<()> {
        for source in &self.sources {
            let stream = &mut context.streams[source.rendered];
            let work = Work {
                field: stream.source.accessor(source.text),
                emitter: stream.emitter(),
                instruments: source.instruments.clone(),
                form: source.form,
                totals: Arc::clone(&source.totals),
                last: String::new(),
            };
            self.printers.push(Printer::start(work, self.interval)?);
        }
        Ok(())
    }

    fn pre_stop(&mut self) -> Result<()> {
        for mut printer in self.printers.drain(..) {
            printer.stop()?;
        }
        Ok(())
    }
}

/// A thread that emits the text of one data source at intervals.
#[derive(Debug)]
struct Printer {
    stop: StopSignal,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    emitter: Emitter,
    field: Accessor,
    instruments: Vec<Instrument>,
    form: Form,
    totals: Arc<Mutex<Totals>>,
    /// What was emitted last.
    last: String,
}

impl Work {
    fn text(&self) -> String {
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        self.form.render(&self.instruments, &totals)
    }

    fn emit(&mut self) {
        let text = self.text();
        let mut element = self.emitter.element();
        self.field
            .write(&mut element, |out| out.extend_from_slice(text.as_bytes()));
        if let Err(error) = self.emitter.emit(&mut element).and_then(|()| self.emitter.flush()) {
            tracing::warn!("metrics: {error}");
            self.emitter.losses().add(LossPlace::Failed, 1);
        }
        self.last = text;
    }

    /// What was counted since the last time must not be missing.
    fn finish(&mut self) {
        if self.text() != self.last {
            self.emit();
        }
    }
}

impl Printer {
    fn start(mut work: Work, interval: Duration) -> Result<Self> {
        let stop = StopSignal::default();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("ig-metrics".to_owned())
            .spawn(move || {
                let mut due = Instant::now();
                loop {
                    due = (due + interval).max(Instant::now());
                    stopped.wait(Some(due.saturating_duration_since(Instant::now())));
                    if stopped.is_requested() {
                        return work.finish();
                    }
                    work.emit();
                }
            })
            .context("starting a thread")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    fn stop(&mut self) -> Result<()> {
        self.stop.request();
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(Error::new(
                ErrorKind::Other,
                "the thread that prints metrics has panicked",
            )),
            _ => Ok(()),
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        // A panic was said by the thread itself.
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::StaticField;

    fn context(print: &str) -> Context {
        let mut source = DataSource::new("latencies", SourceType::Array, None);
        source.annotate("metrics.print", print);
        let field = |name: &str, kind: Kind, offset, size, tag: &str| StaticField {
            tags: vec![tag.to_owned()],
            ..StaticField::new(name, kind, offset, size)
        };
        source
            .add_static_fields(
                16,
                &[
                    field("device", Scalar::Uint32.into(), 0, 4, "role:key"),
                    field(
                        "latency",
                        Kind::Array(Scalar::Uint32),
                        4,
                        12,
                        "type:gadget_histogram_slot__u32",
                    ),
                ],
            )
            .unwrap();
        let device = source.field("device").unwrap().id();
        source.annotate_field(device, "metrics.type", "key");
        let latency = source.field("latency").unwrap().id();
        source.annotate_field(latency, "metrics.unit", "µs");
        let mut context = Context::default();
        context.streams.push(Stream::new(source));
        context
    }

    #[test]
    fn counts_add_up_until_the_end() {
        let mut context = context("true");
        let mut histograms = Metrics::instantiate(&mut context).unwrap().unwrap();
        let names: Vec<String> = context.referenced().map(|(_, s)| s.source.name().to_owned()).collect();
        assert_eq!(names, ["latencies-rendered"]);
        let mut values = ParamValues::new();
        values.set("operator.otel-metrics.otel-metrics-print-interval", "1h");
        histograms.configure(&values, &mut context).unwrap();
        histograms.prepare(&mut context).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let text = context.streams[1].source.field("text").unwrap().str().unwrap();
        context.streams[1].pipeline.subscribe(0, move |element| {
            sender.send(text.get(element).into_owned()).unwrap();
            Ok(Flow::Continue)
        });
        histograms.start(&mut context).unwrap();
        let mut emitter = context.streams[0].emitter();
        for batch in [[(1, [1_u32, 0, 2]), (2, [0, 0, 1])], [(1, [0, 4, 2]), (2, [1, 0, 0])]] {
            let mut elements = batch
                .iter()
                .map(|(device, slots)| {
                    let mut bytes = u32::to_ne_bytes(*device).to_vec();
                    bytes.extend(slots.iter().flat_map(|slot| slot.to_ne_bytes()));
                    let mut element = emitter.element();
                    element.reset(emitter.layout(), &bytes);
                    element
                })
                .collect();
            emitter.emit_array(&mut elements).unwrap();
        }
        histograms.pre_stop().unwrap();
        let texts: Vec<String> = receiver.iter().collect();
        let [text] = &texts[..] else { panic!("{texts:?}") };
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "latency");
        assert_eq!(lines[1], "        µs               : count    distribution");
        let count = |line: &str| {
            line.split(" : ")
                .nth(1)
                .unwrap()
                .split_whitespace()
                .next()
                .unwrap()
                .to_owned()
        };
        let bounds: Vec<&str> = lines[2..5]
            .iter()
            .map(|line| line.split(" : ").next().unwrap().trim())
            .collect();
        assert_eq!(bounds, ["0 -> 1", "1 -> 2", "2 -> 4"]);
        let counts = |from: usize| lines[from..from + 3].iter().map(|line| count(line)).collect::<Vec<_>>();
        assert_eq!(
            (counts(2), counts(7)),
            (
                ["1", "4", "4"].map(String::from).to_vec(),
                ["1", "0", "1"].map(String::from).to_vec()
            )
        );
        assert!(text.ends_with("|\n\n"), "{text:?}");
    }

    /// With acceptance check E6 of the data specification.
    #[test]
    fn only_where_the_metadata_asks_for_it() {
        let mut context = context("false");
        assert!(Metrics::instantiate(&mut context).unwrap().is_none());
        let mut context = super::tests::context("true");
        let mut histograms = Metrics::instantiate(&mut context).unwrap().unwrap();
        let mut values = ParamValues::new();
        for (interval, text) in [("24ms", "24ms"), ("10ms", "10ms"), ("0", "0s"), ("-1s", "-1s")] {
            values.set("operator.otel-metrics.otel-metrics-print-interval", interval);
            let error = histograms.configure(&values, &mut context).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("parsing print interval: expected at least 25ms, got {text}")
            );
        }
    }

    /// Elements of a data source with a counter, a gauge and a histogram; keys are texts that others control.
    #[test]
    fn counters_and_gauges_are_shown_with_their_keys() {
        let mut source = DataSource::new("calls", SourceType::Single, None);
        source.annotate("metrics.print", "true");
        source.annotate("metrics.implicit-counter.name", "elements");
        let mut add = |name: &str, kind: Scalar, role: &str| {
            let id = source.add_field(NewField::new(name, kind)).unwrap();
            source.annotate_field(id, "metrics.type", role);
            id
        };
        let comm = add("comm", Scalar::String, "key");
        let bytes = add("bytes", Scalar::Uint32, "counter");
        let load = add("load", Scalar::Float64, "gauge");
        source.annotate_field(bytes, "metrics.unit", "B");
        let accessors = [comm, bytes, load].map(|id| source.accessor(id));
        let [comm, bytes, load] = accessors;
        let mut context = Context::default();
        context.streams.push(Stream::new(source));
        let mut metrics = Metrics::instantiate(&mut context).unwrap().unwrap();
        metrics.configure(&ParamValues::new(), &mut context).unwrap();
        metrics.demand(&mut context);
        assert!(
            context.streams[0]
                .demand
                .wants(context.streams[0].source.find("comm").unwrap())
        );
        let rendered = &metrics.sources[0];
        let mut totals = Totals::new();
        let mut full = 0;
        for (name, count) in [("cat", 3), ("\x1b[2J", 5), ("cat", 4)] {
            let mut element = Element::new(context.streams[0].source.layout());
            comm.set(&mut element, name.as_bytes()).unwrap();
            bytes.set_bits(&mut element, count);
            load.set_bits(&mut element, (count as f64 / 2.0).to_bits());
            super::add(&rendered.instruments, &rendered.keys, &mut totals, &element, &mut full);
        }
        let lines = [
            "elements",
            r#"        comm="cat": 2"#,
            "",
            r#"        comm="\x1b[2J": 1"#,
            "",
            "bytes",
            r#"        comm="cat": 7 B"#,
            "",
            r#"        comm="\x1b[2J": 5 B"#,
            "",
            "load",
            r#"        comm="cat": 2"#,
            "",
            r#"        comm="\x1b[2J": 2.5"#,
            "",
            "",
        ];
        let text = text::text(&rendered.instruments, &totals);
        assert_eq!(text.split('\n').collect::<Vec<_>>(), lines);
        assert_eq!(full, 0);
    }
}
