//! Go text templates, as far as the metadata of gadgets can need them.
//!
//! The strings of a custom parameter's patch are such templates. There are fields, variables, pipelines, parentheses, literals,
//! `if`, `range` and `with` with their `else`, `break`, `continue`, comments, trim markers, and the functions that need nothing
//! but their arguments. Named templates (`define`, `template`, `block`) and functions of one's own are refused by name.
//!
//! Images come from registries, so the work a template can make is bounded: nesting, steps, and the size of what it writes.
//!
//! ```
//! use inspektor_gadget::metadata::template::{Template, Value};
//!
//! let double = |text: &str| text.repeat(2);
//! let data = Value::map([("double", Value::function(&double))]);
//! let template = Template::parse("greeting", r#"{{with call .double "ha"}}{{. | printf "%s!"}}{{end}}"#).unwrap();
//! assert_eq!(template.render(&data).unwrap(), "haha!");
//! ```

mod exec;
mod format;
mod functions;
mod lex;
mod parse;
#[cfg(test)]
mod tests;
mod value;

pub use self::value::Value;
use crate::{Error, Result};

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    source: Source,
    body: Vec<parse::Node>,
}

/// The text of a template, for saying where something is.
#[derive(Clone, Debug)]
struct Source {
    name: String,
    text: String,
}

impl Source {
    /// An error about the place at byte `offset`.
    fn error(&self, offset: usize, message: impl std::fmt::Display) -> Error {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = 1 + before.matches('\n').count();
        let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
        Error::invalid(format!("template: {}:{line}:{column}: {message}", self.name))
    }
}

impl Template {
    /// Parses `text`; `name` is for messages.
    ///
    /// # Errors
    ///
    /// `template: name:line:column: what is wrong there`
    pub fn parse(name: impl Into<String>, text: impl Into<String>) -> Result<Self> {
        let source = Source {
            name: name.into(),
            text: text.into(),
        };
        let body = parse::parse(&source)?;
        Ok(Self { source, body })
    }

    /// Fills the template in; `data` is what `.` stands for.
    ///
    /// # Errors
    ///
    /// `template: name:line:column: what went wrong there`, and when the bounds are exceeded.
    pub fn render(&self, data: &Value<'_>) -> Result<String> {
        exec::render(&self.source, &self.body, data)
    }
}
