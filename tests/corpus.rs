//! The gadgets of `tests/gadgets` that show one thing each about events and parameters, as a user sees them.

mod common;

use common::{Ig, gadget_source};
use serde_json::{Value, json};

/// The first event of the gadget.
fn event(ig: &Ig, name: &str, flags: &[&str]) -> Value {
    let path = gadget_source(name);
    let mut args = vec!["run", path.to_str().expect("a path"), "-o", "json", "--timeout", "1"];
    args.extend(flags);
    let ran = ig.run(args).ok();
    let line = ran
        .stdout
        .lines()
        .next()
        .unwrap_or_else(|| panic!("no event: {}", ran.stderr));
    serde_json::from_str(line).expect("JSON")
}

#[test]
fn members_of_every_kind() {
    let Some(ig) = Ig::new() else { return };
    let event = event(&ig, "kinds", &[]);
    for (field, expected) in [
        ("u8", json!(200)),
        ("u16", json!(60000)),
        ("u32", json!(4_000_000_000_u32)),
        ("u64", json!(18_000_000_000_000_000_000_u64)),
        ("s8", json!(-100)),
        ("s16", json!(-30000)),
        ("s32", json!(-2_000_000_000)),
        ("s64", json!(-9_000_000_000_000_000_000_i64)),
        ("f32", json!(1.5)),
        ("f64", json!(-0.25)),
        ("yes", json!(true)),
        ("text", json!("a\"b\\c")),
        ("numbers", json!([1, 0, 3])),
        ("inner", json!({"number": 513, "below": {"deeper": -1}})),
        ("either", json!({"word": 0x0102_0304, "octet": 4})),
        ("colour", json!("BLUE")),
        ("access", json!("READ|EXECUTE")),
        ("low", json!(5)),
        ("middle", json!(17)),
        ("high", json!(0x00ab_cdef)),
        ("wide_negative", json!(-3)),
    ] {
        assert_eq!(event[field], expected, "{field} of {event}");
    }
}

#[test]
fn parameters_of_every_type() {
    let Some(ig) = Ig::new() else { return };
    let defaults = event(&ig, "params", &[]);
    for (field, expected) in [
        ("small", json!(1)),
        ("huge", json!(4)),
        ("far_below", json!(-5)),
        ("on", json!(true)),
        ("word", json!("word")),
        ("mode", json!("IG_STRICT")),
    ] {
        assert_eq!(defaults[field], expected, "{field} of {defaults}");
    }
    let flags = [
        "--small=255",
        "--medium=65535",
        "--large=4294967295",
        "--huge=18446744073709551615",
        "--below=-128",
        "--far_below=-9223372036854775808",
        "--on=false",
        "--word=changed",
        "--mode=IG_HARSH",
        "--address=10.1.2.3",
    ];
    let set = event(&ig, "params", &flags);
    for (field, expected) in [
        ("small", json!(255)),
        ("medium", json!(65535)),
        ("large", json!(u32::MAX)),
        ("huge", json!(u64::MAX)),
        ("below", json!(-128)),
        ("far_below", json!(i64::MIN)),
        ("on", json!(false)),
        ("word", json!("changed")),
        ("mode", json!("IG_HARSH")),
    ] {
        assert_eq!(set[field], expected, "{field} of {set}");
    }
    assert_eq!(set["address"]["addr"], "10.1.2.3", "{set}");
    let path = gadget_source("params");
    for (flag, expected) in [("--small=256", "small"), ("--word=much-too-long", "too long")] {
        ig.run(["run".as_ref(), path.as_os_str(), flag.as_ref()])
            .fails_with(&[expected]);
    }
}
