//! `test.yaml`: the cases that a gadget declares.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use crate::metadata::duration;
use crate::metadata::yaml::{self, Node, Scalar, ScalarKind, Value};
use crate::{Error, Result, ResultExt};

/// Name of the file in a gadget's directory.
pub(super) const FILE: &str = "test.yaml";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// One case: something happens, and the gadget must report it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// A script that is run to its end before the gadget is started.
    pub(super) setup: Option<String>,
    /// A script that is run while the gadget is.
    pub(super) workload: Option<String>,
    /// A recording that takes the place of a run, relative to the gadget's directory.
    pub(super) recording: Option<String>,
    /// Flags of `ig run` without the dashes, and their values.
    pub(super) params: Vec<(String, String)>,
    /// How long to wait for the events at the most.
    pub(super) timeout: Duration,
    pub(super) expect: Vec<Arc<Expectation>>,
}

impl Case {
    /// Whether it says something for this flag.
    pub(super) fn says(&self, flag: &str) -> bool {
        self.params.iter().any(|(name, _)| name == flag)
    }
}

/// Events that must come, or must not.
#[derive(Debug)]
pub(super) struct Expectation {
    /// The data source. Gadgets with one need not name it.
    pub(super) source: Option<String>,
    pub(super) fields: Vec<(String, Matcher)>,
    /// Fields that must be there and neither zero nor empty.
    pub(super) varies: Vec<String>,
    pub(super) count: Count,
}

/// How many events must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) min: u64,
    pub(super) max: Option<u64>,
}

/// What a value must be.
#[derive(Debug)]
pub(super) enum Matcher {
    Equals(Scalar),
    OneOf(Vec<Scalar>),
    Regex(Regex),
    Range { min: Option<f64>, max: Option<f64> },
}

/// The cases in `dir`.
///
/// # Errors
///
/// There is no file with cases, or it is wrong; the message has the line.
pub(super) fn read(dir: &Path) -> Result<Vec<Case>> {
    let path = dir.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::not_found(format!("{} does not exist", path.display()))
                .with_hint("docs/testing-gadgets.md says what stands in that file"));
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    parse(&text).with_context(|| path.display().to_string())
}

/// The file in `dir` without the cases that need no kernel.
pub(super) fn without_recordings(dir: &Path) -> Result<String> {
    let path = dir.join(FILE);
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut root = yaml::parse(&text)?.ok_or_else(|| Error::invalid("the file is empty"))?;
    if let Value::Map(entries) = &mut root.value {
        for (_, node) in entries {
            if let Value::List(cases) = &mut node.value {
                cases.retain(|case| case.get("recording").is_none());
            }
        }
    }
    Ok(yaml::emit(&root))
}

fn parse(text: &[u8]) -> Result<Vec<Case>> {
    let Some(root) = yaml::parse(text)? else {
        return Err(Error::invalid("the file is empty"));
    };
    let mut cases: Vec<Case> = Vec::new();
    let mut list = None;
    for (key, node) in mapping(&root, "the file")? {
        match key.as_str() {
            "cases" => list = Some(items(node, key)?),
            _ => return Err(unknown(node, key, "cases")),
        }
    }
    for node in list.unwrap_or_default() {
        let case = case(node)?;
        if cases.iter().any(|other| other.name == case.name) {
            return Err(wrong(node, format_args!("a second case {:?}", case.name)));
        }
        cases.push(case);
    }
    match cases.is_empty() {
        true => Err(Error::invalid("there are no cases")),
        false => Ok(cases),
    }
}

fn case(node: &Node) -> Result<Case> {
    let mut case = Case {
        name: String::new(),
        setup: None,
        workload: None,
        recording: None,
        params: Vec::new(),
        timeout: DEFAULT_TIMEOUT,
        expect: Vec::new(),
    };
    for (key, node) in mapping(node, "a case")? {
        match key.as_str() {
            "name" => case.name = text(node, key)?,
            "setup" => case.setup = Some(text(node, key)?),
            "workload" => case.workload = Some(text(node, key)?),
            "recording" => case.recording = Some(text(node, key)?),
            "params" => {
                for (name, value) in mapping(node, key)? {
                    case.params.push((param(value, name)?, text(value, name)?));
                }
            }
            "timeout" => case.timeout = time(node, key)?,
            "expect" => {
                case.expect = items(node, key)?
                    .iter()
                    .map(|node| expectation(node).map(Arc::new))
                    .collect::<Result<_>>()?
            }
            _ => {
                return Err(unknown(
                    node,
                    key,
                    "name, setup, workload, recording, params, timeout, expect",
                ));
            }
        }
    }
    if case.name.trim().is_empty() || case.name.contains('\n') {
        return Err(wrong(node, "a case needs a name of one line"));
    }
    if case.expect.is_empty() {
        return Err(wrong(node, format_args!("case {:?} expects nothing", case.name)));
    }
    Ok(case)
}

/// The name of a flag.
fn param(node: &Node, name: &str) -> Result<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.starts_with('-') && !name.is_empty() && name.chars().all(good) {
        true => Ok(name.to_owned()),
        false => Err(wrong(node, format_args!("{name:?} is no name of a flag"))),
    }
}

fn expectation(node: &Node) -> Result<Expectation> {
    let mut expectation = Expectation {
        source: None,
        fields: Vec::new(),
        varies: Vec::new(),
        count: Count { min: 1, max: None },
    };
    for (key, value) in mapping(node, "an expectation")? {
        match key.as_str() {
            "source" => expectation.source = Some(text(value, key)?),
            "fields" => {
                for (name, value) in mapping(value, key)? {
                    expectation.fields.push((name.clone(), matcher(value, name)?));
                }
            }
            "varies" => {
                expectation.varies = items(value, key)?
                    .iter()
                    .map(|item| text(item, key))
                    .collect::<Result<_>>()?;
            }
            "count" => expectation.count = count(value)?,
            _ => return Err(unknown(value, key, "source, fields, varies, count")),
        }
    }
    Ok(expectation)
}

fn matcher(node: &Node, name: &str) -> Result<Matcher> {
    let entries = match &node.value {
        Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => return Ok(Matcher::Equals(scalar.clone())),
        Value::Map(entries) => entries,
        _ => {
            return Err(wrong(
                node,
                format_args!(
                    "{name}: expected a value, or a mapping that says what it must be, found {}",
                    node.describe()
                ),
            ));
        }
    };
    let keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
    match (keys.as_slice(), entries.as_slice()) {
        (["equals"], [(_, value)]) => Ok(Matcher::Equals(scalar(value, "equals")?)),
        (["one-of"], [(_, value)]) => Ok(Matcher::OneOf(
            items(value, "one-of")?
                .iter()
                .map(|item| scalar(item, "one-of"))
                .collect::<Result<_>>()?,
        )),
        (["regex"], [(_, value)]) => {
            let pattern = text(value, "regex")?;
            let regex = Regex::new(&pattern).map_err(|error| wrong(value, format_args!("regex: {error}")))?;
            Ok(Matcher::Regex(regex))
        }
        (["min"] | ["max"] | ["min", "max"] | ["max", "min"], _) => {
            let bound = |key| node.get(key).map(|value| number(value, key)).transpose();
            let (min, max) = (bound("min")?, bound("max")?);
            if matches!((min, max), (Some(min), Some(max)) if min > max) {
                return Err(wrong(node, format_args!("{name}: the least is above the most")));
            }
            Ok(Matcher::Range { min, max })
        }
        _ => Err(wrong(
            node,
            format_args!(
                "{name}: expected one of equals, one-of, regex, or min and max, found {}",
                keys.join(", ")
            ),
        )),
    }
}

fn count(node: &Node) -> Result<Count> {
    let whole = |node: &Node, key: &str| match &node.value {
        Value::Scalar(Scalar {
            kind: ScalarKind::Int(number),
            ..
        }) => u64::try_from(*number).map_err(|_| wrong(node, format_args!("{key}: not below zero"))),
        _ => Err(wrong(
            node,
            format_args!("{key}: expected a number of events, found {}", node.describe()),
        )),
    };
    let Some(entries) = node.as_map() else {
        let exactly = whole(node, "count")?;
        return Ok(Count {
            min: exactly,
            max: Some(exactly),
        });
    };
    let mut count = Count { min: 0, max: None };
    for (key, value) in entries {
        match key.as_str() {
            "min" => count.min = whole(value, key)?,
            "max" => count.max = Some(whole(value, key)?),
            _ => return Err(unknown(value, key, "min, max")),
        }
    }
    match count.max.is_some_and(|max| max < count.min) {
        true => Err(wrong(node, "count: the least is above the most")),
        false => Ok(count),
    }
}

fn wrong(node: &Node, message: impl std::fmt::Display) -> Error {
    yaml::error_at(node.line, message)
}

fn unknown(node: &Node, key: &str, known: &str) -> Error {
    wrong(node, format_args!("unknown key {key:?}: expected one of {known}"))
}

fn mapping<'a>(node: &'a Node, what: &str) -> Result<&'a [(String, Node)]> {
    node.as_map().ok_or_else(|| {
        wrong(
            node,
            format_args!("{what}: expected a mapping, found {}", node.describe()),
        )
    })
}

fn items<'a>(node: &'a Node, what: &str) -> Result<&'a [Node]> {
    match &node.value {
        Value::List(items) => Ok(items),
        _ => Err(wrong(
            node,
            format_args!("{what}: expected a list, found {}", node.describe()),
        )),
    }
}

fn scalar(node: &Node, what: &str) -> Result<Scalar> {
    match &node.value {
        Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => Ok(scalar.clone()),
        _ => Err(wrong(
            node,
            format_args!("{what}: expected a value, found {}", node.describe()),
        )),
    }
}

fn text(node: &Node, what: &str) -> Result<String> {
    Ok(scalar(node, what)?.text)
}

fn number(node: &Node, what: &str) -> Result<f64> {
    match scalar(node, what)?.kind {
        ScalarKind::Int(number) => Ok(number as f64),
        ScalarKind::Float(number) if !number.is_nan() => Ok(number),
        _ => Err(wrong(
            node,
            format_args!("{what}: expected a number, found {}", node.describe()),
        )),
    }
}

/// Like `30s`; a number alone is in seconds.
fn time(node: &Node, what: &str) -> Result<Duration> {
    let text = text(node, what)?;
    let nanoseconds = match text.parse::<u32>() {
        Ok(seconds) => Ok(i64::from(seconds) * 1_000_000_000),
        Err(_) => duration::parse(&text),
    };
    match nanoseconds.map(u64::try_from) {
        Ok(Ok(nanoseconds)) if nanoseconds > 0 => Ok(Duration::from_nanos(nanoseconds)),
        _ => Err(wrong(
            node,
            format_args!("{what}: {text:?} is no time such as 30s or 1m30s"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_can_be_said() {
        let cases = parse(
            br#"cases:
  - name: a file
    setup: touch x
    workload: |
      cat x
    params: {failed: false, comm: cat}
    timeout: 1m30s
    expect:
      - source: open
        fields:
          fname: x
          proc.comm: {regex: "^cat$"}
          flags_raw: {one-of: [0, 0x8000]}
          fd: {min: 3, max: 100}
          error_raw: {equals: 0}
        varies: [timestamp_raw, proc.pid]
        count: 2
      - count: {max: 3}
  - name: recorded
    recording: opens.igrec
    timeout: 5
    expect: [{count: {min: 1}}]
"#,
        )
        .unwrap();
        let [first, second] = &cases[..] else {
            panic!("{cases:?}")
        };
        assert_eq!(
            (first.setup.as_deref(), first.workload.as_deref()),
            (Some("touch x"), Some("cat x\n"))
        );
        assert_eq!(
            first.params,
            [("failed", "false"), ("comm", "cat")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert_eq!(first.timeout, Duration::from_secs(90));
        assert_eq!(first.expect[0].fields.len(), 5);
        assert!(
            matches!(&first.expect[0].fields[2].1, Matcher::OneOf(values) if values[1].kind == ScalarKind::Int(32768))
        );
        assert_eq!(first.expect[0].varies, ["timestamp_raw", "proc.pid"]);
        assert_eq!(first.expect[0].count, Count { min: 2, max: Some(2) });
        assert_eq!(first.expect[1].count, Count { min: 0, max: Some(3) });
        assert_eq!(
            (second.recording.as_deref(), second.timeout),
            (Some("opens.igrec"), Duration::from_secs(5))
        );
    }

    #[test]
    fn cases_over_recordings_can_be_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let text = "cases:\n- {name: a, recording: x, expect: [{}]}\n- {name: b, workload: 'true', expect: [{fields: {n: 0x10, t: '1'}}]}\n";
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let rest = parse(without_recordings(dir.path()).unwrap().as_bytes()).unwrap();
        let [b] = &rest[..] else { panic!("{rest:?}") };
        assert_eq!((b.name.as_str(), b.workload.as_deref()), ("b", Some("true")));
        let kinds: Vec<_> = b.expect[0].fields.iter().map(|(_, matcher)| matcher).collect();
        assert!(
            matches!(kinds[0], Matcher::Equals(scalar) if scalar.kind == ScalarKind::Int(16)),
            "{kinds:?}"
        );
        assert!(
            matches!(kinds[1], Matcher::Equals(scalar) if scalar.kind == ScalarKind::String),
            "{kinds:?}"
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let message = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        let expecting = |expect: &str| message(&format!("cases:\n- name: a\n  expect:\n  - {expect}\n"));
        assert_eq!(message(""), "the file is empty");
        assert_eq!(message("cases: []"), "there are no cases");
        assert_eq!(
            message("case: []"),
            "yaml: line 1: unknown key \"case\": expected one of cases"
        );
        assert_eq!(
            message("cases:\n- name: a\n"),
            "yaml: line 2: case \"a\" expects nothing"
        );
        assert_eq!(
            message("cases:\n- expect: [{}]\n"),
            "yaml: line 2: a case needs a name of one line"
        );
        assert_eq!(
            message("cases:\n- {name: a, expect: [{}]}\n- {name: a, expect: [{}]}\n"),
            "yaml: line 3: a second case \"a\""
        );
        assert_eq!(
            message("cases:\n- name: a\n  timeout: soon\n"),
            "yaml: line 3: timeout: \"soon\" is no time such as 30s or 1m30s"
        );
        assert!(message("cases:\n- name: a\n  params: {--x: 1}\n").contains("is no name of a flag"));
        assert!(expecting("fields: {a: {regexp: x}}").contains("found regexp"));
        assert!(expecting("fields: {a: {min: 3, max: 1}}").contains("the least is above the most"));
        assert!(expecting("fields: {a: {min: x}}").contains("expected a number, found a string"));
        assert!(expecting("fields: {a: {regex: '('}}").starts_with("yaml: line 4: regex: "));
        assert!(expecting("fields: {a: [1]}").contains("found a list"));
        assert!(expecting("count: many").contains("expected a number of events"));
        assert!(expecting("count: -1").contains("not below zero"));
        assert!(expecting("count: {min: 2, max: 1}").contains("the least is above the most"));
        assert!(expecting("varied: [a]").contains("unknown key"));
    }
}
