//! `$env[name]` with a name that is known at run time only.

use std::collections::HashMap;

use super::plan::Load;
use crate::data::{DataSource, FieldId};

/// The root fields of a data source that have values, by name.
#[derive(Debug)]
pub(super) struct Environment {
    fields: HashMap<Box<[u8]>, Load>,
}

impl Environment {
    pub(super) fn new(source: &DataSource) -> Self {
        let fields = Self::leaves(source)
            .map(|id| {
                let name = source.get(id).name().as_bytes().into();
                (name, Load::new(source.accessor(id)))
            })
            .collect();
        Self { fields }
    }

    /// The fields that it gives access to.
    pub(super) fn leaves(source: &DataSource) -> impl Iterator<Item = FieldId> {
        source
            .fields()
            .filter(|(id, field)| {
                field.parent().is_none() && !field.is_unreferenced() && source.children(*id).next().is_none()
            })
            .map(|(id, _)| id)
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<&Load> {
        self.fields.get(name)
    }
}
