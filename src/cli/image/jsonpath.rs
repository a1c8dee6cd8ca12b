//! The part of JSONPath that picks values out of a document: `.name`, `["name"]`, `[0]`, `[*]` and `.*`.

use serde_json::Value;

use crate::{Error, Result, ResultExt};

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
    All,
}

/// The value that `path` selects in `document`; with a `*` in the path, the list of all of them.
///
/// # Errors
/// `resolving path "…": …` when the path is not understood or leads nowhere.
pub(super) fn select(document: &Value, path: &str) -> Result<Value> {
    resolve(document, path).with_context(|| format!("resolving path {path:?}"))
}

fn resolve(document: &Value, path: &str) -> Result<Value> {
    let steps = parse(path)?;
    let several = steps.contains(&Step::All);
    let mut found = vec![document];
    for step in &steps {
        let mut next = Vec::new();
        for value in found {
            match step {
                Step::All => match value {
                    Value::Array(items) => next.extend(items),
                    Value::Object(members) => next.extend(members.values()),
                    _ => {}
                },
                Step::Key(key) => next.extend(value.get(key)),
                Step::Index(index) => next.extend(value.get(index)),
            }
        }
        if next.is_empty() && !several {
            return Err(Error::not_found(match step {
                Step::Key(key) => format!("unknown key {key}"),
                Step::Index(index) => format!("unknown index {index}"),
                Step::All => "nothing there".to_owned(),
            }));
        }
        found = next;
    }
    Ok(match (several, found.as_slice()) {
        (false, [value]) => (*value).clone(),
        _ => Value::Array(found.into_iter().cloned().collect()),
    })
}

fn parse(path: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        let (step, after) = if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at(end);
            let step = match name {
                "" => return Err(unexpected(rest)),
                "*" => Step::All,
                name => Step::Key(name.to_owned()),
            };
            (step, after)
        } else if let Some(inside) = rest.strip_prefix('[') {
            bracket(inside).ok_or_else(|| unexpected(rest))?
        } else {
            return Err(unexpected(rest));
        };
        steps.push(step);
        rest = after;
    }
    Ok(steps)
}

/// What is between brackets, and what follows them.
fn bracket(inside: &str) -> Option<(Step, &str)> {
    if let Some(quote) = inside.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (name, after) = inside.get(1..)?.split_once(quote)?;
        return Some((Step::Key(name.to_owned()), after.strip_prefix(']')?));
    }
    let (inside, after) = inside.split_once(']')?;
    let step = match inside.trim() {
        "*" => Step::All,
        number => Step::Index(number.parse().ok()?),
    };
    Some((step, after))
}

fn unexpected(rest: &str) -> Error {
    Error::invalid(format!("parsing error at {rest:?}"))
        .with_hint("a path is made of .name, [\"name\"], [0] and [*], for instance '[*].Section'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selects() {
        let document = json!({"a": {"b": [{"c.d": 1, "e": "x"}, {"e": "y"}]}, "n": null});
        for (path, expected) in [
            ("", document.clone()),
            (".a.b[0].e", json!("x")),
            ("$.a.b[1]['e']", json!("y")),
            (".a.b[0][\"c.d\"]", json!(1)),
            (".a.b[*].e", json!(["x", "y"])),
            (".a.b[*][\"c.d\"]", json!([1])),
            (".a.*", json!([[{"c.d": 1, "e": "x"}, {"e": "y"}]])),
            (".a.b[*].nosuch", json!([])),
            (".n", Value::Null),
        ] {
            assert_eq!(select(&document, path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let message = |path: &str| select(&json!({"a": [1]}), path).unwrap_err().to_string();
        assert_eq!(message(".x"), "resolving path \".x\": unknown key x");
        assert_eq!(message(".a[3]"), "resolving path \".a[3]\": unknown index 3");
        for path in ["a", ".", "..a", ".a[", ".a[x]", ".a['x]", ".a[-1]", "[]"] {
            assert!(
                message(path).contains(": parsing error at "),
                "{path}: {}",
                message(path)
            );
        }
    }
}
