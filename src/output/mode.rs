//! How a data source is shown: the `--output` option.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::unknown_source;
use super::point::{point, suggest};
use super::{histogram, profile};
use crate::data::DataSource;
use crate::{Error, Result};

/// How the elements of one data source are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A table.
    Columns,
    /// One JSON value per line.
    Json,
    /// Indented JSON.
    JsonPretty,
    /// YAML documents.
    Yaml,
    /// Comma-separated values with a header. Every data source can be shown so, although none declares it.
    Csv,
    /// Not at all.
    None,
    /// A capture file.
    PcapNg,
    /// The sum of all stacks, at the end. Every data source that is a profile can be shown so, although none declares it.
    Profile(profile::Form),
    /// The texts of all fields one after the other: `raw` and whatever name the gadget has for its own rendering.
    Text(String),
}

impl Mode {
    fn named(name: &str) -> Self {
        match name {
            "columns" => Mode::Columns,
            "json" => Mode::Json,
            "jsonpretty" => Mode::JsonPretty,
            "yaml" => Mode::Yaml,
            "none" => Mode::None,
            "pcap-ng" => Mode::PcapNg,
            other => Mode::Text(other.to_owned()),
        }
    }
}

/// The modes that `source` can be shown in, in alphabetical order.
pub fn supported(source: &DataSource) -> BTreeSet<String> {
    let list = source
        .annotation("cli.supported-output-modes")
        .filter(|list| !list.trim().is_empty())
        .unwrap_or("columns,json,jsonpretty,none,yaml");
    list.split(',')
        .map(str::trim)
        .filter(|mode| !mode.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether the only thing in `source` is what all sums of another data source look like. Such a source declares no mode but
/// [`histogram::MODE`]; those of [`histogram::JSON_MODES`] are there besides.
pub fn is_rendered(source: &DataSource) -> bool {
    source.annotation("metrics.print") == Some("true") && supported(source).contains(histogram::MODE)
}

/// The mode that `source` is shown in unless the user says otherwise.
pub fn default_mode(source: &DataSource) -> String {
    let supported = supported(source);
    if let Some(mode) = source.annotation("cli.default-output-mode") {
        if supported.contains(mode) {
            return mode.to_owned();
        }
        tracing::warn!(
            "default output mode {mode:?} of data source {:?} is not supported by it",
            source.name()
        );
    }
    if supported.contains("columns") {
        return "columns".to_owned();
    }
    supported.into_iter().next().unwrap_or_else(|| "none".to_owned())
}

/// The mode that no data source declares.
const CSV: &str = "csv";

/// A parsed `--output` option.
#[derive(Clone, Debug, Default)]
pub struct Modes<'a> {
    value: &'a str,
    any: Option<&'a str>,
    by_source: BTreeMap<&'a str, &'a str>,
}

impl<'a> Modes<'a> {
    /// Parses `MODE` or `DS:MODE,DS:MODE…`; an empty text means the defaults.
    ///
    /// # Errors
    ///
    /// Both forms in one value.
    pub fn parse(value: &'a str) -> Result<Self> {
        let mut modes = Self {
            value,
            ..Self::default()
        };
        for item in value.split(',').filter(|item| !item.is_empty()) {
            match item.split_once(':') {
                Some((source, mode)) => {
                    modes.by_source.insert(source.trim(), mode.trim());
                }
                None => modes.any = Some(item.trim()),
            }
        }
        if let Some(any) = modes.any.filter(|_| !modes.by_source.is_empty()) {
            let place = point(value, any);
            return Err(
                Error::invalid(format!("mixed values with and without specifying data source{place}"))
                    .context("parsing default output modes")
                    .with_hint("say either -o MODE or -o DATASOURCE:MODE,DATASOURCE:MODE"),
            );
        }
        Ok(modes)
    }

    /// The mode that is asked for `source`, supported or not.
    pub fn asked(&self, source: &DataSource) -> Option<&'a str> {
        self.by_source.get(source.name()).copied().or(self.any)
    }

    /// The mode of each of `sources`, in order.
    ///
    /// A mode without a data source is for all that support it; the others are not shown, unless none supports it.
    ///
    /// # Errors
    ///
    /// A data source that does not exist, or a mode that is not supported.
    pub fn resolve(&self, sources: &[&DataSource]) -> Result<Vec<Mode>> {
        let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
        if let Some(name) = self.by_source.keys().find(|name| !names.contains(name)) {
            return Err(unknown_source("output", self.value, name, &names));
        }
        let somebody_supports = self
            .any
            .is_some_and(|mode| sources.iter().any(|s| supported(s).contains(mode)));
        sources
            .iter()
            .map(|source| {
                let Some(mode) = self.asked(source) else {
                    return Ok(Mode::named(&default_mode(source)));
                };
                let supported = supported(source);
                if supported.contains(mode) {
                    Ok(Mode::named(mode))
                } else if mode == CSV {
                    Ok(Mode::Csv)
                } else if histogram::JSON_MODES.contains(&mode) && is_rendered(source) {
                    Ok(Mode::Text(mode.to_owned()))
                } else if let Some(form) = profile::Form::parse(mode).filter(|_| profile::is_profile(source)) {
                    Ok(Mode::Profile(form))
                } else if self.any.is_some() && somebody_supports {
                    tracing::debug!(
                        "data source {:?} cannot be shown as {mode:?}; leaving it out",
                        source.name()
                    );
                    Ok(Mode::None)
                } else {
                    Err(self.unsupported(source, mode, &supported))
                }
            })
            .collect()
    }

    fn unsupported(&self, source: &DataSource, mode: &str, supported: &BTreeSet<String>) -> Error {
        let mut names: Vec<&str> = supported.iter().map(String::as_str).collect();
        if !supported.contains(CSV) {
            names.push(CSV);
        }
        if is_rendered(source) {
            names.extend(histogram::JSON_MODES);
        }
        if profile::is_profile(source) {
            names.extend(profile::Form::NAMES.map(|(name, _)| name));
        }
        let place = point(self.value, mode);
        let error = Error::invalid(format!(
            "output mode {mode:?} for data source {:?} is not supported{place}",
            source.name()
        ));
        suggest(error, mode, &names, "supported modes")
    }
}

/// The default of the `output` parameter, as help shows it.
pub fn default_value(sources: &[&DataSource]) -> String {
    match sources {
        [source] => default_mode(source),
        several => {
            let modes: Vec<String> = several
                .iter()
                .map(|source| format!("{}:{}", source.name(), default_mode(source)))
                .collect();
            modes.join(",")
        }
    }
}

/// The help text of the `output` parameter.
pub fn help(sources: &[&DataSource]) -> String {
    let mut text = String::from(
        "How events are shown: MODE for all data sources,\nor DATASOURCE:MODE[,DATASOURCE:MODE…] for each; supported modes:\n",
    );
    for source in sources {
        text.push_str(&format!("    {:?} (data source):\n", source.name()));
        for mode in supported(source) {
            text.push_str(&format!("      {mode}\n"));
        }
        if profile::is_profile(source) {
            for (name, _) in profile::Form::NAMES {
                text.push_str(&format!("      {name}\n"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SourceType;

    fn source(name: &str, annotations: &[(&str, &str)]) -> DataSource {
        let mut ds = DataSource::new(name, SourceType::Single, None);
        for (key, value) in annotations {
            ds.annotate(*key, *value);
        }
        ds
    }

    fn resolve(value: &str, sources: &[&DataSource]) -> Result<Vec<Mode>> {
        Modes::parse(value)?.resolve(sources)
    }

    #[test]
    fn modes_for_all_and_for_each() {
        let (a, b) = (source("a", &[]), source("b", &[("cli.default-output-mode", "none")]));
        assert_eq!(resolve("", &[&a, &b]).unwrap(), [Mode::Columns, Mode::None]);
        assert_eq!(resolve("json", &[&a, &b]).unwrap(), [Mode::Json, Mode::Json]);
        assert_eq!(resolve("b:yaml,", &[&a, &b]).unwrap(), [Mode::Columns, Mode::Yaml]);
        let error = resolve("json,a:yaml", &[&a, &b]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "parsing default output modes: mixed values with and without specifying data source\n | json,a:yaml\n | ^"
        );
    }

    #[test]
    fn wrong_modes_and_sources_are_errors() {
        let ds = source("open", &[]);
        for (value, carets) in [("bad", "^"), ("raw", "^"), ("pcap-ng", "^"), ("open: bad", "......^")] {
            let error = resolve(value, &[&ds]).unwrap_err();
            let mode = value.trim_start_matches("open: ");
            assert_eq!(
                error.to_string(),
                format!("output mode {mode:?} for data source \"open\" is not supported\n | {value}\n | {carets}")
            );
            assert_eq!(
                error.hint(),
                Some("supported modes are: columns, json, jsonpretty, none, yaml, csv")
            );
        }
        let error = resolve("jsno", &[&ds]).unwrap_err();
        assert_eq!(error.hint(), Some("did you mean `json`?"));
        let error = resolve("nosuch:json", &[&ds]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--output: unknown data source \"nosuch\"\n | nosuch:json\n | ^"
        );
        assert_eq!(error.hint(), Some("the gadget's data sources are: open"));
    }

    #[test]
    fn csv_is_for_all_and_declared_by_none() {
        let (a, b) = (source("a", &[]), source("b", &[("cli.supported-output-modes", "none")]));
        assert_eq!(resolve("csv", &[&a, &b]).unwrap(), [Mode::Csv, Mode::Csv]);
        assert_eq!(resolve("b:csv", &[&a, &b]).unwrap(), [Mode::Columns, Mode::Csv]);
        assert!(!help(&[&a]).contains("csv"));
        let own = source("own", &[("cli.supported-output-modes", "csv")]);
        assert_eq!(
            resolve("csv", &[&own]).unwrap(),
            [Mode::Text("csv".to_owned())],
            "the gadget's own"
        );
    }

    #[test]
    fn gadgets_choose_their_modes() {
        let advise = source(
            "advise",
            &[
                ("cli.supported-output-modes", "advise"),
                ("cli.default-output-mode", "advise"),
            ],
        );
        let syscalls = source("syscalls", &[("cli.supported-output-modes", "none")]);
        let text = Mode::Text("advise".to_owned());
        assert_eq!(resolve("", &[&syscalls, &advise]).unwrap(), [Mode::None, text.clone()]);
        assert_eq!(resolve("advise", &[&syscalls, &advise]).unwrap(), [Mode::None, text]);
        assert!(resolve("json", &[&syscalls, &advise]).is_err());
        assert_eq!(default_value(&[&syscalls, &advise]), "syscalls:none,advise:advise");
        let tcpdump = source(
            "packets",
            &[("cli.supported-output-modes", "pcap-ng,columns,json,yaml")],
        );
        assert_eq!(default_mode(&tcpdump), "columns");
        assert_eq!(resolve("pcap-ng", &[&tcpdump]).unwrap(), [Mode::PcapNg]);
        let wrong = source(
            "x",
            &[
                ("cli.supported-output-modes", "yaml,json"),
                ("cli.default-output-mode", "columns"),
            ],
        );
        assert_eq!(default_mode(&wrong), "json");
    }
}
