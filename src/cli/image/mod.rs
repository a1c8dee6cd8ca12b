//! `ig image`: the store, registries and archives of gadget images.

mod build;
mod export;
mod import;
mod inspect;
mod jsonpath;
mod list;
mod pull;
mod push;
mod remove;
mod tag;

use std::io::{self, Write};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::image::RegistryOptions;
use crate::image::registry::DEFAULT_AUTHFILE;
use crate::{Error, Result};

pub(super) fn command() -> Command {
    Command::new("image")
        .about("Manage gadget images")
        // An unknown subcommand shows the help, as it always did.
        .allow_external_subcommands(true)
        .subcommand(build::command())
        .subcommand(export::command())
        .subcommand(import::command())
        .subcommand(inspect::command())
        .subcommand(list::command())
        .subcommand(pull::command())
        .subcommand(push::command())
        .subcommand(remove::command())
        .subcommand(tag::command())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    match matches.subcommand() {
        Some(("build", matches)) => build::run(matches),
        Some(("export", matches)) => export::run(matches),
        Some(("import", matches)) => import::run(matches),
        Some(("inspect", matches)) => inspect::run(matches),
        Some(("list", matches)) => list::run(matches),
        Some(("pull", matches)) => pull::run(matches),
        Some(("push", matches)) => push::run(matches),
        Some(("remove", matches)) => remove::run(matches),
        Some(("tag", matches)) => tag::run(matches),
        _ => print(&command().bin_name("ig image").render_help().to_string()),
    }
}

/// The value of a required argument.
pub(super) fn required<'a>(matches: &'a ArgMatches, name: &str) -> Result<&'a String> {
    matches
        .get_one(name)
        .ok_or_else(|| Error::invalid(format!("missing argument {name}")))
}

/// A required positional argument, shown as `name` in capitals.
pub(super) fn positional(id: &'static str) -> Arg {
    Arg::new(id).value_name(id).required(true)
}

/// `--authfile` and `--insecure-registries`.
fn registry_args() -> [Arg; 2] {
    [
        Arg::new("authfile")
            .long("authfile")
            .value_name("string")
            .default_value(DEFAULT_AUTHFILE)
            .help("File with the registries' credentials, in Docker's format; \"\" stands for Docker's own"),
        Arg::new("insecure-registries")
            .long("insecure-registries")
            .value_name("strings")
            .value_delimiter(',')
            .action(ArgAction::Append)
            .help("Registries to access over plain HTTP, without credentials"),
    ]
}

/// What [`registry_args`] were given as.
fn registry_options(matches: &ArgMatches) -> RegistryOptions {
    let strings = |name| matches.get_many::<String>(name).into_iter().flatten();
    RegistryOptions {
        insecure_registries: strings("insecure-registries").cloned().collect(),
        authfile: strings("authfile").next().map_or(DEFAULT_AUTHFILE.into(), Into::into),
        ..RegistryOptions::default()
    }
}

/// Writes data to standard output. A reader that went away is a quiet end.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::from(e).context("writing the output")),
        _ => Ok(()),
    }
}

/// Writes a message to standard error; when nobody can read it, there is nobody to tell that.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn registries_accumulate() {
        let matches = command()
            .try_get_matches_from([
                "image",
                "pull",
                "--insecure-registries",
                "a,b",
                "--insecure-registries=c",
                "x",
            ])
            .unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        let options = registry_options(matches);
        assert_eq!(options.insecure_registries, ["a", "b", "c"]);
        assert_eq!(options.authfile.as_os_str(), DEFAULT_AUTHFILE);
    }
}
