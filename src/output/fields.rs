//! Which fields columns show: the `--fields` option.
//!
//! `[DS:]LIST[;…]`, where a list has names (these and only these), `+name` (also) and `-name` (not). A name is a full name or an
//! alias, in any case of its letters. What the user wrote is never guessed at silently: a name that fits nothing is an error with
//! the nearest names as a hint, and one that fits several fields takes the shallowest and says so.

use super::columns::columns_of;
use super::point::{point, suggest};
use crate::data::{DataSource, FieldId};
use crate::{Error, Result};

/// A parsed `--fields` option.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    value: &'a str,
    /// The lists with the data sources they are for, in the order in which they were given.
    groups: Vec<(Option<&'a str>, &'a str)>,
}

impl<'a> Fields<'a> {
    /// Parses the option's value.
    pub fn parse(value: &'a str) -> Self {
        let groups = value.split(';').map(|group| match group.split_once(':') {
            Some((source, list)) => (Some(source.trim()), list),
            None => (None, group),
        });
        Self {
            value,
            groups: groups.collect(),
        }
    }

    /// An error if a list is for a data source that is not among `sources`.
    pub fn check(&self, sources: &[&str]) -> Result<()> {
        let mut named = self.groups.iter().filter_map(|(source, _)| *source);
        match named.find(|name| !sources.contains(name)) {
            None => Ok(()),
            Some(name) => Err(unknown_source("fields", self.value, name, sources)),
        }
    }

    /// The fields to show of `source`. Of several lists for it the last counts.
    ///
    /// # Errors
    ///
    /// A name that fits no field of `source`.
    pub fn select(&self, source: &DataSource) -> Result<Selection> {
        let last = |wanted: Option<&str>| self.groups.iter().rev().find(|(name, _)| *name == wanted);
        match last(Some(source.name())).or_else(|| last(None)) {
            Some((_, list)) => Selection::of_list(source, self.value, list),
            None => Ok(Selection::default_of(source)),
        }
    }
}

/// The error for a data source that does not exist; `name` is a part of the option's `value`.
pub(super) fn unknown_source(option: &str, value: &str, name: &str, sources: &[&str]) -> Error {
    let place = point(value, name);
    let error = Error::invalid(format!("--{option}: unknown data source {name:?}{place}"));
    suggest(error, name, sources, "the gadget's data sources")
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
    ///
    /// # Errors
    ///
    /// A name that fits no field of `source`.
    pub fn parse(source: &DataSource, list: &str) -> Result<Self> {
        Self::of_list(source, list, list)
    }

    /// `list` is a part of `value`, which errors show.
    fn of_list(source: &DataSource, value: &str, list: &str) -> Result<Self> {
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
                let id = selection.resolve(source, value, name, false)?;
                selection.notes.push(format!(
                    "--fields: -{name} removes nothing; the column is called {:?}",
                    source.get(id).full_name()
                ));
            }
        }
        for name in names {
            let id = selection.resolve(source, value, name, true)?;
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

    fn resolve(&mut self, source: &DataSource, value: &str, name: &str, note: bool) -> Result<FieldId> {
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
            return Err(unknown_field(source, value, name));
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

fn unknown_field(source: &DataSource, value: &str, name: &str) -> Error {
    let place = point(value, name);
    let error = Error::not_found(format!("column {:?} is invalid{place}", name.to_lowercase()))
        .context(format!("failed to set fields of data source {:?}", source.name()));
    let mut all: Vec<&str> = columns_of(source).map(|(_, field)| field.full_name()).collect();
    all.sort_unstable();
    suggest(error, name, &all, "the available fields")
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
            "failed to set fields of data source \"ds1\": column \"fnmae\" is invalid\n | fnmae\n | ^"
        );
        assert_eq!(error.hint(), Some("did you mean `fname`?"));
        let error = Fields::parse("ds2:b; a, +FNMAE ;c").select(&ds);
        assert!(error.is_ok(), "the last list without a data source counts");
        let error = Fields::parse("c;ds1: a, +FNMAE ").select(&ds).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is invalid\n | c;ds1: a, +FNMAE \n | ...........^"),
            "{error}"
        );
        let error = Selection::parse(&ds, "+somethingelse").unwrap_err();
        assert_eq!(error.hint(), Some("the available fields are: a, b, c, d, fname"));
        assert!(Selection::parse(&ds, "-nosuch").is_err());
        assert!(Selection::parse(&ds, "*").is_err());
        let error = Fields::parse("ds2:a;b").check(&["ds1"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--fields: unknown data source \"ds2\"\n | ds2:a;b\n | ^"
        );
        assert_eq!(error.hint(), Some("did you mean `ds1`?"));
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
