//! From words to a tree.

use super::Source;
use super::functions::{self, Builtin};
use super::lex::{Piece, Token, Word, lex};
use super::value::Value;
use crate::{Error, Result};

/// How deep blocks and parentheses may nest.
const MAX_DEPTH: usize = 64;

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Copied.
    Text(String),
    /// `{{pipeline}}`
    Action(Pipeline),
    /// `{{if}}`, `{{with}}` or `{{range}}` up to its `{{end}}`.
    Block {
        keyword: Keyword,
        pipeline: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    If,
    With,
    Range,
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// The variables that get the result.
    pub(super) variables: Vec<String>,
    /// Whether they exist already (`=`), or are new (`:=`).
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
    pub(super) offset: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Command {
    /// At least one.
    pub(super) operands: Vec<Operand>,
}

#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) kind: OperandKind,
    /// Names of the fields that are taken of it, one of the other.
    pub(super) fields: Vec<String>,
    pub(super) offset: usize,
}

#[derive(Clone, Debug)]
pub(super) enum OperandKind {
    Dot,
    Variable(String),
    Literal(Value<'static>),
    Function(Builtin),
    Pipeline(Box<Pipeline>),
}

pub(super) fn parse(source: &Source) -> Result<Vec<Node>> {
    let mut parser = Parser {
        source,
        pieces: lex(source)?.into_iter(),
        scopes: vec![vec![String::new()]],
        loops: 0,
        depth: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::OfText => Ok(nodes),
        End::Block(offset) => Err(source.error(offset, "unexpected {{end}}")),
        End::Else(_, offset) => Err(source.error(offset, "unexpected {{else}}")),
    }
}

/// What ends a list of nodes.
enum End {
    OfText,
    Block(usize),
    /// With the words after `else`.
    Else(Vec<Word>, usize),
}

struct Parser<'a> {
    source: &'a Source,
    pieces: std::vec::IntoIter<Piece>,
    /// Names of the variables that can be seen, a list for each open block; `$` has the empty name.
    scopes: Vec<Vec<String>>,
    loops: usize,
    depth: usize,
}

impl Parser<'_> {
    fn nodes(&mut self) -> Result<(Vec<Node>, End)> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (words, offset) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { words, offset } => (words, offset),
            };
            let keyword = match words.first().map(|word| &word.token) {
                None => return Err(self.source.error(offset, "missing value for command")),
                Some(Token::Name(name)) => name.clone(),
                Some(_) => String::new(),
            };
            match keyword.as_str() {
                "if" => nodes.push(self.block(Keyword::If, &words[1..], offset)?),
                "with" => nodes.push(self.block(Keyword::With, &words[1..], offset)?),
                "range" => nodes.push(self.block(Keyword::Range, &words[1..], offset)?),
                "end" => {
                    self.nothing_after(&words, "end")?;
                    return Ok((nodes, End::Block(offset)));
                }
                "else" => return Ok((nodes, End::Else(words.into_iter().skip(1).collect(), offset))),
                "break" | "continue" => {
                    self.nothing_after(&words, &keyword)?;
                    if self.loops == 0 {
                        return Err(self
                            .source
                            .error(offset, format_args!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                    }
                    nodes.push(if keyword == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    });
                }
                "define" | "template" | "block" => {
                    return Err(self.source.error(
                        offset,
                        format_args!("{{{{{keyword}}}}} is not supported: there are no named templates"),
                    ));
                }
                _ => nodes.push(Node::Action(self.pipeline(&words, offset)?)),
            }
        }
        Ok((nodes, End::OfText))
    }

    fn nothing_after(&self, words: &[Word], keyword: &str) -> Result<()> {
        match words.get(1) {
            None => Ok(()),
            Some(word) => Err(self
                .source
                .error(word.offset, format_args!("unexpected text in {keyword}"))),
        }
    }

    fn deeper<T>(&mut self, offset: usize, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return Err(self
                .source
                .error(offset, format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn block(&mut self, keyword: Keyword, words: &[Word], offset: usize) -> Result<Node> {
        self.deeper(offset, |parser| {
            parser.scopes.push(Vec::new());
            let node = parser.block_body(keyword, words, offset);
            parser.scopes.pop();
            node
        })
    }

    fn block_body(&mut self, keyword: Keyword, words: &[Word], offset: usize) -> Result<Node> {
        let pipeline = self.pipeline(words, offset)?;
        if keyword != Keyword::Range && pipeline.variables.len() > 1 {
            return Err(self.source.error(offset, "too many declarations"));
        }
        self.loops += usize::from(keyword == Keyword::Range);
        let body = self.scoped_nodes();
        self.loops -= usize::from(keyword == Keyword::Range);
        let (body, end) = body?;
        let otherwise = match end {
            End::OfText => return Err(self.source.error(offset, "no {{end}} for this block")),
            End::Block(_) => Vec::new(),
            End::Else(words, at) => self.otherwise(keyword, &words, at, offset)?,
        };
        Ok(Node::Block {
            keyword,
            pipeline,
            body,
            otherwise,
        })
    }

    fn scoped_nodes(&mut self) -> Result<(Vec<Node>, End)> {
        self.scopes.push(Vec::new());
        let nodes = self.nodes();
        self.scopes.pop();
        nodes
    }

    fn otherwise(&mut self, keyword: Keyword, words: &[Word], at: usize, start: usize) -> Result<Vec<Node>> {
        let chained = match (keyword, words.first().map(|word| &word.token)) {
            (_, None) => None,
            (Keyword::If, Some(Token::Name(name))) if name == "if" => Some(Keyword::If),
            (Keyword::With, Some(Token::Name(name))) if name == "with" => Some(Keyword::With),
            (_, Some(_)) => return Err(self.source.error(at, "unexpected text in else")),
        };
        if let Some(keyword) = chained {
            // It shares the {{end}} of the block before.
            return Ok(vec![self.block(keyword, &words[1..], at)?]);
        }
        let (nodes, end) = self.scoped_nodes()?;
        match end {
            End::Block(_) => Ok(nodes),
            End::Else(_, offset) => Err(self.source.error(offset, "expected {{end}}, found {{else}}")),
            End::OfText => Err(self.source.error(start, "no {{end}} for this block")),
        }
    }

    fn pipeline(&mut self, words: &[Word], offset: usize) -> Result<Pipeline> {
        let (pipeline, rest) = self.pipeline_until(words, offset, false)?;
        match rest.first() {
            None => Ok(pipeline),
            Some(word) => Err(self.unexpected(word)),
        }
    }

    fn unexpected(&self, word: &Word) -> Error {
        let what = match &word.token {
            Token::Dot => ".".to_owned(),
            Token::Field(name) => format!(".{name}"),
            Token::Variable(name) => format!("${name}"),
            Token::Name(name) => name.clone(),
            Token::Text(text) => crate::text::go_quote(text),
            Token::Int(value) => value.to_string(),
            Token::Float(value) => value.to_string(),
            Token::Pipe => "|".to_owned(),
            Token::Open => "(".to_owned(),
            Token::Close => ")".to_owned(),
            Token::Comma => ",".to_owned(),
            Token::Declare => ":=".to_owned(),
            Token::Assign => "=".to_owned(),
        };
        self.source
            .error(word.offset, format_args!("unexpected {what} in action"))
    }

    /// Reads a pipeline, in parentheses up to the closing one, which stays in the rest.
    fn pipeline_until<'w>(
        &mut self,
        words: &'w [Word],
        offset: usize,
        in_parentheses: bool,
    ) -> Result<(Pipeline, &'w [Word])> {
        let (variables, assigns, mut rest) = self.variables(words)?;
        let mut commands = Vec::new();
        loop {
            let (command, after) = self.command(rest, offset)?;
            // What comes through a pipe is an argument, which only functions take.
            if !commands.is_empty()
                && let Some(first) = command.operands.first()
                && !matches!(first.kind, OperandKind::Function(_))
            {
                return Err(self.source.error(
                    first.offset,
                    "a command of a pipeline that is not the first must be a function",
                ));
            }
            commands.push(command);
            match after.first().map(|word| &word.token) {
                Some(Token::Pipe) => rest = &after[1..],
                Some(Token::Close) if in_parentheses => {
                    rest = after;
                    break;
                }
                _ => {
                    rest = after;
                    break;
                }
            }
        }
        let scope = self.scopes.last_mut();
        if let Some(scope) = scope.filter(|_| !assigns) {
            scope.extend(variables.iter().cloned());
        }
        Ok((
            Pipeline {
                variables,
                assigns,
                commands,
                offset,
            },
            rest,
        ))
    }

    /// The `$a, $b :=` before a pipeline.
    fn variables<'w>(&self, words: &'w [Word]) -> Result<(Vec<String>, bool, &'w [Word])> {
        let token = |at: usize| words.get(at).map(|word| &word.token);
        let operator = |at: usize| token(at).filter(|token| matches!(token, Token::Declare | Token::Assign));
        let (names, operator, used) = match (token(0), token(1), token(2)) {
            (Some(Token::Variable(a)), Some(Token::Comma), Some(Token::Variable(b))) => {
                (vec![a.clone(), b.clone()], operator(3), 4)
            }
            (Some(Token::Variable(a)), ..) => (vec![a.clone()], operator(1), 2),
            _ => (Vec::new(), None, 0),
        };
        let Some(operator) = operator else {
            return Ok((Vec::new(), false, words));
        };
        let assigns = *operator == Token::Assign;
        if assigns {
            for (name, word) in names.iter().zip(words) {
                self.known(name, word.offset)?;
            }
        }
        Ok((names, assigns, &words[used..]))
    }

    fn known(&self, variable: &str, offset: usize) -> Result<()> {
        if self.scopes.iter().flatten().any(|name| name == variable) {
            return Ok(());
        }
        Err(self
            .source
            .error(offset, format_args!("undefined variable \"${variable}\"")))
    }

    fn command<'w>(&mut self, words: &'w [Word], offset: usize) -> Result<(Command, &'w [Word])> {
        let mut rest = words;
        let mut operands = Vec::new();
        while let Some(word) = rest.first() {
            if matches!(
                word.token,
                Token::Pipe | Token::Close | Token::Comma | Token::Declare | Token::Assign
            ) {
                break;
            }
            if word.glued && !operands.is_empty() && !matches!(word.token, Token::Open) {
                return Err(self.unexpected(word));
            }
            let (operand, after) = self.operand(word, &rest[1..])?;
            operands.push(operand);
            rest = after;
        }
        if operands.is_empty() {
            let at = rest.first().map_or(offset, |word| word.offset);
            return Err(self.source.error(at, "missing value for command"));
        }
        Ok((Command { operands }, rest))
    }

    fn operand<'w>(&mut self, word: &Word, mut rest: &'w [Word]) -> Result<(Operand, &'w [Word])> {
        let mut fields = Vec::new();
        let kind = match &word.token {
            Token::Dot => OperandKind::Dot,
            Token::Field(name) => {
                fields.push(name.clone());
                OperandKind::Dot
            }
            Token::Variable(name) => {
                self.known(name, word.offset)?;
                OperandKind::Variable(name.clone())
            }
            Token::Text(text) => OperandKind::Literal(Value::Text(text.clone())),
            Token::Int(value) => OperandKind::Literal(Value::Int(*value)),
            Token::Float(value) => OperandKind::Literal(Value::Float(*value)),
            Token::Name(name) => match name.as_str() {
                "true" => OperandKind::Literal(Value::Bool(true)),
                "false" => OperandKind::Literal(Value::Bool(false)),
                "nil" => OperandKind::Literal(Value::Nil),
                name => {
                    let function = functions::find(name).map_err(|why| self.source.error(word.offset, why))?;
                    OperandKind::Function(function)
                }
            },
            Token::Open => {
                let (pipeline, after) =
                    self.deeper(word.offset, |parser| parser.pipeline_until(rest, word.offset, true))?;
                rest = match after.split_first() {
                    Some((close, after)) if close.token == Token::Close => after,
                    Some((other, _)) => return Err(self.unexpected(other)),
                    None => return Err(self.source.error(word.offset, "unclosed left paren")),
                };
                OperandKind::Pipeline(Box::new(pipeline))
            }
            _ => return Err(self.unexpected(word)),
        };
        while let Some((next, after)) = rest.split_first()
            && next.glued
            && let Token::Field(name) = &next.token
        {
            if matches!(kind, OperandKind::Literal(_) | OperandKind::Function(_)) {
                return Err(self.unexpected(next));
            }
            fields.push(name.clone());
            rest = after;
        }
        let operand = Operand {
            kind,
            fields,
            offset: word.offset,
        };
        Ok((operand, rest))
    }
}
