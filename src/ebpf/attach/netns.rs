//! Programs of network namespaces: each is attached once to every namespace that a place of the run is in.
//!
//! Packet filters get a raw socket in the namespace that nobody reads: the program looks at each packet that comes in or goes out, and
//! returns 0, so that none is queued. All other kinds have links on the namespace.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

use super::dispatcher::Dispatch;
use super::sites::{Attachment, LoadedProgram, Sites};
use super::sys;
use crate::containers::Place;
use crate::ebpf::apart::in_a_thread;
use crate::metadata::config::Config;
use crate::{Error, ErrorKind, Result, ResultExt};

/// What a program does in a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetnsHook {
    /// Looks at all packets of all interfaces.
    Socket,
    /// Takes packets apart in place of the kernel.
    FlowDissector,
    /// Chooses the socket for a packet or connection that comes in.
    SkLookup,
    /// Is one of the steps of netfilter.
    Netfilter(NetfilterHook),
}

/// Which step of netfilter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetfilterHook {
    family: u32,
    hook: u32,
    priority: i32,
}

const FAMILIES: [(&str, i32); 2] = [("ipv4", libc::NFPROTO_IPV4), ("ipv6", libc::NFPROTO_IPV6)];
const HOOKS: [(&str, i32); 5] = [
    ("prerouting", libc::NF_INET_PRE_ROUTING),
    ("input", libc::NF_INET_LOCAL_IN),
    ("forward", libc::NF_INET_FORWARD),
    ("output", libc::NF_INET_LOCAL_OUT),
    ("postrouting", libc::NF_INET_POST_ROUTING),
];

impl NetfilterHook {
    /// Reads `programs.<name>.netfilter` of a gadget's configuration: `family`, `hook` and `priority`.
    pub(super) fn read(name: &str, config: &Config) -> Result<Self> {
        let choose = |key: &str, from: &[(&str, i32)]| {
            let path = format!("programs.{name}.netfilter.{key}");
            let known = from.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            let value = config.get_str(&path).unwrap_or_default();
            match from.iter().find(|(word, _)| *word == value) {
                Some((_, number)) => Ok(*number as u32),
                None => Err(Error::invalid(format!(
                    "netfilter.{key} of program {name:?} is {value:?}, not one of {known}"
                ))),
            }
        };
        let priority = config.get_int(&format!("programs.{name}.netfilter.priority"))?;
        Ok(Self {
            family: choose("family", &FAMILIES)?,
            hook: choose("hook", &HOOKS)?,
            priority: i32::try_from(priority.unwrap_or(0))
                .map_err(|_| Error::invalid(format!("netfilter.priority of program {name:?} is too large")))?,
        })
    }

    fn link(self, program: &LoadedProgram) -> nix::Result<OwnedFd> {
        let mut options = sys::link_options();
        options.__bindgen_anon_1.netfilter = libbpf_sys::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_5 {
            pf: self.family,
            hooknum: self.hook,
            priority: self.priority,
            flags: 0,
        };
        sys::create_link(program.fd.as_fd(), 0, libbpf_sys::BPF_NETFILTER, &options)
    }
}

/// A program for network namespaces.
#[derive(Debug)]
pub(in crate::ebpf) struct NetnsProgram {
    program: LoadedProgram,
    hook: NetnsHook,
    /// Of packet filters, which want to know where they are.
    dispatch: Option<Dispatch>,
}

impl NetnsProgram {
    pub(in crate::ebpf) fn new(program: LoadedProgram, hook: NetnsHook) -> Result<Self> {
        let dispatch = match hook {
            NetnsHook::Socket => Some(Dispatch::new(
                program.fd.as_fd(),
                libbpf_sys::BPF_PROG_TYPE_SOCKET_FILTER,
                program.attach_type,
                0,
            )?),
            _ => None,
        };
        Ok(Self {
            program,
            hook,
            dispatch,
        })
    }

    fn attach(&self, inode: u64, namespace: &File) -> Result<Attachment> {
        let link = |kind, options: &libbpf_sys::bpf_link_create_opts| {
            sys::create_link(self.program.fd.as_fd(), namespace.as_raw_fd(), kind, options)
        };
        match (self.hook, &self.dispatch) {
            (NetnsHook::Socket, Some(dispatch)) => {
                let program = dispatch.for_namespace(inode)?;
                let socket = inside(namespace, || packet_socket(&program))?;
                Ok(Attachment::new(socket))
            }
            (NetnsHook::Socket, None) => Err(Error::new(ErrorKind::Other, "a packet filter without a dispatcher")),
            (NetnsHook::FlowDissector, _) => link(libbpf_sys::BPF_FLOW_DISSECTOR, &sys::link_options())
                .map(Attachment::new)
                .map_err(|error| {
                    let hint = match error {
                        Errno::EEXIST | Errno::EBUSY => {
                            "a namespace has one flow dissector, and that of the host is the one of all"
                        }
                        _ => "links on network namespaces need Linux 5.8",
                    };
                    Error::from(error).context("flow_dissector").with_hint(hint)
                }),
            (NetnsHook::SkLookup, _) => link(libbpf_sys::BPF_SK_LOOKUP, &sys::link_options())
                .map(Attachment::new)
                .map_err(|error| {
                    Error::from(error)
                        .context("sk_lookup")
                        .with_hint("sk_lookup needs Linux 5.9")
                }),
            (NetnsHook::Netfilter(step), _) => {
                // The namespace is that of whoever creates the link.
                inside(namespace, || {
                    step.link(&self.program).map(Attachment::new).map_err(|error| {
                        Error::from(error)
                            .context("netfilter")
                            .with_hint("netfilter programs need Linux 6.4; one priority of one hook is for one program")
                    })
                })
            }
        }
    }
}

/// The network namespaces of a run.
pub(super) struct NetworkNamespaces;

impl Sites for NetworkNamespaces {
    type Site = File;
    type Program = NetnsProgram;

    fn name(program: &NetnsProgram) -> &str {
        &program.program.name
    }

    fn find(&self, place: &Place) -> Result<Vec<(u64, File)>> {
        let namespace = place.network_namespace()?;
        let inode = namespace.metadata()?.ino();
        Ok(vec![(inode, namespace)])
    }

    fn attach(&self, program: &NetnsProgram, inode: u64, namespace: &File) -> Result<Attachment> {
        program.attach(inode, namespace)
    }
}

/// Attaches for a moment in an empty namespace that nobody else is in.
pub(super) fn attempt(program: NetnsProgram) -> Result<()> {
    in_a_thread(|| {
        let namespace = new_namespace()?;
        let inode = namespace.metadata()?.ino();
        program.attach(inode, &namespace).map(drop)
    })
}

/// Moves this thread into a new network namespace, in which there is nothing but `lo`, which is down.
pub(super) fn new_namespace() -> Result<File> {
    unshare(CloneFlags::CLONE_NEWNET).context("creating a network namespace")?;
    File::open("/proc/thread-self/ns/net").context("opening the new network namespace")
}

/// Does `work` in `namespace`, on a thread of its own if that is not where we are: no other thread is ever seen in a foreign namespace.
pub(super) fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let here = std::fs::metadata("/proc/thread-self/ns/net").map(|metadata| metadata.ino());
    if here.is_ok_and(|here| namespace.metadata().is_ok_and(|there| there.ino() == here)) {
        return work();
    }
    in_a_thread(|| {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).context("entering the network namespace")?;
        work()
    })
}

/// A socket that sees all packets of this thread's network namespace from the moment on when `filter` looks at them.
fn packet_socket(filter: &OwnedFd) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    // Without a protocol it sees nothing yet.
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None).context("opening a packet socket")?;
    // A program that keeps packets keeps a few only.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &0);
    sys::attach_filter(socket.as_fd(), filter.as_fd()).context("attaching to a packet socket")?;
    sys::bind_to_all_packets(socket.as_fd()).context("binding a packet socket")?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_netfilter() {
        let read = |yaml: &str| NetfilterHook::read("p", &Config::parse(yaml.as_bytes()).unwrap());
        assert_eq!(
            read("programs: {p: {netfilter: {family: ipv6, hook: output, priority: -128}}}").unwrap(),
            NetfilterHook {
                family: 10,
                hook: 3,
                priority: -128
            }
        );
        let error = read("programs: {p: {netfilter: {family: ipv4, hook: out}}}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "netfilter.hook of program \"p\" is \"out\", not one of prerouting, input, forward, output, postrouting"
        );
        assert!(read("programs: {p: {}}").is_err());
    }
}
