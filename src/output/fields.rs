//! Which fields columns show: the `--fields` option.
//!
//! `[DS:]LIST[;…]`, where a list has names (these and only these), `+name` (also) and `-name` (not). A name is a full name or an
//! alias, in any case of its letters. What the user wrote is never guessed at silently: a name that fits nothing is an error with
//! the nearest names as a hint, and one that fits several fields takes the shallowest and says so.

use std::collections::HashMap;

use super::columns::columns_of;
use crate::data::{DataSource, FieldId};
use crate::{Error, Result, text};

/// A parsed `--fields` option.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    by_source: HashMap<String, String>,
    any: Option<String>,
}

impl Fields {
    /// Parses the option's value.
    pub fn parse(value: &str) -> Self {
        let mut fields = Self::default();
        for group in value.split(';') {
            match group.split_once(':') {
                Some((source, list)) => {
                    fields.by_source.insert(source.trim().to_owned(), list.to_owned());
                }
                None => fields.any = Some(group.to_owned()),
            }
        }
        fields
    }

    /// An error if a list is for a data source that is not among `sources`.
    pub fn check(&self, sources: &[&str]) -> Result<()> {
        let mut unknown: Vec<&String> = self
            .by_source
            .keys()
            .filter(|name| !sources.contains(&name.as_str()))
            .collect();
        unknown.sort();
        match unknown.first() {
            None => Ok(()),
            Some(name) => Err(unknown_source("fields", name, sources)),
        }
    }

    /// The fields to show of `source`.
    ///
    /// # Errors
    ///
    /// A name that fits no field of `source`.
    pub fn select(&self, source: &DataSource) -> Result<Selection> {
        match self.by_source.get(source.name()).or(self.any.as_ref()) {
            Some(list) => Selection::parse(source, list),
            None => Ok(Selection::default_of(source)),
        }
    }
}

pub(super) fn unknown_source(option: &str, name: &str, sources: &[&str]) -> Error {
    Error::invalid(format!("--{option}: unknown data source {name:?}"))
        .with_hint(format!("the gadget's data sources are: {}", sources.join(", ")))
}

/// The fields of one data source that columns show, in order.
#[derive(Clone, Debug)]
pub struct Selection {
    fields: Vec<FieldId>,
    default: bool,
    notes: Vec<String>,
}

impl Selection {
    /// What is shown when the user says nothing: visible fields by rank.
    pub fn default_of(source: &DataSource) -> Self {
        Self {
            fields: source.default_columns(),
            default: true,
            notes: Vec::new(),
        }
    }

    /// The fields named by one list of the option.
    pub fn parse(source: &DataSource, list: &str) -> Result<Self> {
        let items: Vec<&str> = list.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
        let signed = |sign: char| {
            items
                .iter()
                .filter_map(move |item| item.strip_prefix(sign))
                .map(str::trim)
        };
        let mut names: Vec<&str> = Vec::new();
        for name in items.iter().filter(|item| !item.starts_with(['+', '-'])) {
            if !names.contains(name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            // Not by rank but in list order, as upstream has it.
            names = columns_of(source)
                .filter(|(_, field)| !field.is_hidden())
                .map(|(_, field)| field.full_name())
                .collect();
        }
        for name in signed('+') {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut selection = Self {
            fields: Vec::new(),
            default: false,
            notes: Vec::new(),
        };
        for name in signed('-') {
            let before = names.len();
            names.retain(|other| *other != name);
            if names.len() == before {
                let id = selection.resolve(source, name, false)?;
                selection.notes.push(format!(
                    "--fields: -{name} removes nothing; the column is called {:?}",
                    source.get(id).full_name()
                ));
            }
        }
        for name in names {
            let id = selection.resolve(source, name, true)?;
            selection.fields.push(id);
        }
        Ok(selection)
    }

    /// The shown fields.
    pub fn fields(&self) -> &[FieldId] {
        &self.fields
    }

    /// Whether the user said nothing, so that it may depend on the terminal what is shown.
    pub fn is_default(&self) -> bool {
        self.default
    }

    /// What the user should know about how the names were understood, one line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn resolve(&mut self, source: &DataSource, name: &str, note: bool) -> Result<FieldId> {
        let wanted = name.to_lowercase();
        let exact = columns_of(source).find(|(_, field)| field.full_name() == name);
        let by_name =
            exact.or_else(|| columns_of(source).find(|(_, field)| field.full_name().to_lowercase() == wanted));
        if let Some((id, _)) = by_name {
            return Ok(id);
        }
        let depth = |id: FieldId| std::iter::successors(Some(id), |id| source.get(*id).parent()).count();
        let mut matches: Vec<FieldId> = columns_of(source)
            .filter(|(_, field)| {
                field
                    .annotation("columns.alias")
                    .is_some_and(|alias| alias.to_lowercase() == wanted)
            })
            .map(|(id, _)| id)
            .collect();
        matches.sort_by_key(|id| depth(*id));
        let Some(id) = matches.first().copied() else {
            return Err(unknown_field(source, name));
        };
        if note && matches.len() > 1 {
            let names: Vec<&str> = matches.iter().map(|id| source.get(*id).full_name()).collect();
            self.notes.push(format!(
                "--fields: {name:?} fits several columns ({}); showing {}",
                names.join(", "),
                source.get(id).full_name()
            ));
        }
        Ok(id)
    }
}

fn unknown_field(source: &DataSource, name: &str) -> Error {
    let error = Error::not_found(format!("column {:?} is invalid", name.to_lowercase()))
        .context(format!("failed to set fields of data source {:?}", source.name()));
    let names = columns_of(source).map(|(_, field)| (field.full_name(), field.name()));
    let hint = text::did_you_mean(&text::nearest(name, names)).unwrap_or_else(|| {
        let mut all: Vec<&str> = columns_of(source).map(|(_, field)| field.full_name()).collect();
        all.sort_unstable();
        format!("the available fields are: {}", all.join(", "))
    });
    error.with_hint(hint)
}

/// The default of the `fields` parameter, as help shows it.
pub fn default_value(sources: &[&DataSource]) -> String {
    let list = |source: &DataSource| {
        let names: Vec<&str> = source
            .default_columns()
            .into_iter()
            .map(|id| source.get(id).full_name())
            .collect();
        names.join(",")
    };
    match sources {
        [source] => list(source),
        several => {
            let groups: Vec<String> = several
                .iter()
                .map(|source| format!("{}:{}", source.name(), list(source)))
                .collect();
            groups.join(";")
        }
    }
}

/// The help text of the `fields` parameter: every field that can be shown, with its description.
pub fn help(sources: &[&DataSource]) -> String {
    let mut text = String::from("Available data sources / fields\n");
    for source in sources {
        text.push_str(&format!("  {:?} (data source):\n", source.name()));
        let mut fields: Vec<_> = columns_of(source).map(|(_, field)| field).collect();
        fields.sort_by_key(|field| field.full_name());
        for field in fields {
            text.push_str(&format!("    {}\n", field.full_name()));
            if let Some(description) = field.annotation("description").filter(|text| !text.is_empty()) {
                text.push_str(&format!("      {description}\n"));
            }
            if let Some(values) = field.annotation("value.one-of").filter(|text| !text.is_empty()) {
                text.push_str(&format!("      One of: {values}\n"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Flags, NewField, Scalar, SourceType};

    fn source() -> DataSource {
        let mut ds = DataSource::new("ds1", SourceType::Single, None);
        for name in ["a", "b", "c"] {
            ds.add_field(NewField::new(name, Scalar::String)).unwrap();
        }
        ds.add_field(NewField::new("d", Scalar::String).flags(Flags::HIDDEN))
            .unwrap();
        ds
    }

    fn names(ds: &DataSource, selection: &Selection) -> Vec<String> {
        selection
            .fields()
            .iter()
            .map(|id| ds.get(*id).full_name().to_owned())
            .collect()
    }

    fn select(value: &str) -> Vec<String> {
        let ds = source();
        names(&ds, &Fields::parse(value).select(&ds).unwrap())
    }

    #[test]
    fn the_grammar_of_selections() {
        assert_eq!(select("c,a"), ["c", "a"]);
        assert_eq!(select("+d"), ["a", "b", "c", "d"]);
        assert_eq!(select("-b"), ["a", "c"]);
        assert_eq!(select("c,+a,-c"), ["a"]);
        assert_eq!(select(""), ["a", "b", "c"]);
        assert_eq!(select(" a , ,B,a"), ["a", "b"]);
        assert_eq!(select("+a"), ["a", "b", "c"]);
        assert_eq!(select("-a,-b,-c"), Vec::<String>::new());
        assert_eq!(select("ds1:a;b"), ["a"]);
        assert_eq!(select("ds2:a;b"), ["b"]);
        assert_eq!(select("ds2:a"), ["a", "b", "c"]);
        assert_eq!(select("ds1:a;ds1:c"), ["c"]);
    }

    #[test]
    fn unknown_names_are_errors_with_suggestions() {
        let mut ds = source();
        ds.add_field(NewField::new("fname", Scalar::String)).unwrap();
        let error = Selection::parse(&ds, "fnmae").unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to set fields of data source \"ds1\": column \"fnmae\" is invalid"
        );
        assert_eq!(error.hint(), Some("did you mean `fname`?"));
        let error = Selection::parse(&ds, "+somethingelse").unwrap_err();
        assert_eq!(error.hint(), Some("the available fields are: a, b, c, d, fname"));
        assert!(Selection::parse(&ds, "-nosuch").is_err());
        assert!(Selection::parse(&ds, "*").is_err());
        let error = Fields::parse("ds2:a;b").check(&["ds1"]).unwrap_err();
        assert_eq!(error.to_string(), "--fields: unknown data source \"ds2\"");
    }

    #[test]
    fn an_ambiguous_alias_takes_the_shallowest_and_says_so() {
        let mut ds = DataSource::new("open", SourceType::Single, None);
        let alias = [("columns.alias", "comm")];
        let proc = ds.add_field(NewField::empty("proc")).unwrap();
        let parent = ds.add_sub_field(proc, NewField::empty("parent")).unwrap();
        ds.add_sub_field(parent, NewField::new("comm", Scalar::String).annotations(alias))
            .unwrap();
        ds.add_sub_field(proc, NewField::new("comm", Scalar::String).annotations(alias))
            .unwrap();
        let selection = Selection::parse(&ds, "COMM").unwrap();
        assert_eq!(names(&ds, &selection), ["proc.comm"]);
        assert_eq!(
            selection.notes(),
            ["--fields: \"COMM\" fits several columns (proc.comm, proc.parent.comm); showing proc.comm"]
        );
        let selection = Selection::parse(&ds, "-comm").unwrap();
        assert_eq!(names(&ds, &selection), ["proc.parent.comm", "proc.comm"]);
        assert_eq!(
            selection.notes(),
            ["--fields: -comm removes nothing; the column is called \"proc.comm\""]
        );
        let selection = Selection::parse(&ds, "PROC.Parent.Comm").unwrap();
        assert_eq!(names(&ds, &selection), ["proc.parent.comm"]);
        assert!(selection.notes().is_empty());
    }

    #[test]
    fn defaults_and_help() {
        let ds = source();
        let other = DataSource::new("ds2", SourceType::Single, None);
        assert_eq!(default_value(&[&ds]), "a,b,c");
        assert_eq!(default_value(&[&ds, &other]), "ds1:a,b,c;ds2:");
        let mut ds = DataSource::new("ds", SourceType::Single, None);
        ds.add_field(NewField::new("b", Scalar::String).annotations([("value.one-of", "x, y")]))
            .unwrap();
        ds.add_field(NewField::new("a", Scalar::String).annotations([("description", "First")]))
            .unwrap();
        assert_eq!(
            help(&[&ds]),
            "Available data sources / fields\n  \"ds\" (data source):\n    a\n      First\n    b\n      One of: x, y\n"
        );
    }
}
