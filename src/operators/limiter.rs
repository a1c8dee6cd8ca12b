//! `--max-entries`: arrays are cut to so many elements.
//!
//! What is cut off is counted as such. A data source that is not named has no limit.

use super::{Context, Explanation, Instance, OperatorNote, priority};
use crate::data::{Flow, LossPlace, SourceType, resize};
use crate::metadata::params::typed::{PerDataSource, go_quote};
use crate::metadata::params::{Param, ParamValues, TypeHint};
use crate::{Error, Result, ResultExt};

const PARAM_PREFIX: &str = "operator.limiter.";
const KEY: &str = "max-entries";
const UNLIMITED: i64 = -1;

/// The limits of one gadget.
#[derive(Debug)]
pub struct Limiter {
    /// Streams and how many elements their arrays may have.
    limits: Vec<(usize, usize)>,
}

impl Limiter {
    /// `None` if no referenced data source has arrays.
    pub fn instantiate(context: &mut Context) -> Option<Self> {
        let has_array = context
            .referenced()
            .any(|(_, stream)| stream.source.source_type() == SourceType::Array);
        has_array.then(|| Self { limits: Vec::new() })
    }

    fn limit(&mut self, values: &PerDataSource<i64>, context: &mut Context) -> Result<()> {
        let for_all = values.iter().any(|(name, _)| name.is_empty());
        if values.get("") == Some(&UNLIMITED) {
            return Ok(());
        }
        for (name, _) in values.iter().filter(|(name, _)| !name.is_empty()) {
            if !context.referenced().any(|(_, stream)| stream.source.name() == name) {
                tracing::warn!("max-entries: there is no data source {}", go_quote(name));
            }
        }
        for (index, stream) in context.referenced() {
            let source = &stream.source;
            let Some(&limit) = values.get(source.name()) else {
                continue;
            };
            if source.source_type() != SourceType::Array {
                if for_all {
                    continue;
                }
                return Err(Error::invalid("max-entries can only be used on array data sources"));
            }
            if limit == UNLIMITED {
                continue;
            }
            let Ok(limit) = usize::try_from(limit) else {
                return Err(Error::invalid(format!(
                    "invalid value of max-entries for data source {}: {limit}",
                    go_quote(source.name())
                ))
                .with_hint("expected a number of entries, or -1 for no limit"));
            };
            self.limits.push((index, limit));
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<PerDataSource<i64>> {
    let values = PerDataSource::ints(text).with_context(|| format!("parsing max-entries ({})", go_quote(text)))?;
    if values.is_empty() {
        return Err(Error::invalid(format!("invalid value for max-entries: {text}")));
    }
    Ok(values)
}

impl Instance for Limiter {
    fn name(&self) -> &'static str {
        "limiter"
    }

    fn priority(&self) -> i32 {
        priority::instance::LIMITER
    }

    fn params(&self) -> Vec<Param> {
        vec![Param {
            prefix: PARAM_PREFIX.to_owned(),
            title: "Max Entries".to_owned(),
            ..Param::new(KEY)
                .default_value(UNLIMITED.to_string())
                .type_hint(TypeHint::String)
                .description(
                    "Most entries to show at a time, of all data sources or of each: `10` or `processes:10,files:5`. -1 means \
                     no limit",
                )
                .tag("group:Data Filtering")
        }]
    }

    fn configure(&mut self, values: &ParamValues, context: &mut Context) -> Result<()> {
        let Some(text) = values.get(&format!("{PARAM_PREFIX}{KEY}")) else {
            return Ok(());
        };
        let parsed = parse(text)
            .context("instantiating operator \"limiter\"")
            .context("initializing and preparing operators")?;
        self.limit(&parsed, context)
            .context("pre-starting operator \"limiter\"")
            .context("pre-starting operators")
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for (index, limit) in self.limits.drain(..) {
            let stream = &mut context.streams[index];
            let losses = stream.losses.clone();
            stream
                .pipeline
                .subscribe_array(priority::subscription::LIMITER, move |elements| {
                    if elements.len() > limit {
                        losses.add(LossPlace::Limiter, (elements.len() - limit) as u64);
                        resize(elements, limit)?;
                    }
                    Ok(Flow::Continue)
                });
        }
        Ok(())
    }

    fn explain(&self, context: &Context, to: &mut Explanation) {
        let limits: Vec<String> = self
            .limits
            .iter()
            .map(|(index, limit)| format!("{limit} of {}", context.streams[*index].source.name()))
            .collect();
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: !limits.is_empty(),
            why: if limits.is_empty() {
                "--max-entries sets no limit".to_owned()
            } else {
                format!("at most {}", limits.join(", "))
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSource, Element, NewField, Scalar, Stream};

    fn context(sources: &[(&str, SourceType)]) -> Context {
        let stream = |(name, kind): &(&str, SourceType)| {
            let mut source = DataSource::new(*name, *kind, None);
            source.add_field(NewField::new("n", Scalar::Uint32)).unwrap();
            Stream::new(source)
        };
        Context {
            streams: sources.iter().map(stream).collect(),
            ..Context::default()
        }
    }

    fn limiter(context: &mut Context, value: &str) -> Result<Limiter> {
        let mut limiter = Limiter::instantiate(context).expect("an array");
        let mut values = ParamValues::new();
        values.set("operator.limiter.max-entries", value);
        limiter.configure(&values, context)?;
        Ok(limiter)
    }

    /// How many of five elements are left in each data source, and how many are counted as cut off.
    fn left(value: &str) -> Vec<(usize, u64)> {
        let mut context = context(&[
            ("a", SourceType::Array),
            ("b", SourceType::Array),
            ("single", SourceType::Single),
        ]);
        limiter(&mut context, value).unwrap().prepare(&mut context).unwrap();
        let mut left = Vec::new();
        for stream in &mut context.streams[..2] {
            let mut emitter = stream.emitter();
            let mut elements: Vec<Element> = (0..5).map(|_| emitter.element()).collect();
            emitter.emit_array(&mut elements).unwrap();
            left.push((elements.len(), stream.losses.at(LossPlace::Limiter)));
        }
        left
    }

    fn error(value: &str) -> String {
        let mut context = context(&[("processes", SourceType::Array), ("single", SourceType::Single)]);
        limiter(&mut context, value).unwrap_err().to_string()
    }

    #[test]
    fn arrays_are_cut() {
        assert_eq!(left("-1"), [(5, 0), (5, 0)]);
        assert_eq!(left("2"), [(2, 3), (2, 3)]);
        assert_eq!(left("0"), [(0, 5), (0, 5)]);
        assert_eq!(left("9"), [(5, 0), (5, 0)]);
        assert_eq!(left("a:1"), [(1, 4), (5, 0)], "what is not named has no limit");
        assert_eq!(left("a:-1,b:3"), [(5, 0), (3, 2)]);
        assert_eq!(left("nosuch:1"), [(5, 0), (5, 0)]);
    }

    /// The rows of the data specification that are about order and number.
    #[test]
    fn what_comes_first_in_order_is_kept() {
        let mut source = DataSource::new("rows", SourceType::Array, None);
        let a = source.add_field(NewField::new("a", Scalar::Uint32)).unwrap();
        let b = source.add_field(NewField::new("b", Scalar::String)).unwrap();
        let (a, b) = (source.accessor(a), source.accessor(b));
        let mut context = Context {
            streams: vec![Stream::new(source)],
            ..Context::default()
        };
        let mut sort = crate::operators::sort::Sort::instantiate(&mut context).unwrap();
        let mut values = ParamValues::new();
        values.set("operator.sort.sort", "a");
        sort.configure(&values, &mut context).unwrap();
        let mut limiter = limiter(&mut context, "2").unwrap();
        // Whoever prepares first: the order is that of priorities.
        limiter.prepare(&mut context).unwrap();
        sort.prepare(&mut context).unwrap();
        let mut emitter = context.streams[0].emitter();
        let mut elements: Vec<Element> = [(2, "x"), (1, "x"), (2, "y"), (1, "y")]
            .into_iter()
            .map(|(number, text)| {
                let mut element = emitter.element();
                a.set_bits(&mut element, number);
                b.set(&mut element, text.as_bytes()).unwrap();
                element
            })
            .collect();
        emitter.emit_array(&mut elements).unwrap();
        let left: Vec<_> = elements
            .iter()
            .map(|element| (a.bits(element), b.text(element)))
            .collect();
        assert_eq!(left, [(1, &b"x"[..]), (1, &b"y"[..])]);
        assert!(error("-10").ends_with("invalid value of max-entries for data source \"processes\": -10"));
    }

    #[test]
    fn only_gadgets_with_arrays_have_the_parameter() {
        assert!(Limiter::instantiate(&mut context(&[("single", SourceType::Single)])).is_none());
        let mut hidden = context(&[("a", SourceType::Array)]);
        hidden.streams[0].source.unreference();
        assert!(Limiter::instantiate(&mut hidden).is_none());
    }

    #[test]
    fn the_parameter_as_recorded() {
        let mut context = context(&[("a", SourceType::Array)]);
        let [param] = &Limiter::instantiate(&mut context).unwrap().params()[..] else {
            panic!("one parameter")
        };
        assert_eq!(param.full_name(), "operator.limiter.max-entries");
        assert_eq!((&*param.default, &param.type_hint), ("-1", &TypeHint::String));
        assert_eq!(
            (&*param.title, &param.tags[..]),
            ("Max Entries", &["group:Data Filtering".to_owned()][..])
        );
    }

    #[test]
    fn errors_read_like_upstream() {
        let instantiating = "initializing and preparing operators: instantiating operator \"limiter\": ";
        let starting = "pre-starting operators: pre-starting operator \"limiter\": ";
        for (value, prefix, expected) in [
            (
                "abc",
                instantiating,
                "parsing max-entries (\"abc\"): converting abc to int: strconv.Atoi: parsing \"abc\": invalid syntax",
            ),
            ("", instantiating, "invalid value for max-entries: "),
            (",", instantiating, "invalid value for max-entries: ,"),
            (
                "1,processes:2",
                instantiating,
                "parsing max-entries (\"1,processes:2\"): mixed values with and without specifying data source",
            ),
            (
                "-5",
                starting,
                "invalid value of max-entries for data source \"processes\": -5",
            ),
            (
                "processes:-10",
                starting,
                "invalid value of max-entries for data source \"processes\": -10",
            ),
            (
                "single:1",
                starting,
                "max-entries can only be used on array data sources",
            ),
        ] {
            assert_eq!(error(value), format!("{prefix}{expected}"));
        }
    }

    #[test]
    fn explains_itself() {
        for (value, on, why) in [
            ("-1", false, "--max-entries sets no limit"),
            ("a:1", true, "at most 1 of a"),
        ] {
            let mut context = context(&[("a", SourceType::Array)]);
            let limiter = limiter(&mut context, value).unwrap();
            let mut explanation = Explanation::default();
            limiter.explain(&context, &mut explanation);
            assert_eq!((explanation.operators[0].on, &*explanation.operators[0].why), (on, why));
        }
    }
}
