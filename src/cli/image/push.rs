//! `ig image push IMAGE`

use clap::{ArgMatches, Command};

use super::{positional, registry_args, registry_options, required, say};
use crate::cli::progress::Bar;
use crate::image::{Reference, Store, registry};
use crate::{Result, ResultExt};

pub(super) fn command() -> Command {
    Command::new("push")
        .about("Copy a gadget image from the store to its registry")
        .arg(positional("IMAGE"))
        .args(registry_args())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    push(required(matches, "IMAGE")?, matches).context("pushing gadget")
}

fn push(name: &str, matches: &ArgMatches) -> Result<()> {
    say(format_args!("Pushing {name}..."));
    let reference = Reference::parse(name).context("normalizing image")?;
    let bar = Bar::new();
    let store = Store::open_default()?;
    let descriptor = registry::push(&store, &reference, &registry_options(matches), &bar.progress())?;
    drop(bar);
    say(format_args!(
        "Successfully pushed {}",
        reference.described(&descriptor.digest)
    ));
    Ok(())
}
