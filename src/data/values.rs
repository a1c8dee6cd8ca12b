//! Values of some fields, taken from one element and put into others at once.

use super::accessor::Accessor;
use super::element::{Element, Span};
use super::field::Place;
use super::put::Put;
use super::word::Word;

/// See the module documentation. Only for elements of the data source that the accessors are of.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Stands for those in slots.
    put: Put,
    /// Those of fixed size.
    fixed: Vec<(Word, u64)>,
    bytes: Vec<u8>,
    /// Where in `bytes` the values of slots are, for runs of them from a first one on.
    spans: Vec<(u32, Vec<Span>)>,
}

impl Values {
    /// Takes the values of the fields that `accessors` access. Bitfields are left out.
    pub fn take<'a>(accessors: impl IntoIterator<Item = &'a Accessor>, element: &Element) -> Self {
        let mut values = Self::default();
        let mut words = Vec::new();
        for accessor in accessors {
            match accessor.place {
                Place::Fixed { offset, len } => Word::add_covering(offset, len, &mut words),
                Place::Slot(slot) => {
                    let bytes = element.slot(slot);
                    let span = Span {
                        start: values.bytes.len() as u32,
                        len: bytes.len() as u32,
                    };
                    values.bytes.extend_from_slice(bytes);
                    match values.spans.last_mut() {
                        Some((first, run)) if *first + run.len() as u32 == slot => run.push(span),
                        _ => values.spans.push((slot, vec![span])),
                    }
                }
                Place::Bits { .. } | Place::Nowhere => {}
            }
        }
        let value = |word: Word| (word, word.read(element.words()));
        values.fixed = words.into_iter().map(value).collect();
        // Between several runs there could be slots of others.
        if let [(first, run)] = &values.spans[..] {
            values.put = Put::new(*first..*first + run.len() as u32);
        }
        values
    }

    /// Puts those of fixed size into `element`, and lets it be known that the others follow. Until they do, nobody may read them.
    #[inline]
    pub fn announce(&self, element: &mut Element) {
        element.write_words(&self.fixed);
        element.announce(self.put);
    }

    /// Puts those of variable length into `element`.
    #[inline]
    pub fn put(&self, element: &mut Element) {
        element.write_slots(&self.bytes, &self.spans, self.put);
    }

    /// Whether elements in which they were announced are known by that, so that those of variable length may be put there later or never.
    #[inline]
    pub fn can_wait(&self) -> bool {
        self.put.id() != 0
    }
}
