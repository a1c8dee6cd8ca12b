use super::*;
use crate::build::testing::compile;

const SOURCE: &str = r#"
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
struct event { u64 timestamp_raw; u32 fd; char fname[16]; };
struct key { u32 pid; };
struct value { u64 reads; };
struct { int (*type)[27]; int (*max_entries)[262144]; } events SEC(".maps");
struct { int (*type)[1]; int (*max_entries)[16]; struct key *key; struct value *value; } stats SEC(".maps");
const void *gadget_tracer_open___events___event __attribute__((unused));
const void *gadget_mapiter_stats___stats __attribute__((unused));
const void *gadget_iter_procs___event___walk __attribute__((unused));
const volatile u32 target_pid = 0;
const volatile char names[4][8] = {};
const void *gadget_param_target_pid __attribute__((unused));
const u32 only_const = 1;
volatile u32 only_volatile = 1;
static const volatile u32 hidden = 1;
const struct event *unused __attribute__((unused));
SEC("iter/task") int walk(void *ctx) { return hidden + only_volatile + target_pid + names[target_pid & 3][0]; }
char LICENSE[] SEC("license") = "GPL";
"#;

fn object() -> Vec<u8> {
    compile(SOURCE)
}

fn problems(yaml: &str) -> String {
    let elf = object();
    let object = ObjectFile::parse(&elf).unwrap();
    match Metadata::decode(yaml.as_bytes()).unwrap().validate(Some(&object)) {
        Ok(()) => String::new(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn decodes_what_a_build_needs() {
    let metadata = Metadata::decode(
        b"name: open\ndescription: 8\nannotations: {a: true}\nparams: {ebpf: {x: {key: X}}}\nelse: [1]\n",
    )
    .unwrap();
    assert_eq!((metadata.name.as_str(), metadata.description.as_str()), ("open", "8"));
    assert_eq!(metadata.annotations["a"], "true");
    assert_eq!(metadata.ebpf_params["x"], "X");
}

#[test]
fn undecodable_files_are_named() {
    let message = |text: &str| Metadata::decode(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(message(""), "decoding metadata file: EOF");
    assert_eq!(
        message("name: [a]"),
        "decoding metadata file: yaml: line 1: name: expected a text, found a list"
    );
    assert_eq!(
        message("datasources:\n  open: 3\n"),
        "decoding metadata file: yaml: line 2: datasources.open: expected a mapping, found an integer"
    );
    assert_eq!(
        message("name: a\n  b: c: d\n"),
        "decoding metadata file: yaml: line 2: mapping values are not allowed in this context (column 4)"
    );
}

#[test]
fn values_of_the_wrong_type_are_named() {
    for (yaml, expected) in [
        (
            "datasources: [a]",
            "line 1: datasources: expected a mapping, found a list",
        ),
        (
            "datasources:\n  open:\n    fields:\n      a: {annotations: {x: [1]}}",
            "line 4: datasources.open.fields.a.annotations.x: expected a text, found a list",
        ),
        (
            "dataSources: {open: {tags: {a: b}}}",
            "line 1: dataSources.open.tags: expected a list, found a mapping",
        ),
        (
            "params: {custom: {x: {patch: 3}}}",
            "line 1: params.custom.x.patch: expected a mapping, found an integer",
        ),
        (
            "params: {custom: {x: {values: {a: {patch: {b: ['{{x}}']}}}}}}",
            "line 1: params.custom.x.values.a.patch.b: template: patch:1:3: function \"x\" not defined",
        ),
        (
            "params: {wasm: {x: {isMandatory: maybe}}}",
            "line 1: params.wasm.x.isMandatory: expected true or false, found a string",
        ),
        (
            "paramDefaults: {a: {b: c}}",
            "line 1: paramDefaults.a: expected a text, found a mapping",
        ),
        (
            "operator:\n  process: {interval: soon}",
            "line 2: operator.process.interval: time: invalid duration \"soon\"",
        ),
        (
            "Operator: {cgroup: {count: 1.5}}",
            "line 1: operator.cgroup.count: strconv.ParseInt: parsing \"1.5\": invalid syntax",
        ),
        (
            "operator: {process: {emitstats: yes}}",
            "line 1: operator.process.emitstats: expected true or false, found a string",
        ),
        (
            "name: a\nNAME: b",
            "line 2: key \"NAME\" is there already, in line 1 (keys are the same in any case)",
        ),
        (
            "name: a\nname: b",
            "line 2: mapping key \"name\" already defined at line 1",
        ),
    ] {
        let error = Metadata::decode(yaml.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, format!("decoding metadata file: yaml: {expected}"), "{yaml}");
    }
    let fine = "operator: {process: {interval: 5, first-interval: , fields: a b, count: '3', emitstats: 'true'}, other: [1]}\n\
                programs: {p: {attach_to: x, optional: true}}\nparams: {custom: {x: {patch: {a: '{{1}}'}}}}\nunknown: [1]";
    Metadata::decode(fine.as_bytes()).unwrap();
}

#[test]
fn deep_and_large_files_are_refused_or_read() {
    let message = |yaml: String| Metadata::decode(yaml.as_bytes()).unwrap_err().to_string();
    assert!(message(format!("a: {}1{}", "[".repeat(100), "]".repeat(100))).contains("nested deeper than 64 levels"));
    assert!(message("[".repeat(1 << 20)).contains("recursion limit exceeded"));
    let deep: String = (0..200).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(message(deep).contains("nested deeper than 64 levels"));
    assert!(message("a: b\n".repeat(4_000_000)).contains("larger than the limit"));
    let large: String = (0..20_000).map(|i| format!("key-{i}: {}\n", "x".repeat(30))).collect();
    Metadata::decode(large.as_bytes()).unwrap();
}

#[test]
fn unknown_keys_are_named_with_what_was_meant() {
    let yaml = "\
name: x
homepageurl: y
datasource:
  open: {}
dataSources:
  open:
    fileds: {}
    fields:
      a: {anotations: {x: y}, tags: [z]}
params:
  ebpf: {v: {key: k, defaultvalue: 3}}
  wsam: {}
  custom: {c: {patch: {anything: goes}, type: int}}
operator:
  process: {intervall: 3s}
  unknown: {x: y}
wholly-other: 1
";
    assert_eq!(
        unknown_keys(yaml.as_bytes()),
        [
            "gadget.yaml: line 2: key \"homepageurl\" is not read: it must be written homepageURL",
            "gadget.yaml: line 4: unknown key \"datasource\"; did you mean `datasources`?",
            "gadget.yaml: line 7: unknown key \"fileds\" in dataSources.open; did you mean `fields`?",
            "gadget.yaml: line 9: unknown key \"anotations\" in dataSources.open.fields.a; did you mean `annotations`?",
            "gadget.yaml: line 12: unknown key \"wsam\" in params; did you mean `wasm`?",
            "gadget.yaml: line 13: unknown key \"type\" in params.custom.c",
            "gadget.yaml: line 17: unknown key \"wholly-other\"",
            "gadget.yaml: line 15: unknown key \"intervall\" in operator.process; did you mean `interval`?",
        ]
    );
    assert!(unknown_keys(b"not: [yaml").is_empty());
    for gadget in ["trace_open", "trace_exec"] {
        let path = format!("{}/gadgets/{gadget}/gadget.yaml", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(
            unknown_keys(&std::fs::read(path).unwrap()),
            Vec::<String>::new(),
            "{gadget}"
        );
    }
}

#[test]
fn params_must_be_const_volatile_globals() {
    assert_eq!(
        problems("params: {ebpf: {target_pid: {key: pid}, names: {key: names}}}"),
        ""
    );
    assert_eq!(
        problems("params: {ebpf: {nosuch: {key: k}}}"),
        "variable \"nosuch\" not found in eBPF object: not found"
    );
    assert_eq!(
        problems("params: {ebpf: {hidden: {key: k}}}"),
        "\"hidden\" is not a global variable"
    );
    assert_eq!(
        problems("params: {ebpf: {only_volatile: {key: k}}}"),
        "\"only_volatile\" is not const"
    );
    assert_eq!(
        problems("params: {ebpf: {only_const: {key: k}}}"),
        "\"only_const\" is not volatile"
    );
    assert_eq!(
        problems("params: {ebpf: {target_pid: {}, nosuch: {}}}"),
        "variable \"nosuch\" not found in eBPF object: not found\nparam \"nosuch\" has an empty key\nparam \"target_pid\" has an empty key"
    );
    let without = Metadata::decode(b"params: {ebpf: {x: {key: k}}}")
        .unwrap()
        .validate(None)
        .unwrap_err();
    assert_eq!(
        without.to_string(),
        "variable \"x\" not found in eBPF object: the gadget has none"
    );
}

#[test]
fn a_new_file_lists_everything() {
    let elf = object();
    let written = update(None, &ObjectFile::parse(&elf).unwrap()).unwrap();
    let text = String::from_utf8(written).unwrap();
    assert_eq!(
        text,
        "\
name: 'TODO: Fill the gadget name'
description: 'TODO: Fill the gadget description'
homepageURL: 'TODO: Fill the gadget homepage URL'
documentationURL: 'TODO: Fill the gadget documentation URL'
sourceURL: 'TODO: Fill the gadget source code URL'
datasources:
  open:
    fields:
      fd:
        annotations:
          description: 'TODO: Fill field description'
      fname:
        annotations:
          description: 'TODO: Fill field description'
      timestamp_raw:
        annotations:
          description: 'TODO: Fill field description'
  procs:
    fields:
      fd:
        annotations:
          description: 'TODO: Fill field description'
      fname:
        annotations:
          description: 'TODO: Fill field description'
      timestamp_raw:
        annotations:
          description: 'TODO: Fill field description'
  stats:
    fields:
      pid:
        annotations:
          description: 'TODO: Fill field description'
      reads:
        annotations:
          description: 'TODO: Fill field description'
params:
  ebpf:
    target_pid:
      key: target_pid
      defaultValue: ''
      description: 'TODO: Fill parameter description'
"
    );
}

#[test]
fn what_is_there_stays() {
    let existing = "\
operator: {process: {interval: 3s}}
dataSources:
  open:
    annotations: {cli.clear-screen-before: true}
    fields:
      FNAME: {annotations: {columns.width: 8}}
name: mine
params:
  custom: {mode: {values: {a: {patch: {x: 1}}}}}
  ebpf:
    target_pid: {description: only this pid, key: pid}
";
    let elf = object();
    let written = update(Some(existing.as_bytes()), &ObjectFile::parse(&elf).unwrap()).unwrap();
    let config = crate::metadata::config::Config::parse(&written).unwrap();
    let text = |path: &str| config.get_str(path).map(|text| text.into_owned());
    assert_eq!(text("operator.process.interval").as_deref(), Some("3s"));
    assert_eq!(
        text("datasources.open.fields.fname.annotations.columns.width").as_deref(),
        Some("8")
    );
    assert_eq!(text("datasources.open.fields.fname.annotations.description"), None);
    assert!(text("datasources.open.fields.fd.annotations.description").is_some());
    assert_eq!(text("params.ebpf.target_pid.key").as_deref(), Some("pid"));
    assert_eq!(text("params.custom.mode.values.a.patch.x").as_deref(), Some("1"));
    assert_eq!(text("name").as_deref(), Some("mine"));
    let again = update(Some(&written), &ObjectFile::parse(&elf).unwrap()).unwrap();
    assert_eq!(again, written, "a complete file is not changed");
    let first = String::from_utf8(written).unwrap();
    assert!(first.starts_with("name: mine\ndescription: "), "{first}");
}

#[test]
fn wrong_files_and_markers_are_refused() {
    let elf = object();
    let object = ObjectFile::parse(&elf).unwrap();
    let message = update(Some(b"params: {ebpf: {nosuch: {key: k}}}"), &object)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "updating metadata file: metadata file is wrong, fix it before continuing: variable \"nosuch\" not found in eBPF object: not found"
    );
    let marker = |line: &str| {
        let elf = compile(&SOURCE.replace("const void *gadget_iter_procs___event___walk", line));
        update(None, &ObjectFile::parse(&elf).unwrap()).unwrap_err().to_string()
    };
    let prefix = "updating metadata file: populating metadata: ";
    for (line, expected) in [
        (
            "const void *gadget_tracer_two___parts",
            "handling tracers: invalid tracer info: \"two___parts\"",
        ),
        (
            "const void *gadget_tracer_a___nosuch___event",
            "handling tracers: map \"nosuch\" not found in eBPF object",
        ),
        (
            "const void *gadget_tracer_a___stats___event",
            "handling tracers: trace map is invalid: map \"stats\" has a wrong type, expected: ringbuf or perf event array, got: Hash",
        ),
        (
            "const void *gadget_tracer_a___events___nosuch",
            "handling tracers: finding struct \"nosuch\" in eBPF object: not found",
        ),
        (
            "const void *gadget_mapiter_a___events",
            "handling mapIters: map \"events\" is not a hash map",
        ),
        (
            "const void *gadget_iter_a___event",
            "handling snapshotters: invalid iterator info: \"a___event\", expected <name>___<structName>___<program1>___...___<programN>",
        ),
        (
            "const void *gadget_iter_a___event___nosuch",
            "handling snapshotters: program \"nosuch\" not found in eBPF object",
        ),
        (
            "const void *gadget_param_only_const",
            "handling params: \"only_const\" is not volatile",
        ),
        (
            "void *gadget_param_target_x",
            "handling params: \"gadget_param_target_x\" is not const",
        ),
        (
            "int gadget_param_target_x",
            "handling params: \"gadget_param_target_x\" is not a pointer",
        ),
    ] {
        assert_eq!(marker(line), format!("{prefix}{expected}"));
    }
}
