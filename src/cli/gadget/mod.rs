//! `ig gadget`: for those who look for gadgets, and those who write them.

mod list;
mod new;

use clap::{ArgMatches, Command};

use super::run::print;
use crate::Result;

pub(super) fn command() -> Command {
    Command::new("gadget")
        .about("Find gadgets, and write new ones")
        .subcommand(list::command())
        .subcommand(new::command())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    match matches.subcommand() {
        Some(("list", matches)) => list::run(matches),
        Some(("new", matches)) => new::run(matches),
        _ => print(&command().bin_name("ig gadget").render_help().to_string()),
    }
}
