//! Discovery: what a gadget declares about itself through the names of marker variables.
//!
//! The macros of `<gadget/macros.h>` emit global variables of type `const void *` whose *names* are the data. A name that is
//! no such variable is ignored; a marker that refers to something missing is an error.

use std::collections::HashMap;

use super::btf::{Btf, BtfKind, BtfType, TypeId};
use super::convention;
use super::inspect::maps::Map;
use crate::{Error, Result, ResultExt};

/// A data source fed from a ring buffer or perf event array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracer {
    /// Name of the data source.
    pub name: String,
    /// The map that carries the events.
    pub map: String,
    /// The struct that an event begins with.
    pub event: String,
}

/// A data source that is an array of what iterator programs write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfIterator {
    /// Name of the data source.
    pub name: String,
    /// The struct of one element.
    pub element: String,
    /// The programs whose output makes the array, in order.
    pub programs: Vec<String>,
}

/// A data source that is an array of what a hash map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapIterator {
    /// Name of the data source.
    pub name: String,
    /// The map.
    pub map: String,
    /// The type of a key.
    pub key: TypeId,
    /// The type of a value.
    pub value: TypeId,
    /// What its entries are.
    pub shape: MapShape,
}

/// What the entries of a map that is a data source are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapShape {
    /// Rows, fetched at intervals.
    Rows,
    /// Histograms, fetched when the run ends.
    Histograms,
}

/// One declared data source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Fed from an event buffer.
    Tracer(Tracer),
    /// Fed from iterator programs.
    Iterator(BpfIterator),
    /// Fed from a map.
    MapIterator(MapIterator),
}

impl Declared {
    /// Name of the data source.
    pub fn name(&self) -> &str {
        match self {
            Declared::Tracer(tracer) => &tracer.name,
            Declared::Iterator(iterator) => &iterator.name,
            Declared::MapIterator(iterator) => &iterator.name,
        }
    }
}

/// What the markers of an object declare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markers {
    /// Data sources in declaration order. Of two tracers with one name the later one counts, of two iterators the earlier.
    pub sources: Vec<Declared>,
    /// The maps that `iter/bpf_map_elem` programs walk: program, map.
    pub iterated_maps: Vec<(String, String)>,
    /// The socket maps whose sockets `sk_skb` and `sk_msg` programs run for: program, map.
    pub socket_maps: Vec<(String, String)>,
    /// Variables that are parameters, in declaration order.
    pub params: Vec<String>,
    /// Maps that become perf event arrays where there is no ring buffer.
    pub buffers: Vec<String>,
    /// Buffers that are what they are declared as, wherever they run.
    pub fixed_buffers: Vec<String>,
    /// Whether the object can be restricted to mount namespaces.
    pub filters_mntns: bool,
}

/// The map by which a gadget is told which mount namespaces to trace.
pub const MNTNS_FILTER_MAP: &str = "gadget_mntns_filter_map";
/// The constant that turns that map on.
pub const MNTNS_FILTER_SWITCH: &str = "gadget_filter_by_mntns";

/// The map in which a gadget looks for the owners of sockets.
pub const SOCKETS_MAP: &str = "gadget_sockets";

/// The map of build ids, whose declared size of 0 is not for the kernel.
pub(super) const BUILD_ID_MAP: &str = "ig_build_id";
/// The maps of kernel stacks, of user stacks, and of build ids.
pub const STACK_MAPS: [&str; 3] = ["ig_kstack", "ig_ustack", BUILD_ID_MAP];
/// Maps of megabytes that nothing uses unless a constant is on: map, constant.
pub(super) const SWITCHED_MAPS: [(&str, &str); 2] =
    [("ig_ustack", "collect_ustack"), (BUILD_ID_MAP, "collect_build_id")];

/// The type of a map, as far as markers care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapClass {
    /// `BPF_MAP_TYPE_RINGBUF`.
    RingBuffer,
    /// `BPF_MAP_TYPE_PERF_EVENT_ARRAY`.
    PerfEventArray,
    /// `BPF_MAP_TYPE_HASH`.
    Hash,
    /// `BPF_MAP_TYPE_SOCKMAP` or `BPF_MAP_TYPE_SOCKHASH`.
    Sockets,
    /// Any other type.
    Other,
}

/// A map of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredMap {
    /// Its type, as far as markers care.
    pub class: MapClass,
    /// The name of its type, for messages.
    pub type_name: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
}

/// What markers can refer to.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// The object's maps by name.
    pub maps: HashMap<String, DeclaredMap>,
    /// The sections of the object's programs by name.
    pub programs: HashMap<String, String>,
}

impl Parts {
    fn map(&self, name: &str) -> Result<&DeclaredMap> {
        self.maps.get(name).ok_or_else(|| missing_map(name))
    }

    fn program(&self, name: &str) -> Result<&str> {
        self.programs
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| Error::not_found(format!("program {name:?} not found in eBPF object")))
    }
}

/// Prefixes of markers after `gadget_`, as far as they have a name for messages.
const FAMILIES: [&str; 8] = [
    "tracer_",
    "param_",
    "map_tracer_",
    "snapshotter_",
    "iter_",
    "mapiter_",
    "mapelem_iter_target_",
    "sk_prog_target_",
];

impl Markers {
    /// Walks all types of `btf`. `parts` says which maps and programs the object has.
    pub fn discover(btf: &Btf<'_>, parts: &Parts) -> Result<Self> {
        let mut found = Self::default();
        for t in btf.types() {
            let name = btf.name(&t);
            if name == MNTNS_FILTER_MAP {
                found.filters_mntns = true;
            }
            let Some(rest) = name.strip_prefix("gadget_") else {
                continue;
            };
            if !is_marker(btf, &t) {
                continue;
            }
            for family in FAMILIES {
                if let Some(rest) = rest.strip_prefix(family) {
                    found
                        .take(btf, parts, family, rest)
                        .with_context(|| format!("handling type by prefix {:?}", family.trim_end_matches('_')))?;
                }
            }
        }
        if found.sources.is_empty() {
            found.older_convention(btf)?;
        }
        Ok(found)
    }

    /// Takes over what the names of maps declare in an object without markers of data sources.
    fn older_convention(&mut self, btf: &Btf<'_>) -> Result<()> {
        self.sources = convention::discover(btf)?;
        if self.sources.is_empty() {
            return Ok(());
        }
        for source in &self.sources {
            if let Declared::Tracer(tracer) = source
                && !self.buffers.contains(&tracer.map)
            {
                self.fixed_buffers.push(tracer.map.clone());
            }
        }
        for name in convention::parameters(btf) {
            if !self.params.contains(&name) {
                self.params.push(name);
            }
        }
        Ok(())
    }

    fn take(&mut self, btf: &Btf<'_>, parts: &Parts, family: &str, rest: &str) -> Result<()> {
        match family {
            "tracer_" => self.tracer(btf, rest, parts),
            "param_" => {
                if !self.params.iter().any(|known| known == rest) {
                    self.params.push(rest.to_owned());
                }
                Ok(())
            }
            "map_tracer_" => {
                parts.map(rest)?;
                self.buffers.push(rest.to_owned());
                Ok(())
            }
            "mapiter_" => self.map_iterator(btf, rest, parts),
            "mapelem_iter_target_" => self.iterated_map(rest, parts),
            "sk_prog_target_" => self.socket_map(rest, parts),
            _ => self.iterator(btf, rest, parts),
        }
    }

    fn tracer(&mut self, btf: &Btf<'_>, rest: &str, parts: &Parts) -> Result<()> {
        let words: Vec<&str> = rest.split("___").collect();
        let [name, map, event] = words[..] else {
            return Err(Error::invalid(format!("invalid tracer info: {rest:?}")));
        };
        let DeclaredMap { class, type_name, .. } = parts.map(map)?;
        if !matches!(class, MapClass::RingBuffer | MapClass::PerfEventArray) {
            return Err(Error::invalid(format!(
                "trace map is invalid: map {map:?} has a wrong type, expected: ringbuf or perf event array, got: {type_name}"
            )));
        }
        find_struct(btf, event, "GADGET_TRACER")?;
        let tracer = Tracer {
            name: name.to_owned(),
            map: map.to_owned(),
            event: event.to_owned(),
        };
        let known = self.sources.iter_mut().find_map(|source| match source {
            Declared::Tracer(known) if known.name == name => Some(known),
            _ => None,
        });
        match known {
            Some(known) => *known = tracer,
            None => self.add(Declared::Tracer(tracer))?,
        }
        Ok(())
    }

    fn iterator(&mut self, btf: &Btf<'_>, rest: &str, parts: &Parts) -> Result<()> {
        let words: Vec<&str> = rest.split("___").collect();
        let [name, element, programs @ ..] = &words[..] else {
            return Err(bad_iterator(rest));
        };
        if programs.is_empty() {
            return Err(bad_iterator(rest));
        }
        for program in programs {
            if program.is_empty() {
                return Err(Error::invalid(format!("empty program name in iterator {rest:?}")));
            }
            let section = parts.program(program)?;
            if !["iter/", "iter.s/"].iter().any(|prefix| section.starts_with(prefix)) {
                return Err(Error::invalid(format!(
                    "invalid program {program:?}: expecting type Tracing in a section iter/..., got section {section:?}"
                )));
            }
        }
        let of = find_struct(btf, element, "GADGET_ITER")?;
        if of.size() == 0 {
            return Err(Error::invalid(format!(
                "struct {element:?} of iterator {name:?} is empty"
            )));
        }
        if let Some(Declared::Iterator(_)) = self.sources.iter().find(|known| known.name() == *name) {
            tracing::debug!("iterator {name:?} is declared again: the first declaration counts");
            return Ok(());
        }
        self.add(Declared::Iterator(BpfIterator {
            name: (*name).to_owned(),
            element: (*element).to_owned(),
            programs: programs.iter().map(|program| (*program).to_owned()).collect(),
        }))
    }

    fn map_iterator(&mut self, btf: &Btf<'_>, rest: &str, parts: &Parts) -> Result<()> {
        let words: Vec<&str> = rest.split("___").collect();
        let [name, map] = words[..] else {
            return Err(Error::invalid(format!(
                "invalid name for gadget_mapiter type: {rest:?}"
            )));
        };
        if self.sources.iter().any(|known| known.name() == name) {
            return Err(Error::invalid(format!("duplicate map iterator {rest:?}")));
        }
        let declared = parts.map(map)?;
        if declared.class != MapClass::Hash {
            return Err(
                Error::invalid(format!("map {map:?} is not a hash map")).with_hint(format!(
                    "it is of type {}; a map iterator needs BPF_MAP_TYPE_HASH",
                    declared.type_name
                )),
            );
        }
        let types = btf
            .find(BtfKind::Var, map)
            .map(|variable| Map::declared(btf, variable.target()))
            .unwrap_or_default();
        let structure = |id: TypeId, what: &str| {
            btf.get(id)
                .filter(|t| t.kind == BtfKind::Struct)
                .ok_or_else(|| Error::invalid(format!("map {map:?} {what} is not a struct")))
        };
        let (key, value) = (structure(types.key_type, "key")?, structure(types.value_type, "value")?);
        if key.size() != declared.key_size || value.size() != declared.value_size || key.size() == 0 {
            return Err(Error::invalid(format!(
                "key/value sizes of map {map:?} does not match size of structs"
            )));
        }
        self.add(Declared::MapIterator(MapIterator {
            name: name.to_owned(),
            map: map.to_owned(),
            key: key.id,
            value: value.id,
            shape: MapShape::Rows,
        }))
    }

    fn iterated_map(&mut self, rest: &str, parts: &Parts) -> Result<()> {
        let words: Vec<&str> = rest.split("___").collect();
        let [program, map] = words[..] else {
            return Err(Error::invalid(format!("invalid iter target map: {rest:?}")));
        };
        if self.iterated_maps.iter().any(|(known, _)| known == program) {
            return Err(Error::invalid(format!(
                "duplicate iter target map for program {program:?}"
            )));
        }
        let section = parts.program(program)?;
        if !["iter/bpf_map_elem", "iter.s/bpf_map_elem"].contains(&section) {
            return Err(Error::invalid(format!(
                "invalid program {program:?}: expecting section iter/bpf_map_elem, got {section:?}"
            )));
        }
        parts.map(map)?;
        self.iterated_maps.push((program.to_owned(), map.to_owned()));
        Ok(())
    }

    fn socket_map(&mut self, rest: &str, parts: &Parts) -> Result<()> {
        let words: Vec<&str> = rest.split("___").collect();
        let [program, map] = words[..] else {
            return Err(Error::invalid(format!("invalid sk target map: {rest:?}")));
        };
        if self.socket_maps.iter().any(|(known, _)| known == program) {
            return Err(Error::invalid(format!(
                "duplicate sk target map for program {program:?}"
            )));
        }
        let section = parts.program(program)?;
        if !["sk_skb", "sk_msg"].iter().any(|prefix| section.starts_with(prefix)) {
            return Err(Error::invalid(format!(
                "invalid program {program:?}: expecting section sk_skb/... or sk_msg, got {section:?}"
            )));
        }
        let declared = parts.map(map)?;
        if declared.class != MapClass::Sockets {
            return Err(Error::invalid(format!(
                "map {map:?} is not a socket map: expected sockmap or sockhash, got: {}",
                declared.type_name
            )));
        }
        self.socket_maps.push((program.to_owned(), map.to_owned()));
        Ok(())
    }

    fn add(&mut self, source: Declared) -> Result<()> {
        if self.sources.iter().any(|known| known.name() == source.name()) {
            return Err(Error::invalid(format!(
                "data source {:?} is declared twice",
                source.name()
            )));
        }
        self.sources.push(source);
        Ok(())
    }
}

fn bad_iterator(rest: &str) -> Error {
    Error::invalid(format!(
        "invalid iterator info {rest:?}: expected <name>___<structName>___<program1>___...___<programN>"
    ))
}

fn find_struct<'a>(btf: &Btf<'a>, name: &str, declared_by: &str) -> Result<BtfType<'a>> {
    btf.find(BtfKind::Struct, name).ok_or_else(|| {
        Error::not_found(format!("finding struct {name:?} in eBPF object: not found")).with_hint(format!(
            "define `struct {name}` in the program, or name the struct of the data in {declared_by}"
        ))
    })
}

fn missing_map(map: &str) -> Error {
    Error::not_found(format!("map {map:?} not found in eBPF object")).with_hint(format!(
        "define the map in the program, for events with GADGET_TRACER_MAP({map}, 1024 * 256)"
    ))
}

/// Whether `t` is a global variable of type pointer to const void.
fn is_marker(btf: &Btf<'_>, t: &BtfType<'_>) -> bool {
    t.kind == BtfKind::Var
        && t.is_global()
        && btf.get(t.target()).is_some_and(|pointer| {
            pointer.kind == BtfKind::Ptr
                && btf
                    .get(pointer.target())
                    .is_some_and(|constant| constant.kind == BtfKind::Const && constant.target() == 0)
        })
}

#[cfg(test)]
mod tests;
