//! From the files of control groups to elements.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::files::{Counters, Limit, Pressure, unified_path};
use crate::containers::{Host, cgroup};
use crate::data::{Accessor, Element, Emitter};
use crate::operators::periodic::Collector;
use crate::operators::process::procfs::{Buffers, Proc};
use crate::{Error, ErrorKind, Result};

const NANOSECONDS: u64 = 1000;

/// A value of a control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Path,
    Periods,
    Throttled,
    ThrottledTime,
    ThrottleRatio,
    Quota,
    Period,
    LimitCores,
    PressureAvg10,
    PressureAvg60,
    MountNamespace,
}

/// A group that was held back since the last look.
#[derive(Clone, Debug, PartialEq)]
struct Row<'a> {
    path: &'a str,
    limit: Limit,
    delta: Counters,
    pressure: Pressure,
    mntns: u64,
}

/// Collects what is wanted of all groups with a limit.
pub(super) struct Throttling {
    host: Host,
    mount: PathBuf,
    wanted: Vec<(Accessor, Value)>,
    /// Opened by the thread that collects.
    proc: Option<Proc>,
    pids: Vec<u32>,
    buffers: Buffers,
    before: HashMap<String, Counters>,
}

impl Throttling {
    /// Collects the values in `wanted` into the fields beside them. `mount` is where cgroup2 is mounted.
    pub(super) fn new(host: &Host, mount: PathBuf, wanted: Vec<(Accessor, Value)>) -> Self {
        Self {
            host: host.clone(),
            mount,
            wanted,
            proc: None,
            pids: Vec::new(),
            buffers: Buffers::default(),
            before: HashMap::new(),
        }
    }

    /// The paths of all groups that have processes, each with one of these.
    fn groups(&mut self) -> Result<Vec<(String, u32)>> {
        let Some(proc) = &self.proc else {
            return Err(Error::new(ErrorKind::Other, "/proc has not been opened"));
        };
        self.pids.clear();
        proc.pids(&mut self.pids)?;
        let mut seen: HashSet<String> = HashSet::new();
        let mut groups = Vec::new();
        for pid in &self.pids {
            let path = proc.read(*pid, "cgroup", &mut self.buffers).and_then(unified_path);
            if let Some(path) = path.filter(|path| !seen.contains(*path)) {
                seen.insert(path.to_owned());
                groups.push((path.to_owned(), *pid));
            }
        }
        Ok(groups)
    }
}

fn read(dir: &Path, name: &str) -> Option<Vec<u8>> {
    fs::read(dir.join(name)).ok()
}

impl Collector for Throttling {
    fn enter(&mut self) -> Result<()> {
        cgroup::enter_host_namespace(&self.host)?;
        self.proc = Some(Proc::open(self.host.proc_dir())?);
        Ok(())
    }

    fn collect(&mut self, emitter: &Emitter, elements: &mut Vec<Element>) -> Result<()> {
        elements.clear();
        let groups = self.groups()?;
        let mut now = HashMap::with_capacity(self.before.len());
        for (path, pid) in groups {
            let dir = self.mount.join(path.trim_start_matches('/'));
            let Some(limit) = read(&dir, "cpu.max").and_then(|text| Limit::parse(&text)) else {
                continue;
            };
            let Some(counters) = read(&dir, "cpu.stat").map(|text| Counters::parse(&text)) else {
                continue;
            };
            let delta = self.before.get(&path).map(|before| counters.since(*before));
            if let Some(delta) = delta.filter(|delta| delta.periods != 0 || delta.throttled != 0) {
                let proc = self.proc.as_ref();
                let row = Row {
                    path: &path,
                    limit,
                    delta,
                    pressure: read(&dir, "cpu.pressure").map_or_else(Pressure::default, |text| Pressure::parse(&text)),
                    mntns: proc.map_or(0, |proc| proc.mount_namespace(pid, &mut self.buffers)),
                };
                let mut element = emitter.element();
                for (accessor, value) in &self.wanted {
                    row.write(*value, accessor, &mut element);
                }
                elements.push(element);
            }
            now.insert(path, counters);
        }
        self.before = now;
        Ok(())
    }
}

impl Row<'_> {
    fn write(&self, value: Value, to: &Accessor, element: &mut Element) {
        let ratio = |a: u64, b: u64, scale: f64| if b == 0 { 0.0 } else { a as f64 / b as f64 * scale };
        let bits = match value {
            Value::Path => return to.write(element, |out| out.extend_from_slice(self.path.as_bytes())),
            Value::Periods => self.delta.periods,
            Value::Throttled => self.delta.throttled,
            Value::ThrottledTime => self.delta.throttled_usec.saturating_mul(NANOSECONDS),
            Value::ThrottleRatio => ratio(self.delta.throttled, self.delta.periods, 100.0).to_bits(),
            Value::Quota => self.limit.quota.saturating_mul(NANOSECONDS),
            Value::Period => self.limit.period.saturating_mul(NANOSECONDS),
            Value::LimitCores => ratio(self.limit.quota, self.limit.period, 1.0).to_bits(),
            Value::PressureAvg10 => self.pressure.avg10.to_bits(),
            Value::PressureAvg60 => self.pressure.avg60.to_bits(),
            Value::MountNamespace => self.mntns,
        };
        to.set_bits(element, bits);
    }
}
