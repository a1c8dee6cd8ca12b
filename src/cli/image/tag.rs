//! `ig image tag SRC_IMAGE DST_IMAGE`

use clap::{ArgMatches, Command};

use super::{positional, required, say};
use crate::image::{Reference, Store};
use crate::{Result, ResultExt};

pub(super) fn command() -> Command {
    Command::new("tag")
        .about("Give a stored gadget image another name")
        .arg(positional("SRC_IMAGE"))
        .arg(positional("DST_IMAGE"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    tag(required(matches, "SRC_IMAGE")?, required(matches, "DST_IMAGE")?).context("tagging image")
}

fn tag(source: &str, destination: &str) -> Result<()> {
    let source = Reference::parse(source).context("normalizing src image")?;
    let destination = Reference::parse(destination).context("normalizing dst image")?;
    let descriptor = Store::open_default()?.tag(&source, &destination)?;
    say(format_args!(
        "Successfully tagged with {}",
        destination.described(&descriptor.digest)
    ));
    Ok(())
}
