//! `ig gadget test DIR`: runs the cases that a gadget declares, on this kernel, on another one in QEMU, or over recordings.

mod cases;
mod judge;
mod qemu;
mod scripts;
mod trial;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use cases::Case;
use clap::{ArgMatches, Command};
use trial::Trial;

use crate::cli::error::for_terminal;
use crate::cli::flags::text;
use crate::cli::host::{self, HostOptions};
use crate::cli::image::{positional, required};
use crate::cli::run;
use crate::cli::signals::Interrupts;
use crate::cli::stdout::stdout;
use crate::image::{GadgetImage, PackedImage, Reference, Store, archive};
use crate::{Error, ErrorKind, Result, ResultExt};

const KERNEL: &str = "kernel";
const RECORDING: &str = "recording";
const IMAGE: &str = "image";

/// The gadget's name in archives that are made here.
const NAME: &str = "gadget-under-test";

pub(super) fn command() -> Command {
    Command::new("test")
        .about("Run the cases that a gadget declares")
        .long_about(
            "Run the cases that a gadget declares in DIR/test.yaml: workloads, and the events that must be reported of them\n\nThe gadget is built, and \
             each case is run on this kernel, which needs root; with --kernel in QEMU on another kernel, which does not; with --recording over a \
             recording, which needs neither. docs/testing-gadgets.md describes the file.",
        )
        .arg(positional("DIR"))
        .args([
            text(
                KERNEL,
                "",
                "Run in QEMU on this kernel: the path of an image, or a `VERSION` that is in $IG_KERNELS or /boot",
            ),
            text(RECORDING, "", "Judge the events of this `FILE` (ig run --record) in place of running workloads"),
            text(IMAGE, "", "Test the image in this `ARCHIVE` (ig image export) in place of building DIR"),
        ])
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let value = |name: &str| {
        let value = matches.get_one::<String>(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    };
    let dir = Path::new(required(matches, "DIR")?);
    let cases = cases::read(dir)?;
    let recording = value(RECORDING).map(Path::new);
    if recording.is_some() && value(KERNEL).is_some() {
        return Err(Error::invalid(
            "flags --kernel and --recording exclude each other: a recording needs no kernel",
        ));
    }
    // What can be known to be missing is said before anything is built.
    let machine = value(KERNEL).map(|kernel| qemu::machine(kernel, &cases)).transpose()?;
    if machine.is_none() && cases.iter().any(|case| recording.is_none() && case.recording.is_none()) {
        host::require_root()?;
        host::prepare(&HostOptions::from_matches(matches))?;
    }
    let interrupts = Interrupts::take()?;
    let image = match value(IMAGE) {
        Some(file) => Subject::from_archive(Path::new(file))?,
        None => Subject::Built(Box::new(run::build_packed(dir)?)),
    };
    let mut tally = Tally::default();
    let trial = Trial::new(dir, image.image()?, &interrupts, recording)?;
    for case in &cases {
        // The machine runs the others.
        if machine.is_some() && case.recording.is_none() {
            continue;
        }
        let start = Instant::now();
        let complaints = trial.run(case);
        if interrupts.came() {
            return Err(Error::new(ErrorKind::Other, "interrupted"));
        }
        tally.say(case, complaints, start)?;
    }
    if let Some(machine) = machine {
        let file = tempfile::NamedTempFile::new().context("creating temporary file")?;
        image.write(file.path())?;
        tally.add(&qemu::run(&machine, dir, file.path(), || !interrupts.came())?)?;
    }
    tally.finish()
}

/// The image that is tested.
enum Subject {
    Built(Box<PackedImage>),
    Archived {
        file: std::path::PathBuf,
        image: Box<GadgetImage>,
    },
}

impl Subject {
    fn from_archive(file: &Path) -> Result<Self> {
        let read = || -> Result<GadgetImage> {
            let dir = tempfile::tempdir().context("creating temporary directory")?;
            let store = Store::open(dir.path());
            let names = archive::import(&store, file)?;
            let [name] = names.as_slice() else {
                return Err(Error::invalid(format!("it has {} images, not one", names.len())));
            };
            GadgetImage::from_store(&store, &Reference::parse(name)?)
        };
        Ok(Self::Archived {
            file: file.to_owned(),
            image: Box::new(read().with_context(|| format!("image archive {}", file.display()))?),
        })
    }

    fn image(&self) -> Result<GadgetImage> {
        match self {
            Self::Built(packed) => GadgetImage::from_packed(packed, None),
            Self::Archived { image, .. } => Ok((**image).clone()),
        }
    }

    /// Writes the archive that [`from_archive`](Self::from_archive) reads.
    fn write(&self, to: &Path) -> Result<()> {
        match self {
            Self::Archived { file, .. } => std::fs::copy(file, to)
                .map(drop)
                .with_context(|| format!("copying {}", file.display())),
            Self::Built(packed) => {
                let dir = tempfile::tempdir().context("creating temporary directory")?;
                let (store, name) = (Store::open(dir.path()), Reference::parse(NAME)?);
                store.add(packed, Some(&name))?;
                archive::export(&store, &[name], to)
            }
        }
    }
}

/// How many cases passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    /// Says how a case ended: with these complaints, none if it passed, or because it could not be run.
    fn say(&mut self, case: &Case, outcome: Result<Vec<String>>, start: Instant) -> Result<()> {
        let complaints = outcome.unwrap_or_else(|error| {
            let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            vec![format!("it cannot be run: {error}{hint}")]
        });
        let seconds = start.elapsed().as_secs_f64();
        match complaints.is_empty() {
            true => self.passed += 1,
            false => self.failed += 1,
        }
        print(&lines(&case.name, &complaints, seconds))
    }

    /// Adds the cases of a machine, which were said already.
    fn add(&mut self, output: &str) -> Result<()> {
        for line in output.lines() {
            self.passed += usize::from(line.starts_with(PASSED));
            self.failed += usize::from(line.starts_with(FAILED));
        }
        print(output)
    }

    fn finish(self) -> Result<()> {
        let Self { passed, failed } = self;
        match failed {
            0 => print(&format!("{passed} passed\n")),
            _ => Err(Error::new(
                ErrorKind::Other,
                format!("{failed} of {} cases failed", passed + failed),
            )),
        }
    }
}

const PASSED: &str = "ok      ";
const FAILED: &str = "FAILED  ";

fn lines(name: &str, complaints: &[String], seconds: f64) -> String {
    let verdict = if complaints.is_empty() { PASSED } else { FAILED };
    let mut text = format!("{verdict}{name} ({seconds:.1}s)\n");
    for line in complaints.iter().flat_map(|complaint| complaint.lines()) {
        text.push_str(&format!("        {line}\n"));
    }
    // Events and workloads say what they like.
    for_terminal(&text)
}

/// Each case is said at once.
fn print(text: &str) -> Result<()> {
    let mut stdout = stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_a_case_and_more_if_it_failed() {
        assert_eq!(lines("a b", &[], 1.25), "ok      a b (1.2s)\n");
        let complaints = ["expected x\ncame: y".to_owned(), "\u{1b}[2J".to_owned()];
        assert_eq!(
            lines("a", &complaints, 0.0),
            "FAILED  a (0.0s)\n        expected x\n        came: y\n        \\x1b[2J\n"
        );
    }

    #[test]
    fn cases_of_machines_are_counted_by_their_lines() {
        let mut tally = Tally::default();
        tally
            .add("ok      a (1.0s)\nFAILED  b (2.0s)\n        ok      c\nnoise\n")
            .unwrap();
        assert_eq!(tally, Tally { passed: 1, failed: 1 });
        assert_eq!(tally.finish().unwrap_err().to_string(), "1 of 2 cases failed");
    }
}
