use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::data::{DataSource, Element, Emitter, Flags, NewField, Scalar};

fn read(settings: &[(&str, &str)]) -> Result<Option<Settings>> {
    let settings: BTreeMap<String, String> = settings
        .iter()
        .map(|(key, value)| (format!("operator.logs.{key}"), (*value).to_owned()))
        .collect();
    Settings::read(|key| settings.get(key).cloned())
}

#[test]
fn settings_have_defaults() {
    assert_eq!(read(&[]).unwrap(), None);
    assert_eq!(read(&[("enabled", "false"), ("channel", "nosuch")]).unwrap(), None);
    let expected = Settings {
        channel: Channel::Stderr,
        format: Format::Json,
        mode: Mode::All,
    };
    assert_eq!(read(&[("enabled", "true")]).unwrap(), Some(expected));
    let file = |more: &[(&str, &str)]| {
        let settings = [&[("enabled", "true"), ("channel", "file"), ("filename", "/x")], more].concat();
        match read(&settings).unwrap().unwrap().channel {
            Channel::File(file) => file,
            other => panic!("{other:?}"),
        }
    };
    let expected = FileSettings {
        path: "/x".into(),
        max_size: 100 << 20,
        max_age: None,
        max_backups: Some(3),
        compress: false,
    };
    assert_eq!(file(&[]), expected);
    assert_eq!(file(&[("max-size-mb", "0")]), expected);
    let other = file(&[
        ("max-size-mb", "1"),
        ("max-age-days", "2"),
        ("max-backups", "0"),
        ("compress", "true"),
    ]);
    assert_eq!(
        (other.max_size, other.max_backups, other.compress),
        (1 << 20, None, true)
    );
    assert_eq!(other.max_age, Some(std::time::Duration::from_secs(172_800)));
}

#[test]
fn wrong_settings_are_named() {
    let message = |settings: &[(&str, &str)]| {
        read(&[&[("enabled", "true")], settings].concat())
            .unwrap_err()
            .to_string()
    };
    let file = [("channel", "file"), ("filename", "/x")];
    assert_eq!(
        message(&[("channel", "syslog")]),
        "unsupported logs channel \"syslog\"; expected \"stdout\", \"stderr\", or \"file\""
    );
    assert_eq!(
        message(&[("format", "xml")]),
        "unsupported logs format \"xml\"; expected \"json\" or \"logfmt\""
    );
    assert_eq!(
        message(&[("mode", "some")]),
        "unsupported logs mode \"some\"; expected \"all\" or \"detached\""
    );
    assert_eq!(
        message(&file[..1]),
        "operator.logs.filename must be set when channel is \"file\""
    );
    for key in ["max-size-mb", "max-age-days", "max-backups"] {
        let with = |value| message(&[&file[..], &[(key, value)]].concat());
        assert_eq!(with("-1"), format!("operator.logs.{key} must be >= 0, got -1"));
        assert!(with("many").starts_with(&format!("operator.logs.{key}: ")));
        // Other channels do not look at them.
        read(&[("enabled", "true"), (key, "-1")]).unwrap();
    }
}

/// What is written to a log.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }
}

fn facts() -> RunFacts {
    RunFacts {
        image: "my\"gadget\n".to_owned(),
        instance_id: String::new(),
        remote: true,
    }
}

fn source(source_type: SourceType) -> DataSource {
    let mut source = DataSource::new("events", source_type, None);
    source.add_field(NewField::new("text", Scalar::String)).unwrap();
    let number = NewField::new("number", Scalar::Uint64).flags(Flags::HIDDEN);
    source.add_field(number).unwrap();
    source
}

struct Logged {
    written: Written,
    emitter: Emitter,
    text: crate::data::Accessor,
}

impl Logged {
    fn new(source: DataSource, format: Format, facts: &RunFacts) -> Self {
        let settings = Settings {
            channel: Channel::Stderr,
            format,
            mode: Mode::All,
        };
        let written = Written::default();
        let log = Log::to_writer(&settings, written.clone());
        let text = source.accessor(source.find("text").unwrap());
        let mut context = Context::default();
        context.streams.push(Stream::new(source));
        let mut logs = Logs::instantiate(&mut context, &log, facts).unwrap();
        logs.demand(&mut context);
        logs.prepare(&mut context).unwrap();
        Self {
            written,
            emitter: context.streams[0].emitter(),
            text,
        }
    }

    fn element(&self, text: &str) -> Element {
        let mut element = self.emitter.element();
        self.text.set(&mut element, text.as_bytes()).unwrap();
        element
    }

    fn emit(&mut self, text: &str) {
        let mut element = self.element(text);
        self.emitter.emit(&mut element).unwrap();
    }

    fn emit_array(&mut self, texts: &[&str]) {
        let mut elements = texts.iter().map(|text| self.element(text)).collect();
        self.emitter.emit_array(&mut elements).unwrap();
    }

    fn last(&self) -> String {
        self.written.lines().pop().unwrap()
    }
}

/// The line before and after the time, and the time.
fn split<'a>(line: &'a str, before: &str, after: &str) -> (&'a str, jiff::Timestamp, &'a str) {
    let (head, rest) = line.split_once(before).unwrap();
    let (time, tail) = rest.split_once(after).unwrap_or((rest, ""));
    assert!(time.ends_with('Z') && !time.ends_with("0Z"), "{time}");
    (head, time.parse().unwrap(), tail)
}

#[test]
fn the_envelope_has_its_keys_in_order() {
    let mut logged = Logged::new(source(SourceType::Single), Format::Json, &facts());
    let before = jiff::Timestamp::now();
    logged.emit("a");
    logged.emit("b");
    let lines = logged.written.lines();
    let (head, time, tail) = split(&lines[1], ",\"timestamp\":\"", "\"");
    assert_eq!(
        head,
        r#"{"type":"gadget-data","seq":1,"gadget":"my\"gadget\u000a","datasource":"events""#
    );
    assert_eq!(tail, r#","data":{"number":0,"text":"b"}}"#);
    assert!(before <= time && time <= jiff::Timestamp::now());
    let facts = RunFacts {
        instance_id: "id7".to_owned(),
        ..facts()
    };
    let mut logged = Logged::new(source(SourceType::Single), Format::Json, &facts);
    logged.emit("a");
    assert!(
        logged
            .last()
            .contains(r#""datasource":"events","instanceID":"id7","timestamp":""#)
    );
}

/// Acceptance check E4 of the data specification.
#[test]
fn e4_an_empty_batch_has_no_data() {
    let mut logged = Logged::new(source(SourceType::Array), Format::Json, &facts());
    logged.emit_array(&["a", "b"]);
    logged.emit_array(&["c"]);
    logged.emit_array(&[]);
    let lines = logged.written.lines();
    assert_eq!(lines.len(), 3);
    let first: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((&first["seq"], &first["data"][1]["text"]), (&0.into(), &"b".into()));
    assert!(
        lines[2].starts_with(r#"{"type":"gadget-data-empty","seq":2,"#),
        "{}",
        lines[2]
    );
    let last: Value = serde_json::from_str(&lines[2]).unwrap();
    assert!(last.get("data").is_none());
}

#[test]
fn a_batch_can_be_a_line_for_each_element() {
    let mut source = source(SourceType::Array);
    source.annotate(ARRAY_HANDLING, "elements");
    let mut logged = Logged::new(source, Format::Json, &facts());
    logged.emit_array(&["a", "b"]);
    logged.emit_array(&[]);
    logged.emit_array(&["c"]);
    let lines: Vec<Value> = logged
        .written
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |line: &Value| {
        (
            line["seq"].as_u64().unwrap(),
            line["data"]["text"].as_str().map(str::to_owned),
        )
    };
    let expected = [(0, Some("a")), (0, Some("b")), (1, None), (2, Some("c"))];
    assert_eq!(
        lines.iter().map(of).collect::<Vec<_>>(),
        expected.map(|(seq, text)| (seq, text.map(str::to_owned)))
    );
}

/// Acceptance check E5 of the data specification.
#[test]
fn e5_logfmt_quotes_what_cannot_stand_alone() {
    let mut logged = Logged::new(source(SourceType::Single), Format::Logfmt, &facts());
    for (text, expected) in [
        ("a b", r#""a b""#),
        ("", r#""""#),
        ("x=1", r#""x=1""#),
        ("plain", "plain"),
        (r"back\slash", r"back\slash"),
        (r#"a\"b"#, r#""a\\\"b""#),
        ("a\nb\r\t\x01", r#""a\nb\r\t\u0001""#),
        ("é", "é"),
    ] {
        logged.emit(text);
        let line = logged.last();
        let (_, _, tail) = split(&line, " timestamp=", " ");
        assert_eq!(tail, format!("text={expected} number=0"));
    }
    let line = &logged.written.lines()[1];
    let (head, ..) = split(line, " timestamp=", " ");
    assert_eq!(
        head,
        r#"type=gadget-data seq=1 gadget="my\"gadget\n" datasource=events"#
    );
}

#[test]
fn logfmt_shows_leaves_of_every_kind() {
    let mut source = source(SourceType::Array);
    let parent = source.add_field(NewField::empty("parent")).unwrap();
    source
        .add_sub_field(parent, NewField::new("bool", Scalar::Bool))
        .unwrap();
    for (name, kind) in [
        ("signed", Scalar::Int8),
        ("f32", Scalar::Float32),
        ("f64", Scalar::Float64),
        ("bytes", Scalar::Bytes),
        ("nothing", Scalar::Invalid),
    ] {
        source.add_field(NewField::new(name, kind)).unwrap();
    }
    source
        .add_field(NewField::new("list", crate::data::Kind::Array(Scalar::Uint8)))
        .unwrap();
    let gone = source.find("bytes").unwrap();
    source.remove_reference(gone, false);
    let access = |name: &str| source.accessor(source.fields().find(|(_, field)| field.name() == name).unwrap().0);
    let values: [(_, &[u8]); 6] = [
        (access("number"), &u64::MAX.to_ne_bytes()),
        (access("bool"), &[1]),
        (access("signed"), &[0xff]),
        (access("f32"), &0.1f32.to_ne_bytes()),
        (access("f64"), &1e21f64.to_ne_bytes()),
        (access("bytes"), &[0, 0xff]),
    ];
    let mut logged = Logged::new(source, Format::Logfmt, &facts());
    let mut element = logged.element("t");
    for (accessor, value) in values {
        accessor.set(&mut element, value).unwrap();
    }
    logged.emitter.emit_array(&mut vec![element.clone(), element]).unwrap();
    logged.emit_array(&[]);
    let lines = logged.written.lines();
    assert_eq!(lines.len(), 3);
    let (_, _, tail) = split(&lines[1], " timestamp=", " ");
    assert_eq!(
        tail,
        "text=t number=9223372036854775807 parent.bool=true signed=-1 f32=0.1 f64=1000000000000000000000 bytes=00ff"
    );
    assert!(lines[1].contains(" seq=0 ") && lines[2].starts_with("type=gadget-data-empty seq=1 "));
    assert_eq!(split(&lines[2], " timestamp=", " ").2, "");
}

#[test]
fn only_runs_for_clients_are_logged() {
    let logs = |mode: Mode, facts: &RunFacts| {
        let settings = Settings {
            channel: Channel::Stderr,
            format: Format::Json,
            mode,
        };
        let log = Log::to_writer(&settings, io::sink());
        Logs::instantiate(&mut Context::default(), &log, facts).is_some()
    };
    let detached = RunFacts {
        instance_id: "id".to_owned(),
        ..facts()
    };
    let local = RunFacts {
        remote: false,
        ..detached.clone()
    };
    assert!(logs(Mode::All, &facts()) && logs(Mode::All, &detached) && !logs(Mode::All, &local));
    assert!(!logs(Mode::Detached, &facts()) && logs(Mode::Detached, &detached) && !logs(Mode::Detached, &local));
}

#[test]
fn a_file_is_rotated_between_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.log");
    let name = path.display().to_string();
    let settings = read(&[("enabled", "true"), ("channel", "file"), ("filename", &name)])
        .unwrap()
        .unwrap();
    let log = Log::open(&settings).unwrap();
    log.write(b"one\n");
    log.rotate().unwrap();
    log.write(b"two\n");
    drop(log);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    Log::to_writer(&settings, io::sink()).rotate().unwrap();
}

#[test]
fn a_writer_that_fails_stops_nobody() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let settings = read(&[("enabled", "true")]).unwrap().unwrap();
    let log = Log::to_writer(&settings, Full);
    let mut context = Context::default();
    context.streams.push(Stream::new(source(SourceType::Single)));
    let mut logs = Logs::instantiate(&mut context, &log, &facts()).unwrap();
    logs.prepare(&mut context).unwrap();
    let mut emitter = context.streams[0].emitter();
    let mut element = emitter.element();
    emitter.emit(&mut element).unwrap();
}
