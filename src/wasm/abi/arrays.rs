//! Arrays and their elements.

use crate::data::Element;
use crate::wasm::handles::{Handles, Object};
use crate::wasm::host::{Answer, Caller, Host, answer, status};
use crate::wasm::limits::ARRAY_ELEMENTS;

/// `dataArrayNew`: an element that is in no array yet, all zero.
pub(in crate::wasm) fn new(mut caller: Caller<'_>, array: u32) -> u32 {
    let host = caller.data_mut();
    let source = host.array(array).map(|(source, _)| source);
    let result = source.and_then(|source| {
        let element = Element::new(host.lines.get(source)?.source.layout());
        host.open(Object::Element(source, element))
    });
    answer(&mut caller, "dataArrayNew", 0, result)
}

/// `dataArrayAppend`: puts an element into an array. Its handle is gone then.
pub(in crate::wasm) fn append(mut caller: Caller<'_>, array: u32, data: u32) -> u32 {
    let result = try_append(caller.data_mut(), array, data);
    status(&mut caller, "dataArrayAppend", result)
}

fn try_append(host: &mut Host, array: u32, data: u32) -> Answer<()> {
    let (source, elements) = host.array(array)?;
    let is_full = elements.len() >= ARRAY_ELEMENTS;
    host.may_make_elements(source)?;
    if is_full {
        return Err(format!("an array has at most {ARRAY_ELEMENTS} elements").into());
    }
    let fits = |object: &Object| matches!(object, Object::Element(of, _) if *of == source);
    let Object::Element(_, element) = host.close_handle(data, "element of this data source", fits)? else {
        return Err("it is no element".into());
    };
    host.grow(array, element.capacity())?;
    match host.handles.get_mut(array) {
        Some(Object::Array(_, elements)) => elements.push(element),
        _ => return Err("the array is gone".into()),
    }
    Ok(())
}

/// `dataArrayRelease`: drops an element that is in no array.
pub(in crate::wasm) fn release(mut caller: Caller<'_>, array: u32, data: u32) -> u32 {
    let host = caller.data_mut();
    let result = host.array(array).map(drop).and_then(|()| {
        let is_element = |object: &Object| matches!(object, Object::Element(..));
        host.close_handle(data, "element", is_element).map(drop)
    });
    status(&mut caller, "dataArrayRelease", result)
}

/// `dataArrayLen`: how many elements there are.
pub(in crate::wasm) fn len(mut caller: Caller<'_>, array: u32) -> u32 {
    let result = caller
        .data_mut()
        .array(array)
        .map(|(_, elements)| elements.len() as u32);
    answer(&mut caller, "dataArrayLen", 0, result)
}

/// `dataArrayGet`: a number for an element, which needs no release.
pub(in crate::wasm) fn get(mut caller: Caller<'_>, array: u32, index: u32) -> u32 {
    let result = caller.data_mut().array(array).and_then(|(_, elements)| {
        Some(index)
            .filter(|index| (*index as usize) < elements.len())
            .and_then(|index| Handles::element_handle(array, index))
            .ok_or_else(|| format!("there is no element {} among {}", index as i32, elements.len()).into())
    });
    answer(&mut caller, "dataArrayGet", 0, result)
}
