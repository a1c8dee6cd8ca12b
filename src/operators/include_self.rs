//! What the tracer itself does is not what its user wants to see: events of its own process are left out.
//!
//! It is decided by the process id of the record, before anything is spent on the event. Lists of what exists leave our process out
//! like any other work of ours: it is only there to make the list.

use super::{Context, Explanation, Instance, OperatorNote, priority};
use crate::Result;
use crate::data::{DataSource, FieldId, Flags, Flow};

/// Leaves out the events of the process that [`Context::own_pid`] says.
#[derive(Debug)]
pub struct OwnEvents;

impl OwnEvents {
    /// The fields by which events of our own are known, with their streams.
    fn fields(context: &Context) -> impl Iterator<Item = (usize, FieldId)> {
        let referenced = context
            .streams
            .iter()
            .enumerate()
            .filter(|(_, stream)| stream.source.is_referenced());
        referenced.filter_map(|(index, stream)| Some((index, process_id(&stream.source)?)))
    }
}

/// The id of the process that the events of `source` are about: the first at the top of the record, be it alone or in a
/// description of the process. `None` if there is none.
fn process_id(source: &DataSource) -> Option<FieldId> {
    let is_top = |parent: Option<FieldId>| match parent {
        None => true,
        Some(parent) => {
            let parent = source.get(parent);
            parent.parent().is_none() && parent.has_tag("type:gadget_process")
        }
    };
    source
        .with_tag("type:gadget_pid")
        .find(|(_, field)| field.flags().has(Flags::STATIC_MEMBER) && is_top(field.parent()))
        .map(|(id, _)| id)
}

impl Instance for OwnEvents {
    fn name(&self) -> &'static str {
        "include-self"
    }

    fn priority(&self) -> i32 {
        priority::instance::FILTER
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        let Some(own) = context.own_pid else { return Ok(()) };
        let fields: Vec<_> = Self::fields(context).collect();
        for (index, field) in fields {
            let stream = &mut context.streams[index];
            let pid = stream.source.accessor(field);
            stream
                .pipeline
                .subscribe(priority::subscription::RAW_FILTER, move |element| {
                    Ok(if pid.bits(element) == u64::from(own) {
                        Flow::Discard
                    } else {
                        Flow::Continue
                    })
                });
        }
        Ok(())
    }

    fn explain(&self, context: &Context, to: &mut Explanation) {
        let has_field = Self::fields(context).next().is_some();
        let (on, why) = match context.own_pid {
            None => (false, "events of our own process are wanted, too".to_owned()),
            Some(_) if !has_field => (false, "no event says which process it is of".to_owned()),
            Some(own) => (
                true,
                format!("events of our own process ({own}) are left out; --include-self shows them"),
            ),
        };
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on,
            why,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Scalar, SourceType, StaticField, Stream};

    fn member(name: &str, parent: Option<usize>, tag: &str) -> StaticField {
        StaticField {
            parent,
            tags: vec![tag.to_owned()],
            ..StaticField::new(name, Scalar::Uint32, 0, 4)
        }
    }

    fn source(kind: SourceType, members: &[StaticField]) -> DataSource {
        let mut source = DataSource::new("events", kind, None);
        source.add_static_fields(8, members).unwrap();
        source
    }

    fn found(source: &DataSource) -> Option<&str> {
        process_id(source).map(|id| source.get(id).full_name())
    }

    #[test]
    fn the_process_is_found_at_the_top() {
        let process = [
            member("parent", None, "type:gadget_parent"),
            member("pid", Some(0), "type:gadget_pid"),
            member("proc", None, "type:gadget_process"),
            member("pid", Some(2), "type:gadget_pid"),
            member("pid", None, "type:gadget_pid"),
        ];
        assert_eq!(found(&source(SourceType::Single, &process)), Some("proc.pid"));
        assert_eq!(found(&source(SourceType::Single, &process[4..])), Some("pid"));
        assert_eq!(found(&source(SourceType::Single, &process[..2])), None);
        let list = source(SourceType::Array, &process[4..]);
        assert_eq!(found(&list), Some("pid"), "a list of what exists, too");
    }

    #[test]
    fn own_events_are_left_out_unless_they_are_wanted() {
        for (own_pid, expected) in [(Some(7), vec![6, 8]), (None, vec![6, 7, 8])] {
            let mut context = Context {
                streams: vec![Stream::new(source(
                    SourceType::Single,
                    &[member("pid", None, "type:gadget_pid")],
                ))],
                own_pid,
                ..Context::default()
            };
            let mut explanation = Explanation::default();
            OwnEvents.explain(&context, &mut explanation);
            assert_eq!(explanation.operators[0].on, own_pid.is_some());
            OwnEvents.prepare(&mut context).unwrap();
            let stream = &mut context.streams[0];
            let pid = stream.source.accessor(stream.source.find("pid").unwrap());
            let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let to = std::sync::Arc::clone(&seen);
            stream.pipeline.subscribe(0, move |element| {
                to.lock().unwrap().push(pid.bits(element));
                Ok(Flow::Continue)
            });
            let mut emitter = stream.emitter();
            for number in [6u32, 7, 8] {
                let mut element = emitter.element();
                pid.set(&mut element, &number.to_ne_bytes()).unwrap();
                emitter.emit(&mut element).unwrap();
            }
            assert_eq!(*seen.lock().unwrap(), expected);
            assert!(stream.losses.at(crate::data::LossPlace::Failed) == 0);
        }
    }
}
