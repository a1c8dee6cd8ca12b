//! `ig image import SRC_FILE`

use std::path::Path;

use clap::{Arg, ArgMatches, Command};

use super::{positional, print, required};
use crate::image::{Store, archive};
use crate::text::printable;
use crate::{Error, ErrorKind, Result, ResultExt};

pub(super) fn command() -> Command {
    Command::new("import")
        .about("Read gadget images from an archive into the store")
        .arg(positional("SRC_FILE"))
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("string")
                .help("Output mode: json or jsonpretty"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let file = Path::new(required(matches, "SRC_FILE")?);
    let names = Store::open_default()
        .and_then(|store| archive::import(&store, file))
        .context("importing images")?;
    print(&report(
        &names,
        matches.get_one::<String>("output").map_or("", String::as_str),
    )?)
}

fn report(names: &[String], mode: &str) -> Result<String> {
    let json = match mode {
        "" => {
            let lines = names.iter().map(|name| format!("  {}\n", printable(name)));
            return Ok("Successfully imported images:\n".to_owned() + &lines.collect::<String>());
        }
        "json" => serde_json::to_string(names),
        "jsonpretty" => serde_json::to_string_pretty(names),
        other => {
            return Err(Error::invalid(format!(
                "invalid output mode {other:?}, valid values are: json, jsonpretty"
            )));
        }
    };
    Ok(json.map_err(|e| Error::from_source(ErrorKind::Other, e).context("encoding JSON"))? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports() {
        let names = ["a/b:c".to_owned()];
        assert_eq!(report(&names, "").unwrap(), "Successfully imported images:\n  a/b:c\n");
        assert_eq!(report(&names, "json").unwrap(), "[\"a/b:c\"]\n");
        assert_eq!(report(&names, "jsonpretty").unwrap(), "[\n  \"a/b:c\"\n]\n");
        assert_eq!(
            report(&names, "yaml").unwrap_err().to_string(),
            "invalid output mode \"yaml\", valid values are: json, jsonpretty"
        );
    }
}
