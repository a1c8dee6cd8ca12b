//! `ig gadget`: for those who look for gadgets, and those who write them.

mod list;
mod new;
mod test;

use clap::{ArgMatches, Command};

use super::run::print;
use crate::Result;

pub(super) fn command() -> Command {
    Command::new("gadget")
        .about("Find gadgets, write new ones, and test them")
        .subcommand(list::command())
        .subcommand(new::command())
        .subcommand(test::command())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    match matches.subcommand() {
        Some(("list", matches)) => list::run(matches),
        Some(("new", matches)) => new::run(matches),
        Some(("test", matches)) => test::run(matches),
        _ => print(&command().bin_name("ig gadget").render_help().to_string()),
    }
}
