//! `ig image remove IMAGE`

use clap::{ArgMatches, Command};

use super::{positional, required, say};
use crate::image::{Reference, Store};
use crate::{Result, ResultExt};

pub(super) fn command() -> Command {
    Command::new("remove")
        .visible_alias("rm")
        .about("Remove a gadget image from the store")
        .arg(positional("IMAGE"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let name = required(matches, "IMAGE")?;
    Reference::parse(name)
        .context("normalizing image")
        .and_then(|reference| Store::open_default()?.remove(&reference))
        .context("removing gadget image")?;
    say(format_args!("Successfully removed {name}"));
    Ok(())
}
