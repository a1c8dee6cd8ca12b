//! Data sources and packets.

use crate::data::{CodeSubscription, CodeView, DataSource, Element, NewField, SourceType, scalar_of};
use crate::metadata::SourceSettings;
use crate::wasm::events;
use crate::wasm::handles::{FieldOf, Object};
use crate::wasm::host::{Answer, Caller, Host, Inside, answer, status, text};
use crate::wasm::limits::{FIELDS, SUBSCRIPTIONS};
use crate::wasm::lines::Packet;

/// `newDataSource`: a data source of type 1 (single) or 2 (array).
pub(in crate::wasm) fn new_data_source(mut caller: Caller<'_>, name: u64, kind: u32) -> u32 {
    let name = text(&mut caller, name);
    let host = caller.data_mut();
    let result = name.and_then(|name| {
        let source_type = SourceType::from_wire(kind)?;
        host.charge(name.len())?;
        let settings = host
            .config
            .as_ref()
            .map(|config| SourceSettings::new(config, name.clone()) as _);
        let source = host.lines.add(DataSource::new(name, source_type, settings))?;
        host.undeclared.add_own_source(source);
        host.open(Object::Source(source))
    });
    answer(&mut caller, "newDataSource", 0, result)
}

/// `getDataSource`: the referenced data source of that name.
pub(in crate::wasm) fn get_data_source(mut caller: Caller<'_>, name: u64) -> u32 {
    let name = text(&mut caller, name);
    let host = caller.data_mut();
    let result = name.and_then(|name| match host.lines.find(&name) {
        Some(source) => host.open(Object::Source(source)),
        None => Err(format!("data source {name:?} not found").into()),
    });
    answer(&mut caller, "getDataSource", 0, result)
}

/// `dataSourceSubscribe`: to elements (1), arrays (2) or packets (3).
pub(in crate::wasm) fn subscribe(mut caller: Caller<'_>, source: u32, what: u32, priority: i32, id: u64) -> u32 {
    let result = try_subscribe(caller.data_mut(), source, what, priority, id);
    status(&mut caller, "dataSourceSubscribe", result)
}

fn try_subscribe(host: &mut Host, handle: u32, what: u32, priority: i32, id: u64) -> Answer<()> {
    let source = host.source(handle)?;
    if host.callback.is_none() {
        return Err("the guest does not export dataSourceCallback, or it is too early to subscribe".into());
    }
    if host.subscriptions >= SUBSCRIPTIONS {
        return Err("too many subscriptions".into());
    }
    let line = host.lines.get_mut(source)?;
    let view = match what {
        1 => CodeView::Elements,
        2 if line.source.source_type() == SourceType::Single => {
            return Err("a single data source has no arrays to subscribe to".into());
        }
        // What is single comes as packets either way.
        2 | 3 if line.source.source_type() == SourceType::Array => CodeView::Packets,
        3 => CodeView::Elements,
        _ => return Err(format!("unknown type of subscription: {what}").into()),
    };
    let subscription = CodeSubscription {
        id,
        source_handle: handle,
        source,
        view,
    };
    line.subscribe(priority, subscription);
    host.subscriptions += 1;
    Ok(())
}

/// `dataSourceGetField`: the field of that full name. That there is none is no reason for a warning.
pub(in crate::wasm) fn get_field(mut caller: Caller<'_>, source: u32, name: u64) -> u32 {
    let name = text(&mut caller, name);
    let host = caller.data_mut();
    let result = name.and_then(|name| {
        let source = host.source(source)?;
        let description = &host.lines.get(source)?.source;
        let Some(id) = description.find(&name) else {
            return Ok(0);
        };
        let field = FieldOf {
            source,
            id,
            accessor: description.accessor(id),
            writable: host.undeclared.may_write(source, description, id),
        };
        host.note_read(source, id);
        host.open(Object::Field(field))
    });
    answer(&mut caller, "dataSourceGetField", 0, result)
}

/// `dataSourceAddField`: a root field.
pub(in crate::wasm) fn add_field(mut caller: Caller<'_>, source: u32, name: u64, kind: u32) -> u32 {
    let name = text(&mut caller, name);
    let host = caller.data_mut();
    let result = try_add_field(host, source, name, kind);
    answer(&mut caller, "dataSourceAddField", 0, result)
}

fn try_add_field(host: &mut Host, source: u32, name: Answer<String>, kind: u32) -> Answer<u32> {
    let scalar = scalar_of(kind).ok_or_else(|| format!("unknown kind {kind}"))?;
    let (source, name) = (host.source(source)?, name?);
    host.charge(name.len())?;
    let description = &mut host.lines.get_mut(source)?.source;
    if description.len() >= FIELDS {
        return Err(format!("data source {:?} has too many fields", description.name()).into());
    }
    let id = description.add_field(NewField::new(name, scalar))?;
    let field = FieldOf {
        source,
        id,
        accessor: description.accessor(id),
        writable: true,
    };
    host.undeclared.add_own_field(source, id);
    host.open(Object::Field(field))
}

/// `dataSourceNewPacketSingle`: a packet of a single data source, all zero.
pub(in crate::wasm) fn new_packet_single(mut caller: Caller<'_>, source: u32) -> u32 {
    let result = new_packet(caller.data_mut(), source, SourceType::Single);
    answer(&mut caller, "dataSourceNewPacketSingle", 0, result)
}

/// `dataSourceNewPacketArray`: an empty packet of an array data source.
pub(in crate::wasm) fn new_packet_array(mut caller: Caller<'_>, source: u32) -> u32 {
    let result = new_packet(caller.data_mut(), source, SourceType::Array);
    answer(&mut caller, "dataSourceNewPacketArray", 0, result)
}

fn new_packet(host: &mut Host, source: u32, wanted: SourceType) -> Answer<u32> {
    let source = host.source(source)?;
    let description = &host.lines.get(source)?.source;
    if description.source_type() != wanted {
        return Err(format!("data source {:?} is of the other type", description.name()).into());
    }
    let packet = match wanted {
        SourceType::Single => Object::Single(source, Element::new(description.layout())),
        SourceType::Array => Object::Array(source, Vec::new()),
    };
    host.open(packet)
}

/// `dataSourceEmitAndRelease`: sends a packet to all subscribers. Its handle is gone, whatever happens.
pub(in crate::wasm) fn emit_and_release(mut caller: Caller<'_>, source: u32, packet: u32) -> u32 {
    let taken = take_packet(caller.data_mut(), source, packet);
    let result = taken.and_then(|(source, of, packet)| {
        if of != source {
            return Err("the packet is of another data source".into());
        }
        caller.data_mut().may_make_elements(source)?;
        Inside::of(&mut caller, |inside| events::emit(inside, source, packet))
    });
    status(&mut caller, "dataSourceEmitAndRelease", result)
}

/// `dataSourceRelease`: drops a packet.
pub(in crate::wasm) fn release(mut caller: Caller<'_>, source: u32, packet: u32) -> u32 {
    let result = take_packet(caller.data_mut(), source, packet).map(drop);
    status(&mut caller, "dataSourceRelease", result)
}

/// The position of the source, that of the packet's source, and the packet.
fn take_packet(host: &mut Host, source: u32, packet: u32) -> Answer<(usize, usize, Packet)> {
    let source = host.source(source)?;
    let is_packet = |object: &Object| matches!(object, Object::Single(..) | Object::Array(..));
    match host.close_handle(packet, "packet", is_packet)? {
        Object::Single(of, element) => Ok((source, of, Packet::Single(element))),
        Object::Array(of, elements) => Ok((source, of, Packet::Array(elements))),
        _ => Err("it is no packet".into()),
    }
}

/// `dataSourceUnreference`: hides a data source from operators that come later.
pub(in crate::wasm) fn unreference(mut caller: Caller<'_>, source: u32) -> u32 {
    let host = caller.data_mut();
    let result = host
        .source(source)
        .and_then(|source| host.lines.get_mut(source))
        .map(|line| line.source.unreference());
    status(&mut caller, "dataSourceUnreference", result)
}

/// `dataSourceIsReferenced`: 1, 0, or 2 for what is no data source.
#[inline(always)]
pub(in crate::wasm) fn is_referenced(mut caller: Caller<'_>, source: u32) -> u32 {
    let host = caller.data_mut();
    let result = host
        .source(source)
        .and_then(|source| host.lines.get(source))
        .map(|line| u32::from(line.source.is_referenced()));
    answer(&mut caller, "dataSourceIsReferenced", 2, result)
}
