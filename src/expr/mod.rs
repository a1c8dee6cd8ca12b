//! The expression language of `--filter-expr` (and of texts computed from an event): *expr* of expr-lang, version 1.17.
//!
//! An expression is compiled once, for the fields of one data source: names are resolved, types checked, constants evaluated.
//! What is wrong with it is said then, with the place. Evaluating a comparison of fields with constants, or any logic of such,
//! allocates nothing. Everything else that an expression can say is bounded: one evaluation ends after so many steps and
//! makes so many bytes at the most, and is an error beyond that.
//!
//! The path of an expression: `lexer` → `parser` (tree of `ast`) → `compile` (tree of `plan`) → `plan`'s evaluation with
//! `operators` and `builtins` on `value`s.
//!
//! ```
//! use inspektor_gadget::data::{DataSource, Element, NewField, Scalar, SourceType};
//! use inspektor_gadget::expr::Filter;
//!
//! let mut exec = DataSource::new("exec", SourceType::Single, None);
//! let pid = exec.add_field(NewField::new("pid", Scalar::Uint32)).unwrap();
//! let mut filter = Filter::compile("pid in 1..10 and not (pid == 7)", &exec).unwrap();
//! assert_eq!(filter.fields(), [pid]);
//!
//! let mut event = Element::new(exec.layout());
//! exec.accessor(pid).set_bits(&mut event, 5);
//! assert!(filter.matches(&event).unwrap());
//!
//! let error = Filter::compile("pdi == 1", &exec).unwrap_err();
//! assert!(error.to_string().ends_with("unknown name pdi (1:1)\n | pdi == 1\n | ^"));
//! assert_eq!(error.hint(), Some("did you mean `pid`?"));
//! ```

mod ast;
mod builtins;
mod cidr;
mod compile;
mod environment;
mod fault;
mod lexer;
mod operators;
mod parser;
mod plan;
mod show;
#[cfg(test)]
mod tests;
mod types;
mod value;

use self::compile::Compiled;
use self::fault::{Fault, Outcome};
use self::plan::{Frame, Plan};
use self::types::Type;
use crate::data::{DataSource, Element, FieldId};
use crate::text::go_quote;
use crate::{Error, Result};

/// A condition on the events of one data source.
#[derive(Debug)]
pub struct Filter {
    text: String,
    plan: Plan,
    fields: Vec<FieldId>,
}

impl Filter {
    /// Compiles `text` for events of `source`.
    ///
    /// # Errors
    /// `compiling filter expression "<text>" for datasource <source>: compiling filter expression: …`, with the place where
    /// there is one, if the text is no expression, names what is not there, mixes types or is not boolean.
    pub fn compile(text: &str, source: &DataSource) -> Result<Self> {
        let compiled = compile(text, source, &Type::Bool).map_err(|fault| {
            fault.bind(text).context("compiling filter expression").context(format!(
                "compiling filter expression {} for datasource {}",
                go_quote(text),
                source.name()
            ))
        })?;
        Ok(Self {
            text: text.to_owned(),
            plan: compiled.plan,
            fields: compiled.fields,
        })
    }

    /// The fields that are read, each once; no field with sub fields is among them.
    pub fn fields(&self) -> &[FieldId] {
        &self.fields
    }

    /// Whether the condition holds for `element`, which must be of the data source it was compiled for.
    ///
    /// # Errors
    /// What can only be found when values are there: a text that is no address, an index that does not exist, a budget that is
    /// used up.
    pub fn matches(&mut self, element: &Element) -> Result<bool> {
        self.plan
            .test(&mut Frame::new(element))
            .map_err(|fault| evaluation(&fault, &self.text))
    }
}

/// A text computed from events of one data source.
#[derive(Debug)]
pub struct Text {
    text: String,
    plan: Plan,
    fields: Vec<FieldId>,
}

impl Text {
    /// Compiles `text` for events of `source`.
    ///
    /// # Errors
    /// `compiling expression "<text>": …`, like [`Filter::compile`], and if the result is not a text.
    pub fn compile(text: &str, source: &DataSource) -> Result<Self> {
        let compiled = compile(text, source, &Type::Text).map_err(|fault| {
            fault
                .bind(text)
                .context(format!("compiling expression {}", go_quote(text)))
        })?;
        Ok(Self {
            text: text.to_owned(),
            plan: compiled.plan,
            fields: compiled.fields,
        })
    }

    /// The fields that are read, each once.
    pub fn fields(&self) -> &[FieldId] {
        &self.fields
    }

    /// Appends the text for `element` to `out`. After an error a part of it may be there.
    ///
    /// # Errors
    /// As those of [`Filter::matches`].
    pub fn eval(&mut self, element: &Element, out: &mut Vec<u8>) -> Result<()> {
        self.plan
            .append(&mut Frame::new(element), out)
            .map_err(|fault| evaluation(&fault, &self.text))
    }
}

fn evaluation(fault: &Fault, text: &str) -> Error {
    fault.bind(text).context("evaluating expression")
}

fn compile(text: &str, source: &DataSource, wanted: &Type) -> Outcome<Compiled> {
    let compiled = compile::compile(&parser::parse(text)?, source)?;
    if compiled.result != *wanted && !compiled.result.is_any() {
        return Err(Fault::new(format!("expected {wanted}, but got {}", compiled.result)));
    }
    Ok(compiled)
}
