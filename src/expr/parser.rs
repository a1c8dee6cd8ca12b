//! From tokens to a syntax tree: operators by precedence, everything else by recursive descent.

use super::ast::{BinaryOp, Node, NodeKind, UnaryOp};
use super::builtins::{self, Argument};
use super::fault::{Fault, Outcome};
use super::lexer::{Kind, Token, tokens};

/// Bytes of text that are read at the most.
pub(super) const MAX_LEN: usize = 64 * 1024;
/// Levels of a tree, and of brackets: as much as two megabytes of stack carry with room to spare.
pub(super) const MAX_DEPTH: u32 = 100;
/// Nodes of a tree.
const MAX_NODES: u32 = 10_000;

/// The tree of `text`.
pub(super) fn parse(text: &str) -> Outcome<Node> {
    if text.len() > MAX_LEN {
        return Err(Fault::new(format!(
            "expression of {} bytes is too long (at most {MAX_LEN})",
            text.len()
        )));
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        position: 0,
        predicates: 0,
        nesting: 0,
    };
    let node = parser.sequence()?;
    if parser.current().kind != Kind::End {
        return Err(parser.unexpected());
    }
    Ok(node)
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    position: usize,
    /// How many predicates the current token is in.
    predicates: u32,
    nesting: u32,
}

/// A binary operator as the grammar sees it.
enum Infix {
    Pipe,
    And,
    Or,
    Op(BinaryOp),
}

const COALESCE: u32 = 500;

fn infix(token: &Token<'_>) -> Option<(Infix, u32)> {
    use BinaryOp::*;
    if token.kind != Kind::Operator {
        return None;
    }
    Some(match token.text {
        "|" => (Infix::Pipe, 0),
        "or" | "||" => (Infix::Or, 10),
        "and" | "&&" => (Infix::And, 15),
        "==" => (Infix::Op(Equal), 20),
        "!=" => (Infix::Op(NotEqual), 20),
        "<" => (Infix::Op(Less), 20),
        ">" => (Infix::Op(Greater), 20),
        "<=" => (Infix::Op(LessEqual), 20),
        ">=" => (Infix::Op(GreaterEqual), 20),
        "in" => (Infix::Op(In), 20),
        "matches" => (Infix::Op(Matches), 20),
        "contains" => (Infix::Op(Contains), 20),
        "startsWith" => (Infix::Op(StartsWith), 20),
        "endsWith" => (Infix::Op(EndsWith), 20),
        ".." => (Infix::Op(Range), 25),
        "+" => (Infix::Op(Add), 30),
        "-" => (Infix::Op(Subtract), 30),
        "*" => (Infix::Op(Multiply), 60),
        "/" => (Infix::Op(Divide), 60),
        "%" => (Infix::Op(Modulo), 60),
        "**" | "^" => (Infix::Op(Power), 100),
        "??" => (Infix::Op(Coalesce), COALESCE),
        _ => return None,
    })
}

fn prefix(token: &Token<'_>) -> Option<(UnaryOp, u32)> {
    if token.kind != Kind::Operator {
        return None;
    }
    Some(match token.text {
        "not" | "!" => (UnaryOp::Not, 50),
        "-" => (UnaryOp::Minus, 90),
        "+" => (UnaryOp::Plus, 90),
        _ => return None,
    })
}

impl<'t> Parser<'t> {
    fn current(&self) -> &Token<'t> {
        // The last token is the end, and nothing goes beyond it.
        &self.tokens[self.position]
    }

    fn advance(&mut self) -> Token<'t> {
        let token = self.current().clone();
        if self.position + 1 < self.tokens.len() {
            self.position += 1;
        }
        token
    }

    /// Takes the current token if it is this operator or bracket.
    fn accept(&mut self, text: &str) -> bool {
        let found = matches!(self.current().kind, Kind::Operator | Kind::Bracket) && self.current().text == text;
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, text: &str) -> Outcome<()> {
        if self.accept(text) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn unexpected(&self) -> Box<Fault> {
        let token = self.current();
        let fault = Fault::new(format!("unexpected token {token}")).at(token.at);
        match token.text {
            "=" => fault.hint("`==` compares"),
            "&" => fault.hint("`&&` and `and` join conditions, bitand(a, b) combines bits"),
            "~" => fault.hint("`matches` compares with a regular expression"),
            _ => fault,
        }
    }

    fn node(&mut self, at: u32, kind: NodeKind) -> Outcome<Node> {
        let node = Node::new(at, kind);
        if node.depth > MAX_DEPTH {
            return Err(Fault::new(format!("expression is nested too deeply (at most {MAX_DEPTH} levels)")).at(at));
        }
        if node.size > MAX_NODES {
            return Err(Fault::new(format!("expression is too large (at most {MAX_NODES} nodes)")).at(at));
        }
        Ok(node)
    }

    /// Expressions separated by semicolons; what stands alone stays as it is.
    fn sequence(&mut self) -> Outcome<Node> {
        let first = self.expression(0)?;
        if !self.current().is_operator(";") {
            return Ok(first);
        }
        let at = first.at;
        let mut nodes = vec![first];
        while self.accept(";") {
            if self.current().kind == Kind::End || self.current().is_bracket(")") || self.current().is_bracket("}") {
                break;
            }
            nodes.push(self.expression(0)?);
        }
        self.node(at, NodeKind::Sequence(nodes))
    }

    fn expression(&mut self, precedence: u32) -> Outcome<Node> {
        self.nesting += 1;
        if self.nesting > MAX_DEPTH {
            let at = self.current().at;
            return Err(Fault::new(format!("expression is nested too deeply (at most {MAX_DEPTH} levels)")).at(at));
        }
        let node = if precedence == 0 && self.current().is_operator("let") {
            self.variable()
        } else if precedence == 0 && self.current().is_operator("if") {
            self.conditional_block()
        } else {
            self.operators(precedence)
        };
        self.nesting -= 1;
        node
    }

    fn operators(&mut self, precedence: u32) -> Outcome<Node> {
        let mut left = self.primary()?;
        let mut after_coalesce = false;
        loop {
            let start = self.position;
            let negated = self.accept("not");
            let token = self.current().clone();
            if negated && !matches!(token.text, "in" | "matches" | "contains" | "startsWith" | "endsWith") {
                return Err(self.unexpected());
            }
            let Some((operator, binds)) = infix(&token).filter(|(_, binds)| *binds >= precedence) else {
                self.position = start;
                break;
            };
            self.advance();
            if after_coalesce && !matches!(operator, Infix::Op(BinaryOp::Coalesce) | Infix::Pipe) {
                return Err(Fault::new(format!(
                    "Operator ({}) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses.",
                    token.text
                ))
                .at(token.at));
            }
            after_coalesce = binds == COALESCE;
            left = self.operation(left, operator, binds, &token)?;
            if negated {
                left = self.node(token.at, NodeKind::Unary(UnaryOp::Not, Box::new(left)))?;
            }
        }
        if precedence == 0 {
            left = self.ternary(left)?;
        }
        Ok(left)
    }

    /// The right side of a binary operator that was just taken.
    fn operation(&mut self, left: Node, operator: Infix, binds: u32, token: &Token<'t>) -> Outcome<Node> {
        match operator {
            Infix::Pipe => {
                if self.current().kind != Kind::Identifier {
                    return Err(self.unexpected());
                }
                let name = self.advance();
                let call = self.call(&name, vec![left])?;
                self.postfix(call)
            }
            Infix::And | Infix::Or => {
                let and = matches!(operator, Infix::And);
                let right = self.expression(binds + 1)?;
                self.logic(and, left, right, token.at)
            }
            Infix::Op(op) if op.chains() => self.comparison(left, op, binds, token.at),
            Infix::Op(op) => {
                let right = self.expression(if op == BinaryOp::Power { binds } else { binds + 1 })?;
                self.node(token.at, NodeKind::Binary(op, Box::new(left), Box::new(right)))
            }
        }
    }

    fn logic(&mut self, and: bool, left: Node, right: Node, at: u32) -> Outcome<Node> {
        let terms = match left.kind {
            NodeKind::Logic(same, mut terms) if same == and => {
                terms.push(right);
                terms
            }
            _ => vec![left, right],
        };
        self.node(at, NodeKind::Logic(and, terms))
    }

    /// `a < b < c` means `a < b and b < c`.
    fn comparison(&mut self, mut left: Node, mut op: BinaryOp, binds: u32, mut at: u32) -> Outcome<Node> {
        let mut whole: Option<Node> = None;
        loop {
            let right = self.expression(binds + 1)?;
            let next = match infix(self.current()) {
                Some((Infix::Op(next), _)) if next.chains() => Some(next),
                _ => None,
            };
            let again = next.map(|_| right.clone());
            let pair = self.node(at, NodeKind::Binary(op, Box::new(left), Box::new(right)))?;
            let joined = match whole.take() {
                Some(whole) => self.logic(true, whole, pair, at)?,
                None => pair,
            };
            let (Some(next), Some(again)) = (next, again) else {
                return Ok(joined);
            };
            whole = Some(joined);
            left = again;
            op = next;
            at = self.advance().at;
        }
    }

    fn ternary(&mut self, mut condition: Node) -> Outcome<Node> {
        while self.current().is_operator("?") {
            let at = self.advance().at;
            let (then, otherwise) = if self.accept(":") {
                (condition.clone(), self.expression(0)?)
            } else {
                let then = self.expression(0)?;
                self.expect(":")?;
                (then, self.expression(0)?)
            };
            condition = self.conditional(at, condition, then, otherwise)?;
        }
        Ok(condition)
    }

    fn conditional(&mut self, at: u32, condition: Node, then: Node, otherwise: Node) -> Outcome<Node> {
        self.node(
            at,
            NodeKind::If {
                condition: Box::new(condition),
                then: Box::new(then),
                otherwise: Box::new(otherwise),
            },
        )
    }

    /// `if a { b } else if c { d } else { e }`
    fn conditional_block(&mut self) -> Outcome<Node> {
        let at = self.advance().at;
        let condition = self.expression(0)?;
        let then = self.block()?;
        self.expect("else")?;
        let otherwise = if self.current().is_operator("if") {
            self.expression(0)?
        } else {
            self.block()?
        };
        self.conditional(at, condition, then, otherwise)
    }

    fn block(&mut self) -> Outcome<Node> {
        self.expect("{")?;
        let node = self.sequence()?;
        self.expect("}")?;
        Ok(node)
    }

    fn variable(&mut self) -> Outcome<Node> {
        self.advance();
        if self.current().kind != Kind::Identifier {
            return Err(self.unexpected());
        }
        let name = self.advance();
        self.expect("=")?;
        let value = self.expression(0)?;
        self.expect(";")?;
        let body = self.sequence()?;
        self.node(
            name.at,
            NodeKind::Let {
                name: name.text.to_owned(),
                value: Box::new(value),
                body: Box::new(body),
            },
        )
    }

    fn primary(&mut self) -> Outcome<Node> {
        let token = self.current().clone();
        if let Some((op, binds)) = prefix(&token) {
            self.advance();
            let of = self.expression(binds)?;
            let node = self.node(token.at, NodeKind::Unary(op, Box::new(of)))?;
            return self.postfix(node);
        }
        if self.accept("(") {
            let node = self.sequence()?;
            self.expect(")")?;
            return self.postfix(node);
        }
        if token.is_operator("#") || token.is_operator(".") {
            if self.predicates == 0 {
                return Err(Fault::new("cannot use pointer accessor outside predicate").at(token.at));
            }
            let mut name = String::new();
            // The dot of `.x` belongs to the member.
            if self.accept("#") && self.current().kind == Kind::Identifier {
                name = self.advance().text.to_owned();
            }
            let node = self.node(token.at, NodeKind::Pointer(name))?;
            return self.postfix(node);
        }
        if self.accept("::") {
            if self.current().kind != Kind::Identifier {
                return Err(self.unexpected());
            }
            let name = self.advance();
            let node = self.call(&name, Vec::new())?;
            return self.postfix(node);
        }
        self.operand(token)
    }

    fn operand(&mut self, token: Token<'t>) -> Outcome<Node> {
        let node = match token.kind {
            Kind::Identifier => {
                self.advance();
                match token.text {
                    "true" | "false" => return self.node(token.at, NodeKind::Bool(token.text == "true")),
                    "nil" => return self.node(token.at, NodeKind::Nil),
                    _ if self.current().is_bracket("(") => self.call(&token, Vec::new())?,
                    name => self.node(token.at, NodeKind::Name(name.to_owned()))?,
                }
            }
            Kind::Number => {
                self.advance();
                let kind = number(token.text).map_err(|fault| fault.at(token.at))?;
                return self.node(token.at, kind);
            }
            Kind::String => {
                self.advance();
                self.node(token.at, NodeKind::Text(token.string))?
            }
            _ if token.is_bracket("[") => self.list()?,
            _ if token.is_bracket("{") => self.map()?,
            _ => return Err(self.unexpected()),
        };
        self.postfix(node)
    }

    /// A call; the name was taken. `arguments` holds what a pipe brought.
    fn call(&mut self, name: &Token<'t>, mut arguments: Vec<Node>) -> Outcome<Node> {
        match builtins::find(name.text).and_then(builtins::Builtin::predicate_arguments) {
            None => self.arguments(&mut arguments)?,
            Some((kinds, required)) => {
                self.expect("(")?;
                let piped = arguments.len();
                for (i, kind) in kinds.iter().enumerate().skip(piped) {
                    if self.current().is_bracket(")") {
                        if i < required {
                            let at = self.current().at;
                            return Err(Fault::new(format!("expected at least {} arguments", required - piped)).at(at));
                        }
                        break;
                    }
                    if i > piped {
                        self.expect(",")?;
                    }
                    arguments.push(match kind {
                        Argument::Value => self.expression(0)?,
                        Argument::Predicate => self.predicate()?,
                    });
                }
                self.accept(",");
                self.expect(")")?;
            }
        }
        self.node(name.at, NodeKind::Call(name.text.to_owned(), arguments))
    }

    fn arguments(&mut self, arguments: &mut Vec<Node>) -> Outcome<()> {
        self.expect("(")?;
        let piped = arguments.len();
        while !self.current().is_bracket(")") {
            if arguments.len() > piped {
                self.expect(",")?;
                if self.current().is_bracket(")") {
                    break;
                }
            }
            let argument = self.expression(0)?;
            arguments.push(argument);
        }
        self.expect(")")
    }

    fn predicate(&mut self) -> Outcome<Node> {
        let at = self.current().at;
        let braces = self.accept("{");
        self.predicates += 1;
        let node = if braces { self.sequence()? } else { self.expression(0)? };
        self.predicates -= 1;
        if braces {
            self.expect("}")?;
        }
        self.node(at, NodeKind::Predicate(Box::new(node)))
    }

    fn list(&mut self) -> Outcome<Node> {
        let at = self.advance().at;
        let mut nodes = Vec::new();
        while !self.current().is_bracket("]") {
            if !nodes.is_empty() {
                self.expect(",")?;
                if self.current().is_bracket("]") {
                    break;
                }
            }
            nodes.push(self.expression(0)?);
        }
        self.expect("]")?;
        self.node(at, NodeKind::List(nodes))
    }

    fn map(&mut self) -> Outcome<Node> {
        let at = self.advance().at;
        let mut pairs = Vec::new();
        while !self.current().is_bracket("}") {
            if !pairs.is_empty() {
                self.expect(",")?;
                if self.current().is_bracket("}") {
                    break;
                }
            }
            let token = self.current().clone();
            let key = match token.kind {
                Kind::Number | Kind::Identifier => {
                    self.advance();
                    self.node(token.at, NodeKind::Text(token.text.as_bytes().to_vec()))?
                }
                Kind::String => {
                    self.advance();
                    self.node(token.at, NodeKind::Text(token.string))?
                }
                _ if token.is_bracket("(") => self.expression(0)?,
                _ => {
                    return Err(Fault::new(format!(
                        "a map key must be a quoted string, a number, a identifier, or an expression enclosed in parentheses (unexpected token {token})"
                    ))
                    .at(token.at));
                }
            };
            self.expect(":")?;
            let value = self.expression(0)?;
            pairs.push((key, value));
        }
        self.expect("}")?;
        self.node(at, NodeKind::Map(pairs))
    }

    /// Members, indices, slices and calls of methods behind `node`.
    fn postfix(&mut self, mut node: Node) -> Outcome<Node> {
        let mut chain = false;
        loop {
            let token = self.current().clone();
            let optional = token.is_operator("?.");
            if optional || token.is_operator(".") {
                self.advance();
                chain |= optional;
                if optional && self.current().is_bracket("[") {
                    node = self.index(node, true)?;
                } else {
                    node = self.member(node, optional)?;
                }
            } else if token.is_bracket("[") {
                node = self.index(node, false)?;
            } else {
                break;
            }
        }
        if chain {
            let at = node.at;
            node = self.node(at, NodeKind::Chain(Box::new(node)))?;
        }
        Ok(node)
    }

    fn member(&mut self, of: Node, optional: bool) -> Outcome<Node> {
        let name = self.current().clone();
        // Operators that are words are names here.
        let is_name = name.kind == Kind::Identifier
            || name.kind == Kind::Operator && name.text.starts_with(|c: char| c.is_ascii_alphabetic());
        if !is_name {
            return Err(Fault::new("expected name").at(name.at));
        }
        self.advance();
        let of = Box::new(of);
        if self.current().is_bracket("(") {
            let mut arguments = Vec::new();
            self.arguments(&mut arguments)?;
            return self.node(
                name.at,
                NodeKind::Method {
                    of,
                    name: name.text.to_owned(),
                    arguments,
                    optional,
                },
            );
        }
        let key = Box::new(self.node(name.at, NodeKind::Text(name.text.as_bytes().to_vec()))?);
        self.node(name.at, NodeKind::Member { of, key, optional })
    }

    fn index(&mut self, of: Node, optional: bool) -> Outcome<Node> {
        let at = self.advance().at;
        let of = Box::new(of);
        let from = if self.current().is_operator(":") {
            None
        } else {
            Some(Box::new(self.expression(0)?))
        };
        if self.accept(":") {
            let to = if self.current().is_bracket("]") {
                None
            } else {
                Some(Box::new(self.expression(0)?))
            };
            self.expect("]")?;
            return self.node(at, NodeKind::Slice { of, from, to });
        }
        self.expect("]")?;
        match from {
            Some(key) => self.node(at, NodeKind::Member { of, key, optional }),
            None => Err(self.unexpected()),
        }
    }
}

/// The value of a number as it was written.
fn number(text: &str) -> Outcome<NodeKind> {
    let digits = text.replace('_', "").to_ascii_lowercase();
    let (base, name) = match digits.get(..2) {
        Some("0x") => (16, "hex"),
        Some("0o") => (8, "octal"),
        Some("0b") => (2, "binary"),
        _ => (10, "integer"),
    };
    if base == 10 && digits.contains(['.', 'e']) {
        return match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(NodeKind::Float(value)),
            Ok(_) => Err(Fault::new("float literal is too large")),
            Err(_) => Err(Fault::new(format!("invalid float literal: {text}"))),
        };
    }
    let digits = if base == 10 { &digits[..] } else { &digits[2..] };
    match u64::from_str_radix(digits, base) {
        Ok(value) => Ok(i64::try_from(value).map_or(NodeKind::Uint(value), NodeKind::Int)),
        Err(error) => Err(Fault::new(format!("invalid {name} literal: {error}"))),
    }
}
