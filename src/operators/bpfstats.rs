//! What eBPF programs cost, as a data source: run time, number of runs, memory of maps, and whose they are, at intervals.
//!
//! On if the metadata says `operator.ebpf.emitstats: true`. All programs of the machine are shown. The kernel measures while somebody
//! wants to know, which makes every program a little slower.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::{MapHandle, ProgramType};

use super::periodic::{Collector, Periodic, Schedule};
use super::{Context, Explanation, Instance, OperatorNote, priority};
use crate::containers::Host;
use crate::data::{Accessor, DataSource, Element, Emitter, FieldId, NewField, Scalar, SourceType, Stream};
use crate::metadata::SourceSettings;
use crate::metadata::duration;
use crate::metadata::params::{Param, ParamValues, TypeHint};
use crate::{Error, ErrorKind, Result, ResultExt};

const SOURCE: &str = "bpfstats";
const PARAM_PREFIX: &str = "operator.ebpf.";
const INTERVAL: &str = "statistics-interval";
const DEFAULT_INTERVAL: &str = "1000ms";
const GADGETS_ONLY: &str = "gadgets-only";
/// How often it is looked whose the programs are, unless there are new ones.
const OWNERS_INTERVAL: Duration = Duration::from_secs(10);

/// The statistics' part in one gadget.
#[derive(Debug)]
pub struct Statistics {
    stream: usize,
    proc: PathBuf,
    node: Option<String>,
    interval: Duration,
    gadgets_only: bool,
    columns: Columns,
    running: Option<Periodic>,
}

#[derive(Clone, Copy, Debug)]
struct Columns {
    node: Option<(FieldId, Accessor)>,
    id: Accessor,
    name: Accessor,
    kind: Accessor,
    cpu: Accessor,
    cpu_relative: Accessor,
    time: Accessor,
    runtime: Accessor,
    runs: Accessor,
    memory: Accessor,
    maps: Accessor,
    comms: Accessor,
    pids: Accessor,
}

impl Statistics {
    /// Adds the data source `bpfstats` if the metadata asks for it. `host` says where `/proc` is.
    pub fn instantiate(context: &mut Context, host: &Host) -> Result<Option<Self>> {
        let config = &context.config;
        if !config.get_bool("operator.ebpf.emitstats") {
            return Ok(None);
        }
        let settings = SourceSettings::new(config, SOURCE);
        let mut source = DataSource::new(SOURCE, SourceType::Array, Some(settings));
        source.annotate("fetch-interval", DEFAULT_INTERVAL);
        source.annotate("cli.clear-screen-before", "true");
        let node = std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty());
        let columns = columns(&mut source, node.is_some())?;
        let stream = context.streams.len();
        context.streams.push(Stream::new(source));
        Ok(Some(Self {
            stream,
            proc: host.proc_dir().to_owned(),
            node,
            interval: Duration::from_secs(1),
            gadgets_only: false,
            columns,
            running: None,
        }))
    }
}

fn columns(source: &mut DataSource, with_node: bool) -> Result<Columns> {
    const RIGHT: (&str, &str) = ("columns.alignment", "right");
    const KEY: (&str, &str) = ("metrics.type", "key");
    let width = |width: &'static str| ("columns.width", width);
    let described = |text: &'static str| ("description", text);
    let mut add = |name: &str, kind: Scalar, tag: &str, annotations: &[(&str, &str)]| -> Result<(FieldId, Accessor)> {
        let mut field = NewField::new(name, kind).annotations(annotations.iter().copied());
        if !tag.is_empty() {
            field = field.tag(tag);
        }
        let id = source.add_field(field)?;
        Ok((id, source.accessor(id)))
    };
    let node = match with_node {
        true => Some(add("nodeName", Scalar::String, "", &[("template", "node"), KEY])?),
        false => None,
    };
    let text = Scalar::String;
    let number = Scalar::Uint64;
    let percent = |alias: &'static str, what: &'static str| {
        [
            ("columns.alias", alias),
            ("columns.precision", "2"),
            RIGHT,
            width("8"),
            described(what),
        ]
    };
    let sum = |kind: &'static str, cells: &'static str, what: &'static str| {
        [width(cells), RIGHT, ("metrics.type", kind), described(what)]
    };
    add("gadgetID", text, "", &[width("8"), described("Id of the gadget's run")])?;
    add(
        "gadgetName",
        text,
        "",
        &[width("16"), KEY, described("Name of the gadget's run")],
    )?;
    add(
        "gadgetImage",
        text,
        "",
        &[width("16"), KEY, described("Image of the gadget")],
    )?;
    let (_, id) = add(
        "progID",
        Scalar::Uint32,
        "",
        &[RIGHT, width("5"), described("Number of the program")],
    )?;
    let (_, name) = add(
        "progName",
        text,
        "",
        &[("columns.fixed", "16"), KEY, described("Name of the program")],
    )?;
    let (_, kind) = add("progType", text, "", &[width("16"), described("Type of the program")])?;
    let cpu = percent("%CPU", "Share of one CPU's time since the last report");
    let (_, cpu) = add("cpuUsage", Scalar::Float64, "", &cpu)?;
    let relative = percent("%RELCPU", "Share of all CPUs' time since the last report");
    let (_, cpu_relative) = add("cpuUsageRelative", Scalar::Float64, "", &relative)?;
    let total = [
        ("columns.alias", "TIME+"),
        RIGHT,
        width("12"),
        described("Run time since the program was loaded, as far as it was measured"),
    ];
    let (_, time) = add("cpuTimeStr", text, "", &total)?;
    let runtime = sum("counter", "12", "Run time since the last report");
    let (_, runtime) = add("runtime_raw", number, "type:gadget_duration", &runtime)?;
    let (_, runs) = add(
        "runcount",
        number,
        "",
        &sum("counter", "12", "Runs since the last report"),
    )?;
    let memory = sum("gauge", "12", "Memory of the program's maps");
    let (_, memory) = add("mapMemory_raw", number, "type:gadget_bytes", &memory)?;
    let (_, maps) = add(
        "mapCount",
        number,
        "",
        &sum("gauge", "5", "Number of the program's maps"),
    )?;
    let (_, comms) = add(
        "comms",
        text,
        "",
        &[width("16"), described("Processes that hold the program")],
    )?;
    let (_, pids) = add("pids", text, "", &[width("16"), described("Their ids")])?;
    Ok(Columns {
        node,
        id,
        name,
        kind,
        cpu,
        cpu_relative,
        time,
        runtime,
        runs,
        memory,
        maps,
        comms,
        pids,
    })
}

impl Instance for Statistics {
    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn priority(&self) -> i32 {
        priority::instance::STATISTICS
    }

    fn params(&self) -> Vec<Param> {
        let params = [
            Param {
                title: "Gadget statistics interval".to_owned(),
                ..Param::new(INTERVAL)
                    .type_hint(TypeHint::Duration)
                    .default_value(DEFAULT_INTERVAL)
                    .description("interval in which to provide gadget statistics")
            },
            Param {
                title: "Gadgets only".to_owned(),
                ..Param::new(GADGETS_ONLY)
                    .type_hint(TypeHint::Bool)
                    .default_value("false")
                    .description("Show only gadget-related eBPF programs")
            },
        ];
        params
            .map(|param| Param {
                prefix: PARAM_PREFIX.to_owned(),
                ..param
            })
            .into()
    }

    fn configure(&mut self, values: &ParamValues, context: &mut Context) -> Result<()> {
        let name = format!("{PARAM_PREFIX}{INTERVAL}");
        let text = values.get(&name).unwrap_or(DEFAULT_INTERVAL);
        let nanos = duration::parse(text).context("parsing statistics-interval")?;
        self.interval = u64::try_from(nanos)
            .ok()
            .filter(|nanos| *nanos > 0)
            .map(Duration::from_nanos)
            .ok_or_else(|| Error::invalid(format!("parsing statistics-interval: {text:?} is not more than zero")))?;
        self.gadgets_only = values.is_true(&format!("{PARAM_PREFIX}{GADGETS_ONLY}"));
        context.streams[self.stream].source.annotate("fetch-interval", text);
        Ok(())
    }

    fn explain(&self, _context: &Context, to: &mut Explanation) {
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: true,
            why: "the metadata asks for statistics".to_owned(),
        });
    }

    fn prepare(&mut self, _context: &mut Context) -> Result<()> {
        Ok(())
    }

    fn start(&mut self, context: &mut Context) -> Result<()> {
        let collector = Costs {
            columns: self.columns,
            proc: self.proc.clone(),
            node: self.node.clone(),
            gadgets_only: self.gadgets_only,
            measuring: None,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            last: HashMap::new(),
            looked_at: None,
            owners: Owners::default(),
        };
        let schedule = Schedule {
            interval: self.interval,
            first: None,
            count: 0,
        };
        let run = context.stop.clone();
        self.running = Some(Periodic::start(
            "ig-bpfstats",
            schedule,
            &mut context.streams[self.stream],
            collector,
            run,
        )?);
        Ok(())
    }

    fn pre_stop(&mut self) -> Result<()> {
        self.running.as_mut().map_or(Ok(()), Periodic::stop)
    }
}

/// Whose programs are: process ids and command names by program.
#[derive(Debug, Default)]
struct Owners {
    of: HashMap<u32, Vec<(u32, String)>>,
    /// The programs that there were, and when.
    known: BTreeSet<u32>,
    at: Option<Instant>,
}

struct Costs {
    columns: Columns,
    proc: PathBuf,
    node: Option<String>,
    gadgets_only: bool,
    /// Has the kernel measure as long as it is there.
    measuring: Option<Measuring>,
    cpus: usize,
    /// Run time and runs of each program at the last look.
    last: HashMap<u32, (u64, u64)>,
    looked_at: Option<Instant>,
    owners: Owners,
}

impl Collector for Costs {
    fn enter(&mut self) -> Result<()> {
        self.measuring = Some(Measuring::start(&self.proc)?);
        Ok(())
    }

    fn collect(&mut self, emitter: &Emitter, elements: &mut Vec<Element>) -> Result<()> {
        let now = Instant::now();
        // The first look is there only for the time; what was measured before it counts, as with everybody's first report.
        let Some(before) = self.looked_at.replace(now) else {
            elements.clear();
            return Ok(());
        };
        elements.clear();
        if self.gadgets_only {
            // This gadget has no programs, and others are other processes'.
            return Ok(());
        }
        let seconds = now.duration_since(before).as_secs_f64();
        let programs: Vec<_> =
            ProgInfoIter::with_query_opts(libbpf_rs::query::ProgInfoQueryOptions::default().include_map_ids(true))
                .collect();
        let ids: BTreeSet<u32> = programs.iter().map(|program| program.id).collect();
        self.owners.refresh(&self.proc, ids, now);
        let mut last = HashMap::with_capacity(programs.len());
        let mut memory = HashMap::new();
        for program in programs {
            let (time, runs) = (program.run_time_ns, program.run_cnt);
            let (time_before, runs_before) = self.last.get(&program.id).copied().unwrap_or_default();
            last.insert(program.id, (time, runs));
            let spent = time.saturating_sub(time_before);
            let bytes = program
                .map_ids
                .iter()
                .map(|id| *memory.entry(*id).or_insert_with(|| map_memory(*id).unwrap_or(0)))
                .fold(0, u64::saturating_add);
            let usage = spent as f64 / 1e9 / seconds * 100.0;
            let owners = self.owners.of.get(&program.id).map_or(&[][..], Vec::as_slice);
            let mut element = emitter.element();
            let columns = &self.columns;
            let mut text = |column: &Accessor, text: &str| {
                column.write(&mut element, |out| out.extend_from_slice(text.as_bytes()));
            };
            if let (Some((_, column)), Some(node)) = (&columns.node, &self.node) {
                text(column, node);
            }
            text(&columns.name, &program.name.to_string_lossy());
            text(&columns.kind, type_name(program.ty));
            text(
                &columns.time,
                &duration::format(i64::try_from(time).unwrap_or(i64::MAX)),
            );
            text(&columns.comms, &joined(owners.iter().map(|(_, comm)| comm.clone())));
            text(&columns.pids, &joined(owners.iter().map(|(pid, _)| pid.to_string())));
            columns.id.set_bits(&mut element, u64::from(program.id));
            columns.cpu.set_bits(&mut element, usage.to_bits());
            columns
                .cpu_relative
                .set_bits(&mut element, (usage / self.cpus as f64).to_bits());
            columns.runtime.set_bits(&mut element, spent);
            columns.runs.set_bits(&mut element, runs.saturating_sub(runs_before));
            columns.memory.set_bits(&mut element, bytes);
            columns.maps.set_bits(&mut element, program.map_ids.len() as u64);
            elements.push(element);
        }
        self.last = last;
        Ok(())
    }
}

/// The texts, each once, separated by commas.
fn joined(texts: impl Iterator<Item = String>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for text in texts {
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen.join(",")
}

/// Memory that a map is accounted for, in bytes.
fn map_memory(id: u32) -> Option<u64> {
    let map = MapHandle::from_map_id(id).ok()?;
    let info = fs::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        std::os::fd::AsFd::as_fd(&map).as_raw_fd()
    ))
    .ok()?;
    info.lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
}

impl Owners {
    /// Looks through all processes, unless that was done and there are no new programs.
    fn refresh(&mut self, proc: &Path, programs: BTreeSet<u32>, now: Instant) {
        let recent = self.at.is_some_and(|at| now.duration_since(at) < OWNERS_INTERVAL);
        if recent && programs.is_subset(&self.known) {
            return;
        }
        self.of = owners(proc);
        self.known = programs;
        self.at = Some(now);
    }
}

/// Whose programs are, by what all processes have open. What vanishes meanwhile is nobody's.
fn owners(proc: &Path) -> HashMap<u32, Vec<(u32, String)>> {
    let mut all: HashMap<u32, Vec<(u32, String)>> = HashMap::new();
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let mut processes: BTreeMap<u32, PathBuf> = BTreeMap::new();
    for entry in entries(proc) {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            processes.insert(pid, entry.path());
        }
    }
    for (pid, process) in processes {
        let mut programs = BTreeSet::new();
        for entry in entries(&process.join("fd")) {
            if !fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == "anon_inode:bpf-prog") {
                continue;
            }
            let info = fs::read_to_string(process.join("fdinfo").join(entry.file_name())).unwrap_or_default();
            let id = info
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok());
            programs.extend(id);
        }
        if programs.is_empty() {
            continue;
        }
        let comm = fs::read_to_string(process.join("comm")).unwrap_or_default();
        for program in programs {
            let of = all.entry(program).or_default();
            of.push((pid, comm.trim_end_matches('\n').to_owned()));
        }
    }
    all
}

/// Has the kernel measure run times.
enum Measuring {
    /// As long as this is open.
    Descriptor(#[allow(dead_code, reason = "it is held, not read")] OwnedFd),
    /// Until the switch is turned back.
    Switch(PathBuf),
    /// Somebody else does.
    Already,
}

impl Measuring {
    fn start(proc: &Path) -> Result<Self> {
        // SAFETY: the call takes no memory of ours.
        let fd = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
        if fd >= 0 {
            // SAFETY: the descriptor is new, and nobody else owns it.
            return Ok(Self::Descriptor(unsafe { OwnedFd::from_raw_fd(fd) }));
        }
        // Before Linux 5.8.
        let switch = proc.join("sys/kernel/bpf_stats_enabled");
        if fs::read_to_string(&switch).is_ok_and(|value| value.trim() == "1") {
            return Ok(Self::Already);
        }
        fs::write(&switch, "1").map_err(|error| {
            Error::new(
                ErrorKind::Unsupported,
                format!("turning run time statistics on: {error}"),
            )
            .with_hint("it needs root, and Linux 5.1 or later")
        })?;
        Ok(Self::Switch(switch))
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        if let Self::Switch(switch) = self {
            // Nobody could do anything about it.
            let _ = fs::write(switch, "0");
        }
    }
}

/// The name of a program type, as users of gadgets know it.
fn type_name(kind: ProgramType) -> &'static str {
    match kind {
        ProgramType::SocketFilter => "SocketFilter",
        ProgramType::Kprobe => "Kprobe",
        ProgramType::SchedCls => "SchedCLS",
        ProgramType::SchedAct => "SchedACT",
        ProgramType::Tracepoint => "TracePoint",
        ProgramType::Xdp => "XDP",
        ProgramType::PerfEvent => "PerfEvent",
        ProgramType::CgroupSkb => "CGroupSKB",
        ProgramType::CgroupSock => "CGroupSock",
        ProgramType::LwtIn => "LWTIn",
        ProgramType::LwtOut => "LWTOut",
        ProgramType::LwtXmit => "LWTXmit",
        ProgramType::SockOps => "SockOps",
        ProgramType::SkSkb => "SkSKB",
        ProgramType::CgroupDevice => "CGroupDevice",
        ProgramType::SkMsg => "SkMsg",
        ProgramType::RawTracepoint => "RawTracepoint",
        ProgramType::CgroupSockAddr => "CGroupSockAddr",
        ProgramType::LwtSeg6local => "LWTSeg6Local",
        ProgramType::LircMode2 => "LircMode2",
        ProgramType::SkReuseport => "SkReuseport",
        ProgramType::FlowDissector => "FlowDissector",
        ProgramType::CgroupSysctl => "CGroupSysctl",
        ProgramType::RawTracepointWritable => "RawTracepointWritable",
        ProgramType::CgroupSockopt => "CGroupSockopt",
        ProgramType::Tracing => "Tracing",
        ProgramType::StructOps => "StructOps",
        ProgramType::Ext => "Extension",
        ProgramType::Lsm => "LSM",
        ProgramType::SkLookup => "SkLookup",
        ProgramType::Syscall => "Syscall",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_found_by_what_is_open() {
        let dir = tempfile::tempdir().unwrap();
        for (pid, comm, fds) in [
            ("12", "one\n", &[(3, "anon_inode:bpf-prog", "7")][..]),
            ("13", "two\n", &[(4, "anon_inode:bpf-prog", "7"), (5, "/dev/null", "8")]),
        ] {
            let process = dir.path().join(pid);
            for name in ["fd", "fdinfo"] {
                fs::create_dir_all(process.join(name)).unwrap();
            }
            fs::write(process.join("comm"), comm).unwrap();
            for (fd, target, program) in fds {
                std::os::unix::fs::symlink(target, process.join(format!("fd/{fd}"))).unwrap();
                let info = format!("pos:\t0\nprog_type:\t5\nprog_id:\t{program}\n");
                fs::write(process.join(format!("fdinfo/{fd}")), info).unwrap();
            }
        }
        fs::create_dir(dir.path().join("sys")).unwrap();
        let found = owners(dir.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[&7], [(12, "one".to_owned()), (13, "two".to_owned())]);
        assert_eq!(joined(["a", "b", "a"].map(String::from).into_iter()), "a,b");
    }
}
