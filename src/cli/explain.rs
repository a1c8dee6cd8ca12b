//! `ig run --explain`: what a run would do and why, as text or JSON.

use serde_json::{Value, json};

use crate::operators::{Explanation, TermPlace};
use crate::text::printable;

/// The explanation in the mode of `--output`: `json`, `jsonpretty`, or for eyes.
pub(super) fn render(explanation: &Explanation, mode: &str) -> String {
    match mode {
        "json" => super::gadget_info::text(&to_json(explanation), false),
        "jsonpretty" => super::gadget_info::text(&to_json(explanation), true),
        _ => page(explanation),
    }
}

fn page(explanation: &Explanation) -> String {
    let mut page = String::from("Filter terms:\n");
    let terms = explanation.terms.iter().map(|term| {
        let place = match &term.place {
            TermPlace::Kernel(param) => format!("in the kernel, by the gadget's parameter {param}"),
            TermPlace::Raw => "on the raw record, before anything is added to it".to_owned(),
            TermPlace::Enriched => "after enrichment".to_owned(),
        };
        [term.source.clone(), term.text.clone(), place]
    });
    table(terms.collect(), &mut page);
    page.push_str("\nOperators:\n");
    let operators = explanation.operators.iter().map(|note| {
        [
            note.name.clone(),
            if note.on { "on" } else { "off" }.to_owned(),
            note.why.clone(),
        ]
    });
    table(operators.collect(), &mut page);
    page
}

fn table(rows: Vec<[String; 3]>, page: &mut String) {
    if rows.is_empty() {
        page.push_str("  none\n");
    }
    let rows: Vec<[String; 3]> = rows.into_iter().map(|row| row.map(|cell| printable(&cell))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    for [a, b, c] in &rows {
        page.push_str(&format!("  {a:first$}  {b:second$}  {c}\n"));
    }
}

fn to_json(explanation: &Explanation) -> Value {
    let terms: Vec<Value> = explanation
        .terms
        .iter()
        .map(|term| {
            let mut shown = json!({"dataSource": term.source, "term": term.text});
            match &term.place {
                TermPlace::Kernel(param) => {
                    shown["place"] = "kernel".into();
                    shown["param"] = param.as_str().into();
                }
                TermPlace::Raw => shown["place"] = "raw".into(),
                TermPlace::Enriched => shown["place"] = "enriched".into(),
            }
            shown
        })
        .collect();
    let operators: Vec<Value> = explanation
        .operators
        .iter()
        .map(|note| json!({"name": note.name, "on": note.on, "why": note.why}))
        .collect();
    json!({"terms": terms, "operators": operators})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::{OperatorNote, TermNote};

    fn explanation() -> Explanation {
        let term = |text: &str, place| TermNote {
            source: "open".into(),
            text: text.into(),
            place,
        };
        let note = |name: &str, on, why: &str| OperatorNote {
            name: name.into(),
            on,
            why: why.into(),
        };
        Explanation {
            terms: vec![
                term("proc.pid==7", TermPlace::Kernel("pid".into())),
                term("fname==\x1b[2J", TermPlace::Raw),
                term("user==root", TermPlace::Enriched),
            ],
            operators: vec![
                note("formatters", true, "columns reads error"),
                note("ustack", false, "no"),
            ],
        }
    }

    #[test]
    fn for_eyes() {
        let expected = "\
Filter terms:
  open  proc.pid==7       in the kernel, by the gadget's parameter pid
  open  fname==\\u{1b}[2J  on the raw record, before anything is added to it
  open  user==root        after enrichment

Operators:
  formatters  on   columns reads error
  ustack      off  no
";
        assert_eq!(render(&explanation(), "columns"), expected);
        let nothing = render(&Explanation::default(), "");
        assert_eq!(nothing, "Filter terms:\n  none\n\nOperators:\n  none\n");
    }

    #[test]
    fn for_programs() {
        let value: Value = serde_json::from_str(&render(&explanation(), "json")).unwrap();
        assert_eq!(
            value["terms"][0],
            json!({"dataSource": "open", "term": "proc.pid==7", "place": "kernel", "param": "pid"})
        );
        assert_eq!(value["terms"][1]["term"], "fname==\x1b[2J");
        assert_eq!(value["terms"][2]["place"], "enriched");
        assert_eq!(
            value["operators"][1],
            json!({"name": "ustack", "on": false, "why": "no"})
        );
    }
}
