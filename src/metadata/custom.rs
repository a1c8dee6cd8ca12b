//! Custom parameters: parameters of a gadget that patch its metadata.
//!
//! ```yaml
//! params:
//!   custom:
//!     interval:
//!       defaultValue: 3s
//!       patch:
//!         operator: {process: {interval: '{{call .getParamValue "custom.interval"}}'}}
//!     mode:
//!       values:
//!         short: {patch: {datasources: {events: {fields: {args: {annotations: {columns.hidden: true}}}}}}}
//!         long: {}
//! ```
//!
//! Every string of a patch is a [template](super::template) with the functions `getParamValue` (full name of a parameter) and
//! `getConfig` (path in the configuration). The patches are merged before anything else reads the configuration. So the values
//! must be known then, and cannot be changed later.

use std::collections::BTreeMap;

use super::config::Config;
use super::params::{Param, ParamValues};
use super::template::{Template, Value};
use crate::{Result, ResultExt};

/// Prefix of the full names of custom parameters.
pub const PREFIX: &str = "custom.";

/// The custom parameters of a gadget.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CustomParams {
    /// In alphabetical order of their keys, in which they are also applied.
    params: Vec<CustomParam>,
}

#[derive(Clone, Debug, PartialEq)]
struct CustomParam {
    param: Param,
    /// The patch of each possible value that has one.
    values: BTreeMap<String, Config>,
    /// The patch of all others.
    patch: Option<Config>,
}

impl CustomParams {
    /// Reads `params.custom` of `config`. What has neither `values` nor `patch` is no parameter.
    pub fn read(config: &Config) -> Self {
        let all = config.sub("params").and_then(|params| params.sub("custom"));
        let params = all
            .into_iter()
            .flat_map(Config::entries)
            .filter_map(|(key, said)| CustomParam::read(key, said))
            .collect();
        Self { params }
    }

    /// The parameters, with their prefix.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.params.iter().map(|custom| &custom.param)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// Merges the patches for `values` (by full name) into `config`. A parameter without a value patches nothing.
    ///
    /// # Errors
    ///
    /// `processing custom params: …`: a value that is not possible, or a template that fails.
    pub fn apply(&self, config: &mut Config, values: &ParamValues) -> Result<()> {
        for custom in &self.params {
            let name = custom.param.full_name();
            let Some(value) = values.get(&name) else { continue };
            custom
                .apply(value, config, values)
                .with_context(|| name)
                .context("processing custom params")?;
        }
        Ok(())
    }
}

impl CustomParam {
    fn read(key: &str, said: &Config) -> Option<Self> {
        // A key may contain dots, so nothing is looked up by path here.
        let member = |name: &str| said.entries().find(|(key, _)| *key == name).map(|(_, node)| node);
        let values = member("values").filter(|node| matches!(node, Config::Map(_)));
        let patch = member("patch").filter(|node| **node != Config::Null);
        if values.is_none() && patch.is_none() {
            return None;
        }
        let text = |name: &str| member(name).and_then(Config::as_text).unwrap_or_default().into_owned();
        let possible = values.into_iter().flat_map(Config::keys);
        let param = Param {
            prefix: PREFIX.to_owned(),
            alias: text("alias").chars().next(),
            ..Param::new(key)
                .default_value(text("defaultvalue"))
                .description(text("description"))
                .possible_values(possible)
        };
        let patch_of = |(value, node): (&str, &Config)| {
            let patch = node.entries().find(|(key, _)| *key == "patch")?.1;
            (*patch != Config::Null).then(|| (value.to_owned(), patch.clone()))
        };
        Some(Self {
            param,
            values: values
                .into_iter()
                .flat_map(Config::entries)
                .filter_map(patch_of)
                .collect(),
            patch: patch.cloned(),
        })
    }

    fn apply(&self, value: &str, config: &mut Config, values: &ParamValues) -> Result<()> {
        // An empty text is no choice, but no mistake either: the command line sends it for what is not given.
        if !value.is_empty() {
            self.param.validate(value)?;
        }
        let Some(patch) = self.values.get(value).or(self.patch.as_ref()) else {
            return Ok(());
        };
        let mut patch = patch.clone();
        if let Config::Map(entries) = &mut patch {
            entries.remove("params.custom");
        }
        let param_value = |name: &str| param_value(values, name).to_owned();
        let config_value = |path: &str| config.get_str(path).unwrap_or_default().into_owned();
        let data = Value::map([
            ("getParamValue", Value::function(&param_value)),
            ("getConfig", Value::function(&config_value)),
        ]);
        patch.try_for_each_text(&mut |text| {
            if text.contains("{{") {
                *text = Template::parse(&*self.param.key, &**text)?.render(&data)?;
            }
            Ok(())
        })?;
        config.merge(patch);
        Ok(())
    }
}

/// The value of `name`. The keys of custom parameters are lower case, whatever their author wrote; templates may spell them
/// either way.
fn param_value<'v>(values: &'v ParamValues, name: &str) -> &'v str {
    let lower = || name.starts_with(PREFIX).then(|| name.to_lowercase());
    values.get(name).or_else(|| values.get(&lower()?)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(yaml: &str, values: &[(&str, &str)]) -> Result<Config> {
        let mut config = Config::parse(yaml.as_bytes()).unwrap();
        let values = values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        CustomParams::read(&config).apply(&mut config, &values)?;
        Ok(config)
    }

    const INTERVAL: &str = r#"
operator: {process: {emitstats: true, interval: 1s}}
params:
  custom:
    Interval:
      description: how often
      defaultValue: 3s
      patch: {operator: {process: {interval: "{{call .getParamValue \"custom.interval\"}}"}}}
"#;

    /// Acceptance check C9 of the data specification.
    #[test]
    fn c9_a_patch_gets_the_value() {
        let config = applied(INTERVAL, &[("custom.interval", "3s")]).unwrap();
        assert_eq!(config.get_str("operator.process.interval").as_deref(), Some("3s"));
        assert!(config.get_bool("operator.process.emitstats"), "maps merge");
        let config = applied(INTERVAL, &[("custom.other", "3s")]).unwrap();
        assert_eq!(config.get_str("operator.process.interval").as_deref(), Some("1s"));
    }

    /// Acceptance check C10 of the data specification.
    #[test]
    fn c10_a_broken_template_is_an_error() {
        let error = |text: &str| {
            let yaml = format!("params: {{custom: {{x: {{patch: {{a: [{{b: '{text}'}}]}}}}}}}}");
            applied(&yaml, &[("custom.x", "")]).unwrap_err().to_string()
        };
        assert_eq!(
            error("{{.invalidTemplate"),
            "processing custom params: custom.x: template: x:1:1: unclosed action"
        );
        assert_eq!(
            error("{{call .nosuch \"x\"}}"),
            "processing custom params: custom.x: template: x:1:3: error calling call: call of nil"
        );
    }

    #[test]
    fn params_are_described() {
        let config = Config::parse(
            b"params: {custom: {none: {description: no patch}, B: {alias: b, values: {Short: {patch: {x: 1}}, long: {}}}, a: {patch: {}, defaultValue: 0}}}",
        )
        .unwrap();
        let params = CustomParams::read(&config);
        let params: Vec<&Param> = params.params().collect();
        assert_eq!(params.len(), 2);
        assert_eq!(
            (params[0].full_name().as_str(), params[0].default.as_str()),
            ("custom.a", "0")
        );
        assert_eq!(
            (params[1].full_name().as_str(), params[1].alias),
            ("custom.b", Some('b'))
        );
        assert_eq!(params[1].possible_values, ["long", "short"]);
        assert!(CustomParams::read(&Config::default()).is_empty());
    }

    #[test]
    fn each_value_has_its_patch() {
        let yaml = "params: {custom: {mode: {values: {a: {patch: {x: of a}}, b: {}, '1.5': {patch: {x: of 1.5}}}, patch: {x: generic}}}}";
        let x = |value: &str| {
            applied(yaml, &[("custom.mode", value)]).map(|config| config.get_str("x").map(|x| x.into_owned()))
        };
        assert_eq!(x("a").unwrap().as_deref(), Some("of a"));
        assert_eq!(x("b").unwrap().as_deref(), Some("generic"));
        assert_eq!(x("1.5").unwrap().as_deref(), Some("of 1.5"));
        assert_eq!(x("").unwrap().as_deref(), Some("generic"));
        assert_eq!(
            x("c").unwrap_err().to_string(),
            "processing custom params: custom.mode: invalid value \"c\" as \"mode\": valid values are: 1.5, a, b"
        );
        let without = "params: {custom: {mode: {values: {a: {}, b: {}}}}}";
        assert_eq!(
            applied(without, &[("custom.mode", "a")]).unwrap(),
            Config::parse(without.as_bytes()).unwrap()
        );
    }

    #[test]
    fn templates_see_params_and_config() {
        let yaml = r#"
Name: Mixed
params:
  custom:
    MyParam:
      patch:
        a: '{{call .getConfig "NAME"}}-{{call .getConfig "nosuch"}}-{{call .getConfig "params"}}'
        b: '{{call .getParamValue "custom.MyParam"}} {{call .getParamValue "operator.oci.ebpf.pid"}}{{call .getParamValue "x"}}'
        c: ['{{if eq (call .getParamValue "custom.myparam") "v"}}yes{{else}}no{{end}}', 7]
        params.custom: {gone: 1}
        params: {other: 1}
"#;
        let config = applied(yaml, &[("custom.myparam", "v"), ("operator.oci.ebpf.pid", "7")]).unwrap();
        assert_eq!(config.get_str("a").as_deref(), Some("Mixed--"));
        assert_eq!(config.get_str("b").as_deref(), Some("v 7"));
        assert_eq!(config.strings("c"), ["yes", "7"]);
        assert!(config.get("params.custom.gone").is_none());
        assert!(config.get("params.custom.myparam").is_some());
        assert_eq!(config.get_str("params.other").as_deref(), Some("1"));
    }

    #[test]
    fn types_may_change() {
        let config = applied(
            "a: {b: 1}\nl: [1, 2]\nparams: {custom: {x: {patch: {a: text, l: [3]}}}}",
            &[("custom.x", "")],
        )
        .unwrap();
        assert_eq!(config.get_str("a").as_deref(), Some("text"));
        assert_eq!(config.strings("l"), ["3"]);
    }
}
