//! Errors at the command line: clap's in pflag's and cobra's words, and how every failure is shown.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::{flags, stdout};
use crate::metadata::params::typed::{go_quote, is_printable};
use crate::{Error, Result};

/// The exit status of a run that was told to fail when events are lost, and lost some. Every other failure has 1.
const LOST: u8 = 3;

/// Why a command did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line is wrong; `page` is the usage page to show, for commands that show one.
    Usage { error: Error, page: Option<String> },
    /// The command itself failed.
    Command(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Command(error)
    }
}

/// Shows what went wrong, if anything did, and says with which status to end the process.
pub(super) fn report(result: Result<(), Failure>) -> ExitCode {
    // Results wait in a line buffer; only now do they reach the reader, or fail to.
    let flushed = stdout::stdout()
        .flush()
        .map_err(|e| Failure::Command(Error::from(e).context("writing results")));
    let Err(failure) = result.and(flushed) else {
        return ExitCode::SUCCESS;
    };
    let (Failure::Usage { error, .. } | Failure::Command(error)) = &failure;
    if stdout::is_closed(error) {
        return ExitCode::SUCCESS;
    }
    let mut text = message(error, std::io::stderr().is_terminal());
    if let Failure::Usage { page: Some(page), .. } = &failure {
        text.push_str(page);
        text.push('\n');
    }
    // Where errors cannot be written, there is nobody left to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
    match error.kind() {
        crate::ErrorKind::Lost => ExitCode::from(LOST),
        _ => ExitCode::FAILURE,
    }
}

/// Shows an error that does not end the command.
pub(super) fn show(error: &Error) {
    let text = message(error, std::io::stderr().is_terminal());
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn message(error: &Error, terminal: bool) -> String {
    let shown = |text: &str| if terminal { for_terminal(text) } else { text.to_owned() };
    let mut text = format!("Error: {}\n", shown(&error.to_string()));
    if let Some(hint) = error.hint() {
        text.push_str(&format!("hint: {}\n", shown(hint)));
    }
    text
}

/// `text` with everything escaped that a terminal would obey; line breaks and tabs stay.
pub(crate) fn for_terminal(text: &str) -> String {
    let harmless = |c: char| matches!(c, '\n' | '\t') || is_printable(c);
    if text.chars().all(harmless) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmless(c) {
            shown.push(c);
        } else {
            shown.push_str(go_quote(c.encode_utf8(&mut [0; 4])).trim_matches('"'));
        }
    }
    shown
}

/// The error of parsing `args` (without the names of the commands) for `command`, called `path`, in upstream's words.
pub(super) fn from_clap(error: &clap::Error, command: &Command, path: &str, args: &[OsString]) -> Error {
    let invalid_arg = context(error, ContextKind::InvalidArg).unwrap_or_default();
    let arg = find_arg(command, &invalid_arg);
    match error.kind() {
        ErrorKind::UnknownArgument if invalid_arg.starts_with('-') => unknown_flag(error, &invalid_arg, args),
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues | ErrorKind::InvalidSubcommand => {
            positional_count(command, path, args)
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = error.get(ContextKind::InvalidArg);
            let names: Vec<&str> = match missing {
                Some(ContextValue::Strings(names)) => names.iter().map(String::as_str).collect(),
                Some(ContextValue::String(name)) => vec![name.as_str()],
                _ => Vec::new(),
            };
            let required: Vec<String> = names
                .iter()
                .filter_map(|name| Some(format!("\"{}\"", find_arg(command, name)?.get_long()?)))
                .collect();
            if required.is_empty() {
                positional_count(command, path, args)
            } else {
                Error::invalid(format!("required flag(s) {} not set", required.join(", ")))
            }
        }
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues if arg.is_none_or(Arg::is_positional) => {
            positional_count(command, path, args)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
            match arg {
                Some(arg) if value.is_empty() && error.source().is_none() && lacks_value(arg, args) => {
                    missing_value(arg)
                }
                _ => invalid_value(error, &value, arg, &invalid_arg),
            }
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Error::invalid(first.strip_prefix("error: ").unwrap_or(first).to_owned())
        }
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        other => Some(other.to_string()),
    }
}

/// The argument that clap shows as `--name <value>`, `-n <value>` or `<NAME>`.
fn find_arg<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let name = shown.split([' ', '=', '[']).next().unwrap_or(shown);
    command.get_arguments().find(|arg| {
        if let Some(long) = name.strip_prefix("--") {
            arg.get_long() == Some(long)
        } else if let Some(short) = name.strip_prefix('-') {
            arg.get_short().is_some_and(|letter| short.starts_with(letter))
        } else {
            arg.is_positional() && arg.to_string() == shown
        }
    })
}

fn unknown_flag(error: &clap::Error, shown: &str, args: &[OsString]) -> Error {
    let unknown = if let Some(long) = shown.strip_prefix("--") {
        let name = long.split('=').next().unwrap_or(long);
        Error::invalid(format!("unknown flag: --{name}"))
    } else {
        let letter = shown.chars().nth(1).unwrap_or('-');
        let group = args
            .iter()
            .filter_map(|word| word.to_str()?.strip_prefix('-'))
            .filter(|group| !group.starts_with('-'))
            .find_map(|group| group.find(letter).map(|at| &group[at..]));
        let group = group.map_or_else(|| letter.to_string(), str::to_owned);
        Error::invalid(format!("unknown shorthand flag: '{letter}' in -{group}"))
    };
    match context(error, ContextKind::SuggestedArg) {
        Some(similar) => unknown.with_hint(format!("did you mean {similar}?")),
        None => unknown,
    }
}

fn lacks_value(arg: &Arg, args: &[OsString]) -> bool {
    let Some(last) = args.last().and_then(|word| word.to_str()) else {
        return false;
    };
    let is_long = arg.get_long().is_some_and(|long| last.strip_prefix("--") == Some(long));
    let is_short = !last.starts_with("--")
        && arg
            .get_short()
            .is_some_and(|letter| last.starts_with('-') && last.ends_with(letter));
    is_long || is_short
}

fn missing_value(arg: &Arg) -> Error {
    Error::invalid(match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("flag needs an argument: --{long}"),
        (None, Some(letter)) => format!("flag needs an argument: '{letter}' in -{letter}"),
        (None, None) => format!("argument needs a value: {}", arg.get_id()),
    })
}

fn invalid_value(error: &clap::Error, value: &str, arg: Option<&Arg>, shown: &str) -> Error {
    let reason = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(reason), _) => reason.to_string(),
        (None, Some(ContextValue::Strings(valid))) => format!("valid values are: {}", valid.join(", ")),
        (None, _) => "invalid value".to_owned(),
    };
    match arg {
        Some(arg) if !arg.is_positional() => Error::invalid(format!(
            "invalid argument {} for {} flag: {reason}",
            go_quote(value),
            go_quote(&flags::display_name(arg))
        )),
        _ => Error::invalid(format!("invalid argument {} for {shown}: {reason}", go_quote(value))),
    }
}

/// The error for a number of positional arguments that `command` does not take.
pub(super) fn positional_count(command: &Command, path: &str, args: &[OsString]) -> Error {
    let given = flags::scan(args, command).positionals;
    let received = given.len();
    let (mut least, mut most) = (0usize, Some(0usize));
    for arg in command.get_positionals() {
        let range = arg.get_num_args();
        let (min, max) = range.map_or((1, 1), |r| (r.min_values(), r.max_values()));
        if arg.is_required_set() {
            least += min.max(1);
        }
        most = most.and_then(|m| m.checked_add(max)).filter(|m| *m < usize::MAX);
    }
    Error::invalid(match (given.first(), most) {
        (Some(first), Some(0)) => {
            format!(
                "unknown command {} for {}",
                go_quote(&first.to_string_lossy()),
                go_quote(path)
            )
        }
        (_, None) => format!("requires at least {least} arg(s), only received {received}"),
        (_, Some(most)) if most == least => format!("accepts {least} arg(s), received {received}"),
        (_, Some(most)) if least == 0 => format!("accepts at most {most} arg(s), received {received}"),
        (_, Some(most)) => format!("accepts between {least} and {most} arg(s), received {received}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::builder::PossibleValuesParser;

    fn command() -> Command {
        flags::normalize(
            Command::new("push")
                .arg(Arg::new("IMAGE").required(true))
                .arg(flags::int("timeout", "0", "").short('t'))
                .arg(flags::switch("verbose", "").short('v'))
                .arg(flags::text("output", "", "").short('o'))
                .arg(
                    flags::text("pull", "missing", "")
                        .value_parser(PossibleValuesParser::new(["always", "never", "missing"])),
                ),
        )
    }

    fn error(command: &Command, args: &[&str]) -> Error {
        let mut line = vec!["push"];
        line.extend(args);
        let error = command.clone().try_get_matches_from(&line).unwrap_err();
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        from_clap(&error, command, "ig image push", &args)
    }

    fn text(args: &[&str]) -> String {
        error(&command(), args).to_string()
    }

    #[test]
    fn flags_fail_in_pflags_words() {
        assert_eq!(text(&["x", "--badflag"]), "unknown flag: --badflag");
        assert_eq!(text(&["x", "--badflag=3"]), "unknown flag: --badflag");
        assert_eq!(text(&["x", "-x"]), "unknown shorthand flag: 'x' in -x");
        assert_eq!(text(&["x", "-vxq"]), "unknown shorthand flag: 'x' in -xq");
        assert_eq!(text(&["x", "--output"]), "flag needs an argument: --output");
        assert_eq!(text(&["x", "-o"]), "flag needs an argument: --output");
        assert_eq!(
            text(&["x", "-t", "abc"]),
            r#"invalid argument "abc" for "-t, --timeout" flag: strconv.ParseInt: parsing "abc": invalid syntax"#
        );
        assert_eq!(
            text(&["x", "--pull=sometimes"]),
            r#"invalid argument "sometimes" for "--pull" flag: valid values are: always, never, missing"#
        );
        assert_eq!(
            text(&["x", "--pull="]),
            r#"invalid argument "" for "--pull" flag: valid values are: always, never, missing"#
        );
        assert_eq!(
            text(&["x", "--verbose=maybe"]),
            r#"invalid argument "maybe" for "-v, --verbose" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#
        );
    }

    #[test]
    fn a_near_miss_is_named() {
        assert_eq!(
            error(&command(), &["x", "--outptu", "y"]).hint(),
            Some("did you mean --output?")
        );
    }

    #[test]
    fn arguments_are_counted() {
        assert_eq!(text(&[]), "accepts 1 arg(s), received 0");
        assert_eq!(text(&["-v", "a", "b", "c"]), "accepts 1 arg(s), received 3");
        let none = flags::normalize(Command::new("list"));
        assert_eq!(
            error(&none, &["extra"]).to_string(),
            r#"unknown command "extra" for "ig image push""#
        );
        let many = flags::normalize(Command::new("export").arg(Arg::new("FILES").required(true).num_args(2..)));
        assert_eq!(
            error(&many, &["one"]).to_string(),
            "requires at least 2 arg(s), only received 1"
        );
        assert_eq!(
            error(&many, &[]).to_string(),
            "requires at least 2 arg(s), only received 0"
        );
        let two = flags::normalize(
            Command::new("tag")
                .arg(Arg::new("SRC").required(true))
                .arg(Arg::new("DST").required(true)),
        );
        assert_eq!(error(&two, &["one"]).to_string(), "accepts 2 arg(s), received 1");
    }

    #[test]
    fn required_flags_are_named() {
        let command = flags::normalize(Command::new("x").arg(Arg::new("key").long("key").required(true)));
        assert_eq!(error(&command, &[]).to_string(), r#"required flag(s) "key" not set"#);
    }

    #[test]
    fn a_terminal_sees_no_foreign_escapes() {
        let error = Error::invalid("bad name \x1b]0;x\x07").with_hint("try\ty\u{9b}");
        assert_eq!(
            message(&error, true),
            "Error: bad name \\x1b]0;x\\a\nhint: try\ty\\u009b\n"
        );
        assert_eq!(
            message(&error, false),
            "Error: bad name \x1b]0;x\x07\nhint: try\ty\u{9b}\n"
        );
    }
}
