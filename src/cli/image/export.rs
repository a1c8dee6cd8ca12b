//! `ig image export SRC_IMAGE [SRC_IMAGE n] DST_FILE`

use std::path::Path;

use clap::{Arg, ArgMatches, Command};

use super::say;
use crate::image::{Reference, Store, archive};
use crate::{Error, Result, ResultExt};

pub(super) fn command() -> Command {
    Command::new("export")
        .about("Write gadget images of the store to an archive")
        .override_usage("ig image export SRC_IMAGE [SRC_IMAGE n] DST_FILE [flags]")
        .arg(
            Arg::new("ARGS")
                .value_names(["SRC_IMAGE", "DST_FILE"])
                .num_args(2..)
                .required(true)
                .help("The images, then the file to write them to"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let mut names: Vec<&String> = matches.get_many("ARGS").into_iter().flatten().collect();
    let file = names.pop().ok_or_else(|| Error::invalid("missing argument DST_FILE"))?;
    export(&names, Path::new(file)).context("exporting images")?;
    say(format_args!("Successfully exported images to {file}"));
    Ok(())
}

fn export(names: &[&String], file: &Path) -> Result<()> {
    let references = names
        .iter()
        .map(|name| Reference::parse(name).context("normalizing image"))
        .collect::<Result<Vec<_>>>()?;
    archive::export(&Store::open_default()?, &references, file)
}
