//! `ig` itself: which commands there are, the flags they share, and the way from a command line to one of them.

use std::ffi::{OsStr, OsString};
use std::io::Write;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};

use super::config::Config;
use super::error::{self, Failure};
use super::gadget_args::GadgetArgs;
use super::stdout::stdout;
use super::{
    completion, config, doctor, flags, gadget, help, image, list_containers, logging, replay, run, run_flags, schema,
    top, version,
};
use crate::metadata::params::Param;
use crate::metadata::params::typed::go_quote;
use crate::{Error, Result};

/// What we are called in help pages and messages.
pub(super) const NAME: &str = "ig";

/// The flag that names the configuration file.
pub(super) const CONFIG: &str = "config";

/// The commands. Adding one is a line here.
const COMMANDS: &[Entry] = &[
    Entry::new(completion::command, completion::run).with_usage(),
    Entry::new(config::command, config::run).with_usage(),
    Entry::new(gadget::command, gadget::run),
    Entry::new(image::command, image::run),
    Entry::new(list_containers::command, list_containers::run),
    Entry::gadget(doctor::command, doctor::run, run_flags::params),
    Entry::gadget(replay::command, replay::run, run_flags::replay_params),
    Entry::gadget(run_flags::command, run::run, run_flags::params),
    Entry::gadget(schema::command, schema::run, run_flags::params),
    Entry::gadget(top::command, top::run, top::params),
    Entry::new(version::command, version::run).with_usage(),
];

/// A command: its description, what it does, and how it fails.
struct Entry {
    command: fn() -> Command,
    run: Run,
    /// Whether the usage page follows the error when the command line is wrong.
    usage_on_error: bool,
}

enum Run {
    /// All flags are known in advance.
    Parsed(fn(&ArgMatches) -> Result<()>),
    /// Some flags come from the gadget that the command line names; the others are these.
    Gadget(fn(&GadgetArgs) -> Result<()>, fn() -> Vec<Param>),
}

impl Entry {
    const fn new(command: fn() -> Command, run: fn(&ArgMatches) -> Result<()>) -> Self {
        Self {
            command,
            run: Run::Parsed(run),
            usage_on_error: false,
        }
    }

    /// A command that [`GadgetArgs`] reads; its `command()` need not describe any flags.
    const fn gadget(command: fn() -> Command, run: fn(&GadgetArgs) -> Result<()>, params: fn() -> Vec<Param>) -> Self {
        Self {
            command,
            run: Run::Gadget(run, params),
            usage_on_error: false,
        }
    }

    const fn with_usage(self) -> Self {
        Self {
            usage_on_error: true,
            ..self
        }
    }
}

/// The description of the whole command line.
pub(super) fn command() -> Command {
    let commands = COMMANDS.iter().map(|entry| (entry.command)());
    flags::normalize(
        Command::new(NAME)
            .about("Build, run and share eBPF gadgets")
            .args(persistent_flags())
            .subcommands(commands)
            .subcommand(help_command()),
    )
}

/// The flags that every command has.
pub(super) fn persistent_flags() -> [Arg; 5] {
    let inside_container = std::env::var_os("HOST_ROOT").is_some_and(|root| !root.is_empty() && root != "/");
    [
        flags::text(
            "config",
            "",
            "Read this configuration file instead of ~/.ig/config.yaml",
        ),
        flags::switch("verbose", "Print debug messages").short('v'),
        flags::switch(
            "auto-mount-filesystems",
            "Mount bpffs, debugfs and tracefs on the host where they are missing",
        )
        .default_value(if inside_container { "true" } else { "false" }),
        flags::switch("auto-wsl-workaround", "Look for the host's procfs when running in WSL2"),
        flags::text("pprof-addr", "", "Serve profiles at this address"),
    ]
    .map(|arg| arg.global(true))
}

/// The configuration file that the command line names.
pub(super) fn config_path(matches: &ArgMatches) -> Option<&OsStr> {
    let path = matches.get_one::<String>(CONFIG)?;
    (!path.is_empty()).then(|| path.as_ref())
}

fn help_command() -> Command {
    Command::new("help")
        .about("Show help for a command")
        .arg(Arg::new("command").num_args(0..))
}

/// The command that a command line names.
struct Located<'a> {
    /// From the root to that command.
    path: Vec<&'a Command>,
    /// All words except those names.
    args: Vec<OsString>,
    /// The word after a group of commands that names none of them.
    unknown: Option<&'a OsStr>,
}

impl<'a> Located<'a> {
    fn command(&self) -> &'a Command {
        self.path[self.path.len() - 1]
    }

    fn name(&self) -> String {
        help::full_name(&self.path)
    }
}

fn locate<'a>(root: &'a Command, args: &'a [OsString]) -> Located<'a> {
    let mut path = vec![root];
    let mut rest = Vec::new();
    let mut unknown = None;
    let mut words = args.iter();
    let mut command = root;
    while command.has_subcommands() {
        let Some(word) = words.next() else { break };
        if word == "--" {
            rest.push(word.clone());
            break;
        }
        let text = word.to_string_lossy();
        if text.len() > 1 && text.starts_with('-') {
            rest.push(word.clone());
            if takes_next_word(&path, &text)
                && let Some(value) = words.next()
            {
                rest.push(value.clone());
            }
            continue;
        }
        match command.find_subcommand(word) {
            Some(sub) => {
                command = sub;
                path.push(sub);
            }
            None => {
                unknown = Some(word.as_os_str());
                break;
            }
        }
    }
    rest.extend(words.cloned());
    Located {
        path,
        args: rest,
        unknown,
    }
}

fn takes_next_word(path: &[&Command], word: &str) -> bool {
    path.iter().flat_map(|command| command.get_arguments()).any(|arg| {
        let is_it = match word.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            None => arg.get_short().is_some_and(|short| word.ends_with(short)),
        };
        is_it && !flags::is_bool(arg)
    })
}

/// Does what `args`, the program's name included, ask for.
pub(super) fn run(args: &[OsString]) -> Result<(), Failure> {
    let root = command();
    let args = args.get(1..).unwrap_or_default();
    let located = locate(&root, args);
    let entry = located.path.get(1).and_then(|named| entry(named.get_name()));
    let usage_error = |error: Error| {
        let page = entry
            .is_none_or(|entry| entry.usage_on_error)
            .then(|| help::usage(&located.path));
        Failure::Usage { error, page }
    };

    // Logging and configuration depend on flags that stand among others which only the command can judge.
    let known = with_root_flags(located.command());
    let early = flags::scan(&located.args, &known);
    let path = early.value(CONFIG).filter(|path| !path.is_empty());
    let config = Config::load(path);
    let setting = |name: &str| match (early.value(name), &config) {
        (Some(value), _) => value.to_string_lossy().into_owned(),
        (None, Ok(config)) => config.get(name).unwrap_or_default(),
        (None, Err(_)) => String::new(),
    };
    let (verbose, pprof_addr) = (setting("verbose"), setting("pprof-addr"));
    logging::init(flags::parse_plain_bool(&verbose).unwrap_or(false));

    if located.path.len() == 1
        && let Some(unknown) = located.unknown
    {
        let unknown = go_quote(&unknown.to_string_lossy());
        return Err(Failure::Usage {
            error: Error::invalid(format!("unknown command {unknown} for {}", go_quote(NAME))),
            page: Some(format!("Run '{NAME} --help' for usage.")),
        });
    }
    if located.command().has_subcommands() {
        if let Some(error) = wrong_flag(&located, &known) {
            return Err(usage_error(error));
        }
        if let Some(unknown) = located.unknown {
            let unknown = go_quote(&unknown.to_string_lossy());
            tracing::warn!("unknown command {unknown} for {}", go_quote(&located.name()));
        }
        return Ok(print(&help::page(&located.path))?);
    }
    if located.name() == format!("{NAME} help") {
        return help(&root, &early.positionals);
    }
    let is_gadget = matches!(
        entry,
        Some(Entry {
            run: Run::Gadget(..),
            ..
        })
    );
    if early.help && !is_gadget {
        return Ok(print(&help::page(&located.path))?);
    }
    let config = config?;
    if let Some(trouble) = &config.trouble {
        tracing::warn!("{trouble}");
    }
    let configured = config.apply_to_root(root.clone())?;
    let refuse_profiling = || match pprof_addr.as_str() {
        "" => Ok(()),
        _ => Err(Error::unsupported(
            "flag --pprof-addr: profiles are not supported in this build",
        )),
    };

    if let Some(Entry {
        run: Run::Gadget(run, params),
        ..
    }) = entry
    {
        refuse_profiling()?;
        let args = GadgetArgs::new(configured, located.command(), located.args.clone(), params(), &config)?;
        return Ok(run(&args)?);
    }
    let mut line = vec![OsString::from(NAME)];
    line.extend(args.iter().cloned());
    let matches = match configured.try_get_matches_from(line) {
        Ok(matches) => matches,
        Err(e) if e.kind() == ErrorKind::DisplayHelp => return Ok(print(&help::page(&located.path))?),
        Err(e) => {
            return Err(usage_error(error::from_clap(
                &e,
                &known,
                &located.name(),
                &located.args,
            )));
        }
    };
    refuse_profiling()?;
    match (entry, matches.subcommand()) {
        (
            Some(Entry {
                run: Run::Parsed(run), ..
            }),
            Some((_, matches)),
        ) => Ok(run(matches)?),
        _ => Ok(print(&help::page(&located.path))?),
    }
}

/// `command` with the flags of every command, as far as it has none of the same name itself.
fn with_root_flags(command: &Command) -> Command {
    let missing: Vec<Arg> = persistent_flags()
        .into_iter()
        .filter(|arg| !command.get_arguments().any(|own| own.get_id() == arg.get_id()))
        .collect();
    flags::normalize(command.clone().args(missing))
}

fn entry(name: &str) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| (entry.command)().get_name() == name)
}

/// What is wrong with the flags after a group of commands, which for the rest shows its help whatever follows.
fn wrong_flag(located: &Located<'_>, known: &Command) -> Option<Error> {
    let group = flags::without_subcommands(known).arg(Arg::new("words").num_args(0..));
    let words = std::iter::once(OsString::from(NAME)).chain(located.args.iter().cloned());
    let error = group.try_get_matches_from(words).err()?;
    (error.kind() != ErrorKind::DisplayHelp).then(|| error::from_clap(&error, known, &located.name(), &located.args))
}

fn help(root: &Command, topics: &[OsString]) -> Result<(), Failure> {
    let located = locate(root, topics);
    if located.unknown.is_some() || !located.args.is_empty() {
        let topic: Vec<_> = topics.iter().map(|word| word.to_string_lossy()).collect();
        let error = Error::invalid(format!("unknown help topic {}", go_quote(&topic.join(" "))))
            .with_hint(format!("see `{NAME} --help` for the commands there are"));
        return Err(error.into());
    }
    Ok(print(&help::page(&located.path))?)
}

fn print(text: &str) -> Result<()> {
    stdout().write_all(text.as_bytes())?;
    Ok(())
}
