//! Subscriptions of a gadget's own code.
//!
//! Such code runs in a sandbox that whoever emits must hold already: a thread with events takes it, and code that emits is in it.
//! So a pipeline has only the subscription, and the emitter brings what calls the code.

use super::element::Element;

/// A subscription of a gadget's own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeSubscription {
    /// By which the code knows it.
    pub id: u64,
    /// The code's name of the data source.
    pub source_handle: u32,
    /// Position of the data source among the gadget's.
    pub source: usize,
    /// What is handed over.
    pub view: CodeView,
}

/// What a subscription gets of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeView {
    /// Its elements, one by one.
    Elements,
    /// The whole of it.
    Packets,
}

/// Calls a gadget's own code. What goes wrong there is no concern of the packet.
pub trait Code {
    /// With the packet of a single data source.
    fn single(&mut self, subscription: CodeSubscription, element: &mut Element);
    /// With one element of an array.
    fn element(&mut self, subscription: CodeSubscription, element: &mut Element);
    /// With a whole array.
    fn array(&mut self, subscription: CodeSubscription, elements: &mut Vec<Element>);
}

/// The gadget has no code of its own.
pub(super) struct NoCode;

impl Code for NoCode {
    fn single(&mut self, _: CodeSubscription, _: &mut Element) {}

    fn element(&mut self, _: CodeSubscription, _: &mut Element) {}

    fn array(&mut self, _: CodeSubscription, _: &mut Vec<Element>) {}
}
