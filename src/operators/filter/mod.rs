//! Selection by value: `--filter` and `--filter-expr`.
//!
//! Conditions are compiled once and decided as early as they can be. Those on the record as the kernel wrote it are asked before
//! anything else is spent on the event; the others when all operators have added their fields. The cheap ones come first. What one of
//! the gadget's own parameters stands for is handed down to the kernel besides.

mod expression;
mod grammar;
mod kernel;
mod term;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::expression::Expression;
use self::grammar::{Condition, conditions};
pub use self::kernel::KernelSide;
use self::kernel::push_down;
use self::term::Term;
pub use self::terms::Terms;
use super::{Context, Explanation, Instance, OperatorNote, Stream, TermNote, TermPlace, priority};
use crate::data::{Accessor, CodeWrites, DataSource, Element, FieldId, Flags, Flow, SourceType};
use crate::metadata::params::{Param, ParamValues};
use crate::{Result, ResultExt};

/// Prefix of the full names of this operator's parameters.
pub const PARAM_PREFIX: &str = "operator.filter.";

const TERMS: &str = "filter";
const EXPRESSION: &str = "filter-expr";

/// The filters of one gadget.
#[derive(Debug)]
pub struct Filter {
    kernel: KernelSide,
    /// Names of the data sources that can be filtered.
    sources: Vec<String>,
    rules: Vec<Rule>,
}

/// One thing that has to hold for the elements of one stream.
#[derive(Debug)]
struct Rule {
    stream: usize,
    text: String,
    test: Test,
    /// Whether the record as the kernel wrote it has all that is looked at.
    raw: bool,
    /// The parameter by which the kernel decides it.
    pushed: Option<String>,
}

#[derive(Debug)]
enum Test {
    Term(Term),
    Expression(Expression),
}

impl Test {
    #[inline]
    fn matches(&mut self, element: &Element) -> bool {
        match self {
            Test::Term(term) => term.matches(element),
            Test::Expression(expression) => expression.matches(element),
        }
    }

    fn cost(&self) -> u32 {
        match self {
            Test::Term(term) => term.cost(),
            Test::Expression(_) => u32::MAX,
        }
    }

    fn fields(&self) -> &[FieldId] {
        match self {
            Test::Term(term) => std::slice::from_ref(&term.field),
            Test::Expression(expression) => expression.fields(),
        }
    }
}

impl Filter {
    /// Filters for the data sources that are referenced now. To be called after all operators that add fields or data sources.
    pub fn instantiate(context: &mut Context, kernel: KernelSide) -> Self {
        Self {
            kernel,
            sources: context
                .referenced()
                .map(|(_, stream)| stream.source.name().to_owned())
                .collect(),
            rules: Vec::new(),
        }
    }

    fn compile(&mut self, values: &ParamValues, params: &[Param], context: &mut Context) -> Result<()> {
        let value = |key: &str| {
            let name = format!("{PARAM_PREFIX}{key}");
            let default = || params.iter().find(|param| param.full_name() == name);
            let value = values.get(&name).map(str::to_owned);
            value.or_else(|| default().map(|param| param.default.clone()))
        };
        for (index, stream) in context.referenced() {
            let source = &stream.source;
            let writes = self.kernel.writes(source)?;
            let mut add = |text: &str, test: Test| {
                self.rules.push(Rule {
                    stream: index,
                    text: text.to_owned(),
                    raw: test.fields().iter().all(|field| is_raw(source, *field, &writes)),
                    test,
                    pushed: None,
                });
            };
            for key in [format!("{TERMS}.{}", source.name()), TERMS.to_owned()] {
                for text in conditions(&value(&key).unwrap_or_default()) {
                    add(&text, Test::Term(Term::compile(&Condition::parse(&text)?, source)?));
                }
            }
            for key in [format!("{EXPRESSION}.{}", source.name()), EXPRESSION.to_owned()] {
                if let Some(text) = value(&key).filter(|text| !text.is_empty()) {
                    add(&text, Test::Expression(Expression::compile(&text, source)?));
                }
            }
        }
        Ok(())
    }
}

/// Whether the value of `field` is in the record and nothing writes over it: neither the gadget's own code nor the formatter of time
/// stamps, which replaces the number by that of the wall clock.
fn is_raw(source: &DataSource, field: FieldId, writes: &CodeWrites) -> bool {
    let mut stamps = source.with_tag("type:gadget_timestamp");
    source.get(field).flags().has(Flags::STATIC_MEMBER)
        && !writes.may_change(source, field)
        && !stamps.any(|(stamp, _)| source.share_bytes(stamp, field))
}

impl Instance for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn priority(&self) -> i32 {
        priority::instance::FILTER
    }

    fn params(&self) -> Vec<Param> {
        let param = |key: String| Param {
            prefix: PARAM_PREFIX.to_owned(),
            ..Param::new(key).tag("group:Data Filtering")
        };
        let terms = "Filter rules: field, operation (==, !=, <, <=, >, >=, ~ or !~) and value, separated by commas; all must hold";
        let expression = "Filter expression: show only events for which it is true";
        let mut params = Vec::new();
        for name in &self.sources {
            params.push(Param {
                title: format!("Filter for {name:?}"),
                description: terms.to_owned(),
                ..param(format!("{TERMS}.{name}"))
            });
            params.push(Param {
                title: format!("Expression Filter for {name:?}"),
                description: expression.to_owned(),
                ..param(format!("{EXPRESSION}.{name}"))
            });
        }
        if let [name] = self.sources.as_slice() {
            for (key, alias) in [(TERMS, 'F'), (EXPRESSION, 'E')] {
                params.push(
                    param(key.to_owned())
                        .alias(alias)
                        .description(format!("Synonym for --{key}.{name}"))
                        .tag("advanced"),
                );
            }
        }
        params
    }

    fn adjust(&mut self, values: &mut ParamValues, params: &[Param], context: &mut Context) -> Result<()> {
        self.compile(values, params, context)
            .context("instantiating operator \"filter\"")
            .context("initializing and preparing operators")?;
        for rule in &mut self.rules {
            if let Test::Term(term) = &rule.test {
                rule.pushed = push_down(term, &self.kernel, &context.streams, values, params);
            }
        }
        Ok(())
    }

    fn demand(&self, context: &mut Context) {
        for rule in &self.rules {
            if let Some(stream) = context.streams.get_mut(rule.stream) {
                rule.test.fields().iter().for_each(|field| stream.demand.add(*field));
            }
        }
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        let mut steps: BTreeMap<(usize, i32), Vec<Test>> = BTreeMap::new();
        for rule in self.rules.drain(..) {
            let priority = if rule.raw {
                priority::subscription::RAW_FILTER
            } else {
                priority::subscription::FILTER
            };
            steps.entry((rule.stream, priority)).or_default().push(rule.test);
        }
        for ((stream, priority), mut tests) in steps {
            tests.sort_by_key(Test::cost);
            let Some(stream) = context.streams.get_mut(stream) else {
                continue;
            };
            if priority == priority::subscription::RAW_FILTER && stream.source.source_type() == SourceType::Single {
                screen(stream, tests);
            } else {
                subscribe(stream, priority, tests);
            }
        }
        Ok(())
    }

    fn explain(&self, context: &Context, to: &mut Explanation) {
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: !self.rules.is_empty(),
            why: match self.rules.len() {
                0 => "there is no filter".to_owned(),
                1 => "1 condition".to_owned(),
                count => format!("{count} conditions"),
            },
        });
        for rule in &self.rules {
            let source = context.streams.get(rule.stream).map(|stream| stream.source.name());
            to.terms.push(TermNote {
                source: source.unwrap_or_default().to_owned(),
                text: rule.text.clone(),
                place: match &rule.pushed {
                    Some(param) => TermPlace::Kernel(param.clone()),
                    None if rule.raw => TermPlace::Raw,
                    None => TermPlace::Enriched,
                },
            });
        }
    }
}

/// Has records left out before they become elements.
fn screen(stream: &mut Stream, tests: Vec<Test>) {
    let screen = stream.screen.get_or_insert_default();
    for mut test in tests {
        let accessors: Vec<Accessor> = test.fields().iter().map(|id| stream.source.accessor(*id)).collect();
        screen.add(&accessors, Box::new(move |element| test.matches(element)));
    }
}

fn subscribe(stream: &mut Stream, priority: i32, tests: Vec<Test>) {
    let flow = |passes: bool| if passes { Flow::Continue } else { Flow::Discard };
    // Most filters are a single comparison, which needs no loop.
    match <[Test; 1]>::try_from(tests) {
        Ok([Test::Term(mut term)]) => stream
            .pipeline
            .subscribe(priority, move |element| Ok(flow(term.matches(element)))),
        Ok([mut test]) => stream
            .pipeline
            .subscribe(priority, move |element| Ok(flow(test.matches(element)))),
        Err(mut tests) => stream.pipeline.subscribe(priority, move |element| {
            Ok(flow(tests.iter_mut().all(|test| test.matches(element))))
        }),
    }
}
