//! What the sink writes, and when.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::output::FULL;
use super::*;
use crate::data::{DataSource, Element, LossPlace, NewField, Scalar, SourceType};
use crate::operators::Stream;

/// A writer that notes every write.
#[derive(Clone, Default)]
pub(super) struct Sheet {
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
    pub(super) fail: Option<io::ErrorKind>,
}

impl Sheet {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.writes.lock().unwrap().concat()).unwrap()
    }

    fn count(&self) -> usize {
        self.writes.lock().unwrap().len()
    }
}

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.fail {
            return Err(kind.into());
        }
        self.writes.lock().unwrap().push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Bench {
    context: Context,
    sheet: Sheet,
    output: Output,
}

/// A data source with fields `a` (shown) and `b` (also shown) set up with a sink.
fn bench(source_type: SourceType, annotations: &[(&str, &str)], options: &Options, sheet: Sheet) -> Result<Bench> {
    let mut ds = DataSource::new("test", source_type, None);
    ds.add_field(NewField::new("a", Scalar::String))?;
    ds.add_field(NewField::new("b", Scalar::Uint32))?;
    for (key, value) in annotations {
        ds.annotate(*key, *value);
    }
    let mut context = Context {
        streams: vec![Stream::new(ds)],
        ..Context::default()
    };
    let output = Output::new(Box::new(sheet.clone()));
    let mut sink = CliSink::instantiate(&context, options, output.clone())?;
    sink.demand(&mut context);
    sink.prepare(&mut context)?;
    Ok(Bench { context, sheet, output })
}

impl Bench {
    fn element(&self, a: &str) -> Element {
        let source = &self.context.streams[0].source;
        let mut element = Element::new(source.layout());
        let field = source.accessor(source.find("a").unwrap());
        field.set(&mut element, a.as_bytes()).unwrap();
        element
    }

    fn emit(&mut self, a: &str) {
        let mut element = self.element(a);
        self.context.streams[0].pipeline.emit(&mut element).unwrap();
    }

    fn emit_array(&mut self, values: &[&str]) {
        let mut elements: Vec<Element> = values.iter().map(|a| self.element(a)).collect();
        self.context.streams[0].pipeline.emit_array(&mut elements).unwrap();
    }

    fn flush(&mut self) {
        self.context.streams[0].pipeline.flush().unwrap();
    }

    fn wants(&self) -> Vec<&'static str> {
        let stream = &self.context.streams[0];
        let wants = |name: &&str| stream.demand.wants(stream.source.find(name).unwrap());
        ["a", "b"].into_iter().filter(wants).collect()
    }
}

/// Acceptance check J6 of the data specification.
#[test]
fn j6_an_empty_array_is_shown_as_one() {
    for (output, expected) in [("json", "[]\n"), ("jsonpretty", "[]\n"), ("yaml", ""), ("none", "")] {
        let mut bench = bench(SourceType::Array, &[], &mode(output), Sheet::default()).unwrap();
        bench.emit_array(&[]);
        bench.flush();
        bench.output.finish();
        assert_eq!(bench.sheet.text(), expected, "{output}");
    }
}

fn mode(output: &str) -> Options {
    Options {
        output: Some(output.to_owned()),
        ..Options::default()
    }
}

fn terminal(width: usize) -> Options {
    Options {
        terminal: Some(Arc::new(move || Some(width))),
        ..Options::default()
    }
}

#[test]
fn the_header_is_out_before_any_event() {
    let options = Options {
        fields: Some("a".to_owned()),
        ..Options::default()
    };
    let mut bench = bench(SourceType::Single, &[], &options, Sheet::default()).unwrap();
    assert_eq!(bench.sheet.text(), "A               \n");
    assert_eq!(bench.wants(), ["a"], "hidden columns cost nothing");
    bench.emit("x");
    bench.flush();
    assert_eq!(bench.sheet.text(), "A               \nx               \n");
}

#[test]
fn writes_are_one_per_pause_and_never_one_per_event() {
    let mut bench = bench(SourceType::Single, &[], &mode("json"), Sheet::default()).unwrap();
    for _ in 0..100 {
        bench.emit("x");
    }
    assert_eq!(bench.sheet.count(), 0, "nothing is written while the producer goes on");
    bench.flush();
    bench.flush();
    assert_eq!(bench.sheet.count(), 1);
    assert_eq!(bench.sheet.text(), "{\"a\":\"x\",\"b\":0}\n".repeat(100));
    let long = "y".repeat(FULL / 4);
    for _ in 0..9 {
        bench.emit(&long);
    }
    assert_eq!(bench.sheet.count(), 3, "full buffers are written at once");
}

#[test]
fn structured_modes() {
    let single = |options| {
        let mut bench = bench(SourceType::Single, &[], &options, Sheet::default()).unwrap();
        bench.emit("x");
        bench.flush();
        (bench.sheet.text(), bench.wants())
    };
    let all = vec!["a", "b"];
    assert_eq!(
        single(mode("json")),
        ("{\"a\":\"x\",\"b\":0}\n".to_owned(), all.clone())
    );
    assert_eq!(single(mode("jsonpretty")).0, "{\n  \"a\": \"x\",\n  \"b\": 0\n}\n");
    assert_eq!(single(mode("test:yaml")), ("---\na: x\nb: 0\n".to_owned(), all));
    assert_eq!(single(mode("none")), (String::new(), Vec::new()));
}

#[test]
fn nothing_subscribes_for_mode_none() {
    let bench = bench(SourceType::Single, &[], &mode("none"), Sheet::default()).unwrap();
    assert!(bench.context.streams[0].pipeline.is_empty());
}

#[test]
fn array_sources() {
    let array = |options, annotations: &[(&str, &str)]| {
        let mut bench = bench(SourceType::Array, annotations, &options, Sheet::default()).unwrap();
        bench.emit_array(&["x"]);
        bench.emit_array(&[]);
        bench.flush();
        bench.sheet.text()
    };
    let header = "A                B               \n";
    let row = "x                0               \n";
    assert_eq!(array(Options::default(), &[]), format!("{header}{row}{header}"));
    assert_eq!(array(mode("json"), &[]), "[{\"a\":\"x\",\"b\":0}]\n[]\n");
    assert_eq!(
        array(mode("jsonpretty"), &[]),
        "[\n  {\n    \"a\": \"x\",\n    \"b\": 0\n  }\n]\n[]\n"
    );
    assert_eq!(array(mode("yaml"), &[]), "---\na: x\nb: 0\n");

    let refreshing = [("cli.clear-screen-before", "true")];
    assert_eq!(
        array(Options::default(), &refreshing),
        format!("{header}{header}{row}{header}"),
        "no codes into pipes"
    );
    let clear = "\x1b[H\x1b[2J";
    let (header, row) = ("A            B         \n", "x            0         \n");
    assert_eq!(
        array(terminal(23), &refreshing),
        format!("{clear}{header}{clear}{header}{row}{clear}{header}")
    );
}

#[test]
fn text_modes_are_the_texts_of_all_fields() {
    let advise = [("cli.supported-output-modes", "advise")];
    let text = |options| {
        let mut bench = bench(SourceType::Single, &advise, &options, Sheet::default()).unwrap();
        bench.emit("line\n\x1b[2J");
        bench.flush();
        bench.sheet.text()
    };
    assert_eq!(text(Options::default()), "line\n\x1b[2J\0\0\0\0");
    assert_eq!(
        text(terminal(80)),
        "line\n\\x1b[2J\\x00\\x00\\x00\\x00",
        "but nothing acts on a terminal"
    );
}

#[test]
fn json_on_a_terminal_is_escaped_further() {
    let options = Options {
        output: Some("json".to_owned()),
        ..terminal(80)
    };
    let mut bench = bench(SourceType::Single, &[], &options, Sheet::default()).unwrap();
    bench.emit("\u{9b}2J");
    bench.flush();
    assert_eq!(bench.sheet.text(), "{\"a\":\"\\u009b2J\",\"b\":0}\n");
}

#[test]
fn wrong_options_are_errors() {
    let error = |options| {
        bench(SourceType::Single, &[], &options, Sheet::default())
            .err()
            .unwrap()
            .to_string()
    };
    let fields = |fields: &str| Options {
        fields: Some(fields.to_owned()),
        ..Options::default()
    };
    assert_eq!(
        error(mode("bad")),
        "output mode \"bad\" for data source \"test\" is not supported\n | bad\n | ^"
    );
    assert_eq!(
        error(mode("nosuch:json")),
        "--output: unknown data source \"nosuch\"\n | nosuch:json\n | ^"
    );
    assert_eq!(
        error(fields("nosuch")),
        "failed to set fields of data source \"test\": column \"nosuch\" is invalid\n | nosuch\n | ^"
    );
    assert_eq!(
        error(fields("nosuch:a")),
        "--fields: unknown data source \"nosuch\"\n | nosuch:a\n | ^"
    );
    let capture = [("cli.supported-output-modes", "pcap-ng")];
    let error = bench(SourceType::Single, &capture, &Options::default(), Sheet::default())
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "output mode \"pcap-ng\" of data source \"test\": pcap.payload annotation not found"
    );
    let ignored = Options {
        output: Some("json".to_owned()),
        ..fields("nosuch")
    };
    assert!(
        bench(SourceType::Single, &[], &ignored, Sheet::default()).is_ok(),
        "columns only"
    );
}

#[test]
fn notes_name_what_was_left_out() {
    let mut ds = DataSource::new("test", SourceType::Single, None);
    for name in ["a", "b", "c"] {
        ds.add_field(NewField::new(name, Scalar::String)).unwrap();
    }
    let context = Context {
        streams: vec![Stream::new(ds)],
        ..Context::default()
    };
    let output = Output::new(Box::new(Sheet::default()));
    let sink = CliSink::instantiate(&context, &terminal(20), output).unwrap();
    assert_eq!(
        sink.notes(),
        ["the terminal is too narrow for all columns of test; left out: c (name what you need with --fields)"]
    );
}

fn ending_with(kind: io::ErrorKind) -> (Bench, usize) {
    let sheet = Sheet {
        fail: Some(kind),
        ..Sheet::default()
    };
    let mut bench = bench(SourceType::Single, &[], &mode("json"), sheet).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    bench.output.on_end(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    assert!(!bench.output.ended());
    for _ in 0..3 {
        bench.emit("x");
        bench.flush();
    }
    let calls = calls.load(Ordering::Relaxed);
    (bench, calls)
}

#[test]
fn a_reader_that_went_away_ends_the_run_quietly() {
    let (bench, calls) = ending_with(io::ErrorKind::BrokenPipe);
    assert_eq!(calls, 1);
    assert!(bench.output.ended());
    assert!(bench.output.take_error().is_none());
}

#[test]
fn a_full_disk_ends_the_run_with_an_error() {
    let (bench, calls) = ending_with(io::ErrorKind::StorageFull);
    assert_eq!(calls, 1);
    let error = bench.output.take_error().unwrap();
    assert!(error.to_string().starts_with("writing output: "), "{error}");
    assert!(bench.output.take_error().is_none(), "reported once");
}

/// Several streams with a sink: every one has a text `a`, a number `when_raw` with a time and its text `when`.
fn times(options: &Options) -> (Context, Sheet, Vec<String>) {
    let streams = ["x", "y"].map(|name| {
        let mut ds = DataSource::new(name, SourceType::Single, None);
        let raw = NewField::new("when_raw", Scalar::Uint64).tag("type:gadget_timestamp");
        ds.add_field(raw).unwrap();
        ds.add_field(NewField::new("when", Scalar::String)).unwrap();
        Stream::new(ds)
    });
    let mut context = Context {
        streams: streams.into(),
        ..Context::default()
    };
    let sheet = Sheet::default();
    let mut sink = CliSink::instantiate(&context, options, Output::new(Box::new(sheet.clone()))).unwrap();
    sink.demand(&mut context);
    let notes = sink.notes().to_vec();
    sink.prepare(&mut context).unwrap();
    (context, sheet, notes)
}

fn show_time(context: &mut Context, stream: usize, wall: u64) {
    let stream = &mut context.streams[stream];
    let mut element = Element::new(stream.source.layout());
    let accessor = |name| stream.source.accessor(stream.source.find(name).unwrap());
    accessor("when_raw").set_bits(&mut element, wall);
    accessor("when").set(&mut element, b"local text").unwrap();
    stream.pipeline.emit(&mut element).unwrap();
    stream.pipeline.flush().unwrap();
}

#[test]
fn columns_show_times_as_asked() {
    let text = |timestamps, output: Option<&str>| {
        let options = Options {
            fields: Some("when".to_owned()),
            output: output.map(str::to_owned),
            timestamps,
            ..Options::default()
        };
        let (mut context, sheet, notes) = times(&options);
        assert_eq!(notes.is_empty(), output.is_none() || timestamps == Timestamps::Local);
        let wants = |name: &str| {
            let stream = &context.streams[0];
            stream.demand.wants(stream.source.find(name).unwrap())
        };
        let demand = (wants("when_raw"), wants("when"));
        show_time(&mut context, 0, 1_795_256_225_574_562_366);
        show_time(&mut context, 1, 1_795_256_226_574_562_367);
        (sheet.text().replace("WHEN            \n", ""), demand)
    };
    let local = ("local text      \nlocal text      \n".to_owned(), (false, true));
    assert_eq!(text(Timestamps::Local, None), local);
    assert_eq!(
        text(Timestamps::Utc, None),
        ("2026-11-21T10:1…\n2026-11-21T10:1…\n".to_owned(), (true, false)),
        "the local text is not even made"
    );
    assert_eq!(
        text(Timestamps::Relative, None).0,
        "+0.000000000    \n+1.000000001    \n",
        "the same start for all data sources"
    );
    let json = "{\"when\":\"local text\",\"when_raw\":1795256225574562366}\n{\"when\":\"local text\",\"when_raw\":1795256226574562367}\n";
    assert_eq!(text(Timestamps::Utc, Some("json")), (json.to_owned(), (true, true)));
    assert_eq!(text(Timestamps::Relative, Some("json")).0, json);
}

#[test]
fn options_that_change_nothing_are_said() {
    let options = Options {
        fields: Some("a".to_owned()),
        timestamps: Timestamps::Utc,
        loss_records: true,
        ..Options::default()
    };
    let mut ds = DataSource::new("test", SourceType::Single, None);
    ds.add_field(NewField::new("a", Scalar::String)).unwrap();
    let context = Context {
        streams: vec![Stream::new(ds)],
        ..Context::default()
    };
    let sink = CliSink::instantiate(&context, &options, Output::new(Box::new(Sheet::default()))).unwrap();
    assert_eq!(
        sink.notes(),
        [
            "--timestamps: no column shows a time; name one with --fields, for example +timestamp",
            "--loss-records: only the JSON of single data sources has such records"
        ]
    );
}

fn with_loss_records(output: &str) -> Options {
    Options {
        loss_records: true,
        ..mode(output)
    }
}

#[test]
fn losses_are_said_where_they_happened() {
    let text = |options: &Options, source_type| {
        let mut bench = bench(source_type, &[], options, Sheet::default()).unwrap();
        let lose = |bench: &mut Bench, place, count| bench.context.streams[0].pipeline.lose(place, count).unwrap();
        if source_type == SourceType::Array {
            bench.emit_array(&["1"]);
            lose(&mut bench, LossPlace::Buffer, 3);
        } else {
            bench.emit("1");
            lose(&mut bench, LossPlace::Buffer, 3);
            bench.emit("2");
            lose(&mut bench, LossPlace::Failed, 1);
        }
        bench.flush();
        bench.sheet.text()
    };
    assert_eq!(
        text(&with_loss_records("json"), SourceType::Single),
        "{\"a\":\"1\",\"b\":0}\n{\"lost\":3,\"reason\":\"buffer\"}\n\
         {\"a\":\"2\",\"b\":0}\n{\"lost\":1,\"reason\":\"failed\"}\n"
    );
    let pretty = text(&with_loss_records("jsonpretty"), SourceType::Single);
    assert!(
        pretty.contains("}\n{\n  \"lost\": 3,\n  \"reason\": \"buffer\"\n}\n{\n"),
        "{pretty}"
    );
    assert!(
        !text(&mode("json"), SourceType::Single).contains("lost"),
        "only if asked for"
    );
    assert!(!text(&with_loss_records("yaml"), SourceType::Single).contains("lost"));
    assert!(!text(&with_loss_records("json"), SourceType::Array).contains("lost"));
}

#[test]
fn loss_records_name_the_data_source_if_there_are_several() {
    let (mut context, sheet, _) = times(&with_loss_records("json"));
    context.streams[1].pipeline.lose(LossPlace::Held, 2).unwrap();
    context.streams[1].pipeline.flush().unwrap();
    assert_eq!(sheet.text(), "{\"datasource\":\"y\",\"lost\":2,\"reason\":\"held\"}\n");
}

#[test]
fn csv_has_its_header_once() {
    let csv = |source_type| {
        let mut bench = bench(source_type, &[], &mode("csv"), Sheet::default()).unwrap();
        assert_eq!(bench.sheet.text(), "a,b\n", "before any event");
        if source_type == SourceType::Array {
            bench.emit_array(&["x", "y,z"]);
            bench.emit_array(&[]);
            bench.emit_array(&["\n"]);
        } else {
            for text in ["x", "y,z", "\n"] {
                bench.emit(text);
            }
        }
        bench.flush();
        bench.sheet.text()
    };
    for source_type in [SourceType::Single, SourceType::Array] {
        assert_eq!(csv(source_type), "a,b\nx,0\n\"y,z\",0\n\"\n\",0\n");
    }
}

#[test]
fn capture_files_stand_alone() {
    let capturing = [
        ("cli.supported-output-modes", "pcap-ng,json"),
        ("cli.default-output-mode", "pcap-ng"),
    ];
    let error = |options: &Options, with: &[&str]| {
        let streams = with.iter().map(|name| {
            let mut ds = DataSource::new(*name, SourceType::Single, None);
            if *name == "packets" {
                capturing.iter().for_each(|(key, value)| ds.annotate(*key, *value));
            }
            Stream::new(ds)
        });
        let context = Context {
            streams: streams.collect(),
            ..Context::default()
        };
        CliSink::instantiate(&context, options, Output::new(Box::new(Sheet::default())))
            .err()
            .unwrap()
    };
    let to_terminal = error(&terminal(80), &["packets"]);
    assert_eq!(
        to_terminal.to_string(),
        "output mode \"pcap-ng\" of data source \"packets\" is binary and standard output is a terminal"
    );
    let mixed = error(&Options::default(), &["other", "packets"]);
    assert_eq!(
        mixed.to_string(),
        "output mode \"pcap-ng\" of data source \"packets\" and data source \"other\" cannot share standard output"
    );
    assert_eq!(mixed.hint(), Some("-o packets:pcap-ng,other:none"));
    let alone = error(&mode("pcap-ng"), &["other", "packets"]);
    assert!(
        alone.to_string().ends_with("pcap.payload annotation not found"),
        "{alone}"
    );
}
