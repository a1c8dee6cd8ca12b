//! What the configuration says about a data source.

use std::sync::Arc;

use super::config::Config;
use crate::data::{Annotations, FieldSettings, Settings};

/// The part `datasources.<name>` of a configuration: what is laid over a data source of that name and its fields.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    config: Arc<Config>,
    source: String,
}

impl SourceSettings {
    /// What `config` says about the data source `name`.
    pub fn new(config: &Arc<Config>, name: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            config: Arc::clone(config),
            source: name.into(),
        })
    }
}

impl Settings for SourceSettings {
    fn annotations(&self) -> Annotations {
        self.config
            .strings_map(&format!("datasources.{}.annotations", self.source))
    }

    fn tags(&self) -> Vec<String> {
        self.config.strings(&format!("datasources.{}.tags", self.source))
    }

    fn field(&self, full_name: &str) -> Option<FieldSettings> {
        let said = self
            .config
            .sub(&format!("datasources.{}.fields.{full_name}", self.source))?;
        Some(FieldSettings {
            tags: said.strings("tags"),
            annotations: said.strings_map("annotations"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSource, NewField, Scalar, SourceType};

    fn source(yaml: &str) -> DataSource {
        let config = Arc::new(Config::parse(yaml.as_bytes()).unwrap());
        DataSource::new(
            "events",
            SourceType::Single,
            Some(SourceSettings::new(&config, "events")),
        )
    }

    /// Acceptance check C1 of the data specification.
    #[test]
    fn c1_sources_are_found_in_any_case() {
        let events = source("dataSources: {Events: {annotations: {CLI.Clear-Screen-Before: true}, tags: [a, B]}}");
        assert_eq!(events.annotation("cli.clear-screen-before"), Some("true"));
        assert_eq!(events.tags(), ["a", "B"]);
    }

    /// Acceptance checks D10 and D11 of the data specification.
    #[test]
    fn d10_d11_fields_get_what_is_said_of_them() {
        let mut events = source(
            "datasources: {events: {fields: {foo: {tags: [t], annotations: {columns.hidden: true, foo-ann: yes}}, \
             Proc.Comm: {annotations: {template: comm, columns.maxWidth: 3}}}}}",
        );
        let foo = events.add_field(NewField::new("foo", Scalar::Uint32)).unwrap();
        let foo = events.get(foo);
        assert!(foo.is_hidden());
        let annotations: Vec<_> = foo
            .annotations()
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let expected = [
            ("columns.alignment", "left"),
            ("columns.ellipsis", "end"),
            ("columns.hidden", "true"),
            ("columns.width", "16"),
            ("foo-ann", "yes"),
        ];
        assert_eq!(annotations, expected);
        assert_eq!(foo.tags(), ["t"]);
        let parent = events.add_field(NewField::empty("proc")).unwrap();
        let comm = events
            .add_sub_field(parent, NewField::new("comm", Scalar::String))
            .unwrap();
        let comm = events.get(comm);
        assert_eq!(
            comm.annotation("columns.maxwidth"),
            Some("3"),
            "what is said wins over the template"
        );
        assert_eq!(comm.annotation("description"), Some("Process name"));
        assert!(!events.get(parent).is_hidden());
    }
}
