//! `ig gadget new NAME`: the source of a gadget that works.

use std::fs;
use std::path::Path;

use clap::{ArgMatches, Command};

use crate::cli::flags::text;
use crate::cli::image::{positional, required};
use crate::cli::run::print;
use crate::{Error, Result, ResultExt};

const LANG: &str = "lang";

/// What stands for the name in the files.
const PLACEHOLDER: &str = "NAME";

/// A file's place below the gadget's directory, and its text.
type Template = (&'static str, &'static str);

macro_rules! templates {
    ($($path:literal: $file:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../wasmapi/", $file)))),*]
    };
}

const COMMON: &[Template] = templates!(
    "program.bpf.c": "template/program.bpf.c",
    "gadget.yaml": "template/gadget.yaml",
    "README.md": "template/README.md",
);

const GO: &[Template] = templates!(
    "go.mod": "template/go.mod.txt",
    "go/main.go": "template/main.go.txt",
);

/// With the SDK, which is no package of a registry.
const RUST: &[Template] = templates!(
    "rust/Cargo.toml": "template/Cargo.toml.txt",
    "rust/src/lib.rs": "template/lib.rs.txt",
    "rust/api/src/config.rs": "rust/src/config.rs",
    "rust/api/src/datasources.rs": "rust/src/datasources.rs",
    "rust/api/src/fields.rs": "rust/src/fields.rs",
    "rust/api/src/filter.rs": "rust/src/filter.rs",
    "rust/api/src/handle.rs": "rust/src/handle.rs",
    "rust/api/src/helpers.rs": "rust/src/helpers.rs",
    "rust/api/src/host.rs": "rust/src/host.rs",
    "rust/api/src/kallsyms.rs": "rust/src/kallsyms.rs",
    "rust/api/src/lib.rs": "rust/src/lib.rs",
    "rust/api/src/log.rs": "rust/src/log.rs",
    "rust/api/src/map.rs": "rust/src/map.rs",
    "rust/api/src/params.rs": "rust/src/params.rs",
    "rust/api/src/perf.rs": "rust/src/perf.rs",
    "rust/api/src/syscall.rs": "rust/src/syscall.rs",
    "rust/api/src/version.rs": "rust/src/version.rs",
);

const SDK_MANIFEST: &str = include_str!("../../../wasmapi/rust/Cargo.toml");

/// What gadget.yaml says of the field that code adds.
const CODE_METADATA: &str = include_str!("../../../wasmapi/template/code.yaml");

pub(super) fn command() -> Command {
    Command::new("new")
        .about("Write the source of a new gadget")
        .long_about(
            "Write the source of a new gadget into a new directory called NAME. It shows the files that are opened; with --lang code of its own adds a field. It can be run as it is: `ig run ./NAME`",
        )
        .arg(positional("NAME"))
        .arg(text(LANG, "", "Language of the gadget's own code: rust, go; none without"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let name = required(matches, "NAME")?;
    let lang = matches.get_one::<String>(LANG).map(String::as_str).unwrap_or_default();
    let dir = Path::new(name);
    let short = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(short)?;
    write(dir, short, lang)?;
    print(&format!("Wrote {name}; run it with `sudo ig run ./{name}`\n"))
}

/// What the name becomes a part of: YAML, Go, Rust, the name of an image.
fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(good) && name.starts_with(|c: char| c.is_ascii_lowercase()) {
        true => Ok(()),
        false => Err(Error::invalid(format!("{name:?} is no name for a gadget"))
            .with_hint("use lower-case letters, digits, `_` and `-`, a letter first")),
    }
}

fn write(dir: &Path, name: &str, lang: &str) -> Result<()> {
    let (code, build): (&[Template], &str) = match lang {
        "" => (&[], ""),
        "go" => (GO, "wasm: go/main.go\n"),
        "rust" => (RUST, "wasm: rust/src/lib.rs\n"),
        _ => {
            return Err(Error::invalid(format!(
                "invalid value {lang:?} for flag --{LANG}: valid values are: rust, go"
            )));
        }
    };
    let failed = || format!("creating {}", dir.display());
    fs::create_dir(dir).with_context(failed)?;
    for (path, text) in COMMON.iter().chain(code) {
        let mut text = match path.starts_with("rust/api/") {
            true => (*text).to_owned(),
            false => text.replace(PLACEHOLDER, name),
        };
        if *path == "gadget.yaml" && !build.is_empty() {
            text.push_str(CODE_METADATA);
        }
        put(dir, path, &text)?;
    }
    if !build.is_empty() {
        put(dir, "build.yaml", build)?;
    }
    if lang == "rust" {
        // Here it is a part of the gadget.
        put(dir, "rust/api/Cargo.toml", &SDK_MANIFEST.replace("[workspace]\n", ""))?;
    }
    Ok(())
}

fn put(dir: &Path, path: &str, text: &str) -> Result<()> {
    let file = dir.join(path);
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Source;

    #[test]
    fn names_are_those_of_images() {
        for name in ["trace_open", "a", "my-gadget2"] {
            check_name(name).unwrap();
        }
        for name in ["", "2a", "Trace", "a b", "a/b", "_a"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn every_language_gives_a_source() {
        let parent = tempfile::tempdir().unwrap();
        for (lang, wasm) in [
            ("", None),
            ("go", Some("go/main.go")),
            ("rust", Some("rust/src/lib.rs")),
        ] {
            let dir = parent.path().join(format!("gadget{lang}"));
            write(&dir, "my_gadget", lang).unwrap();
            let source = Source::find(&dir, None).unwrap();
            assert_eq!(source.wasm.as_deref(), wasm);
            let metadata = fs::read_to_string(dir.join("gadget.yaml")).unwrap();
            assert!(metadata.starts_with("name: my_gadget\n"));
            assert_eq!(metadata.contains("access:"), wasm.is_some());
            assert!(wasm.is_none_or(|wasm| dir.join(wasm).is_file()));
            assert!(write(&dir, "my_gadget", lang).is_err(), "nothing is overwritten");
        }
        let api = fs::read_to_string(parent.path().join("gadgetrust/rust/api/Cargo.toml")).unwrap();
        assert!(api.contains("name = \"api\"") && !api.contains("[workspace]"));
        let modules = fs::read_to_string(parent.path().join("gadgetrust/rust/api/src/lib.rs")).unwrap();
        for module in modules
            .lines()
            .filter_map(|line| line.split("mod ").nth(1)?.strip_suffix(';'))
        {
            let file = parent.path().join(format!("gadgetrust/rust/api/src/{module}.rs"));
            assert!(file.is_file(), "{module}");
        }
        assert!(write(&parent.path().join("x"), "x", "perl").is_err());
    }
}
