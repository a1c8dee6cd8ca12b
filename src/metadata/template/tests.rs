use super::*;

fn data(double: &dyn Fn(&str) -> String) -> Value<'_> {
    Value::map([
        ("double", Value::function(double)),
        ("name", Value::from("web")),
        ("n", Value::from(3)),
        ("on", Value::from(true)),
        ("list", Value::List(vec!["a".into(), "b".into(), "c".into()])),
        ("map", Value::map([("k", Value::from("v")), ("a", Value::from(1))])),
        ("empty", Value::from("")),
    ])
}

fn render(text: &str) -> Result<String> {
    let double = |text: &str| text.repeat(2);
    Template::parse("t", text)?.render(&data(&double))
}

fn message(text: &str) -> String {
    render(text).unwrap_err().to_string()
}

#[test]
fn what_go_writes() {
    for (template, expected) in [
        ("", ""),
        ("plain }} text", "plain }} text"),
        (r#"{{call .double "ab"}}"#, "abab"),
        (r#"{{ .name | call .double | printf "%s!" }}"#, "webweb!"),
        (r#"{{"a\tb\u00e9\x41\101"}}"#, "a\tbéAA"),
        ("{{`raw\\n`}}", "raw\\n"),
        (
            "{{'a'}} {{0x10}} {{-7}} {{1_000}} {{1.5}} {{1e3}} {{true}}",
            "97 16 -7 1000 1.5 1000 true",
        ),
        ("{{.nosuch}}", "<no value>"),
        ("{{.map.k}}{{.map.nosuch}}", "v<no value>"),
        ("{{.map}} {{.list}}", "map[a:1 k:v] [a b c]"),
        ("a {{- /* gone */ -}} b", "ab"),
        ("a{{/* gone */}} b", "a b"),
        ("x \n{{- .n -}}\n y", "x3y"),
        ("{{if .on}}yes{{else}}no{{end}}", "yes"),
        ("{{if .empty}}1{{else if eq .n 3}}2{{else}}3{{end}}", "2"),
        ("{{with .empty}}1{{else with .name}}{{.}}{{end}}", "web"),
        ("{{with $x := .name}}{{$x}}{{end}}", "web"),
        ("{{range .list}}<{{.}}>{{end}}", "<a><b><c>"),
        ("{{range $i, $e := .list}}{{$i}}{{$e}}{{end}}", "0a1b2c"),
        ("{{range $k, $v := .map}}{{$k}}={{$v}};{{end}}", "a=1;k=v;"),
        ("{{range .nosuch}}x{{else}}none{{end}}", "none"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range .list}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{range .list}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{$x := 3}}{{$x}}{{end}}{{$x}}", "32"),
        ("{{range .list}}{{$.n}}{{end}}", "333"),
        ("{{(index .map \"k\") | len}}", "1"),
        (
            "{{index .list 1}}{{index .name 0}}{{len .list}}{{slice .name 1}}{{slice .name 0 1}}",
            "b1193ebw",
        ),
        (
            "{{and .on .empty \"x\"}}|{{or .empty .name}}|{{not .empty}}",
            "|web|true",
        ),
        ("{{or true (call .nosuch)}}", "true"),
        (
            "{{eq .n 1 2 3}} {{ne .name \"x\"}} {{lt 1 2}} {{ge \"b\" \"a\"}} {{le 1.5 1.5}} {{gt 1 2}}",
            "true true true true true false",
        ),
        ("{{print 1 2 \"x\" 3 nil}}|{{println 1 \"x\"}}", "1 2x3 <nil>|1 x\n"),
        (
            "{{printf \"%5d|%-5s|%05.1f|%q|%x|%+d|%t|%v|%%\" 42 \"ab\" 3.14159 \"q\\\"\" \"hi\" 7 true 2.5}}",
            "   42|ab   |003.1|\"q\\\"\"|6869|+7|true|2.5|%",
        ),
        (
            "{{printf \"%#x %o %b %c %e %.2s\" 255 8 5 65 1234.5 \"abc\"}}",
            "0xff 10 101 A 1.234500e+03 ab",
        ),
        (
            "{{html \"<a href='x'>&\"}} {{urlquery \"a b&c/é\"}}",
            "&lt;a href=&#39;x&#39;&gt;&amp; a+b%26c%2F%C3%A9",
        ),
        (
            "{{print 1e21 1e20 0.00001 0.5}}",
            "1e+21 100000000000000000000 1e-05 0.5",
        ),
    ] {
        assert_eq!(render(template).unwrap(), expected, "{template}");
    }
}

#[test]
fn errors_name_the_place() {
    for (template, expected) in [
        ("{{.invalidTemplate", "template: t:1:1: unclosed action"),
        ("a\nb {{ nosuch }}", "template: t:2:6: function \"nosuch\" not defined"),
        ("{{js \"x\"}}", "template: t:1:3: function \"js\" is not supported"),
        (
            "{{template \"x\"}}",
            "template: t:1:1: {{template}} is not supported: there are no named templates",
        ),
        (
            "{{define \"x\"}}{{end}}",
            "template: t:1:1: {{define}} is not supported: there are no named templates",
        ),
        ("{{end}}", "template: t:1:1: unexpected {{end}}"),
        ("{{if true}}", "template: t:1:1: no {{end}} for this block"),
        ("{{if}}{{end}}", "template: t:1:1: missing value for command"),
        ("{{}}", "template: t:1:1: missing value for command"),
        ("{{break}}", "template: t:1:1: {{break}} outside {{range}}"),
        ("{{$x}}", "template: t:1:3: undefined variable \"$x\""),
        ("{{\"abc}}", "template: t:1:3: unterminated quoted string"),
        ("{{/* x }}", "template: t:1:1: unclosed comment"),
        ("{{(1}}", "template: t:1:3: unclosed left paren"),
        (
            "{{1 | 2}}",
            "template: t:1:7: a command of a pipeline that is not the first must be a function",
        ),
        ("{{%}}", "template: t:1:3: unexpected \"%\" in action"),
        ("{{12x}}", "template: t:1:3: bad number syntax: \"12x\""),
        (
            "{{.name \"x\"}}",
            "template: t:1:9: can't give an argument to what is no function; use call",
        ),
        (
            "{{call .nosuch \"x\"}}",
            "template: t:1:3: error calling call: call of nil",
        ),
        (
            "{{call .name \"x\"}}",
            "template: t:1:3: error calling call: non-function of type string",
        ),
        (
            "{{call .double 1}}",
            "template: t:1:3: error calling call: arg 0: value has type int; should be string",
        ),
        (
            "{{call .double}}",
            "template: t:1:3: error calling call: wrong number of args: got 0 want 1",
        ),
        ("{{.double}}", "template: t:1:1: can't print a function; use call"),
        ("{{(print .name).x}}", "template: t:1:3: can't take field x of a string"),
        ("{{.name.x}}", "template: t:1:3: can't take field x of a string"),
        (
            "{{index .list 7}}",
            "template: t:1:3: error calling index: index out of range: 7",
        ),
        (
            "{{lt 1 \"a\"}}",
            "template: t:1:3: error calling lt: incompatible types for comparison",
        ),
        (
            "{{range .name}}{{end}}",
            "template: t:1:1: range can't iterate over a string",
        ),
        (
            "{{printf \"%d\" \"x\"}}",
            "template: t:1:3: printf: %d cannot format a string",
        ),
        (
            "{{len}}",
            "template: t:1:3: wrong number of args for len: want 1, got 0",
        ),
    ] {
        assert_eq!(message(template), expected, "{template}");
    }
}

#[test]
fn the_work_is_bounded() {
    assert!(message("{{range 1000000000}}{{end}}").contains("more than 20000 steps"));
    assert!(message("{{range 1000}}{{range 1000}}{{end}}{{end}}").contains("steps"));
    let doubling = "{{$x := \"0123456789\"}}{{range 40}}{{$x = call $.double $x}}{{end}}";
    assert!(message(doubling).contains("bytes of text"));
    assert!(message("{{printf \"%99999999d\" 1}}").contains("a width of more than"));
    assert!(message(&format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000))).contains("nested deeper"));
    assert!(message(&"{{if true}}".repeat(5000)).contains("nested deeper"));
    let chain = format!("{{{{if .empty}}}}{}{{{{end}}}}", "{{else if .empty}}".repeat(5000));
    assert!(message(&chain).contains("nested deeper"));
}
