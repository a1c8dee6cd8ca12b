//! Derivations: values that follow from other values of the same element, and from nothing else.
//!
//! A derivation is a subscriber like any other. But where nobody stands between it and the last subscriber, and that one is
//! [lazy](super::Pipeline::subscribe_lazily), it has the values made only where it needs them: who keeps text from element to element
//! need only compare what a value is made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::accessor::Accessor;
use super::element::Element;
use crate::Result;

/// Makes values of an element from others of it.
pub trait Derive: Send {
    /// Does what has to be done for every element, and in the order of the subscribers, even if the values are never made.
    ///
    /// # Errors
    ///
    /// The element is none that values can be made for. It goes no further.
    fn meet(&mut self, _element: &mut Element) -> Result<()> {
        Ok(())
    }

    /// Writes the values. Called after [`meet`](Self::meet), any number of times.
    fn derive(&mut self, element: &mut Element);
}

impl<F: FnMut(&mut Element) + Send> Derive for F {
    fn derive(&mut self, element: &mut Element) {
        self(element);
    }
}

/// Does its work for every element.
struct Always<F>(F);

impl<F: FnMut(&mut Element) + Send> Derive for Always<F> {
    #[inline]
    fn meet(&mut self, element: &mut Element) -> Result<()> {
        (self.0)(element);
        Ok(())
    }

    fn derive(&mut self, _: &mut Element) {}
}

/// A way to make some values, and from what.
pub struct Derivation {
    inputs: Vec<Accessor>,
    outputs: Vec<Accessor>,
    version: Option<Arc<AtomicU64>>,
    work: Box<dyn Derive>,
}

impl Derivation {
    /// Equal `inputs` give equal `outputs`. Without inputs, outputs are only equal if elements are known to have had the same
    /// [values](super::Values) announced.
    pub fn new(
        inputs: impl IntoIterator<Item = Accessor>,
        outputs: impl IntoIterator<Item = Accessor>,
        work: impl Derive + 'static,
    ) -> Self {
        Self {
            inputs: inputs.into_iter().collect(),
            outputs: outputs.into_iter().collect(),
            version: None,
            work: Box::new(work),
        }
    }

    /// For values that are always made, by `work`: what tells them from others is themselves.
    pub fn always(
        outputs: impl IntoIterator<Item = Accessor>,
        work: impl FnMut(&mut Element) + Send + 'static,
    ) -> Self {
        Self::new([], outputs, Always(work))
    }

    /// As long as `version` is the same, that is.
    #[must_use]
    pub fn versioned(mut self, version: Arc<AtomicU64>) -> Self {
        self.version = Some(version);
        self
    }

    /// Makes the values.
    #[inline]
    pub(super) fn run(&mut self, element: &mut Element) -> Result<()> {
        self.work.meet(element)?;
        self.work.derive(element);
        Ok(())
    }
}

impl std::fmt::Debug for Derivation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Derivation")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

/// The derivations that were left to one subscriber, in their order, each with its priority.
#[derive(Debug, Default)]
pub(super) struct Derivations {
    all: Vec<(i32, Derivation)>,
    versions: Vec<Arc<AtomicU64>>,
    /// The sum of the versions at the last look; 0 before the first.
    seen: u64,
}

impl Derivations {
    pub(super) fn new(all: Vec<(i32, Derivation)>) -> Self {
        let versions = all.iter().filter_map(|(_, derivation)| derivation.version.clone());
        Self {
            versions: versions.collect(),
            seen: 0,
            all,
        }
    }

    pub(super) fn into_all(self) -> Vec<(i32, Derivation)> {
        self.all
    }

    /// Begins with a new element.
    #[inline]
    pub(super) fn meet<'e>(&'e mut self, element: &'e mut Element) -> Result<LazyElement<'e>> {
        for (_, derivation) in &mut self.all {
            derivation.work.meet(element)?;
        }
        Ok(LazyElement {
            element,
            derivations: self,
        })
    }

    /// Whether any version is another than at the last look.
    #[inline]
    fn is_renewed(&mut self) -> bool {
        let versions = self.versions.iter().map(|version| version.load(Ordering::Acquire));
        // Versions only grow.
        let sum = versions.fold(1, u64::wrapping_add);
        std::mem::replace(&mut self.seen, sum) != sum
    }
}

/// An element, of which some values may still have to be made: what a lazy subscriber gets.
#[derive(Debug)]
pub struct LazyElement<'e> {
    element: &'e mut Element,
    derivations: &'e mut Derivations,
}

/// What can be written as text: a [`LazyElement`], or one with all its values.
pub trait Lazy {
    /// The element as it is.
    fn element(&self) -> &Element;

    /// Whether values may be others now than those that equal ones were made of before, and derivations may have other numbers.
    fn is_renewed(&mut self) -> bool {
        false
    }

    /// How many derivations there are. They are numbered from 0 on.
    fn derivations(&self) -> usize {
        0
    }

    /// The derivation that makes this value, if one does.
    fn derivation(&self, _output: &Accessor) -> Option<usize> {
        None
    }

    /// What decides which values a derivation makes.
    fn inputs(&self, _derivation: usize) -> &[Accessor] {
        &[]
    }

    /// Makes the values of a derivation.
    fn force(&mut self, _derivation: usize) {}
}

impl Lazy for &Element {
    #[inline]
    fn element(&self) -> &Element {
        self
    }
}

impl Lazy for LazyElement<'_> {
    #[inline]
    fn element(&self) -> &Element {
        self.element
    }

    #[inline]
    fn is_renewed(&mut self) -> bool {
        self.derivations.is_renewed()
    }

    fn derivations(&self) -> usize {
        self.derivations.all.len()
    }

    fn derivation(&self, output: &Accessor) -> Option<usize> {
        let mut all = self.derivations.all.iter();
        all.position(|(_, derivation)| derivation.outputs.iter().any(|other| other.place == output.place))
    }

    /// Without inputs, the outputs themselves: that they were announced is as good.
    fn inputs(&self, derivation: usize) -> &[Accessor] {
        match self.derivations.all.get(derivation) {
            Some((_, derivation)) if derivation.inputs.is_empty() => &derivation.outputs,
            Some((_, derivation)) => &derivation.inputs,
            None => &[],
        }
    }

    fn force(&mut self, derivation: usize) {
        if let Some((_, derivation)) = self.derivations.all.get_mut(derivation) {
            derivation.work.derive(self.element);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::Error;
    use crate::data::{Code, CodeSubscription, CodeView, DataSource, Flow, NewField, Pipeline, Scalar, SourceType};

    /// A number, twice that, and how often that was made.
    struct Setting {
        source: DataSource,
        pipeline: Pipeline,
        number: Accessor,
        twice: Accessor,
        made: Arc<AtomicUsize>,
    }

    impl Setting {
        /// `twice` is made of `number` at priority 1.
        fn new() -> Self {
            let mut source = DataSource::new("test", SourceType::Single, None);
            let [number, twice] = ["number", "twice"].map(|name| {
                let id = source.add_field(NewField::new(name, Scalar::Uint64)).unwrap();
                source.accessor(id)
            });
            let mut pipeline = Pipeline::default();
            let made = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&made);
            let work = move |element: &mut Element| {
                count.fetch_add(1, Ordering::Relaxed);
                twice.set_bits(element, 2 * number.bits(element));
            };
            pipeline.derive(1, Derivation::new([number], [twice], work));
            Self {
                source,
                pipeline,
                number,
                twice,
                made,
            }
        }

        fn emit(&mut self, number: u64) -> u64 {
            let mut element = Element::new(self.source.layout());
            self.number.set_bits(&mut element, number);
            self.pipeline.emit(&mut element).unwrap();
            self.twice.bits(&element)
        }

        fn made(&self) -> usize {
            self.made.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn values_are_made_unless_the_last_subscriber_needs_none() {
        let mut setting = Setting::new();
        assert_eq!((setting.emit(3), setting.made()), (6, 1), "nobody is lazy");
        setting.pipeline.subscribe_lazily(10, |_| Ok(()));
        assert_eq!((setting.emit(4), setting.made()), (0, 1), "left out");
        // Who reads it comes later, as code does.
        let twice = setting.twice;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reader = Arc::clone(&seen);
        setting.pipeline.subscribe(5, move |element| {
            reader.lock().unwrap().push(twice.bits(element));
            Ok(Flow::Continue)
        });
        assert_eq!((setting.emit(5), setting.made()), (10, 2));
        assert_eq!(*seen.lock().unwrap(), [10]);
    }

    #[test]
    fn code_that_subscribes_late_finds_all_values() {
        struct Reader(Accessor, Vec<u64>);
        impl Code for Reader {
            fn single(&mut self, _: CodeSubscription, element: &mut Element) {
                self.1.push(self.0.bits(element));
            }
            fn element(&mut self, _: CodeSubscription, _: &mut Element) {}
            fn array(&mut self, _: CodeSubscription, _: &mut Vec<Element>) {}
        }
        let mut setting = Setting::new();
        setting.pipeline.subscribe_lazily(10, |_| Ok(()));
        setting.emit(1);
        let subscription = CodeSubscription {
            id: 0,
            source_handle: 0,
            source: 0,
            view: CodeView::Packets,
        };
        setting.pipeline.subscribe_code(2, subscription);
        let mut element = Element::new(setting.source.layout());
        setting.number.set_bits(&mut element, 7);
        let mut code = Reader(setting.twice, Vec::new());
        setting.pipeline.emit_with(&mut element, &mut code).unwrap();
        assert_eq!(code.1, [14]);
    }

    #[test]
    fn a_lazy_subscriber_has_made_what_it_needs() {
        let mut setting = Setting::new();
        let twice = setting.twice;
        setting.pipeline.subscribe_lazily(10, move |mut element| {
            let derivation = element.derivation(&twice).unwrap();
            assert_eq!(element.derivations(), 1);
            if twice.bits(element.element()) == 0 && element.inputs(derivation)[0].bits(element.element()) > 3 {
                element.force(derivation);
            }
            Ok(())
        });
        assert_eq!((setting.emit(3), setting.emit(4)), (0, 8));
        assert_eq!(setting.made(), 1);
    }

    /// Counts in a version, and refuses odd numbers.
    struct Even(Accessor, Arc<AtomicU64>);

    impl Derive for Even {
        fn meet(&mut self, element: &mut Element) -> Result<()> {
            match self.0.bits(element) {
                number if number % 2 == 0 => {
                    self.1.store(number, Ordering::Relaxed);
                    Ok(())
                }
                _ => Err(Error::invalid("odd")),
            }
        }

        fn derive(&mut self, _: &mut Element) {}
    }

    #[test]
    fn each_element_is_met_and_versions_are_seen() {
        let mut setting = Setting::new();
        let version = Arc::new(AtomicU64::new(0));
        let even = Even(setting.number, Arc::clone(&version));
        let derivation = Derivation::new([setting.number], [], even).versioned(version);
        setting.pipeline.derive(2, derivation);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let renewed = Arc::clone(&seen);
        setting.pipeline.subscribe_lazily(10, move |mut element| {
            renewed.lock().unwrap().push(element.is_renewed());
            Ok(())
        });
        for number in [2, 2, 4] {
            setting.emit(number);
        }
        let mut odd = Element::new(setting.source.layout());
        setting.number.set_bits(&mut odd, 5);
        assert!(setting.pipeline.emit(&mut odd).is_err());
        setting.emit(4);
        assert_eq!(*seen.lock().unwrap(), [true, false, true, false]);
    }

    #[test]
    fn batches_have_all_values() {
        let mut setting = Setting::new();
        let mut elements = vec![Element::new(setting.source.layout()); 3];
        for (number, element) in elements.iter_mut().enumerate() {
            setting.number.set_bits(element, number as u64);
        }
        setting.pipeline.emit_array(&mut elements).unwrap();
        let twice: Vec<u64> = elements.iter().map(|element| setting.twice.bits(element)).collect();
        assert_eq!(twice, [0, 2, 4]);
    }
}
