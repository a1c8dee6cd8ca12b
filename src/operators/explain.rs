//! What `--explain` says about operators that add fields: on because of whom, or off because nobody reads them.

use super::{Context, OperatorNote};
use crate::data::FieldId;

/// More names of fields are only counted.
const NAMED: usize = 4;

/// The note of an operator that does nothing but add these fields, given as number of the stream and field.
pub(crate) fn of_fields(
    operator: &str,
    context: &Context,
    fields: impl IntoIterator<Item = (usize, FieldId)>,
) -> OperatorNote {
    let mut unread = Vec::new();
    let mut read: Vec<(&'static str, Vec<String>)> = Vec::new();
    for (index, field) in fields {
        let Some(stream) = context.streams.get(index) else {
            continue;
        };
        let name = name(context, index, field);
        let readers = stream.demand.readers(field);
        if readers.is_empty() {
            unread.push(name.clone());
        }
        // What it reads itself to make the others is no reason.
        for reader in readers.iter().filter(|reader| **reader != operator) {
            match read.iter_mut().find(|(known, _)| known == reader) {
                Some((_, names)) => names.push(name.clone()),
                None => read.push((reader, vec![name.clone()])),
            }
        }
    }
    let readers: Vec<String> = read
        .iter()
        .map(|(reader, names)| format!("{reader} reads {}", list(names)))
        .collect();
    OperatorNote {
        name: operator.to_owned(),
        on: !readers.is_empty(),
        why: match readers.is_empty() {
            true => format!("nobody reads {}", list(&unread)),
            false => readers.join("; "),
        },
    }
}

/// The field's name, with that of its data source when there are several.
fn name(context: &Context, index: usize, field: FieldId) -> String {
    let source = &context.streams[index].source;
    let name = source.get(field).full_name();
    match context
        .streams
        .iter()
        .filter(|stream| stream.source.is_referenced())
        .count()
    {
        0 | 1 => name.to_owned(),
        _ => format!("{}:{name}", source.name()),
    }
}

fn list(names: &[String]) -> String {
    match names.len().saturating_sub(NAMED) {
        0 if names.is_empty() => "its fields".to_owned(),
        0 | 1 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSource, NewField, Scalar, SourceType, Stream};

    fn context(sources: &[&str]) -> Context {
        let mut context = Context::default();
        for source in sources {
            let mut source = DataSource::new(*source, SourceType::Single, None);
            for name in ["a", "b", "c", "d", "e", "f"] {
                source.add_field(NewField::new(name, Scalar::String)).unwrap();
            }
            context.streams.push(Stream::new(source));
        }
        context
    }

    fn note(context: &Context, fields: &[(usize, &str)]) -> (bool, String) {
        let ids = fields
            .iter()
            .map(|(index, name)| (*index, context.streams[*index].source.find(name).unwrap()));
        let note = of_fields("op", context, ids);
        assert_eq!(note.name, "op");
        (note.on, note.why)
    }

    fn read(context: &mut Context, index: usize, reader: &'static str, field: &str) {
        let stream = &mut context.streams[index];
        let field = stream.source.find(field).unwrap();
        stream.demand.set_reader(reader);
        stream.demand.add(field);
        stream.demand.add(field);
    }

    #[test]
    fn readers_are_named() {
        let mut context = context(&["open"]);
        let fields = [(0, "a"), (0, "b"), (0, "c")];
        assert_eq!(note(&context, &fields), (false, "nobody reads a, b, c".into()));
        read(&mut context, 0, "columns", "a");
        read(&mut context, 0, "columns", "b");
        read(&mut context, 0, "filter", "b");
        assert_eq!(
            note(&context, &fields),
            (true, "columns reads a, b; filter reads b".into())
        );
        assert_eq!(note(&context, &[]), (false, "nobody reads its fields".into()));
    }

    #[test]
    fn long_lists_are_cut_and_data_sources_named() {
        let mut context = context(&["open", "exec"]);
        let all = ["a", "b", "c", "d", "e", "f"].map(|name| (0, name));
        assert_eq!(
            note(&context, &all).1,
            "nobody reads open:a, open:b, open:c, open:d and 2 more"
        );
        assert_eq!(
            note(&context, &all[..5]).1,
            "nobody reads open:a, open:b, open:c, open:d, open:e"
        );
        read(&mut context, 1, "json", "a");
        assert_eq!(
            note(&context, &[(0, "a"), (1, "a")]),
            (true, "json reads exec:a".into())
        );
    }
}
