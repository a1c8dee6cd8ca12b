//! Events against expectations: which fit, and how the nearest of the others differs.

use std::sync::Arc;

use serde_json::Value;

use super::cases::{Case, Expectation, Matcher};
use crate::metadata::yaml::{Scalar, ScalarKind};

/// An expectation and the events seen so far.
#[derive(Debug)]
struct Tally {
    expectation: Arc<Expectation>,
    seen: u64,
    fitting: u64,
    /// The event with the fewest differences, the first of several, with these.
    nearest: Option<(Value, Vec<String>)>,
    /// An event that fits.
    example: Option<Value>,
}

/// What came of a case's expectations.
#[derive(Debug)]
pub(super) struct Judge {
    tallies: Vec<Tally>,
}

impl Judge {
    pub(super) fn new(case: &Case) -> Self {
        let tallies = case.expect.iter().map(|expectation| Tally {
            expectation: Arc::clone(expectation),
            seen: 0,
            fitting: 0,
            nearest: None,
            example: None,
        });
        Self {
            tallies: tallies.collect(),
        }
    }

    /// Takes notice of an event of the data source `source`.
    pub(super) fn see(&mut self, source: &str, event: &Value) {
        for tally in &mut self.tallies {
            let wanted = tally.expectation.source.as_deref();
            if wanted.is_none_or(|wanted| wanted == source) {
                tally.see(event);
            }
        }
    }

    /// Whether all has come that has to come.
    pub(super) fn has_enough(&self) -> bool {
        let enough = |tally: &Tally| tally.fitting >= tally.expectation.count.min;
        self.tallies.iter().all(enough)
    }

    /// Whether too much can come.
    pub(super) fn has_limits(&self) -> bool {
        self.tallies.iter().any(|tally| tally.expectation.count.max.is_some())
    }

    /// What is wrong, one text of several lines for each expectation; empty if nothing is.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.tallies.iter().filter_map(Tally::complaint).collect()
    }
}

impl Tally {
    fn see(&mut self, event: &Value) {
        self.seen += 1;
        let differences = differences(&self.expectation, event);
        if differences.is_empty() {
            self.fitting += 1;
            self.example.get_or_insert_with(|| event.clone());
            return;
        }
        let best = self.nearest.as_ref().map(|(_, differences)| differences.len());
        if best.is_none_or(|best| differences.len() < best) {
            self.nearest = Some((event.clone(), differences));
        }
    }

    fn complaint(&self) -> Option<String> {
        let count = self.expectation.count;
        let too_few = self.fitting < count.min;
        let too_many = count.max.is_some_and(|max| self.fitting > max);
        if !too_few && !too_many {
            return None;
        }
        let mut text = format!("expected {}", self.described());
        text.push_str(&format!("\ncame: {} events, of which {} fit", self.seen, self.fitting));
        match (&self.nearest, &self.example) {
            (_, Some(example)) if too_many => text.push_str(&format!("; one that fits:\n    {example}")),
            (Some((event, differences)), _) => {
                text.push_str("; the nearest of the others:");
                for difference in differences {
                    text.push_str(&format!("\n    {difference}"));
                }
                text.push_str(&format!("\n    {event}"));
            }
            _ => {}
        }
        Some(text)
    }

    /// The expectation in words.
    fn described(&self) -> String {
        let Expectation {
            source,
            fields,
            varies,
            count,
        } = &*self.expectation;
        let mut text = match (count.min, count.max) {
            (min, Some(max)) if min == max => format!("exactly {min} events"),
            (0, Some(max)) => format!("at most {max} events"),
            (min, Some(max)) => format!("{min} to {max} events"),
            (1, None) => "an event".to_owned(),
            (min, None) => format!("at least {min} events"),
        };
        if let Some(source) = source {
            text.push_str(&format!(" of data source {source:?}"));
        }
        if fields.is_empty() && varies.is_empty() {
            return text;
        }
        text.push_str(" with");
        for (name, matcher) in fields {
            text.push_str(&format!("\n    {name}: {}", describe(matcher)));
        }
        for name in varies {
            text.push_str(&format!("\n    {name}: neither zero nor empty"));
        }
        text
    }
}

/// In which fields the event is not what is expected.
fn differences(expectation: &Expectation, event: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, matcher) in &expectation.fields {
        match field(event, name) {
            None => found.push(format!("{name}: there is no such field")),
            Some(value) if fits(matcher, value) => {}
            Some(value) => found.push(format!("{name}: {value}, expected {}", describe(matcher))),
        }
    }
    for name in &expectation.varies {
        match field(event, name) {
            None => found.push(format!("{name}: there is no such field")),
            Some(value) if is_nothing(value) => found.push(format!("{name}: {value}, expected something else")),
            Some(_) => {}
        }
    }
    found
}

/// The field of this full name: members of members are joined by dots.
fn field<'e>(event: &'e Value, name: &str) -> Option<&'e Value> {
    if let Some(value) = event.get(name) {
        return Some(value);
    }
    // Names of fields may have dots themselves.
    let mut dots = name.match_indices('.');
    dots.find_map(|(dot, _)| field(event.get(&name[..dot])?, &name[dot + 1..]))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn fits(matcher: &Matcher, value: &Value) -> bool {
    match matcher {
        Matcher::Equals(expected) => equals(expected, value),
        Matcher::OneOf(expected) => expected.iter().any(|expected| equals(expected, value)),
        Matcher::Regex(regex) => regex.is_match(&shown(value)),
        Matcher::Range { min, max } => {
            let number = match value {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => text.parse().ok(),
                _ => None,
            };
            number.is_some_and(|number| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max))
        }
    }
}

/// Numbers are equal however they are written; everything else is by its text.
fn equals(expected: &Scalar, value: &Value) -> bool {
    match (expected.kind, value) {
        (ScalarKind::Int(expected), Value::Number(number)) => {
            let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
            whole.map_or(number.as_f64() == Some(expected as f64), |number| number == expected)
        }
        (ScalarKind::Float(expected), Value::Number(number)) => number.as_f64() == Some(expected),
        (ScalarKind::Bool(expected), Value::Bool(value)) => *value == expected,
        _ => expected.text == shown(value),
    }
}

/// A text as it is, all else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn describe(matcher: &Matcher) -> String {
    let literal = |scalar: &Scalar| match scalar.kind {
        ScalarKind::String => format!("{:?}", scalar.text),
        _ => scalar.text.clone(),
    };
    match matcher {
        Matcher::Equals(expected) => literal(expected),
        Matcher::OneOf(expected) => format!("one of {}", expected.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Matcher::Regex(regex) => format!("what {:?} matches", regex.as_str()),
        Matcher::Range { min, max } => match (min, max) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            (Some(min), None) => format!("{min} or more"),
            (None, Some(max)) => format!("{max} or less"),
            (None, None) => "anything".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::gadget::test::cases;

    fn case(expect: &str) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("cases:\n- name: a\n  expect:\n  - {expect}\n");
        std::fs::write(dir.path().join(cases::FILE), text).unwrap();
        cases::read(dir.path()).unwrap().remove(0)
    }

    fn event() -> Value {
        json!({"fname": "/etc/passwd", "fd": 3, "ratio": 0.5, "big": u64::MAX, "ok": true, "zero": 0, "empty": "", "number": "12",
            "proc": {"comm": "cat", "creds": {"uid": 0}}, "a.b": {"c": 1}})
    }

    #[test]
    fn matchers() {
        for (fields, fits) in [
            ("{fname: /etc/passwd, fd: 3, ok: true}", true),
            ("{fname: /etc/shadow}", false),
            ("{fd: 0x3, ratio: 0.5, big: 18446744073709551615, number: 12}", true),
            ("{big: 18446744073709551614}", false),
            ("{proc.comm: cat, proc.creds.uid: 0, a.b.c: 1}", true),
            ("{proc.creds.gid: 0}", false),
            ("{fname: {regex: ^/etc}, fd: {regex: '^3$'}}", true),
            ("{fname: {regex: ^etc}}", false),
            ("{fd: {min: 3, max: 3}, number: {min: 12}, ratio: {max: 1}}", true),
            ("{fd: {min: 4}}", false),
            ("{fname: {max: 4}}", false),
            ("{fd: {one-of: [1, 3]}, proc.comm: {equals: cat}}", true),
            ("{fd: {one-of: [1, 2]}}", false),
        ] {
            let case = case(&format!("fields: {fields}"));
            assert_eq!(differences(&case.expect[0], &event()).is_empty(), fits, "{fields}");
        }
        let case = case("varies: [fd, fname, zero, empty, nosuch]");
        assert_eq!(
            differences(&case.expect[0], &event()),
            [
                "zero: 0, expected something else",
                "empty: \"\", expected something else",
                "nosuch: there is no such field",
            ]
        );
    }

    #[test]
    fn the_nearest_event_is_shown() {
        let case = case("{source: open, fields: {fname: /x, fd: 3, proc.comm: {regex: ^cat}}, varies: [zero]}");
        let mut judge = Judge::new(&case);
        judge.see(
            "other",
            &json!({"fname": "/x", "fd": 3, "proc": {"comm": "cat"}, "zero": 1}),
        );
        judge.see("open", &json!({"fname": "/y", "fd": 4, "zero": 0}));
        judge.see("open", &event());
        assert!(!judge.has_enough() && !judge.has_limits());
        let complaints = judge.complaints();
        assert_eq!(
            complaints,
            [format!(
                "expected an event of data source \"open\" with\n    fname: \"/x\"\n    fd: 3\n    proc.comm: what \"^cat\" matches\n    zero: neither \
                 zero nor empty\ncame: 2 events, of which 0 fit; the nearest of the others:\n    fname: \"/etc/passwd\", expected \"/x\"\n    \
                 zero: 0, expected something else\n    {}",
                event()
            )]
        );
    }

    #[test]
    fn counts() {
        for (count, came, complaint) in [
            ("2", 1, Some("expected exactly 2 events with")),
            ("2", 2, None),
            ("2", 3, Some("came: 3 events, of which 3 fit; one that fits:")),
            ("0", 0, None),
            ("0", 1, Some("expected exactly 0 events with")),
            ("{min: 2, max: 3}", 4, Some("expected 2 to 3 events with")),
            ("{max: 1}", 2, Some("expected at most 1 events with")),
            ("{min: 2}", 1, Some("expected at least 2 events with")),
            ("{min: 2}", 5, None),
        ] {
            let case = case(&format!("{{fields: {{fd: 3}}, count: {count}}}"));
            let mut judge = Judge::new(&case);
            for _ in 0..came {
                judge.see("open", &event());
            }
            let complaints = judge.complaints();
            match complaint {
                None => assert!(complaints.is_empty(), "{count} {came}: {complaints:?}"),
                Some(text) => assert!(complaints[0].contains(text), "{count} {came}: {complaints:?}"),
            }
        }
    }
}
