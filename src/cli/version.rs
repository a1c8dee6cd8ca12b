//! `ig version`

use std::io::Write;

use clap::{ArgMatches, Command};

use super::stdout::stdout;
use crate::Result;

pub(super) fn command() -> Command {
    Command::new("version").about("Show the version")
}

pub(super) fn run(_matches: &ArgMatches) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    tracing::debug!("client: ig/v{version} (linux/{}) kubernetes/unknown", architecture());
    writeln!(stdout(), "v{version}")?;
    Ok(())
}

/// The machine's architecture in the words of OCI images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
