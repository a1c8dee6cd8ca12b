//! A validator for the part of JSON Schema that the program's own schemas use. Any other keyword is a panic, so that nothing in a
//! schema is silently not looked at.

use serde_json::Value;

/// Says where and why `instance` does not fit `schema`.
pub(crate) fn validate(schema: &Value, instance: &Value) -> Result<(), String> {
    check(schema, schema, instance, "$")
}

fn check(root: &Value, schema: &Value, instance: &Value, at: &str) -> Result<(), String> {
    let keywords = schema.as_object().unwrap_or_else(|| panic!("{schema} is no schema"));
    for (keyword, expected) in keywords {
        let wrong = |why: &str| Err(format!("{at}: {why} ({keyword}: {expected}): {instance}"));
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => {}
            // An annotation; what it promises is also said by the pattern.
            "contentEncoding" => assert!(schema["pattern"].is_string()),
            "$ref" => check(root, find(root, text(expected)), instance, at)?,
            "not" if check(root, expected, instance, at).is_ok() => return wrong("fits"),
            "not" => {}
            "anyOf" | "oneOf" => {
                let results: Vec<_> = list(expected)
                    .iter()
                    .map(|one| check(root, one, instance, at))
                    .collect();
                let fits = results.iter().filter(|result| result.is_ok()).count();
                if fits == 0 {
                    let whys: Vec<String> = results.into_iter().filter_map(Result::err).collect();
                    return Err(format!("{at}: fits none: {}", whys.join("; ")));
                }
                if keyword == "oneOf" && fits > 1 {
                    return wrong("fits several");
                }
            }
            "const" if expected != instance => return wrong("differs"),
            "const" => {}
            "type" => {
                let types = expected.as_array().cloned().unwrap_or_else(|| vec![expected.clone()]);
                if !types.iter().any(|name| is(text(name), instance)) {
                    return wrong("wrong type");
                }
            }
            "minimum" if integer(instance).is_some_and(|value| value < integer(expected).unwrap()) => {
                return wrong("too small");
            }
            "maximum" if integer(instance).is_some_and(|value| value > integer(expected).unwrap()) => {
                return wrong("too large");
            }
            "minimum" | "maximum" => {}
            "pattern" => {
                assert_eq!(expected, "^([0-9a-f]{2})*$");
                let hex =
                    |text: &str| text.len().is_multiple_of(2) && text.bytes().all(|b| b"0123456789abcdef".contains(&b));
                if !instance.as_str().is_none_or(hex) {
                    return wrong("no hex");
                }
            }
            "items" => {
                for (index, item) in instance.as_array().into_iter().flatten().enumerate() {
                    check(root, expected, item, &format!("{at}[{index}]"))?;
                }
            }
            "required" => {
                let members = instance.as_object();
                if let Some(missing) =
                    members.and_then(|m| list(expected).iter().find(|name| !m.contains_key(text(name))))
                {
                    return wrong(&format!("no {missing}"));
                }
            }
            "properties" => {
                for (name, member) in instance.as_object().into_iter().flatten() {
                    if let Some(schema) = expected.get(name) {
                        check(root, schema, member, &format!("{at}.{name}"))?;
                    }
                }
            }
            "additionalProperties" => {
                assert_eq!(expected, &Value::Bool(false));
                let mut names = instance.as_object().into_iter().flat_map(|members| members.keys());
                if let Some(other) = names.find(|name| schema["properties"].get(*name).is_none()) {
                    return wrong(&format!("{other} is not known"));
                }
            }
            other => panic!("{at}: keyword {other} is not known to the tests"),
        }
    }
    Ok(())
}

fn is(name: &str, instance: &Value) -> bool {
    match name {
        "null" => instance.is_null(),
        "boolean" => instance.is_boolean(),
        "number" => instance.is_number(),
        "integer" => integer(instance).is_some(),
        "string" => instance.is_string(),
        "array" => instance.is_array(),
        "object" => instance.is_object(),
        other => panic!("there is no type {other}"),
    }
}

fn integer(value: &Value) -> Option<i128> {
    value
        .as_i64()
        .map(i128::from)
        .or_else(|| value.as_u64().map(i128::from))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

/// What a reference inside the document leads to.
fn find<'a>(root: &'a Value, reference: &str) -> &'a Value {
    let pointer = reference.strip_prefix('#').expect("a reference inside the document");
    let mut bytes = Vec::new();
    let mut rest = pointer.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect("two hex digits")
            }
            other => other,
        });
    }
    let pointer = String::from_utf8(bytes).expect("UTF-8");
    root.pointer(&pointer)
        .unwrap_or_else(|| panic!("{reference} leads nowhere"))
}
