//! Profiles: stacks and how often they were seen, added up over a whole run.
//!
//! A data source is a profile if its annotations name the fields with its stacks and its count (`profiles.stack-fields`,
//! `profiles.value-field`). The texts of stacks are functions, the innermost first, with `; ` behind each; the fields are in the same
//! order, so that what a process has called in the kernel comes before what called it. Fields with `flamegraph.type: single` are
//! the outermost frames, in the order of their `flamegraph.level`.

mod flamegraph;
mod folded;
mod pprof;

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::data::{Accessor, DataSource, Element, FieldId, Kind, SourceType};
use crate::{Error, Result};

/// Stacks that are kept apart; what comes later is counted below one frame.
const MAX_STACKS: usize = 1 << 20;
const OTHERS: &str = "[others]";

/// The form of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line for each stack, as flame graph programs read it.
    Folded,
    /// A picture: an SVG file.
    FlameGraph,
    /// A compressed protocol buffer, as `pprof` reads it.
    Pprof,
}

impl Form {
    /// All forms, by the name of the output mode.
    pub const NAMES: [(&str, Self); 3] = [
        ("folded", Self::Folded),
        ("flamegraph", Self::FlameGraph),
        ("pprof", Self::Pprof),
    ];

    /// The form of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, form)| *form)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Folded => "folded",
            Self::FlameGraph => "flamegraph",
            Self::Pprof => "pprof",
        }
    }
}

/// Whether `source` can be shown as a profile.
pub fn is_profile(source: &DataSource) -> bool {
    source.source_type() == SourceType::Array
        && ["profiles.stack-fields", "profiles.value-field"]
            .iter()
            .all(|key| source.annotation(key).is_some_and(|text| !text.is_empty()))
}

/// What is known of one stack.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sample {
    count: u64,
}

/// The sum of all elements of a data source.
#[derive(Debug)]
pub struct Profile {
    form: Form,
    fields: Vec<FieldId>,
    outer: Vec<Accessor>,
    stacks: Vec<Accessor>,
    value: Accessor,
    labels: Vec<(String, Accessor)>,
    /// What is counted and in what unit; what the profile is called.
    kind: String,
    unit: String,
    name: String,
    begun: SystemTime,
    /// By frames, the outermost first, and values of the labels.
    samples: BTreeMap<(Vec<String>, Vec<String>), Sample>,
    total: u64,
}

impl Profile {
    /// An empty profile of `source`.
    ///
    /// # Errors
    ///
    /// Annotations that name fields which are not there, or a count that is no integer.
    pub fn new(source: &DataSource, form: Form) -> Result<Self> {
        let text = |key: &str| source.annotation(key).filter(|text| !text.is_empty());
        let mut fields = Vec::new();
        let mut stacks = Vec::new();
        for name in text("profiles.stack-fields")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
        {
            match source.field(name) {
                Ok(field) => {
                    fields.push(field.id());
                    stacks.push(source.accessor(field.id()));
                }
                Err(_) => tracing::warn!(
                    "data source {:?}: there is no field {name:?} with stacks",
                    source.name()
                ),
            }
        }
        if stacks.is_empty() {
            return Err(Error::invalid(format!(
                "data source {:?} has no field with stacks",
                source.name()
            )));
        }
        let value = source.field(text("profiles.value-field").unwrap_or_default())?.id();
        let is_integer = matches!(source.get(value).kind(), Kind::One(scalar) if scalar.is_integer());
        if !is_integer {
            return Err(Error::invalid(format!(
                "field {:?} is no count",
                source.get(value).full_name()
            )));
        }
        fields.push(value);
        let mut outer = Vec::new();
        let mut labels = Vec::new();
        for (id, field) in source.fields() {
            if field.is_unreferenced() {
                continue;
            }
            if field.annotation("flamegraph.type") == Some("single") {
                let level = field
                    .annotation("flamegraph.level")
                    .and_then(|level| level.parse::<i64>().ok());
                outer.push((level.unwrap_or_default(), id));
            }
            if field.annotation("profiles.sample-attribute") == Some("true") && field.kind().is_text() {
                labels.push((field.full_name().to_owned(), source.accessor(id)));
                fields.push(id);
            }
        }
        outer.sort_by_key(|(level, _)| *level);
        fields.extend(outer.iter().map(|(_, id)| *id));
        Ok(Self {
            form,
            fields,
            outer: outer.iter().map(|(_, id)| source.accessor(*id)).collect(),
            stacks,
            value: source.accessor(value),
            labels,
            kind: text("profiles.type").unwrap_or("samples").to_owned(),
            unit: text("profiles.unit").unwrap_or("count").to_owned(),
            name: text("profiles.name").unwrap_or(source.name()).to_owned(),
            begun: SystemTime::now(),
            samples: BTreeMap::new(),
            total: 0,
        })
    }

    /// The fields that are read.
    pub fn fields(&self) -> &[FieldId] {
        &self.fields
    }

    /// Its form.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Adds an element.
    pub fn add(&mut self, element: &Element) {
        let count = self.value.bits(element);
        if count == 0 {
            return;
        }
        let text = |accessor: &Accessor| String::from_utf8_lossy(accessor.text(element)).into_owned();
        let mut frames: Vec<String> = self.outer.iter().map(text).filter(|frame| !frame.is_empty()).collect();
        for stack in self.stacks.iter().rev() {
            let stack = text(stack);
            frames.extend(stack.rsplit("; ").filter(|frame| !frame.is_empty()).map(str::to_owned));
        }
        let labels = self.labels.iter().map(|(_, accessor)| text(accessor)).collect();
        self.total = self.total.saturating_add(count);
        let mut key = (frames, labels);
        if self.samples.len() >= MAX_STACKS && !self.samples.contains_key(&key) {
            key = (vec![OTHERS.to_owned()], vec![String::new(); self.labels.len()]);
        }
        let sample = self.samples.entry(key).or_default();
        sample.count = sample.count.saturating_add(count);
    }

    /// Appends the whole profile.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.form {
            Form::Folded => folded::write(self, out),
            Form::FlameGraph => flamegraph::write(self, out),
            Form::Pprof => pprof::write(self, out),
        }
    }
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::data::{Emitter, NewField, Scalar, Stream};

    /// A source like those of profilers, and what makes its elements.
    pub(super) fn source() -> (DataSource, Emitter) {
        let mut source = DataSource::new("samples", SourceType::Array, None);
        for (key, value) in [
            ("profiles.stack-fields", "kernel,user"),
            ("profiles.value-field", "n"),
            ("profiles.name", "cpu"),
        ] {
            source.annotate(key, value);
        }
        for name in ["kernel", "user", "comm", "container"] {
            source.add_field(NewField::new(name, Scalar::String)).unwrap();
        }
        source.add_field(NewField::new("n", Scalar::Uint64)).unwrap();
        for (name, level) in [("comm", "10"), ("container", "0")] {
            let id = source.field(name).unwrap().id();
            source.annotate_field(id, "flamegraph.type", "single");
            source.annotate_field(id, "flamegraph.level", level);
        }
        let comm = source.field("comm").unwrap().id();
        source.annotate_field(comm, "profiles.sample-attribute", "true");
        let mut stream = Stream::new(source);
        let emitter = stream.emitter();
        (stream.source, emitter)
    }

    /// A profile of three elements, two of which are alike.
    pub(super) fn profile(form: Form) -> Profile {
        let (source, emitter) = source();
        let mut profile = Profile::new(&source, form).unwrap();
        for (kernel, user, comm, container, n) in [
            ("k_leaf; k_entry; ", "leaf; main; ", "app", "web", 3),
            ("", "leaf; main; ", "app", "web", 4),
            ("", "<a&b>;c; main; ", "x\"y", "", 5),
            ("k_leaf; k_entry; ", "leaf; main; ", "app", "web", 10),
            ("", "", "app", "web", 0),
        ] {
            let mut element = emitter.element();
            let mut set = |name: &str, value: &[u8]| {
                let accessor = source.accessor(source.field(name).unwrap().id());
                accessor.set(&mut element, value).unwrap();
            };
            set("kernel", kernel.as_bytes());
            set("user", user.as_bytes());
            set("comm", comm.as_bytes());
            set("container", container.as_bytes());
            let n_field = source.accessor(source.field("n").unwrap().id());
            n_field.set_bits(&mut element, n);
            profile.add(&element);
        }
        profile
    }

    pub(super) fn written(form: Form) -> Vec<u8> {
        let mut out = Vec::new();
        profile(form).write(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{NewField, Scalar};

    #[test]
    fn only_what_says_so_is_a_profile() {
        let (source, _) = testing::source();
        assert!(is_profile(&source));
        assert!(!is_profile(&DataSource::new("x", SourceType::Array, None)));
        let mut broken = DataSource::new("x", SourceType::Array, None);
        broken.annotate("profiles.stack-fields", "nosuch");
        broken.annotate("profiles.value-field", "n");
        let message = |source: &DataSource| Profile::new(source, Form::Folded).unwrap_err().to_string();
        assert_eq!(message(&broken), "data source \"x\" has no field with stacks");
        broken.add_field(NewField::new("nosuch", Scalar::String)).unwrap();
        assert!(message(&broken).contains("\"n\" not found"));
        broken.add_field(NewField::new("n", Scalar::String)).unwrap();
        assert_eq!(message(&broken), "field \"n\" is no count");
        assert_eq!(Form::parse("pprof"), Some(Form::Pprof));
        assert_eq!(Form::parse("json"), None);
    }
}
