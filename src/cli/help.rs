//! Help pages, in the layout of upstream's (cobra): sorted flags with a type word and the default after the text.

use std::fmt::Write as _;

use clap::{Arg, Command};

use super::error::for_terminal;
use super::flags;

/// The help page of the last command of `path`: its text, and the usage. A gadget's texts come from its image, so nothing
/// in it is left that a terminal would obey.
pub(super) fn page(path: &[&Command]) -> String {
    let mut page = String::new();
    if let Some(command) = path.last()
        && let Some(text) = command.get_long_about().or_else(|| command.get_about())
    {
        let _ = writeln!(page, "{}\n", text.to_string().trim_end());
    }
    for_terminal(&(page + &usage(path)))
}

/// The usage page of the last command of `path`: how to call it, with which commands and flags.
pub(super) fn usage(path: &[&Command]) -> String {
    let Some((command, ancestors)) = path.split_last() else {
        return String::new();
    };
    let name = full_name(path);
    let mut page = String::from("Usage:\n");
    let subcommands = visible_subcommands(command);
    if subcommands.is_empty() {
        let arguments: String = command
            .get_positionals()
            .filter(|arg| !arg.is_hide_set())
            .filter(|arg| !arg.is_hide_set())
            .map(|arg| format!(" {}", positional(arg)))
            .collect();
        let _ = writeln!(page, "  {name}{arguments} [flags]");
    } else {
        let _ = writeln!(page, "  {name} [command]");
    }
    let aliases: Vec<&str> = command.get_visible_aliases().collect();
    if !aliases.is_empty() {
        let _ = writeln!(page, "\nAliases:\n  {}, {}", command.get_name(), aliases.join(", "));
    }
    if !subcommands.is_empty() {
        let width = subcommands
            .iter()
            .map(|c| c.get_name().len())
            .max()
            .unwrap_or(0)
            .max(11);
        page.push_str("\nAvailable Commands:\n");
        for sub in &subcommands {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(page, "  {:width$} {about}", sub.get_name());
        }
    }
    let is_root = ancestors.is_empty();
    let local = command.get_arguments().filter(|arg| is_root || !arg.is_global_set());
    page.push_str("\nFlags:\n");
    page.push_str(&flag_lines(local, Some(command.get_name())));
    let own: Vec<&str> = command
        .get_arguments()
        .filter(|a| !a.is_global_set())
        .filter_map(Arg::get_long)
        .collect();
    let inherited: Vec<&Arg> = ancestors
        .iter()
        .flat_map(|ancestor| ancestor.get_arguments())
        .filter(|arg| arg.is_global_set() && arg.get_long().is_none_or(|long| !own.contains(&long)))
        .collect();
    if !inherited.is_empty() {
        page.push_str("\nGlobal Flags:\n");
        page.push_str(&flag_lines(inherited.into_iter(), None));
    }
    if !subcommands.is_empty() {
        let _ = writeln!(
            page,
            "\nUse \"{name} [command] --help\" for more information about a command."
        );
    }
    page
}

/// The words that call the last command of `path`: `ig image list`.
pub(super) fn full_name(path: &[&Command]) -> String {
    path.iter()
        .map(|command| command.get_name())
        .collect::<Vec<_>>()
        .join(" ")
}

fn visible_subcommands(command: &Command) -> Vec<&Command> {
    let mut commands: Vec<&Command> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    commands.sort_by_key(|sub| sub.get_name().to_owned());
    commands
}

/// A positional argument in the usage line: the value names as they are, else the id, in brackets when it may be left out.
fn positional(arg: &Arg) -> String {
    match arg.get_value_names() {
        Some(names) => names.join(" "),
        None if arg.is_required_set() => arg.get_id().to_string(),
        None => format!("[{}]", arg.get_id()),
    }
}

fn flag_lines<'a>(args: impl Iterator<Item = &'a Arg>, help_for: Option<&str>) -> String {
    let mut flags: Vec<(String, String, String)> = args
        .filter(|arg| !arg.is_positional() && !arg.is_hide_set() && arg.get_id() != "help")
        .map(|arg| {
            let name = arg.get_long().unwrap_or_else(|| arg.get_id().as_str());
            (name.to_owned(), flag_column(arg), flag_text(arg))
        })
        .collect();
    if let Some(command) = help_for {
        flags.push((
            "help".to_owned(),
            "  -h, --help".to_owned(),
            format!("Show help for {command}"),
        ));
    }
    flags.sort();
    let width = flags
        .iter()
        .map(|(_, column, _)| column.chars().count())
        .max()
        .unwrap_or(0)
        + 3;
    let mut lines = String::new();
    for (_, column, text) in flags {
        let text = text.replace('\n', &format!("\n{}", " ".repeat(width)));
        let _ = writeln!(lines, "{}", format!("{column:width$}{text}").trim_end());
    }
    lines
}

fn flag_column(arg: &Arg) -> String {
    let mut column = match arg.get_short() {
        Some(short) => format!("  -{short}"),
        None => "    ".to_owned(),
    };
    if let Some(long) = arg.get_long() {
        column.push_str(if arg.get_short().is_some() { ", " } else { "  " });
        column.push_str("--");
        column.push_str(long);
    }
    if !flags::is_bool(arg) {
        let _ = write!(column, " {}", type_word(arg));
    }
    column
}

fn type_word(arg: &Arg) -> &str {
    arg.get_value_names()
        .and_then(|names| names.first())
        .map_or("string", |name| name.as_str())
}

fn flag_text(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let possible: Vec<String> = if flags::is_bool(arg) || arg.is_hide_possible_values_set() {
        Vec::new()
    } else {
        arg.get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect()
    };
    if !possible.is_empty() {
        let _ = write!(text, " [{}]", possible.join(", "));
    }
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|v| v.to_string_lossy().into_owned())
        .collect();
    let default = defaults.join(",");
    let word = type_word(arg);
    let is_zero =
        default.is_empty() || (flags::is_bool(arg) && default == "false") || (word == "int" && default == "0");
    if !is_zero && !arg.is_hide_default_value_set() {
        let default = match word {
            "strings" => format!("[{default}]"),
            "string" if !flags::is_bool(arg) => format!("{default:?}"),
            _ => default,
        };
        let _ = write!(text, " (default {default})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_texts_are_harmless() {
        let gadget = Command::new("run")
            .about("x\x1b[2J")
            .arg(flags::text("pid", "\x07", "a\u{9b}31mb"));
        let page = page(&[&gadget]);
        assert!(page.starts_with("x\\x1b[2J\n"), "{page}");
        assert!(page.contains("a\\u009b31mb"), "{page}");
        assert!(!page.contains(['\x1b', '\x07', '\u{9b}']));
    }

    #[test]
    fn a_page_has_uses_aliases_and_sorted_flags() {
        let root = Command::new("ig")
            .arg(
                flags::switch("verbose", "Print debug information")
                    .short('v')
                    .global(true),
            )
            .arg(flags::text("config", "", "Read this file").global(true));
        let image = Command::new("image").about("Manage gadget images");
        let list = Command::new("list")
            .about("List gadget images")
            .visible_alias("ls")
            .arg(Arg::new("FILE").required(true))
            .arg(flags::text("output", "columns", "Output format").short('o'))
            .arg(flags::int("limit", "0", "Stop after\nthat many"))
            .arg(flags::bool_arg(Arg::new("trunc").long("trunc").help("Shorten digests")).default_value("true"));
        let expected = "\
List gadget images

Usage:
  ig image list FILE [flags]

Aliases:
  list, ls

Flags:
  -h, --help            Show help for list
      --limit int       Stop after
                        that many
  -o, --output string   Output format (default \"columns\")
      --trunc           Shorten digests (default true)

Global Flags:
      --config string   Read this file
  -v, --verbose         Print debug information
";
        assert_eq!(page(&[&root, &image, &list]), expected);
    }
}
