//! Flags as pflag has them, made of clap's arguments; and the lenient first look at a command line.
//!
//! A value flag takes the next word whatever it looks like, a boolean takes none unless it is glued on with `=`, and the
//! last of several wins. [`normalize`] gives a whole command tree these rules, so a command may be described with plain
//! clap arguments.
//!
//! [`scan`] reads a command line in which some flags are not known yet, because only the image that it names can tell them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

use crate::metadata::params::typed::{go_quote, parse_int};
use crate::{Error, Result};

/// A boolean flag that is off by default: `--name`, `--name=false`.
pub(super) fn switch(name: &'static str, help: &'static str) -> Arg {
    bool_arg(Arg::new(name).long(name).help(help)).default_value("false")
}

/// A text flag; an empty `default` is not shown.
pub(super) fn text(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .value_name("string")
        .default_value(default)
        .action(ArgAction::Set)
}

/// A signed number flag.
#[allow(dead_code, reason = "a part of `ig list-containers`")]
pub(super) fn int(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    text(name, default, help)
        .value_name("int")
        .value_parser(int_value_parser())
}

/// Parses a signed number with pflag's error texts.
#[allow(dead_code, reason = "a part of `ig list-containers`")]
pub(super) fn int_value_parser() -> ValueParser {
    ValueParser::new(|value: &str| parse_int(value, 64))
}

/// Gives `arg` the syntax and the values of a boolean.
pub(super) fn bool_arg(arg: Arg) -> Arg {
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(ValueParser::new(parse_plain_bool))
}

/// The boolean texts of plain flags; those of params are fewer.
pub(super) fn parse_plain_bool(value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!(
            "strconv.ParseBool: parsing {}: invalid syntax",
            go_quote(value)
        ))),
    }
}

/// Gives `command` and everything below it pflag's rules. Only what clap would do differently is changed.
pub(super) fn normalize(command: Command) -> Command {
    command
        .disable_help_subcommand(true)
        .args_override_self(true)
        .mut_args(|arg| {
            if arg.is_positional() {
                return arg;
            }
            match arg.get_action() {
                ArgAction::SetTrue => bool_arg(arg).default_value("false"),
                ArgAction::Set | ArgAction::Append if !is_bool(&arg) => arg.allow_hyphen_values(true),
                _ => arg,
            }
        })
        .mut_subcommands(normalize)
}

/// `command` without what only parsing needs: booleans are plain switches again, and empty defaults are no defaults.
pub(super) fn for_documentation(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let is_off = arg
                .get_default_values()
                .iter()
                .all(|value| value.is_empty() || *value == "false");
            let arg = if is_off { arg.default_value(None) } else { arg };
            if arg.is_require_equals_set() && is_off {
                arg.action(ArgAction::SetTrue)
                    .num_args(0)
                    .require_equals(false)
                    .default_missing_values(Vec::<&str>::new())
                    .value_parser(clap::value_parser!(bool))
            } else {
                arg
            }
        })
        .mut_subcommands(for_documentation)
}

/// A command with the name, texts and arguments of `command`, but nothing below it.
pub(super) fn without_subcommands(command: &Command) -> Command {
    normalize(texts_of(command).args(command.get_arguments().cloned()))
}

/// A command with only the name and the texts of `command`.
pub(super) fn texts_of(command: &Command) -> Command {
    let mut texts = Command::new(command.get_name().to_owned());
    if let Some(about) = command.get_about() {
        texts = texts.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        texts = texts.long_about(about.clone());
    }
    texts
}

/// Whether `arg` is a flag that takes no separate value.
pub(super) fn is_bool(arg: &Arg) -> bool {
    !arg.get_action().takes_values() || arg.is_require_equals_set()
}

/// How a flag is named in error messages: `-o, --output`, `--pull`.
pub(super) fn display_name(arg: &Arg) -> String {
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, Some(long)) => format!("--{long}"),
        (None, None) => arg.get_id().to_string(),
    }
}

/// Flags of the operators, which take a value. Which of them a gadget really has is known only with its image; that they
/// take a value is known before, and keeps that value from being read as the image's name.
const OPERATOR_VALUE_FLAGS: &[(&str, Option<char>)] = &[
    ("containername", Some('c')),
    ("fields", None),
    ("filter", Some('F')),
    ("filter-expr", Some('E')),
    ("k8s-containername", None),
    ("k8s-namespace", None),
    ("k8s-podname", None),
    ("k8s-selector", None),
    ("map-fetch-count", None),
    ("map-fetch-interval", None),
    ("max-entries", None),
    ("output", Some('o')),
    ("runtime-containerimage-digest", None),
    ("runtime-containerimage-id", None),
    ("runtime-containername", None),
    ("sort", None),
];

/// The operators' boolean flags, see [`OPERATOR_VALUE_FLAGS`].
const OPERATOR_SWITCHES: &[&str] = &["host"];

/// What [`scan`] found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The words that are no flags and no flags' values.
    pub(super) positionals: Vec<OsString>,
    /// The flags that are known, as `--name=value` or `--name`, in order.
    pub(super) known: Vec<OsString>,
    /// Whether help was asked for.
    pub(super) help: bool,
}

impl Scan {
    /// The last value given for the known flag `long`; `true` for a boolean without a value.
    pub(super) fn value(&self, long: &str) -> Option<&OsStr> {
        self.known.iter().rev().find_map(|flag| {
            let rest = flag.as_bytes().strip_prefix(b"--")?.strip_prefix(long.as_bytes())?;
            match rest.first() {
                None => Some(OsStr::new("true")),
                Some(b'=') => Some(OsStr::from_bytes(&rest[1..])),
                Some(_) => None,
            }
        })
    }
}

enum Known<'a> {
    /// A known flag, with its long name or id, and whether it takes a separate value.
    Flag {
        name: &'a str,
        takes_value: bool,
    },
    /// An operator's flag, see [`OPERATOR_VALUE_FLAGS`].
    Operator {
        takes_value: bool,
    },
    Unknown,
}

fn long_flag<'a>(command: &'a Command, name: &str) -> Known<'a> {
    for arg in command.get_arguments() {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        if arg.get_long() == Some(name) || aliases.contains(&name) {
            return Known::Flag {
                name: arg.get_long().unwrap_or_else(|| arg.get_id().as_str()),
                takes_value: !is_bool(arg),
            };
        }
    }
    // A flag per data source (`--filter.open`) takes what the flag itself takes.
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    if OPERATOR_VALUE_FLAGS.iter().any(|(flag, _)| *flag == stem) {
        Known::Operator { takes_value: true }
    } else if OPERATOR_SWITCHES.contains(&name) {
        Known::Operator { takes_value: false }
    } else {
        Known::Unknown
    }
}

fn short_flag(command: &Command, letter: char) -> Known<'_> {
    for arg in command.get_arguments() {
        if arg
            .get_short_and_visible_aliases()
            .unwrap_or_default()
            .contains(&letter)
        {
            return Known::Flag {
                name: arg.get_long().unwrap_or_else(|| arg.get_id().as_str()),
                takes_value: !is_bool(arg),
            };
        }
    }
    if OPERATOR_VALUE_FLAGS.iter().any(|(_, short)| *short == Some(letter)) {
        Known::Operator { takes_value: true }
    } else {
        Known::Unknown
    }
}

/// Reads `args` (without the program's name) with only the flags of `command` known.
///
/// An unknown flag takes the word that follows if that does not begin with `-`, because it may be its value. When nothing
/// is left that could be a positional argument, that guess was wrong somewhere (`--paths trace_open`), and is not made.
pub(super) fn scan(args: &[OsString], command: &Command) -> Scan {
    let scan = scan_once(args, command, true);
    if scan.positionals.is_empty() {
        scan_once(args, command, false)
    } else {
        scan
    }
}

fn scan_once(args: &[OsString], command: &Command, swallow: bool) -> Scan {
    let mut found = Scan::default();
    let mut words = args.iter().peekable();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            found.positionals.extend(words.cloned());
            break;
        }
        if bytes == b"-" || !bytes.starts_with(b"-") {
            found.positionals.push(word.clone());
            continue;
        }
        if bytes == b"--help" || bytes == b"-h" {
            found.help = true;
            continue;
        }
        let mut push = |name: &str, value: Option<&[u8]>| {
            let mut flag = OsString::from(format!("--{name}"));
            if let Some(value) = value {
                flag.push("=");
                flag.push(OsStr::from_bytes(value));
            }
            found.known.push(flag);
        };
        let may_be_value = |next: &&OsString| swallow && !next.as_bytes().starts_with(b"-");
        if let Some(long) = bytes.strip_prefix(b"--") {
            let (name, glued) = split_once(long, b'=');
            let Ok(name) = std::str::from_utf8(name) else { continue };
            match (long_flag(command, name), glued) {
                (Known::Flag { name, .. }, Some(value)) => push(name, Some(value)),
                (
                    Known::Flag {
                        name,
                        takes_value: false,
                    },
                    None,
                ) => push(name, None),
                (
                    Known::Flag {
                        name,
                        takes_value: true,
                    },
                    None,
                ) => {
                    if let Some(value) = words.next() {
                        push(name, Some(value.as_bytes()));
                    }
                }
                (Known::Operator { takes_value: true }, None) => {
                    words.next();
                }
                (Known::Operator { .. }, _) => {}
                (Known::Unknown, glued) => {
                    if glued.is_none() {
                        words.next_if(may_be_value);
                    }
                }
            }
            continue;
        }
        let Ok(group) = std::str::from_utf8(&bytes[1..]) else {
            continue;
        };
        for (at, letter) in group.char_indices() {
            let rest = &group[at + letter.len_utf8()..];
            let glued = rest.strip_prefix('=');
            match short_flag(command, letter) {
                Known::Flag {
                    name,
                    takes_value: false,
                } => {
                    push(name, glued.map(str::as_bytes));
                    if glued.is_some() {
                        break;
                    }
                }
                Known::Flag {
                    name,
                    takes_value: true,
                } => {
                    if let Some(value) = glued {
                        push(name, Some(value.as_bytes()));
                    } else if !rest.is_empty() {
                        push(name, Some(rest.as_bytes()));
                    } else if let Some(value) = words.next() {
                        push(name, Some(value.as_bytes()));
                    }
                    break;
                }
                Known::Operator { .. } => {
                    if rest.is_empty() {
                        words.next();
                    }
                    break;
                }
                Known::Unknown => {
                    // The rest of the group may be its value, so it is nobody else's.
                    if rest.is_empty() {
                        words.next_if(may_be_value);
                    }
                    break;
                }
            }
        }
    }
    found
}

fn split_once(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|b| *b == separator) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Command {
        normalize(
            Command::new("run")
                .arg(switch("verbose", "").short('v'))
                .arg(text("timeout", "0", "").short('t'))
                .arg(text("runtimes", "", "").short('r'))
                .arg(switch("verify-image", "")),
        )
    }

    fn positionals(line: &str) -> Vec<String> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let found = scan(&args, &known()).positionals;
        found.into_iter().map(|p| p.into_string().unwrap()).collect()
    }

    #[test]
    fn finds_the_image_among_unknown_flags() {
        for line in [
            "trace_exec",
            "trace_exec --host",
            "-o json trace_exec",
            "-ojson trace_exec",
            "-o=json trace_exec",
            "--output json trace_exec",
            "--host=true trace_exec",
            "--host trace_exec",
            "--paths trace_exec",
            "-x trace_exec",
            "--verify-image=false -t 5 trace_exec",
            "-vt 5 trace_exec",
            "-vt5 trace_exec",
            "--sort -pid trace_exec",
            "--filter.open fname==x trace_exec",
            "--fields -comm trace_exec",
            "--pid 5 trace_exec",
            "-c !web trace_exec --timeout 3",
            "--verbose -- trace_exec",
        ] {
            assert_eq!(
                positionals(line).first().map(String::as_str),
                Some("trace_exec"),
                "{line}"
            );
        }
        assert_eq!(
            positionals("trace_exec -- --not-a-flag"),
            ["trace_exec", "--not-a-flag"]
        );
        assert_eq!(positionals("-o json"), Vec::<String>::new());
        assert_eq!(positionals("trace_open trace_exec"), ["trace_open", "trace_exec"]);
    }

    #[test]
    fn the_rest_of_an_unknown_group_is_no_flag() {
        let args = ["-oraw", "IMG", "-Xrv", "-v"].map(OsString::from);
        let found = scan(&args, &known());
        assert_eq!(found.positionals, ["IMG"]);
        assert_eq!(found.value("runtimes"), None);
        assert_eq!(found.known, ["--verbose"]);
    }

    #[test]
    fn known_flags_keep_their_values() {
        let args = ["--timeout", "-1", "img", "-r=docker", "-v=false", "--verbose"].map(OsString::from);
        let found = scan(&args, &known());
        assert_eq!(
            found.known,
            ["--timeout=-1", "--runtimes=docker", "--verbose=false", "--verbose"]
        );
        assert_eq!(found.value("timeout"), Some(OsStr::new("-1")));
        assert_eq!(found.value("verbose"), Some(OsStr::new("true")));
        assert!(!found.help);
        assert!(scan(&["img", "-h"].map(OsString::from), &known()).help);
    }

    #[test]
    fn clap_follows_the_same_rules() {
        let matches = known()
            .arg(Arg::new("image").num_args(0..))
            .try_get_matches_from(["run", "img", "-vt", "-5", "-t=7", "--verify-image=false", "-r", "--x"])
            .unwrap();
        assert!(matches.get_flag("verbose"));
        assert!(!matches.get_flag("verify-image"));
        assert_eq!(matches.get_one::<String>("timeout").unwrap(), "7");
        assert_eq!(matches.get_one::<String>("runtimes").unwrap(), "--x");
    }

    #[test]
    fn lists_accumulate_and_shared_flags_may_be_redefined() {
        let root = normalize(
            Command::new("ig")
                .arg(switch("verbose", "").short('v').global(true))
                .subcommand(
                    Command::new("pull").arg(
                        Arg::new("from")
                            .long("from")
                            .value_delimiter(',')
                            .action(ArgAction::Append),
                    ),
                )
                .subcommand(Command::new("list").arg(switch("verbose", "").short('v'))),
        );
        let matches = root
            .clone()
            .try_get_matches_from(["ig", "pull", "--from", "a,b", "--from=c"])
            .unwrap();
        let from: Vec<&String> = matches.subcommand().unwrap().1.get_many("from").unwrap().collect();
        assert_eq!(from, ["a", "b", "c"]);
        let matches = root.try_get_matches_from(["ig", "list", "-v"]).unwrap();
        assert!(matches.subcommand().unwrap().1.get_flag("verbose"));
    }

    proptest::proptest! {
        #[test]
        fn no_command_line_panics(args in proptest::collection::vec("(--?)?[vtrxé=-]{0,4}[a-z=]{0,3}", 0..6)) {
            let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
            let command = known().arg(Arg::new("image").num_args(0..));
            let found = scan(&args, &command);
            // What the scan calls known is indeed known.
            let words = std::iter::once(OsString::from("run")).chain(found.known.iter().cloned());
            if let Err(e) = command.clone().try_get_matches_from(words) {
                proptest::prop_assert_eq!(e.kind(), clap::error::ErrorKind::ValueValidation);
            }
            if let Err(e) = command.clone().try_get_matches_from(std::iter::once(OsString::from("run")).chain(args.clone())) {
                let text = crate::cli::error::from_clap(&e, &command, "ig run", &args).to_string();
                proptest::prop_assert!(!text.is_empty());
            }
        }
    }
}
