//! The syntax tree.

/// A node, and where in the text it is.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The character an error about it points at, counted from 0.
    pub(super) at: u32,
    /// Levels of nodes, this one included. Bounded by the parser, so that whoever walks the tree may recurse.
    pub(super) depth: u32,
    /// Number of nodes, this one included; bounded, too.
    pub(super) size: u32,
    pub(super) kind: NodeKind,
}

#[derive(Clone, Debug)]
pub(super) enum NodeKind {
    Nil,
    Bool(bool),
    Int(i64),
    /// An integer literal above `i64::MAX`.
    Uint(u64),
    Float(f64),
    Text(Vec<u8>),
    /// A field, a variable, or `$env`.
    Name(String),
    Unary(UnaryOp, Box<Node>),
    /// Terms joined by `and` (`or` if false). One node, however many terms: long chains are not deep.
    Logic(bool, Vec<Node>),
    Binary(BinaryOp, Box<Node>, Box<Node>),
    /// `of.key`, `of?.key`, `of[key]`.
    Member {
        of: Box<Node>,
        key: Box<Node>,
        optional: bool,
    },
    Slice {
        of: Box<Node>,
        from: Option<Box<Node>>,
        to: Option<Box<Node>>,
    },
    /// Members of which one is optional: nil there makes the whole chain nil.
    Chain(Box<Node>),
    /// A call of a built-in or of a function.
    Call(String, Vec<Node>),
    /// `of.name(arguments)`.
    Method {
        of: Box<Node>,
        name: String,
        arguments: Vec<Node>,
        optional: bool,
    },
    /// The argument of a built-in that is evaluated for each item.
    Predicate(Box<Node>),
    /// `#` (empty), `#acc`, `#index`.
    Pointer(String),
    Let {
        name: String,
        value: Box<Node>,
        body: Box<Node>,
    },
    If {
        condition: Box<Node>,
        then: Box<Node>,
        otherwise: Box<Node>,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// `a; b; c`, whose value is that of the last.
    Sequence(Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnaryOp {
    Not,
    Minus,
    Plus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Matches,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    /// `??`
    Coalesce,
}

impl BinaryOp {
    /// As users write it.
    pub(super) fn sign(self) -> &'static str {
        match self {
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::In => "in",
            BinaryOp::Matches => "matches",
            BinaryOp::Contains => "contains",
            BinaryOp::StartsWith => "startsWith",
            BinaryOp::EndsWith => "endsWith",
            BinaryOp::Range => "..",
            BinaryOp::Add => "+",
            BinaryOp::Subtract => "-",
            BinaryOp::Multiply => "*",
            BinaryOp::Divide => "/",
            BinaryOp::Modulo => "%",
            BinaryOp::Power => "**",
            BinaryOp::Coalesce => "??",
        }
    }

    /// Whether the result is a truth value.
    pub(super) fn is_test(self) -> bool {
        use BinaryOp::*;
        matches!(
            self,
            Equal
                | NotEqual
                | Less
                | LessEqual
                | Greater
                | GreaterEqual
                | In
                | Matches
                | Contains
                | StartsWith
                | EndsWith
        )
    }

    /// Whether it is one of `< <= > >=`, which chain: `1 < x < 5`.
    pub(super) fn chains(self) -> bool {
        matches!(
            self,
            BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Greater | BinaryOp::GreaterEqual
        )
    }
}

impl Node {
    pub(super) fn new(at: u32, kind: NodeKind) -> Self {
        let (depth, size) = kind.children().fold((0, 0_u32), |(depth, size), child| {
            (depth.max(child.depth), size.saturating_add(child.size))
        });
        Self {
            at,
            depth: depth + 1,
            size: size.saturating_add(1),
            kind,
        }
    }

    /// The text, if the node is a text literal.
    pub(super) fn literal(&self) -> Option<&[u8]> {
        match &self.kind {
            NodeKind::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl NodeKind {
    fn children(&self) -> Box<dyn Iterator<Item = &Node> + '_> {
        match self {
            NodeKind::Nil
            | NodeKind::Bool(_)
            | NodeKind::Int(_)
            | NodeKind::Uint(_)
            | NodeKind::Float(_)
            | NodeKind::Text(_)
            | NodeKind::Name(_)
            | NodeKind::Pointer(_) => Box::new(std::iter::empty()),
            NodeKind::Unary(_, of) | NodeKind::Chain(of) | NodeKind::Predicate(of) => Box::new(std::iter::once(&**of)),
            NodeKind::Logic(_, nodes)
            | NodeKind::List(nodes)
            | NodeKind::Sequence(nodes)
            | NodeKind::Call(_, nodes) => Box::new(nodes.iter()),
            NodeKind::Binary(_, left, right) => Box::new([&**left, &**right].into_iter()),
            NodeKind::Member { of, key, .. } => Box::new([&**of, &**key].into_iter()),
            NodeKind::Slice { of, from, to } => {
                Box::new(std::iter::once(&**of).chain(from.as_deref()).chain(to.as_deref()))
            }
            NodeKind::Method { of, arguments, .. } => Box::new(std::iter::once(&**of).chain(arguments)),
            NodeKind::Let { value, body, .. } => Box::new([&**value, &**body].into_iter()),
            NodeKind::If {
                condition,
                then,
                otherwise,
            } => Box::new([&**condition, &**then, &**otherwise].into_iter()),
            NodeKind::Map(pairs) => Box::new(pairs.iter().flat_map(|(key, value)| [key, value])),
        }
    }
}
