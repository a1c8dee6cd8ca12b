//! Writing YAML.

use super::{Node, ScalarKind, Value, resolve_plain};

/// Writes `node` as a block-style document with two spaces of indentation.
///
/// Reading the result gives the same nodes again; comments and quoting style of an original are not kept.
pub fn emit(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => emit_map(entries, 0, &mut out),
        Value::List(items) if !items.is_empty() => emit_list(items, 0, &mut out),
        _ => {
            emit_inline(node, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn emit_map(entries: &[(String, Node)], indent: usize, out: &mut String) {
    for (i, (key, node)) in entries.iter().enumerate() {
        // The first entry of a mapping inside a list follows the dash on its line.
        if i > 0 || out.is_empty() || out.ends_with('\n') {
            push_indent(indent, out);
        }
        emit_key(key, out);
        out.push(':');
        emit_child(node, indent, indent + 2, out);
    }
}

fn emit_list(items: &[Node], indent: usize, out: &mut String) {
    for item in items {
        push_indent(indent, out);
        out.push('-');
        match &item.value {
            Value::Map(entries) if !entries.is_empty() => {
                out.push(' ');
                emit_map(entries, indent + 2, out);
            }
            _ => emit_child(item, indent + 2, indent + 2, out),
        }
    }
}

/// What follows `key:` or `-`. Lists stand at `list_indent`, which under a key is the key's own column.
fn emit_child(node: &Node, list_indent: usize, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            emit_map(entries, indent, out);
        }
        Value::List(items) if !items.is_empty() => {
            out.push('\n');
            emit_list(items, list_indent, out);
        }
        _ => {
            out.push(' ');
            emit_inline(node, indent, out);
            out.push('\n');
        }
    }
}

fn emit_inline(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(_) => out.push_str("{}"),
        Value::List(_) => out.push_str("[]"),
        Value::Scalar(scalar) => match scalar.kind {
            ScalarKind::Null => out.push_str("null"),
            ScalarKind::String => emit_text(&scalar.text, indent, out),
            _ => out.push_str(&scalar.text),
        },
    }
}

fn emit_key(key: &str, out: &mut String) {
    if key.contains('\n') {
        emit_double_quoted(key, out);
    } else {
        emit_text(key, 0, out);
    }
}

fn emit_text(text: &str, indent: usize, out: &mut String) {
    let printable = text
        .chars()
        .all(|c| c == '\n' || (!c.is_control() && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}')));
    let block = printable
        && text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.ends_with("\n\n")
        && text.lines().all(|line| !line.ends_with(' '));
    if block {
        out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
        for line in text.lines() {
            out.push('\n');
            if !line.is_empty() {
                push_indent(indent, out);
                out.push_str(line);
            }
        }
    } else if !printable || text.contains('\n') {
        emit_double_quoted(text, out);
    } else if needs_quotes(text) {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    } else {
        out.push_str(text);
    }
}

fn needs_quotes(text: &str) -> bool {
    resolve_plain(text) != ScalarKind::String
        // Booleans of YAML 1.1, which older readers still know.
        || ["y", "n", "yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
        || text.starts_with(|c: char| c.is_whitespace() || "-?:,[]{}#&*!|>'\"%@`=<".contains(c))
        || text.ends_with(|c: char| c.is_whitespace() || c == ':')
        || text.contains(": ")
        || text.contains(" #")
        || text.starts_with("...")
}

fn emit_double_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_indent(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::yaml::parse;

    #[test]
    fn writes_what_it_reads() {
        let source = "\
name: 'TODO: Fill the gadget name'
plain: some text
empty: ''
nothing: null
number: 8
text: '8'
flag: 'yes'
block: |-
  one

  two
tags:
- a
- key: 1
  other:
    deep: x
-
  - 1
  - 2
none: {}
no-items: []
";
        let node = parse(source.as_bytes()).unwrap().unwrap();
        assert_eq!(emit(&node), source);
    }

    #[test]
    fn awkward_strings_survive() {
        for text in [
            " leading",
            "trailing ",
            "a: b",
            "a #b",
            "#a",
            "- a",
            "'",
            "\"",
            "a\tb",
            "\u{1b}[1m",
            "x\n\ny \nz",
            "\n",
            "null",
            "~",
            "0x10",
            "1e3",
            "a:",
            "*a",
            "{",
            "é ✓",
            "@x",
            "back\\slash",
            "---",
            "...",
            "| x",
            "tail\n",
            "tail\n\n",
            "\u{2028}",
        ] {
            let node = Node::map(vec![("k".into(), Node::string(text)), (text.into(), Node::string("v"))]);
            let written = emit(&node);
            let read = parse(written.as_bytes())
                .unwrap_or_else(|e| panic!("{text:?}: {e}\n{written}"))
                .unwrap();
            match &read.get("k").unwrap().value {
                Value::Scalar(scalar) => assert_eq!(
                    (scalar.text.as_str(), scalar.kind),
                    (text, ScalarKind::String),
                    "{written}"
                ),
                other => panic!("{other:?}"),
            }
            assert!(read.get(text).is_some(), "{text:?} as a key: {written}");
        }
    }
}
