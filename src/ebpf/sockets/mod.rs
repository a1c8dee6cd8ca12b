//! Who owns a socket: the map that gadgets look local ports up in, and the programs that fill it.
//!
//! There is one map for all network namespaces. Sockets that exist at the start are found by an iterator over all open files, later ones
//! when they are bound, connect, or send. An entry stays five seconds after its socket is gone, so that late packets still
//! have an owner. At most 16384 ports are remembered; what a value takes is decided by [`SocketFields`].

mod cleanup;
mod fields;

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{IterOpts, Link, MapHandle, MapIterOpts, ProgramMut};
use nix::sys::utsname::uname;

pub use fields::{SocketFields, VALUE_TYPE};

use self::cleanup::{Cleanup, Sweeper, run};

use super::btf::CustomBtf;
use super::features::Feature;
use super::print;
use crate::containers::cgroup::mount_point;
use crate::{Error, ErrorKind, Result, ResultExt};

#[allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/socket_enricher.skel.rs"));
}

/// The first kernel where programs of all kinds may use hash maps that grow: 6.1.
const GROWING_MAPS: (u32, u32) = (6, 1);

/// Every type whose layout a program asks for. One that is missing here makes loading fail, not go wrong.
const TYPES: [&str; 38] = [
    "bpf_iter__bpf_map_elem",
    "bpf_iter__task_file",
    "bpf_iter_meta",
    "bpf_sock_addr",
    "bpf_sock_ops",
    "cred",
    "dentry",
    "fdtable",
    "file",
    "files_struct",
    "fs_struct",
    "inet_sock",
    "inode",
    "kgid_t",
    "kuid_t",
    "mm_struct",
    "mnt_namespace",
    "mount",
    "net",
    "ns_common",
    "nsproxy",
    "path",
    "possible_net_t",
    "pt_regs",
    "qstr",
    "sock",
    "sock_common",
    "sock_type",
    "socket",
    "super_block",
    "syscall_trace_enter",
    "syscall_trace_exit",
    "task_struct",
    "vfsmount",
    "user_pt_regs",
    "bpf_sock",
    "tracepoint",
    "bpf_func_id",
];

/// The filled map. Nothing is remembered any more when this is dropped.
#[derive(Debug)]
pub struct SocketOwners {
    map: MapHandle,
    fields: SocketFields,
    // Nothing is added any more when the cleanup ends.
    _links: Vec<Link>,
    _cleanup: Cleanup,
}

impl SocketOwners {
    /// Loads and attaches the programs and fills the map.
    ///
    /// # Errors
    ///
    /// When the kernel takes none of them. What it lacks beside that is only said.
    pub fn start(fields: SocketFields) -> Result<Self> {
        Self::load(fields).context("remembering the owners of sockets")
    }

    fn load(fields: SocketFields) -> Result<Self> {
        let btf = CustomBtf::of_kernel(&TYPES)?;
        let root = mount_point()
            .and_then(|path| Ok(File::open(path)?))
            .inspect_err(|error| tracing::debug!("owners of sockets: {error}"))
            .ok();
        let mut left_out: Vec<String> = Vec::new();
        loop {
            let mut storage = MaybeUninit::uninit();
            let mut builder = skel::SocketEnricherSkelBuilder::default();
            if let Some(btf) = &btf {
                builder.obj_builder.btf_custom_path(btf.path()).map_err(failed)?;
            }
            let mut open = builder.open(&mut storage).map_err(failed)?;
            let kprobes = root.is_none() && Feature::Kprobes.is_there() == Some(true);
            let mut loaded_programs = Vec::new();
            if let Some(rodata) = open.maps.rodata_data.as_mut() {
                let config = &mut rodata.socket_config;
                config.cwd_offset = fields.cwd_offset();
                config.cwd_size = fields.cwd;
                config.exepath_offset = fields.exepath_offset();
                config.exepath_size = fields.exepath;
                config.sees_release = (root.is_some() || kprobes).into();
            }
            let map = &mut open.maps.gadget_sockets;
            map.set_value_size(fields.value_size()).map_err(failed)?;
            if kernel_release() >= GROWING_MAPS {
                map.set_map_flags(libbpf_sys::BPF_F_NO_PREALLOC).map_err(failed)?;
            }
            for mut program in open.open_object_mut().progs_mut() {
                let name = program.name().to_string_lossy().into_owned();
                let section = program.section().to_string_lossy().into_owned();
                let possible = match section.split('/').next().unwrap_or_default() {
                    "sockops" | "cgroup" => root.is_some(),
                    "kprobe" => kprobes,
                    _ => true,
                };
                let wanted = possible && !left_out.contains(&name);
                program.set_autoload(wanted);
                if wanted {
                    loaded_programs.push(name);
                }
            }
            let (loaded, log) = print::capture(|| open.load());
            match loaded {
                Ok(skel) => return Self::attach(&skel, &loaded_programs, fields, root.as_ref()),
                Err(error) => match log.refusal(0) {
                    Some(refusal) if !left_out.contains(&refusal.program) => {
                        tracing::debug!("owners of sockets: program {:?} was refused: {error}", refusal.program);
                        left_out.push(refusal.program);
                    }
                    _ => return Err(failed(error)),
                },
            }
        }
    }

    fn attach(
        skel: &skel::SocketEnricherSkel<'_>,
        loaded: &[String],
        fields: SocketFields,
        root: Option<&File>,
    ) -> Result<Self> {
        let is_loaded = |program: &ProgramMut<'_>| {
            let name = program.name().to_string_lossy();
            loaded.iter().any(|loaded| *loaded == name)
        };
        let progs = &skel.progs;
        let mut links = Vec::new();
        let mut attach = |what: &str, link: libbpf_rs::Result<Link>| match link {
            Ok(link) => links.push(link),
            Err(error) => tracing::debug!("owners of sockets: {what} cannot be attached: {error}"),
        };
        // What sees the end of sockets first, and exits of calls before their entries.
        for (program, kind) in [
            (&progs.ig_sock_state, "the state of TCP"),
            (&progs.ig_kp_release, "the release of sockets"),
            (&progs.ig_sock_bind_x, "bind"),
            (&progs.ig_sock_bind_e, "bind"),
            (&progs.ig_sock_conn_x, "connect"),
            (&progs.ig_sock_conn_e, "connect"),
            (&progs.ig_kp_tcp_conn, "connections"),
            (&progs.ig_kp_send4, "UDP"),
            (&progs.ig_kp_send6, "UDP"),
        ] {
            if is_loaded(program) {
                attach(kind, program.attach());
            }
        }
        for program in [
            &progs.ig_sock_release,
            &progs.ig_sock_ops,
            &progs.ig_sock_send4,
            &progs.ig_sock_send6,
        ] {
            if let Some(root) = root.filter(|_| is_loaded(program)) {
                attach("a program of control groups", program.attach_cgroup(root.as_raw_fd()));
            }
        }
        if links.is_empty() {
            return Err(Error::unsupported("none of the programs could be attached"));
        }
        let map = MapHandle::try_from(&skel.maps.gadget_sockets).map_err(failed)?;
        if is_loaded(&progs.ig_sockets_it) {
            let filled = progs
                .ig_sockets_it
                .attach_iter_with_opts(IterOpts::None)
                .map_err(failed)
                .and_then(|link| run(link.as_fd()));
            if let Err(error) = filled {
                tracing::warn!("sockets that exist already have no owner: {error}");
            }
        } else {
            tracing::warn!("sockets that exist already have no owner: this kernel has no iterators over files");
        }
        let sweeper = match is_loaded(&progs.ig_sk_cleanup) {
            true => Sweeper::Iterator(
                progs
                    .ig_sk_cleanup
                    .attach_iter_with_opts(IterOpts::Map(MapIterOpts::from_fd(map.as_fd())))
                    .map_err(failed)?
                    .as_fd()
                    .try_clone_to_owned()?,
            ),
            false => Sweeper::Map(MapHandle::try_from(&skel.maps.gadget_sockets).map_err(failed)?),
        };
        Ok(Self {
            map,
            fields,
            _links: links,
            _cleanup: Cleanup::start(sweeper)?,
        })
    }

    /// The map, to take the place of a gadget's own.
    pub fn map(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// What is remembered.
    pub fn fields(&self) -> SocketFields {
        self.fields
    }
}

fn failed(error: libbpf_rs::Error) -> Error {
    Error::new(ErrorKind::Unsupported, error.to_string())
}

/// Version and patch level of the kernel; 0.0 if they cannot be read.
fn kernel_release() -> (u32, u32) {
    let Ok(name) = uname() else { return (0, 0) };
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
