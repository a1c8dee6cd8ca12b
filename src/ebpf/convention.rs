//! The older naming convention: what an object declares through the names of its maps, when it has no marker variables.
//!
//! | Map | Type | Data source |
//! |---|---|---|
//! | `print_X` | ring buffer, perf event array | `X`: an event for each record, which begins with the struct that is the map's value type |
//! | `stats_X` | hash | `X`: an array of rows, in each a key's fields and its value's, once per interval |
//! | `hist_X` | hash, array | `X`: an array of histograms when the run ends; a value has `__u32 slots[N]`, whose widths double |
//!
//! Types are those of the maps' declarations (`__type(value, struct event)`). Every `const volatile` variable that a text can stand for
//! is a parameter.

use super::btf::{Btf, BtfKind, BtfType, TypeId};
use super::fields::{StructFields, value_fields};
use super::inspect::maps::{Map, map_type_name};
use super::markers::{Declared, MNTNS_FILTER_SWITCH, MapIterator, MapShape, Tracer};
use super::params::can_be_set;
use crate::data::{Kind, Scalar};
use crate::{Error, Result, ResultExt};

const MAP_TYPE_HASH: u32 = 1;
const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_PERF_EVENT_ARRAY: u32 = 4;
const MAP_TYPE_RINGBUF: u32 = 27;

/// The name of a histogram's counts.
const SLOTS: &str = "slots";

/// The data sources that the names of the object's maps declare, in the order of the maps.
///
/// # Errors
///
/// A map of such a name whose type, or whose types of keys and values, are not what the name promises.
pub fn discover(btf: &Btf<'_>) -> Result<Vec<Declared>> {
    let mut found: Vec<Declared> = Vec::new();
    for (map, declaration) in btf.section_variables(".maps") {
        let declared = Map::declared(btf, declaration);
        let source = if let Some(name) = map.strip_prefix("print_") {
            tracer(btf, name, map, &declared)
        } else if let Some(name) = map.strip_prefix("stats_") {
            rows(name, map, &declared)
        } else if let Some(name) = map.strip_prefix("hist_") {
            histogram(btf, name, map, &declared)
        } else {
            continue;
        };
        let source = source.with_context(|| format!("map {map:?}"))?;
        if source.name().is_empty() {
            return Err(Error::invalid(format!(
                "map {map:?}: there is no name of a data source after the prefix"
            )));
        }
        if found.iter().any(|known| known.name() == source.name()) {
            return Err(Error::invalid(format!(
                "map {map:?}: data source {:?} is declared twice",
                source.name()
            )));
        }
        found.push(source);
    }
    Ok(found)
}

/// The variables that are parameters, in the order of their declaration.
pub fn parameters(btf: &Btf<'_>) -> Vec<String> {
    btf.types()
        .filter(|t| t.kind == BtfKind::Var && t.is_global() && is_const_volatile(btf, t))
        .filter(|t| can_be_set(btf, t.target()))
        .map(|t| btf.name(&t))
        .filter(|name| *name != MNTNS_FILTER_SWITCH && !name.starts_with("__"))
        .map(str::to_owned)
        .collect()
}

/// The names of the columns of a data source, as its struct or its key and value declare them.
pub fn member_names(btf: &Btf<'_>, declared: &Declared) -> Result<Vec<String>> {
    let types = match declared {
        Declared::Tracer(tracer) => {
            let event = btf.find(BtfKind::Struct, &tracer.event);
            vec![value_fields(btf, "value", event.map_or(0, |event| event.id))?]
        }
        Declared::MapIterator(map) => vec![value_fields(btf, "key", map.key)?, value_of(btf, map)?],
        Declared::Iterator(_) => Vec::new(),
    };
    let members = types.iter().flat_map(|fields| &fields.fields);
    Ok(members
        .filter(|field| field.parent.is_none())
        .map(|field| field.name.clone())
        .collect())
}

/// The fields of a map's values; those of a histogram with its counts marked as such.
pub(super) fn value_of(btf: &Btf<'_>, map: &MapIterator) -> Result<StructFields> {
    if map.shape == MapShape::Rows {
        return value_fields(btf, "value", map.value);
    }
    let mut value = value_fields(btf, SLOTS, map.value)?;
    let slots = value
        .fields
        .iter_mut()
        .find(|field| field.name == SLOTS && field.parent.is_none() && field.kind == Kind::Array(Scalar::Uint32));
    let Some(slots) = slots else {
        return Err(Error::invalid(format!(
            "the value has no member `__u32 {SLOTS}[N]`, in which a histogram has its counts"
        )));
    };
    // What newer gadgets say with the type.
    slots.tags.push("type:gadget_histogram_slot__u32".to_owned());
    slots.annotations.insert("columns.hidden".to_owned(), "true".to_owned());
    Ok(value)
}

fn tracer(btf: &Btf<'_>, name: &str, map: &str, declared: &Map) -> Result<Declared> {
    expect_type(
        declared,
        &[MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY],
        "a ring buffer or perf event array",
    )?;
    let event = declared_type(declared.value_type, "value")?;
    let event = btf
        .resolve(event)
        .filter(|t| t.kind == BtfKind::Struct && !btf.name(t).is_empty())
        .ok_or_else(|| {
            Error::invalid("its value type is not a struct with a name")
                .with_hint("say which struct an event begins with: `__type(value, struct event)`")
        })?;
    Ok(Declared::Tracer(Tracer {
        name: name.to_owned(),
        map: map.to_owned(),
        event: btf.name(&event).to_owned(),
    }))
}

fn rows(name: &str, map: &str, declared: &Map) -> Result<Declared> {
    expect_type(declared, &[MAP_TYPE_HASH], "a hash map")?;
    map_iterator(name, map, declared, MapShape::Rows)
}

fn histogram(btf: &Btf<'_>, name: &str, map: &str, declared: &Map) -> Result<Declared> {
    expect_type(declared, &[MAP_TYPE_HASH, MAP_TYPE_ARRAY], "a hash map or an array")?;
    let source = map_iterator(name, map, declared, MapShape::Histograms)?;
    if let Declared::MapIterator(iterator) = &source {
        value_of(btf, iterator)?;
    }
    Ok(source)
}

fn map_iterator(name: &str, map: &str, declared: &Map, shape: MapShape) -> Result<Declared> {
    Ok(Declared::MapIterator(MapIterator {
        name: name.to_owned(),
        map: map.to_owned(),
        key: declared_type(declared.key_type, "key")?,
        value: declared_type(declared.value_type, "value")?,
        shape,
    }))
}

fn expect_type(declared: &Map, expected: &[u32], what: &str) -> Result<()> {
    if expected.contains(&declared.map_type) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "its name stands for {what}, but it is of type {}",
        map_type_name(declared.map_type)
    ))
    .with_hint("give the map a name that does not begin with print_, stats_ or hist_"))
}

fn declared_type(id: TypeId, what: &str) -> Result<TypeId> {
    if id != 0 {
        return Ok(id);
    }
    Err(Error::invalid(format!("the type of its {what} is not known"))
        .with_hint(format!("declare it with `__type({what}, …)` instead of a size")))
}

/// Whether a variable is set before the program is loaded and not folded by the compiler.
fn is_const_volatile(btf: &Btf<'_>, variable: &BtfType<'_>) -> bool {
    let mut id = variable.target();
    // The qualifiers of an array belong to its elements. Damaged types may contain themselves, hence the bound.
    for _ in 0..8 {
        match btf.get(id) {
            Some(t) if t.kind == BtfKind::Array => id = t.array_element(),
            _ => break,
        }
    }
    btf.get(id)
        .filter(|t| t.kind == BtfKind::Const)
        .is_some_and(|constant| btf.get(constant.target()).is_some_and(|t| t.kind == BtfKind::Volatile))
}

#[cfg(test)]
mod tests;
