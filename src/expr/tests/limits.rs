//! No expression takes the program down.

use proptest::prelude::*;

use super::{event, value};
use crate::expr::{Filter, Text};

#[test]
fn nesting_is_bounded() {
    let deep =
        |open: &str, inside: &str, close: &str, n: usize| format!("{}{inside}{}", open.repeat(n), close.repeat(n));
    for (open, inside, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{a:", "1", "}"),
        ("-", "1", ""),
        ("not ", "flag", ""),
        ("len([", "1", "])"),
        ("map([1],", "1", ")"),
        ("flag ? 1 : ", "1", ""),
        ("let x = ", "1", "; 1"),
        ("if flag {", "1", "} else { 1 }"),
        ("1 + (", "1", ")"),
        ("2 ** ", "1", ""),
        ("", "1", " + 1"),
        ("", "[]", "[0]"),
        ("", "[]", "?.x"),
        ("", "[]", " | first()"),
        ("", "flag", " ?: flag"),
    ] {
        let error = value(&deep(open, inside, close, 2500)).unwrap_err();
        assert!(
            error.contains("nested too deeply") || error.contains("too large"),
            "{open}{inside}{close}: {error}"
        );
        // As deep as is allowed, everything must fit on the stack of a thread of two megabytes.
        for n in [30, 45, 90] {
            let text = deep(open, inside, close, n);
            let _ = std::thread::Builder::new()
                .stack_size(2 * 1024 * 1024)
                .spawn(move || value(&text))
                .unwrap()
                .join()
                .unwrap();
        }
    }
}

#[test]
fn long_chains_are_not_deep() {
    let (source, element) = event();
    for (term, joint, expected) in [("proc.pid == 1", " or ", false), ("proc.pid != 1", " and ", true)] {
        let text = vec![term; 1000].join(joint);
        assert_eq!(
            Filter::compile(&text, &source).unwrap().matches(&element).unwrap(),
            expected
        );
    }
}

#[test]
fn size_is_bounded() {
    let error = value(&"1".repeat(70_000)).unwrap_err();
    assert_eq!(error, "expression of 70000 bytes is too long (at most 65536)");
    let error = value(&vec!["1"; 12_000].join(",")).unwrap_err();
    assert!(error.starts_with("unexpected token"), "{error}");
    let error = value(&format!("[{}]", vec!["1"; 12_000].join(","))).unwrap_err();
    assert!(error.starts_with("expression is too large"), "{error}");
    // Sharing what is written once must not double it with every level.
    let doubled = (0..60).fold("flag".to_owned(), |text, _| format!("({text} ?: flag)"));
    assert!(value(&doubled).unwrap_err().starts_with("expression is too large"));
    let chained = (0..60).fold("1".to_owned(), |text, _| format!("(0 < {text} < 1 ? 1 : 0)"));
    assert!(value(&chained).unwrap_err().starts_with("expression is "));
}

#[test]
fn what_one_evaluation_makes_is_bounded() {
    for text in [
        "len(1..1000000000) > 0",
        "len(-9223372036854775807..9223372036854775807)",
        "len(1..int64Value * 10000000)",
        "repeat('a', 1000000000)",
        "repeat(stringValue, 9223372036854775807)",
        "len(map(1..900000, [#, #, #]))",
        "replace(repeat('a', 10000), 'a', repeat('b', 10000))",
        "replace(repeat('a', 10000), '', repeat('b', 10000))",
        "join(map(1..10000, repeat('a', 1000)))",
        "reduce(1..100000, #acc + 'aaaaaaaaaa', '')",
        "let a = 1..1000; let b = map(a, a); let c = map(a, b); len(toJSON(c))",
        "let a = 1..1000; let b = map(a, a); let c = map(a, b); len(string(c))",
        "let a = 1..1000; let b = map(a, a); let c = map(a, b); len(flatten(c))",
        "let a = map(1..1000, ['x']); len(concat(a, a, a)) + sum(map(1..1000, len(concat(a, a))))",
    ] {
        let error = value(text).unwrap_err();
        assert!(error.starts_with("memory budget exceeded"), "{text}: {error}");
    }
    for text in [
        "let a = 1..100000; all(a, all(a, all(a, true)))",
        "let a = 1..100000; all(a, # in a)",
        "let a = repeat('a', 500000); all(1..100000, a not contains 'b')",
        "let a = 1..1000; let b = map(a, a); let c = map(a, b); let d = map(a, b); c == d",
        "let a = 1..1000; let b = map(a, a); let c = map(a, b); max(c)",
        "let a = 1..1000; let b = map(a, []); let c = map(a, b); let d = map(a, c); len(flatten(d))",
        "all(1..10000, 'a' matches 'a|' + string(#))",
    ] {
        let error = value(text).unwrap_err();
        assert!(error.starts_with("time budget exceeded"), "{text}: {error}");
    }
    for text in [
        "reduce(1..100000, [#acc])",
        "fromJSON(repeat('[', 50) + repeat(']', 50))",
    ] {
        let error = value(text).unwrap_err();
        assert!(error.starts_with("value is nested too deeply"), "{text}: {error}");
    }
}

#[test]
fn an_error_leaves_nothing_behind() {
    let (source, element) = event();
    let mut filter = Filter::compile("any([{a: nil}], .a.b.c == 1) or true", &source).unwrap();
    for _ in 0..3 {
        assert!(filter.matches(&element).is_err());
    }
    super::check(&[("[{a: nil}] | map(.a?.b) | first() ?? 'nil'", "nil")]);
}

/// Pieces of expressions, of which random ones are put together.
const PIECES: &[&str] = &[
    "error",
    "proc",
    ".comm",
    "proc.pid",
    "stringValue",
    "ratio",
    "flag",
    "$env",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "1",
    "0",
    "-1",
    "2.5",
    "'a'",
    "\"\\x\"",
    "`b`",
    "nil",
    "true",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "==",
    "!=",
    "<",
    ">=",
    "and",
    "or",
    "not",
    "in",
    "matches",
    "contains",
    "..",
    "?.",
    "??",
    "?",
    ":",
    ",",
    ";",
    "|",
    "#",
    "#acc",
    "#index",
    ".x",
    "let x =",
    "x",
    "if",
    "else",
    "len(",
    "all(",
    "map(",
    "filter(",
    "reduce(",
    "sortBy(",
    "groupBy(",
    "string(",
    "int(",
    "split(",
    "trim(",
    "cidr('1.0.0.0/8')",
    "date(",
    "duration('1h')",
    "now()",
    ".Format(",
    "repeat(",
    "get(",
    "sort(",
    "toJSON(",
    "fromJSON(",
    "max(",
    "bitshl(",
    "1..9",
    "::",
    "/*",
    "//",
    "é",
    "\u{0}",
    " ",
    "\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_text_compiles_or_is_an_error(text in ".{0,80}") {
        let _ = value(&text);
    }

    #[test]
    fn any_pieces_compile_or_are_an_error(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..14)) {
        for joint in ["", " "] {
            let _ = value(&pieces.join(joint));
        }
    }

    #[test]
    fn constants_are_evaluated_as_fields_are(a in -300_i64..300, b in -300_i64..300) {
        let (source, mut element) = event();
        let field = source.accessor(source.find("int64Value").unwrap());
        field.set(&mut element, &a.to_ne_bytes()).unwrap();
        for op in ["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "**"] {
            let mut out = Vec::new();
            for text in [format!("string(({a}) {op} ({b}))"), format!("string(int64Value {op} ({b}))"), format!("string(({a}) {op} (int64Value - ({a}) + ({b})))")] {
                out.push(Vec::new());
                Text::compile(&text, &source).unwrap().eval(&element, out.last_mut().unwrap()).unwrap();
            }
            prop_assert_eq!(&out[0], &out[1], "{}", op);
            prop_assert_eq!(&out[0], &out[2], "{}", op);
        }
    }
}
