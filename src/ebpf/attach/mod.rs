//! Attaching programs: one file per program family.
//!
//! A program's section says its family and its target; the gadget's configuration can say another target. A family that this
//! version does not attach is refused by name.

mod cgroup;
mod dispatcher;
pub(in crate::ebpf) mod freplace;
mod interface;
mod iter;
mod kprobe;
mod kprobe_multi;
mod netlink;
mod netns;
mod perf_event;
mod raw_tracepoint;
mod section;
mod sites;
mod sockmap;
mod sys;
mod trace;
mod tracepoint;
pub(in crate::ebpf) mod uprobe;
mod waiting;

use std::os::fd::{BorrowedFd, OwnedFd};

use libbpf_rs::{Link, MapMut, ProgramInput, ProgramMut};

use self::cgroup::ControlGroups;
pub use self::interface::InterfaceHook;
pub(in crate::ebpf) use self::interface::InterfaceProgram;
use self::interface::Interfaces;
pub use self::iter::IterKind;
pub(in crate::ebpf) use self::netns::NetnsProgram;
use self::netns::NetworkNamespaces;
pub use self::netns::{NetfilterHook, NetnsHook};
pub use self::perf_event::PerfSettings;
pub use self::section::{DISABLED, Section};
pub use self::sites::Attachment;
pub(in crate::ebpf) use self::sites::LoadedProgram;
use self::sites::PerSite;
pub use self::uprobe::parsers;
pub use self::uprobe::{Binary, Point, Target};
use self::waiting::WaitsForInterfaces;
use super::features::Feature;
use super::print;
use crate::containers::{Host, PlaceAttachment};
use crate::{Error, Result, ResultExt};

/// Attaches a loaded program to the one place that it has. Nothing when it is disabled, has run, or is for places that come and go.
pub(in crate::ebpf) fn attach(program: &mut ProgramMut<'_>, section: &Section) -> Result<Vec<Attachment>> {
    let name = program.name().to_string_lossy().into_owned();
    let one = |link: Result<Link>| link.map(|link| vec![Attachment::new(link)]);
    let (result, log) = print::capture(|| match section {
        Section::Disabled => {
            tracing::debug!("program {name:?} is disabled: not attached");
            Ok(Vec::new())
        }
        Section::Tracepoint { group, name } => one(tracepoint::attach(program, group, name)),
        Section::RawTracepoint { name } => one(raw_tracepoint::attach(program, name)),
        Section::Tracing { family, target } => one(trace::attach(program, family, target)),
        Section::Kprobe { symbol, on_return } => one(kprobe::attach(program, symbol, *on_return)),
        Section::KprobeMulti { pattern, on_return } => one(kprobe_multi::attach(program, pattern, *on_return)),
        Section::KprobeSession { pattern } => {
            kprobe_multi::attach_session(program, pattern).map(|link| vec![Attachment::new(link)])
        }
        Section::Ksyscall { name, on_return } => one(kprobe_multi::attach_syscall(program, name, *on_return)),
        Section::PerfEvent(settings) => {
            perf_event::attach(program, *settings).map(|links| links.into_iter().map(Attachment::new).collect())
        }
        Section::Freplace { function, .. } => one(freplace::attach(program, function)),
        Section::RunOnce => run_once(program).map(|()| Vec::new()),
        // By a follower, in every place; with their struct; or by the functions below, which need more than the program.
        Section::Uprobe(_)
        | Section::Netns(_)
        | Section::Interface(_)
        | Section::Cgroup
        | Section::StructOps
        | Section::Sockops
        | Section::Iter { .. } => Ok(Vec::new()),
        Section::SockMap { .. } | Section::Invalid { .. } | Section::Unsupported { .. } => {
            section.check(&name).map(|()| Vec::new())
        }
    });
    drop(log);
    result.with_context(|| format!("attaching eBPF program {name:?}"))
}

/// Makes an iterator that can be opened. `map` is the one that it walks, if it walks a map.
pub(in crate::ebpf) fn attach_iterator(
    program: &ProgramMut<'_>,
    kind: IterKind,
    map: Option<BorrowedFd<'_>>,
) -> Result<Link> {
    print::capture(|| iter::attach(program, kind, map)).0
}

/// Runs the program for the sockets that are in `map`.
pub(in crate::ebpf) fn attach_socket_map(program: LoadedProgram, map: OwnedFd) -> Result<Attachment> {
    sockmap::attach(program, map)
}

/// Attaches to the root of the control groups.
pub(in crate::ebpf) fn attach_to_root_cgroup(program: &LoadedProgram) -> Result<Attachment> {
    cgroup::attach_to_root(program)
}

/// Attaches to the network interface of this name, of our own network namespace.
pub(in crate::ebpf) fn attach_to_interface(program: InterfaceProgram, name: &str) -> Result<Attachment> {
    let host = Host::from_env();
    let attachment = Interfaces { host }.attach_to(name, &program)?;
    // A dispatcher works as long as what it jumps to is held.
    Ok(Attachment::new((attachment, program)))
}

/// Registers a struct of operations.
pub(in crate::ebpf) fn attach_operations(map: &mut MapMut<'_>) -> Result<Attachment> {
    let (link, _) = print::capture(|| map.attach_struct_ops());
    link.map(Attachment::new).map_err(|error| failed("struct_ops", &error))
}

/// Keeps `programs` attached in the network namespaces of a run.
pub(in crate::ebpf) fn in_network_namespaces(programs: Vec<NetnsProgram>) -> Option<Box<dyn PlaceAttachment>> {
    boxed(programs, |programs| PerSite::new(NetworkNamespaces, programs))
}

/// Keeps `programs` attached on the control groups of a run.
pub(in crate::ebpf) fn on_control_groups(programs: Vec<LoadedProgram>) -> Option<Box<dyn PlaceAttachment>> {
    boxed(programs, |programs| PerSite::new(ControlGroups::default(), programs))
}

/// Keeps `programs` attached on the network interfaces of a run.
pub(in crate::ebpf) fn on_interfaces(programs: Vec<InterfaceProgram>) -> Option<Box<dyn PlaceAttachment>> {
    let host = Host::from_env();
    boxed(programs, |programs| {
        let attached = PerSite::new(Interfaces { host: host.clone() }, programs);
        WaitsForInterfaces::new(attached, host)
    })
}

fn boxed<P, A: PlaceAttachment + 'static>(
    programs: Vec<P>,
    make: impl FnOnce(Vec<P>) -> A,
) -> Option<Box<dyn PlaceAttachment>> {
    (!programs.is_empty()).then(|| Box::new(make(programs)) as Box<dyn PlaceAttachment>)
}

/// Attaches for a moment in a network namespace that is made for it.
pub(in crate::ebpf) fn attempt_in_namespace(program: NetnsProgram) -> Result<()> {
    netns::attempt(program)
}

/// Attaches for a moment to an interface that is made for it.
pub(in crate::ebpf) fn attempt_on_interface(program: &InterfaceProgram) -> Result<()> {
    interface::attempt(program)
}

/// Attaches for a moment to a control group that is made for it.
pub(in crate::ebpf) fn attempt_on_control_group(program: &LoadedProgram) -> Result<()> {
    cgroup::attempt(program)
}

/// Runs a program of section `syscall`.
fn run_once(program: &ProgramMut<'_>) -> Result<()> {
    let output = program
        .test_run(ProgramInput::default())
        .map_err(|error| failed("running it", &error).with_hint(Feature::SyscallPrograms.advice()))?;
    match output.return_value as i32 {
        0 => Ok(()),
        code => Err(Error::new(crate::ErrorKind::Other, format!("it returned {code}"))),
    }
}

/// An attach error of libbpf as ours, saying what was looked for.
fn failed(what: &str, error: &libbpf_rs::Error) -> Error {
    let kind = match error.kind() {
        libbpf_rs::ErrorKind::NotFound => crate::ErrorKind::NotFound,
        libbpf_rs::ErrorKind::PermissionDenied => crate::ErrorKind::Permission,
        _ => crate::ErrorKind::Unsupported,
    };
    // With its causes: the last one is the kernel's word.
    Error::new(kind, format!("{what}: {error:#}"))
}
