//! Texts of stacks in recordings: events carry ids, and what these stand for is in the kernel of the recorded machine, and in its files.
//!
//! While a run is recorded, whoever makes texts of stacks also [describes](DescribeStack) each one that comes up. In a replay the
//! texts are those that were [known](KnownStacks) then.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::data::{Accessor, Element};

/// What the texts of a stack are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StackKey {
    /// The id of a kernel stack.
    Kernel(u32),
    /// Of a user stack: the process as the host counts, the hash of what it executes, and the stack's id.
    User(u32, u32, u32),
}

/// A stack with its texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedStack {
    /// Which one.
    pub key: StackKey,
    /// Of a kernel stack the functions; of a user stack addresses, files and functions.
    pub texts: Vec<String>,
}

/// Describes the stack of an element, if it is one that has not come up before.
pub type DescribeStack = Box<dyn FnMut(&Element) -> Option<RecordedStack> + Send>;

/// What there is to do for recordings.
#[derive(Default)]
pub enum RecordedStacks {
    /// Nothing: nobody records.
    #[default]
    Nobody,
    /// The run is recorded: these describe the stacks of the streams with these positions.
    Described(Vec<(usize, DescribeStack)>),
    /// A recording is replayed: these are known.
    Known(KnownStacks),
}

impl std::fmt::Debug for RecordedStacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nobody => f.write_str("Nobody"),
            Self::Described(describers) => f.debug_tuple("Described").field(&describers.len()).finish(),
            Self::Known(known) => known.fmt(f),
        }
    }
}

/// The stacks that a recording has described so far. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct KnownStacks(Arc<RwLock<HashMap<StackKey, Vec<String>>>>);

impl KnownStacks {
    /// Adds one.
    pub fn add(&self, stack: RecordedStack) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(stack.key, stack.texts);
    }

    /// Writes the texts of a stack to `fields` of `element`; nothing if it is not known.
    pub fn write(&self, key: StackKey, fields: &[Accessor], element: &mut Element) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let texts = known.get(&key).map_or(&[][..], Vec::as_slice);
        for (field, text) in fields.iter().zip(texts) {
            field.write(element, |out| out.extend_from_slice(text.as_bytes()));
        }
    }
}
