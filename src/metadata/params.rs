//! Described parameters: what a gadget or an operator can be told, and the values it was told.
//!
//! A [`Param`] says its key, default, type and help; the command line makes a flag of it, an API client a form field. The
//! values travel as [`ParamValues`], a map from *full name* (prefix + key) to text. A value is checked by the param it is
//! for ([`Param::validate`]) before anything reads it, and [`typed`] turns the text into numbers, durations and lists.

pub mod typed;

use std::collections::BTreeMap;

use super::config::Config;
use crate::{Error, Result};

pub use typed::{PerDataSource, TypeHint};

/// One described parameter, in the form in which it also travels to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Param {
    /// What precedes the key in the full name, its final `.` included: `operator.filter.`
    pub prefix: String,
    /// The name inside the prefix; the command line's `--key`.
    pub key: String,
    /// A second accepted key, kept for scripts written for the older name; empty if there is none.
    pub alternative_key: String,
    /// The one-letter flag.
    pub alias: Option<char>,
    /// The value when none is given.
    pub default: String,
    /// What the value must look like.
    pub type_hint: TypeHint,
    /// A human-readable name; may be empty.
    pub title: String,
    /// What the parameter does. A word in back quotes names the value in help pages.
    pub description: String,
    /// Where a client may look up values: `gadget:namespace`; may be empty.
    pub value_hint: String,
    /// When not empty, the only accepted values; the type hint is then not looked at.
    pub possible_values: Vec<String>,
    /// Whether a run without a value is an error.
    pub mandatory: bool,
    /// Words that clients group and hide parameters by: `advanced`, `group:OCI`, `!attach`.
    pub tags: Vec<String>,
    /// A value may also be several by data source, `ds1:value1,ds2:value2`, each of the hinted type.
    pub per_data_source: bool,
}

impl Param {
    /// An optional, untyped parameter `key` without a prefix.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    /// The name under which the value travels: `operator.filter.filter`.
    pub fn full_name(&self) -> String {
        format!("{}{}", self.prefix, self.key)
    }

    /// Puts `prefix` and a dot in front of the prefix there is.
    #[must_use]
    pub fn prefixed(mut self, prefix: &str) -> Self {
        self.prefix = format!("{prefix}.{}", self.prefix);
        self
    }

    /// Sets the default value.
    #[must_use]
    pub fn default_value(mut self, default: impl Into<String>) -> Self {
        self.default = default.into();
        self
    }

    /// Sets the one-letter flag.
    #[must_use]
    pub fn alias(mut self, alias: char) -> Self {
        self.alias = Some(alias);
        self
    }

    /// Sets the second accepted key.
    #[must_use]
    pub fn alternative_key(mut self, key: impl Into<String>) -> Self {
        self.alternative_key = key.into();
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Sets the type hint.
    #[must_use]
    pub fn type_hint(mut self, hint: TypeHint) -> Self {
        self.type_hint = hint;
        self
    }

    /// Sets the only accepted values.
    #[must_use]
    pub fn possible_values<S: Into<String>>(mut self, values: impl IntoIterator<Item = S>) -> Self {
        self.possible_values = values.into_iter().map(Into::into).collect();
        self
    }

    /// Accepts values by data source.
    #[must_use]
    pub fn per_data_source(mut self) -> Self {
        self.per_data_source = true;
        self
    }

    /// Makes a run without a value an error.
    #[must_use]
    pub fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// A parameter as a wasm module's metadata describes it: the members are those of the form in which parameters travel to
    /// clients, in any case (`key`, `defaultValue`, `typeHint`, `possibleValues`, …). What is missing is empty.
    pub fn from_config(said: &Config) -> Self {
        let text = |name: &str| said.get_str(name).unwrap_or_default().into_owned();
        Self {
            key: text("key"),
            alternative_key: text("alternativekey"),
            alias: text("alias").chars().next(),
            default: text("defaultvalue"),
            type_hint: TypeHint::parse(&text("typehint")),
            title: text("title"),
            description: text("description"),
            value_hint: text("valuehint"),
            possible_values: said.strings("possiblevalues"),
            mandatory: said.get_bool("ismandatory"),
            tags: said.strings("tags"),
            prefix: String::new(),
            per_data_source: false,
        }
    }

    /// Whether `value` is acceptable here: one of the possible values, or of the hinted type.
    ///
    /// # Errors
    ///
    /// `invalid value "abc" as "pid": expected numeric value: …`, or `expected value for "pid"` when a mandatory value is
    /// empty.
    pub fn validate(&self, value: &str) -> Result<()> {
        if value.is_empty() && self.mandatory {
            return Err(Error::invalid(format!("expected value for {:?}", self.key)));
        }
        let checked = if self.per_data_source && value.contains(':') {
            PerDataSource::strings(value)
                .and_then(|values| values.iter().try_for_each(|(_, value)| self.type_hint.check(value)))
        } else if self.possible_values.is_empty() {
            self.type_hint.check(value)
        } else if self.possible_values.iter().any(|possible| possible == value) {
            Ok(())
        } else {
            Err(Error::invalid(format!(
                "valid values are: {}",
                self.possible_values.join(", ")
            )))
        };
        checked.map_err(|e| {
            e.context(format!(
                "invalid value {} as {}",
                typed::go_quote(value),
                typed::go_quote(&self.key)
            ))
        })
    }
}

/// Values by full name: `operator.filter.filter` → `proc.comm==cat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamValues(BTreeMap<String, String>);

impl ParamValues {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of `name`, replacing an earlier one.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of `name`, if one was given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether `name` is a boolean that is on: its text is `true` in any case.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(typed::is_true)
    }

    /// The values whose name starts with `prefix`, under what remains of the name.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Self {
        self.0
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone())))
            .collect()
    }

    /// All values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes the values complete for these `params`, whose full names they have: a value that came under an alternative key
    /// moves to the key, what is missing gets its default, and what is not empty is checked.
    ///
    /// # Errors
    ///
    /// That of [`Param::validate`] for the first value that is not acceptable.
    pub fn prepare(&mut self, params: &[Param]) -> Result<()> {
        for param in params {
            let name = param.full_name();
            if !param.alternative_key.is_empty()
                && let Some(value) = self.0.remove(&format!("{}{}", param.prefix, param.alternative_key))
            {
                self.0.entry(name.clone()).or_insert(value);
            }
            let value = self.0.entry(name).or_insert_with(|| param.default.clone());
            if !value.is_empty() || param.mandatory {
                param.validate(value)?;
            }
        }
        Ok(())
    }
}

impl FromIterator<(String, String)> for ParamValues {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl Extend<(String, String)> for ParamValues {
    fn extend<I: IntoIterator<Item = (String, String)>>(&mut self, iter: I) {
        self.0.extend(iter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(param: &Param, value: &str) -> String {
        param.validate(value).unwrap_err().to_string()
    }

    #[test]
    fn messages_read_like_upstream() {
        let pid = Param::new("pid").type_hint(TypeHint::Uint(32));
        assert_eq!(
            error_of(&pid, "abc"),
            r#"invalid value "abc" as "pid": expected numeric value: strconv.ParseUint: parsing "abc": invalid syntax"#
        );
        let host = Param::new("host").type_hint(TypeHint::Bool);
        assert_eq!(
            error_of(&host, "maybe"),
            r#"invalid value "maybe" as "host": expected 'true' or 'false', got: "maybe""#
        );
        let pull = Param::new("pull").possible_values(["always", "missing", "never"]);
        assert_eq!(
            error_of(&pull, "sometimes"),
            r#"invalid value "sometimes" as "pull": valid values are: always, missing, never"#
        );
        assert!(pull.validate("Missing").is_err());
        assert_eq!(error_of(&Param::new("x").mandatory(), ""), r#"expected value for "x""#);
    }

    /// Acceptance check C7 of the data specification.
    #[test]
    fn a_boolean_is_true_or_false() {
        let host = Param::new("host").type_hint(TypeHint::Bool);
        assert!(error_of(&host, "YES").contains(r#"expected 'true' or 'false', got: "yes""#));
        host.validate("TRUE").unwrap();
        host.validate("False").unwrap();
    }

    #[test]
    fn wasm_params_are_read_from_the_metadata() {
        let config = Config::parse(
            b"params: {wasm: {p: {Key: mode, defaultValue: 3, TYPEHINT: int, type: ignored, title: T, alias: m, tags: [a, b], valueHint: h, possibleValues: [3, 4], isMandatory: true, alternativeKey: old, description: D}}}",
        )
        .unwrap();
        let param = Param::from_config(config.sub("params.wasm.p").unwrap());
        let expected = Param {
            title: "T".to_owned(),
            value_hint: "h".to_owned(),
            ..Param::new("mode")
                .default_value("3")
                .type_hint(TypeHint::PlainInt)
                .alias('m')
                .tag("a")
                .tag("b")
                .possible_values(["3", "4"])
                .mandatory()
                .alternative_key("old")
                .description("D")
        };
        assert_eq!(param, expected);
    }

    #[test]
    fn possible_values_win_over_the_type() {
        let param = Param::new("x")
            .type_hint(TypeHint::Int(64))
            .possible_values(["auto", "1"]);
        param.validate("auto").unwrap();
        assert!(param.validate("2").is_err());
    }

    #[test]
    fn names_and_prefixes() {
        let param = Param::new("map-fetch-count")
            .prefixed("ebpf")
            .prefixed("oci")
            .prefixed("operator");
        assert_eq!(param.full_name(), "operator.oci.ebpf.map-fetch-count");
        let mut values = ParamValues::new();
        values.set(param.full_name(), "3");
        values.set("operator.LocalManager.host", "true");
        assert_eq!(
            values.with_prefix("operator.oci.ebpf.").get("map-fetch-count"),
            Some("3")
        );
        assert_eq!(values.with_prefix("operator.oci.ebpf.").len(), 1);
        assert!(values.is_true("operator.LocalManager.host"));
    }

    #[test]
    fn preparing_moves_fills_and_checks() {
        let params = [
            Param::new("containername").alternative_key("runtime-containername"),
            Param::new("max").default_value("7").type_hint(TypeHint::Int(64)),
            Param::new("new").prefixed("op").alternative_key("old"),
        ];
        let mut values = ParamValues::new();
        values.set("runtime-containername", "web");
        values.set("op.old", "x");
        values.set("unknown", "kept");
        values.prepare(&params).unwrap();
        assert_eq!(values.get("containername"), Some("web"));
        assert_eq!(values.get("runtime-containername"), None);
        assert_eq!(values.get("max"), Some("7"));
        assert_eq!(values.get("unknown"), Some("kept"));
        assert_eq!(
            (values.get("op.new"), values.get("op.old"), values.get("new")),
            (Some("x"), None, None)
        );

        values.set("runtime-containername", "other");
        values.prepare(&params).unwrap();
        assert_eq!(
            values.get("containername"),
            Some("web"),
            "the key wins over the alternative key"
        );

        values.set("max", "many");
        assert!(values.prepare(&params).is_err());
    }
}
