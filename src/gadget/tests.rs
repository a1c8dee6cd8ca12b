use std::sync::{Arc, Mutex};

use super::*;
use crate::image::{PackInput, pack};
use crate::metadata::params::typed::split_list;

const INTERVAL: &str = r#"
operator: {process: {emitstats: true, fields: [comm]}}
paramDefaults: {operator.fake.foo: "123"}
datasources: {processes: {fields: {comm: {annotations: {description: of the author}}}}}
params:
  custom:
    interval:
      defaultValue: 3s
      patch: {operator: {process: {interval: '{{call .getParamValue "custom.interval"}}'}}}
    other:
      patch: {name: '{{call .getParamValue "operator.fake.foo"}}'}
"#;

fn image(metadata: &str) -> GadgetImage {
    let packed = pack(PackInput {
        metadata: Some(metadata.as_bytes().to_vec()),
        builder_version: "v0.0.0".to_owned(),
        created: "2023-11-14T22:13:20Z".to_owned(),
        ..PackInput::default()
    });
    GadgetImage::from_packed(&packed.unwrap(), None).unwrap()
}

fn builder(image: &GadgetImage) -> GadgetBuilder<'_> {
    Gadget::builder(image).containers(ContainerSource::Unavailable("this is a test".to_owned()))
}

fn values(pairs: &[(&str, &str)]) -> ParamValues {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn interval(gadget: &Gadget) -> &str {
    gadget
        .data_source("processes")
        .unwrap()
        .annotation("fetch-interval")
        .unwrap()
}

/// An operator that notes what is asked of it.
struct Fake {
    name: &'static str,
    priority: i32,
    /// The call that fails.
    fails: &'static str,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn call(&self, what: &str) -> Result<()> {
        self.calls.lock().unwrap().push(format!("{what} {}", self.name));
        if self.fails == what {
            Err(Error::invalid("no"))
        } else {
            Ok(())
        }
    }
}

impl Instance for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    fn priority(&self) -> i32 {
        self.priority
    }

    fn params(&self) -> Vec<Param> {
        vec![Param::new("foo").prefixed("operator.fake").default_value("1")]
    }

    fn prepare(&mut self, _context: &mut Context) -> Result<()> {
        self.call("prepare")
    }

    fn start(&mut self, _context: &mut Context) -> Result<()> {
        self.call("start")
    }

    fn pre_stop(&mut self) -> Result<()> {
        self.call("pre_stop")
    }

    fn stop(&mut self) -> Result<()> {
        self.call("stop")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // The end of an operator; not one of the calls that can fail.
        let _ = self.call("drop");
    }
}

type Calls = Arc<Mutex<Vec<String>>>;

fn with_fakes(fakes: &[(&'static str, i32, &'static str)]) -> (Gadget, Calls) {
    let mut gadget = builder(&image("name: x\n")).build().unwrap();
    let calls = Calls::default();
    for (name, priority, fails) in fakes {
        gadget.add_instance(Fake {
            name,
            priority: *priority,
            fails,
            calls: Arc::clone(&calls),
        });
    }
    (gadget, calls)
}

fn calls(calls: &Calls, without: &str) -> Vec<String> {
    let calls = calls.lock().unwrap();
    calls
        .iter()
        .filter(|call| !call.starts_with(without))
        .cloned()
        .collect()
}

/// Acceptance check C11 of the data specification.
#[test]
fn c11_operators_start_by_priority_and_name_and_stop_in_reverse() {
    let (gadget, noted) = with_fakes(&[("b", 0, ""), ("a", 0, ""), ("c", -1, "")]);
    gadget.start().unwrap().stop().unwrap();
    assert_eq!(
        calls(&noted, "drop"),
        [
            "prepare c",
            "prepare a",
            "prepare b",
            "start c",
            "start a",
            "start b",
            "pre_stop b",
            "pre_stop a",
            "pre_stop c",
            "stop b",
            "stop a",
            "stop c",
        ]
    );
}

/// Acceptance check C12 of the data specification.
#[test]
fn c12_what_did_not_start_is_not_stopped() {
    let (gadget, noted) = with_fakes(&[("a", 0, "start")]);
    let error = gadget.start().unwrap_err();
    assert_eq!(error.to_string(), "starting operators: starting operator \"a\": no");
    assert_eq!(calls(&noted, "none"), ["prepare a", "start a", "drop a"]);
}

#[test]
fn what_started_before_a_failure_is_stopped() {
    let (gadget, noted) = with_fakes(&[("a", 0, ""), ("b", 1, "pre_stop"), ("c", 2, "start"), ("d", 3, "")]);
    let error = gadget.start().unwrap_err();
    assert_eq!(error.to_string(), "starting operators: starting operator \"c\": no");
    assert_eq!(
        calls(&noted, "drop")[4..],
        [
            "start a",
            "start b",
            "start c",
            "pre_stop b",
            "pre_stop a",
            "stop b",
            "stop a"
        ]
    );
    let dropped = calls(&noted, "none")
        .iter()
        .filter(|call| call.starts_with("drop"))
        .count();
    assert_eq!(dropped, 4, "all of them end");

    let (gadget, noted) = with_fakes(&[("a", 0, ""), ("b", 1, "prepare")]);
    let error = gadget.start().unwrap_err();
    assert_eq!(
        error.to_string(),
        "pre-starting operators: pre-starting operator \"b\": no"
    );
    assert_eq!(calls(&noted, "drop"), ["prepare a", "prepare b"]);
}

#[test]
fn all_are_stopped_whatever_fails() {
    let (gadget, noted) = with_fakes(&[("a", 0, "pre_stop"), ("b", 1, "stop")]);
    let error = gadget.start().unwrap().stop().unwrap_err();
    assert_eq!(error.to_string(), "stopping operators: stopping operator \"a\": no");
    assert_eq!(
        calls(&noted, "drop")[4..],
        ["pre_stop b", "pre_stop a", "stop b", "stop a"]
    );
}

/// Acceptance check C8 of the data specification.
#[test]
fn c8_the_metadata_sets_advertised_defaults() {
    let (mut gadget, _) = with_fakes(&[]);
    gadget.defaults = Config::parse(b"{Operator.Fake.FOO: '123'}").unwrap();
    gadget.add_instance(Fake {
        name: "fake",
        priority: 0,
        fails: "",
        calls: Calls::default(),
    });
    let params = gadget.params();
    let foo = params.iter().find(|param| param.key == "foo").unwrap();
    assert_eq!(
        (foo.full_name().as_str(), foo.default.as_str()),
        ("operator.fake.foo", "123")
    );
    // Of those that nobody has asked the gadget for, too.
    let mut others = [Param::new("foo").prefixed("operator.fake")];
    gadget.advertise(&mut others);
    assert_eq!(others[0].default, "123");
    // Who sends no value gets what the operator has declared.
    gadget.settle().unwrap();
    assert_eq!(gadget.values.get("operator.fake.foo"), Some("1"));
}

/// Acceptance check C2 of the data specification.
#[test]
fn c2_annotations_reach_sources_and_nested_fields() {
    let image = image("operator: {process: {emitstats: true}}");
    let list = split_list("processes:metrics.collect=true,processes.runtime.containerName:Columns.Width=8,");
    let gadget = builder(&image).annotate(list).build().unwrap();
    let source = gadget.data_source("processes").unwrap();
    assert_eq!(source.annotation("metrics.collect"), Some("true"));
    let name = source.get(source.field("runtime.containerName").unwrap().id());
    assert_eq!(name.annotation("columns.width"), Some("8"));
}

#[test]
fn custom_params_are_decided_before_everything_else() {
    let image = image(INTERVAL);
    let gadget = builder(&image).build().unwrap();
    assert_eq!(interval(&gadget), "1m0s", "without values the metadata stays as it is");
    let names: Vec<String> = gadget.params().iter().map(Param::full_name).take(2).collect();
    assert_eq!(names, ["custom.interval", "custom.other"]);

    let given = values(&[("custom.interval", "250ms")]);
    let mut gadget = builder(&image)
        .values(&given)
        .annotate(["processes.comm:description=of the user".to_owned()])
        .build()
        .unwrap();
    assert_eq!(interval(&gadget), "250ms");
    let source = gadget.data_source("processes").unwrap();
    let comm = source.get(source.field("comm").unwrap().id());
    assert_eq!(comm.annotation("description"), Some("of the user"));
    let error = gadget.set_param("interval", "1s").unwrap_err().to_string();
    assert!(
        error.contains("custom.interval") && error.contains("is built"),
        "{error}"
    );

    assert!(!gadget.depends_on(&given).unwrap());
    assert!(gadget.depends_on(&values(&[("custom.interval", "1s")])).unwrap());
    let all = [
        ("custom.interval", "250ms"),
        ("custom.other", ""),
        ("operator.fake.foo", "x"),
    ];
    assert!(
        gadget.depends_on(&values(&all)).unwrap(),
        "a patch may look at any parameter"
    );

    let error = builder(&image)
        .values(&values(&[("custom.interval", "soon")]))
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "operator.process.interval: time: invalid duration \"soon\""
    );
}

#[test]
fn a_gadget_needs_no_program() {
    let image = image("operator: {process: {emitstats: true, interval: 1ms, fields: [comm]}}");
    let mut gadget = builder(&image).build().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let comm = gadget
        .data_source("processes")
        .unwrap()
        .field("comm")
        .unwrap()
        .str()
        .unwrap();
    let seen = move |event: &Element| sender.send(comm.get(event).into_owned()).unwrap_or_default();
    gadget.subscribe("processes", ["comm"], seen).unwrap();
    let running = gadget.start().unwrap();
    let own = std::fs::read_to_string("/proc/self/comm").unwrap();
    assert!(receiver.iter().any(|comm| comm == own.trim_end()));
    assert!(!running.stop().unwrap().lost_anything());
}
