//! `--annotate`: annotations that the user lays over a gadget's metadata.

use crate::metadata::config::Config;
use crate::{Error, Result};

/// Merges `annotations`, each `data-source:key=value` or `data-source.field:key=value`, into `config`.
pub fn annotate(config: &mut Config, annotations: &[String]) -> Result<()> {
    for annotation in annotations.iter().filter(|annotation| !annotation.is_empty()) {
        let bad = |what: &str| Err(Error::invalid(format!("annotation {annotation:?} {what}")));
        let (subject, assignment) = match annotation.split_once(':') {
            None => return bad("must be in subject:assignment format"),
            Some((subject, assignment)) => (subject, assignment),
        };
        let mut parts = assignment.split(':');
        let first = parts.next().unwrap_or_default();
        if parts.clone().next().is_some() && !first.contains('=') {
            return bad("must be in subject:assignment format");
        }
        if subject.is_empty() || first.is_empty() || parts.any(str::is_empty) {
            return bad("has empty subject or assignment");
        }
        let Some((key, value)) = assignment.split_once('=') else {
            return bad("must contain a key=value pair");
        };
        if key.is_empty() {
            return bad("has empty key");
        }
        let (source, field) = subject.split_once('.').map_or((subject, None), |(s, f)| (s, Some(f)));
        if source.is_empty() || field.is_some_and(|field| field.split('.').any(str::is_empty)) {
            return bad("has empty field or subfield name");
        }
        let mut path = vec!["datasources", source];
        if let Some(field) = field {
            path.extend(["fields", field]);
        }
        path.extend(["annotations", key]);
        config.set(&path, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(annotation: &str) -> Result<Config> {
        let mut config = Config::default();
        annotate(&mut config, &[annotation.to_owned()])?;
        Ok(config)
    }

    /// With acceptance check C4 of the data specification.
    #[test]
    fn sets_annotations_of_sources_and_fields() {
        for (annotation, path, key, value) in [
            ("source:foo=bar", "datasources.source.annotations", "foo", "bar"),
            (
                "source.field:foo=bar",
                "datasources.source.fields.field.annotations",
                "foo",
                "bar",
            ),
            (
                "source.a.b:foo=bar",
                "datasources.source.fields.a.b.annotations",
                "foo",
                "bar",
            ),
            ("source:foo=bar=baz", "datasources.source.annotations", "foo", "bar=baz"),
            ("source:foo=b:a:r", "datasources.source.annotations", "foo", "b:a:r"),
            ("e:a=b:c", "datasources.e.annotations", "a", "b:c"),
            ("source:Foo=Bar", "datasources.source.annotations", "foo", "Bar"),
            ("source:foo=", "datasources.source.annotations", "foo", ""),
            (
                "events.proc.comm:columns.width=8",
                "datasources.events.fields.proc.comm.annotations",
                "columns.width",
                "8",
            ),
        ] {
            let config = annotated(annotation).unwrap();
            assert_eq!(
                config.strings_map(path).get(key).map(String::as_str),
                Some(value),
                "{annotation}"
            );
        }
        assert!(annotated("").unwrap().is_empty());
    }

    /// With acceptance check C3 of the data specification.
    #[test]
    fn says_what_is_wrong() {
        for (annotation, expected) in [
            ("events", "must be in subject:assignment format"),
            ("foo=bar", "must be in subject:assignment format"),
            ("a:b:foo=bar", "must be in subject:assignment format"),
            ("source:abc", "must contain a key=value pair"),
            ("source:=bar", "has empty key"),
            (":foo=bar", "has empty subject or assignment"),
            ("s:foo=a::b", "has empty subject or assignment"),
            ("s:foo=a:", "has empty subject or assignment"),
            ("source.:f=b", "has empty field or subfield name"),
            (".field:f=b", "has empty field or subfield name"),
            ("s.t..b:f=b", "has empty field or subfield name"),
        ] {
            let error = annotated(annotation).unwrap_err().to_string();
            assert_eq!(error, format!("annotation {annotation:?} {expected}"));
        }
    }
}
