//! What an expression is compiled to: a tree whose names are resolved, whose types are checked and whose constants are made.
//!
//! The tree is evaluated in three ways: [`Plan::value`] gives any value, [`Plan::test`] a truth value and [`Plan::bytes`] a
//! text, the last two without making a [`Value`] of what need not be one. Tests of fields against constants allocate nothing.

use std::cell::RefCell;
use std::sync::Arc;

use memchr::memmem;

use super::ast::BinaryOp;
use super::builtins::{Function, predicates::Each};
use super::environment::Environment;
use super::fault::{Fault, Outcome};
use super::operators;
use super::value::{Budget, Bytes, Value};
use crate::data::{Accessor, Element, Kind, Scalar};
use crate::pattern::Pattern;
use crate::text::printable;

/// A node. `at` is the character that errors of the node blame.
#[derive(Debug)]
pub(super) enum Plan {
    Const(Value<'static>),
    Load(Load),
    /// Whether an integer field is in a range.
    Within(Within),
    /// A text against a constant.
    Text {
        of: Box<Plan>,
        test: TextTest,
    },
    Matches {
        of: Box<Plan>,
        pattern: Matcher,
        at: u32,
    },
    Not(Box<Plan>),
    All(Box<[Plan]>),
    Any(Box<[Plan]>),
    Binary {
        op: BinaryOp,
        left: Box<Plan>,
        right: Box<Plan>,
        at: u32,
    },
    Negate {
        of: Box<Plan>,
        at: u32,
    },
    /// An integer in a sorted list of constants.
    InIntegers {
        of: Box<Plan>,
        set: Box<[i128]>,
    },
    /// An integer in a range of constants.
    InRange {
        of: Box<Plan>,
        from: i64,
        to: i64,
    },
    /// A text in a sorted list of constants.
    InTexts {
        of: Box<Plan>,
        set: Box<[Box<[u8]>]>,
    },
    /// An address in `cidr(...)`.
    InPrefixes {
        of: Box<Plan>,
        prefixes: Box<Plan>,
        at: u32,
    },
    /// Texts, one after the other.
    Concat {
        parts: Box<[Plan]>,
        at: u32,
    },
    /// `string(x)`
    Show {
        of: Box<Plan>,
        at: u32,
    },
    Coalesce(Box<Plan>, Box<Plan>),
    If(Box<[Plan; 3]>),
    Let {
        slot: usize,
        value: Box<Plan>,
        body: Box<Plan>,
    },
    Variable(usize),
    /// `#`, `#index` and `#acc` of the innermost predicate.
    Item,
    Index,
    Accumulator,
    Chain(Box<Plan>),
    Member {
        of: Box<Plan>,
        key: Box<Plan>,
        optional: bool,
        at: u32,
    },
    Slice {
        of: Box<Plan>,
        from: Option<Box<Plan>>,
        to: Option<Box<Plan>>,
        at: u32,
    },
    List {
        items: Box<[Plan]>,
        at: u32,
    },
    Map {
        entries: Box<[(Plan, Plan)]>,
        at: u32,
    },
    Sequence(Box<[Plan]>),
    Call {
        function: Function,
        arguments: Box<[Plan]>,
        at: u32,
    },
    /// A call of a method: the first argument is what it is called on.
    Method {
        function: Function,
        arguments: Box<[Plan]>,
        optional: bool,
        at: u32,
    },
    Each(Box<Each>),
    /// A field whose name is known at run time only, or whether there is one.
    Lookup {
        environment: Arc<Environment>,
        name: Box<Plan>,
        exists: bool,
        at: u32,
    },
}

/// How the value of a field is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) accessor: Accessor,
    as_what: As,
}

#[derive(Clone, Copy, Debug)]
enum As {
    Bool,
    Signed,
    Unsigned,
    Single,
    Double,
    Text,
}

impl Load {
    pub(super) fn new(accessor: Accessor) -> Self {
        let as_what = match accessor.kind() {
            Kind::One(Scalar::Bool) => As::Bool,
            Kind::One(Scalar::Float32) => As::Single,
            Kind::One(Scalar::Float64) => As::Double,
            Kind::One(scalar) if scalar.is_signed() => As::Signed,
            Kind::One(scalar) if scalar.is_integer() => As::Unsigned,
            _ => As::Text,
        };
        Self { accessor, as_what }
    }

    #[inline]
    pub(super) fn value<'a>(&self, element: &'a Element) -> Value<'a> {
        let field = &self.accessor;
        match self.as_what {
            As::Bool => Value::Bool(field.bool(element)),
            As::Signed => Value::Int(field.bits(element) as i64),
            As::Unsigned => Value::Uint(field.bits(element)),
            As::Single => Value::Single(field.f64(element) as f32),
            As::Double => Value::Float(field.f64(element)),
            As::Text => Value::Text(Bytes::Borrowed(field.text(element))),
        }
    }
}

/// Whether an integer field is between two bounds, both included. All comparisons with a constant are of this form.
#[derive(Debug)]
pub(super) struct Within {
    field: Accessor,
    /// Makes the order of signed integers that of unsigned ones.
    flip: u64,
    from: u64,
    len: u64,
    negate: bool,
}

impl Within {
    /// `from <= field <= to`, or its contrary; a constant if that does not depend on the field.
    pub(super) fn plan(field: Accessor, signed: bool, from: i128, to: i128, negate: bool) -> Plan {
        let (least, most, flip) = if signed {
            (i128::from(i64::MIN), i128::from(i64::MAX), 1 << 63)
        } else {
            (0, i128::from(u64::MAX), 0)
        };
        let (from, to) = (from.max(least), to.min(most));
        if from > to {
            return Plan::Const(Value::Bool(negate));
        }
        if from == least && to == most {
            return Plan::Const(Value::Bool(!negate));
        }
        Plan::Within(Within {
            field,
            flip,
            from: (from - least) as u64,
            len: (to - from) as u64,
            negate,
        })
    }

    #[inline]
    fn test(&self, element: &Element) -> bool {
        let value = self.field.bits(element) ^ self.flip;
        (value.wrapping_sub(self.from) <= self.len) != self.negate
    }
}

/// A test of a text against a constant.
#[derive(Debug)]
pub(super) enum TextTest {
    Equal(Box<[u8]>),
    NotEqual(Box<[u8]>),
    /// One of `< <= > >=`.
    Order(BinaryOp, Box<[u8]>),
    StartsWith(Box<[u8]>),
    EndsWith(Box<[u8]>),
    Contains(Box<memmem::Finder<'static>>),
}

impl TextTest {
    #[inline]
    fn holds(&self, text: &[u8]) -> bool {
        match self {
            TextTest::Equal(with) => *text == **with,
            TextTest::NotEqual(with) => *text != **with,
            TextTest::Order(op, with) => operators::ordered(*op, text.cmp(with)),
            TextTest::StartsWith(with) => text.starts_with(with),
            TextTest::EndsWith(with) => text.ends_with(with),
            TextTest::Contains(finder) => finder.find(text).is_some(),
        }
    }
}

/// What a text is matched with.
#[derive(Debug)]
pub(super) enum Matcher {
    Constant(RefCell<Pattern>),
    /// A pattern that is computed, and the last one that was met.
    Computed {
        text: Box<Plan>,
        last: RefCell<Option<(Box<[u8]>, Pattern)>>,
    },
}

impl Matcher {
    /// Compiles a pattern.
    pub(super) fn compile(text: &[u8]) -> Outcome<Pattern> {
        let text = String::from_utf8_lossy(text);
        Pattern::new(&text)
            .map_err(|reason| Fault::new(format!("error parsing regexp: {reason}: `{}`", printable(&text))))
    }
}

/// What an evaluation knows besides the plan.
pub(super) struct Frame<'a> {
    pub(super) element: &'a Element,
    pub(super) budget: Budget,
    variables: Vec<Value<'a>>,
    /// One for each predicate that is being evaluated.
    pub(super) scopes: Vec<Scope<'a>>,
}

/// What a predicate sees.
pub(super) struct Scope<'a> {
    pub(super) item: Value<'a>,
    pub(super) index: usize,
    pub(super) accumulator: Value<'a>,
}

impl<'a> Frame<'a> {
    pub(super) fn new(element: &'a Element) -> Self {
        Self {
            element,
            budget: Budget::new(),
            variables: Vec::new(),
            scopes: Vec::new(),
        }
    }

    fn set(&mut self, slot: usize, value: Value<'a>) {
        if self.variables.len() <= slot {
            self.variables.resize(slot + 1, Value::Nil);
        }
        self.variables[slot] = value;
    }
}

impl Plan {
    pub(super) fn is_const(&self) -> bool {
        matches!(self, Plan::Const(_))
    }

    /// The constant text, if it is one.
    pub(super) fn const_text(&self) -> Option<&[u8]> {
        match self {
            Plan::Const(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Evaluates to a truth value.
    pub(super) fn test<'a>(&'a self, frame: &mut Frame<'a>) -> Outcome<bool> {
        match self {
            Plan::Within(within) => Ok(within.test(frame.element)),
            Plan::Text { of, test } => {
                let text = of.bytes(frame)?;
                if let TextTest::Contains(_) = test {
                    frame.budget.scan(text.len())?;
                }
                Ok(test.holds(&text))
            }
            Plan::Load(load) if matches!(load.as_what, As::Bool) => Ok(load.accessor.bool(frame.element)),
            Plan::Const(Value::Bool(value)) => Ok(*value),
            Plan::Not(of) => Ok(!of.test(frame)?),
            Plan::All(terms) => {
                for term in terms {
                    if !term.test(frame)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Plan::Any(terms) => {
                for term in terms {
                    if term.test(frame)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Plan::InTexts { of, set } => {
                let text = of.bytes(frame)?;
                Ok(set.binary_search_by(|member| (**member).cmp(&*text)).is_ok())
            }
            Plan::InIntegers { of, set } => {
                let integer = of.value(frame)?.integer();
                Ok(integer.is_some_and(|integer| set.binary_search(&integer).is_ok()))
            }
            Plan::InRange { of, from, to } => {
                let integer = of.value(frame)?.integer();
                Ok(integer.is_some_and(|integer| (i128::from(*from)..=i128::from(*to)).contains(&integer)))
            }
            Plan::Matches { of, pattern, at } => self::matches(of, pattern, frame).map_err(|fault| fault.at(*at)),
            Plan::InPrefixes { of, prefixes, at } => in_prefixes(of, prefixes, frame).map_err(|fault| fault.at(*at)),
            Plan::Binary { op, left, right, at } if op.is_test() => {
                operators::test(*op, left, right, frame).map_err(|fault| fault.at(*at))
            }
            _ => match self.value(frame)? {
                Value::Bool(value) => Ok(value),
                other => Err(Fault::new(format!("expected bool, but got {}", other.type_name()))),
            },
        }
    }

    /// Evaluates to a text.
    #[inline]
    pub(super) fn bytes<'a>(&'a self, frame: &mut Frame<'a>) -> Outcome<Bytes<'a>> {
        if let Plan::Load(load) = self {
            return Ok(Bytes::Borrowed(load.accessor.text(frame.element)));
        }
        match self.value(frame)? {
            Value::Text(text) => Ok(text),
            other => Err(Fault::new(format!("expected string, but got {}", other.type_name()))),
        }
    }

    /// Appends the text that it evaluates to.
    pub(super) fn append<'a>(&'a self, frame: &mut Frame<'a>, out: &mut Vec<u8>) -> Outcome<()> {
        match self {
            Plan::Concat { parts, .. } => parts.iter().try_for_each(|part| part.append(frame, out)),
            Plan::Show { of, at } => {
                let value = of.value(frame)?;
                super::show::append(&value, &mut frame.budget, out).map_err(|fault| fault.at(*at))
            }
            _ => {
                out.extend_from_slice(&self.bytes(frame)?);
                Ok(())
            }
        }
    }

    /// Evaluates to a value.
    pub(super) fn value<'a>(&'a self, frame: &mut Frame<'a>) -> Outcome<Value<'a>> {
        match self {
            Plan::Const(value) => Ok(value.borrow()),
            Plan::Load(load) => Ok(load.value(frame.element)),
            Plan::Binary { op, left, right, at } if !op.is_test() => {
                operators::value(*op, left, right, frame).map_err(|fault| fault.at(*at))
            }
            Plan::Negate { of, at } => {
                let value = of.value(frame)?;
                operators::negate(&value).map_err(|fault| fault.at(*at))
            }
            Plan::Coalesce(left, right) => match left.value(frame)? {
                Value::Nil => right.value(frame),
                value => Ok(value),
            },
            Plan::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                if condition.test(frame)? {
                    then.value(frame)
                } else {
                    otherwise.value(frame)
                }
            }
            Plan::Let { slot, value, body } => {
                let value = value.value(frame)?;
                frame.set(*slot, value);
                body.value(frame)
            }
            Plan::Variable(slot) => Ok(frame.variables.get(*slot).cloned().unwrap_or(Value::Nil)),
            Plan::Item => Ok(frame.scopes.last().map_or(Value::Nil, |scope| scope.item.clone())),
            Plan::Index => Ok(frame
                .scopes
                .last()
                .map_or(Value::Nil, |scope| Value::Int(scope.index as i64))),
            Plan::Accumulator => Ok(frame
                .scopes
                .last()
                .map_or(Value::Nil, |scope| scope.accumulator.clone())),
            Plan::Chain(of) => match of.value(frame) {
                Err(fault) if fault.is_nil_chain() => Ok(Value::Nil),
                result => result,
            },
            Plan::Sequence(plans) => {
                let mut last = Value::Nil;
                for plan in plans {
                    last = plan.value(frame)?;
                }
                Ok(last)
            }
            Plan::Concat { at, .. } | Plan::Show { at, .. } => {
                let mut text = Vec::new();
                self.append(frame, &mut text)?;
                Value::text(text, &mut frame.budget).map_err(|fault| fault.at(*at))
            }
            Plan::Each(each) => each.value(frame),
            Plan::Call {
                function,
                arguments,
                at,
            } => call(*function, arguments, frame).map_err(|fault| fault.at(*at)),
            Plan::Method {
                function,
                arguments,
                optional,
                at,
            } => method(*function, arguments, *optional, frame).map_err(|fault| fault.at(*at)),
            Plan::Member { .. } | Plan::Slice { .. } | Plan::List { .. } | Plan::Map { .. } | Plan::Lookup { .. } => {
                self.collection(frame)
            }
            _ => Ok(Value::Bool(self.test(frame)?)),
        }
    }

    /// What makes lists and maps and takes them apart. Apart from [`value`](Self::value) to keep its stack frame small.
    #[inline(never)]
    fn collection<'a>(&'a self, frame: &mut Frame<'a>) -> Outcome<Value<'a>> {
        match self {
            Plan::Member { of, key, optional, at } => {
                let of = of.value(frame)?;
                if *optional && matches!(of, Value::Nil) {
                    return Err(Fault::nil_chain());
                }
                let key = key.value(frame)?;
                operators::member(&of, &key).map_err(|fault| fault.at(*at))
            }
            Plan::Slice { of, from, to, at } => {
                let of = of.value(frame)?;
                let from = from.as_ref().map(|from| from.value(frame)).transpose()?;
                let to = to.as_ref().map(|to| to.value(frame)).transpose()?;
                operators::slice(&of, from.as_ref(), to.as_ref(), &mut frame.budget).map_err(|fault| fault.at(*at))
            }
            Plan::List { items, at } => {
                let items = items.iter().map(|item| item.value(frame)).collect::<Outcome<_>>()?;
                Value::list(items, &mut frame.budget).map_err(|fault| fault.at(*at))
            }
            Plan::Map { entries, at } => {
                let mut map = std::collections::BTreeMap::new();
                for (key, value) in entries {
                    let key = key.value(frame)?.key().map_err(|fault| fault.at(*at))?;
                    map.insert(key, value.value(frame)?);
                }
                Value::map(map, &mut frame.budget).map_err(|fault| fault.at(*at))
            }
            Plan::Lookup {
                environment,
                name,
                exists,
                at,
            } => {
                let name = name.bytes(frame)?;
                match environment.find(&name) {
                    Some(_) if *exists => Ok(Value::Bool(true)),
                    None if *exists => Ok(Value::Bool(false)),
                    Some(load) => Ok(load.value(frame.element)),
                    None => Err(Fault::new(format!(
                        "cannot fetch {} from the event",
                        printable(&String::from_utf8_lossy(&name))
                    ))
                    .at(*at)),
                }
            }
            _ => Ok(Value::Nil),
        }
    }
}

#[inline(never)]
fn matches<'a>(of: &'a Plan, pattern: &'a Matcher, frame: &mut Frame<'a>) -> Outcome<bool> {
    let of = of.bytes(frame)?;
    frame.budget.scan(of.len())?;
    match pattern {
        Matcher::Constant(pattern) => Ok(pattern.borrow_mut().matches(&of)),
        Matcher::Computed { text, last } => {
            let text = text.bytes(frame)?;
            let mut last = last.borrow_mut();
            if last.as_ref().is_none_or(|(met, _)| **met != *text) {
                // Compiling costs far more than matching.
                frame.budget.steps(100_000)?;
                *last = Some(((*text).into(), Matcher::compile(&text)?));
            }
            Ok(last.as_mut().is_some_and(|(_, pattern)| pattern.matches(&of)))
        }
    }
}

#[inline(never)]
fn in_prefixes<'a>(of: &'a Plan, prefixes: &'a Plan, frame: &mut Frame<'a>) -> Outcome<bool> {
    let of = of.bytes(frame)?;
    match prefixes.value(frame)? {
        Value::Prefixes(prefixes) => prefixes.contain(&of),
        other => Err(Fault::new(format!("expected cidr(...), but got {}", other.type_name()))),
    }
}

/// Evaluates the arguments, on the stack if they are few, and calls the function.
#[inline(never)]
fn call<'a>(function: Function, arguments: &'a [Plan], frame: &mut Frame<'a>) -> Outcome<Value<'a>> {
    const FEW: usize = 3;
    if arguments.len() <= FEW {
        let mut values = [const { Value::Nil }; FEW];
        for (value, argument) in values.iter_mut().zip(arguments) {
            *value = argument.value(frame)?;
        }
        function(&values[..arguments.len()], &mut frame.budget)
    } else {
        let values: Vec<Value<'a>> = arguments
            .iter()
            .map(|argument| argument.value(frame))
            .collect::<Outcome<_>>()?;
        function(&values, &mut frame.budget)
    }
}

#[inline(never)]
fn method<'a>(function: Function, arguments: &'a [Plan], optional: bool, frame: &mut Frame<'a>) -> Outcome<Value<'a>> {
    let values: Vec<Value<'a>> = arguments
        .iter()
        .map(|argument| argument.value(frame))
        .collect::<Outcome<_>>()?;
    if optional && matches!(values.first(), Some(Value::Nil)) {
        return Err(Fault::nil_chain());
    }
    function(&values, &mut frame.budget)
}
