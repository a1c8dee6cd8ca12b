//! Handles: the numbers by which a guest names objects of the host.
//!
//! A number is not used again soon, is never 0, and fits in 16 bits, because element handles of arrays carry the array's handle in
//! their lower half.

use crate::data::{Accessor, Element, FieldId};

use super::limits::HANDLES;
use super::maps::GuestMap;
use super::perf::PerfReader;

/// The largest number.
const LAST: u16 = u16::MAX;
/// Marks the number of an array's element.
const VIRTUAL: u32 = 1 << 31;
/// The last element of an array that has a number.
const LAST_INDEX: u32 = 0x7fff;

/// What a guest can have a handle on.
#[derive(Debug)]
pub(super) enum Object {
    /// A data source, by its position.
    Source(usize),
    /// A field.
    Field(FieldOf),
    /// A packet of a single data source.
    Single(usize, Element),
    /// A packet of an array data source.
    Array(usize, Vec<Element>),
    /// An element of an array data source that is in no packet, or is handed over alone.
    Element(usize, Element),
    /// A map of the kernel.
    Map(GuestMap),
    /// A reader of per-CPU buffers.
    Reader(Box<PerfReader>),
}

/// A field as a guest has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldOf {
    /// The position of its data source.
    pub(super) source: usize,
    pub(super) id: FieldId,
    pub(super) accessor: Accessor,
    /// Whether the guest may write it.
    pub(super) writable: bool,
}

impl Object {
    /// What it is called in messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Source(_) => "data source",
            Self::Field(..) => "field",
            Self::Single(..) => "packet",
            Self::Array(..) => "array",
            Self::Element(..) => "element",
            Self::Map(_) => "map",
            Self::Reader(_) => "perf reader",
        }
    }

    /// Bytes of memory that it keeps.
    pub(super) fn kept(&self) -> usize {
        match self {
            Self::Single(_, element) | Self::Element(_, element) => element.capacity(),
            Self::Array(_, elements) => elements.iter().map(Element::capacity).sum(),
            Self::Map(map) => map.bytes,
            Self::Reader(reader) => reader.bytes(),
            _ => 0,
        }
    }
}

/// What is given to a guest for the time of a call.
#[derive(Debug)]
pub(super) enum Lent<'a> {
    /// The packet of a single data source.
    Single(&'a mut Element),
    /// The packet of an array data source.
    Array(&'a mut Vec<Element>),
    /// One element of such a packet.
    Element(&'a mut Element),
}

#[derive(Debug)]
struct Slot {
    handle: u16,
    object: Object,
}

/// The place of what is lent.
const LENT: u16 = u16::MAX;

/// What a guest has for the time of a callback, with the numbers: of several callbacks within each other, the innermost one's last.
/// The places for it are used again and again.
#[derive(Debug, Default)]
struct LentSlots {
    slots: Vec<Slot>,
    used: usize,
}

impl LentSlots {
    #[inline]
    fn in_use(&self) -> &[Slot] {
        &self.slots[..self.used]
    }

    #[inline]
    fn in_use_mut(&mut self) -> &mut [Slot] {
        &mut self.slots[..self.used]
    }

    #[inline]
    fn add(&mut self, handle: u16, source: usize, lent: &mut Lent<'_>) {
        match (self.slots.get_mut(self.used), lent) {
            // Nearly all are of the kind that was there before: what is left in the place is nothing.
            (
                Some(Slot {
                    handle: number,
                    object: Object::Single(of, place),
                }),
                Lent::Single(element),
            ) => {
                (*number, *of) = (handle, source);
                std::mem::swap(place, *element);
            }
            (_, lent) => {
                let object = match lent {
                    Lent::Single(element) => Object::Single(source, std::mem::take(*element)),
                    Lent::Array(elements) => Object::Array(source, std::mem::take(*elements)),
                    Lent::Element(element) => Object::Element(source, std::mem::take(*element)),
                };
                self.slots.truncate(self.used);
                self.slots.push(Slot { handle, object });
            }
        }
        self.used += 1;
    }

    #[inline]
    fn take_last(&mut self, handle: u32, to: &mut Lent<'_>) -> bool {
        let Some(slot) = self
            .in_use_mut()
            .last_mut()
            .filter(|slot| u32::from(slot.handle) == handle)
        else {
            return false;
        };
        match (&mut slot.object, to) {
            (Object::Single(_, from), Lent::Single(to)) | (Object::Element(_, from), Lent::Element(to)) => {
                std::mem::swap(from, *to);
            }
            (Object::Array(_, from), Lent::Array(to)) => std::mem::swap(from, *to),
            _ => {}
        }
        self.used -= 1;
        true
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// All handles of one guest.
#[derive(Debug)]
pub(super) struct Handles {
    /// For each number one more than its slot, or [`LENT`]; 0 where there is none.
    places: Vec<u16>,
    lent: LentSlots,
    slots: Vec<Option<Slot>>,
    free: Vec<u16>,
    last: u16,
    closed: bool,
}

impl Default for Handles {
    fn default() -> Self {
        Self {
            places: vec![0; usize::from(LAST) + 1],
            lent: LentSlots::default(),
            slots: Vec::new(),
            free: Vec::new(),
            last: 0,
            closed: false,
        }
    }
}

impl Handles {
    /// A number for `object`; gives it back when there is none left.
    pub(super) fn insert(&mut self, object: Object) -> Result<u32, Object> {
        let Some(handle) = self.new_number() else {
            return Err(object);
        };
        let slot = Some(Slot { handle, object });
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[usize::from(place)] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u16
            }
        };
        self.places[usize::from(handle)] = place + 1;
        Ok(u32::from(handle))
    }

    /// A number for what a guest is given, of the data source at this position, which it cannot free and which the host takes back with
    /// [`take_back`](Self::take_back): what was lent last first. `None`, and nothing happens, when no number is left.
    #[inline]
    pub(super) fn lend(&mut self, source: usize, lent: &mut Lent<'_>) -> Option<u32> {
        let handle = self.new_number()?;
        self.lent.add(handle, source, lent);
        self.places[usize::from(handle)] = LENT;
        Some(u32::from(handle))
    }

    /// Puts back what was lent, as the guest left it. `false`, and nothing happens, if it is not what was lent last.
    #[inline]
    pub(super) fn take_back(&mut self, handle: u32, to: &mut Lent<'_>) -> bool {
        let is_last = self.lent.take_last(handle, to);
        if is_last {
            self.places[handle as usize] = 0;
        }
        is_last
    }

    /// A number that nothing has.
    #[inline]
    fn new_number(&mut self) -> Option<u16> {
        if self.closed || self.slots.len() - self.free.len() + self.lent.used >= HANDLES {
            return None;
        }
        // There are more numbers than objects.
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if self.places[usize::from(self.last)] == 0 {
                return Some(self.last);
            }
        }
    }

    /// The object of a number.
    #[inline]
    pub(super) fn get(&self, handle: u32) -> Option<&Object> {
        match *self.places.get(handle as usize)? {
            0 => None,
            LENT => self.lent.in_use().iter().rfind(|slot| u32::from(slot.handle) == handle),
            place => self.slots.get(usize::from(place) - 1)?.as_ref(),
        }
        .map(|slot| &slot.object)
    }

    /// The object of a number.
    #[inline]
    pub(super) fn get_mut(&mut self, handle: u32) -> Option<&mut Object> {
        match *self.places.get(handle as usize)? {
            0 => None,
            LENT => self
                .lent
                .in_use_mut()
                .iter_mut()
                .rfind(|slot| u32::from(slot.handle) == handle),
            place => self.slots.get_mut(usize::from(place) - 1)?.as_mut(),
        }
        .map(|slot| &mut slot.object)
    }

    /// Whether the object of a number, or the array that it is an element of, is only lent to the guest.
    pub(super) fn is_lent(&self, handle: u32) -> bool {
        let handle = if handle & VIRTUAL == 0 { handle } else { handle & 0xffff };
        self.places.get(handle as usize) == Some(&LENT)
    }

    /// Forgets a number on the guest's behalf, if its object is one for which `fits`. What is lent stays.
    pub(super) fn remove(&mut self, handle: u32, fits: impl FnOnce(&Object) -> bool) -> Option<Object> {
        let place = self.places.get(handle as usize)?.checked_sub(1)?;
        let slot = self.slots.get_mut(usize::from(place))?;
        slot.as_ref().filter(|slot| fits(&slot.object))?;
        let slot = slot.take()?;
        self.places[usize::from(slot.handle)] = 0;
        self.free.push(place);
        Some(slot.object)
    }

    /// Drops all objects, and gives out no number any more.
    pub(super) fn close(&mut self) {
        self.slots.clear();
        self.lent.clear();
        self.free.clear();
        self.places.fill(0);
        self.closed = true;
    }

    /// The number of an element of the array with number `array`, if it can have one.
    pub(super) fn element_handle(array: u32, index: u32) -> Option<u32> {
        (index <= LAST_INDEX).then_some(VIRTUAL | (index << 16) | (array & 0xffff))
    }

    /// A field, and the packet that the guest has been called with, if these are what the numbers stand for: what nearly all calls are about.
    #[inline]
    pub(super) fn field_of_packet(&mut self, field: u32, packet: u32) -> Option<(&FieldOf, &mut Element)> {
        let place = self.places.get(field as usize)?.checked_sub(1)?;
        let Object::Field(field) = &self.slots.get(usize::from(place))?.as_ref()?.object else {
            return None;
        };
        let lent = self.lent.in_use_mut().last_mut()?;
        match &mut lent.object {
            Object::Single(source, element) if u32::from(lent.handle) == packet && *source == field.source => {
                Some((field, element))
            }
            _ => None,
        }
    }

    /// The element that `handle` stands for, with the position of its data source.
    #[inline]
    pub(super) fn data(&self, handle: u32) -> Option<(usize, &Element)> {
        if handle & VIRTUAL == 0 {
            return match self.get(handle)? {
                Object::Single(source, element) | Object::Element(source, element) => Some((*source, element)),
                _ => None,
            };
        }
        match self.get(handle & 0xffff)? {
            Object::Array(source, elements) => Some((*source, elements.get(element_index(handle))?)),
            _ => None,
        }
    }

    /// See [`data`](Self::data).
    #[inline]
    pub(super) fn data_mut(&mut self, handle: u32) -> Option<(usize, &mut Element)> {
        if handle & VIRTUAL == 0 {
            return match self.get_mut(handle)? {
                Object::Single(source, element) | Object::Element(source, element) => Some((*source, element)),
                _ => None,
            };
        }
        match self.get_mut(handle & 0xffff)? {
            Object::Array(source, elements) => Some((*source, elements.get_mut(element_index(handle))?)),
            _ => None,
        }
    }
}

fn element_index(handle: u32) -> usize {
    ((handle & !VIRTUAL) >> 16) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(len: usize) -> Object {
        Object::Array(0, vec![Element::default(); len])
    }

    #[test]
    fn numbers_begin_with_one_and_are_not_used_again_soon() {
        let mut handles = Handles::default();
        assert_eq!(handles.insert(Object::Source(0)).unwrap(), 1);
        assert_eq!(handles.insert(Object::Source(0)).unwrap(), 2);
        assert!(handles.remove(2, |_| true).is_some());
        assert!(handles.remove(2, |_| true).is_none());
        assert_eq!(handles.insert(Object::Source(0)).unwrap(), 3);
        assert!(handles.get(0).is_none() && handles.get(u32::MAX).is_none());
        for _ in 0..200_000 {
            let handle = handles.insert(Object::Source(0)).unwrap();
            assert!((1..=0xffff).contains(&handle) && handle != 1 && handle != 3);
            handles.remove(handle, |_| true).unwrap();
        }
    }

    #[test]
    fn there_are_4096_at_most() {
        let mut handles = Handles::default();
        for _ in 0..HANDLES {
            handles.insert(Object::Source(0)).unwrap();
        }
        assert!(handles.insert(Object::Source(0)).is_err());
        handles.remove(7, |_| true).unwrap();
        assert_eq!(handles.insert(Object::Source(0)).unwrap(), HANDLES as u32 + 1);
        handles.close();
        assert!(handles.get(1).is_none());
        assert!(handles.insert(Object::Source(0)).is_err());
    }

    #[test]
    fn elements_of_arrays_have_numbers_of_their_own() {
        assert_eq!(Handles::element_handle(7, 3), Some(0x8003_0007));
        assert_eq!(Handles::element_handle(2, 32767), Some(0xffff_0002));
        assert_eq!(Handles::element_handle(2, 32768), None);
        let mut handles = Handles::default();
        let handle = handles.insert(array(4)).unwrap();
        assert!(handles.data(Handles::element_handle(handle, 3).unwrap()).is_some());
        assert!(handles.data(Handles::element_handle(handle, 4).unwrap()).is_none());
        assert!(handles.data_mut(0x8000_0042).is_none());
        assert!(
            handles.remove(0x8000_0001, |_| true).is_none(),
            "it is nobody's to free"
        );
        assert!(handles.data(handle).is_none(), "an array is no element");
    }

    #[test]
    fn what_is_lent_stays() {
        let mut handles = Handles::default();
        let (mut elements, mut element) = (vec![Element::default(); 1], Element::default());
        let handle = handles.lend(0, &mut Lent::Array(&mut elements)).unwrap();
        let inner = handles.lend(3, &mut Lent::Single(&mut element)).unwrap();
        assert!(elements.is_empty(), "the guest has it");
        for lent in [handle, inner] {
            assert!(handles.is_lent(lent) && handles.remove(lent, |_| true).is_none());
            assert!(handles.get(lent).is_some() && handles.get_mut(lent).is_some());
        }
        assert!(handles.data(Handles::element_handle(handle, 0).unwrap()).is_some());
        assert!(handles.data(inner).is_some_and(|(source, _)| source == 3));
        assert!(handles.data_mut(inner).is_some());
        let mut array = Lent::Array(&mut elements);
        assert!(!handles.take_back(handle, &mut array), "another one was lent later");
        assert!(handles.take_back(inner, &mut Lent::Single(&mut element)) && handles.take_back(handle, &mut array));
        assert_eq!(elements.len(), 1);
        // The places are used again, by whatever comes.
        let again = handles.lend(4, &mut Lent::Single(&mut element)).unwrap();
        assert!(handles.data(again).is_some_and(|(source, _)| source == 4) && handles.data(inner).is_none());
        assert!(handles.take_back(again, &mut Lent::Single(&mut element)));
        let again = handles.lend(5, &mut Lent::Single(&mut element)).unwrap();
        let within = handles.lend(6, &mut Lent::Array(&mut elements)).unwrap();
        assert!(handles.data(again).is_some_and(|(source, _)| source == 5));
        assert!(matches!(handles.get(within), Some(Object::Array(6, elements)) if elements.len() == 1));
        assert!(handles.take_back(within, &mut Lent::Array(&mut elements)));
        assert!(handles.take_back(again, &mut Lent::Single(&mut element)));
        assert_eq!(elements.len(), 1);
        assert!(handles.get(handle).is_none() && !handles.is_lent(handle));
        handles.lend(0, &mut Lent::Array(&mut elements)).unwrap();
        handles.close();
        assert!(handles.get(handle + 2).is_none());
        assert!(handles.lend(0, &mut Lent::Single(&mut element)).is_none());
    }
}
