//! Settings that outlive one command line: the configuration file and the environment; `ig config default|view`.
//!
//! A flag wins over the environment, that over the file, that over the default. The keys are `verbose` and its like for the
//! flags of every command, and `operator.<name>.<param>` for the operators' global params; the case of letters does not
//! matter. In the environment, the key `operator.oci.verify-image` is `INSPEKTOR_GADGET_OPERATOR_OCI_VERIFY_IMAGE`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::stdout::stdout;
use super::{flags, params, root, run_flags};
use crate::metadata::params::Param;
use crate::metadata::params::typed::{go_quote, is_printable, split_list};
use crate::metadata::yaml::{self, ScalarKind};
use crate::{Error, ErrorKind, Result, ResultExt};

const ENV_PREFIX: &str = "INSPEKTOR_GADGET_";

/// What file and environment say.
#[derive(Debug, Default)]
pub(super) struct Config {
    file: BTreeMap<String, Value>,
    env: BTreeMap<String, String>,
    /// Why the default file was left out, if it was there. Not an error: it must not stop commands that never asked for it.
    pub(super) trouble: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    /// A boolean or number, which YAML shows without quotes.
    Plain(String),
    List(Vec<String>),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Text(text) | Self::Plain(text) => text.clone(),
            Self::List(items) => items.join(","),
        }
    }
}

impl Config {
    /// Reads the file at `path`, or `~/.ig/config.yaml` if there is one, and the environment.
    ///
    /// # Errors
    ///
    /// When a `path` that was named cannot be read. Trouble with the default file is only [noted](Self::trouble).
    pub(super) fn load(path: Option<&OsStr>) -> Result<Self> {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, value)| name.starts_with(ENV_PREFIX) && !value.is_empty())
            .collect();
        let mut trouble = None;
        let file = match path {
            Some(path) => read(&path.to_string_lossy())
                .context("reading config")
                .context("initializing config")?,
            None => match default_path().map(|path| read(&path.to_string_lossy())) {
                Some(Ok(file)) => file,
                Some(Err(e)) if e.kind() == ErrorKind::NotFound => BTreeMap::new(),
                Some(Err(e)) => {
                    trouble = Some(format!("reading config: {e}"));
                    BTreeMap::new()
                }
                None => BTreeMap::new(),
            },
        };
        Ok(Self { file, env, trouble })
    }

    /// The setting for `key`, lists joined by commas.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        let key = key.to_lowercase();
        self.env
            .get(&env_name(&key))
            .cloned()
            .or_else(|| self.file.get(&key).map(Value::text))
    }

    /// Makes the settings for the flags of every command the defaults of those flags.
    ///
    /// # Errors
    ///
    /// A value that the flag would not accept.
    pub(super) fn apply_to_root(&self, mut command: Command) -> Result<Command> {
        for arg in root::persistent_flags() {
            let name = arg.get_id().to_string();
            let Some(value) = self.get(&name).filter(|_| name != root::CONFIG) else {
                continue;
            };
            if flags::is_bool(&arg) {
                flags::parse_plain_bool(&value)
                    .with_context(|| format!("setting flag {}", go_quote(&name)))
                    .context("initializing config")?;
            }
            command = command.mut_arg(name, |arg| arg.default_value(value));
        }
        Ok(command)
    }

    /// Makes the settings for operators' global params the defaults of those among `params`.
    ///
    /// # Errors
    ///
    /// A value that the param refuses: `setting oci flags: setting flag pull: invalid value …`.
    pub(super) fn apply(&self, params: &mut [Param]) -> Result<()> {
        for param in params {
            let Some((operator, key)) = setting_key(param) else {
                continue;
            };
            let Some(text) = self.get(&key) else { continue };
            let value = params::value(param, &text).with_context(|| format!("setting flag {}", param.key));
            param.default = value.with_context(|| match operator.as_str() {
                "oci" => "setting oci flags".to_owned(),
                _ => format!("setting operator {operator} flags"),
            })?;
        }
        Ok(())
    }
}

/// The operator of `param` and its key in the configuration, if it can be set there.
fn setting_key(param: &Param) -> Option<(String, String)> {
    let operator = param.prefix.strip_prefix("operator.")?.strip_suffix('.')?;
    if operator.contains('.') {
        return None;
    }
    let operator = operator.to_lowercase();
    let key = format!("operator.{operator}.{}", param.key.to_lowercase());
    Some((operator, key))
}

fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.to_uppercase().replace(['.', '-'], "_"))
}

fn default_path() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
    Some(PathBuf::from(home).join(".ig/config.yaml"))
}

fn read(path: &str) -> Result<BTreeMap<String, Value>> {
    parse(&params::read_file(path)?).with_context(|| path.to_owned())
}

fn parse(text: &str) -> Result<BTreeMap<String, Value>> {
    let mut settings = BTreeMap::new();
    match yaml::parse(text.as_bytes())? {
        None => {}
        Some(root) if root.is_null() => {}
        Some(root) if root.as_map().is_some() => flatten("", &root, &mut settings),
        Some(_) => return Err(Error::invalid("expected keys and values")),
    }
    Ok(settings)
}

fn flatten(key: &str, node: &yaml::Node, settings: &mut BTreeMap<String, Value>) {
    match &node.value {
        yaml::Value::Map(entries) => {
            for (name, node) in entries {
                let name = name.to_lowercase();
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                flatten(&key, node, settings);
            }
        }
        yaml::Value::List(items) => {
            let items = items.iter().filter_map(|item| Some(scalar(item)?.text())).collect();
            settings.insert(key.to_owned(), Value::List(items));
        }
        yaml::Value::Scalar(_) => {
            if let Some(value) = scalar(node) {
                settings.insert(key.to_owned(), value);
            }
        }
    }
}

fn scalar(node: &yaml::Node) -> Option<Value> {
    let yaml::Value::Scalar(scalar) = &node.value else {
        return None;
    };
    match scalar.kind {
        ScalarKind::Null => None,
        ScalarKind::Bool(value) => Some(Value::Plain(value.to_string())),
        ScalarKind::Int(value) => Some(Value::Plain(value.to_string())),
        ScalarKind::Float(value) => Some(Value::Plain(value.to_string())),
        ScalarKind::String => Some(Value::Text(scalar.text.clone())),
    }
}

pub(super) fn command() -> Command {
    Command::new("config").about("Show the configuration").subcommands([
        Command::new("default").about("Print a configuration file with every setting at its default"),
        Command::new("view").about("Print the settings of the configuration file and the environment"),
    ])
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let text = match matches.subcommand() {
        Some(("default", _)) => default_settings(),
        Some(("view", matches)) => view(&Config::load(root::config_path(matches))?),
        _ => return Err(Error::invalid("expected `default` or `view`")),
    };
    stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn default_settings() -> String {
    let mut settings = BTreeMap::new();
    for arg in root::persistent_flags() {
        let name = arg.get_id().to_string();
        if name != root::CONFIG {
            let default = arg
                .get_default_values()
                .first()
                .map(|v| v.to_string_lossy().into_owned());
            settings.insert(name, Value::Text(default.unwrap_or_default()));
        }
    }
    for param in run_flags::params() {
        let Some((_, key)) = setting_key(&param) else { continue };
        let value = match param.type_hint.to_string().as_str() {
            "[]string" => Value::List(split_list(&param.default)),
            _ => Value::Text(param.default),
        };
        settings.insert(key, value);
    }
    emit(&settings)
}

fn view(config: &Config) -> String {
    let mut settings = config.file.clone();
    let root_keys = root::persistent_flags().map(|arg| arg.get_id().to_string());
    let operator_keys = run_flags::params()
        .iter()
        .filter_map(setting_key)
        .map(|(_, key)| key)
        .collect::<Vec<_>>();
    for key in root_keys.into_iter().chain(operator_keys) {
        if let Some(value) = config.env.get(&env_name(&key)) {
            settings.insert(key, Value::Text(value.clone()));
        }
    }
    emit(&settings)
}

/// Dotted keys and their values as nested YAML, four spaces a level.
fn emit(settings: &BTreeMap<String, Value>) -> String {
    if settings.is_empty() {
        return "{}\n".to_owned();
    }
    let mut tree = Node::default();
    for (key, value) in settings {
        let mut node = &mut tree;
        for part in key.split('.') {
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.value = Some(value.clone());
    }
    let mut text = String::new();
    tree.emit(0, &mut text);
    text
}

#[derive(Default)]
struct Node {
    value: Option<Value>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn emit(&self, depth: usize, text: &mut String) {
        let indent = "    ".repeat(depth);
        for (key, node) in &self.children {
            text.push_str(&format!("{indent}{}:", yaml_text(key, depth)));
            match &node.value {
                _ if !node.children.is_empty() => {
                    text.push('\n');
                    node.emit(depth + 1, text);
                    continue;
                }
                Some(Value::List(items)) if items.is_empty() => text.push_str(" []"),
                Some(Value::List(items)) => {
                    for item in items {
                        text.push_str(&format!("\n{indent}    - {}", yaml_text(item, depth + 1)));
                    }
                }
                Some(Value::Plain(plain)) => text.push_str(&format!(" {plain}")),
                Some(Value::Text(value)) => text.push_str(&format!(" {}", yaml_text(value, depth))),
                None => {}
            }
            text.push('\n');
        }
    }
}

/// `text` as a YAML string for a value that stands `depth` levels deep: bare if that cannot be misread, as a block if it
/// has several lines, else in quotes.
fn yaml_text(text: &str, depth: usize) -> String {
    let is_block = text.ends_with('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with("\n\n")
        && text.chars().all(|c| c == '\n' || (' '..='~').contains(&c));
    if is_block {
        let indent = "    ".repeat(depth) + "  ";
        let lines: String = text.lines().map(|line| format!("\n{indent}{line}")).collect();
        return format!("|{lines}");
    }
    let reads_back = matches!(
        yaml::parse(text.as_bytes()),
        Ok(Some(node)) if scalar(&node) == Some(Value::Text(text.to_owned()))
    );
    // Old YAML readers take more words for booleans than new ones do.
    let old_boolean = matches!(text.to_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off");
    if reads_back && text.chars().all(is_printable) && !old_boolean && !text.contains(": ") && !text.contains(" #") {
        text.to_owned()
    } else {
        go_quote(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(file: &str, env: &[(&str, &str)]) -> Config {
        Config {
            file: parse(file).unwrap(),
            env: env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            trouble: None,
        }
    }

    fn default_of(params: &[Param], name: &str) -> String {
        params
            .iter()
            .find(|param| param.full_name() == name)
            .unwrap()
            .default
            .clone()
    }

    #[test]
    fn environment_wins_over_file_wins_over_default() {
        let file = "
Operator:
    OCI:
        verify-image: false
        insecure-registries: [a:5000, b:5000]
    LocalManager:
        docker-socketpath: /tmp/docker.sock
operator.oci.pull: never
";
        let mut params = run_flags::params();
        config(file, &[("INSPEKTOR_GADGET_OPERATOR_OCI_PULL", "always")])
            .apply(&mut params)
            .unwrap();
        assert_eq!(default_of(&params, "operator.oci.verify-image"), "false");
        assert_eq!(default_of(&params, "operator.oci.insecure-registries"), "a:5000,b:5000");
        assert_eq!(
            default_of(&params, "operator.localmanager.docker-socketpath"),
            "/tmp/docker.sock"
        );
        assert_eq!(default_of(&params, "operator.oci.pull"), "always");
        assert_eq!(
            default_of(&params, "operator.localmanager.runtimes"),
            "docker,containerd,cri-o,podman"
        );
    }

    #[test]
    fn wrong_settings_are_errors() {
        let mut params = run_flags::params();
        let error = config("operator: {oci: {pull: sometimes}}", &[])
            .apply(&mut params)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"setting oci flags: setting flag pull: invalid value "sometimes" as "pull": valid values are: always, missing, never"#
        );
        let error = config("operator: {otel-metrics: {otel-metrics-listen: maybe}}", &[])
            .apply(&mut params)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("setting operator otel-metrics flags: setting flag otel-metrics-listen: ")
        );
        let error = config("verbose: maybe", &[])
            .apply_to_root(root::command())
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("initializing config: setting flag \"verbose\": "),
            "{error}"
        );
        assert!(parse("a: [").is_err());
        assert!(parse("just text").is_err());
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn root_flags_take_their_defaults_from_here() {
        let command = config("verbose: true", &[]).apply_to_root(root::command()).unwrap();
        let matches = command.clone().try_get_matches_from(["ig", "version"]).unwrap();
        assert!(matches.get_flag("verbose"));
        let matches = command.try_get_matches_from(["ig", "version", "-v=false"]).unwrap();
        assert!(!matches.get_flag("verbose"));
    }

    #[test]
    fn a_view_shows_what_was_set() {
        assert_eq!(view(&config("", &[])), "{}\n");
        let config = config(
            "operator: {oci: {verify-image: false, pull: never, annotate: [a, 'b: c']}}",
            &[
                ("INSPEKTOR_GADGET_VERBOSE", "true"),
                ("INSPEKTOR_GADGET_UNRELATED", "x"),
            ],
        );
        let expected = "\
operator:
    oci:
        annotate:
            - a
            - \"b: c\"
        pull: never
        verify-image: false
verbose: \"true\"
";
        assert_eq!(view(&config), expected);
    }

    #[test]
    fn texts_are_quoted_where_needed() {
        for bare in ["k8s.io", "0.0.0.0:2224", "docker,cri-o", "/run/x", "a b"] {
            assert_eq!(yaml_text(bare, 0), bare);
        }
        for quoted in [
            "", "true", "no", "1", "1.5", "~", "null", "- a", "a: b", "x #y", "[a", "\x1b[2J", " a", "a\n\n", "@f",
        ] {
            let text = yaml_text(quoted, 0);
            assert!(text.starts_with('"') && !text.contains('\x1b'), "{quoted:?} as {text}");
        }
    }

    #[test]
    fn the_default_configuration_reads_back() {
        let text = default_settings();
        let expected = "\
    oci:
        allowed-gadgets: []
        annotate: []
        authfile: /var/lib/ig/config.json
        disallow-pulling: \"false\"
        insecure-registries: []
        notation-certificates: []
        notation-policy-document: \"\"
        public-keys:
            - |
              -----BEGIN PUBLIC KEY-----
              MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoDOC0gYSxZTopenGmX3ZFvQ1DSfh
              Ir4EKRt5jC+mXaJ7c7J+oREskYMn/SfZdRHNSOjLTZUMDm60zpXGhkFecg==
              -----END PUBLIC KEY-----
        pull: missing
        validate-metadata: \"true\"
        verify-image: \"true\"
    otel-metrics:
        otel-metrics-export-internals: \"false\"
        otel-metrics-listen: \"false\"
        otel-metrics-listen-address: 0.0.0.0:2224
    socketenricher:
        socket-enricher-fields:
            - cwd=512
            - exepath=512
pprof-addr: \"\"
verbose: \"false\"
";
        assert!(text.ends_with(expected), "{text}");
        let mut params = run_flags::params();
        config(&text, &[]).apply(&mut params).unwrap();
        assert_eq!(params, run_flags::params());
    }
}
