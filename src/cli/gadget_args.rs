//! The command line of commands whose flags depend on a gadget, read in two looks.
//!
//! Which flags `ig run IMAGE …` has is known only when the image has been read, and which image that is stands among those
//! flags. So the first look ([`GadgetArgs::early`]) knows the flags that every gadget has, skips the others, and finds the
//! image; the second ([`GadgetArgs::strict`]) knows all of them and accepts nothing else.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};

use super::config::Config;
use super::{error, flags, help, params, root};
use crate::metadata::params::{Param, ParamValues};
use crate::{Error, Result};

/// The words after such a command, and everything needed to understand them.
pub(super) struct GadgetArgs {
    root: Command,
    command: Command,
    args: Vec<OsString>,
    statics: Vec<Param>,
    /// What the usage line calls the positional argument.
    subject: String,
}

/// What the first look found.
#[derive(Debug)]
pub(super) struct Early {
    /// The image, if one is named.
    pub(super) image: Option<OsString>,
    /// The values of the flags that every gadget has, by full name.
    pub(super) values: ParamValues,
    /// Whether help was asked for.
    pub(super) help: bool,
}

/// What the second look found.
#[derive(Debug)]
pub(super) enum Strict {
    /// Help was asked for.
    Help {
        /// The page.
        page: String,
        /// What `--output` says, if it is given.
        output: Option<String>,
    },
    /// The values of all flags by full name, defaults included.
    Run(ParamValues),
}

impl GadgetArgs {
    /// `args` are the words for the command of `root` that `command` describes, which has the flags `statics` with any
    /// gadget; those take their defaults from `config`. Of `command` only name, texts and the name of the argument are used.
    ///
    /// # Errors
    ///
    /// A setting that a flag does not accept.
    pub(super) fn new(
        root: Command,
        command: &Command,
        args: Vec<OsString>,
        mut statics: Vec<Param>,
        config: &Config,
    ) -> Result<Self> {
        config.apply(&mut statics)?;
        let subject = command.get_positionals().find_map(|arg| arg.get_value_names()?.first());
        Ok(Self {
            subject: subject.map_or("GADGET", |name| name.as_str()).to_owned(),
            root,
            command: flags::texts_of(command),
            args,
            statics,
        })
    }

    /// The flags that every gadget has, with the defaults that the configuration gives them.
    pub(super) fn statics(&self) -> &[Param] {
        &self.statics
    }

    /// Whether nothing but help is asked for, which needs no image and no privileges: `--help`, or no words at all.
    pub(super) fn is_only_help(&self) -> bool {
        match self.args.as_slice() {
            [] => true,
            [only] => only == "--help" || only == "-h",
            _ => false,
        }
    }

    /// The help page without the flags of any gadget.
    pub(super) fn help_page(&self) -> Result<String> {
        self.page(&self.full_command(&[])?)
    }

    /// The flags that every command has, `--auto-mount-filesystems` for one, as far as they can be known early.
    ///
    /// # Errors
    ///
    /// A known flag with a value that it does not accept.
    pub(super) fn root_matches(&self) -> Result<ArgMatches> {
        self.parse_early(&self.full_command(&[])?)
    }

    /// Finds the image among flags of which only some are known.
    ///
    /// # Errors
    ///
    /// A known flag with a value that it does not accept; an unknown flag if no image is named.
    pub(super) fn early(&self) -> Result<Early> {
        let command = self.full_command(&[])?;
        let found = flags::scan(&self.args, &command);
        let matches = self.parse_early(&command)?;
        let image = found.positionals.into_iter().next();
        if image.is_none() && !found.help {
            self.parse(&command)?;
        }
        Ok(Early {
            image,
            values: params::values(&matches, &self.statics),
            help: found.help,
        })
    }

    /// The values of the flags that every gadget has and of `params`, which are known before the other flags of the gadget are.
    ///
    /// # Errors
    ///
    /// A known flag with a value that it does not accept; params that cannot be flags.
    pub(super) fn early_values(&self, params: &[Param]) -> Result<ParamValues> {
        let command = self.full_command(params)?;
        let all: Vec<Param> = self.statics.iter().chain(params).cloned().collect();
        let words = flags::scan(&self.args, &command);
        // Help wins over what is wrong, see `strict`.
        match self.parse_early(&command) {
            Err(_) if words.help => Ok(params::values(&self.parse_early(&self.full_command(&[])?)?, &all)),
            matches => Ok(params::values(&matches?, &all)),
        }
    }

    /// The image, where the flags `more` are known besides those of every gadget.
    ///
    /// # Errors
    ///
    /// What [`strict`](Self::strict) refuses.
    pub(super) fn image(&self, more: &[Param]) -> Result<Option<OsString>> {
        let command = self.full_command(more)?;
        Ok(flags::scan(&self.args, &command).positionals.into_iter().next())
    }

    /// Reads everything, now that the params of the gadget are known. Those with a prefix of exactly `operator.oci.` are
    /// among the flags of every gadget already and are left out.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the command line, in upstream's words; a gadget whose params cannot be flags.
    pub(super) fn strict(&self, gadget: &[Param]) -> Result<Strict> {
        let gadget: Vec<Param> = gadget
            .iter()
            .filter(|param| param.prefix != "operator.oci.")
            .cloned()
            .collect();
        let command = self.full_command(&gadget)?;
        // Help wins over whatever else is wrong: it is how one finds out what is right.
        let scan = flags::scan(&self.args, &command);
        if scan.help {
            return Ok(Strict::Help {
                page: self.page(&command)?,
                output: scan.value("output").map(|mode| mode.to_string_lossy().into_owned()),
            });
        }
        let matches = self.parse(&command)?;
        let all: Vec<Param> = self.statics.iter().cloned().chain(gadget).collect();
        Ok(Strict::Run(params::values(&matches, &all)))
    }

    /// The full names of those `params` of the gadget that the command line gives a value.
    ///
    /// # Errors
    ///
    /// As [`strict`](Self::strict).
    pub(super) fn given(&self, params: &[Param]) -> Result<Vec<String>> {
        let matches = self.parse(&self.full_command(params)?)?;
        let given = params.iter().filter(|param| params::given(&matches, param).is_some());
        Ok(given.map(Param::full_name).collect())
    }

    /// The keys of `others` that stand on the command line as flags beside those of `params`.
    ///
    /// # Errors
    ///
    /// Params that cannot be flags together.
    pub(super) fn named(&self, params: &[Param], others: &[Param]) -> Result<Vec<String>> {
        let all: Vec<Param> = params.iter().chain(others).cloned().collect();
        let known = flags::scan(&self.args, &self.full_command(&all)?).known;
        let names = known.iter().filter_map(|flag| flag.to_str()?.strip_prefix("--"));
        let names: Vec<&str> = names.filter_map(|flag| flag.split('=').next()).collect();
        let named = others.iter().filter(|param| names.contains(&param.key.as_str()));
        Ok(named.map(|param| param.key.clone()).collect())
    }

    fn page(&self, command: &Command) -> Result<String> {
        Ok(help::page(&[&self.root, command]))
    }

    /// The command with the flags of every command, of every gadget, and of this one.
    fn full_command(&self, gadget: &[Param]) -> Result<Command> {
        let root_flags: Vec<Arg> = self
            .root
            .get_arguments()
            .filter(|arg| arg.is_global_set())
            .cloned()
            .collect();
        let all: Vec<Param> = self.statics.iter().chain(gadget).cloned().collect();
        let args = params::args(&all, &root_flags)?;
        let command = self.command.clone().args(root_flags).args(args);
        Ok(flags::normalize(command).arg(Arg::new(IMAGE).num_args(0..).value_name(self.subject.clone())))
    }

    fn parse_early(&self, command: &Command) -> Result<ArgMatches> {
        let mut words = vec![OsString::from(command.get_name())];
        words.extend(flags::scan(&self.args, command).known);
        command
            .clone()
            .try_get_matches_from(words)
            .map_err(|e| self.error(&e, command))
    }

    fn parse(&self, command: &Command) -> Result<ArgMatches> {
        let mut words = vec![OsString::from(command.get_name())];
        words.extend(self.args.iter().cloned());
        let matches = match command.clone().try_get_matches_from(words) {
            Ok(matches) => matches,
            Err(e) if e.kind() == ErrorKind::DisplayHelp => return self.parse_early(command),
            Err(e) => return Err(self.error(&e, command)),
        };
        let images = matches.get_many::<String>(IMAGE).map_or(0, Iterator::count);
        if images > 1 {
            return Err(Error::invalid(format!("accepts 1 arg(s), received {images}"))
                .with_hint("running several gadgets at once is not supported yet"));
        }
        Ok(matches)
    }

    fn error(&self, error: &clap::Error, command: &Command) -> Error {
        error::from_clap(
            error,
            command,
            &format!("{} {}", root::NAME, command.get_name()),
            &self.args,
        )
    }
}

/// The id of the positional argument.
const IMAGE: &str = "image";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::run_flags;
    use crate::metadata::params::TypeHint;

    fn args(line: &str) -> GadgetArgs {
        let args = line.split_whitespace().map(OsString::from).collect();
        let command = run_flags::command();
        GadgetArgs::new(root::command(), &command, args, run_flags::params(), &Config::default()).unwrap()
    }

    fn gadget() -> Vec<Param> {
        vec![
            Param::new("host")
                .prefixed("operator.LocalManager")
                .type_hint(TypeHint::Bool),
            Param::new("paths")
                .prefixed("operator.oci.ebpf")
                .type_hint(TypeHint::Bool),
            Param::new("pid")
                .prefixed("operator.oci.ebpf")
                .type_hint(TypeHint::Uint(32))
                .default_value("0"),
            Param::new("pull").prefixed("operator.oci"),
            Param::new("output")
                .prefixed("operator.cli")
                .alias('o')
                .default_value("columns"),
        ]
    }

    fn strict(line: &str) -> Result<ParamValues> {
        match args(line).strict(&gadget())? {
            Strict::Run(values) => Ok(values),
            Strict::Help { page, .. } => panic!("help: {page}"),
        }
    }

    #[test]
    fn the_first_look_finds_image_and_static_flags() {
        for line in [
            "trace_open --verify-image=false --pull never --host -o json -t 3",
            "-o json --verify-image=false --pull never --host -t 3 trace_open",
            "--host -t3 --pull=never --verify-image=FALSE trace_open -ojson",
            "--paths -t 3 --verify-image=false --pull never trace_open",
        ] {
            let early = args(line).early().unwrap();
            assert_eq!(early.image.as_deref(), Some("trace_open".as_ref()), "{line}");
            assert_eq!(early.values.get("operator.oci.pull"), Some("never"), "{line}");
            assert!(!early.values.is_true("operator.oci.verify-image"), "{line}");
            assert_eq!(early.values.get(run_flags::TIMEOUT), Some("3"), "{line}");
            assert!(!early.help);
        }
        assert!(args("trace_open --help").early().unwrap().help);
        assert_eq!(
            args("x --pull sometimes").early().unwrap_err().to_string(),
            r#"invalid argument "sometimes" for "--pull" flag: invalid value "sometimes" as "pull": valid values are: always, missing, never"#
        );
        assert_eq!(
            args("--badflag").early().unwrap_err().to_string(),
            "unknown flag: --badflag"
        );
        assert_eq!(
            args("x --timeout abc").early().unwrap_err().to_string(),
            r#"invalid argument "abc" for "-t, --timeout" flag: strconv.ParseInt: parsing "abc": invalid syntax"#
        );
    }

    #[test]
    fn the_second_look_accepts_nothing_unknown() {
        let values = strict("trace_open --host --pid 7 -o=json --pull never").unwrap();
        assert!(values.is_true("operator.LocalManager.host"));
        assert_eq!(values.get("operator.oci.ebpf.pid"), Some("7"));
        assert_eq!(values.get("operator.cli.output"), Some("json"));
        assert_eq!(values.get("operator.oci.pull"), Some("never"));
        assert_eq!(values.get("operator.oci.authfile"), Some("/var/lib/ig/config.json"));
        assert_eq!(
            strict("x --badflag").unwrap_err().to_string(),
            "unknown flag: --badflag"
        );
        let error = strict("trace_open trace_exec").unwrap_err();
        assert_eq!(error.to_string(), "accepts 1 arg(s), received 2");
        assert!(error.hint().unwrap().contains("several gadgets"));
    }

    #[test]
    fn help_names_the_flags_of_the_gadget() {
        let help = |line: &str| match args(line).strict(&gadget()).unwrap() {
            Strict::Help { page, output } => (page, output),
            Strict::Run(_) => panic!("no help"),
        };
        let (page, output) = help("trace_open --help");
        assert_eq!(output, None);
        assert_eq!(help("-o json --pid 1 trace_open --help").1.as_deref(), Some("json"));
        assert_eq!(help("trace_open -h --output=yaml").1.as_deref(), Some("yaml"));
        assert!(page.contains("--pid uint32"), "{page}");
        assert!(page.contains("ig run GADGET [flags]"), "{page}");
        assert!(args("-h").is_only_help() && args("").is_only_help() && !args("-h x").is_only_help());
        let page = args("-h").help_page().unwrap();
        assert!(page.contains("--verify-image") && !page.contains("--pid"), "{page}");
    }

    #[test]
    fn root_flags_stand_anywhere() {
        assert!(
            args("x --auto-mount-filesystems")
                .root_matches()
                .unwrap()
                .get_flag("auto-mount-filesystems")
        );
        let matches = args("-v x").root_matches().unwrap();
        assert!(!matches.get_flag("auto-mount-filesystems"));
        assert!(matches.get_flag("verbose"));
    }
}
