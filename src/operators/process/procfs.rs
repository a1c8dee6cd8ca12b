//! Reading `/proc`, without an allocation for each process.

use std::fmt::Write;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};

use crate::{Error, Result, ResultExt};

/// A `/proc` directory that is open.
#[derive(Debug)]
pub(crate) struct Proc {
    dir: OwnedFd,
}

/// What reading needs from process to process.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    path: String,
    content: Vec<u8>,
}

/// What most files of a process fit in.
const ENOUGH: usize = 4096;
/// No file that is read here is larger, the list of a process's groups included.
const MAX_FILE: usize = 1 << 20;

impl Proc {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let dir = nix::fcntl::open(
            path,
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { dir })
    }

    /// Appends the ids of all processes.
    pub(crate) fn pids(&self, pids: &mut Vec<u32>) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(&self.dir, ".", flags, Mode::empty()).context("listing processes")?;
        for entry in dir.iter() {
            let entry = entry.context("listing processes")?;
            if let Some(pid) = number(entry.file_name().to_bytes()).and_then(|pid| u32::try_from(pid).ok()) {
                pids.push(pid);
            }
        }
        Ok(())
    }

    /// The content of the file `name` of a process. `None` if it cannot be read, because the process has ended for one.
    pub(crate) fn read<'b>(&self, pid: u32, name: &str, buffers: &'b mut Buffers) -> Option<&'b [u8]> {
        buffers.set_path(pid, name);
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, buffers.path.as_str(), flags, Mode::empty()).ok()?;
        let content = &mut buffers.content;
        let mut length = 0;
        loop {
            if content.len() < length + ENOUGH {
                content.resize(length + ENOUGH, 0);
            }
            let room = content.len() - length;
            match nix::unistd::read(file.as_fd(), &mut content[length..]) {
                Ok(read) => {
                    length += read;
                    // These files are handed out whole, as far as there is room.
                    if read < room || length >= MAX_FILE {
                        return content.get(..length);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// The mount namespace of a process; 0 if it cannot be told.
    pub(crate) fn mount_namespace(&self, pid: u32, buffers: &mut Buffers) -> u64 {
        buffers.set_path(pid, "ns/mnt");
        fstatat(&self.dir, buffers.path.as_str(), AtFlags::empty()).map_or(0, |stat| stat.st_ino)
    }
}

impl Buffers {
    fn set_path(&mut self, pid: u32, name: &str) {
        self.path.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.path, "{pid}/{name}");
    }
}

/// What does not change while the machine is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// When it was started, in seconds after the epoch.
    pub(super) boot_time: i64,
    /// CPUs that are on; at least one.
    pub(super) cpus: u64,
    /// Bytes of memory.
    pub(super) memory: u64,
}

impl Machine {
    pub(super) fn read(proc: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = proc.join(name);
            fs::read(&path).with_context(|| format!("reading {}", path.display()))
        };
        let missing = |what: &str| Error::invalid(format!("{}: no {what}", proc.display()));
        let (stat, meminfo) = (read("stat")?, read("meminfo")?);
        let boot_time = lines(&stat)
            .find_map(|line| number(line.strip_prefix(b"btime ")?))
            .ok_or_else(|| missing("btime in stat"))?;
        let is_cpu = |line: &&[u8]| {
            line.strip_prefix(b"cpu")
                .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
        };
        let memory = lines(&meminfo)
            .find_map(|line| kilobytes(line.strip_prefix(b"MemTotal:")?))
            .ok_or_else(|| missing("MemTotal in meminfo"))?;
        Ok(Self {
            boot_time: i64::try_from(boot_time).unwrap_or(0),
            cpus: (lines(&stat).filter(is_cpu).count() as u64).max(1),
            memory,
        })
    }
}

/// What `status` of a process says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) comm: Comm,
    pub(super) ppid: u32,
    pub(super) state: u8,
    pub(super) uid: u32,
    pub(super) virtual_bytes: u64,
    pub(super) resident_bytes: u64,
    pub(super) shared_bytes: u64,
    pub(super) threads: u32,
}

/// A name, which the kernel keeps short.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Comm {
    bytes: [u8; 64],
    length: u8,
}

impl Default for Comm {
    fn default() -> Self {
        Self {
            bytes: [0; 64],
            length: 0,
        }
    }
}

impl std::fmt::Debug for Comm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

impl Comm {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The name of which `escaped` is what `status` shows.
    pub(super) fn unescape(escaped: &[u8]) -> Self {
        let mut comm = Self::default();
        let mut rest = escaped;
        while let Some((&first, after)) = rest.split_first() {
            let (byte, used) = match (first, after.first()) {
                (b'\\', Some(b'f')) => (0x0c, 2),
                (b'\\', Some(b'n')) => (b'\n', 2),
                (b'\\', Some(b'r')) => (b'\r', 2),
                (b'\\', Some(b't')) => (b'\t', 2),
                (b'\\', Some(b'v')) => (0x0b, 2),
                (b'\\', Some(b'a')) => (0x07, 2),
                (b'\\', Some(b'e')) => (0x1b, 2),
                (b'\\', Some(&escaped @ (b'"' | b'\\'))) => (escaped, 2),
                _ => (first, 1),
            };
            let Some(place) = comm.bytes.get_mut(usize::from(comm.length)) else {
                break;
            };
            *place = byte;
            comm.length += 1;
            rest = rest.get(used..).unwrap_or_default();
        }
        comm
    }
}

impl Status {
    /// Reads a `status` file. What is not there, as the memory of kernel threads, is zero.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut status = Self::default();
        for line in lines(text) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let (key, value) = (&line[..colon], &line[colon + 1..]);
            let first = || number(value).and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
            match key {
                b"Name" => status.comm = Comm::unescape(value.strip_prefix(b"\t").unwrap_or(value)),
                b"State" => status.state = value.trim_ascii_start().first().copied().unwrap_or(0),
                b"PPid" => status.ppid = first(),
                b"Uid" => status.uid = first(),
                b"VmSize" => status.virtual_bytes = kilobytes(value).unwrap_or(0),
                b"VmRSS" => status.resident_bytes = kilobytes(value).unwrap_or(0),
                b"RssFile" | b"RssShmem" => status.shared_bytes += kilobytes(value).unwrap_or(0),
                b"Threads" => {
                    status.threads = first();
                    // The last of those that matter.
                    break;
                }
                _ => {}
            }
        }
        status
    }
}

/// What `stat` of a process says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    /// CPU time in ticks.
    pub(super) cpu: u64,
    pub(super) priority: i64,
    pub(super) nice: i64,
    /// Ticks after boot.
    pub(super) start: u64,
}

impl Stat {
    /// Reads a `stat` file; `None` if it is not one.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        // The name, in parentheses, may hold anything.
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = text
            .get(close + 1..)?
            .split(|byte| *byte == b' ')
            .filter(|field| !field.is_empty());
        // The first field after the name is the third of all; each call goes on from where the one before was.
        let user = number(fields.nth(14 - 3)?)?;
        let system = number(fields.next()?)?;
        let priority = signed(fields.nth(2)?)?;
        let nice = signed(fields.next()?)?;
        let start = number(fields.nth(2)?)?;
        Some(Self {
            cpu: user.saturating_add(system),
            priority,
            nice,
            start,
        })
    }
}

/// The lines of a text.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

/// The decimal number that a text begins with, after blanks. `None` if there is none, or if it goes on with something else than a
/// blank or a line break.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let length = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    if length == 0 || text.get(length).is_some_and(|byte| !byte.is_ascii_whitespace()) {
        return None;
    }
    text[..length].iter().try_fold(0u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => Some(-i64::try_from(number(digits)?).ok()?),
        None => i64::try_from(number(text)?).ok(),
    }
}

/// The bytes of a text such as `  1024 kB`.
fn kilobytes(text: &[u8]) -> Option<u64> {
    number(text)?.checked_mul(1024)
}
