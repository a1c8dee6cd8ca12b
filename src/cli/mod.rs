//! The `ig` command line: one file per command, and the frame that they share.
//!
//! The frame reads from outside like the upstream program (cobra and pflag): the same texts for wrong flags and arguments,
//! the same shape of help pages, the same log lines; inside it is clap. A command is a `command()` that describes it and a
//! `run()` that does it, and one line in `root`. Results go to `stdout`, everything else to standard error; the exit
//! status is 0 or 1, and 3 for a run that lost events with `--fail-on-loss`.

mod completion;
mod config;
mod doctor;
mod error;
mod explain;
mod flags;
mod gadget;
mod gadget_args;
mod gadget_info;
mod guest_profile;
mod help;
mod host;
mod image;
mod list_containers;
mod logging;
mod params;
mod progress;
mod replay;
mod resident;
mod root;
mod run;
mod run_flags;
mod schema;
mod signals;
mod stdout;
mod top;
mod version;
mod watch;

use std::process::ExitCode;

/// Runs `ig` with the arguments of this process, and says with which status to end it.
///
/// Must be called before the process has started a second thread.
pub fn main() -> ExitCode {
    error::report(root::run(&std::env::args_os().collect::<Vec<_>>()))
}

/// The description of the whole command line, for generated documentation. It parses less than the program does.
pub fn command() -> clap::Command {
    flags::for_documentation(root::command())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
}
