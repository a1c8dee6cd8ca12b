//! From what `/proc` says to elements.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fields::Value;
use super::procfs::{Buffers, Machine, Proc, Stat, Status};
use crate::containers::Host;
use crate::data::{Accessor, Element, Emitter};
use crate::operators::periodic::Collector;
use crate::{Error, ErrorKind, Result};

/// Ticks in a second, on every architecture there is.
const HERTZ: u64 = 100;
/// From this many processes on, more than one thread reads.
const WORTH_A_THREAD: usize = 256;
const MAX_THREADS: usize = 8;

/// One process at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) status: Status,
    pub(super) stat: Stat,
    pub(super) mntns: u64,
}

/// Which files of a process are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) status: bool,
    pub(super) stat: bool,
    pub(super) mntns: bool,
}

impl Reads {
    pub(super) fn for_values(values: impl IntoIterator<Item = Value>) -> Self {
        let mut reads = Self::default();
        for value in values {
            match value {
                Value::Pid => {}
                Value::ParentPid
                | Value::Comm
                | Value::State
                | Value::Uid
                | Value::MemoryRss
                | Value::MemoryVirtual
                | Value::MemoryShared
                | Value::MemoryRelative
                | Value::ThreadCount => reads.status = true,
                Value::Priority
                | Value::Nice
                | Value::CpuUsage
                | Value::CpuUsageRelative
                | Value::StartTime
                | Value::StartTimeText
                | Value::CpuTime
                | Value::CpuTimeText => reads.stat = true,
                Value::MountNamespace => reads.mntns = true,
            }
        }
        reads
    }

    /// Reads one process; `None` if it has ended.
    fn read(self, proc: &Proc, pid: u32, buffers: &mut Buffers) -> Option<Process> {
        let mut process = Process {
            pid,
            ..Process::default()
        };
        if self.status {
            process.status = Status::parse(proc.read(pid, "status", buffers)?);
        }
        if self.stat {
            process.stat = Stat::parse(proc.read(pid, "stat", buffers)?)?;
        }
        if self.mntns {
            process.mntns = proc.mount_namespace(pid, buffers);
        }
        Some(process)
    }
}

/// CPU time of a process when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Seen {
    start: u64,
    cpu: u64,
}

/// Collects what is wanted of all processes.
pub(super) struct Statistics {
    proc_dir: PathBuf,
    wanted: Vec<(Accessor, Value)>,
    reads: Reads,
    zone: TimeZone,
    /// Opened by the thread that collects.
    opened: Option<(Proc, Machine)>,
    pids: Vec<u32>,
    workers: Vec<Worker>,
    before: HashMap<u32, Seen>,
    now: HashMap<u32, Seen>,
    collected: Option<Instant>,
}

#[derive(Default)]
struct Worker {
    buffers: Buffers,
    processes: Vec<Process>,
}

impl Worker {
    fn read(&mut self, proc: &Proc, reads: Reads, pids: &[u32]) {
        self.processes.clear();
        for pid in pids {
            self.processes.extend(reads.read(proc, *pid, &mut self.buffers));
        }
    }
}

impl Statistics {
    /// Collects the values in `wanted` into the fields beside them.
    pub(super) fn new(host: &Host, wanted: Vec<(Accessor, Value)>) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            proc_dir: host.proc_dir().to_owned(),
            reads: Reads::for_values(wanted.iter().map(|(_, value)| *value)),
            wanted,
            zone: TimeZone::system(),
            opened: None,
            pids: Vec::new(),
            workers: (0..cpus.min(MAX_THREADS)).map(|_| Worker::default()).collect(),
            before: HashMap::new(),
            now: HashMap::new(),
            collected: None,
        }
    }

    #[cfg(test)]
    pub(super) fn in_zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self
    }

    /// Has the workers read all processes.
    fn read(&mut self) -> Result<()> {
        let Some((proc, _)) = &self.opened else {
            return Err(Error::new(ErrorKind::Other, "/proc has not been opened"));
        };
        self.pids.clear();
        proc.pids(&mut self.pids)?;
        let reads = self.reads;
        let threads = if self.pids.len() < WORTH_A_THREAD {
            1
        } else {
            self.workers.len()
        };
        let share = self.pids.len().div_ceil(threads.max(1)).max(1);
        let mut shares = self.pids.chunks(share);
        std::thread::scope(|scope| {
            let mut mine = None;
            for worker in &mut self.workers {
                worker.processes.clear();
                let Some(pids) = shares.next() else { continue };
                if mine.is_none() {
                    mine = Some((worker, pids));
                } else {
                    scope.spawn(move || worker.read(proc, reads, pids));
                }
            }
            if let Some((worker, pids)) = mine {
                worker.read(proc, reads, pids);
            }
        });
        Ok(())
    }
}

impl Collector for Statistics {
    fn enter(&mut self) -> Result<()> {
        let proc = Proc::open(&self.proc_dir)?;
        self.opened = Some((proc, Machine::read(&self.proc_dir)?));
        Ok(())
    }

    fn collect(&mut self, emitter: &Emitter, elements: &mut Vec<Element>) -> Result<()> {
        self.read()?;
        let collected = Instant::now();
        let elapsed = self.collected.replace(collected).map(|before| collected - before);
        let Some((_, machine)) = &self.opened else {
            return Ok(());
        };
        std::mem::swap(&mut self.before, &mut self.now);
        self.now.clear();
        // The elements of the batch before are used again.
        let mut used = std::mem::take(elements).into_iter();
        for process in self.workers.iter().flat_map(|worker| &worker.processes) {
            let Stat { cpu, start, .. } = process.stat;
            let delta = match self.before.get(&process.pid) {
                Some(seen) if seen.start == start && seen.cpu <= cpu => cpu - seen.cpu,
                // The id is that of another process now, all of whose time was spent since then.
                Some(_) => cpu,
                None => 0,
            };
            if self.reads.stat {
                self.now.insert(process.pid, Seen { start, cpu });
            }
            let elapsed = elapsed.map_or(0.0, |elapsed| elapsed.as_secs_f64());
            let usage = if elapsed > 0.0 {
                100.0 * (delta as f64 / HERTZ as f64) / elapsed
            } else {
                0.0
            };
            let mut element = match used.next() {
                Some(mut element) => {
                    element.reset(emitter.layout(), &[]);
                    element
                }
                None => emitter.element(),
            };
            for (accessor, value) in &self.wanted {
                write(*value, process, usage, machine, &self.zone, accessor, &mut element);
            }
            elements.push(element);
        }
        Ok(())
    }
}

fn write(
    value: Value,
    process: &Process,
    usage: f64,
    machine: &Machine,
    zone: &TimeZone,
    to: &Accessor,
    element: &mut Element,
) {
    let Process { status, stat, .. } = process;
    let bits = match value {
        Value::Comm => return to.write(element, |out| out.extend_from_slice(status.comm.as_bytes())),
        Value::State => return to.write(element, |out| out.extend((status.state != 0).then_some(status.state))),
        Value::StartTimeText => {
            let second = machine.boot_time.saturating_add((stat.start / HERTZ) as i64);
            return to.write(element, |out| append_time(second, zone, out));
        }
        Value::CpuTimeText => return to.write(element, |out| append_cpu_time(stat.cpu, out)),
        Value::Pid => u64::from(process.pid),
        Value::ParentPid => u64::from(status.ppid),
        // Cut to a byte, as everywhere.
        Value::Priority => stat.priority as u64,
        Value::Nice => stat.nice as u64,
        Value::CpuUsage => usage.to_bits(),
        Value::CpuUsageRelative => (usage / machine.cpus as f64).to_bits(),
        Value::MemoryRss => status.resident_bytes,
        Value::MemoryVirtual => status.virtual_bytes,
        Value::MemoryShared => status.shared_bytes,
        Value::MemoryRelative => (100.0 * status.resident_bytes as f64 / (machine.memory.max(1)) as f64).to_bits(),
        Value::ThreadCount => u64::from(status.threads),
        Value::Uid => u64::from(status.uid),
        Value::StartTime => stat.start,
        Value::CpuTime => stat.cpu,
        Value::MountNamespace => process.mntns,
    };
    to.set_bits(element, bits);
}

/// RFC 3339, in whole seconds.
fn append_time(second: i64, zone: &TimeZone, out: &mut Vec<u8>) {
    let time = Timestamp::from_second(second).unwrap_or_default();
    let offset = zone.to_offset(time);
    let civil = offset.to_datetime(time);
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        civil.year(),
        civil.month(),
        civil.day(),
        civil.hour(),
        civil.minute(),
        civil.second()
    );
    match offset.seconds() {
        0 => out.push(b'Z'),
        seconds => {
            let sign = if seconds < 0 { '-' } else { '+' };
            let minutes = seconds.abs() / 60;
            let _ = write!(out, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
        }
    }
}

/// Minutes, seconds and thousandths: `62:05.120`.
fn append_cpu_time(ticks: u64, out: &mut Vec<u8>) {
    let milliseconds = ticks.saturating_mul(1000 / HERTZ);
    let seconds = milliseconds / 1000;
    let _ = write!(out, "{}:{:02}.{:03}", seconds / 60, seconds % 60, milliseconds % 1000);
}
