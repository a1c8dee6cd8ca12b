//! What a gadget's own code writes of elements that others make.
//!
//! Such code could change any value, so that nothing could be decided before it has seen an element. An author who says what it
//! changes spares the user that: whatever else there is stays what the kernel wrote.

use super::field::FieldId;
use super::source::DataSource;
use crate::{Error, Result};

/// The annotation of a data source that says it: full names of fields, separated by commas, maybe none. Fields that the code adds
/// are its own and not named.
///
/// It is a promise about the code: what that does with an element depends on no other element, and goes into these fields.
pub const CODE_WRITES: &str = "wasm.writes";

/// The fields that a gadget's own code writes besides those that it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeWrites {
    /// Nobody said which.
    Any,
    /// These, with everything below them.
    Only(Vec<FieldId>),
}

impl CodeWrites {
    /// There is no such code.
    pub const NOTHING: Self = Self::Only(Vec::new());

    /// What `source` declares. Fields that are not there (yet) are left out.
    pub fn of(source: &DataSource) -> Self {
        match source.annotation(CODE_WRITES) {
            None => Self::Any,
            Some(list) => Self::Only(names(list).filter_map(|name| source.find(name)).collect()),
        }
    }

    /// Like [`of`](Self::of), when all fields are there.
    ///
    /// # Errors
    ///
    /// A name that no field has.
    pub fn checked(source: &DataSource) -> Result<Self> {
        let mut declared = names(source.annotation(CODE_WRITES).unwrap_or_default());
        match declared.find(|name| source.find(name).is_none()) {
            None => Ok(Self::of(source)),
            Some(name) => Err(Error::not_found(format!(
                "annotation {CODE_WRITES} of datasource {}: field {name:?} not found",
                source.name()
            ))),
        }
    }

    /// Whether the code may write `field` of `source`.
    pub fn allow(&self, source: &DataSource, field: FieldId) -> bool {
        let Self::Only(fields) = self else { return true };
        let mut above = std::iter::successors(Some(field), |id| source.get(*id).parent());
        above.any(|id| fields.contains(&id))
    }

    /// Whether the value of `field` of `source` may be another one when the code has seen an element.
    pub fn may_change(&self, source: &DataSource, field: FieldId) -> bool {
        match self {
            Self::Any => true,
            Self::Only(fields) => {
                self.allow(source, field) || fields.iter().any(|written| source.share_bytes(*written, field))
            }
        }
    }
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{NewField, Scalar, SourceType, StaticField};

    fn source(declared: Option<&str>) -> DataSource {
        let mut source = DataSource::new("s", SourceType::Single, None);
        let member = |name: &str, kind: Scalar, offset, size, parent| StaticField {
            parent,
            ..StaticField::new(name, kind, offset, size)
        };
        let members = [
            member("n", Scalar::Uint64, 0, 8, None),
            member("half", Scalar::Uint32, 4, 4, None),
            member("proc", Scalar::Invalid, 8, 8, None),
            member("pid", Scalar::Uint32, 8, 4, Some(2)),
            member("tid", Scalar::Uint32, 12, 4, Some(2)),
        ];
        source.add_static_fields(16, &members).unwrap();
        source.add_field(NewField::new("added", Scalar::Uint64)).unwrap();
        if let Some(declared) = declared {
            source.annotate(CODE_WRITES, declared);
        }
        source
    }

    /// The fields that may be written, and those whose values may change.
    fn effect(declared: Option<&str>) -> (Vec<String>, Vec<String>) {
        let source = source(declared);
        let writes = CodeWrites::checked(&source).unwrap();
        let those = |test: &dyn Fn(FieldId) -> bool| -> Vec<String> {
            let fields = source.fields().filter(|(id, _)| test(*id));
            fields.map(|(_, field)| field.full_name().to_owned()).collect()
        };
        (
            those(&|id| writes.allow(&source, id)),
            those(&|id| writes.may_change(&source, id)),
        )
    }

    #[test]
    fn what_is_declared_and_shares_its_bytes_changes() {
        let all = ["n", "half", "proc", "proc.pid", "proc.tid", "added"];
        assert_eq!(
            effect(None),
            (all.map(str::to_owned).into(), all.map(str::to_owned).into())
        );
        for (declared, written, changed) in [
            ("", [].as_slice(), [].as_slice()),
            ("half", &["half"], &["n", "half"]),
            (
                "proc",
                &["proc", "proc.pid", "proc.tid"],
                &["proc", "proc.pid", "proc.tid"],
            ),
            (
                " proc.PID,added ,",
                &["proc.pid", "added"],
                &["proc", "proc.pid", "added"],
            ),
        ] {
            let (may_write, may_change) = effect(Some(declared));
            assert_eq!(
                (may_write.as_slice(), may_change.as_slice()),
                (
                    &written.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..],
                    &changed.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..]
                ),
                "{declared:?}"
            );
        }
    }

    #[test]
    fn a_name_that_no_field_has_is_an_error_when_all_are_there() {
        let source = source(Some("n,later"));
        assert_eq!(
            CodeWrites::of(&source),
            CodeWrites::Only(vec![source.find("n").unwrap()])
        );
        assert_eq!(
            CodeWrites::checked(&source).unwrap_err().to_string(),
            "annotation wasm.writes of datasource s: field \"later\" not found"
        );
    }
}
