//! `ig gadget list [WORD…]`: the gadgets that come with the program.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::Result;
use crate::cli::run::print;
use crate::image::{Catalogue, GadgetImage};
use crate::metadata::config::Config;

const WORDS: &str = "WORD";

pub(super) fn command() -> Command {
    Command::new("list")
        .about("List the gadgets that come with the program")
        .long_about(
            "List the gadgets that come with the program: all, or those in whose name or description all WORDs occur",
        )
        .arg(
            Arg::new(WORDS)
                .value_name(WORDS)
                .action(ArgAction::Append)
                .num_args(0..),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let words: Vec<String> = matches
        .get_many::<String>(WORDS)
        .unwrap_or_default()
        .map(|word| word.to_lowercase())
        .collect();
    let catalogue = Catalogue::bundled();
    let mut gadgets = Vec::new();
    for name in catalogue.names()? {
        let Some(packed) = catalogue.image(&name)? else {
            continue;
        };
        let image = GadgetImage::from_packed(&packed, None)?;
        let metadata = Config::parse(image.metadata())?;
        let description = metadata.get_str("description").unwrap_or_default().into_owned();
        gadgets.push((name, description));
    }
    gadgets.retain(|(name, description)| matches_all(&words, name, description));
    print(&table(&gadgets))
}

fn matches_all(words: &[String], name: &str, description: &str) -> bool {
    let text = format!("{name} {description}").to_lowercase();
    words.iter().all(|word| text.contains(word))
}

fn table(gadgets: &[(String, String)]) -> String {
    let width = gadgets
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default()
        .max("NAME".len());
    let mut text = format!("{:width$}  DESCRIPTION\n", "NAME");
    for (name, description) in gadgets {
        text.push_str(&format!("{name:width$}  {description}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_must_occur() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(matches_all(&words("open file"), "trace_open", "Trace opened Files"));
        assert!(!matches_all(&words("open mount"), "trace_open", "Trace opened Files"));
        assert!(matches_all(&[], "trace_open", ""));
    }

    #[test]
    fn names_stand_in_a_column() {
        let gadgets = [
            ("a".to_owned(), "first".to_owned()),
            ("longer_name".to_owned(), "second".to_owned()),
        ];
        assert_eq!(
            table(&gadgets),
            "NAME         DESCRIPTION\na            first\nlonger_name  second\n"
        );
    }
}
