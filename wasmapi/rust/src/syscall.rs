//! System calls of the machine that the gadget runs on.

use crate::helpers::{from_c_string, string_to_buf_ptr, BufPtr};
use crate::host;

/// Set in the flags of a parameter that is a pointer.
pub const IS_POINTER_FLAG: u32 = 1;
/// No name of a system call is longer.
pub const MAX_SYSCALL_LENGTH: usize = 64;

const NAME: usize = 32;
const PARAMS: usize = 6;
const PARAM: usize = NAME + 4;
const DECLARATION: usize = PARAM + PARAMS * PARAM;

/// A parameter of a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallParam {
    /// Its name.
    pub name: String,
    /// Whether it is a pointer.
    pub is_pointer: bool,
}

/// What the kernel says of a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallDeclaration {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub params: Vec<SyscallParam>,
}

/// The name of a number; `syscall_` and the number in hexadecimal if it has none.
pub fn get_syscall_name(id: u16) -> Result<String, String> {
    let mut name = [0; MAX_SYSCALL_LENGTH];
    match host::get_syscall_name(u32::from(id), BufPtr::bytes_mut(&mut name).0) {
        0 => Ok(from_c_string(&name)),
        _ => Err(format!("getting the name of system call {id} failed")),
    }
}

/// The number of a name.
pub fn get_syscall_id(name: &str) -> Result<i32, String> {
    match host::get_syscall_id(string_to_buf_ptr(name).0) {
        -1 => Err(format!("there is no system call {name:?}")),
        id => Ok(id),
    }
}

/// The parameters of a system call.
pub fn get_syscall_declaration(name: &str) -> Result<SyscallDeclaration, String> {
    let mut bytes = [0; DECLARATION];
    match host::get_syscall_declaration(string_to_buf_ptr(name).0, BufPtr::bytes_mut(&mut bytes).0) {
        0 => Ok(decode(&bytes)),
        _ => Err(format!("getting the declaration of system call {name:?} failed")),
    }
}

fn decode(bytes: &[u8; DECLARATION]) -> SyscallDeclaration {
    let (head, params) = bytes.split_at(PARAM);
    let count = usize::from(head[NAME]).min(PARAMS);
    let params = params.chunks_exact(PARAM).take(count).map(|param| {
        let (name, flags) = param.split_at(NAME);
        SyscallParam {
            name: from_c_string(name),
            is_pointer: u32::from(flags[0]) & IS_POINTER_FLAG != 0,
        }
    });
    SyscallDeclaration {
        name: from_c_string(&head[..NAME]),
        params: params.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_decoded() {
        let mut bytes = [0; DECLARATION];
        assert_eq!(DECLARATION, 252);
        bytes[..6].copy_from_slice(b"execve");
        bytes[32] = 2;
        bytes[36..44].copy_from_slice(b"filename");
        bytes[68] = 1;
        bytes[72..77].copy_from_slice(b"flags");
        let declaration = decode(&bytes);
        assert_eq!(declaration.name, "execve");
        let params: Vec<_> = declaration.params.iter().map(|p| (p.name.as_str(), p.is_pointer)).collect();
        assert_eq!(params, [("filename", true), ("flags", false)]);
        bytes[32] = 200;
        assert_eq!(decode(&bytes).params.len(), 6);
    }
}
