//! Programs of network interfaces: tc classifiers and XDP.
//!
//! A container's interface is usually one end of a pair whose other end is on the host. That end is where programs are attached: who is
//! inside can neither see nor remove them. What the container receives leaves the host's end, so directions are turned round: a gadget
//! says `ingress` and means the container's. The host itself has the interfaces of its devices, and a run can be restricted to one that is named.
//!
//! Classifiers have links since Linux 6.6 (tcx), which end with this process however it ends. Before, they are filters of a `clsact` queueing
//! discipline, as `tc` makes them: these are deleted at the end; those of a run that was killed do nothing any more, and go when the next
//! run comes across them. The discipline itself stays, since others may have filters there.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use libbpf_rs::{TC_EGRESS, TC_INGRESS, TcHook, TcHookBuilder};
use nix::errno::Errno;

use super::dispatcher::{self, Dispatch};
use super::netlink::{self, Interface};
use super::netns::{inside, new_namespace};
use super::sites::{Attachment, LoadedProgram, Sites};
use super::sys;
use crate::containers::{Host, Place};
use crate::ebpf::apart::in_a_thread;
use crate::{Error, ErrorKind, Result};

/// What a program does at a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceHook {
    /// Looks at packets that come in.
    Ingress,
    /// Looks at packets that go out.
    Egress,
    /// Looks at packets that come in before the kernel has made anything of them.
    Xdp,
}

/// The priority of our filters where there are no links; their handles say which is which.
const PRIORITY: u32 = 1;
const HANDLES: std::ops::RangeInclusive<u32> = 1..=127;
/// Lets the next filter decide.
const TC_ACT_UNSPEC: i32 = -1;
/// XDP behind the driver, where it does not change how the device works.
const XDP_GENERIC: u32 = 1 << 1;
/// Kinds of interfaces that come in pairs.
const PAIRED: [&str; 2] = ["veth", "netkit"];

/// A program for network interfaces.
#[derive(Debug)]
pub(in crate::ebpf) struct InterfaceProgram {
    program: LoadedProgram,
    hook: InterfaceHook,
    /// Of classifiers, which want to know where they are.
    dispatch: Option<Dispatch>,
}

/// An interface of the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    index: i32,
    /// Of those whose packets these are.
    netns: u64,
    /// Whether it is the other end of what the gadget means.
    turned: bool,
    /// Whether XDP is to be kept away from the driver.
    generic: bool,
}

impl InterfaceProgram {
    pub(in crate::ebpf) fn new(program: LoadedProgram, hook: InterfaceHook) -> Result<Self> {
        let dispatch = match hook {
            InterfaceHook::Xdp => None,
            InterfaceHook::Ingress | InterfaceHook::Egress => Some(Dispatch::new(
                program.fd.as_fd(),
                libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
                program.attach_type,
                TC_ACT_UNSPEC,
            )?),
        };
        Ok(Self {
            program,
            hook,
            dispatch,
        })
    }

    /// Attaches in this thread's network namespace. A filter is deleted in `host`.
    fn attach(&self, site: &Site, host: &Host) -> Result<Attachment> {
        let Some(dispatch) = &self.dispatch else {
            let link = |flags| {
                let mut options = sys::link_options();
                options.flags = flags;
                sys::create_link(self.program.fd.as_fd(), site.index, libbpf_sys::BPF_XDP, &options)
            };
            let linked = match site.generic {
                true => link(XDP_GENERIC),
                // A driver may do it only under conditions, which are not met.
                false => link(0).or_else(|_| link(XDP_GENERIC)),
            };
            return linked.map(Attachment::new).map_err(|error| {
                Error::from(error).context("xdp").with_hint(match error {
                    Errno::EBUSY | Errno::EEXIST => "an interface has one XDP program",
                    _ => "links for XDP need Linux 5.9",
                })
            });
        };
        let inwards = (self.hook == InterfaceHook::Ingress) != site.turned;
        let program = dispatch.for_namespace(site.netns)?;
        match tcx(program.as_fd(), site.index, inwards) {
            // What a kernel says that does not know such links.
            Err(Errno::EINVAL) => {}
            linked => {
                return linked
                    .map(Attachment::new)
                    .map_err(|error| Error::from(error).context("tcx"));
            }
        }
        let handle = filter(program.as_fd(), site.index, inwards)?;
        Ok(Attachment::new(Filter {
            program,
            index: site.index,
            inwards,
            handle,
            namespace: Place::host(host.clone()).network_namespace()?,
        }))
    }
}

/// The first of the links there: others may end the row.
fn tcx(program: BorrowedFd<'_>, index: i32, inwards: bool) -> nix::Result<OwnedFd> {
    let kind = match inwards {
        true => libbpf_sys::BPF_TCX_INGRESS,
        false => libbpf_sys::BPF_TCX_EGRESS,
    };
    let mut options = sys::link_options();
    options.flags = libbpf_sys::BPF_F_BEFORE;
    sys::create_link(program, index, kind, &options)
}

/// The place of a filter; `program` is what goes there.
fn hook(program: BorrowedFd<'_>, index: i32, inwards: bool, handle: u32) -> TcHook {
    TcHookBuilder::new(program)
        .ifindex(index)
        .priority(PRIORITY)
        .handle(handle)
        .hook(if inwards { TC_INGRESS } else { TC_EGRESS })
}

/// Makes a filter; returns its handle, the first that is free.
fn filter(program: BorrowedFd<'_>, index: i32, inwards: bool) -> Result<u32> {
    let hook = |handle| hook(program, index, inwards, handle);
    hook(1).create().map_err(|error| {
        Error::unsupported(match error.kind() {
            libbpf_rs::ErrorKind::NotFound => {
                "this kernel has no clsact queueing discipline, which programs on interfaces need before \
                 Linux 6.6: its module sch_ingress is missing"
                    .to_owned()
            }
            _ => format!("creating a clsact queueing discipline: {error:#}"),
        })
    })?;
    let mut cleaned = false;
    for handle in HANDLES {
        match hook(handle).attach() {
            Ok(_) => return Ok(handle),
            Err(error) if error.kind() == libbpf_rs::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::unsupported(format!("creating filter: {error:#}"))),
        }
        let again = !std::mem::replace(&mut cleaned, true) && remove_stale(&hook) > 0;
        if again && hook(handle).attach().is_ok() {
            return Ok(handle);
        }
    }
    Err(Error::new(ErrorKind::Other, "creating filter (too many tries)"))
}

/// Deletes the filters of runs that were killed. Returns how many there were.
fn remove_stale(hook: &impl Fn(u32) -> TcHook) -> usize {
    let mut removed = 0;
    for handle in HANDLES {
        let mut hook = hook(handle);
        if hook.query().is_ok_and(dispatcher::is_stale) && hook.detach().is_ok() {
            removed += 1;
        }
    }
    tracing::debug!("{removed} filters of dead runs removed");
    removed
}

/// Deleted when this is dropped.
struct Filter {
    program: OwnedFd,
    index: i32,
    inwards: bool,
    handle: u32,
    namespace: File,
}

impl Drop for Filter {
    fn drop(&mut self) {
        let (program, index) = (self.program.as_fd(), self.index);
        let (inwards, handle) = (self.inwards, self.handle);
        let deleted = inside(&self.namespace, || {
            hook(program, index, inwards, handle)
                .detach()
                .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
        });
        if let Err(error) = deleted {
            // It goes with its interface, which may be gone already.
            tracing::debug!("deleting a filter of interface {index}: {error}");
        }
    }
}

/// The interfaces of a run.
pub(super) struct Interfaces {
    pub(super) host: Host,
}

impl Interfaces {
    /// The namespace in which the host's ends are.
    fn namespace(&self) -> Result<File> {
        Place::host(self.host.clone()).network_namespace()
    }

    /// Attaches to the interface of this name, of the namespace that we are in ourselves.
    pub(super) fn attach_to(&self, name: &str, program: &InterfaceProgram) -> Result<Attachment> {
        let found = netlink::interfaces()?;
        let Some(interface) = found.iter().find(|interface| interface.name == name) else {
            let names: Vec<&str> = found.iter().map(|interface| interface.name.as_str()).collect();
            return Err(
                Error::not_found(format!("getting interface {name:?}: no such network interface"))
                    .with_hint(format!("there are {}", names.join(", "))),
            );
        };
        let site = Site {
            index: interface.index,
            netns: self.namespace()?.metadata()?.ino(),
            turned: false,
            generic: false,
        };
        program.attach(&site, &self.host)
    }
}

impl Sites for Interfaces {
    type Site = Site;
    type Program = InterfaceProgram;

    fn name(program: &InterfaceProgram) -> &str {
        &program.program.name
    }

    fn find(&self, place: &Place) -> Result<Vec<(u64, Site)>> {
        let host = self.namespace()?;
        let of_host = host.metadata()?.ino();
        let of_place = place.network_namespace()?;
        let netns = of_place.metadata()?.ino();
        if place.container().is_some() && netns == of_host {
            return Ok(Vec::new());
        }
        let outside = inside(&host, netlink::interfaces)?;
        let site = |index: i32, turned: bool| {
            let site = Site {
                index,
                netns,
                turned,
                generic: turned,
            };
            (index as u64, site)
        };
        if place.container().is_none() {
            let devices = outside
                .iter()
                .filter(|interface| interface.up && interface.kind.is_none());
            return Ok(devices.map(|interface| site(interface.index, false)).collect());
        }
        let within = inside(&of_place, netlink::interfaces)?;
        let found = other_ends(&within, &outside);
        if found.is_empty() {
            return Err(Error::not_found("no interface found").with_hint(
                "only interfaces that are pairs (veth, netkit) have an end on the host; --iface names another",
            ));
        }
        Ok(found.into_iter().map(|index| site(index, true)).collect())
    }

    fn attach(&self, program: &InterfaceProgram, _index: u64, site: &Site) -> Result<Attachment> {
        inside(&self.namespace()?, || program.attach(site, &self.host))
    }
}

/// The interfaces `outside` that are the other ends of pairs which are up `within`. Numbers mean something in one namespace only, so
/// that both have to name each other.
fn other_ends(within: &[Interface], outside: &[Interface]) -> Vec<i32> {
    let paired = |interface: &&Interface| interface.kind.as_deref().is_some_and(|kind| PAIRED.contains(&kind));
    within
        .iter()
        .filter(paired)
        .filter(|interface| interface.up)
        .filter_map(|inner| {
            let outer = outside.iter().filter(paired);
            let mut outer = outer.filter(|outer| Some(outer.index) == inner.link && outer.link == Some(inner.index));
            outer.next().map(|outer| outer.index)
        })
        .collect()
}

/// Attaches for a moment to `lo` of an empty namespace that nobody else is in.
pub(super) fn attempt(program: &InterfaceProgram) -> Result<()> {
    in_a_thread(|| {
        let namespace = new_namespace()?;
        let host = Host::new("/");
        let site = Site {
            index: 1,
            netns: namespace.metadata()?.ino(),
            turned: false,
            generic: true,
        };
        // A filter goes with the namespace.
        program.attach(&site, &host).map(drop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: i32, kind: Option<&str>, up: bool, link: Option<i32>) -> Interface {
        Interface {
            index,
            name: format!("if{index}"),
            up,
            kind: kind.map(str::to_owned),
            link,
        }
    }

    #[test]
    fn pairs_name_each_other() {
        let outside = [
            interface(1, None, true, None),
            interface(9, Some("veth"), true, Some(8)),
            interface(11, Some("veth"), true, Some(2)),
            interface(12, Some("bridge"), true, None),
            interface(13, Some("netkit"), true, Some(4)),
            interface(14, Some("veth"), true, Some(5)),
        ];
        let within = [
            interface(1, None, true, None),
            interface(8, Some("veth"), true, Some(9)),
            // The number of an interface of the host, but that one's other end is elsewhere.
            interface(3, Some("veth"), true, Some(11)),
            interface(4, Some("netkit"), true, Some(13)),
            interface(5, Some("veth"), false, Some(14)),
            interface(6, Some("macvlan"), true, Some(12)),
        ];
        assert_eq!(other_ends(&within, &outside), [9, 13]);
        assert!(other_ends(&[], &outside).is_empty());
    }
}
