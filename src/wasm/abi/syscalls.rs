//! System calls.

use crate::wasm::host::{Caller, answer, status, store_bytes, text};
use crate::wasm::syscalls;

/// `getSyscallName`: the name of a number, of which the low 16 bits count.
pub(in crate::wasm) fn get_name(mut caller: Caller<'_>, number: u32, to: u64) -> u32 {
    let name = syscalls::name(number as u16);
    let result = store_bytes(&mut caller, to, name.as_bytes());
    status(&mut caller, "getSyscallName", result)
}

/// `getSyscallID`: the number of a name.
pub(in crate::wasm) fn get_id(mut caller: Caller<'_>, name: u64) -> i32 {
    let result = text(&mut caller, name).and_then(|name| match syscalls::number(&name) {
        Some(number) => Ok(i32::from(number)),
        None => Err(format!("unknown system call {name:?}").into()),
    });
    answer(&mut caller, "getSyscallID", -1, result)
}

/// `getSyscallDeclaration`: the parameters of a system call.
pub(in crate::wasm) fn get_declaration(mut caller: Caller<'_>, name: u64, to: u64) -> u32 {
    let result = text(&mut caller, name).and_then(|name| {
        let declaration =
            syscalls::declaration(&name).ok_or_else(|| format!("nothing is known about the parameters of {name:?}"))?;
        store_bytes(&mut caller, to, &declaration)
    });
    status(&mut caller, "getSyscallDeclaration", result)
}
