//! `ig image pull IMAGE`

use clap::{ArgMatches, Command};

use super::{positional, registry_args, registry_options, required, say};
use crate::cli::progress::Bar;
use crate::image::{Reference, Store, registry};
use crate::{Result, ResultExt};

pub(super) fn command() -> Command {
    Command::new("pull")
        .about("Copy a gadget image from its registry to the store")
        .arg(positional("IMAGE"))
        .args(registry_args())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    pull(required(matches, "IMAGE")?, matches).context("pulling gadget")
}

fn pull(name: &str, matches: &ArgMatches) -> Result<()> {
    say(format_args!("Pulling {name}..."));
    let work = || -> Result<_> {
        let reference = Reference::parse(name).context("normalizing image")?;
        let bar = Bar::new();
        let store = Store::open_default()?;
        let descriptor = registry::pull(&store, &reference, &registry_options(matches), &bar.progress())?;
        Ok((reference, descriptor))
    };
    let (reference, descriptor) = work().with_context(|| format!("pulling image {name:?}"))?;
    say(format_args!(
        "Successfully pulled {}",
        reference.described(&descriptor.digest)
    ));
    Ok(())
}
