//! Entry and return of many kernel functions with one link, and of system calls by their names.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::{Link, ProgramMut};

use super::{failed, sys};
use crate::ebpf::features::Feature;
use crate::{Error, ErrorKind, Result, ResultExt};

/// The kernel's own limit is higher; a pattern that matches more was not meant.
const MAX_FUNCTIONS: usize = 10_000;

/// Attaches to all functions that match `pattern`, in which `*` stands for any text and `?` for any character.
pub(super) fn attach(program: &ProgramMut<'_>, pattern: &str, on_return: bool) -> Result<Link> {
    let functions = functions(pattern)?;
    program
        .attach_kprobe_multi(on_return, functions)
        .map_err(|error| failed(&format!("kprobe.multi on {pattern}"), &error).with_hint(Feature::KprobeMulti.advice()))
}

/// Attaches to both ends of all functions that match `pattern`: the program itself says at the entry whether it wants to run at the return.
pub(super) fn attach_session(program: &ProgramMut<'_>, pattern: &str) -> Result<OwnedFd> {
    let broken = |_| Error::invalid("a name of a kernel function with a zero byte");
    let names = functions(pattern)?
        .into_iter()
        .map(|name| CString::new(name).map_err(broken))
        .collect::<Result<Vec<_>>>()?;
    let mut pointers: Vec<*const libc::c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let mut options = sys::link_options();
    options.__bindgen_anon_1.kprobe_multi = libbpf_sys::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_2 {
        cnt: u32::try_from(pointers.len()).unwrap_or(u32::MAX),
        syms: pointers.as_mut_ptr(),
        ..Default::default()
    };
    sys::create_link(program.as_fd(), 0, libbpf_sys::BPF_TRACE_KPROBE_SESSION, &options).map_err(|error| {
        let error = std::io::Error::from(error);
        let error = Error::new(ErrorKind::Unsupported, format!("kprobe.session on {pattern}: {error}"));
        error.with_hint(Feature::KprobeSession.advice())
    })
}

/// The function of this name, or all that match if it is a pattern.
fn functions(pattern: &str) -> Result<Vec<String>> {
    match pattern.contains(['*', '?']) {
        true => matching(pattern),
        false => Ok(vec![pattern.to_owned()]),
    }
}

/// Attaches to a system call, whatever this kernel calls its function.
pub(super) fn attach_syscall(program: &ProgramMut<'_>, name: &str, on_return: bool) -> Result<Link> {
    program
        .attach_ksyscall(on_return, name)
        .map_err(|error| failed(&format!("ksyscall {name}"), &error))
}

fn matching(pattern: &str) -> Result<Vec<String>> {
    let tracefs = crate::ebpf::tracefs().ok_or_else(|| {
        Error::unsupported("tracefs is not mounted, and only it says which functions there are")
            .with_hint("mount -t tracefs tracefs /sys/kernel/tracing")
    })?;
    let list = File::open(tracefs.join("available_filter_functions")).context("listing the kernel's functions")?;
    let mut functions = Vec::new();
    for line in BufReader::new(list).lines() {
        let line = line.context("listing the kernel's functions")?;
        // `name`, or `name [module]`
        let Some(name) = line.split_whitespace().next() else {
            continue;
        };
        if matches(pattern.as_bytes(), name.as_bytes()) {
            functions.push(name.to_owned());
        }
        if functions.len() > MAX_FUNCTIONS {
            return Err(Error::invalid(format!(
                "pattern {pattern:?} matches more than {MAX_FUNCTIONS} kernel functions"
            )));
        }
    }
    if functions.is_empty() {
        return Err(Error::not_found(format!("no kernel function matches {pattern:?}")));
    }
    functions.sort_unstable();
    functions.dedup();
    Ok(functions)
}

/// Whether `name` matches `pattern`. Linear: after a mismatch only the last `*` takes one character more.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("tcp_*", "tcp_sendmsg", true),
            ("tcp_*", "udp_sendmsg", false),
            ("*", "", true),
            ("*send*msg", "tcp_sendmsg", true),
            ("*send*msg", "tcp_sendmsg_locked", false),
            ("vfs_?ead", "vfs_read", true),
            ("vfs_?ead", "vfs_ead", false),
            ("a*b*c", "aXbXbXc", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
