//! Pipelines: what happens to the packets of one data source, in which order.

use super::code::{Code, CodeSubscription, CodeView, NoCode};
use super::derive::{Derivation, Derivations, LazyElement};
use super::element::Element;
use super::loss::LossPlace;
use crate::Result;

/// Whether a packet goes on to the next subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// On to the next.
    Continue,
    /// Dropped here; of an array, only this element.
    Discard,
}

/// Called for each element: of a single data source its packets, of an array data source each element in order.
pub type ElementFn = Box<dyn FnMut(&mut Element) -> Result<Flow> + Send>;
/// Called for each element of a single data source that has come so far, with what is left to be made of it.
pub type LazyFn = Box<dyn FnMut(LazyElement<'_>) -> Result<()> + Send>;
/// Called for each whole array.
pub type ArrayFn = Box<dyn FnMut(&mut Vec<Element>) -> Result<Flow> + Send>;
/// Called when a producer has nothing more for now: the moment to write out what was buffered.
pub type FlushFn = Box<dyn FnMut() -> Result<()> + Send>;

/// Called where events were lost on their way here: between those delivered before and those delivered after.
pub type LossFn = Box<dyn FnMut(LossPlace, u64) -> Result<()> + Send>;

enum Subscriber {
    Element(ElementFn),
    Array(ArrayFn),
    Code(CodeSubscription),
    Derivation(Derivation),
    Lazy(LazyFn, Derivations),
}

/// The subscribers of one data source in ascending priority, equal priorities in subscription order.
#[derive(Default)]
pub struct Pipeline {
    subscribers: Vec<(i32, Subscriber)>,
    /// Whether the last subscriber has what is left to it.
    is_settled: bool,
    flushers: Vec<FlushFn>,
    loss_watchers: Vec<LossFn>,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let priorities: Vec<i32> = self.subscribers.iter().map(|(priority, _)| *priority).collect();
        f.debug_struct("Pipeline").field("priorities", &priorities).finish()
    }
}

impl Pipeline {
    /// Subscribes to elements.
    pub fn subscribe(&mut self, priority: i32, call: impl FnMut(&mut Element) -> Result<Flow> + Send + 'static) {
        self.insert(priority, Subscriber::Element(Box::new(call)));
    }

    /// Subscribes something that makes values.
    pub fn derive(&mut self, priority: i32, derivation: Derivation) {
        self.insert(priority, Subscriber::Derivation(derivation));
    }

    /// Subscribes to the elements of a single data source, as one who needs not all values of each: if it is the last one, and makers of values are
    /// right before it, they are left to it.
    pub fn subscribe_lazily(
        &mut self,
        priority: i32,
        call: impl FnMut(LazyElement<'_>) -> Result<()> + Send + 'static,
    ) {
        self.insert(priority, Subscriber::Lazy(Box::new(call), Derivations::default()));
    }

    /// Subscribes to whole arrays; single data sources never call it.
    pub fn subscribe_array(
        &mut self,
        priority: i32,
        call: impl FnMut(&mut Vec<Element>) -> Result<Flow> + Send + 'static,
    ) {
        self.insert(priority, Subscriber::Array(Box::new(call)));
    }

    /// Subscribes the gadget's own code: whoever emits brings the [`Code`] that is called.
    pub fn subscribe_code(&mut self, priority: i32, subscription: CodeSubscription) {
        self.insert(priority, Subscriber::Code(subscription));
    }

    /// Whether the gadget's own code is among the subscribers.
    pub fn has_code(&self) -> bool {
        let mut subscribers = self.subscribers.iter();
        subscribers.any(|(_, subscriber)| matches!(subscriber, Subscriber::Code(_)))
    }

    /// Is called whenever the producer pauses and once at the end.
    pub fn on_flush(&mut self, call: impl FnMut() -> Result<()> + Send + 'static) {
        self.flushers.push(Box::new(call));
    }

    /// Is called when events were lost, as soon as the producer knows.
    pub fn on_loss(&mut self, call: impl FnMut(LossPlace, u64) -> Result<()> + Send + 'static) {
        self.loss_watchers.push(Box::new(call));
    }

    /// Whether somebody wants to know of losses where they happen.
    pub fn watches_losses(&self) -> bool {
        !self.loss_watchers.is_empty()
    }

    /// Tells those who want to know that `count` events were lost.
    pub fn lose(&mut self, place: LossPlace, count: u64) -> Result<()> {
        for call in &mut self.loss_watchers {
            call(place, count)?;
        }
        Ok(())
    }

    /// Whether nobody would see a packet.
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Hands one element to all subscribers. An error ends the way of this element and is the caller's to report.
    #[inline]
    pub fn emit(&mut self, element: &mut Element) -> Result<()> {
        self.emit_with(element, &mut NoCode)
    }

    /// Like [`emit`](Self::emit), with the gadget's own code at hand.
    #[inline]
    pub fn emit_with(&mut self, element: &mut Element, code: &mut impl Code) -> Result<()> {
        if !self.is_settled {
            self.settle();
        }
        for (_, subscriber) in &mut self.subscribers {
            match subscriber {
                Subscriber::Element(call) => {
                    if call(element)? == Flow::Discard {
                        return Ok(());
                    }
                }
                Subscriber::Lazy(call, derivations) => call(derivations.meet(element)?)?,
                Subscriber::Derivation(derivation) => derivation.run(element)?,
                Subscriber::Code(subscription) => code.single(*subscription, element),
                Subscriber::Array(_) => {}
            }
        }
        Ok(())
    }

    /// Hands an array to all subscribers. An array that became empty is still handed on.
    pub fn emit_array(&mut self, elements: &mut Vec<Element>) -> Result<()> {
        self.emit_array_with(elements, &mut NoCode)
    }

    /// Like [`emit_array`](Self::emit_array), with the gadget's own code at hand.
    pub fn emit_array_with(&mut self, elements: &mut Vec<Element>, code: &mut impl Code) -> Result<()> {
        for (_, subscriber) in &mut self.subscribers {
            match subscriber {
                Subscriber::Element(call) => {
                    let mut result = Ok(());
                    elements.retain_mut(|element| {
                        if result.is_err() {
                            return true;
                        }
                        match call(element) {
                            Ok(flow) => flow == Flow::Continue,
                            Err(error) => {
                                result = Err(error);
                                true
                            }
                        }
                    });
                    result?;
                }
                Subscriber::Derivation(derivation) => {
                    for element in elements.iter_mut() {
                        derivation.run(element)?;
                    }
                }
                Subscriber::Lazy(..) => {}
                Subscriber::Array(call) => {
                    if call(elements)? == Flow::Discard {
                        return Ok(());
                    }
                }
                Subscriber::Code(subscription) => match subscription.view {
                    CodeView::Elements => {
                        for element in elements.iter_mut() {
                            code.element(*subscription, element);
                        }
                    }
                    CodeView::Packets => code.array(*subscription, elements),
                },
            }
        }
        Ok(())
    }

    /// Tells the sinks that the producer pauses.
    pub fn flush(&mut self) -> Result<()> {
        for flush in &mut self.flushers {
            flush()?;
        }
        Ok(())
    }

    /// Leaves the makers of values before the last subscriber to it, if it is a lazy one.
    #[cold]
    fn settle(&mut self) {
        self.is_settled = true;
        let Some((last, before)) = self.subscribers.split_last() else {
            return;
        };
        if !matches!(last, (_, Subscriber::Lazy(..))) {
            return;
        }
        let is_derivation = |(_, subscriber): &(i32, Subscriber)| matches!(subscriber, Subscriber::Derivation(_));
        let left = before.iter().rev().take_while(|other| is_derivation(other)).count();
        let left = self.subscribers.drain(before.len() - left..before.len());
        let left = left.filter_map(|(priority, subscriber)| match subscriber {
            Subscriber::Derivation(derivation) => Some((priority, derivation)),
            _ => None,
        });
        let left = Derivations::new(left.collect());
        if let Some((_, Subscriber::Lazy(_, derivations))) = self.subscribers.last_mut() {
            *derivations = left;
        }
    }

    /// Undoes [`settle`](Self::settle).
    fn unsettle(&mut self) {
        if !std::mem::take(&mut self.is_settled) {
            return;
        }
        let Some((_, Subscriber::Lazy(_, derivations))) = self.subscribers.last_mut() else {
            return;
        };
        let left = std::mem::take(derivations).into_all();
        let last = self.subscribers.len() - 1;
        let left = left
            .into_iter()
            .map(|(priority, derivation)| (priority, Subscriber::Derivation(derivation)));
        self.subscribers.splice(last..last, left);
    }

    fn insert(&mut self, priority: i32, subscriber: Subscriber) {
        self.unsettle();
        let at = self.subscribers.partition_point(|(other, _)| *other <= priority);
        self.subscribers.insert(at, (priority, subscriber));
    }
}
