//! Environment variables of this process as fields, for those that the user allows.
//!
//! The annotation `env.fields.<field>: VARIABLE` of a data source asks for one. Values are read once.

use std::os::unix::ffi::OsStringExt;

use super::{Context, Instance, priority};
use crate::data::{Accessor, FieldId, Flow, NewField, Scalar};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Annotations of data sources with this prefix name a field and a variable.
const ANNOTATION: &str = "env.fields.";

/// The environment's part in one gadget.
#[derive(Debug)]
pub struct Environment {
    fields: Vec<EnvironmentField>,
}

#[derive(Debug)]
struct EnvironmentField {
    stream: usize,
    field: FieldId,
    accessor: Accessor,
    value: Vec<u8>,
}

impl Environment {
    /// Adds the fields that annotations ask for. `None` if there are none.
    ///
    /// # Errors
    ///
    /// A variable that is not among `allowed`; a field that exists already.
    pub fn instantiate(context: &mut Context, allowed: &[String]) -> Result<Option<Self>> {
        Self::with(context, allowed, |name| {
            std::env::var_os(name).map_or_else(Vec::new, OsStringExt::into_vec)
        })
    }

    fn with(context: &mut Context, allowed: &[String], value: impl Fn(&str) -> Vec<u8>) -> Result<Option<Self>> {
        let mut fields = Vec::new();
        for (index, stream) in context.referenced() {
            let source = &mut stream.source;
            let asked: Vec<(String, String)> = source
                .annotations()
                .iter()
                .filter_map(|(key, variable)| Some((key.strip_prefix(ANNOTATION)?.to_owned(), variable.clone())))
                .collect();
            for (name, variable) in asked {
                if !allowed.contains(&variable) {
                    return Err(Error::new(
                        ErrorKind::Refused,
                        format!("environment var {name:?} not in allowed vars: [{}]", allowed.join(" ")),
                    )
                    .with_hint(format!("allow the gadget to see {variable:?} with --env-vars")));
                }
                let field = source
                    .add_field(NewField::new(&*name, Scalar::String))
                    .with_context(|| format!("adding field {name}"))?;
                fields.push(EnvironmentField {
                    stream: index,
                    field,
                    accessor: source.accessor(field),
                    value: value(&variable),
                });
            }
        }
        Ok((!fields.is_empty()).then_some(Self { fields }))
    }
}

impl Instance for Environment {
    fn name(&self) -> &'static str {
        "env"
    }

    fn priority(&self) -> i32 {
        priority::instance::ENV
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for EnvironmentField {
            stream,
            field,
            accessor,
            value,
        } in self.fields.drain(..)
        {
            let Some(stream) = context
                .streams
                .get_mut(stream)
                .filter(|stream| stream.demand.wants(field))
            else {
                continue;
            };
            stream.pipeline.subscribe(priority::subscription::ENV, move |element| {
                accessor.write(element, |out| out.extend_from_slice(&value));
                Ok(Flow::Continue)
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSource, SourceType, Stream};

    fn context(annotations: &[(&str, &str)]) -> Context {
        let mut source = DataSource::new("events", SourceType::Single, None);
        for (key, value) in annotations {
            source.annotate(*key, *value);
        }
        source.add_field(NewField::new("taken", Scalar::Uint32)).unwrap();
        let mut context = Context::default();
        context.streams.push(Stream::new(source));
        context
    }

    fn with(context: &mut Context, allowed: &[&str]) -> Result<Option<Environment>> {
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        Environment::with(context, &allowed, |name| format!("value of {name}").into_bytes())
    }

    #[test]
    fn allowed_variables_become_fields() {
        let mut context = context(&[
            ("env.fields.node", "NODE_NAME"),
            ("env.fields.zone", "ZONE"),
            ("other", "X"),
        ]);
        let mut environment = with(&mut context, &["NODE_NAME", "ZONE"]).unwrap().unwrap();
        let stream = &mut context.streams[0];
        let node = stream.source.field("node").unwrap();
        let (id, text) = (node.id(), node.str().unwrap());
        let zone = stream.source.field("zone").unwrap().str().unwrap();
        stream.demand.add(id);
        environment.prepare(&mut context).unwrap();
        let mut emitter = context.streams[0].emitter();
        let mut element = emitter.element();
        emitter.emit(&mut element).unwrap();
        assert_eq!(text.get(&element), "value of NODE_NAME");
        assert_eq!(zone.get(&element), "", "nobody reads it");
    }

    #[test]
    fn others_are_refused() {
        let message = |allowed: &[&str]| {
            let error = with(&mut context(&[("env.fields.node", "SECRET")]), allowed).unwrap_err();
            assert!(error.hint().unwrap().contains("SECRET"));
            error.to_string()
        };
        assert_eq!(message(&[""]), "environment var \"node\" not in allowed vars: []");
        assert_eq!(
            message(&["A", "B"]),
            "environment var \"node\" not in allowed vars: [A B]"
        );
        let error = with(&mut context(&[("env.fields.taken", "A")]), &["A"]).unwrap_err();
        assert_eq!(error.to_string(), "adding field taken: field \"taken\" already exists");
        assert!(with(&mut context(&[]), &[]).unwrap().is_none());
    }

    #[test]
    fn what_is_not_set_is_empty() {
        let mut context = context(&[("env.fields.node", "IG_TEST_NOT_SET")]);
        let allowed = ["IG_TEST_NOT_SET".to_owned()];
        let environment = Environment::instantiate(&mut context, &allowed).unwrap().unwrap();
        assert!(environment.fields[0].value.is_empty());
    }
}
