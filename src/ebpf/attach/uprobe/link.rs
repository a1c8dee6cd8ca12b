//! Probes in the kernel: one perf event per place, or one link for many places where the kernel has such links (Linux 6.6).
//!
//! libbpf's functions for this want the program's object, which belongs to another thread; and they would read the
//! binary with parsers that were not written for enemies.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::ebpf::attach::sys::{self, create_link, link_options};
use crate::ebpf::perf_event;
use crate::{Error, ErrorKind, Result, ResultExt};

const PMU: &str = "/sys/bus/event_source/devices/uprobe";
/// Where in a perf event's configuration the offset of a semaphore is.
const SEMAPHORE_SHIFT: u32 = 32;

/// `PERF_EVENT_IOC_ENABLE` and `PERF_EVENT_IOC_SET_BPF`, the same on all architectures that gadgets run on.
const IOC_ENABLE: libc::c_ulong = 0x2400;
const IOC_SET_BPF: libc::c_ulong = 0x4004_2408;

/// A place in a file, with what the program is told when it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// Of the instruction, in the file.
    pub(super) offset: u64,
    /// Of the semaphore, in the file; 0 if there is none.
    pub(super) semaphore: u64,
    /// What `bpf_get_attach_cookie` returns.
    pub(super) cookie: u64,
}

/// Whether a program was loaded for links at many places, which are then the only ones it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ebpf) enum Multi {
    /// It was not.
    No,
    /// It was, for entries or for returns.
    Yes,
    /// It was, and runs at both ends of each call.
    Session,
}

/// An attached program. It is detached when this is dropped.
#[derive(Debug)]
pub(super) struct Probe {
    // A link is closed before its event.
    _link: Option<OwnedFd>,
    _event: Option<OwnedFd>,
}

/// Attaches `program` at `points` of the file behind the descriptor `file`, in every process.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    points: &[Point],
    on_return: bool,
    multi: Multi,
) -> Result<Vec<Probe>> {
    let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .map_err(|_| Error::invalid("a path with a zero byte"))?;
    if multi != Multi::No {
        return attach_multi(program, &path, points, on_return, multi).map(|probe| vec![probe]);
    }
    points
        .iter()
        .map(|point| attach_one(program, &path, *point, on_return))
        .collect()
}

fn attach_one(program: BorrowedFd<'_>, path: &CString, point: Point, on_return: bool) -> Result<Probe> {
    let pmu = Pmu::of_kernel()?;
    if point.semaphore > 0 && !pmu.semaphores {
        return Err(Error::unsupported(
            "the static probe has a semaphore, which needs Linux 4.20",
        ));
    }
    let semaphore = u32::try_from(point.semaphore)
        .map_err(|_| Error::unsupported("the static probe's semaphore is beyond the first 4 GiB of its file"))?;
    let mut attr = libbpf_sys::perf_event_attr {
        type_: pmu.kind,
        size: size_of::<libbpf_sys::perf_event_attr>() as u32,
        config: u64::from(semaphore) << SEMAPHORE_SHIFT | u64::from(on_return) << pmu.return_bit,
        ..Default::default()
    };
    attr.__bindgen_anon_3.uprobe_path = path.as_ptr() as u64;
    attr.__bindgen_anon_4.probe_offset = point.offset;
    // Programs run on every CPU, whatever the event says.
    let event = perf_event::open(&attr, 0).map_err(|error| match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => Error::from(error).context("opening a perf event"),
        _ => Error::from(error).context(format!("probing offset {:#x}", point.offset)),
    })?;
    let mut link = None;
    if point.cookie != 0 {
        link = Some(cookie_link(program, &event, point.cookie)?);
    } else {
        command(&event, IOC_SET_BPF, program.as_raw_fd()).context("giving a perf event its program")?;
    }
    command(&event, IOC_ENABLE, 0).context("enabling a perf event")?;
    Ok(Probe {
        _link: link,
        _event: Some(event),
    })
}

fn command(event: &OwnedFd, command: libc::c_ulong, argument: i32) -> nix::Result<()> {
    // SAFETY: an open descriptor of a perf event, and a command whose argument is a number.
    Errno::result(unsafe { libc::ioctl(event.as_raw_fd(), command as _, argument) }).map(drop)
}

/// Attaches with a cookie, which perf events have since Linux 5.15.
fn cookie_link(program: BorrowedFd<'_>, event: &OwnedFd, cookie: u64) -> Result<OwnedFd> {
    let mut options = link_options();
    options.__bindgen_anon_1.perf_event.bpf_cookie = cookie;
    create_link(program, event.as_raw_fd(), libbpf_sys::BPF_PERF_EVENT, &options)
        .map_err(|error| Error::from(error).context("arguments of static probes need Linux 5.15"))
}

fn attach_multi(
    program: BorrowedFd<'_>,
    path: &CString,
    points: &[Point],
    on_return: bool,
    multi: Multi,
) -> Result<Probe> {
    let offsets: Vec<libc::c_ulong> = points.iter().map(|point| point.offset as libc::c_ulong).collect();
    let semaphores: Vec<libc::c_ulong> = points.iter().map(|point| point.semaphore as libc::c_ulong).collect();
    let cookies: Vec<u64> = points.iter().map(|point| point.cookie).collect();
    let mut options = link_options();
    options.__bindgen_anon_1.uprobe_multi = libbpf_sys::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_3 {
        flags: u32::from(on_return) * libbpf_sys::BPF_F_UPROBE_MULTI_RETURN,
        cnt: u32::try_from(points.len()).unwrap_or(u32::MAX),
        path: path.as_ptr(),
        offsets: offsets.as_ptr(),
        ref_ctr_offsets: semaphores.as_ptr(),
        cookies: cookies.as_ptr(),
        ..Default::default()
    };
    let kind = match multi {
        Multi::Session => libbpf_sys::BPF_TRACE_UPROBE_SESSION,
        Multi::No | Multi::Yes => libbpf_sys::BPF_TRACE_UPROBE_MULTI,
    };
    let link = create_link(program, 0, kind, &options)
        .map_err(|error| Error::from(error).context(format!("probing {} places", points.len())))?;
    Ok(Probe {
        _link: Some(link),
        _event: None,
    })
}

/// Whether one link can be at many places (and a program be loaded for such links).
///
/// Tries to attach to a directory: a kernel that knows such links complains about that, others about the link.
pub(in crate::ebpf) fn probe_multi() -> bool {
    let instructions = [
        // r0 = 0; exit
        libbpf_sys::bpf_insn {
            code: (libbpf_sys::BPF_ALU64 | libbpf_sys::BPF_MOV | libbpf_sys::BPF_K) as u8,
            ..Default::default()
        },
        libbpf_sys::bpf_insn {
            code: (libbpf_sys::BPF_JMP | libbpf_sys::BPF_EXIT) as u8,
            ..Default::default()
        },
    ];
    let kind = libbpf_sys::BPF_TRACE_UPROBE_MULTI;
    let Ok(program) = sys::load(libbpf_sys::BPF_PROG_TYPE_KPROBE, c"ig_probe", kind, &instructions) else {
        return false;
    };
    let (path, offset) = (c"/".to_owned(), 0);
    let mut options = link_options();
    options.__bindgen_anon_1.uprobe_multi = libbpf_sys::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_3 {
        cnt: 1,
        path: path.as_ptr(),
        offsets: &raw const offset,
        ..Default::default()
    };
    let program = std::os::fd::AsFd::as_fd(&program);
    create_link(program, -1, libbpf_sys::BPF_TRACE_UPROBE_MULTI, &options).is_err_and(|error| error == Errno::EBADF)
}

/// Whether anything can be probed at all.
pub(super) fn has_uprobes() -> bool {
    std::path::Path::new(PMU).exists()
}

/// What the kernel says of its perf events for uprobes.
#[derive(Clone, Copy)]
struct Pmu {
    kind: u32,
    return_bit: u32,
    semaphores: bool,
}

impl Pmu {
    fn of_kernel() -> Result<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("{PMU}/{name}"));
        let missing = || {
            Error::new(
                ErrorKind::Unsupported,
                format!("this kernel has no uprobes (no {PMU}; CONFIG_UPROBE_EVENTS)"),
            )
        };
        let kind = read("type")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(missing)?;
        let return_bit = read("format/retprobe").ok();
        let return_bit = return_bit.and_then(|text| text.trim().strip_prefix("config:")?.parse().ok());
        Ok(Self {
            kind,
            return_bit: return_bit.unwrap_or(0),
            semaphores: read("format/ref_ctr_offset").is_ok(),
        })
    }
}
