//! Histograms as text, for data sources whose metadata says `metrics.print: true`.
//!
//! The data source itself is not shown. In its place there is `<name>-rendered`, whose only field is the text of all its
//! histograms since the start, at every interval. Who asks for JSON gets them so in that field.

mod render;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::render::{Counted, Counts, Form, Key, Measured};
use super::{Context, Explanation, Instance, OperatorNote, priority};
use crate::data::{
    Accessor, DataSource, Emitter, Field, FieldId, Flow, Kind, LossPlace, NewField, Scalar, SourceType, Stream,
};
use crate::metadata::duration;
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
/// Histograms that are kept; elements with further keys are counted as failed.
const MAX_HISTOGRAMS: usize = 10_000;

/// The histograms' part in one gadget.
#[derive(Debug)]
pub struct Histograms {
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
    fields: Vec<(Measured, Accessor)>,
    keys: Vec<Key>,
    form: Form,
    counts: Arc<Mutex<Counts>>,
}

impl Histograms {
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
            let role = |wanted: &str| -> Vec<FieldId> {
                let is_wanted = |id: &FieldId| role_of(source, *id) == Some(wanted);
                source.fields().map(|(id, _)| id).filter(is_wanted).collect()
            };
            let fields = role("histogram")
                .into_iter()
                .filter_map(|id| {
                    let field = source.get(id);
                    matches!(field.kind(), Kind::Array(Scalar::Uint32 | Scalar::Uint64)).then(|| {
                        let measured = Measured {
                            name: metric_name(field),
                            unit: field.annotation("metrics.unit").unwrap_or_default().to_owned(),
                        };
                        (measured, source.accessor(id))
                    })
                })
                .collect();
            let keys = role("key")
                .into_iter()
                .map(|id| Key {
                    name: metric_name(source.get(id)),
                    accessor: source.accessor(id),
                })
                .collect();
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
                fields,
                keys,
                form: Form::default(),
                counts: Arc::default(),
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

/// What a field is for: what its annotation says, else what its type says.
fn role_of(source: &DataSource, id: FieldId) -> Option<&str> {
    let field = source.get(id);
    let said = field.annotation("metrics.type").filter(|said| !said.is_empty());
    said.or_else(|| {
        let of_slots = ["type:gadget_histogram_slot__u32", "type:gadget_histogram_slot__u64"];
        of_slots.iter().any(|tag| field.has_tag(tag)).then_some("histogram")
    })
}

fn metric_name(field: &Field) -> String {
    let said = field.annotation("metrics.name").filter(|name| !name.is_empty());
    said.unwrap_or(field.full_name()).to_owned()
}

/// The slots in the bytes of an array.
fn slots(kind: Kind, bytes: &[u8]) -> Vec<u64> {
    match kind {
        Kind::Array(Scalar::Uint32) => {
            let (numbers, _) = bytes.as_chunks::<4>();
            numbers
                .iter()
                .map(|number| u64::from(u32::from_ne_bytes(*number)))
                .collect()
        }
        _ => {
            let (numbers, _) = bytes.as_chunks::<8>();
            numbers.iter().map(|number| u64::from_ne_bytes(*number)).collect()
        }
    }
}

impl Instance for Histograms {
    fn name(&self) -> &'static str {
        "histograms"
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
        for source in &mut self.sources {
            source.form = match modes.asked(&context.streams[source.rendered].source) {
                Some("json") => Form::Json,
                Some("jsonpretty") => Form::JsonPretty,
                _ => Form::Text,
            };
        }
        Ok(())
    }

    fn explain(&self, _context: &Context, to: &mut Explanation) {
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: true,
            why: "the metadata asks for histograms as text".to_owned(),
        });
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for source in &self.sources {
            let stream = &mut context.streams[source.stream];
            let (counts, losses) = (Arc::clone(&source.counts), Arc::clone(&stream.losses));
            let fields: Vec<Accessor> = source.fields.iter().map(|(_, slots)| *slots).collect();
            let keys = source.keys.clone();
            stream
                .pipeline
                .subscribe(priority::subscription::METRICS, move |element| {
                    let mut key = Vec::new();
                    for Key { accessor, .. } in &keys {
                        let bytes = accessor.bytes(element);
                        key.extend_from_slice(&bytes.len().to_ne_bytes());
                        key.extend_from_slice(bytes);
                    }
                    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                    for (index, accessor) in fields.iter().enumerate() {
                        let new = slots(accessor.kind(), accessor.bytes(element));
                        let key = (index, key.clone());
                        if counts.len() >= MAX_HISTOGRAMS && !counts.contains_key(&key) {
                            losses.add(LossPlace::Failed, 1);
                            continue;
                        }
                        let known = counts.entry(key).or_insert_with(|| Counted {
                            attributes: render::attributes(&keys, element),
                            slots: vec![0; new.len()],
                        });
                        for (known, new) in known.slots.iter_mut().zip(new) {
                            *known = known.saturating_add(new);
                        }
                    }
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
                fields: source.fields.iter().map(|(field, _)| field.clone()).collect(),
                form: source.form,
                counts: Arc::clone(&source.counts),
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
    fields: Vec<Measured>,
    form: Form,
    counts: Arc<Mutex<Counts>>,
    /// What was emitted last.
    last: String,
}

impl Work {
    fn text(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        self.form.render(&self.fields, &counts)
    }

    fn emit(&mut self) {
        let text = self.text();
        let mut element = self.emitter.element();
        self.field
            .write(&mut element, |out| out.extend_from_slice(text.as_bytes()));
        if let Err(error) = self.emitter.emit(&mut element).and_then(|()| self.emitter.flush()) {
            tracing::warn!("histograms: {error}");
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
            .name("ig-histograms".to_owned())
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
                "the thread that prints histograms has panicked",
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
            name: name.to_owned(),
            kind,
            offset,
            size,
            bits: None,
            parent: None,
            tags: vec![tag.to_owned()],
            annotations: crate::data::Annotations::default(),
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
        let mut histograms = Histograms::instantiate(&mut context).unwrap().unwrap();
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

    #[test]
    fn only_where_the_metadata_asks_for_it() {
        let mut context = context("false");
        assert!(Histograms::instantiate(&mut context).unwrap().is_none());
        let mut context = super::tests::context("true");
        let mut histograms = Histograms::instantiate(&mut context).unwrap().unwrap();
        let mut values = ParamValues::new();
        values.set("operator.otel-metrics.otel-metrics-print-interval", "24ms");
        let error = histograms.configure(&values, &mut context).unwrap_err().to_string();
        assert_eq!(error, "parsing print interval: expected at least 25ms, got 24ms");
    }
}
