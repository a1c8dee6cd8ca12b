//! Flags made of described parameters ([`Param`]), and the values that a command line gives them.
//!
//! The flag is `--key`, the value travels under the full name. `@path` as value means the content of that file. Nothing
//! here knows any gadget: the params come from the image and the operators.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use super::flags;
use crate::metadata::params::typed::{go_quote, is_true, parse_int};
use crate::metadata::params::{Param, ParamValues, TypeHint};
use crate::{Error, Result, ResultExt};

/// No parameter's file needs more, and `@/dev/zero` must end.
const MAX_FILE: u64 = 64 << 20;

/// Who owns the flags that are no params, in messages.
const BUILT_IN: &str = "every command";
/// Who owns the flags of the command itself, in messages.
const COMMAND: &str = "the command itself";

/// The flags for `params`. A param that is listed twice (same full name) makes one flag.
///
/// # Errors
///
/// A key that cannot be a flag, or that another of the params or one of the flags in `taken` has too.
pub(super) fn args(params: &[Param], taken: &[Arg]) -> Result<Vec<Arg>> {
    let mut owners: HashMap<String, String> = HashMap::from([("help".to_owned(), BUILT_IN.to_owned())]);
    let mut shorts = vec!['h'];
    for arg in taken {
        if let Some(long) = arg.get_long() {
            owners.insert(long.to_owned(), BUILT_IN.to_owned());
        }
        shorts.extend(arg.get_short());
    }
    let mut args = Vec::with_capacity(params.len());
    for param in params {
        let name = param.full_name();
        if owners.get(&param.key) == Some(&name) {
            continue;
        }
        for key in [&param.key, &param.alternative_key] {
            if key.is_empty() && std::ptr::eq(key, &param.alternative_key) {
                continue;
            }
            if !is_flag_name(key) {
                return Err(Error::invalid(format!(
                    "parameter {}: cannot be used as a flag",
                    go_quote(&name)
                )));
            }
            if let Some(other) = owners.insert(key.clone(), name.clone()) {
                let of_command = params.iter().any(|param| is_plain(param) && param.key == other);
                let error = if of_command {
                    Error::invalid(format!("flag --{key} belongs to both {COMMAND} and {name}"))
                        .with_hint("give the gadget's parameter another key in its gadget.yaml")
                } else {
                    Error::invalid(format!("flag --{key} belongs to both {other} and {name}"))
                };
                return Err(error);
            }
        }
        let mut arg = arg(param);
        match param.alias {
            Some(alias) if shorts.contains(&alias) => {
                tracing::warn!("short flag -{alias} of {name} is taken; use --{}", param.key);
            }
            Some(alias) if alias.is_ascii_alphanumeric() => {
                shorts.push(alias);
                arg = arg.short(alias);
            }
            _ => {}
        }
        args.push(arg);
    }
    Ok(args)
}

fn is_flag_name(key: &str) -> bool {
    !key.is_empty() && !key.starts_with('-') && !key.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control())
}

fn arg(param: &Param) -> Arg {
    let (word, text) = help(param);
    let mut arg = Arg::new(param.full_name())
        .long(param.key.clone())
        .help(text)
        .value_name(word)
        .action(match param.type_hint {
            TypeHint::StringSlice => ArgAction::Append,
            _ => ArgAction::Set,
        })
        .required(param.mandatory && param.default.is_empty());
    if !param.alternative_key.is_empty() {
        arg = arg.alias(param.alternative_key.clone());
    }
    if param.type_hint == TypeHint::Bool && param.possible_values.is_empty() {
        arg = flags::bool_arg(arg);
    }
    let param = Arc::new(param.clone());
    arg.value_parser(ValueParser::new(move |text: &str| value(&param, text)))
}

/// The value that the text of a flag, or of a configuration entry, means for `param`.
///
/// # Errors
///
/// A file that cannot be read, or a value that [`Param::validate`] refuses.
pub(super) fn value(param: &Param, text: &str) -> Result<String> {
    if is_plain(param) {
        return plain_value(param, text);
    }
    let value = match text.strip_prefix('@') {
        Some(path) => read_file(path)
            .with_context(|| format!("reading file {} for parameter {}", go_quote(path), go_quote(&param.key)))?,
        None => text.to_owned(),
    };
    param.validate(&value)?;
    Ok(value)
}

/// A flag of the command itself, `--timeout` for one, as opposed to a parameter: it has no prefix, and follows the rules of
/// plain flags.
fn is_plain(param: &Param) -> bool {
    param.prefix.is_empty()
}

fn plain_value(param: &Param, text: &str) -> Result<String> {
    match param.type_hint {
        TypeHint::Bool => Ok(flags::parse_plain_bool(text)?.to_string()),
        TypeHint::PlainInt => Ok(parse_int(text, 64)?.to_string()),
        _ => {
            param.validate(text)?;
            Ok(text.to_owned())
        }
    }
}

/// Reads a small text file; the errors read like `open x: no such file or directory`.
pub(super) fn read_file(path: &str) -> Result<String> {
    let file = File::open(path).map_err(|e| file_error(e, "open", path))?;
    let mut text = String::new();
    let length = file
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|e| file_error(e, "read", path))?;
    if length as u64 > MAX_FILE {
        return Err(Error::invalid(format!(
            "read {path}: larger than {} MiB",
            MAX_FILE >> 20
        )));
    }
    Ok(text)
}

fn file_error(error: io::Error, operation: &str, path: &str) -> Error {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    let text: String = letters
        .next()
        .iter()
        .flat_map(|c| c.to_lowercase())
        .chain(letters)
        .collect();
    let kind = Error::from(error).kind();
    Error::new(kind, format!("{operation} {path}: {text}"))
}

/// The type word and the text for the help page.
fn help(param: &Param) -> (String, String) {
    let mut text = param.description.clone();
    let mut word = match &param.type_hint {
        TypeHint::None => "string".to_owned(),
        hint => hint.to_string(),
    };
    let mut quotes = matches!(
        param.type_hint,
        TypeHint::None | TypeHint::String | TypeHint::Bytes | TypeHint::StringSlice
    );
    if let Some((before, rest)) = text.split_once('`')
        && let Some((name, after)) = rest.split_once('`')
    {
        word = name.to_owned();
        quotes = false;
        text = format!("{before}{name}{after}");
    }
    if !param.possible_values.is_empty() {
        text.push_str(&format!(" [{}]", param.possible_values.join(", ")));
    }
    if !param.alternative_key.is_empty() {
        text.push_str(&format!(" (alias: {})", param.alternative_key));
    }
    let is_off = param.type_hint == TypeHint::Bool && !is_true(&param.default);
    let is_zero = is_plain(param) && param.default == "0";
    if !param.default.is_empty() && !is_off && !is_zero {
        let default = match param.default.split_once('\n') {
            // A key or a certificate; its first line says which kind of thing it is.
            Some((first, _)) => format!("{first}…"),
            None => param.default.clone(),
        };
        let default = if quotes { go_quote(&default) } else { default };
        text.push_str(&format!(" (default {default})"));
    }
    (word, text.trim_start().to_owned())
}

/// The values of `params`: those given, and the defaults of the others.
pub(super) fn values(matches: &ArgMatches, params: &[Param]) -> ParamValues {
    let mut values = ParamValues::new();
    for param in params {
        let name = param.full_name();
        let value = given(matches, param).unwrap_or_else(|| param.default.clone());
        values.set(name, value);
    }
    values
}

/// The value that the command line gives `param`, if it does. Of a flag that is repeated the last one counts, and of a list all.
pub(super) fn given(matches: &ArgMatches, param: &Param) -> Option<String> {
    let name = param.full_name();
    // A flag that was left out of this parse counts as not given.
    let given: Vec<&str> = matches
        .try_get_many::<String>(&name)
        .ok()
        .flatten()?
        .map(String::as_str)
        .collect();
    (matches.value_source(&name) == Some(ValueSource::CommandLine)).then(|| given.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{error, help};
    use clap::Command;
    use std::ffi::OsString;
    use std::io::Write;

    fn params() -> Vec<Param> {
        vec![
            Param::new("pid")
                .prefixed("ebpf")
                .prefixed("oci")
                .prefixed("operator")
                .type_hint(TypeHint::Uint(32))
                .default_value("0"),
            Param::new("host")
                .prefixed("operator.LocalManager")
                .type_hint(TypeHint::Bool)
                .description("Show host events"),
            Param::new("containername")
                .prefixed("operator.LocalManager")
                .alias('c')
                .alternative_key("runtime-containername")
                .description("Show only this container"),
            Param::new("pull")
                .prefixed("operator.oci")
                .default_value("missing")
                .possible_values(["always", "missing", "never"])
                .description("When to pull"),
            Param::new("annotate")
                .prefixed("operator.oci")
                .type_hint(TypeHint::StringSlice),
            Param::new("sizes")
                .prefixed("x")
                .type_hint(TypeHint::StringSlice)
                .default_value("cwd=1")
                .description("Pairs `field=size`"),
        ]
    }

    fn command(params: &[Param]) -> Command {
        flags::normalize(Command::new("run").args(args(params, &[]).unwrap()))
    }

    fn parse(line: &[&str]) -> std::result::Result<ParamValues, String> {
        let params = params();
        let command = command(&params);
        let words = std::iter::once(&"run").chain(line);
        match command.clone().try_get_matches_from(words) {
            Ok(matches) => Ok(values(&matches, &params)),
            Err(e) => {
                let args: Vec<OsString> = line.iter().map(OsString::from).collect();
                Err(error::from_clap(&e, &command, "ig run", &args).to_string())
            }
        }
    }

    #[test]
    fn values_travel_under_full_names() {
        let values = parse(&[
            "--pid=7",
            "--host",
            "-c",
            "a",
            "--runtime-containername",
            "-b",
            "--annotate=a:b=c",
            "--annotate=d:e=f",
        ])
        .unwrap();
        assert_eq!(values.get("operator.oci.ebpf.pid"), Some("7"));
        assert!(values.is_true("operator.LocalManager.host"));
        assert_eq!(values.get("operator.LocalManager.containername"), Some("-b"));
        assert_eq!(values.get("operator.oci.annotate"), Some("a:b=c,d:e=f"));
        assert_eq!(values.get("operator.oci.pull"), Some("missing"));
        assert!(!parse(&["--host=FALSE"]).unwrap().is_true("operator.LocalManager.host"));
    }

    #[test]
    fn errors_read_like_upstream() {
        assert_eq!(
            parse(&["--pid", "abc"]).unwrap_err(),
            r#"invalid argument "abc" for "--pid" flag: invalid value "abc" as "pid": expected numeric value: strconv.ParseUint: parsing "abc": invalid syntax"#
        );
        assert_eq!(
            parse(&["--host=maybe"]).unwrap_err(),
            r#"invalid argument "maybe" for "--host" flag: invalid value "maybe" as "host": expected 'true' or 'false', got: "maybe""#
        );
        assert_eq!(
            parse(&["--pull", "sometimes"]).unwrap_err(),
            r#"invalid argument "sometimes" for "--pull" flag: invalid value "sometimes" as "pull": valid values are: always, missing, never"#
        );
        assert_eq!(
            parse(&["--annotate", "@/nonexistent"]).unwrap_err(),
            r#"invalid argument "@/nonexistent" for "--annotate" flag: reading file "/nonexistent" for parameter "annotate": open /nonexistent: no such file or directory"#
        );
        assert!(
            parse(&["--annotate", "@/dev/zero"])
                .unwrap_err()
                .contains("larger than")
        );
    }

    #[test]
    fn a_file_is_taken_verbatim() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"This is a magic String. 123$$##@!\n").unwrap();
        let flag = format!("@{}", file.path().display());
        let values = parse(&["--annotate", &flag]).unwrap();
        assert_eq!(
            values.get("operator.oci.annotate"),
            Some("This is a magic String. 123$$##@!\n")
        );
    }

    #[test]
    fn help_shows_type_values_alias_and_default() {
        let page = help::usage(&[&command(&params())]);
        for line in [
            "      --annotate []string",
            "  -c, --containername string   Show only this container (alias: runtime-containername)",
            "      --host                   Show host events\n",
            "      --pid uint32             (default 0)",
            "      --pull string            When to pull [always, missing, never] (default \"missing\")",
            "      --sizes field=size       Pairs field=size (default cwd=1)",
        ] {
            assert!(page.contains(line), "{line:?} in\n{page}");
        }
        assert!(!page.contains("--runtime-containername"));
    }

    #[test]
    fn clashes_are_errors_not_panics() {
        let twice = [Param::new("a").prefixed("x"), Param::new("a").prefixed("x")];
        assert_eq!(args(&twice, &[]).unwrap().len(), 1);
        let clash = [Param::new("a").prefixed("x"), Param::new("a").prefixed("y")];
        assert_eq!(
            args(&clash, &[]).unwrap_err().to_string(),
            "flag --a belongs to both x.a and y.a"
        );
        let static_flag = [flags::switch("verbose", "").short('v')];
        assert!(args(&[Param::new("verbose")], &static_flag).is_err());
        assert!(args(&[Param::new("help")], &[]).is_err());
        for ours in ["explain", "fail-on-loss"] {
            let statics = crate::cli::run_flags::params();
            let gadget = Param::new(ours).prefixed("operator.oci.ebpf");
            let both: Vec<Param> = statics.into_iter().chain([gadget]).collect();
            let error = args(&both, &[]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("flag --{ours} belongs to both the command itself and operator.oci.ebpf.{ours}")
            );
            assert!(error.hint().unwrap().contains("gadget.yaml"));
        }
        for bad in ["", "-x", "a=b", "a b", "a\x1b"] {
            assert!(args(&[Param::new(bad)], &[]).is_err(), "{bad:?}");
        }
        let short = args(&[Param::new("vast").alias('v')], &static_flag).unwrap();
        assert_eq!(short[0].get_short(), None);
    }

    #[test]
    fn mandatory_params_are_asked_for() {
        let params = [Param::new("key").prefixed("custom").mandatory()];
        let command = command(&params);
        let error = command.clone().try_get_matches_from(["run"]).unwrap_err();
        assert_eq!(
            error::from_clap(&error, &command, "ig run", &[]).to_string(),
            r#"required flag(s) "key" not set"#
        );
    }
}
