//! What is repeated in the text of elements, and is therefore not made again.
//!
//! What is between values that change often is kept as one text from element to element (`memo`); which these are is found out on the way
//! (`watch`). Values that have to be [derived](crate::data::Derivation) are made for what is written anew only.

use std::ops::Range;

use super::memo::Memo;
use super::watch::Watch;
use crate::data::{Accessor, Element, Lazy};

/// Writes the steps of a plan, or has them repeated. See the module documentation.
#[derive(Debug)]
pub(super) struct Repeats {
    watch: Watch,
    /// In the order of their steps.
    memos: Vec<Memo>,
    /// The derivations that every element needs.
    always: Vec<usize>,
    /// Whether it was found out yet what is kept.
    is_settled: bool,
    /// One more than the last step.
    end: usize,
}

impl Repeats {
    /// For a plan of `end` steps, of which these have values.
    pub(super) fn new(end: usize, values: impl Iterator<Item = (usize, Accessor)>) -> Self {
        Self {
            watch: Watch::new(values),
            memos: Vec::new(),
            always: Vec::new(),
            is_settled: false,
            end,
        }
    }

    /// Forgets all texts, because the same values may make others now.
    #[cold]
    pub(super) fn forget(&mut self) {
        self.memos.clear();
        self.always.clear();
        self.is_settled = false;
        self.watch.restart();
    }

    /// Appends the text of an element; `write` appends that of some steps.
    #[inline]
    pub(super) fn append(
        &mut self,
        mut element: impl Lazy,
        out: &mut Vec<u8>,
        mut write: impl FnMut(Range<usize>, &Element, &mut Vec<u8>),
    ) {
        if element.is_renewed() {
            self.forget();
        }
        if self.watch.is_watching() {
            (0..element.derivations()).for_each(|derivation| element.force(derivation));
        }
        if self.watch.see(element.element()) {
            self.keep(&element);
        }
        for derivation in &self.always {
            element.force(*derivation);
        }
        let mut done = 0;
        for memo in &mut self.memos {
            let steps = memo.steps.clone();
            write(done..steps.start, element.element(), out);
            done = steps.end;
            memo.append(&mut element, out, |element, out| write(steps, element, out));
        }
        write(done..self.end, element.element(), out);
    }

    /// Keeps what is worth it from now on.
    #[cold]
    fn keep(&mut self, element: &impl Lazy) {
        let is_as_before = |memo: &Memo| {
            let mut steps = memo.steps.clone();
            steps.all(|step| memo.looks_at(step) || !self.watch.varies(step))
        };
        let steps = self.memos.iter().map(|memo| memo.steps.clone());
        // Then it has its texts already.
        if self.is_settled && steps.eq(self.watch.stretches()) && self.memos.iter().all(is_as_before) {
            return;
        }
        self.is_settled = true;
        let is_kept = |step| self.watch.stretches().any(|steps| steps.contains(&step));
        let loose = self.watch.values().filter(|(step, _)| !is_kept(*step));
        self.always = loose.filter_map(|(_, value)| element.derivation(&value)).collect();
        self.always.sort_unstable();
        self.always.dedup();
        let memo = |steps: Range<usize>| {
            let values = self.watch.values().filter(|(step, _)| steps.contains(step));
            let values: Vec<(usize, Accessor, bool)> = values
                .map(|(step, accessor)| (step, accessor, self.watch.varies(step)))
                .collect();
            Memo::new(steps, &values, element)
        };
        self.memos = self.watch.stretches().map(memo).collect();
    }
}

#[cfg(test)]
impl Repeats {
    /// How many texts are kept of each element.
    pub(super) fn kept(&self) -> usize {
        self.memos.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::data::{DataSource, Derivation, Derive, Pipeline, Scalar, SourceType, Values};
    use crate::output::testing::add;

    /// Has `values`, with a blank after each, written for the elements of `pipeline`. The text of the last one is in what is returned.
    fn write<const N: usize>(values: [Accessor; N], pipeline: &mut Pipeline) -> Arc<Mutex<String>> {
        let mut repeats = Repeats::new(N, values.into_iter().enumerate());
        let text = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&text);
        pipeline.subscribe_lazily(1, move |element| {
            let mut out = Vec::new();
            repeats.append(element, &mut out, |steps, element, out| {
                for value in &values[steps] {
                    match value.kind() {
                        kind if kind.is_text() => out.extend_from_slice(value.text(element)),
                        _ => out.extend_from_slice(value.bits(element).to_string().as_bytes()),
                    }
                    out.push(b' ');
                }
            });
            *written.lock().unwrap() = String::from_utf8(out).unwrap();
            Ok(())
        });
        text
    }

    #[test]
    fn derived_values_are_made_for_what_is_written_anew() {
        let mut source = DataSource::new("test", SourceType::Single, None);
        let mut add = |name: &str, kind: Scalar| add(&mut source, name, kind);
        let id = add("id", Scalar::Uint32);
        let name = add("name", Scalar::String);
        let [other, count] = ["other", "count"].map(|name| add(name, Scalar::Uint32));
        let count_text = add("count_text", Scalar::String);
        let mut pipeline = Pipeline::default();
        let (made, version) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let names = {
            let (made, version) = (Arc::clone(&made), Arc::clone(&version));
            move |element: &mut Element| {
                made.fetch_add(1, Ordering::Relaxed);
                let text = format!("{}.{}", id.bits(element), version.load(Ordering::Relaxed));
                name.set(element, text.as_bytes()).unwrap();
            }
        };
        pipeline.derive(0, Derivation::new([id], [name], names).versioned(Arc::clone(&version)));
        let counts = move |element: &mut Element| {
            let text = count.bits(element).to_string();
            count_text.set(element, text.as_bytes()).unwrap();
        };
        pipeline.derive(0, Derivation::new([count], [count_text], counts));
        let values = [id, name, other, count, count_text];
        let text = write(values, &mut pipeline);
        let mut show = |number: u32, version: u64| {
            let mut element = Element::new(source.layout());
            id.set_bits(&mut element, u64::from(number / 100 % 2));
            count.set_bits(&mut element, u64::from(number));
            pipeline.emit(&mut element).unwrap();
            let id = number / 100 % 2;
            assert_eq!(
                *text.lock().unwrap(),
                format!("{id} {id}.{version} 0 {number} {number} ")
            );
        };
        (0..1000).for_each(|number| show(number, 0));
        let before = made.load(Ordering::Relaxed);
        assert!(
            (64..80).contains(&before),
            "{before}: while values are watched, and once for each id"
        );
        version.store(1, Ordering::Relaxed);
        (1000..2000).for_each(|number| show(number, 1));
        assert!(made.load(Ordering::Relaxed) < 2 * 80);
    }

    /// Announces a name for odd numbers.
    struct OddNames {
        number: Accessor,
        names: Values,
        is_odd: bool,
    }

    impl Derive for OddNames {
        fn meet(&mut self, element: &mut Element) -> crate::Result<()> {
            self.is_odd = self.number.bits(element) % 2 == 1;
            if self.is_odd {
                self.names.announce(element);
            }
            Ok(())
        }

        fn derive(&mut self, element: &mut Element) {
            if self.is_odd {
                self.names.put(element);
            }
        }
    }

    #[test]
    fn what_is_announced_is_not_taken_for_what_is_not_there() {
        let mut source = DataSource::new("test", SourceType::Single, None);
        let mut add = |name: &str, kind: Scalar| add(&mut source, name, kind);
        let number = add("number", Scalar::Uint32);
        let names = ["a", "b", "c"].map(|name| add(name, Scalar::String));
        let mut odd = Element::new(source.layout());
        for name in names {
            name.set(&mut odd, b"odd").unwrap();
        }
        let work = OddNames {
            number,
            names: Values::take(&names, &odd),
            is_odd: false,
        };
        let mut pipeline = Pipeline::default();
        pipeline.derive(0, Derivation::new([], names, work));
        let text = write(names, &mut pipeline);
        for value in 0..1000 {
            let mut element = Element::new(source.layout());
            number.set_bits(&mut element, value);
            pipeline.emit(&mut element).unwrap();
            let expected = if value % 2 == 1 { "odd odd odd " } else { "   " };
            assert_eq!(*text.lock().unwrap(), expected, "{value}");
        }
    }
}
