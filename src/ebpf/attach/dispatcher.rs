//! The few instructions in front of a program that looks at packets: they tell it in which network namespace it is.
//!
//! The gadget's program is loaded once and looks at packets of many namespaces. A packet does not say of which, so each namespace gets a
//! program of its own that writes the namespace's number into `cb[0]` of the packet, where `<gadget/sockets-map.h>` looks for it, and jumps
//! to the gadget's program by way of a map.
//!
//! The map is emptied by the kernel when the last descriptor of it is closed. So what is left of a run that was killed does nothing, and can
//! be told from what is alive.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use libbpf_sys::bpf_insn;

use super::sys;
use crate::{Error, ErrorKind, Result, ResultExt};

/// The name of these programs in the kernel.
pub(super) const NAME: &CStr = c"ig_dispatch";

/// Offset of `cb[0]` in `struct __sk_buff`.
const CB: i16 = 48;

/// Makes dispatchers for one program.
#[derive(Debug)]
pub(super) struct Dispatch {
    map: MapHandle,
    kind: libbpf_sys::bpf_prog_type,
    attach_type: libbpf_sys::bpf_attach_type,
    /// What a dispatcher returns when there is no program to jump to.
    otherwise: i32,
}

impl Dispatch {
    /// For `program`, of type `kind` and with the attach type that it was loaded with.
    pub(super) fn new(
        program: BorrowedFd<'_>,
        kind: libbpf_sys::bpf_prog_type,
        attach_type: libbpf_sys::bpf_attach_type,
        otherwise: i32,
    ) -> Result<Self> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let failed = |error: libbpf_rs::Error| Error::new(ErrorKind::Io, format!("preparing a dispatcher: {error}"));
        let map = MapHandle::create(MapType::ProgArray, Some("ig_tail_call"), 4, 4, 1, &options).map_err(failed)?;
        map.update(&0u32.to_ne_bytes(), &program.as_raw_fd().to_ne_bytes(), MapFlags::ANY)
            .map_err(failed)?;
        Ok(Self {
            map,
            kind,
            attach_type,
            otherwise,
        })
    }

    /// The program for the network namespace with this inode number.
    pub(super) fn for_namespace(&self, netns: u64) -> Result<OwnedFd> {
        let instructions = instructions(self.map.as_fd(), netns as u32, self.otherwise);
        sys::load(self.kind, NAME, self.attach_type, &instructions).context("loading a dispatcher")
    }
}

/// ```text
/// r2 = netns; *(u32 *)(r1 + CB) = r2
/// r2 = map;   r3 = 0;               tail_call
/// r0 = otherwise;                   exit
/// ```
fn instructions(map: BorrowedFd<'_>, netns: u32, otherwise: i32) -> [bpf_insn; 8] {
    use libbpf_sys::{
        BPF_ALU64, BPF_CALL, BPF_DW, BPF_EXIT, BPF_FUNC_tail_call, BPF_IMM, BPF_JMP, BPF_K, BPF_LD, BPF_MEM, BPF_MOV,
        BPF_PSEUDO_MAP_FD, BPF_STX, BPF_W,
    };
    const BPF_ALU: u32 = libbpf_sys::BPF_ALU;
    let instruction = |code: u32, to: u8, from: u8, off: i16, imm: i32| {
        let mut instruction = bpf_insn {
            code: code as u8,
            off,
            imm,
            ..Default::default()
        };
        instruction.set_dst_reg(to);
        instruction.set_src_reg(from);
        instruction
    };
    [
        // 32 bits wide, so that the upper half is zero.
        instruction(BPF_ALU | BPF_MOV | BPF_K, 2, 0, 0, netns as i32),
        instruction(BPF_STX | BPF_MEM | BPF_W, 1, 2, CB, 0),
        instruction(
            BPF_LD | BPF_IMM | BPF_DW,
            2,
            BPF_PSEUDO_MAP_FD as u8,
            0,
            map.as_raw_fd(),
        ),
        instruction(0, 0, 0, 0, 0),
        instruction(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0),
        instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_tail_call as i32),
        instruction(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, otherwise),
        instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    ]
}

/// Whether the program with this id is a dispatcher of a run that has ended without taking it away.
pub(super) fn is_stale(program: u32) -> bool {
    let options = libbpf_rs::query::ProgInfoQueryOptions::default().include_map_ids(true);
    let info = libbpf_rs::query::ProgInfoIter::with_query_opts(options).find(|info| info.id == program);
    let Some(info) = info.filter(|info| info.name.as_encoded_bytes() == NAME.to_bytes()) else {
        return false;
    };
    info.map_ids.iter().any(|id| {
        let map = MapHandle::from_map_id(*id);
        map.is_ok_and(|map| matches!(map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY), Ok(None)))
    })
}
