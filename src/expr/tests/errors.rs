//! What is wrong with expressions is said with the place.

use super::{event, value};
use crate::expr::Filter;

fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(text, expected)| {
            let found = value(text);
            let start = found.as_ref().err().is_some_and(|found| found.starts_with(expected));
            (!start).then(|| format!("{text}\n  expected {expected}\n  found    {found:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn syntax() {
    check(&[
        ("", "unexpected token EOF (1:1)\n | \n | ^"),
        ("1 +", "unexpected token EOF (1:3)\n | 1 +\n | ..^"),
        ("1 2", "unexpected token Number(\"2\") (1:3)\n | 1 2\n | ..^"),
        ("a = 1", "unexpected token Operator(\"=\") (1:3)"),
        ("(1", "unexpected token EOF (1:2)"),
        ("[1", "unexpected token EOF (1:2)"),
        ("{1", "unexpected token EOF (1:2)"),
        (
            "{+: 1}",
            "a map key must be a quoted string, a number, a identifier, or an expression enclosed in parentheses (unexpected token Operator(\"+\")) (1:2)",
        ),
        ("'a' 'b'", "unexpected token String(\"b\") (1:5)"),
        ("error not 1", "unexpected token Number(\"1\") (1:11)"),
        ("error.", "expected name (1:6)"),
        ("#", "cannot use pointer accessor outside predicate (1:1)"),
        (".x", "cannot use pointer accessor outside predicate (1:1)"),
        ("let = 1; 2", "unexpected token Operator(\"=\") (1:5)"),
        ("let x = 1", "unexpected token EOF (1:9)"),
        ("if flag { 1 }", "unexpected token EOF (1:13)"),
        ("all([1])", "expected at least 2 arguments (1:8)"),
        (
            "1 ?? 2 + 3",
            "Operator (+) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses. (1:8)",
        ),
        ("99999999999999999999", "invalid integer literal: "),
        ("0x", "invalid hex literal: "),
        ("1e999", "float literal is too large (1:1)"),
        ("1\n+\n@", "unrecognized character: U+0040 '@' (3:1)\n | @\n | ^"),
        ("1 | 2", "unexpected token Number(\"2\") (1:5)"),
        ("[1][:", "unexpected token EOF (1:5)"),
        ("1 & 2", "unexpected token Operator(\"&\") (1:3)"),
    ]);
}

#[test]
fn names() {
    check(&[
        ("nosuch", "unknown name nosuch (1:1)\n | nosuch\n | ^"),
        ("1 + nosuch(1)", "unknown name nosuch (1:5)\n | 1 + nosuch(1)\n | ....^"),
        ("error(1)", "field error is not callable (1:1)"),
        (
            "proc.nosuch",
            "field proc has no sub field nosuch (1:6)\n | proc.nosuch\n | .....^",
        ),
        ("proc.COMM", "field proc has no sub field COMM (1:6)"),
        ("proc == 1", "field proc has no value, only its sub fields have (1:1)"),
        ("$env == 1", "$env has no value, only its fields have (1:1)"),
        ("$env.nosuch", "unknown name nosuch (1:6)"),
        (
            "proc[stringValue]",
            "sub fields of proc can only be named by a constant (1:5)",
        ),
        ("error.x", "type int32 has no field x (1:7)"),
        ("stringValue[0]", "type string[int] is undefined (1:12)"),
        ("any([1], #x == 1)", "unknown pointer #x (1:10)"),
        ("any([1], #acc == 1)", "unknown pointer #acc (1:10)"),
        ("let len = 1; len", "cannot redeclare builtin len (1:5)"),
        ("let x = 1; let x = 2; x", "cannot redeclare variable x (1:16)"),
        ("let n = 'x'; $env[n]", "cannot fetch x from the event (1:18)"),
        ("now().Yaer()", "type time.Time has no method Yaer (1:7)"),
        ("'x'.Year()", "type string has no method Year (1:5)"),
    ]);
}

#[test]
fn near_names_are_suggested() {
    let (source, _) = event();
    for (text, expected) in [
        ("comm == 'cat'", Some("did you mean `proc.comm`?")),
        ("eror == 1", Some("did you mean `error`?")),
        ("proc.pdi == 1", Some("did you mean `pid`?")),
        ("startwith('a', 'b')", None),
        ("hasPrefx('a', 'b')", Some("did you mean `hasPrefix`?")),
        ("let address = 1; adress == 1", Some("did you mean `address`?")),
        ("proc == 1", Some("name one of them, like `proc.comm`")),
        ("error = 1", Some("`==` compares")),
        ("quite_another_name", None),
    ] {
        assert_eq!(Filter::compile(text, &source).unwrap_err().hint(), expected, "{text}");
    }
}

#[test]
fn types() {
    check(&[
        (
            "error == 'a'",
            "invalid operation: == (mismatched types int32 and string) (1:7)\n | error == 'a'\n | ......^",
        ),
        (
            "stringValue > 1",
            "invalid operation: > (mismatched types string and int) (1:13)",
        ),
        ("flag > 1", "invalid operation: > (mismatched types bool and int)"),
        ("flag + 1", "invalid operation: + (mismatched types bool and int)"),
        ("'a' - 'b'", "invalid operation: - (mismatched types string and string)"),
        ("ratio % 2", "invalid operation: % (mismatched types float64 and int)"),
        ("1.5..2", "invalid operation: .. (mismatched types float64 and int)"),
        ("not error", "invalid operation: not (mismatched type int32) (1:1)"),
        ("!error", "invalid operation: not (mismatched type int32) (1:1)"),
        ("-'a'", "invalid operation: - (mismatched type string)"),
        (
            "flag and error",
            "invalid operation: and (mismatched types bool and int32) (1:6)",
        ),
        (
            "error or flag",
            "invalid operation: or (mismatched types int32 and bool) (1:7)",
        ),
        (
            "error contains 'a'",
            "invalid operation: contains (mismatched types int32 and string)",
        ),
        (
            "error matches 'a'",
            "invalid operation: matches (mismatched types int32 and string)",
        ),
        (
            "stringValue matches '('",
            "error parsing regexp: unclosed group: `(` (1:21)",
        ),
        (
            "'a' in 'b'",
            "invalid operation: in (mismatched types string and string)",
        ),
        ("'a' in [1]", "cannot use string as type int in array (1:5)"),
        ("'a' in 1..2", "cannot use string as type int in array (1:5)"),
        (
            "1 in cidr('1.0.0.0/8')",
            "invalid operation: in (mismatched types int and cidr)",
        ),
        (
            "error ? 1 : 2",
            "non-bool expression (type int32) used as condition (1:1)",
        ),
        (
            "[1]['a']",
            "array elements can only be selected using an integer (got string) (1:5)",
        ),
        ("error[1:]", "cannot slice int32 (1:6)"),
        ("'a'['b':]", "non-integer slice index string (1:5)"),
        ("all(1, true)", "builtin all takes only array (got int) (1:5)"),
        ("all([1], #)", "predicate should return boolean (got int) (1:10)"),
        ("sum(['a'])", "invalid argument for sum (type string) (1:5)"),
        ("len(1)", "invalid argument for len (type int) (1:5)"),
        ("len()", "not enough arguments to call len (1:1)"),
        ("len('a', 'b')", "too many arguments to call len (1:1)"),
        ("abs('a')", "invalid argument for abs (type string) (1:5)"),
        (
            "bitand('1', 1)",
            "cannot use string as argument (type int) to call bitand (1:8)",
        ),
        (
            "'10' | bitor(1)",
            "cannot use string as argument (type int) to call bitor (1:1)",
        ),
        ("trim(1)", "cannot use int as argument (type string) to call trim (1:6)"),
        ("max(1, '2')", "invalid argument for max (type string) (1:8)"),
        ("max(['2'])", "invalid argument for max (type []string) (1:5)"),
        (
            "keys([1])",
            "cannot use []int as argument (type map) to call keys (1:6)",
        ),
        (
            "now(1)",
            "cannot use int as argument (type *time.Location) to call now (1:5)",
        ),
        (
            "sortBy([1], #, 5)",
            "cannot use int as argument (type string) to call sortBy (1:16)",
        ),
        ("cidr('x')", "invalid CIDR address: x (1:1)"),
        ("cidr()", "not enough arguments to call cidr (1:1)"),
    ]);
}
