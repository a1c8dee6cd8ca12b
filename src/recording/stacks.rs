//! The tap of a data source whose events have stacks: what these stand for is written down before the first event that has them.

use std::sync::Arc;

use crate::data::{Element, Knowledge, Layout, LossPlace, Tap};
use crate::operators::{DescribeStack, RecordedStack};

/// See the module documentation.
pub(crate) struct StackTap<W> {
    inner: Box<dyn Tap>,
    write: W,
    describers: Vec<DescribeStack>,
    layout: Layout,
    element: Element,
}

impl<W: FnMut(&RecordedStack) + Send> StackTap<W> {
    /// Records go on to `inner`, after `write` was given the stacks that `describers` find in elements of this layout.
    pub(crate) fn new(inner: Box<dyn Tap>, write: W, describers: Vec<DescribeStack>, layout: Layout) -> Self {
        Self {
            inner,
            write,
            describers,
            element: Element::new(&layout),
            layout,
        }
    }
}

impl<W: FnMut(&RecordedStack) + Send> Tap for StackTap<W> {
    fn record(&mut self, record: &[u8]) {
        self.element.reset(&self.layout, record);
        for stack in self
            .describers
            .iter_mut()
            .filter_map(|describe| describe(&self.element))
        {
            (self.write)(&stack);
        }
        self.inner.record(record);
    }

    fn batch(&mut self, records: &mut dyn Iterator<Item = &[u8]>) {
        let Self {
            inner,
            write,
            describers,
            layout,
            element,
        } = self;
        // A batch is written down when all of its records were seen.
        inner.batch(&mut records.inspect(|record| {
            element.reset(layout, record);
            for stack in describers.iter_mut().filter_map(|describe| describe(element)) {
                write(&stack);
            }
        }));
    }

    fn lost(&mut self, place: LossPlace, count: u64) {
        self.inner.lost(place, count);
    }

    fn released(&mut self) {
        self.inner.released();
    }

    fn knowledge(&self) -> Option<Arc<dyn Knowledge>> {
        self.inner.knowledge()
    }
}
