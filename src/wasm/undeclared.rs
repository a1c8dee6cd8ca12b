//! What a guest does though the gadget's metadata says that it does not.
//!
//! Where the metadata says which fields the guest writes ([`CODE_WRITES`]), filters have been asked before the guest, and the kernel
//! may have been told not to send what does not pass them. So nothing else can be let happen: it is refused, and the run fails in
//! the end.

use std::collections::HashSet;

use crate::data::{CODE_WRITES, CodeWrites, DataSource, FieldId};
use crate::{Error, Result};

/// What belongs to the guest, and what was refused.
#[derive(Debug, Default)]
pub(super) struct Undeclared {
    /// Data sources that the guest has made, by position.
    own_sources: HashSet<usize>,
    /// Fields that it has added.
    own_fields: HashSet<(usize, FieldId)>,
    refused: u64,
    first: String,
}

impl Undeclared {
    pub(super) fn add_own_source(&mut self, source: usize) {
        self.own_sources.insert(source);
    }

    pub(super) fn add_own_field(&mut self, source: usize, field: FieldId) {
        self.own_fields.insert((source, field));
    }

    /// Whether the guest may write `field` of `description`, which is at position `source`.
    pub(super) fn may_write(&self, source: usize, description: &DataSource, field: FieldId) -> bool {
        self.own_fields.contains(&(source, field)) || CodeWrites::of(description).allow(description, field)
    }

    /// Whether the guest may make elements of `description`, which is at position `source`.
    pub(super) fn may_make_elements(&self, source: usize, description: &DataSource) -> bool {
        self.own_sources.contains(&source) || CodeWrites::of(description) == CodeWrites::Any
    }

    /// Notes that `what` was refused.
    pub(super) fn refuse(&mut self, what: &str) {
        if self.refused == 0 {
            what.clone_into(&mut self.first);
        }
        self.refused += 1;
    }

    /// How it went.
    pub(super) fn result(&self) -> Result<()> {
        if self.refused == 0 {
            return Ok(());
        }
        let times = match self.refused {
            1 => "once".to_owned(),
            count => format!("{count} times, first"),
        };
        let what = format!("the module was refused {times}: {}", self.first);
        Err(Error::invalid(what).with_hint(format!(
            "name all fields that it writes in annotation {CODE_WRITES} of the data source, or remove the annotation"
        )))
    }
}
