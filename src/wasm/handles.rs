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

#[derive(Debug)]
struct Slot {
    handle: u16,
    /// The host's, for the time of a callback: the guest cannot free it.
    lent: bool,
    object: Object,
}

/// All handles of one guest.
#[derive(Debug)]
pub(super) struct Handles {
    /// For each number one more than its slot; 0 where there is none.
    places: Vec<u16>,
    slots: Vec<Option<Slot>>,
    free: Vec<u16>,
    last: u16,
    closed: bool,
}

impl Default for Handles {
    fn default() -> Self {
        Self {
            places: vec![0; usize::from(LAST) + 1],
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
        self.put(object, false)
    }

    /// Like [`insert`](Self::insert), for an object that the host takes back with [`take_back`](Self::take_back).
    pub(super) fn lend(&mut self, object: Object) -> Result<u32, Object> {
        self.put(object, true)
    }

    fn put(&mut self, object: Object, lent: bool) -> Result<u32, Object> {
        if self.closed || self.slots.len() - self.free.len() >= HANDLES {
            return Err(object);
        }
        // There are more numbers than slots.
        let handle = loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if self.places[usize::from(self.last)] == 0 {
                break self.last;
            }
        };
        let slot = Some(Slot { handle, lent, object });
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

    #[inline]
    fn place(&self, handle: u32) -> Option<usize> {
        let place = *self.places.get(usize::try_from(handle).ok()?)?;
        Some(usize::from(place.checked_sub(1)?))
    }

    /// The object of a number.
    #[inline]
    pub(super) fn get(&self, handle: u32) -> Option<&Object> {
        Some(&self.slots.get(self.place(handle)?)?.as_ref()?.object)
    }

    /// The object of a number.
    #[inline]
    pub(super) fn get_mut(&mut self, handle: u32) -> Option<&mut Object> {
        let place = self.place(handle)?;
        Some(&mut self.slots.get_mut(place)?.as_mut()?.object)
    }

    /// Whether the object of a number, or the array that it is an element of, is only lent to the guest.
    pub(super) fn is_lent(&self, handle: u32) -> bool {
        let handle = if handle & VIRTUAL == 0 { handle } else { handle & 0xffff };
        let slot = self.place(handle).and_then(|place| self.slots.get(place)?.as_ref());
        slot.is_some_and(|slot| slot.lent)
    }

    /// Forgets a number on the guest's behalf, if its object is one for which `fits`. What is lent stays.
    pub(super) fn remove(&mut self, handle: u32, fits: impl FnOnce(&Object) -> bool) -> Option<Object> {
        let place = self.place(handle)?;
        self.slots
            .get(place)?
            .as_ref()
            .filter(|slot| !slot.lent && fits(&slot.object))?;
        self.clear(place)
    }

    /// Takes back what was lent.
    pub(super) fn take_back(&mut self, handle: u32) -> Option<Object> {
        self.clear(self.place(handle)?)
    }

    fn clear(&mut self, place: usize) -> Option<Object> {
        let slot = self.slots.get_mut(place)?.take()?;
        self.places[usize::from(slot.handle)] = 0;
        self.free.push(place as u16);
        Some(slot.object)
    }

    /// Drops all objects, and gives out no number any more.
    pub(super) fn close(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.places.fill(0);
        self.closed = true;
    }

    /// The number of an element of the array with number `array`, if it can have one.
    pub(super) fn element_handle(array: u32, index: u32) -> Option<u32> {
        (index <= LAST_INDEX).then_some(VIRTUAL | (index << 16) | (array & 0xffff))
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
        let handle = handles.lend(array(1)).unwrap();
        assert!(handles.remove(handle, |_| true).is_none());
        assert!(handles.take_back(handle).is_some());
    }
}
