//! `ig image build PATH`

use std::io::Write;

use clap::{Arg, ArgMatches, Command};

use super::{positional, required, say};
use crate::build::{BUILD_FILE, BuildEvent, BuildOptions, Built, build_gadget};
use crate::cli::flags::{switch, text};
use crate::cli::stdout::stdout;
use crate::image::{Reference, Store};
use crate::text::printable;
use crate::{Error, Result, ResultExt};

const DEFAULT_BUILDER_IMAGE: &str = "ghcr.io/inspektor-gadget/gadget-builder:main";
const PULL_VALUES: [&str; 3] = ["always", "missing", "never"];

pub(super) fn command() -> Command {
    Command::new("build")
        .about("Build a gadget image")
        .long_about(
            "Build a gadget image\n\nPATH is a directory with program.bpf.c and, if wanted, gadget.yaml and build.yaml, or a single *.bpf.c file. \
             It is compiled for amd64 and arm64, and the image goes into the store. Only clang is needed.",
        )
        .arg(positional("PATH"))
        .args(arguments())
}

fn arguments() -> [Arg; 10] {
    [
        switch(
            "btfgen",
            "Put the BTF of kernels that show none into the image, reduced to what the gadget needs",
        ),
        text(
            "btfhub-archive",
            "",
            "`DIRECTORY` with the BTF of these kernels, laid out like btfhub-archive",
        ),
        text(
            "builder-image",
            DEFAULT_BUILDER_IMAGE,
            "Accepted for compatibility: no builder image is needed",
        ),
        text(
            "builder-image-pull",
            "always",
            "Accepted for compatibility, as --builder-image [always, missing, never]",
        ),
        text("file", BUILD_FILE, "Read this file in place of PATH/build.yaml").short('f'),
        switch("local", "Accepted for compatibility: builds always use the local clang").short('l'),
        text(
            "output",
            "",
            "Keep the compiled objects in this directory, which must exist",
        )
        .short('o'),
        text("tag", "", "Name of the image, with or without registry and tag").short('t'),
        switch(
            "update-metadata",
            "Create gadget.yaml, or add to it what the program has and it has not",
        ),
        switch(
            "validate-metadata",
            "Refuse a gadget.yaml that does not fit the program",
        )
        .default_value("true"),
    ]
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let options = options(matches)?;
    // A wrong name is better known before the compiler has run.
    let reference = match value(matches, "tag") {
        Some(tag) => Some(Reference::parse(tag).context("normalizing image")?),
        None => None,
    };
    let mut log = BuildLog {
        enabled: matches.get_one("verbose").copied().unwrap_or(false),
        started: false,
    };
    let built = build_gadget(&options, &mut |event| log.add(event));
    log.end();
    let built = built?;
    if !log.enabled {
        for warning in &built.warnings {
            for line in warning.lines() {
                say(format_args!("{}", printable(line)));
            }
        }
    }
    store(built, reference.as_ref())
}

/// Packs the gadget and puts its image into the store.
fn store(built: Built, reference: Option<&Reference>) -> Result<()> {
    let image = built.pack()?;
    let descriptor = Store::open_default()?.add(&image, reference)?;
    let name = match reference {
        Some(reference) => reference.described(&descriptor.digest),
        None => format!("@{}", descriptor.digest),
    };
    say(format_args!("Successfully built {name}"));
    Ok(())
}

fn value<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches
        .get_one::<String>(name)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

fn is_set(matches: &ArgMatches, name: &str) -> bool {
    matches.get_one(name).copied().unwrap_or(false)
}

fn options(matches: &ArgMatches) -> Result<BuildOptions> {
    let (builder_image, pull) = (value(matches, "builder-image"), value(matches, "builder-image-pull"));
    let wants_builder = builder_image != Some(DEFAULT_BUILDER_IMAGE);
    if is_set(matches, "local") && wants_builder {
        return Err(Error::invalid(
            "--local and --builder-image cannot be used at the same time",
        ));
    }
    let pull = pull.unwrap_or_default();
    if !PULL_VALUES.contains(&pull) {
        return Err(Error::invalid(format!(
            "invalid value for --builder-image-pull: {pull}. Valid values are {}",
            PULL_VALUES.join(",")
        )));
    }
    if !is_set(matches, "local") {
        tracing::debug!("building with the local clang: no builder image is needed");
    }
    let archive = value(matches, "btfhub-archive").filter(|_| is_set(matches, "btfgen"));
    if is_set(matches, "btfgen") && archive.is_none() {
        return Err(Error::invalid("btfgen requires --btfhub-archive"));
    }
    let file = value(matches, "file").unwrap_or(BUILD_FILE);
    let explicit = matches.value_source("file") == Some(clap::parser::ValueSource::CommandLine);
    Ok(BuildOptions {
        build_file: explicit.then(|| file.into()),
        output: value(matches, "output").map(Into::into),
        update_metadata: is_set(matches, "update-metadata"),
        validate_metadata: is_set(matches, "validate-metadata"),
        btfhub_archive: archive.map(Into::into),
        ..BuildOptions::for_path(required(matches, "PATH")?)
    })
}

/// What `-v` shows of a build, on standard output.
struct BuildLog {
    enabled: bool,
    started: bool,
}

impl BuildLog {
    fn add(&mut self, event: BuildEvent<'_>) {
        if !self.enabled {
            return;
        }
        if !self.started {
            self.started = true;
            self.print("Build logs start:");
        }
        match event {
            BuildEvent::Command(text) | BuildEvent::Output(text) => {
                text.lines().for_each(|line| self.print(&printable(line)));
            }
        }
    }

    fn end(&self) {
        if self.started {
            self.print("Build logs end");
        }
    }

    /// A reader that went away is no reason to stop a build.
    fn print(&self, line: &str) {
        let _ = writeln!(stdout(), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<BuildOptions> {
        let command = crate::cli::flags::normalize(command());
        let matches = command.try_get_matches_from([&["build"], args].concat()).unwrap();
        options(&matches)
    }

    #[test]
    fn flags_become_options() {
        let options = parse(&["g"]).unwrap();
        assert_eq!(options.path.to_str(), Some("g"));
        assert!(options.validate_metadata && !options.update_metadata);
        assert_eq!((options.build_file, options.output), (None, None));
        let options = parse(&[
            "-f",
            "build.yaml",
            "-o",
            "out",
            "--update-metadata",
            "--validate-metadata=false",
            "g",
        ])
        .unwrap();
        assert_eq!(options.build_file.as_deref(), Some("build.yaml".as_ref()));
        assert_eq!(options.output.as_deref(), Some("out".as_ref()));
        assert!(options.update_metadata && !options.validate_metadata);
    }

    #[test]
    fn contradictions_are_refused() {
        let message = |args: &[&str]| parse(args).unwrap_err().to_string();
        assert_eq!(
            message(&["--local", "--builder-image", "x", "g"]),
            "--local and --builder-image cannot be used at the same time"
        );
        assert_eq!(
            message(&["--builder-image-pull=sometimes", "g"]),
            "invalid value for --builder-image-pull: sometimes. Valid values are always,missing,never"
        );
        assert_eq!(message(&["--btfgen", "g"]), "btfgen requires --btfhub-archive");
        assert!(parse(&["--builder-image", "x", "g"]).is_ok());
    }
}
