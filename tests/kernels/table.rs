//! The table kernel × program type × buffer kind, and docs/kernels.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::cases::CELL;

/// Says in the file why a cell is empty: a case that is not run with this kind of buffer.
const NOTHING: &str = "";

/// What one kernel said: for each row and kind of buffer `pass` or why not.
#[derive(Default)]
pub(crate) struct Table {
    kernels: Vec<Kernel>,
}

struct Kernel {
    name: String,
    release: String,
    cells: BTreeMap<(String, String), String>,
}

/// The kinds of buffers, in the order of the columns.
const BUFFERS: [&str; 2] = ["ring", "perf"];

impl Table {
    /// Takes over the cells that `output`, what a run on the kernel has printed, says.
    pub(crate) fn add(&mut self, name: &str, output: &str) {
        let mut kernel = Kernel {
            name: name.to_owned(),
            release: String::new(),
            cells: BTreeMap::new(),
        };
        for line in output.lines() {
            // Something of the test's own output may stand before it.
            let Some((_, cell)) = line.split_once(CELL) else {
                continue;
            };
            let cell: Vec<&str> = cell.trim_start().splitn(3, '\t').collect();
            match cell[..] {
                ["kernel", "release", release] => release.clone_into(&mut kernel.release),
                [row, buffer, result] => {
                    kernel
                        .cells
                        .insert((row.to_owned(), buffer.to_owned()), result.to_owned());
                }
                _ => {}
            }
        }
        self.kernels.push(kernel);
    }

    /// As Markdown: a table of the program types, one of the gadgets, and what the numbers in them stand for.
    pub(crate) fn render(&self) -> String {
        let mut notes: Vec<String> = Vec::new();
        let mut text = String::new();
        let _ = writeln!(
            text,
            "| | {} |",
            self.columns()
                .map(|(kernel, buffer)| { format!("{}, {buffer}", kernel.name) })
                .collect::<Vec<_>>()
                .join(" | ")
        );
        let _ = writeln!(text, "|---|{}", "---|".repeat(self.columns().count()));
        for row in self.rows() {
            let cells: Vec<String> = self
                .columns()
                .map(
                    |(kernel, buffer)| match kernel.cells.get(&(row.clone(), buffer.to_owned())) {
                        None => NOTHING.to_owned(),
                        Some(result) if result == "pass" => "pass".to_owned(),
                        Some(limitation) => {
                            let note = plain(limitation);
                            let number = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
                                notes.push(note);
                                notes.len() - 1
                            });
                            format!("[{}](#limitations)", number + 1)
                        }
                    },
                )
                .collect();
            let _ = writeln!(text, "| {} | {} |", row.replace('|', "\\|"), cells.join(" | "));
        }
        text.push_str("\n## Limitations\n\n");
        for (number, note) in (1..).zip(&notes) {
            let _ = writeln!(text, "{number}. {note}");
        }
        text.push_str("\n## Kernels\n\n");
        for kernel in &self.kernels {
            let _ = writeln!(text, "- {}: Linux {}", kernel.name, kernel.release);
        }
        text
    }

    fn columns(&self) -> impl Iterator<Item = (&Kernel, &'static str)> {
        self.kernels
            .iter()
            .flat_map(|kernel| BUFFERS.map(|buffer| (kernel, buffer)))
    }

    /// Each row once: gadgets after the types of programs.
    fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = Vec::new();
        for (row, _) in self.kernels.iter().flat_map(|kernel| kernel.cells.keys()) {
            if !rows.contains(row) {
                rows.push(row.clone());
            }
        }
        rows.sort_by_key(|row| (row.starts_with("ig doctor "), row.clone()));
        rows
    }
}

/// An error of `ig` as the text of a note: without what is different from run to run, and nothing that Markdown would act on.
fn plain(limitation: &str) -> String {
    let text = limitation.trim_start_matches("Error: ");
    // Which step of the start it was is no news here.
    let text = text
        .split_once("starting operator \"ebpf\": ")
        .map_or(text, |(_, text)| text);
    text.replace('<', "&lt;")
        .replace('|', "\\|")
        .replace('*', "\\*")
        .replace('`', "'")
}

#[test]
fn a_table_has_every_kernel_and_a_note_for_each_reason() {
    let mut table = Table::default();
    table.add(
        "5.10",
        &format!("{CELL}\tkernel\trelease\t5.10.0-1\n{CELL}\tlsm\tring\tpass\n{CELL}\tlsm\tperf\tError: no: because\n"),
    );
    table.add(
        "6.1",
        &format!("test x ... {CELL}\tlsm\tring\tpass\r\n{CELL}\titer\tring\tError: no: because\n"),
    );
    let text = table.render();
    assert!(
        text.starts_with("| | 5.10, ring | 5.10, perf | 6.1, ring | 6.1, perf |\n"),
        "{text}"
    );
    assert!(
        text.contains("| lsm | pass | [1](#limitations) | pass |  |\n"),
        "{text}"
    );
    assert!(text.contains("| iter |  |  | [1](#limitations) |  |\n"), "{text}");
    assert!(text.contains("\n1. no: because\n") && !text.contains("\n2. "), "{text}");
    assert!(text.contains("- 5.10: Linux 5.10.0-1\n"), "{text}");
}
