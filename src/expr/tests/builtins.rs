//! Every built-in that takes no predicate.

use super::{check, value};

#[test]
fn strings() {
    check(&[
        ("trim('  foo \\n')", "foo"),
        ("trim('__foo___', '_')", "foo"),
        ("trim('éfooé', 'é')", "foo"),
        ("trim('\\xff a \\xff')", "\u{fffd} a \u{fffd}"),
        ("trim('')", ""),
        ("trim(stringValue, 'ac')", "b"),
        ("trimPrefix('prefix_foo', 'prefix_')", "foo"),
        ("trimPrefix('foo', 'x')", "foo"),
        ("trimPrefix(' foo')", "foo"),
        ("trimSuffix('foo_suffix', '_suffix')", "foo"),
        ("upper('foo ß é')", "FOO ß É"),
        ("lower('FOO É')", "foo é"),
        ("split('foo,bar,baz', ',')", "[foo bar baz]"),
        ("split('foo,bar,baz', ',', 2)", "[foo bar,baz]"),
        ("split('foo,bar', ',', 0)", "[]"),
        ("split('foo,bar', ',', -1)", "[foo bar]"),
        ("split('aé', '')", "[a é]"),
        ("split('abc', '', 2)", "[a bc]"),
        ("len(split('', ','))", "1"),
        ("len(split('', ''))", "0"),
        ("splitAfter('foo,bar,baz', ',')", "[foo, bar, baz]"),
        ("splitAfter('foo,bar,baz', ',', 2)", "[foo, bar,baz]"),
        ("replace('foo,bar,baz', ',', ';')", "foo;bar;baz"),
        ("replace('foo,bar,baz,goo', ',', ';', 2)", "foo;bar;baz,goo"),
        ("replace('ab', '', '-')", "-a-b-"),
        ("repeat('foo', 3)", "foofoofoo"),
        ("repeat('foo', 0)", ""),
        ("join(['foo', 'bar'], ',')", "foo,bar"),
        ("join(['foo', 'bar'])", "foobar"),
        ("join([])", ""),
        ("indexOf('foo,bar,baz', ',')", "3"),
        ("indexOf('foo', 'x')", "-1"),
        ("lastIndexOf('foo,bar,baz', ',')", "7"),
        ("hasPrefix('foo,bar', 'foo')", "true"),
        ("hasSuffix('foo,bar', 'foo')", "false"),
    ]);
    assert!(
        value("repeat('a', -1)")
            .unwrap_err()
            .contains("expected positive integer, got -1")
    );
    assert!(
        value("join([1])")
            .unwrap_err()
            .starts_with("invalid argument for join (type int)")
    );
}

#[test]
fn numbers() {
    check(&[
        ("abs(-5)", "5"),
        ("abs(error)", "2"),
        ("abs(mntns)", "18446744073709551615"),
        ("abs(-.5)", "0.5"),
        ("ceil(5.5)", "6"),
        ("ceil(5) / 2", "2.5"),
        ("floor(-5.5)", "-6"),
        ("round(5.5)", "6"),
        ("round(-5.5)", "-6"),
        ("max(1, 2, 3)", "3"),
        ("max([1, 2, 4, 10], 20, [29, 23, -19])", "29"),
        ("min([1, 2, 4, 10], 20, [29, 23, -19])", "-19"),
        ("min(1.5, 2)", "1.5"),
        ("max(error, mntns)", "18446744073709551615"),
        ("max([])", "<nil>"),
        ("mean(1..9)", "5"),
        ("mean(10, [1, 2, 3], 1..9)", "4.6923076923076925"),
        ("mean([])", "0"),
        ("median(1..9)", "5"),
        ("median([1, 2, 3, 4])", "2.5"),
        ("median(1..5, 4.9)", "3.5"),
        ("median([])", "0"),
        ("bitand(0b1010, 0b1100)", "8"),
        ("bitor(0b1010, 0b1100)", "14"),
        ("bitxor(0b1010, 0b1100)", "6"),
        ("bitnand(0b1010, 0b1100)", "2"),
        ("bitnot(0b1010)", "-11"),
        ("bitshl(0b101101, 2)", "180"),
        ("bitshl(1, 64)", "0"),
        ("bitshr(0b101101, 2)", "11"),
        ("bitshr(-1, 100)", "-1"),
        ("bitushr(-0b101, 2)", "4611686018427387902"),
        ("bitushr(-1, 64)", "0"),
        ("bitand(proc.pid, 0xff) == 0xd2", "true"),
    ]);
    assert!(
        value("bitshl(1, -1)")
            .unwrap_err()
            .starts_with("invalid operation: negative shift count -1 (type int)")
    );
}

#[test]
fn lists_and_maps() {
    check(&[
        ("len(1..10)", "10"),
        ("len({foo: 1, bar: 2})", "2"),
        ("len('北京')", "2"),
        ("len(raw)", "3"),
        ("len(proc.comm) > 2", "true"),
        ("first([1, 2])", "1"),
        ("first([])", "<nil>"),
        ("last([1, 2])", "2"),
        ("last([])", "<nil>"),
        ("get([1, 2], 1)", "2"),
        ("get([1, 2], -1)", "2"),
        ("get([1, 2], 99)", "<nil>"),
        ("get({foo: 1}, 'foo')", "1"),
        ("get({foo: 1}, 'unknown')", "<nil>"),
        ("take([1, 2, 3], 2)", "[1 2]"),
        ("take([1], 99)", "[1]"),
        ("reverse(1..3)", "[3 2 1]"),
        ("uniq([1, 15, 'a', 2, 3, 5, 2, 'a', 2, 'b'])", "[1 15 a 2 3 5 b]"),
        ("uniq([[1, 2], 'a', 2, 3, [1, 2], [1, 3]])", "[[1 2] a 2 3 [1 3]]"),
        ("concat([1], ['a'], [])", "[1 a]"),
        (
            "flatten([['a', 'b'], [1, 2, [3, [[[['c', 'd'], 'e']]], 4]]])",
            "[a b 1 2 3 c d e 4]",
        ),
        ("sort([3, 1, 4])", "[1 3 4]"),
        ("sort([3, 1.5, 4], 'desc')", "[4 3 1.5]"),
        ("sort(['b', 'a'], 'asc')", "[a b]"),
        ("keys({foo: 1, bar: 2})", "[bar foo]"),
        ("values({foo: 1, bar: 2})", "[2 1]"),
        ("toPairs({a: 1})", "[[a 1]]"),
        ("fromPairs([['foo', 1], ['bar', 2]])", "map[bar:2 foo:1]"),
        ("fromPairs(toPairs({foo: 1})) == {foo: 1}", "true"),
    ]);
    for (text, expected) in [
        ("sort([1, 'a'])", "invalid operation: int < string"),
        ("sort([[1]])", "invalid operation: array < array"),
        ("sort([1], 'up')", "invalid order \"up\", expected asc or desc"),
        ("take([1], -1)", "cannot take -1 elements"),
        ("fromPairs([[1]])", "invalid pair length 1"),
        ("groupBy([[1]], #)", "value of type array cannot be a key of a map"),
        ("reduce([], #acc)", "reduce of empty array with no initial value"),
    ] {
        let error = value(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn conversions() {
    check(&[
        (
            "type(nil) + type(true) + type(1) + type(1.0) + type('') + type([]) + type({})",
            "nilboolintfloatstringarraymap",
        ),
        ("type(now())", "time.Time"),
        ("int(5.9)", "5"),
        ("int('-5')", "-5"),
        ("int(mntns)", "-1"),
        ("int(duration('1us'))", "1000"),
        ("float(5) / 2", "2.5"),
        ("float('5.5')", "5.5"),
        ("string(5)", "5"),
        ("string(5.5)", "5.5"),
        ("string(nil)", "<nil>"),
        ("string('x') + string(stringValue)", "xabc"),
        ("string([1, {a: true}])", "[1 map[a:true]]"),
        (
            "toJSON({foo: 1, bar: [2, 'x<', nil, 1.0, 1e21], e: [], m: {}})",
            "{\n  \"bar\": [\n    2,\n    \"x\\u003c\",\n    null,\n    1,\n    1e+21\n  ],\n  \"e\": [],\n  \"foo\": 1,\n  \"m\": {}\n}",
        ),
        ("fromJSON('[1, {\"a\": null}]')", "[1 map[a:<nil>]]"),
        ("toBase64('hello')", "aGVsbG8="),
        ("fromBase64('aGVsbG8=')", "hello"),
    ]);
    for (text, expected) in [
        ("int('x')", "invalid operation: int(x)"),
        ("int(nil ?? [1][0] ?? 1)", "invalid"),
        ("float('')", "invalid operation: float()"),
        ("fromJSON('[')", "invalid JSON: "),
        ("fromBase64('*')", "invalid base64: "),
        ("toJSON(1 / 0)", "json: unsupported value: +Inf"),
    ] {
        if let Err(error) = value(text) {
            assert!(error.starts_with(expected), "{text}: {error}");
        } else {
            assert_eq!(expected, "invalid", "{text}");
        }
    }
}

#[test]
fn times() {
    check(&[
        ("duration('1h30m')", "1h30m0s"),
        ("duration('1h').Seconds()", "3600"),
        ("duration('90s').Minutes()", "1.5"),
        ("duration('1.5ms').Microseconds()", "1500"),
        ("duration('1h') * 2 + duration('1s')", "2h0m1s"),
        ("duration('-1s').Abs()", "1s"),
        ("duration('1.7s').Truncate(duration('1s'))", "1s"),
        ("duration('1.5s').Round(duration('1s'))", "2s"),
        ("duration('1s') < duration('1m')", "true"),
        ("string(date('2023-08-14'))", "2023-08-14 00:00:00 +0000 UTC"),
        ("date('2023-08-14 05:06:07').Hour()", "5"),
        ("date('2023-08-14T05:06:07Z').Unix()", "1691989567"),
        ("date('2023-08-14T05:06:07.25Z').Nanosecond()", "250000000"),
        ("date('14 Aug 23 05:06 UTC').Year()", "2023"),
        ("date('Mon, 14 Aug 2023 05:06:07 UTC').Weekday()", "1"),
        ("date('14.08.2023', '02.01.2006').Format('Jan 2')", "Aug 14"),
        (
            "date('2023-08-14 00:00:00', '2006-01-02 15:04:05', 'Europe/Zurich')",
            "2023-08-14 00:00:00 +0200 CEST",
        ),
        (
            "date(timezone('Europe/Zurich'), '2023-08-14').UTC()",
            "2023-08-13 22:00:00 +0000 UTC",
        ),
        ("date('2023-08-14') - date('2023-08-13')", "24h0m0s"),
        ("date('2023-08-14') + duration('25h')", "2023-08-15 01:00:00 +0000 UTC"),
        ("date('2023-08-14') - duration('1h')", "2023-08-13 23:00:00 +0000 UTC"),
        ("date('2023-08-14') > date('2023-08-13')", "true"),
        ("date('2023-08-14T02:00:00+02:00') == date('2023-08-14')", "true"),
        ("date('2023-01-31').AddDate(0, 1, 0)", "2023-03-03 00:00:00 +0000 UTC"),
        (
            "date('2023-01-31').AddDate(1, -2, -31)",
            "2023-10-31 00:00:00 +0000 UTC",
        ),
        (
            "date('2023-08-14 05:06:07').Truncate(duration('1h'))",
            "2023-08-14 05:00:00 +0000 UTC",
        ),
        (
            "date('2023-08-14').In(timezone('Europe/Zurich')).Location().String()",
            "Europe/Zurich",
        ),
        ("timezone('UTC').String()", "UTC"),
        ("now().Year() >= 2024 and now() - now() <= duration('0s')", "true"),
        ("now().Before(date('2100-01-01'))", "true"),
        ("date('0001-01-01').IsZero()", "true"),
        ("toJSON(date('2023-08-14'))", "\"2023-08-14T00:00:00Z\""),
    ]);
    for (text, expected) in [
        ("duration('error')", "time: invalid duration \"error\""),
        ("date('error')", "invalid date error"),
        ("date('x', '2006')", "parsing time \"x\": "),
        ("timezone('No/Where')", "unknown time zone No/Where"),
    ] {
        let error = value(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}
