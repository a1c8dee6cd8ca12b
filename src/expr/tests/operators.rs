//! Every operator, and syntax.

use super::{check, value};

#[test]
fn literals() {
    check(&[
        ("true", "true"),
        ("nil", "<nil>"),
        ("42", "42"),
        ("1_000", "1000"),
        ("0x2A", "42"),
        ("0o52", "42"),
        ("0b101_010", "42"),
        ("0xffffffffffffffff", "18446744073709551615"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("1.5e-7", "1.5e-07"),
        (r#""a\tb" + 'c' + `\d`"#, "a\tbc\\d"),
        ("[1, 'a', nil, ]", "[1 a <nil>]"),
        ("{a: 1, 'b': 2, 3: 4, ('c' + 'd'): 5}", "map[3:4 a:1 b:2 cd:5]"),
        ("// nothing\n1 /* and */ + // more\n 2", "3"),
    ]);
}

#[test]
fn arithmetic() {
    check(&[
        ("1 + 2 * 3 - 4", "3"),
        ("7 / 2", "3.5"),
        ("4 / 2", "2"),
        ("-7 % 3", "-1"),
        ("2 ** 3 ** 2", "512"),
        ("2 ^ 10", "1024"),
        ("-2 ** 2", "-4"),
        ("1 + 2.5", "3.5"),
        ("+5 - -5", "10"),
        ("int64Value * 2 + tiny", "238"),
        ("ratio * 2", "5"),
        ("-error", "2"),
        ("-proc.pid", "-1234"),
        ("9223372036854775807 + 1", "-9223372036854775808"),
        ("'a' + 'b' + stringValue", "ababc"),
        ("error + 0 == -2", "true"),
        ("1 / 0", "+Inf"),
    ]);
    assert!(value("1 % 0").unwrap_err().starts_with("integer divide by zero (1:3)"));
    assert!(
        value("int64Value % (error + 2)")
            .unwrap_err()
            .starts_with("integer divide by zero (1:12)")
    );
}

#[test]
fn comparisons_of_fields_with_constants() {
    check(&[
        ("error == -2", "true"),
        ("error != -2", "false"),
        ("error < -1", "true"),
        ("error <= -2", "true"),
        ("error > -2", "false"),
        ("error >= -2", "true"),
        ("-2 == error", "true"),
        ("-3 < error", "true"),
        ("-2 < error", "false"),
        ("proc.pid == 1234", "true"),
        ("proc.pid > -1", "true"),
        ("proc.pid == -1", "false"),
        ("proc.pid != -1", "true"),
        ("tiny > 1000", "false"),
        ("tiny < 1000", "true"),
        ("mntns == 18446744073709551615", "true"),
        ("mntns > 9223372036854775807", "true"),
        ("mntns > 0 and mntns != -1", "true"),
        ("mntns <= 0xffffffffffffffff", "true"),
        ("tiny >= -128 and tiny <= 127", "true"),
        ("error == -2.0", "true"),
        ("error < -1.5", "true"),
        ("ratio == 2.5", "true"),
        ("ratio > 2", "true"),
        ("single == 0.1", "false"),
        ("flag == true", "true"),
        ("flag != true", "false"),
        ("stringValue == 'abc'", "true"),
        ("'abc' != stringValue", "false"),
        ("stringValue < 'abd'", "true"),
        ("'abd' > stringValue", "true"),
        ("stringValue >= 'abcd'", "false"),
        ("stringValue <= 'abc'", "true"),
        ("proc.comm == 'cat'", "true"),
        ("proc.comm == 'cat\\x00'", "false"),
    ]);
}

#[test]
fn comparisons_of_fields_with_each_other() {
    check(&[
        ("error < tiny", "false"),
        ("tiny < error", "true"),
        ("proc.pid > proc.creds.uid", "true"),
        ("mntns > error", "true"),
        ("mntns == error", "false"),
        ("ratio < int64Value", "true"),
        ("stringValue < proc.comm", "true"),
        ("stringValue == proc.comm", "false"),
        ("1 < 2 < 3", "true"),
        ("1 < 3 < 2", "false"),
        ("0 <= tiny + 8 < 1", "true"),
        ("nil == nil", "true"),
        ("stringValue == nil", "false"),
        ("[1, 2] == [1, 2.0]", "true"),
        ("[1, 2] == [1]", "false"),
        ("{a: [1]} == {a: [1]}", "true"),
        ("{a: 1} != {b: 1}", "true"),
    ]);
}

#[test]
fn logic() {
    check(&[
        ("true and false", "false"),
        ("true && true", "true"),
        ("false or true", "true"),
        ("false || false", "false"),
        ("not false", "true"),
        ("!flag", "false"),
        ("false and 1 % 0 == 0", "false"),
        ("true or 1 % 0 == 0", "true"),
        ("true or false and false", "true"),
        ("flag and error < 0 and stringValue == 'abc'", "true"),
        ("not (flag and error == 0)", "true"),
        ("flag ? 1 : 2", "1"),
        ("!flag ? 1 : error == 0 ? 2 : 3", "3"),
        ("false ?: true", "true"),
        ("if flag { 1 } else { 2 }", "1"),
        ("if !flag { 1 } else if error == -2 { 2 } else { 3 }", "2"),
        ("if flag { let x = 1; x + 1 } else { 0 }", "2"),
    ]);
}

#[test]
fn texts() {
    check(&[
        ("stringValue contains 'b'", "true"),
        ("stringValue contains ''", "true"),
        ("stringValue not contains 'x'", "true"),
        ("stringValue startsWith 'ab'", "true"),
        ("not (stringValue startsWith 'b')", "true"),
        ("stringValue endsWith 'bc'", "true"),
        ("stringValue not endsWith 'c'", "false"),
        ("'xabcx' contains stringValue", "true"),
        ("stringValue matches '^a.c$'", "true"),
        ("stringValue not matches 'B'", "true"),
        ("stringValue matches '(?i)B'", "true"),
        ("stringValue matches proc.comm", "false"),
        ("'concat' matches proc.comm", "true"),
        ("raw matches '\\x01'", "true"),
        ("lower('ABC') == stringValue", "true"),
    ]);
}

#[test]
fn membership() {
    check(&[
        ("error in [-1, -2]", "true"),
        ("mntns in [0, 18446744073709551615]", "true"),
        ("mntns in [-1]", "false"),
        ("error in [1, -2.0]", "true"),
        ("tiny not in [1, 2]", "true"),
        ("error in []", "false"),
        ("stringValue in ['x', 'abc']", "true"),
        ("stringValue in ['x', proc.comm]", "false"),
        ("proc.comm in ['x', 'c' + 'at']", "true"),
        ("error in -5..5", "true"),
        ("error in 0..5", "false"),
        ("proc.pid in 1234..1234", "true"),
        ("proc.pid in 5..1", "false"),
        ("error + 1 in -1..0", "true"),
        ("ratio in 1..5", "false"),
        ("1 in [1, 2]", "true"),
        ("nil in [1, nil]", "true"),
        ("'a' in {a: 1}", "true"),
        ("stringValue in {abc: 1}", "true"),
        ("3 in [1, 'a', [3]]", "false"),
        ("[3] in [1, 'a', [3]]", "true"),
    ]);
}

#[test]
fn members_and_slices() {
    check(&[
        ("[1, 2, 3][0]", "1"),
        ("[1, 2, 3][-1]", "3"),
        ("[[1], [2]][1][0]", "2"),
        ("{a: {b: 5}}.a.b", "5"),
        ("{a: 1}['a']", "1"),
        ("{a: 1}.b", "<nil>"),
        ("{a: 1}.b?.c", "<nil>"),
        ("{a: 1}.b?.c.d.e", "<nil>"),
        ("{a: 1}.b?.[0]", "<nil>"),
        ("{a: 1}?.a", "1"),
        ("({a: 1}.b?.c ?? 'none') + '!'", "none!"),
        ("nil ?? 1", "1"),
        ("2 ?? 1", "2"),
        ("[1, 2, 3, 4, 5][1:4]", "[2 3 4]"),
        ("[1, 2, 3, 4, 5][1:-1]", "[2 3 4]"),
        ("[1, 2, 3][:2]", "[1 2]"),
        ("[1, 2, 3][2:]", "[3]"),
        ("[1, 2, 3][:]", "[1 2 3]"),
        ("[1, 2, 3][5:9]", "[]"),
        ("[1, 2, 3][2:1]", "[]"),
        ("stringValue[1:]", "bc"),
        ("stringValue[-2:-1]", "b"),
        ("(stringValue + 'd')[1:9]", "bcd"),
        ("(0..10)[5]", "5"),
        ("{'not': 1}.not", "1"),
    ]);
    for (text, expected) in [
        ("[1][1]", "index out of range: 1 (array length is 1) (1:4)"),
        ("[1][int64Value]", "index out of range: 123 (array length is 1) (1:4)"),
        ("[][-1]", "index out of range: -1 (array length is 0) (1:3)"),
        ("{a: 1}.b.c", "cannot fetch c from nil (1:10)"),
        ("{a: 1}.a.c", "cannot fetch c from int (1:10)"),
    ] {
        let error = value(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn ranges_pipes_variables_and_sequences() {
    check(&[
        ("1..3", "[1 2 3]"),
        ("3..1", "[]"),
        ("error..1", "[-2 -1 0 1]"),
        ("1..3 == [1, 2, 3]", "true"),
        ("'A b' | lower() | split(' ')", "[a b]"),
        ("1..5 | filter(# > 2) | map(# * 2) | sum()", "24"),
        ("[3, 1] | sort()[0]", "1"),
        ("let x = 42; x * 2", "84"),
        ("let x = 1; let y = x + 1; x + y", "3"),
        ("(let x = 1; x) + (let x = 2; x)", "3"),
        ("1; 2; 3", "3"),
        ("(1; 2) + 1;", "3"),
        ("map(1..2, {let y = #; y * y})", "[1 4]"),
        ("::len('abc')", "3"),
    ]);
}

#[test]
fn predicates() {
    check(&[
        ("all(1..3, # > 0)", "true"),
        ("all([], false)", "true"),
        ("all(1..3, {# > 1})", "false"),
        ("any(1..3, # == 2)", "true"),
        ("any([], true)", "false"),
        ("none(1..3, # == 5)", "true"),
        ("one(1..3, # == 2)", "true"),
        ("one(1..3, # > 1)", "false"),
        ("filter(1..5, # % 2 == 1)", "[1 3 5]"),
        ("map(1..3, # * #)", "[1 4 9]"),
        ("map(['a', 'b'], string(#index) + #)", "[0a 1b]"),
        ("find([1, 2, 3, 4], # > 2)", "3"),
        ("find([1], # > 2)", "<nil>"),
        ("findIndex([1, 2, 3, 4], # > 2)", "2"),
        ("findIndex([1], # > 2)", "-1"),
        ("findLast([1, 2, 3, 4], # > 2)", "4"),
        ("findLastIndex([1, 2, 3, 4], # < 3)", "1"),
        ("count([true, false, true])", "2"),
        ("count(1..5, # > 3)", "2"),
        ("sum(1..9)", "45"),
        ("sum([.5, 1.5, 2.5])", "4.5"),
        ("sum([])", "0"),
        ("sum([1, 2, 3.0, 4])", "10"),
        ("sum([{n: 1}, {n: 2}], .n)", "3"),
        ("groupBy(1..9, # % 2)", "map[0:[2 4 6 8] 1:[1 3 5 7 9]]"),
        ("groupBy(1..9, # % 2)[0]", "[2 4 6 8]"),
        ("groupBy(1..3, # > 1)[true]", "[2 3]"),
        ("groupBy(1..3, # > 1 ? nil : '')[nil]", "[2 3]"),
        ("groupBy([{v: 'a'}], .v).a", "[map[v:a]]"),
        ("map(sortBy([{n: 2}, {n: 1}], .n), .n)", "[1 2]"),
        ("sortBy(['b', 'ccc', 'aa'], len(#), 'desc')", "[ccc aa b]"),
        ("reduce(1..9, # + #acc, 0)", "45"),
        ("reduce(1..9, # + #acc)", "45"),
        ("reduce([], 5, 0)", "0"),
        ("reduce(['a', 'b'], #acc + string(#index) + #, '')", "0a1b"),
        ("map(1..2, map(1..#, # * 10))", "[[10] [10 20]]"),
        ("all([[1], [2, 3]], any(#, # > 0))", "true"),
        ("filter([stringValue, proc.comm], # startsWith 'c')", "[cat]"),
        ("map([{a: 1}], .a + #.a)", "[2]"),
        ("all(1..3, # < error + 6)", "true"),
    ]);
}
