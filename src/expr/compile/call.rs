//! Calls: of functions, of built-ins with a predicate, of methods.

use super::{Compiler, Scope, Typed};
use crate::data::Element;
use crate::expr::ast::Node;
use crate::expr::builtins::predicates::{Each, EachKind};
use crate::expr::builtins::{self, Form, Parameter, Returns, Signature, time};
use crate::expr::fault::{Fault, Outcome};
use crate::expr::plan::{Frame, Plan};
use crate::expr::types::Type;
use crate::expr::value::Value;
use crate::text::printable;

impl Compiler<'_> {
    pub(super) fn call(&mut self, name: &str, arguments: &[Node], at: u32) -> Outcome<Typed> {
        let Some(builtin) = builtins::find(name) else {
            return Err(match self.source.find(name) {
                Some(_) => Fault::new(format!("field {} is not callable", printable(name))).at(at),
                None => self.unknown(name, at),
            });
        };
        let signature = match &builtin.form {
            Form::Each(kind) => return self.each(name, *kind, arguments, at),
            Form::Function(signature) => signature,
        };
        count(name, signature, arguments.len(), at)?;
        if name == "get" {
            let (_, of) = self.node(&arguments[0])?;
            if of.is_opaque() {
                return self.get_field(&of, &arguments[1], at);
            }
        }
        let (plans, types) = self.arguments(name, signature, arguments)?;
        if name == "string" && types == [Type::Text] {
            // A text is its own text.
            return Ok((plans.into_iter().next().unwrap_or(Plan::Const(Value::Nil)), Type::Text));
        }
        let result = returned(signature.returns, &types);
        let constant = name != "now" && plans.iter().all(Plan::is_const);
        let plan = if name == "string" {
            let of = plans.into_iter().next().unwrap_or(Plan::Const(Value::Nil));
            Plan::Show { of: Box::new(of), at }
        } else {
            Plan::Call {
                function: signature.function,
                arguments: plans.into(),
                at,
            }
        };
        if !constant {
            return Ok((plan, result));
        }
        let plan = self.fold(plan);
        if name == "cidr" && !plan.is_const() {
            // A list that can never be read is an error of the expression, not of every event.
            Self::check(&plan)?;
        }
        Ok((plan, result))
    }

    /// The error of a plan of constants.
    fn check(plan: &Plan) -> Outcome<()> {
        let element = Element::default();
        let mut frame = Frame::new(&element);
        plan.value(&mut frame)?;
        Ok(())
    }

    /// `get` of what has only fields: nil if there is no such field.
    fn get_field(&mut self, base: &Type, key: &Node, at: u32) -> Outcome<Typed> {
        match key.literal() {
            Some(name) if self.find_sub_field(base, name).is_none() => Ok((Plan::Const(Value::Nil), Type::Any)),
            _ => self.sub_field(base, key, at),
        }
    }

    fn arguments(&mut self, name: &str, signature: &Signature, nodes: &[Node]) -> Outcome<(Vec<Plan>, Vec<Type>)> {
        let mut plans = Vec::with_capacity(nodes.len());
        let mut types = Vec::with_capacity(nodes.len());
        for (i, node) in nodes.iter().enumerate() {
            let (plan, of) = self.value(node)?;
            let parameter = signature.parameters.get(i).or(signature.parameters.last());
            if !parameter.is_some_and(|parameter| accepts(*parameter, &of, i)) {
                let wanted = match parameter {
                    Some(Parameter::Text) => Some("string"),
                    Some(Parameter::Int) => Some("int"),
                    Some(Parameter::List) => Some("array"),
                    Some(Parameter::Map) => Some("map"),
                    Some(Parameter::Zone) => Some("*time.Location"),
                    _ => None,
                };
                return Err(match wanted {
                    Some(wanted) => Fault::new(format!("cannot use {of} as argument (type {wanted}) to call {name}")),
                    None => Fault::new(format!("invalid argument for {name} (type {of})")),
                }
                .at(node.at));
            }
            plans.push(plan);
            types.push(of);
        }
        Ok((plans, types))
    }

    fn each(&mut self, name: &str, kind: EachKind, nodes: &[Node], at: u32) -> Outcome<Typed> {
        let [list, rest @ ..] = nodes else {
            return Err(Fault::new(format!("not enough arguments to call {name}")).at(at));
        };
        let place = list.at;
        let (list, of) = self.value(list)?;
        let item = of
            .item()
            .ok_or_else(|| Fault::new(format!("builtin {name} takes only array (got {of})")).at(place))?;
        let (body, body_type, place) = match rest.first() {
            Some(body) => {
                self.scopes.push(Scope {
                    item: item.clone(),
                    accumulates: kind == EachKind::Reduce,
                });
                let compiled = self.value(body);
                self.scopes.pop();
                let (plan, of) = compiled?;
                (plan, of, body.at)
            }
            None => (Plan::Item, item.clone(), place),
        };
        if kind.tests() && body_type != Type::Bool && !body_type.is_any() {
            return Err(Fault::new(format!("predicate should return boolean (got {body_type})")).at(place));
        }
        if kind == EachKind::Sum && !body_type.is_number() && !body_type.is_any() {
            return Err(Fault::new(format!("invalid argument for sum (type {body_type})")).at(place));
        }
        let extra = match rest.get(1) {
            Some(extra) => {
                let place = extra.at;
                let (plan, of) = self.value(extra)?;
                if kind == EachKind::SortBy && of != Type::Text && !of.is_any() {
                    return Err(
                        Fault::new(format!("cannot use {of} as argument (type string) to call sortBy")).at(place),
                    );
                }
                Some(plan)
            }
            None => None,
        };
        let result = match kind {
            EachKind::All | EachKind::None | EachKind::Any | EachKind::One => Type::Bool,
            EachKind::Filter | EachKind::SortBy => Type::list(item),
            EachKind::Map => Type::list(body_type),
            EachKind::Find | EachKind::FindLast => item,
            EachKind::FindIndex | EachKind::FindLastIndex | EachKind::Count => Type::Int,
            EachKind::Sum if body_type.is_integer() => Type::Int,
            EachKind::Sum if body_type.is_number() => Type::Float,
            EachKind::Sum | EachKind::GroupBy | EachKind::Reduce => Type::Any,
        };
        let each = Each {
            kind,
            list,
            body,
            extra,
            at,
        };
        Ok((Plan::Each(Box::new(each)), result))
    }

    pub(super) fn method(
        &mut self,
        of: &Node,
        name: &str,
        arguments: &[Node],
        optional: bool,
        at: u32,
    ) -> Outcome<Typed> {
        let (base, base_type) = self.value(of)?;
        let Some(signature) = time::method(&base_type, name) else {
            return Err(Fault::new(format!("type {base_type} has no method {}", printable(name))).at(at));
        };
        count(name, signature, arguments.len(), at)?;
        let (mut plans, types) = self.arguments(name, signature, arguments)?;
        plans.insert(0, base);
        let result = returned(signature.returns, &types);
        let plan = Plan::Method {
            function: signature.function,
            arguments: plans.into(),
            optional,
            at,
        };
        Ok((plan, result))
    }
}

fn count(name: &str, signature: &Signature, given: usize, at: u32) -> Outcome<()> {
    if given < signature.required {
        return Err(Fault::new(format!("not enough arguments to call {name}")).at(at));
    }
    if given > signature.parameters.len() && !signature.variadic {
        return Err(Fault::new(format!("too many arguments to call {name}")).at(at));
    }
    Ok(())
}

/// Whether an argument of this type is accepted at place `i`.
fn accepts(parameter: Parameter, of: &Type, i: usize) -> bool {
    if of.is_any() {
        return true;
    }
    match parameter {
        Parameter::Any => true,
        Parameter::Text => *of == Type::Text,
        Parameter::Int => of.is_integer(),
        Parameter::Number => of.is_number(),
        Parameter::Numeric => of.is_number() || matches!(of, Type::Text | Type::Duration),
        Parameter::Numbers => of.is_number() || of.item().is_some_and(|item| accepts(parameter, &item, i)),
        Parameter::List => matches!(of, Type::List(_)),
        Parameter::Map => *of == Type::Map,
        Parameter::Sized => matches!(of, Type::Text | Type::List(_) | Type::Map),
        Parameter::Container => matches!(of, Type::List(_) | Type::Map | Type::Nil),
        // `date(zone, text)` and `date(text)`
        Parameter::Date => *of == Type::Text || i == 0 && *of == Type::Zone,
        Parameter::Zone => *of == Type::Zone,
        Parameter::Time => *of == Type::Time,
        Parameter::Duration => *of == Type::Duration,
    }
}

fn returned(returns: Returns, arguments: &[Type]) -> Type {
    match returns {
        Returns::Any => Type::Any,
        Returns::Bool => Type::Bool,
        Returns::Int => Type::Int,
        Returns::Float => Type::Float,
        Returns::Text => Type::Text,
        Returns::Texts => Type::list(Type::Text),
        Returns::AnyList => Type::list(Type::Any),
        Returns::Pairs => Type::list(Type::list(Type::Any)),
        Returns::Map => Type::Map,
        Returns::Time => Type::Time,
        Returns::Duration => Type::Duration,
        Returns::Zone => Type::Zone,
        Returns::Prefixes => Type::Prefixes,
        Returns::Same => arguments.first().cloned().unwrap_or(Type::Any),
        Returns::Item => arguments.first().and_then(Type::item).unwrap_or(Type::Any),
    }
}
