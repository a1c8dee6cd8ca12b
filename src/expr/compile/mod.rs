//! From the syntax tree to a plan: names are resolved, types are checked, constants are evaluated.

mod binary;
mod call;

use super::ast::{Node, NodeKind, UnaryOp};
use super::builtins;
use super::environment::Environment;
use super::fault::{Fault, Outcome};
use super::plan::{Frame, Load, Plan};
use super::types::Type;
use super::value::{Budget, Bytes, Value};
use crate::data::{DataSource, Element, FieldId};
use crate::text::{did_you_mean, nearest, printable};

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) plan: Plan,
    pub(super) result: Type,
    /// The leaf fields that are read, each once.
    pub(super) fields: Vec<FieldId>,
}

/// Compiles `node` for elements of `source`.
pub(super) fn compile(node: &Node, source: &DataSource) -> Outcome<Compiled> {
    let mut compiler = Compiler {
        source,
        fields: Vec::new(),
        variables: Vec::new(),
        slots: 0,
        scopes: Vec::new(),
        budget: Budget::of(100_000, 1_000_000),
    };
    let (plan, result) = compiler.value(node)?;
    Ok(Compiled {
        plan,
        result,
        fields: compiler.fields,
    })
}

type Typed = (Plan, Type);

struct Compiler<'s> {
    source: &'s DataSource,
    fields: Vec<FieldId>,
    variables: Vec<Variable>,
    slots: usize,
    scopes: Vec<Scope>,
    /// What may be spent on constants.
    budget: Budget,
}

struct Variable {
    name: String,
    slot: usize,
    of: Type,
}

/// What a predicate can name.
struct Scope {
    item: Type,
    accumulates: bool,
}

impl Compiler<'_> {
    /// Compiles what must have a value of its own.
    fn value(&mut self, node: &Node) -> Outcome<Typed> {
        let (plan, of) = self.node(node)?;
        match of {
            Type::Object(id) => {
                let name = self.source.get(id).full_name();
                let fault = Fault::new(format!("field {name} has no value, only its sub fields have")).at(node.at);
                Err(match self.children(id).next() {
                    Some((child, _)) => fault.hint(format!(
                        "name one of them, like `{}`",
                        self.source.get(child).full_name()
                    )),
                    None => fault,
                })
            }
            Type::Env => Err(Fault::new("$env has no value, only its fields have").at(node.at)),
            of => Ok((plan, of)),
        }
    }

    fn children(&self, id: FieldId) -> impl Iterator<Item = (FieldId, &crate::data::Field)> {
        self.source.children(id).filter(|(_, field)| !field.is_unreferenced())
    }

    fn node(&mut self, node: &Node) -> Outcome<Typed> {
        let constant = |value, of| Ok((Plan::Const(value), of));
        match &node.kind {
            NodeKind::Nil => constant(Value::Nil, Type::Nil),
            NodeKind::Bool(value) => constant(Value::Bool(*value), Type::Bool),
            NodeKind::Int(value) => constant(Value::Int(*value), Type::Int),
            NodeKind::Uint(value) => constant(Value::Uint(*value), Type::Int),
            NodeKind::Float(value) => constant(Value::Float(*value), Type::Float),
            NodeKind::Text(text) => constant(Value::Text(Bytes::Shared(text[..].into())), Type::Text),
            NodeKind::Name(name) => self.name(name, node.at),
            NodeKind::Unary(op, of) => self.unary(*op, of, node.at),
            NodeKind::Logic(and, terms) => self.logic(*and, terms, node.at),
            NodeKind::Binary(op, left, right) => self.binary(*op, left, right, node.at),
            NodeKind::Member { of, key, optional } => self.member(of, key, *optional, node.at),
            NodeKind::Slice { of, from, to } => self.slice(of, from.as_deref(), to.as_deref(), node.at),
            NodeKind::Chain(of) => {
                let (plan, of) = self.value(of)?;
                Ok((Plan::Chain(Box::new(plan)), of))
            }
            NodeKind::Call(name, arguments) => self.call(name, arguments, node.at),
            NodeKind::Method {
                of,
                name,
                arguments,
                optional,
            } => self.method(of, name, arguments, *optional, node.at),
            NodeKind::Predicate(of) => self.value(of),
            NodeKind::Pointer(name) => self.pointer(name, node.at),
            NodeKind::Let { name, value, body } => self.variable(name, value, body, node.at),
            NodeKind::If {
                condition,
                then,
                otherwise,
            } => self.conditional(condition, then, otherwise),
            NodeKind::List(items) => self.list(items, node.at),
            NodeKind::Map(pairs) => self.map(pairs, node.at),
            NodeKind::Sequence(nodes) => self.sequence(nodes),
        }
    }

    /// Fields first: a variable of the same name is not seen.
    fn name(&mut self, name: &str, at: u32) -> Outcome<Typed> {
        if let Some(id) = self.source.find(name) {
            return Ok(self.field(id));
        }
        if let Some(variable) = self.variables.iter().rev().find(|variable| variable.name == name) {
            return Ok((Plan::Variable(variable.slot), variable.of.clone()));
        }
        if name == "$env" {
            return Ok((Plan::Const(Value::Nil), Type::Env));
        }
        Err(self.unknown(name, at))
    }

    fn field(&mut self, id: FieldId) -> Typed {
        if self.children(id).next().is_some() {
            return (Plan::Const(Value::Nil), Type::Object(id));
        }
        if !self.fields.contains(&id) {
            self.fields.push(id);
        }
        let accessor = self.source.accessor(id);
        (Plan::Load(Load::new(accessor)), Type::of_kind(accessor.kind()))
    }

    fn unknown(&self, name: &str, at: u32) -> Box<Fault> {
        let fault = Fault::new(format!("unknown name {}", printable(name))).at(at);
        let fields = self
            .source
            .fields()
            .filter(|(id, field)| !field.is_unreferenced() && self.children(*id).next().is_none())
            .map(|(_, field)| (field.full_name(), field.name()));
        let variables = self
            .variables
            .iter()
            .map(|variable| (&variable.name[..], &variable.name[..]));
        let builtins = builtins::names().map(|name| (name, name));
        match did_you_mean(&nearest(name, fields.chain(variables).chain(builtins))) {
            Some(question) => fault.hint(question),
            None => fault,
        }
    }

    fn pointer(&mut self, name: &str, at: u32) -> Outcome<Typed> {
        let scope = self
            .scopes
            .last()
            .ok_or_else(|| Fault::new("cannot use pointer accessor outside predicate").at(at))?;
        match name {
            "" => Ok((Plan::Item, scope.item.clone())),
            "index" => Ok((Plan::Index, Type::Int)),
            "acc" if scope.accumulates => Ok((Plan::Accumulator, Type::Any)),
            _ => Err(Fault::new(format!("unknown pointer #{}", printable(name))).at(at)),
        }
    }

    fn unary(&mut self, op: UnaryOp, node: &Node, at: u32) -> Outcome<Typed> {
        let (plan, of) = self.value(node)?;
        let constant = plan.is_const();
        let any = of.is_any();
        let (plan, result) = match op {
            UnaryOp::Not if any || of == Type::Bool => (Plan::Not(Box::new(plan)), Type::Bool),
            UnaryOp::Plus if any || of.is_number() => return Ok((plan, of)),
            UnaryOp::Minus if any || of.is_number() || of == Type::Duration => {
                let result = if of.is_integer() { Type::Int } else { of };
                (Plan::Negate { of: Box::new(plan), at }, result)
            }
            _ => {
                let sign = match op {
                    UnaryOp::Not => "not",
                    UnaryOp::Minus => "-",
                    UnaryOp::Plus => "+",
                };
                return Err(Fault::new(format!("invalid operation: {sign} (mismatched type {of})")).at(at));
            }
        };
        Ok((if constant { self.fold(plan) } else { plan }, result))
    }

    /// Terms joined by `and` or `or`.
    fn logic(&mut self, and: bool, terms: &[Node], at: u32) -> Outcome<Typed> {
        let mut plans = Vec::with_capacity(terms.len());
        let mut types = Vec::with_capacity(terms.len());
        for term in terms {
            let (plan, of) = self.value(term)?;
            plans.push(plan);
            types.push(of);
        }
        if let Some(wrong) = types.iter().position(|of| *of != Type::Bool && !of.is_any()) {
            // What is on its left is a truth value by then, unless it is the first.
            let (left, right) = match wrong {
                0 => (&types[0], &types[1]),
                _ => (&Type::Bool, &types[wrong]),
            };
            let sign = if and { "and" } else { "or" };
            return Err(mismatched(sign, left, right, at));
        }
        let constant = plans.iter().all(Plan::is_const);
        let plans = plans.into_boxed_slice();
        let plan = if and { Plan::All(plans) } else { Plan::Any(plans) };
        Ok((if constant { self.fold(plan) } else { plan }, Type::Bool))
    }

    fn conditional(&mut self, condition: &Node, then: &Node, otherwise: &Node) -> Outcome<Typed> {
        let at = condition.at;
        let (condition, of) = self.value(condition)?;
        if of != Type::Bool && !of.is_any() {
            return Err(Fault::new(format!("non-bool expression (type {of}) used as condition")).at(at));
        }
        let (then, a) = self.value(then)?;
        let (otherwise, b) = self.value(otherwise)?;
        let plan = match condition {
            Plan::Const(Value::Bool(true)) => then,
            Plan::Const(Value::Bool(false)) => otherwise,
            condition => Plan::If(Box::new([condition, then, otherwise])),
        };
        Ok((plan, a.or(b)))
    }

    fn variable(&mut self, name: &str, value: &Node, body: &Node, at: u32) -> Outcome<Typed> {
        if builtins::find(name).is_some() {
            return Err(Fault::new(format!("cannot redeclare builtin {name}")).at(at));
        }
        if self.variables.iter().any(|variable| variable.name == name) {
            return Err(Fault::new(format!("cannot redeclare variable {}", printable(name))).at(at));
        }
        let (value, of) = self.node(value)?;
        let slot = self.slots;
        self.slots += 1;
        self.variables.push(Variable {
            name: name.to_owned(),
            slot,
            of,
        });
        let body = self.node(body);
        self.variables.pop();
        let (body, of) = body?;
        // What has no value is only a name for the checker, and so is its variable.
        if of.is_opaque() {
            return Ok((body, of));
        }
        let plan = Plan::Let {
            slot,
            value: Box::new(value),
            body: Box::new(body),
        };
        Ok((plan, of))
    }

    fn list(&mut self, items: &[Node], at: u32) -> Outcome<Typed> {
        let mut plans = Vec::with_capacity(items.len());
        let mut item: Option<Type> = None;
        for node in items {
            let (plan, of) = self.value(node)?;
            plans.push(plan);
            item = Some(match item {
                Some(item) => item.or(of),
                None => of,
            });
        }
        let constant = plans.iter().all(Plan::is_const);
        let plan = Plan::List {
            items: plans.into(),
            at,
        };
        let plan = if constant { self.fold(plan) } else { plan };
        Ok((plan, Type::list(item.unwrap_or(Type::Any))))
    }

    fn map(&mut self, pairs: &[(Node, Node)], at: u32) -> Outcome<Typed> {
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            entries.push((self.value(key)?.0, self.value(value)?.0));
        }
        let constant = entries.iter().all(|(key, value)| key.is_const() && value.is_const());
        let plan = Plan::Map {
            entries: entries.into(),
            at,
        };
        Ok((if constant { self.fold(plan) } else { plan }, Type::Map))
    }

    fn sequence(&mut self, nodes: &[Node]) -> Outcome<Typed> {
        let mut plans = Vec::with_capacity(nodes.len());
        let mut last = Type::Nil;
        for node in nodes {
            let (plan, of) = self.value(node)?;
            plans.push(plan);
            last = of;
        }
        Ok((Plan::Sequence(plans.into()), last))
    }

    fn member(&mut self, of: &Node, key: &Node, optional: bool, at: u32) -> Outcome<Typed> {
        let (base, base_type) = self.node(of)?;
        if base_type.is_opaque() {
            return self.sub_field(&base_type, key, at);
        }
        let (key_plan, key_type) = self.value(key)?;
        let result = match &base_type {
            Type::Any | Type::Map => Type::Any,
            Type::List(item) => {
                if !key_type.is_integer() && !key_type.is_any() {
                    return Err(Fault::new(format!(
                        "array elements can only be selected using an integer (got {key_type})"
                    ))
                    .at(key.at));
                }
                (**item).clone()
            }
            other => {
                return Err(match key.literal() {
                    Some(name) => Fault::new(format!(
                        "type {other} has no field {}",
                        printable(&String::from_utf8_lossy(name))
                    )),
                    None => Fault::new(format!("type {other}[{key_type}] is undefined")),
                }
                .at(at));
            }
        };
        let constant = base.is_const() && key_plan.is_const();
        let plan = Plan::Member {
            of: Box::new(base),
            key: Box::new(key_plan),
            optional,
            at,
        };
        Ok((if constant { self.fold(plan) } else { plan }, result))
    }

    /// A member of a field that has sub fields, or of `$env`.
    fn sub_field(&mut self, base: &Type, key: &Node, at: u32) -> Outcome<Typed> {
        match key.literal() {
            Some(name) => match self.find_sub_field(base, name) {
                Some(id) => Ok(self.field(id)),
                None => Err(self.no_sub_field(base, name, at)),
            },
            None => self.lookup(base, key, false, at),
        }
    }

    fn find_sub_field(&self, base: &Type, name: &[u8]) -> Option<FieldId> {
        let name = std::str::from_utf8(name).ok()?;
        match base {
            Type::Object(parent) => self
                .children(*parent)
                .find(|(_, field)| field.name() == name)
                .map(|(id, _)| id),
            _ => self.source.find(name),
        }
    }

    fn no_sub_field(&self, base: &Type, name: &[u8], at: u32) -> Box<Fault> {
        let name = String::from_utf8_lossy(name);
        let Type::Object(parent) = base else {
            return self.unknown(&name, at);
        };
        let parent = self.source.get(*parent).full_name();
        let fault = Fault::new(format!("field {parent} has no sub field {}", printable(&name))).at(at);
        let Type::Object(id) = base else { return fault };
        let children = self.children(*id).map(|(_, field)| (field.name(), field.name()));
        let near = nearest(&name, children);
        match did_you_mean(&near) {
            Some(question) => fault.hint(question),
            None => fault,
        }
    }

    /// A field of `$env` whose name is not a constant, or whether there is one.
    fn lookup(&mut self, base: &Type, name: &Node, exists: bool, at: u32) -> Outcome<Typed> {
        if let Type::Object(parent) = base {
            let parent = self.source.get(*parent).full_name();
            return Err(Fault::new(format!("sub fields of {parent} can only be named by a constant")).at(at));
        }
        let place = name.at;
        let (name, of) = self.value(name)?;
        if of != Type::Text && !of.is_any() {
            return Err(Fault::new(format!("cannot use {of} to get an element from $env")).at(place));
        }
        if !exists {
            for id in Environment::leaves(self.source) {
                if !self.fields.contains(&id) {
                    self.fields.push(id);
                }
            }
        }
        let plan = Plan::Lookup {
            environment: Environment::new(self.source).into(),
            name: Box::new(name),
            exists,
            at,
        };
        Ok((plan, if exists { Type::Bool } else { Type::Any }))
    }

    fn slice(&mut self, of: &Node, from: Option<&Node>, to: Option<&Node>, at: u32) -> Outcome<Typed> {
        let (base, base_type) = self.value(of)?;
        if !matches!(base_type, Type::Any | Type::Text | Type::List(_)) {
            return Err(Fault::new(format!("cannot slice {base_type}")).at(at));
        }
        let mut bound = |bound: Option<&Node>| -> Outcome<Option<Plan>> {
            let Some(bound) = bound else { return Ok(None) };
            let (plan, of) = self.value(bound)?;
            if !of.is_integer() && !of.is_any() {
                return Err(Fault::new(format!("non-integer slice index {of}")).at(bound.at));
            }
            Ok(Some(plan))
        };
        let from = bound(from)?;
        let to = bound(to)?;
        let constant = base.is_const() && from.iter().chain(&to).all(Plan::is_const);
        let plan = Plan::Slice {
            of: Box::new(base),
            from: from.map(Box::new),
            to: to.map(Box::new),
            at,
        };
        Ok((if constant { self.fold(plan) } else { plan }, base_type))
    }

    /// The constant that a plan of constants gives. What fails stays as it is, and fails when it is evaluated.
    fn fold(&mut self, plan: Plan) -> Plan {
        let element = Element::default();
        let mut frame = Frame::new(&element);
        std::mem::swap(&mut frame.budget, &mut self.budget);
        let value = plan.value(&mut frame).map(Value::into_static);
        std::mem::swap(&mut frame.budget, &mut self.budget);
        drop(frame);
        match value {
            Ok(value) => Plan::Const(value),
            Err(_) => plan,
        }
    }
}

fn mismatched(sign: &str, left: &Type, right: &Type, at: u32) -> Box<Fault> {
    Fault::new(format!(
        "invalid operation: {sign} (mismatched types {left} and {right})"
    ))
    .at(at)
}
