use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::data::{CODE_WRITES, Kind, NewField, Scalar, SourceType, StaticField};
use crate::metadata::params::TypeHint;

fn member(name: &str, scalar: Scalar, offset: u32, parent: Option<usize>, tag: &str) -> StaticField {
    let size = match scalar {
        Scalar::CString => 16,
        Scalar::Bytes => 32,
        scalar => scalar.size().unwrap() as u32,
    };
    StaticField {
        parent,
        tags: vec![tag.to_owned()],
        ..StaticField::new(name, scalar, offset, size)
    }
}

/// A record like that of a tracer, and fields that operators add.
fn events() -> DataSource {
    let mut source = DataSource::new("events", SourceType::Single, None);
    let members = [
        member("timestamp_raw", Scalar::Uint64, 0, None, "type:gadget_timestamp"),
        member("proc", Scalar::Bytes, 8, None, "type:gadget_process"),
        member("comm", Scalar::CString, 8, Some(1), "type:gadget_comm"),
        member("pid", Scalar::Uint32, 24, Some(1), "type:gadget_pid"),
        member("tid", Scalar::Uint32, 28, Some(1), "type:gadget_tid"),
        member("creds", Scalar::Uint64, 32, Some(1), "type:gadget_creds"),
        member("uid", Scalar::Uint32, 32, Some(5), "type:gadget_uid"),
        member("gid", Scalar::Uint32, 36, Some(5), "type:gadget_gid"),
        member("mntns_id", Scalar::Uint64, 40, None, "type:gadget_mntns_id"),
        member("int64Value", Scalar::Int64, 48, None, "type:__s64"),
        member("small", Scalar::Int8, 56, None, "type:__s8"),
        member("boolValue", Scalar::Bool, 57, None, "type:bool"),
        member("fname", Scalar::CString, 58, None, "type:char"),
        member("float", Scalar::Float32, 76, None, "type:float"),
        member("half", Scalar::Uint32, 4, None, "type:__u32"),
    ];
    source.add_static_fields(80, &members).unwrap();
    for (name, kind) in [
        ("stringValue", Scalar::String),
        ("esc", Scalar::String),
        ("double", Scalar::Float64),
        ("blob", Scalar::Bytes),
    ] {
        source.add_field(NewField::new(name, kind)).unwrap();
    }
    source
        .add_field(NewField::new("list", Kind::Array(Scalar::Uint32)))
        .unwrap();
    let runtime = source.add_field(NewField::empty("runtime")).unwrap();
    source
        .add_sub_field(runtime, NewField::new("containerName", Scalar::String))
        .unwrap();
    source
}

fn fill(source: &DataSource, element: &mut Element) {
    let mut set = |name: &str, bytes: &[u8]| {
        let id = source.find(name).unwrap();
        source.accessor(id).set(element, bytes).unwrap();
    };
    set("stringValue", b"abc");
    set("int64Value", &123i64.to_ne_bytes());
    set("boolValue", &[1]);
    set("esc", br"a,\/");
    set("small", &(-5i8).to_ne_bytes());
    set("fname", b"/etc/passwd");
    set("proc.comm", b"cat");
    set("proc.pid", &77u32.to_ne_bytes());
    set("float", &0.1f32.to_ne_bytes());
    set("double", &2.5f64.to_ne_bytes());
    set("timestamp_raw", &5u64.to_ne_bytes());
}

fn context() -> Context {
    Context {
        streams: vec![Stream::new(events())],
        ..Context::default()
    }
}

fn values(given: &[(&str, &str)]) -> ParamValues {
    given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn adjusted(context: &mut Context, given: &[(&str, &str)]) -> Result<Filter> {
    let mut filter = Filter::instantiate(context, KernelSide::default());
    let params = filter.params();
    filter.adjust(&mut values(given), &params, context)?;
    Ok(filter)
}

/// Whether the event of [`fill`] passes the `--filter`.
fn passes(filter: &str) -> bool {
    passes_with(&[("operator.filter.filter", filter)])
}

fn passes_with(given: &[(&str, &str)]) -> bool {
    let mut context = context();
    let mut filter = adjusted(&mut context, given).unwrap();
    filter.prepare(&mut context).unwrap();
    let stream = &mut context.streams[0];
    let seen = Arc::new(Mutex::new(0));
    let count = Arc::clone(&seen);
    stream
        .pipeline
        .subscribe(priority::subscription::SINK, move |_: &mut Element| {
            *count.lock().unwrap() += 1;
            Ok(Flow::Continue)
        });
    let mut emitter = stream.emitter();
    let mut element = emitter.element();
    fill(&events(), &mut element);
    emitter.emit(&mut element).unwrap();
    let seen = *seen.lock().unwrap();
    seen == 1
}

fn error(filter: &str) -> crate::Error {
    adjusted(&mut context(), &[("operator.filter.filter", filter)]).unwrap_err()
}

/// The message without what all have in front.
fn message(filter: &str) -> String {
    let text = error(filter).to_string();
    let prefix = "initializing and preparing operators: instantiating operator \"filter\": ";
    text.strip_prefix(prefix).unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// Acceptance checks F1 to F4 of the data specification.
#[test]
fn the_acceptance_rows() {
    assert!(passes("stringValue==abc,int64Value>=123,boolValue==true"));
    assert!(!passes("stringValue~b.."));
    assert!(passes("stringValue!~^b"));
    assert!(passes(r"esc==a\,\/"));
    assert!(passes(""));
}

#[test]
fn operations_by_kind() {
    for (filter, expected) in [
        ("stringValue=abc", true),
        ("stringValue!=abc", false),
        ("STRINGVALUE==abc", true),
        (
            "stringValue<abd,stringValue<=abc,stringValue>abb,stringValue>=abc",
            true,
        ),
        ("stringValue>abc", false),
        ("stringValue==abcd", false),
        ("stringValue==ab", false),
        ("int64Value==123", true),
        ("int64Value!=123", false),
        ("int64Value<=122", false),
        ("int64Value>-124", true),
        ("small==-5,small<0,small>=-128", true),
        ("small>0", false),
        ("proc.pid=77,proc.pid>76", true),
        ("proc.pid<77", false),
        ("boolValue=1,boolValue!=false", true),
        ("boolValue==0", false),
        ("fname==/etc/passwd", true),
        ("fname==/etc/passw", false),
        ("fname==/etc/passwd2", false),
        ("fname!=/etc/passwd", false),
        ("fname>=/etc,fname</f", true),
        ("fname~^/etc/.*d$", true),
        ("fname!~pass", false),
        ("float==0.1", true),
        ("float!=0.1", false),
        ("double>2.4,double<2.6,double==2.5", true),
        ("double==nan", false),
        ("double!=nan", true),
        ("int64Value==123,stringValue~c,proc.comm==cat", true),
        ("int64Value==123,stringValue~d,proc.comm==cat", false),
        ("runtime.containerName!=web", true),
        ("runtime.containerName==web", false),
    ] {
        assert_eq!(passes(filter), expected, "{filter}");
    }
}

/// Whether the event of [`fill`] passes the `--filter-expr`.
fn passes_expression(expression: &str) -> bool {
    passes_with(&[("operator.filter.filter-expr", expression)])
}

/// Acceptance checks F9 and F10 of the data specification.
#[test]
fn expressions_select_events() {
    for (expression, expected) in [
        (r#"stringValue in ["abc","x"] and int64Value > 100"#, true),
        (r#"stringValue in ["abc","x"] and int64Value > 200"#, false),
        ("'1.1.1.1' in cidr('1.0.0.0/8')", true),
        ("'127.0.0.1' in cidr('1.0.0.0/8')", false),
        (r#"proc.comm == "cat" && proc.pid == 77 && boolValue"#, true),
        (r#"fname matches "^/etc/p" and not (small > 0)"#, true),
        ("runtime.containerName == ''", true),
        // What fails when it is asked lets nothing pass.
        ("stringValue in cidr('1.0.0.0/8')", false),
    ] {
        assert_eq!(passes_expression(expression), expected, "{expression}");
    }
    let both = |expression| {
        passes_with(&[
            ("operator.filter.filter", "small<0"),
            ("operator.filter.filter-expr.events", expression),
        ])
    };
    assert!(both("proc.pid == 77") && !both("proc.pid == 78"));
}

/// Acceptance check F11 of the data specification.
#[test]
fn expressions_that_mean_nothing_are_errors() {
    for (expression, expected) in [
        ("stringValue", "expected bool, but got string"),
        ("int64Value > 'abc'", "int"),
        (
            "nosuchfield == 1",
            "unknown name nosuchfield (1:1)\n | nosuchfield == 1\n | ^",
        ),
    ] {
        let error = adjusted(&mut context(), &[("operator.filter.filter-expr", expression)]).unwrap_err();
        let text = error.to_string();
        let prefix = format!(
            "initializing and preparing operators: instantiating operator \"filter\": compiling filter expression {expression:?} \
             for datasource events: compiling filter expression: "
        );
        assert!(text.starts_with(&prefix) && text.contains(expected), "{text}");
    }
}

#[test]
fn expressions_are_asked_as_early_as_their_fields_are_there() {
    let place = |expression: &str| {
        let mut context = context();
        let filter = adjusted(&mut context, &[("operator.filter.filter-expr", expression)]).unwrap();
        filter.demand(&mut context);
        let mut explanation = Explanation::default();
        filter.explain(&context, &mut explanation);
        let term = explanation.terms.remove(0);
        assert_eq!(term.text, expression);
        let container = context.streams[0].source.find("runtime.containerName").unwrap();
        (term.place, context.streams[0].demand.wants(container))
    };
    assert_eq!(place("proc.pid == 7 or fname == 'x'"), (TermPlace::Raw, false));
    assert_eq!(
        place("proc.pid == 7 or runtime.containerName == 'web'"),
        (TermPlace::Enriched, true)
    );
    assert_eq!(place("timestamp_raw > 5"), (TermPlace::Enriched, false));
}

/// Acceptance checks F5 to F8, and the other errors, all with the place.
#[test]
fn errors_point_at_the_place() {
    for (filter, expected) in [
        (
            "comm==cat",
            "field \"comm\" not found in datasource events\n | comm==cat\n | ^",
        ),
        (
            "fname==x,incomplete",
            "extracting filter rule \"incomplete\": incomplete filter rule: \"incomplete\"\n | incomplete\n | ..........^",
        ),
        (
            "abc!def",
            "extracting filter rule \"abc!def\": invalid operation: \"!\"\n | abc!def\n | ...^",
        ),
        (
            "int64Value>abc",
            "parsing comparison value as int: strconv.ParseInt: parsing \"abc\": invalid syntax\n | int64Value>abc\n | ...........^",
        ),
        (
            "small>128",
            "parsing comparison value as int: strconv.ParseInt: parsing \"128\": value out of range\n | small>128\n | ......^",
        ),
        (
            "proc.pid>abc",
            "parsing comparison value as uint: strconv.ParseUint: parsing \"abc\": invalid syntax\n | proc.pid>abc\n | .........^",
        ),
        (
            "double<x",
            "parsing comparison value as float: strconv.ParseFloat: parsing \"x\": invalid syntax\n | double<x\n | .......^",
        ),
        (
            "boolValue>true",
            "boolean values can only be filtered by exact match\n | boolValue>true\n | .........^",
        ),
        (
            "boolValue==yes",
            "parsing comparison value \"yes\" as bool\n | boolValue==yes\n | ...........^",
        ),
        (
            "stringValue~???a",
            "invalid regular expression: \"???a\"\n | stringValue~???a\n | ............^",
        ),
        (
            "int64Value~1",
            "regex based filtering can only be used on strings\n | int64Value~1\n | ..........^",
        ),
        (
            "proc==1",
            "unsupported field type for comparison: Bytes\n | proc==1\n | ^",
        ),
        (
            "blob==1",
            "unsupported field type for comparison: Bytes\n | blob==1\n | ^",
        ),
        (
            "list==1",
            "unsupported field type for comparison: []Uint32\n | list==1\n | ^",
        ),
        ("runtime==1", "unsupported type: Invalid\n | runtime==1\n | ^"),
    ] {
        assert_eq!(message(filter), expected);
    }
    for bad in ["abc===def", "abc==", "abc!==def"] {
        assert!(message(bad).starts_with("extracting filter rule "));
    }
}

#[test]
fn errors_say_the_way_out() {
    assert_eq!(error("comm==cat").hint(), Some("did you mean `proc.comm`?"));
    assert_eq!(error("fnam==cat").hint(), Some("did you mean `fname`?"));
    assert_eq!(error("quitedifferent==1").hint(), None);
    assert_eq!(
        error("stringValue~???a").hint(),
        Some("repetition operator missing expression")
    );
}

#[test]
fn parameters_as_recorded() {
    let names = |filter: &Filter| -> Vec<String> { filter.params().iter().map(Param::full_name).collect() };
    let mut context = context();
    let one = Filter::instantiate(&mut context, KernelSide::default());
    assert_eq!(
        names(&one),
        [
            "operator.filter.filter.events",
            "operator.filter.filter-expr.events",
            "operator.filter.filter",
            "operator.filter.filter-expr",
        ]
    );
    let params = one.params();
    assert_eq!(params[0].title, "Filter for \"events\"");
    assert_eq!(params[1].title, "Expression Filter for \"events\"");
    assert_eq!((params[2].alias, params[3].alias), (Some('F'), Some('E')));
    assert_eq!(params[2].description, "Synonym for --filter.events");
    assert_eq!(params[2].tags, ["group:Data Filtering", "advanced"]);
    assert_eq!(params[0].tags, ["group:Data Filtering"]);

    context
        .streams
        .push(Stream::new(DataSource::new("other", SourceType::Array, None)));
    let two = Filter::instantiate(&mut context, KernelSide::default());
    assert_eq!(
        names(&two),
        [
            "operator.filter.filter.events",
            "operator.filter.filter-expr.events",
            "operator.filter.filter.other",
            "operator.filter.filter-expr.other",
        ]
    );
    // Without being listed the short name is honoured, for all of them.
    let error = adjusted(&mut context, &[("operator.filter.filter", "fname==x")]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("field \"fname\" not found in datasource other"),
        "{error}"
    );
    assert!(adjusted(&mut context, &[("operator.filter.filter.events", "fname==x")]).is_ok());
}

#[test]
fn all_filters_of_a_data_source_apply() {
    let mut context = context();
    let filter = adjusted(
        &mut context,
        &[
            ("operator.filter.filter", "fname==x"),
            ("operator.filter.filter.events", "proc.pid==1,small==2"),
        ],
    )
    .unwrap();
    let texts: Vec<&str> = filter.rules.iter().map(|rule| rule.text.as_str()).collect();
    assert_eq!(texts, ["proc.pid==1", "small==2", "fname==x"]);
}

/// Where the term is decided.
fn place(filter: &str) -> TermPlace {
    let mut context = context();
    let filter = adjusted(&mut context, &[("operator.filter.filter", filter)]).unwrap();
    let mut explanation = Explanation::default();
    filter.explain(&context, &mut explanation);
    assert!(explanation.operators[0].on);
    explanation.terms.remove(0).place
}

#[test]
fn what_the_kernel_wrote_is_decided_first() {
    for filter in ["fname==x", "proc.comm~x", "int64Value>1", "boolValue==true"] {
        assert_eq!(place(filter), TermPlace::Raw, "{filter}");
    }
    // Time stamps are rewritten, and with them what shares their bytes.
    for filter in [
        "stringValue==x",
        "runtime.containerName==x",
        "timestamp_raw>1",
        "half==1",
    ] {
        assert_eq!(place(filter), TermPlace::Enriched, "{filter}");
    }
    let mut context = context();
    let mut filter = adjusted(
        &mut context,
        &[("operator.filter.filter", "fname~x,stringValue==x,small==1")],
    )
    .unwrap();
    filter.prepare(&mut context).unwrap();
    let stream = &context.streams[0];
    assert_eq!(format!("{:?}", stream.pipeline), "Pipeline { priorities: [9000] }");
    let screen = format!("{:?}", stream.screen);
    assert!(screen.ends_with("tests: 2 })"), "{screen}");
}

#[test]
fn a_gadget_with_code_is_asked_late_for_what_that_may_change() {
    // With the annotation that says what the code writes; where the terms are decided.
    let places = |writes: Option<&str>, terms: &str| {
        let mut context = context();
        if let Some(writes) = writes {
            context.streams[0].source.annotate(CODE_WRITES, writes);
        }
        let kernel = KernelSide {
            has_code: true,
            ..process_filters()
        };
        let mut filter = Filter::instantiate(&mut context, kernel);
        let mut values = values(&[("operator.filter.filter", terms)]);
        filter.adjust(&mut values, &kernel_params(), &mut context)?;
        let place = |rule: &Rule| match (&rule.pushed, rule.raw) {
            (Some(_), _) => "kernel",
            (None, true) => "raw",
            (None, false) => "enriched",
        };
        Ok::<_, crate::Error>(filter.rules.iter().map(place).collect::<Vec<_>>())
    };
    let terms = "proc.pid==1,fname==x,stringValue==x,runtime.containerName==web";
    let of = |writes| places(writes, terms).unwrap();
    assert_eq!(of(None), ["enriched"; 4]);
    assert_eq!(of(Some("")), ["kernel", "raw", "enriched", "kernel"]);
    assert_eq!(of(Some("fname")), ["kernel", "enriched", "enriched", "kernel"]);
    assert_eq!(of(Some("proc, small")), ["enriched", "raw", "enriched", "kernel"]);
    assert_eq!(
        of(Some("mntns_id")),
        ["kernel", "raw", "enriched", "enriched"],
        "containers are known by it"
    );
    let error = places(Some("fnam"), terms).unwrap_err().to_string();
    assert!(
        error.ends_with("annotation wasm.writes of datasource events: field \"fnam\" not found"),
        "{error}"
    );
}

#[test]
fn only_the_fields_of_terms_are_read() {
    let mut context = context();
    let filter = adjusted(&mut context, &[("operator.filter.filter", "stringValue==x,fname==y")]).unwrap();
    filter.demand(&mut context);
    let stream = &context.streams[0];
    let wanted: Vec<&str> = stream
        .source
        .fields()
        .filter(|(id, _)| stream.demand.wants(*id))
        .map(|(_, field)| field.full_name())
        .collect();
    assert_eq!(wanted, ["fname", "stringValue"]);
}

#[test]
fn without_a_filter_nothing_is_asked() {
    let mut context = context();
    let mut filter = adjusted(&mut context, &[("operator.filter.filter", ",")]).unwrap();
    let mut explanation = Explanation::default();
    filter.explain(&context, &mut explanation);
    assert!(!explanation.operators[0].on && explanation.terms.is_empty());
    filter.prepare(&mut context).unwrap();
    assert!(context.streams[0].pipeline.is_empty());
}

fn process_filters() -> KernelSide {
    KernelSide {
        filters_mntns: true,
        attached_to: vec!["tracepoint/syscalls/sys_enter_openat".to_owned()],
        has_code: false,
    }
}

/// The parameters that the kernel side of a tracer has.
fn kernel_params() -> Vec<Param> {
    let process = |key: &str, default: &str| {
        Param::new(key)
            .prefixed("ebpf")
            .prefixed("oci")
            .prefixed("operator")
            .default_value(default)
            .type_hint(TypeHint::Uint(32))
            .tag("group:Process")
    };
    let containers = |key: &str, default: &str| {
        Param::new(key)
            .prefixed("LocalManager")
            .prefixed("operator")
            .default_value(default)
    };
    vec![
        process("pid", "0"),
        process("tid", "0"),
        process("uid", "4294967295"),
        process("gid", "4294967295"),
        process("comm", ""),
        containers("containername", ""),
        containers("host", "false"),
    ]
}

const PREFIX: &str = "operator.oci.ebpf.";

/// The parameter that the first term went to, with its value then.
fn pushed_with(
    filter: &str,
    given: &[(&str, &str)],
    kernel: KernelSide,
    mut context: Context,
) -> (Option<String>, ParamValues) {
    let mut values = values(given);
    values.set("operator.filter.filter", filter);
    let mut operator = Filter::instantiate(&mut context, kernel);
    operator.adjust(&mut values, &kernel_params(), &mut context).unwrap();
    (operator.rules[0].pushed.clone(), values)
}

fn pushed(filter: &str) -> Option<(String, String)> {
    let (param, values) = pushed_with(filter, &[], process_filters(), context());
    let param = param?;
    let value = [PREFIX, "operator.LocalManager."]
        .iter()
        .find_map(|prefix| values.get(&format!("{prefix}{param}")))
        .unwrap()
        .to_owned();
    Some((param, value))
}

#[test]
fn equality_goes_into_the_kernel() {
    for (filter, param, value) in [
        ("proc.pid==77", "pid", "77"),
        ("proc.tid=5", "tid", "5"),
        ("proc.creds.uid==0", "uid", "0"),
        ("proc.creds.gid==1000", "gid", "1000"),
        ("PROC.COMM==cat", "comm", "cat"),
        ("runtime.containerName==web", "containername", "web"),
    ] {
        assert_eq!(pushed(filter), Some((param.to_owned(), value.to_owned())), "{filter}");
    }
}

#[test]
fn only_what_means_the_same_goes_into_the_kernel() {
    for filter in [
        // Not an equality, or one that the parameter has no value for.
        "proc.pid!=77",
        "proc.pid>77",
        "proc.pid==0",
        "proc.creds.uid==4294967295",
        "proc.comm~cat",
        "proc.comm!=cat",
        "proc.comm==sixteen-letters-",
        r"runtime.containerName==a\,b",
        "runtime.containerName!=web",
        // Another field.
        "small==1",
        "fname==x",
    ] {
        assert_eq!(pushed(filter), None, "{filter}");
    }
}

#[test]
fn what_the_user_set_stays() {
    let name = format!("{PREFIX}pid");
    for (given, expected) in [("0", Some("pid".to_owned())), ("5", None), ("77", None)] {
        let (param, values) = pushed_with("proc.pid==77", &[(&name, given)], process_filters(), context());
        assert_eq!(param, expected, "{given}");
        assert_eq!(values.get(&name), Some(if expected.is_some() { "77" } else { given }));
    }
    // Of two terms for one parameter the first has it.
    let (_, values) = pushed_with("proc.pid==1,proc.pid==2", &[], process_filters(), context());
    assert_eq!(values.get(&name), Some("1"));
}

#[test]
fn containers_are_not_selected_in_a_view_of_the_whole_host() {
    let host = [("operator.LocalManager.host", "true")];
    let (param, values) = pushed_with("runtime.containerName==web", &host, process_filters(), context());
    assert_eq!((param, values.get("operator.LocalManager.containername")), (None, None));
    // Process filters are as good there.
    let (param, _) = pushed_with("proc.pid==77", &host, process_filters(), context());
    assert_eq!(param.as_deref(), Some("pid"));
    let unfiltered = KernelSide {
        filters_mntns: false,
        ..process_filters()
    };
    let (param, _) = pushed_with("runtime.containerName==web", &[], unfiltered, context());
    assert_eq!(param, None);
}

#[test]
fn what_may_change_between_filter_and_event_stays_here() {
    let attached = |to: &str| KernelSide {
        attached_to: vec![to.to_owned()],
        ..process_filters()
    };
    for (to, filter, expected) in [
        ("tracepoint/sched/sched_process_exec", "proc.comm==cat", None),
        ("tracepoint/sched/sched_process_exec", "proc.tid==7", None),
        ("tracepoint/sched/sched_process_exec", "proc.creds.uid==7", None),
        ("tracepoint/sched/sched_process_exec", "proc.pid==7", Some("pid")),
        ("kprobe/commit_creds", "proc.creds.gid==7", None),
        ("tracepoint/syscalls/sys_enter_setuid", "proc.creds.uid==7", None),
        ("tracepoint/syscalls/sys_enter_setuid", "proc.comm==cat", Some("comm")),
        ("raw_tp/sys_enter", "proc.comm==cat", None),
        ("kprobe.multi/security_*", "proc.comm==cat", None),
        ("kprobe.multi/security_*", "proc.pid==1", Some("pid")),
        ("tracepoint/raw_syscalls/sys_exit", "proc.tid==1", None),
        ("tracepoint/raw_syscalls/sys_exit", "proc.pid==1", Some("pid")),
    ] {
        let (param, _) = pushed_with(filter, &[], attached(to), context());
        assert_eq!(param.as_deref(), expected, "{filter} at {to}");
    }
}

#[test]
fn only_one_process_of_one_data_source_is_filtered_in_the_kernel() {
    let mut two_sources = context();
    two_sources
        .streams
        .push(Stream::new(DataSource::new("other", SourceType::Single, None)));
    two_sources.streams[1].source.unreference();
    let (param, _) = pushed_with("proc.pid==7", &[], process_filters(), two_sources);
    assert_eq!(param, None, "a hidden data source needs its events, too");

    let mut two_processes = context();
    two_processes.streams[0]
        .source
        .add_static_fields(32, &[member("target", Scalar::Bytes, 0, None, "type:gadget_process")])
        .unwrap();
    let (param, _) = pushed_with("proc.pid==7", &[], process_filters(), two_processes);
    assert_eq!(param, None, "which of the two the parameter looks at is not known");
}

proptest! {
    #[test]
    fn compiling_never_panics(filter in "(fname|small|double|boolValue|list|nosuch|,|=|!|~|<|>|[0-9a-z(\\[*?+.\\\\-]){0,12}") {
        let _ = adjusted(&mut context(), &[("operator.filter.filter", &filter)]);
    }

    #[test]
    fn compiling_any_text_never_panics(filter in any::<String>()) {
        let _ = adjusted(&mut context(), &[("operator.filter.filter", &filter)]);
    }
}
