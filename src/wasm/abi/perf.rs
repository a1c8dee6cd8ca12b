//! Perf readers: per-CPU buffers that a guest reads, also flight recorders.

use libbpf_rs::MapHandle;

use crate::wasm::handles::Object;
use crate::wasm::host::{Answer, Caller, Host, answer, status, store_bytes, wrong};
use crate::wasm::perf::{Next, PerfReader};

fn reader(host: &mut Host, handle: u32) -> Answer<&mut PerfReader> {
    if !matches!(host.handles.get(handle), Some(Object::Reader(_))) {
        return Err(wrong(handle, host.handles.get(handle), "perf reader"));
    }
    match host.handles.get_mut(handle) {
        Some(Object::Reader(reader)) => Ok(reader),
        other => Err(wrong(handle, other.as_deref(), "perf reader")),
    }
}

/// `newPerfReader`: buffers of `size` bytes per CPU behind a map.
pub(in crate::wasm) fn new(mut caller: Caller<'_>, map: u32, size: u32, overwritable: u32) -> u32 {
    let host = caller.data_mut();
    let map = match host.handles.get(map) {
        Some(Object::Map(map)) => MapHandle::try_from(&map.map).map_err(Into::into),
        other => Err(wrong(map, other, "map")),
    };
    let result = host
        .may_use_kernel()
        .and(map)
        .and_then(|map| Ok(PerfReader::new(map, size, overwritable != 0)?))
        .and_then(|reader| host.open(Object::Reader(Box::new(reader))));
    answer(&mut caller, "newPerfReader", 0, result)
}

/// `perfReaderPause`: keeps programs from writing.
pub(in crate::wasm) fn pause(mut caller: Caller<'_>, handle: u32) -> u32 {
    let result = reader(caller.data_mut(), handle).and_then(|reader| Ok(reader.pause()?));
    status(&mut caller, "perfReaderPause", result)
}

/// `perfReaderResume`: lets them write again.
pub(in crate::wasm) fn resume(mut caller: Caller<'_>, handle: u32) -> u32 {
    let result = reader(caller.data_mut(), handle).and_then(|reader| Ok(reader.resume()?));
    status(&mut caller, "perfReaderResume", result)
}

/// `perfReaderRead`: one record; 2 if there is none left.
pub(in crate::wasm) fn read(mut caller: Caller<'_>, handle: u32, to: u64) -> u32 {
    let host = caller.data_mut();
    let stop = host.stop.clone();
    let next = reader(host, handle).and_then(|reader| Ok(reader.read(|| stop.is_requested())?));
    let result = next.and_then(|next| match next {
        Next::Record(record) => store_bytes(&mut caller, to, &record).map(|()| 0),
        Next::Lost => Ok(0),
        Next::Drained => Ok(2),
    });
    answer(&mut caller, "perfReaderRead", 1, result)
}

/// `perfReaderClose`: gives the buffers back.
pub(in crate::wasm) fn close(mut caller: Caller<'_>, handle: u32) -> u32 {
    let is_reader = |object: &Object| matches!(object, Object::Reader(_));
    let result = caller
        .data_mut()
        .close_handle(handle, "perf reader", is_reader)
        .map(drop);
    status(&mut caller, "perfReaderClose", result)
}
