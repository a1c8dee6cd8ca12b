//! Discovery: what a gadget declares about itself through the names of marker variables.
//!
//! The macros of `<gadget/macros.h>` emit global variables of type `const void *` whose *names* are the data. A name that is
//! no such variable is ignored; a marker that refers to something missing is an error.

use super::btf::{Btf, BtfKind, BtfType};
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

/// What the markers of an object declare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markers {
    /// Tracers, in declaration order. Of two with one name the later one counts.
    pub tracers: Vec<Tracer>,
    /// Variables that are parameters, in declaration order.
    pub params: Vec<String>,
    /// Maps that become perf event arrays where there is no ring buffer.
    pub buffers: Vec<String>,
    /// Whether the object can be restricted to mount namespaces.
    pub filters_mntns: bool,
    /// Declarations that this version does not run, as the user knows them.
    pub unsupported: Vec<String>,
}

/// The map by which a gadget is told which mount namespaces to trace.
pub const MNTNS_FILTER_MAP: &str = "gadget_mntns_filter_map";
/// The constant that turns that map on.
pub const MNTNS_FILTER_SWITCH: &str = "gadget_filter_by_mntns";

/// The map of build ids, whose declared size of 0 is not for the kernel.
pub(super) const BUILD_ID_MAP: &str = "ig_build_id";
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
    /// Any other type.
    Other,
}

impl Markers {
    /// Walks all types of `btf`; `map_class` knows the object's maps, and the name of their type for messages.
    pub fn discover(btf: &Btf<'_>, map_class: impl Fn(&str) -> Option<(MapClass, String)>) -> Result<Self> {
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
            if let Some(rest) = rest.strip_prefix("tracer_") {
                found
                    .tracer(btf, rest, &map_class)
                    .context("handling type by prefix \"tracer\"")?;
            } else if let Some(variable) = rest.strip_prefix("param_") {
                if !found.params.iter().any(|known| known == variable) {
                    found.params.push(variable.to_owned());
                }
            } else if let Some(map) = rest.strip_prefix("map_tracer_") {
                if map_class(map).is_none() {
                    return Err(missing_map(map).context("handling type by prefix \"map_tracer\""));
                }
                found.buffers.push(map.to_owned());
            } else {
                found.later(rest);
            }
        }
        Ok(found)
    }

    fn tracer(
        &mut self,
        btf: &Btf<'_>,
        rest: &str,
        map_class: impl Fn(&str) -> Option<(MapClass, String)>,
    ) -> Result<()> {
        let parts: Vec<&str> = rest.split("___").collect();
        let [name, map, event] = parts[..] else {
            return Err(Error::invalid(format!("invalid tracer info: {rest:?}")));
        };
        match map_class(map) {
            None => return Err(missing_map(map)),
            Some((MapClass::Other, class)) => {
                return Err(Error::invalid(format!(
                    "trace map is invalid: map {map:?} has a wrong type, expected: ringbuf or perf event array, got: {class}"
                )));
            }
            Some(_) => {}
        }
        if btf.find(BtfKind::Struct, event).is_none() {
            return Err(
                Error::not_found(format!("finding struct {event:?} in eBPF object: not found")).with_hint(format!(
                    "define `struct {event}` in the program, or name the struct of the events in GADGET_TRACER"
                )),
            );
        }
        let tracer = Tracer {
            name: name.to_owned(),
            map: map.to_owned(),
            event: event.to_owned(),
        };
        match self.tracers.iter_mut().find(|known| known.name == name) {
            Some(known) => *known = tracer,
            None => self.tracers.push(tracer),
        }
        Ok(())
    }

    fn later(&mut self, rest: &str) {
        for (prefix, what) in [
            ("snapshotter_", "iterator"),
            ("iter_", "iterator"),
            ("mapiter_", "map iterator"),
            ("mapelem_iter_target_", "iterator over the map of"),
            ("sk_prog_target_", "sockmap program"),
        ] {
            if let Some(rest) = rest.strip_prefix(prefix) {
                let name = rest.split("___").next().unwrap_or(rest);
                self.unsupported.push(format!("{what} {name:?}"));
            }
        }
    }
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
mod tests {
    use super::super::btf::testing::Builder;
    use super::*;

    fn maps(name: &str) -> Option<(MapClass, String)> {
        match name {
            "events" => Some((MapClass::RingBuffer, "RingBuf".to_owned())),
            "perf" => Some((MapClass::PerfEventArray, "PerfEventArray".to_owned())),
            "hash" => Some((MapClass::Other, "Hash".to_owned())),
            _ => None,
        }
    }

    fn discover(markers: &[&str]) -> Result<Markers> {
        let mut b = Builder::default();
        let int = b.int("int", 4, 1);
        b.structure("event", 4, &[("a", int, 0)]);
        for marker in markers {
            b.marker(marker);
        }
        let bytes = b.build();
        Markers::discover(&Btf::parse(&bytes).unwrap(), maps)
    }

    #[test]
    fn finds_tracers_params_and_buffers() {
        let found = discover(&[
            "gadget_tracer_open___events___event",
            "gadget_map_tracer_events",
            "gadget_param_targ_pid",
            "gadget_param_targ_pid",
            "gadget_tracer_second___perf___event",
            "gadget_mntns_filter_map",
            "__gadget_tracer_type_open",
        ])
        .unwrap();
        let names: Vec<&str> = found.tracers.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["open", "second"]);
        assert_eq!(found.tracers[1].map, "perf");
        assert_eq!(found.params, ["targ_pid"]);
        assert_eq!(found.buffers, ["events"]);
        assert!(found.filters_mntns);
    }

    #[test]
    fn a_later_tracer_of_the_same_name_counts() {
        let found = discover(&["gadget_tracer_a___events___event", "gadget_tracer_a___perf___event"]).unwrap();
        assert_eq!(
            found.tracers,
            [Tracer {
                name: "a".into(),
                map: "perf".into(),
                event: "event".into()
            }]
        );
    }

    #[test]
    fn what_a_marker_refers_to_must_exist() {
        for (marker, expected) in [
            ("gadget_tracer_open___events", "invalid tracer info: \"open___events\""),
            (
                "gadget_tracer_a___nosuch___event",
                "map \"nosuch\" not found in eBPF object",
            ),
            (
                "gadget_tracer_a___hash___event",
                "trace map is invalid: map \"hash\" has a wrong type",
            ),
            ("gadget_tracer_a___events___nosuch", "finding struct \"nosuch\""),
            ("gadget_map_tracer_nosuch", "map \"nosuch\" not found"),
        ] {
            let error = discover(&[marker]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.starts_with("handling type by prefix"), "{error}");
        }
    }

    #[test]
    fn only_global_const_void_pointers_are_markers() {
        let mut b = Builder::default();
        let int = b.int("int", 4, 1);
        let constant = b.constant(0);
        let pointer = b.pointer(constant);
        let plain = b.pointer(0);
        b.variable("gadget_tracer_static", pointer, 0);
        b.variable("gadget_tracer_plain", plain, 1);
        b.variable("gadget_tracer_int", int, 1);
        b.typedef("gadget_tracer_typedef", int);
        let bytes = b.build();
        assert_eq!(
            Markers::discover(&Btf::parse(&bytes).unwrap(), maps).unwrap(),
            Markers::default()
        );
    }

    #[test]
    fn names_what_it_cannot_run_yet() {
        let found = discover(&["gadget_iter_ps___entry___it1___it2", "gadget_mapiter_m___lru"]).unwrap();
        assert_eq!(found.unsupported, ["iterator \"ps\"", "map iterator \"m\""]);
    }
}
