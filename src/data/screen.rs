//! Screens: conditions on the first bytes of a record, asked before anything else is spent on it.
//!
//! Most of what is filtered is left out, and copying a record of kilobytes costs more than looking at the few bytes that decide.

use super::accessor::Accessor;
use super::element::Element;
use super::field::Place;

/// Whether an element passes, of which only the first bytes are those of the record.
pub type ScreenFn = Box<dyn FnMut(&Element) -> bool + Send>;

/// The conditions of one data source.
#[derive(Default)]
pub struct Screen {
    needed: usize,
    tests: Vec<ScreenFn>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen")
            .field("needed", &self.needed)
            .field("tests", &self.tests.len())
            .finish()
    }
}

impl Screen {
    /// Adds a condition on fields of the record, which `accessors` access. Conditions are asked in the order in which they were added.
    pub fn add<'a>(&mut self, accessors: impl IntoIterator<Item = &'a Accessor>, test: ScreenFn) {
        for accessor in accessors {
            if let Place::Fixed { offset, len } | Place::Bits { offset, len, .. } = accessor.place {
                self.needed = self.needed.max((offset + len) as usize);
            }
        }
        self.tests.push(test);
    }

    /// How many bytes of the record the conditions look at.
    #[inline]
    pub(super) fn needed(&self) -> usize {
        self.needed
    }

    /// Whether all conditions hold.
    #[inline]
    pub(super) fn passes(&mut self, element: &Element) -> bool {
        self.tests.iter_mut().all(|test| test(element))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::data::{DataSource, Flow, Inlet, Scalar, SourceType, StaticField, Stream};

    #[test]
    fn records_that_do_not_pass_are_no_elements() {
        let mut source = DataSource::new("screened", SourceType::Single, None);
        let fields = [
            StaticField::new("number", Scalar::Uint32, 0, 4),
            StaticField::new("text", Scalar::CString, 4, 8),
        ];
        source.add_static_fields(12, &fields).unwrap();
        let [number, text] = ["number", "text"].map(|name| source.field(name).unwrap().any());
        let mut stream = Stream::new(source);
        let mut screen = Screen::default();
        screen.add([&number], Box::new(move |element| number.bits(element) % 2 == 0));
        assert_eq!(screen.needed(), 4);
        stream.screen = Some(screen);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        stream.pipeline.subscribe(0, move |element| {
            sink.lock()
                .unwrap()
                .push((number.bits(element), text.text(element).to_vec()));
            Ok(Flow::Continue)
        });
        let mut inlet = Inlet::new(stream.emitter(), None, None);
        inlet.record(b"\x02\0\0\0first\0\0\0");
        inlet.record(b"\x03\0\0\0second\0\0");
        inlet.record(b"\x04\0\0\0x");
        inlet.record(b"\x05");
        inlet.record(b"\x06");
        let seen: Vec<(u64, Vec<u8>)> = std::mem::take(&mut seen.lock().unwrap());
        assert_eq!(seen, [(2, b"first".to_vec()), (4, b"x".to_vec()), (6, b"".to_vec())]);
        assert_eq!(inlet.events(), 5);
    }
}
