//! What the sink writes in every mode, byte for byte, through the library as anybody may use it; and that nothing of what traced
//! processes say acts on a terminal.

mod common;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use common::Ig;
use common::docker::{Container, Waiting};
use inspektor_gadget::data::{DataSource, Element, FieldId, Flags, Kind, LossPlace, NewField, Scalar, SourceType};
use inspektor_gadget::operators::sink::{CliSink, Options, Output, Timestamps};
use inspektor_gadget::operators::{Context, Instance, Stream};

#[derive(Clone, Default)]
struct Sheet(Arc<Mutex<Vec<u8>>>);

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fields with values: texts, numbers of all sorts, bytes, arrays, hidden ones, parents.
fn add_fields(ds: &mut DataSource) {
    let text = [
        ("columns.width", "16"),
        ("columns.ellipsis", "end"),
        ("columns.alignment", "left"),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        let mut all = text.to_vec();
        all.retain(|(key, _)| !more.iter().any(|(other, _)| key == other));
        all.extend_from_slice(more);
        all
    };
    let runtime = ds.add_field(NewField::empty("runtime").order(-10)).unwrap();
    let name = NewField::new("containerName", Scalar::String).order(-9);
    ds.add_sub_field(runtime, name).unwrap();
    let raw = NewField::new("timestamp_raw", Scalar::Uint64)
        .flags(Flags::HIDDEN)
        .tag("type:gadget_timestamp");
    ds.add_field(raw).unwrap();
    let stamp = NewField::new("timestamp", Scalar::String)
        .flags(Flags::HIDDEN)
        .annotations(with(&[("columns.width", "35"), ("columns.maxwidth", "35")]));
    ds.add_field(stamp).unwrap();
    let proc = ds.add_field(NewField::empty("proc")).unwrap();
    let comm = with(&[("columns.maxwidth", "16"), ("columns.alias", "comm")]);
    ds.add_sub_field(proc, NewField::new("comm", Scalar::CString).annotations(comm))
        .unwrap();
    let right = [
        ("columns.alignment", "right"),
        ("columns.alias", "pid"),
        ("columns.minwidth", "7"),
    ];
    ds.add_sub_field(proc, NewField::new("pid", Scalar::Uint32).annotations(with(&right)))
        .unwrap();
    let hex = with(&[("columns.hex", "true"), ("columns.width", "8")]);
    ds.add_field(NewField::new("flags", Scalar::Uint32).annotations(hex))
        .unwrap();
    let ratio = with(&[("columns.precision", "2"), ("columns.width", "8")]);
    ds.add_field(NewField::new("ratio", Scalar::Float64).annotations(ratio))
        .unwrap();
    ds.add_field(NewField::new("ok", Scalar::Bool).annotations(with(&[("columns.width", "type")])))
        .unwrap();
    ds.add_field(NewField::new("delta", Scalar::Int64).flags(Flags::HIDDEN))
        .unwrap();
    ds.add_field(NewField::new("data", Scalar::Bytes).flags(Flags::HIDDEN))
        .unwrap();
    let list = NewField::new("list", Kind::Array(Scalar::Uint16)).flags(Flags::HIDDEN);
    ds.add_field(list).unwrap();
    let middle = with(&[("columns.ellipsis", "middle")]);
    ds.add_field(NewField::new("fname", Scalar::String).annotations(middle))
        .unwrap();
}

/// A gadget with one data source, its sink, and what was written.
struct Bench {
    context: Context,
    sink: CliSink,
    sheet: Sheet,
}

impl Bench {
    fn new(ds: DataSource, options: &Options) -> Self {
        let mut context = Context {
            streams: vec![Stream::new(ds)],
            ..Context::default()
        };
        let sheet = Sheet::default();
        let output = Output::new(Box::new(sheet.clone()));
        let mut sink = CliSink::instantiate(&context, options, output).unwrap();
        sink.demand(&mut context);
        sink.prepare(&mut context).unwrap();
        Self { context, sink, sheet }
    }

    fn element(&self, values: &[(&str, &[u8])]) -> Element {
        let source = &self.context.streams[0].source;
        let mut element = Element::new(source.layout());
        for (name, value) in values {
            let id: FieldId = source.find(name).unwrap();
            source.accessor(id).set(&mut element, value).unwrap();
        }
        element
    }

    fn emit(&mut self, values: &[(&str, &[u8])]) {
        let mut element = self.element(values);
        self.context.streams[0].pipeline.emit(&mut element).unwrap();
    }

    fn emit_array(&mut self, batch: &[&[(&str, &[u8])]]) {
        let mut elements = batch.iter().map(|values| self.element(values)).collect();
        self.context.streams[0].pipeline.emit_array(&mut elements).unwrap();
    }

    fn bytes(mut self) -> Vec<u8> {
        self.context.streams[0].pipeline.flush().unwrap();
        self.sink.stop().unwrap();
        self.sheet.0.lock().unwrap().clone()
    }

    fn text(self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

const RAW: (&str, &str) = ("cli.supported-output-modes", "columns,json,jsonpretty,none,yaml,raw");

fn single(options: &Options) -> Bench {
    let mut ds = DataSource::new("open", SourceType::Single, None);
    add_fields(&mut ds);
    ds.annotate(RAW.0, RAW.1);
    Bench::new(ds, options)
}

fn options(output: &str, width: Option<usize>) -> Options {
    Options {
        output: Some(output.to_owned()),
        terminal: width.map(|width| Arc::new(move || Some(width)) as _),
        ..Options::default()
    }
}

/// Shows two events and a loss between them.
fn events(options: &Options) -> String {
    let mut bench = single(options);
    bench.emit(&[
        ("runtime.containerName", b"web"),
        ("timestamp_raw", &1_795_256_225_574_562_366u64.to_ne_bytes()),
        ("timestamp", b"2026-11-21T11:17:05.574562366+01:00"),
        ("proc.comm", b"curl\0junk"),
        ("proc.pid", &1234u32.to_ne_bytes()),
        ("flags", &0x8042u32.to_ne_bytes()),
        ("ratio", &0.125f64.to_ne_bytes()),
        ("ok", &[1]),
        ("delta", &(-5i64).to_ne_bytes()),
        ("data", &[0, 0xff, 0x10]),
        ("list", &[1u16, 65535].map(u16::to_ne_bytes).concat()),
        ("fname", b"/usr/share/zoneinfo/Europe/Berlin"),
    ]);
    let stream = &mut bench.context.streams[0];
    stream.pipeline.lose(LossPlace::Buffer, 12).unwrap();
    bench.emit(&[
        ("timestamp_raw", &1_795_256_226_574_562_365u64.to_ne_bytes()),
        ("proc.comm", "größe, \"x\"\n".as_bytes()),
        ("ratio", &f64::INFINITY.to_ne_bytes()),
        ("fname", b"123"),
    ]);
    bench.text()
}

/// Lines whose trailing blanks can be seen.
fn visible(text: &str) -> String {
    text.lines().map(|line| format!("{line}|\n")).collect()
}

#[test]
fn columns() {
    insta::assert_snapshot!("columns-pipe", visible(&events(&options("columns", None))));
    insta::assert_snapshot!("columns-80", visible(&events(&options("columns", Some(80)))));
    insta::assert_snapshot!("columns-40", visible(&events(&options("columns", Some(40)))));
    let all = Options {
        fields: Some("comm,PID,flags,ratio,ok,delta,data,list,fname".to_owned()),
        ..options("columns", Some(100))
    };
    insta::assert_snapshot!("columns-named-100", visible(&events(&all)));
}

#[test]
fn times_in_columns() {
    let times = |timestamps| {
        let options = Options {
            fields: Some("timestamp,comm".to_owned()),
            timestamps,
            ..options("columns", None)
        };
        visible(&events(&options))
    };
    insta::assert_snapshot!("timestamps-local", times(Timestamps::Local));
    insta::assert_snapshot!("timestamps-utc", times(Timestamps::Utc));
    insta::assert_snapshot!("timestamps-relative", times(Timestamps::Relative));
}

#[test]
fn structured() {
    insta::assert_snapshot!("json", events(&options("json", None)));
    insta::assert_snapshot!("jsonpretty", events(&options("jsonpretty", None)));
    insta::assert_snapshot!("yaml", events(&options("yaml", None)));
    insta::assert_snapshot!("csv", events(&options("csv", None)));
    insta::assert_snapshot!("csv-terminal", events(&options("csv", Some(80))));
    assert_eq!(events(&options("none", None)), "");
    let records = |output| Options {
        loss_records: true,
        ..options(output, None)
    };
    insta::assert_snapshot!("json-loss-records", events(&records("json")));
    insta::assert_snapshot!("jsonpretty-loss-records", events(&records("jsonpretty")));
}

fn top(options: &Options) -> String {
    let mut ds = DataSource::new("top", SourceType::Array, None);
    ds.add_field(NewField::new("comm", Scalar::String)).unwrap();
    ds.add_field(NewField::new("count", Scalar::Uint64)).unwrap();
    ds.annotate("cli.clear-screen-before", "true");
    let mut bench = Bench::new(ds, options);
    let batch: [&[(&str, &[u8])]; 2] = [
        &[("comm", b"sh"), ("count", &[7, 0, 0, 0, 0, 0, 0, 0])],
        &[("comm", b"a,b")],
    ];
    bench.emit_array(&batch);
    bench.emit_array(&[]);
    bench.emit_array(&batch[..1]);
    bench.text()
}

#[test]
fn batches() {
    let mut all = String::new();
    for mode in ["columns", "json", "jsonpretty", "yaml", "csv", "none"] {
        all.push_str(&format!("== {mode}\n{}", visible(&top(&options(mode, None)))));
    }
    insta::assert_snapshot!("batches-pipe", all);
    let refreshing = top(&options("columns", Some(40)));
    insta::assert_snapshot!("batches-40", visible(&refreshing.replace('\x1b', "ESC")));
}

#[test]
fn raw() {
    let raw = |width: Option<usize>| {
        let mut ds = DataSource::new("advise", SourceType::Single, None);
        ds.add_field(NewField::new("text", Scalar::String)).unwrap();
        ds.add_field(NewField::new("more", Scalar::CString).flags(Flags::HIDDEN))
            .unwrap();
        ds.annotate("cli.supported-output-modes", "advise");
        ds.annotate("cli.clear-screen-before", "true");
        let mut bench = Bench::new(
            ds,
            &Options {
                output: None,
                ..options("", width)
            },
        );
        bench.emit(&[("text", b"// one\nline\t\x1b[31m"), ("more", b"two\0three")]);
        bench.emit(&[("text", b"!\n")]);
        bench.text()
    };
    assert_eq!(raw(None), "// one\nline\t\x1b[31mtwo!\n");
    assert_eq!(raw(Some(80)), "\x1b[H\x1b[2J// one\nline\t\\x1b[31mtwo\x1b[H\x1b[2J!\n");
}

#[test]
fn pcap_ng() {
    let mut ds = DataSource::new("packets", SourceType::Single, None);
    ds.add_field(NewField::new("payload", Scalar::Bytes)).unwrap();
    ds.add_field(NewField::new("time", Scalar::Uint64)).unwrap();
    ds.add_field(NewField::new("length", Scalar::Uint32)).unwrap();
    let container = ds.add_field(NewField::new("container", Scalar::String)).unwrap();
    ds.annotate_field(container, "pcap.interface-var", "container");
    for (key, value) in [
        ("cli.supported-output-modes", "pcap-ng,columns"),
        ("pcap.payload", "payload"),
        ("pcap.timestamp", "time"),
        ("pcap.packet-length", "length"),
    ] {
        ds.annotate(key, value);
    }
    let mut bench = Bench::new(ds, &options("pcap-ng", None));
    for container in [&b"web"[..], b"db 1", b"web"] {
        bench.emit(&[
            ("payload", b"\x01\x02\x03\x04\x05"),
            ("time", &1_795_256_225_574_562u64.to_ne_bytes()),
            ("length", &1500u32.to_ne_bytes()),
            ("container", container),
        ]);
    }
    let bytes = bench.bytes();
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut blocks = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let (kind, length) = (word(at), word(at + 4) as usize);
        // The section's header names the machine.
        let body: String = match kind {
            0x0a0d_0d0a => "(section)".to_owned(),
            _ => bytes[at + 8..at + length - 4].escape_ascii().to_string(),
        };
        blocks.push_str(&format!("{kind:x} {body}\n"));
        at += length;
    }
    assert_eq!(at, bytes.len());
    insta::assert_snapshot!("pcap-ng", blocks);
}

/// What traced processes, images and runtimes may say.
fn hostile() -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = [
        &b"\x1b]0;title\x07\x1b[2J\x1b[31m"[..],
        b"two\nlines\r\nthree",
        b"\xff\xfe\xc3(\xe2\x82",
        b"\xed\xa0\x80\xf4\x90\x80\x80",
        b"before\0after",
        b"tab\tbell\x07back\x08del\x7f",
        b"quotes\"'`$(reboot)\\",
        b"{\"a\": [1, ",
        b"---\n- !!python/object: x\n# comment",
        b"=cmd|' /C calc'!A0,+1,-1,@x;y",
    ]
    .map(<[u8]>::to_vec)
    .into();
    for text in [
        "\u{202e}gpj.exe\u{2066}\u{2069}",
        "\u{9b}31m\u{85}\u{80}\u{9f}\u{90}q",
        "\u{200b}\u{200f}\u{feff}\u{ad}\u{2028}\u{2029}",
        "\u{e0001}\u{e0041}\u{fffe}\u{10ffff}",
        "größe 日本語 🦀",
    ] {
        texts.push(text.as_bytes().to_vec());
    }
    texts.push(vec![b'A'; 100_000]);
    texts.push(b"\x1b\xff\n".repeat(3000));
    texts
}

/// Whether a terminal would act on a character, or show it where it is not or not at all.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}' | '\u{fffe}' | '\u{10ffff}')
}

fn show_hostile(mode: &str, width: Option<usize>, text: &[u8]) -> Vec<u8> {
    let mut ds = DataSource::new("open", SourceType::Single, None);
    add_fields(&mut ds);
    ds.add_field(NewField::new("na\x1b[2Jme\u{202e}\n", Scalar::String))
        .unwrap();
    ds.annotate(RAW.0, RAW.1);
    let mut bench = Bench::new(ds, &options(mode, width));
    bench.emit(&[
        ("proc.comm", text),
        ("runtime.containerName", text),
        ("fname", text),
        ("data", text),
    ]);
    bench.bytes()
}

#[test]
fn nothing_hostile_reaches_a_terminal() {
    for mode in ["columns", "json", "jsonpretty", "yaml", "csv", "raw"] {
        for text in hostile() {
            for width in [None, Some(80), Some(3)] {
                if width.is_none() && mode != "columns" {
                    continue;
                }
                let shown = show_hostile(mode, width, &text);
                let shown = String::from_utf8(shown).unwrap_or_else(|e| panic!("{mode} is not UTF-8: {e}"));
                let allowed = |c: char| c == '\n' || c == '\t' && mode == "raw";
                let bad: Vec<char> = shown.chars().filter(|c| deceives(*c) && !allowed(*c)).collect();
                assert!(
                    bad.is_empty(),
                    "{mode} at {width:?}: {bad:?} from {}",
                    text.escape_ascii()
                );
                if mode == "columns" {
                    assert_eq!(shown.lines().count(), 2, "a row is a line");
                }
            }
        }
    }
}

#[test]
fn structured_output_can_always_be_read() {
    for text in hostile() {
        let expected = String::from_utf8(text.clone()).ok();
        for width in [None, Some(80)] {
            for mode in ["json", "jsonpretty"] {
                let value: serde_json::Value = serde_json::from_slice(&show_hostile(mode, width, &text)).unwrap();
                if let Some(expected) = &expected {
                    assert_eq!(value["fname"].as_str(), Some(expected.as_str()));
                    let until_nul = expected.split('\0').next();
                    assert_eq!(value["proc"]["comm"].as_str(), until_nul);
                }
            }
            let yaml = String::from_utf8(show_hostile("yaml", width, &text)).unwrap();
            let documents = <saphyr::Yaml<'_> as saphyr::LoadableYamlNode>::load_from_str(&yaml).unwrap();
            assert_eq!(documents.len(), 1);
            if let Some(expected) = expected.as_ref().filter(|text| !text.contains("\r\n")) {
                assert_eq!(documents[0]["fname"].as_str(), Some(expected.as_str()), "{yaml}");
            }
            let csv = String::from_utf8(show_hostile("csv", width, &text)).unwrap();
            assert!(!csv.contains('\0'));
        }
    }
}

#[test]
fn a_reader_that_stalls_neither_stops_the_drain_nor_breaks_the_stream() {
    const OPENS: u64 = 20_000;
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("stall", "echo >/counted; echo ready; sleep 100000");
    common::eventually("the file is there", || {
        (common::docker::docker(&["logs", &container.id]) == "ready").then_some(())
    });
    let script = format!(
        "i=0; while [ $i -lt {OPENS} ]; do j=0; while [ $j -lt 250 ]; do true </counted; j=$((j+1)); done; \
         i=$((i+j)); usleep 20000; done"
    );
    let mut work = Waiting::start(&container, &script);
    let options = [
        "-v",
        "--pull",
        "never",
        "-o",
        "json",
        "--loss-records",
        "-c",
        &container.name,
    ];
    let mut child = ig
        .command(["run", "trace_open"].iter().chain(&options))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("running...") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
    }
    work.go();
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");

    let (mut seen, mut lost) = (0, 0);
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("no torn line");
        if let Some(count) = value["lost"].as_u64() {
            assert_eq!(value["reason"], "sink");
            lost += count;
        } else if value["fname"] == "/counted" {
            seen += 1;
        }
    }
    assert!(lost > 0, "all of {} bytes waited", text.len());
    assert_eq!(seen + lost, OPENS);
    let summary = format!("open: lost {lost} samples: the reader of the output was too slow");
    assert!(rest.contains(&summary), "no {summary:?} in {rest}");
    assert_eq!(rest.matches(" samples: ").count(), 1, "nothing else was lost: {rest}");
}
