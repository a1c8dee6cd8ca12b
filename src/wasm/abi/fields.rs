//! Values of fields.

use wasmer::{MemoryAccessError, MemoryView, RuntimeError};

use crate::data::{Scalar, scalar_of};
use crate::wasm::handles::{FieldOf, Object};
use crate::wasm::host::{Answer, Caller, Host, Refusal, answer, no_such, status, text, with_memory, wrong};
use crate::wasm::memory::{self, BufPtr};
use crate::wasm::trap::Exit;

/// The field with that number.
#[inline]
fn field(host: &Host, handle: u32) -> Answer<&FieldOf> {
    match host.handles.get(handle) {
        Some(Object::Field(field)) => Ok(field),
        other => Err(wrong(handle, other, "field")),
    }
}

/// The field with that number, to be written.
#[inline]
fn writable_field(host: &mut Host, handle: u32) -> Answer<FieldOf> {
    let field = *field(host, handle)?;
    match field.writable {
        true => Ok(field),
        false => Err(host.refuse_write(&field)),
    }
}

#[inline]
fn scalar(kind: u32) -> Answer<Scalar> {
    match scalar_of(kind) {
        Some(Scalar::String | Scalar::Bytes) => Err("texts and bytes are read and written through buffers".into()),
        Some(scalar) if scalar.size().is_some() => Ok(scalar),
        _ => Err(format!("unknown kind {kind}").into()),
    }
}

#[inline]
fn same_source(field: &FieldOf, data: usize) -> Answer<()> {
    match field.source == data {
        true => Ok(()),
        false => Err("the field is of another data source than the element".into()),
    }
}

/// `fieldGetScalar`: a value in 64 bits. That it failed is written to `error`, if there is room for it.
#[inline(always)]
pub(in crate::wasm) fn get_scalar(
    mut caller: Caller<'_>,
    handle: u32,
    data: u32,
    kind: u32,
    error: u32,
) -> Result<u64, RuntimeError> {
    let value = match caller.data_mut().handles.field_of_packet(handle, data) {
        Some((field, element)) if field.accessor.kind().to_wire() == kind => field.accessor.load(element),
        _ => None,
    };
    match value {
        Some(value) => Ok(value),
        None => get_any_scalar(caller, handle, data, kind, error),
    }
}

#[inline(never)]
fn get_any_scalar(mut caller: Caller<'_>, handle: u32, data: u32, kind: u32, error: u32) -> Result<u64, RuntimeError> {
    match try_get_scalar(caller.data(), handle, data, kind) {
        Ok(value) => Ok(value),
        Err(refusal) => refuse_scalar(&mut caller, &refusal, error),
    }
}

/// Says so, to the user and to the guest.
#[cold]
fn refuse_scalar(caller: &mut Caller<'_>, refusal: &Refusal, error: u32) -> Result<u64, RuntimeError> {
    caller.data_mut().warn("fieldGetScalar", refusal);
    if error == 0 {
        return Ok(0);
    }
    let written = with_memory(caller, |_, view| {
        let result: Result<(), MemoryAccessError> = view.write(u64::from(error), &1u32.to_le_bytes());
        result.map_err(|_| "the guest's pointer for the error is outside of its memory".into())
    });
    match written {
        Ok(()) => Ok(0),
        Err(refusal) => {
            // A guest that cannot be told of an error must not go on.
            tracing::error!("wasm: fieldGetScalar: {refusal}");
            Err(RuntimeError::user(Box::new(Exit(1))))
        }
    }
}

fn try_get_scalar(host: &Host, handle: u32, data: u32, kind: u32) -> Answer<u64> {
    let field = field(host, handle)?;
    let (of, element) = host.handles.data(data).ok_or_else(|| no_such(data, "data"))?;
    let scalar = scalar(kind)?;
    same_source(field, of)?;
    Ok(field.accessor.raw_scalar(element, scalar)?)
}

fn is_buffer(kind: u32) -> Answer<()> {
    match scalar_of(kind) {
        Some(Scalar::String | Scalar::Bytes) => Ok(()),
        _ => Err(format!("kind {kind} is neither text nor bytes").into()),
    }
}

/// `fieldGetBuffer`: the bytes of a value, all or none, and how many these are.
pub(in crate::wasm) fn get_buffer(mut caller: Caller<'_>, handle: u32, data: u32, kind: u32, to: u64) -> i32 {
    let result = with_memory(&mut caller, |host, view| {
        let field = field(host, handle)?;
        let (of, element) = host.handles.data(data).ok_or_else(|| no_such(data, "data"))?;
        is_buffer(kind)?;
        same_source(field, of)?;
        let bytes = field.accessor.raw(element)?;
        memory::write(view, BufPtr(to), bytes)?;
        Ok(bytes.len() as i32)
    });
    answer(&mut caller, "fieldGetBuffer", -1, result)
}

/// `fieldSet`: sets a value.
#[inline(always)]
pub(in crate::wasm) fn set(mut caller: Caller<'_>, handle: u32, data: u32, kind: u32, value: u64) -> u32 {
    let stored = match caller.data_mut().handles.field_of_packet(handle, data) {
        Some((field, element)) if field.writable && field.accessor.kind().to_wire() == kind => {
            field.accessor.store(element, value)
        }
        _ => false,
    };
    match stored {
        true => 0,
        false => set_any(caller, handle, data, kind, value),
    }
}

#[inline(never)]
fn set_any(mut caller: Caller<'_>, handle: u32, data: u32, kind: u32, value: u64) -> u32 {
    let result = match scalar_of(kind) {
        Some(Scalar::String | Scalar::Bytes) => with_memory(&mut caller, |host, view| {
            set_buffer(host, view, handle, data, BufPtr(value))
        }),
        _ => set_scalar(caller.data_mut(), handle, data, kind, value),
    };
    status(&mut caller, "fieldSet", result)
}

fn set_scalar(host: &mut Host, handle: u32, data: u32, kind: u32, value: u64) -> Answer<()> {
    let field = writable_field(host, handle)?;
    let (of, element) = host.handles.data_mut(data).ok_or_else(|| no_such(data, "data"))?;
    same_source(&field, of)?;
    Ok(field.accessor.set_raw_scalar(element, scalar(kind)?, value)?)
}

fn set_buffer(host: &mut Host, view: &MemoryView<'_>, handle: u32, data: u32, value: BufPtr) -> Answer<()> {
    let field = writable_field(host, handle)?;
    value.check(view)?;
    let (of, element) = host.handles.data_mut(data).ok_or_else(|| no_such(data, "data"))?;
    same_source(&field, of)?;
    let before = element.capacity();
    field.accessor.set_raw(element, value.len(), |target| {
        // The range was checked above, and a failure leaves zeroes.
        if view.read(value.address(), target).is_err() {
            target.fill(0);
        }
    })?;
    let grown = element.capacity().saturating_sub(before);
    match grown {
        0 => Ok(()),
        grown => host.grow(data, grown),
    }
}

/// `fieldAddTag`: appends a tag to those of a field.
pub(in crate::wasm) fn add_tag(mut caller: Caller<'_>, handle: u32, tag: u64) -> u32 {
    let tag = text(&mut caller, tag);
    let host = caller.data_mut();
    let result = field(host, handle).copied().and_then(|field| {
        let tag = tag?;
        host.charge(tag.len() + size_of::<String>())?;
        host.lines.get_mut(field.source)?.source.tag_field(field.id, tag);
        Ok(())
    });
    status(&mut caller, "fieldAddTag", result)
}
