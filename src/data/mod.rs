//! Data sources, fields, elements and accessors: the model every event is described and carried by.
//!
//! Pure: no I/O, no unsafe. A [`DataSource`] says which fields there are; an [`Element`] carries the values of one event;
//! an [`Accessor`] reads or writes one field of an element; a [`Pipeline`] is what happens to elements.
//!
//! ```
//! use inspektor_gadget::data::{DataSource, Element, NewField, Scalar, SourceType};
//!
//! let mut open = DataSource::new("open", SourceType::Single, None);
//! let id = open.add_field(NewField::new("fname", Scalar::String)).unwrap();
//! let mut event = Element::new(open.layout());
//! open.accessor(id).set(&mut event, b"/etc/hostname").unwrap();
//!
//! let fname = open.field("fname").unwrap().str().unwrap();
//! assert_eq!(fname.get(&event), "/etc/hostname");
//! ```

mod accessor;
mod array;
mod code;
mod code_writes;
mod derive;
mod element;
mod emitter;
mod field;
mod footprint;
mod gate;
mod inlet;
mod kind;
mod loss;
mod packing;
mod pipeline;
mod put;
mod raw;
mod rest;
mod screen;
mod source;
mod stream;
mod tap;
mod template;
#[cfg(test)]
mod tests;
mod values;
mod word;

pub use accessor::{Accessor, Text, Typed, Value};
pub use array::resize;
pub use code::{Code, CodeSubscription, CodeView};
pub use code_writes::{CODE_WRITES, CodeWrites};
pub use derive::{Derivation, Derive, Lazy, LazyElement};
pub use element::{Container, Element, Layout};
pub use emitter::{Emitter, SharedPipeline};
pub use field::{Annotations, Field, FieldId, FieldSettings, Flags, NewField, Settings, StaticField};
pub use footprint::{Footprint, Saved};
pub use gate::{Gate, Verdict};
pub use inlet::{Inlet, InletParts};
pub use kind::{Kind, Scalar};
pub use loss::{LossPlace, Losses};
pub use packing::Packing;
pub use pipeline::{ArrayFn, ElementFn, Flow, FlushFn, LazyFn, LossFn, Pipeline};
pub use raw::{RawError, scalar_of};
pub use rest::Rest;
pub use screen::{Screen, ScreenFn};
pub use source::{DataSource, FieldRef, SourceType};
pub use stream::{Demand, RecordIds, Stream};
pub use tap::{Knowledge, Tap};
pub use template::template;
pub use values::Values;
