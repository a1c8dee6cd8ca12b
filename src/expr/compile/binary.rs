//! Binary operators: which types they take, and the fast forms for fields and constants.

use memchr::memmem;

use super::{Compiler, Typed, mismatched};
use crate::data::{Kind, Scalar};
use crate::expr::ast::{BinaryOp, Node, NodeKind};
use crate::expr::fault::{Fault, Outcome};
use crate::expr::plan::{Matcher, Plan, TextTest, Within};
use crate::expr::types::Type;
use crate::expr::value::Value;

impl Compiler<'_> {
    pub(super) fn binary(&mut self, op: BinaryOp, left: &Node, right: &Node, at: u32) -> Outcome<Typed> {
        match op {
            BinaryOp::In => return self.membership(left, right, at),
            BinaryOp::Matches => return self.matches(left, right, at),
            _ => {}
        }
        let (left, l) = self.value(left)?;
        let (right, r) = self.value(right)?;
        let result = result(op, &l, &r).ok_or_else(|| mismatched(op.sign(), &l, &r, at))?;
        let constant = left.is_const() && right.is_const();
        let plan = match op {
            BinaryOp::Coalesce => Plan::Coalesce(Box::new(left), Box::new(right)),
            BinaryOp::Add if l == Type::Text && r == Type::Text => concat(left, right, at),
            _ if constant => general(op, left, right, at),
            _ => specialize(op, (left, &l), (right, &r), at),
        };
        Ok((if constant { self.fold(plan) } else { plan }, result))
    }

    fn matches(&mut self, left: &Node, right: &Node, at: u32) -> Outcome<Typed> {
        let place = right.at;
        let (left, l) = self.value(left)?;
        let (right, r) = self.value(right)?;
        let text = |of: &Type| *of == Type::Text || of.is_any();
        if !text(&l) || !text(&r) {
            return Err(mismatched("matches", &l, &r, at));
        }
        let constant = left.is_const() && right.is_const();
        let pattern = match right.const_text() {
            Some(text) => Matcher::Constant(Matcher::compile(text).map_err(|fault| fault.at(place))?.into()),
            None => Matcher::Computed {
                text: Box::new(right),
                last: None.into(),
            },
        };
        let plan = Plan::Matches {
            of: Box::new(left),
            pattern,
            at,
        };
        Ok((if constant { self.fold(plan) } else { plan }, Type::Bool))
    }

    /// `left in right`
    fn membership(&mut self, left: &Node, right: &Node, at: u32) -> Outcome<Typed> {
        if let NodeKind::Binary(BinaryOp::Range, from, to) = &right.kind
            && let (NodeKind::Int(from), NodeKind::Int(to)) = (&from.kind, &to.kind)
        {
            let (from, to) = (*from, *to);
            let (left, l) = self.value(left)?;
            if l.is_integer() {
                return Ok((between(left, from, to), Type::Bool));
            }
            let list = Type::list(Type::Int);
            if !l.comparable(&Type::Int) {
                return Err(not_in(&l, &list, at));
            }
            let (right, _) = self.value(right)?;
            return Ok((general(BinaryOp::In, left, right, at), Type::Bool));
        }
        let (right_plan, r) = self.node(right)?;
        if r.is_opaque() {
            return match left.literal() {
                Some(name) => {
                    let found = self.find_sub_field(&r, name).is_some();
                    Ok((Plan::Const(Value::Bool(found)), Type::Bool))
                }
                None => self.lookup(&r, left, true, at),
            };
        }
        let (left, l) = self.value(left)?;
        let plan = match &r {
            Type::Prefixes if l == Type::Text || l.is_any() => {
                let constant = left.is_const() && right_plan.is_const();
                let plan = Plan::InPrefixes {
                    of: Box::new(left),
                    prefixes: Box::new(right_plan),
                    at,
                };
                return Ok((if constant { self.fold(plan) } else { plan }, Type::Bool));
            }
            Type::List(item) => {
                if !l.comparable(item) {
                    return Err(not_in(&l, &r, at));
                }
                in_list(left, &l, right_plan, at)
            }
            Type::Map | Type::Any => general(BinaryOp::In, left, right_plan, at),
            _ => return Err(mismatched("in", &l, &r, at)),
        };
        let constant = matches!(&plan, Plan::Binary { left, right, .. } if left.is_const() && right.is_const());
        Ok((if constant { self.fold(plan) } else { plan }, Type::Bool))
    }
}

fn not_in(item: &Type, list: &Type, at: u32) -> Box<Fault> {
    let of = list.item().unwrap_or(Type::Any);
    Fault::new(format!("cannot use {item} as type {of} in array")).at(at)
}

fn general(op: BinaryOp, left: Plan, right: Plan, at: u32) -> Plan {
    Plan::Binary {
        op,
        left: Box::new(left),
        right: Box::new(right),
        at,
    }
}

/// The type of `l op r`; none if the operator does not take these types.
fn result(op: BinaryOp, l: &Type, r: &Type) -> Option<Type> {
    use BinaryOp::*;
    let any = l.is_any() || r.is_any();
    // Both of a kind, or one of it and the other unknown.
    let both = |is: fn(&Type) -> bool| (is(l) || l.is_any()) && (is(r) || r.is_any());
    let text: fn(&Type) -> bool = |of| *of == Type::Text;
    let time: fn(&Type) -> bool = |of| *of == Type::Time;
    let duration: fn(&Type) -> bool = |of| *of == Type::Duration;
    let arithmetic = || {
        if any {
            Type::Any
        } else if l.is_integer() && r.is_integer() {
            Type::Int
        } else {
            Type::Float
        }
    };
    match op {
        Equal | NotEqual => l.comparable(r).then_some(Type::Bool),
        Less | LessEqual | Greater | GreaterEqual => {
            (both(Type::is_number) || both(text) || both(time) || both(duration)).then_some(Type::Bool)
        }
        Contains | StartsWith | EndsWith => both(text).then_some(Type::Bool),
        In | Matches => None,
        Range => both(Type::is_integer).then(|| Type::list(Type::Int)),
        Divide | Power => both(Type::is_number).then_some(Type::Float),
        Modulo => both(Type::is_integer).then(arithmetic),
        Multiply if both(Type::is_number) => Some(arithmetic()),
        Multiply if l.is_number() && duration(r) || duration(l) && r.is_number() => Some(Type::Duration),
        Multiply => (any && (duration(l) || duration(r))).then_some(Type::Any),
        Add if both(Type::is_number) => Some(arithmetic()),
        Add if text(l) && text(r) => Some(Type::Text),
        Add if duration(l) && duration(r) => Some(Type::Duration),
        Add if time(l) && duration(r) || duration(l) && time(r) => Some(Type::Time),
        Add => (both(text) || any && [l, r].iter().any(|of| time(of) || duration(of))).then_some(Type::Any),
        Subtract if both(Type::is_number) => Some(arithmetic()),
        Subtract if time(l) && time(r) || duration(l) && duration(r) => Some(Type::Duration),
        Subtract if time(l) && duration(r) => Some(Type::Time),
        Subtract => (any && [l, r].iter().any(|of| time(of) || duration(of))).then_some(Type::Any),
        Coalesce => Some(match (l, r) {
            (Type::Nil, other) | (other, Type::Nil) => other.clone(),
            _ if l == r => l.clone(),
            _ => Type::Any,
        }),
    }
}

/// Texts that are joined, without what lies between.
fn concat(left: Plan, right: Plan, at: u32) -> Plan {
    let mut parts = match left {
        Plan::Concat { parts, .. } => parts.into_vec(),
        other => vec![other],
    };
    parts.push(right);
    Plan::Concat {
        parts: parts.into(),
        at,
    }
}

/// The fast form of a comparison with a constant, if there is one.
fn specialize(op: BinaryOp, left: (Plan, &Type), right: (Plan, &Type), at: u32) -> Plan {
    use BinaryOp::*;
    let ((left, l), (right, r)) = (left, right);
    if !matches!(
        op,
        Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual | Contains | StartsWith | EndsWith
    ) {
        return general(op, left, right, at);
    }
    // The constant to the right.
    let (op, left, l, right, r) = match (left.is_const(), op) {
        (true, Contains | StartsWith | EndsWith) => return general(op, left, right, at),
        (true, _) => (mirrored(op), right, r, left, l),
        (false, _) => (op, left, l, right, r),
    };
    if let (Type::Text, Some(with)) = (l, right.const_text()) {
        let with: Box<[u8]> = with.into();
        let test = match op {
            Equal => TextTest::Equal(with),
            NotEqual => TextTest::NotEqual(with),
            StartsWith => TextTest::StartsWith(with),
            EndsWith => TextTest::EndsWith(with),
            Contains => TextTest::Contains(Box::new(memmem::Finder::new(&with).into_owned())),
            _ => TextTest::Order(op, with),
        };
        return Plan::Text {
            of: Box::new(left),
            test,
        };
    }
    if let (Plan::Const(value), true) = (&right, r.is_integer())
        && let Some(value) = value.integer()
        && let Some((field, signed)) = integer_field(&left)
    {
        let (from, to, negate) = match op {
            Equal => (value, value, false),
            NotEqual => (value, value, true),
            Less => (i128::MIN, value - 1, false),
            LessEqual => (i128::MIN, value, false),
            Greater => (value + 1, i128::MAX, false),
            _ => (value, i128::MAX, false),
        };
        return Within::plan(field, signed, from, to, negate);
    }
    general(op, left, right, at)
}

fn integer_field(plan: &Plan) -> Option<(crate::data::Accessor, bool)> {
    match plan {
        Plan::Load(load) => match load.accessor.kind() {
            Kind::One(scalar) if scalar.is_integer() => Some((load.accessor, scalar.is_signed())),
            Kind::One(Scalar::Bool) | Kind::One(_) | Kind::Array(_) => None,
        },
        _ => None,
    }
}

/// The operator that holds with the sides exchanged.
fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessEqual => BinaryOp::GreaterEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterEqual => BinaryOp::LessEqual,
        other => other,
    }
}

fn between(of: Plan, from: i64, to: i64) -> Plan {
    match integer_field(&of) {
        Some((field, signed)) => Within::plan(field, signed, i128::from(from), i128::from(to), false),
        None => Plan::InRange {
            of: Box::new(of),
            from,
            to,
        },
    }
}

/// A set if the list is constant and all of the type that is looked for.
fn in_list(left: Plan, l: &Type, right: Plan, at: u32) -> Plan {
    let Plan::Const(Value::List(list)) = &right else {
        return general(BinaryOp::In, left, right, at);
    };
    if left.is_const() {
        return general(BinaryOp::In, left, right, at);
    }
    if *l == Type::Text {
        let texts: Option<Vec<Box<[u8]>>> = list
            .items
            .iter()
            .map(|item| match item {
                Value::Text(text) => Some((**text).into()),
                _ => None,
            })
            .collect();
        if let Some(mut set) = texts {
            set.sort();
            return Plan::InTexts {
                of: Box::new(left),
                set: set.into(),
            };
        }
    }
    if l.is_integer() {
        let integers: Option<Vec<i128>> = list.items.iter().map(Value::integer).collect();
        if let Some(mut set) = integers {
            set.sort_unstable();
            return Plan::InIntegers {
                of: Box::new(left),
                set: set.into(),
            };
        }
    }
    general(BinaryOp::In, left, right, at)
}
