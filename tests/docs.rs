//! What the documents say about the program is true: flags and commands exist, links lead somewhere, and the code that they
//! show is code that is compiled. Needs neither root nor eBPF.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use inspektor_gadget::gadget::Gadget;
use inspektor_gadget::image::{Catalogue, GadgetImage};
use inspektor_gadget::operators::local_manager::ContainerSource;

/// Programs whose flags are not ours.
const FOREIGN: [&str; 4] = ["cargo ", "docker ", "skopeo ", "make "];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents that a user of the program reads, with their texts.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![
        root().join("README.md"),
        root().join("CHANGELOG.md"),
        root().join("CONTRIBUTING.md"),
    ];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        paths.push(entry.unwrap().path());
    }
    for entry in fs::read_dir(root().join("gadgets")).unwrap() {
        let readme = entry.unwrap().path().join("README.md");
        paths.extend(readme.exists().then_some(readme));
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(paths.len() >= 8, "{paths:?}");
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// Code in a document: the spans of its text, and the lines of its blocks in the shell's language.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<&str> = None;
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(language) };
        } else if let Some(language) = block {
            if matches!(language, "sh" | "console") {
                found.push(line.split(" #").next().unwrap_or(line).to_owned());
            }
        } else if line.starts_with("    ") {
            found.push(line.to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// The words of `text` that look like long flags, without dashes and values.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')' | '[' | '|' | '"' | '\''))
        .filter_map(|word| word.strip_prefix("--"))
        .map(|word| {
            word.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
                .next()
                .unwrap_or_default()
        })
        .filter(|flag| !flag.is_empty())
}

fn help(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ig"))
        .args(words)
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "ig {words:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help page lists.
fn commands(page: &str) -> Vec<String> {
    let list = page.split("Available Commands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// All flags of all commands and of the bundled gadgets, and those of gadgets with arrays or with programs of interfaces.
fn known_flags() -> BTreeSet<String> {
    let mut known: BTreeSet<String> = ["fields", "output", "sort", "max-entries", "iface"]
        .map(str::to_owned)
        .into();
    let mut add = |page: String| known.extend(flags(&page).map(str::to_owned));
    add(help(&[]));
    for command in commands(&help(&[])) {
        let page = help(&[&command]);
        for sub in commands(&page) {
            add(help(&[&command, &sub]));
        }
        add(page);
    }
    let catalogue = Catalogue::bundled();
    for name in catalogue.names().unwrap() {
        let image = GadgetImage::from_packed(&catalogue.image(&name).unwrap().unwrap(), None).unwrap();
        let containers = ContainerSource::Unavailable("not needed".to_owned());
        let gadget = Gadget::builder(&image).containers(containers).build().unwrap();
        known.extend(gadget.params().into_iter().map(|param| param.key));
    }
    known
}

#[test]
fn every_flag_exists() {
    let known = known_flags();
    assert!(
        known.contains("verify-image") && known.contains("failed") && known.contains("host"),
        "{known:?}"
    );
    let mut mentioned = 0;
    for (path, text) in documents() {
        for piece in code(&text) {
            if FOREIGN.iter().any(|program| piece.contains(program)) {
                continue;
            }
            for flag in flags(&piece) {
                mentioned += 1;
                assert!(
                    known.contains(flag),
                    "{}: there is no --{flag}: {piece}",
                    path.display()
                );
            }
        }
    }
    assert!(mentioned > 80, "only {mentioned} flags were found");
}

#[test]
fn every_command_exists() {
    let top = commands(&help(&[]));
    let image = commands(&help(&["image"]));
    let mut mentioned = 0;
    for (path, text) in documents() {
        for piece in code(&text) {
            let words: Vec<&str> = piece.split_whitespace().filter(|word| !word.contains('=')).collect();
            let words = words.strip_prefix(&["$"]).unwrap_or(&words);
            let words = words.strip_prefix(&["sudo"]).unwrap_or(words);
            let ["ig", command, rest @ ..] = words else { continue };
            if command.starts_with('-') {
                continue;
            }
            mentioned += 1;
            assert!(top.iter().any(|name| name == command), "{}: {piece}", path.display());
            if let ("image", Some(sub)) = (*command, rest.first()) {
                assert!(image.iter().any(|name| name == sub), "{}: {piece}", path.display());
            }
        }
    }
    assert!(mentioned > 30, "only {mentioned} commands were found");
}

#[test]
fn links_lead_to_files() {
    for (path, text) in documents() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if target.contains("://") || file.is_empty() {
                continue;
            }
            assert!(
                path.parent().unwrap().join(file).exists(),
                "{}: {target}",
                path.display()
            );
        }
    }
}

#[test]
fn shown_code_is_compiled_code() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let block = |language: &str| {
        let start = format!("```{language}\n");
        readme
            .split(&start)
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap()
    };
    let example = fs::read_to_string(root().join("examples/trace_open.rs")).unwrap();
    assert!(
        example.contains(block("rust")),
        "README.md and examples/trace_open.rs differ"
    );
    let lab =
        |step: u32| fs::read_to_string(root().join(format!("tests/gadgets/lab_open/{step}/program.bpf.c"))).unwrap();
    assert_eq!(block("c"), lab(1), "README.md and tests/gadgets/lab_open/1 differ");
    let file = |name: &str| fs::read_to_string(root().join("tests/gadgets/lab_open/4").join(name)).unwrap();
    assert_eq!(
        block("go"),
        file("go/main.go"),
        "README.md and tests/gadgets/lab_open/4 differ"
    );
    assert_eq!(
        block("text"),
        file("go.mod"),
        "README.md and tests/gadgets/lab_open/4 differ"
    );
    let guests = fs::read_to_string(root().join("docs/wasm.md")).unwrap();
    for (language, file) in [("go", "main.go.txt"), ("rust", "lib.rs.txt")] {
        let start = format!("```{language}\n");
        let shown = guests
            .split(&start)
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        let template = fs::read_to_string(root().join("wasmapi/template").join(file)).unwrap();
        let template = template.replace("NAME", "mygadget");
        assert!(
            template.starts_with(shown),
            "docs/wasm.md and wasmapi/template/{file} differ"
        );
    }
    let snippets: Vec<&str> = readme
        .split("```c\n")
        .skip(2)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(snippets.len(), 4);
    for (snippet, step) in snippets.iter().zip([2, 2, 3, 3]) {
        assert!(
            lab(step).contains(snippet),
            "not in tests/gadgets/lab_open/{step}:\n{snippet}"
        );
    }
}
