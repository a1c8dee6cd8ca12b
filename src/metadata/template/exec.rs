//! Filling a template in.

use super::Source;
use super::format;
use super::functions::{self, Builtin};
use super::parse::{Command, Keyword, Node, Operand, OperandKind, Pipeline};
use super::value::Value;
use crate::Result;

/// The most that a template may write, in bytes. What functions return counts too.
pub(super) const MAX_OUTPUT: usize = 256 << 10;
/// The most nodes and commands that may be executed.
const MAX_STEPS: usize = 20_000;

pub(super) fn render(source: &Source, body: &[Node], data: &Value<'_>) -> Result<String> {
    let mut execution = Execution {
        source,
        variables: vec![(String::new(), data.clone())],
        out: String::new(),
        produced: 0,
        steps: 0,
    };
    execution.nodes(body, data)?;
    Ok(execution.out)
}

struct Execution<'s, 'a> {
    source: &'s Source,
    /// The innermost last; `$` has the empty name.
    variables: Vec<(String, Value<'a>)>,
    out: String,
    /// Bytes of all texts that were made.
    produced: usize,
    steps: usize,
}

/// How a list of nodes was left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    AtEnd,
    Break,
    Continue,
}

impl<'a> Execution<'_, 'a> {
    fn step(&mut self, offset: usize) -> Result<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(self.source.error(offset, format_args!("more than {MAX_STEPS} steps")));
        }
        Ok(())
    }

    fn produce(&mut self, bytes: usize, offset: usize) -> Result<()> {
        self.produced = self.produced.saturating_add(bytes);
        if self.produced > MAX_OUTPUT {
            return Err(self
                .source
                .error(offset, format_args!("more than {MAX_OUTPUT} bytes of text")));
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value<'a>) -> Result<Leave> {
        let visible = self.variables.len();
        for node in nodes {
            let leave = match node {
                Node::Text(text) => {
                    self.produce(text.len(), 0)?;
                    self.out.push_str(text);
                    Leave::AtEnd
                }
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        let text = format::shown(&value, pipeline.offset, self.source)?;
                        self.produce(text.len(), pipeline.offset)?;
                        self.out.push_str(&text);
                    }
                    Leave::AtEnd
                }
                Node::Block {
                    keyword,
                    pipeline,
                    body,
                    otherwise,
                } => {
                    let outside = self.variables.len();
                    let leave = self.block(*keyword, pipeline, body, otherwise, dot)?;
                    self.variables.truncate(outside);
                    leave
                }
                Node::Break => Leave::Break,
                Node::Continue => Leave::Continue,
            };
            if leave != Leave::AtEnd {
                self.variables.truncate(visible);
                return Ok(leave);
            }
        }
        // Variables of the outermost list live on until the end.
        if visible > 1 {
            self.variables.truncate(visible);
        }
        Ok(Leave::AtEnd)
    }

    fn block(
        &mut self,
        keyword: Keyword,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value<'a>,
    ) -> Result<Leave> {
        if keyword == Keyword::Range {
            return self.range(pipeline, body, otherwise, dot);
        }
        let value = self.pipeline(pipeline, dot)?;
        if !value.is_true() {
            return self.nodes(otherwise, dot);
        }
        match keyword {
            Keyword::With => self.nodes(body, &value),
            _ => self.nodes(body, dot),
        }
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value<'a>) -> Result<Leave> {
        let value = self.value(pipeline, dot)?;
        let items: Box<dyn Iterator<Item = (Value<'a>, Value<'a>)>> = match value {
            Value::List(items) => Box::new((0..).map(Value::Int).zip(items)),
            Value::Map(entries) => Box::new(entries.into_iter().map(|(key, value)| (Value::Text(key), value))),
            Value::Int(count) => Box::new((0..count).map(|i| (Value::Int(i), Value::Int(i)))),
            Value::Nil => Box::new(std::iter::empty()),
            other => {
                return Err(self.source.error(
                    pipeline.offset,
                    format_args!("range can't iterate over a {}", other.kind()),
                ));
            }
        };
        let mut any = false;
        let outside = self.variables.len();
        for (key, item) in items {
            any = true;
            self.step(pipeline.offset)?;
            match &pipeline.variables[..] {
                [] => {}
                [one] => self.set(pipeline.assigns, one, item.clone()),
                [first, second, ..] => {
                    self.set(pipeline.assigns, first, key);
                    self.set(pipeline.assigns, second, item.clone());
                }
            }
            let leave = self.nodes(body, &item)?;
            self.variables.truncate(outside);
            if leave == Leave::Break {
                break;
            }
        }
        if any {
            Ok(Leave::AtEnd)
        } else {
            self.nodes(otherwise, dot)
        }
    }

    fn set(&mut self, assigns: bool, name: &str, value: Value<'a>) {
        if assigns && let Some(variable) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            variable.1 = value;
        } else {
            self.variables.push((name.to_owned(), value));
        }
    }

    /// The value of a pipeline, which its variables get.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value<'a>) -> Result<Value<'a>> {
        let value = self.value(pipeline, dot)?;
        if let Some(name) = pipeline.variables.first() {
            self.set(pipeline.assigns, name, value.clone());
        }
        Ok(value)
    }

    fn value(&mut self, pipeline: &Pipeline, dot: &Value<'a>) -> Result<Value<'a>> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(&mut self, command: &Command, last: Option<Value<'a>>, dot: &Value<'a>) -> Result<Value<'a>> {
        let Some((first, arguments)) = command.operands.split_first() else {
            return Ok(Value::Nil);
        };
        self.step(first.offset)?;
        let OperandKind::Function(function) = first.kind else {
            if let Some(extra) = arguments.first() {
                return Err(self
                    .source
                    .error(extra.offset, "can't give an argument to what is no function; use call"));
            }
            return self.operand(first, dot);
        };
        if let Builtin::And | Builtin::Or = function {
            return self.short_circuit(function, first.offset, arguments, last, dot);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        let value = functions::call(function, values).map_err(|why| self.source.error(first.offset, why))?;
        if let Value::Text(text) = &value {
            self.produce(text.len(), first.offset)?;
        }
        Ok(value)
    }

    /// `and` and `or` stop at the first argument that decides.
    fn short_circuit(
        &mut self,
        function: Builtin,
        offset: usize,
        arguments: &[Operand],
        last: Option<Value<'a>>,
        dot: &Value<'a>,
    ) -> Result<Value<'a>> {
        let decides = |value: &Value<'_>| value.is_true() == (function == Builtin::Or);
        let mut value = None;
        for argument in arguments {
            let next = self.operand(argument, dot)?;
            if decides(&next) {
                return Ok(next);
            }
            value = Some(next);
        }
        last.or(value).ok_or_else(|| {
            self.source
                .error(offset, format_args!("{} needs an argument", function.name()))
        })
    }

    fn operand(&mut self, operand: &Operand, dot: &Value<'a>) -> Result<Value<'a>> {
        let mut value = match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            }
            OperandKind::Literal(value) => value.clone(),
            OperandKind::Pipeline(pipeline) => self.pipeline(pipeline, dot)?,
            OperandKind::Function(function) => {
                functions::call(*function, Vec::new()).map_err(|why| self.source.error(operand.offset, why))?
            }
        };
        for field in &operand.fields {
            value = match value {
                Value::Map(mut entries) => entries.remove(field).unwrap_or_default(),
                other => {
                    return Err(self.source.error(
                        operand.offset,
                        format_args!("can't take field {field} of a {}", other.kind()),
                    ));
                }
            };
        }
        Ok(value)
    }
}
