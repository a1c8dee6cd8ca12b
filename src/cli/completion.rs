//! `ig completion SHELL`: scripts that let a shell complete our commands and flags.

use std::io::Write;

use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;

use super::stdout::stdout;
use super::{flags, root};
use crate::{Error, Result};

const SHELLS: [(&str, Shell); 4] = [
    ("bash", Shell::Bash),
    ("fish", Shell::Fish),
    ("powershell", Shell::PowerShell),
    ("zsh", Shell::Zsh),
];

pub(super) fn command() -> Command {
    let shells = SHELLS.map(|(name, _)| {
        Command::new(name)
            .about(format!("Print the completion script for {name}"))
            .arg(no_descriptions())
    });
    Command::new("completion")
        .about("Print a completion script for a shell")
        .subcommands(shells)
}

fn no_descriptions() -> Arg {
    flags::switch("no-descriptions", "Leave the descriptions out of the script")
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let (name, matches) = matches.subcommand().ok_or_else(|| Error::invalid("no shell given"))?;
    let (_, shell) = SHELLS
        .into_iter()
        .find(|(shell, _)| *shell == name)
        .ok_or_else(|| Error::unsupported(format!("no completion script for the shell {name:?}")))?;
    let mut command = super::command();
    if matches.get_flag("no-descriptions") {
        command = without_descriptions(command);
    }
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, root::NAME, &mut script);
    stdout().write_all(&script)?;
    Ok(())
}

fn without_descriptions(command: Command) -> Command {
    command
        .about("")
        .mut_args(|arg| arg.help(""))
        .mut_subcommands(without_descriptions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(args: &[&str]) -> String {
        let matches = command().try_get_matches_from(args).unwrap();
        let (_, sub) = matches.subcommand().unwrap();
        let mut root = crate::cli::command();
        if sub.get_flag("no-descriptions") {
            root = without_descriptions(root);
        }
        let mut script = Vec::new();
        clap_complete::generate(Shell::Fish, &mut root, root::NAME, &mut script);
        String::from_utf8(script).unwrap()
    }

    #[test]
    fn descriptions_can_be_left_out() {
        assert!(script(&["completion", "fish"]).contains("Show the version"));
        let bare = script(&["completion", "fish", "--no-descriptions"]);
        assert!(bare.contains("version"));
        assert!(!bare.contains("Show the version"));
    }
}
