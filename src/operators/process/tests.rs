use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::tz::{Offset, TimeZone};

use super::collect::Reads;
use super::procfs::{Buffers, Comm, Machine, Proc, Stat, Status, number};
use super::*;
use crate::data::{Element, Emitter, FieldRef};
use crate::metadata::config::Config;
use crate::operators::periodic::Collector;

const STATUS: &[u8] = b"Name:\ta\\nb \\\\ c\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t77\nPid:\t77\nPPid:\t5\nTracerPid:\t0\nUid:\t1000\t0\t0\t0\n\
Gid:\t1111\t0\t0\t0\nVmPeak:\t    9999 kB\nVmSize:\t    2000 kB\nVmRSS:\t    1000 kB\nRssAnon:\t     100 kB\nRssFile:\t      30 kB\nRssShmem:\t       4 kB\nThreads:\t3\nSigQ:\t0/1\n";

fn stat(name: &str, user: u64, system: u64, start: u64) -> String {
    format!(
        "77 ({name}) S 5 77 77 0 -1 4194304 1 2 3 4 {user} {system} 9 9 30 -10 3 0 {start} 2048000 250 18446744073709551615 0\n"
    )
}

#[test]
fn a_status_file() {
    let status = Status::parse(STATUS);
    assert_eq!(status.comm.as_bytes(), b"a\nb \\ c");
    assert_eq!(
        (status.ppid, status.state, status.uid, status.threads),
        (5, b'S', 1000, 3)
    );
    assert_eq!(
        (status.virtual_bytes, status.resident_bytes, status.shared_bytes),
        (2000 * 1024, 1000 * 1024, 34 * 1024)
    );
    let kernel_thread = Status::parse(b"Name:\tkthreadd\nState:\tS\nPPid:\t0\nThreads:\t1\n");
    assert_eq!((kernel_thread.resident_bytes, kernel_thread.threads), (0, 1));
    assert_eq!(Status::parse(b""), Status::default());
}

#[test]
fn names_are_unescaped() {
    let name = |text: &[u8]| Comm::unescape(text).as_bytes().to_vec();
    assert_eq!(name(br#"\f\n\r\t\v\"\\\a\e"#), b"\x0c\n\r\t\x0b\"\\\x07\x1b");
    assert_eq!(name(br"\x41 \"), br"\x41 \");
    assert_eq!(name(&[b'x'; 200]), [b'x'; 64]);
    assert_eq!(name(b"\xff"), b"\xff");
}

#[test]
fn a_stat_file() {
    let expected = Stat {
        cpu: 12,
        priority: 30,
        nice: -10,
        start: 555,
    };
    for name in ["sh", "a) S 1 (b", ""] {
        assert_eq!(
            Stat::parse(stat(name, 7, 5, 555).as_bytes()),
            Some(expected),
            "{name:?}"
        );
    }
    for damaged in [
        "",
        "77 (sh",
        "77 (sh) S 1 2",
        "77 (sh) S 5 77 77 0 -1 4194304 1 2 3 4 x 5 9 9 30 10 3 0 1",
    ] {
        assert_eq!(Stat::parse(damaged.as_bytes()), None, "{damaged:?}");
    }
}

#[test]
fn numbers_end_at_blanks() {
    assert_eq!(number(b" \t12 kB"), Some(12));
    assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
    for none in ["", "x", "1x", "18446744073709551616", "-1"] {
        assert_eq!(number(none.as_bytes()), None, "{none:?}");
    }
}

fn processes(yaml: &str) -> Result<(Context, Option<Processes>)> {
    let mut context = Context {
        config: Arc::new(Config::parse(yaml.as_bytes())?),
        ..Context::default()
    };
    let processes = Processes::instantiate(&mut context, &Host::new("/"))?;
    Ok((context, processes))
}

fn names(context: &Context) -> Vec<&str> {
    context.streams[0]
        .source
        .fields()
        .map(|(_, field)| field.name())
        .collect()
}

#[test]
fn it_is_off_unless_asked_for() {
    assert!(processes("").unwrap().1.is_none());
    assert!(
        processes("operator: {process: {emitstats: false}}")
            .unwrap()
            .1
            .is_none()
    );
}

#[test]
fn fields_are_those_listed() {
    let (context, _) =
        processes("operator: {process: {emitStats: true, fields: [memoryRSS, nosuch, pid, comm]}}").unwrap();
    assert_eq!(names(&context), ["pid", "memoryRSS_raw", "comm", "mountnsid"]);
    let (context, _) = processes("operator: {process: {emitstats: true}}").unwrap();
    let expected = "pid ppid comm priority nice cpuUsage cpuUsageRelative memoryRSS_raw memoryVirtual_raw memoryShared_raw \
                    memoryRelative threadCount state uid startTime startTimeStr cpuTime cpuTimeStr mountnsid";
    assert_eq!(names(&context), expected.split_whitespace().collect::<Vec<_>>());
    let source = &context.streams[0].source;
    assert_eq!(source.annotation("fetch-interval"), Some("1m0s"));
    assert_eq!(source.default_columns().len(), 15);
    let error = processes("operator: {process: {emitstats: true, fields: [startTime, startTimeStr]}}").unwrap_err();
    assert_eq!(error.to_string(), "field \"startTime\" already exists");
}

#[test]
fn only_what_is_wanted_is_read() {
    let reads = |values: &[Value]| {
        let reads = Reads::for_values(values.iter().copied());
        (reads.status, reads.stat, reads.mntns)
    };
    assert_eq!(reads(&[Value::Pid]), (false, false, false));
    assert_eq!(reads(&[Value::Comm]), (true, false, false));
    assert_eq!(reads(&[Value::CpuTimeText, Value::MountNamespace]), (false, true, true));
}

/// A machine with two CPUs, booted in the year 2000, and the process 77.
fn machine() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let proc = dir.path().join("proc");
    fs::create_dir_all(proc.join("77/ns")).unwrap();
    fs::create_dir(proc.join("sys")).unwrap();
    // A process that has ended since it was listed.
    fs::create_dir(proc.join("78")).unwrap();
    fs::write(proc.join("stat"), "cpu  1 2\ncpu0 1\ncpu1 1\nintr 5\nbtime 946684800\n").unwrap();
    fs::write(proc.join("meminfo"), "MemTotal:       10000 kB\nMemFree: 1 kB\n").unwrap();
    fs::write(proc.join("77/status"), STATUS).unwrap();
    fs::write(proc.join("77/ns/mnt"), "").unwrap();
    dir
}

fn set_cpu(root: &Path, ticks: u64, start: u64) {
    fs::write(root.join("proc/77/stat"), stat("sh", ticks, 0, start)).unwrap();
}

struct Collecting {
    context: Context,
    statistics: Statistics,
    emitter: Emitter,
    elements: Vec<Element>,
}

impl Collecting {
    fn new(root: &Path) -> Self {
        let (mut context, processes) = processes("operator: {process: {emitstats: true}}").unwrap();
        let wanted = processes
            .unwrap()
            .columns
            .iter()
            .map(|(_, accessor, value)| (*accessor, *value))
            .collect();
        let zone = TimeZone::fixed(Offset::from_seconds(5400).unwrap());
        let mut statistics = Statistics::new(&Host::new(root), wanted).in_zone(zone);
        statistics.enter().unwrap();
        let emitter = context.streams[0].emitter();
        Self {
            context,
            statistics,
            emitter,
            elements: Vec::new(),
        }
    }

    fn collect(&mut self) {
        self.statistics.collect(&self.emitter, &mut self.elements).unwrap();
    }

    fn field(&self, name: &str) -> FieldRef<'_> {
        self.context.streams[0].source.field(name).unwrap()
    }

    fn text(&self, name: &str) -> String {
        self.field(name).str().unwrap().get(&self.elements[0]).into_owned()
    }

    fn number(&self, name: &str) -> i64 {
        self.field(name).any().i64(&self.elements[0])
    }

    fn float(&self, name: &str) -> f64 {
        self.field(name).typed::<f64>().unwrap().get(&self.elements[0])
    }
}

#[test]
fn values_are_those_of_the_process() {
    let dir = machine();
    set_cpu(dir.path(), 372_512, 8_640_099);
    let mut collecting = Collecting::new(dir.path());
    collecting.collect();
    assert_eq!(collecting.elements.len(), 1, "what cannot be read is left out");
    assert_eq!((collecting.number("pid"), collecting.number("ppid")), (77, 5));
    assert_eq!(
        (collecting.text("comm").as_str(), collecting.text("state").as_str()),
        ("a\nb \\ c", "S")
    );
    assert_eq!((collecting.number("priority"), collecting.number("nice")), (30, -10));
    assert_eq!((collecting.number("uid"), collecting.number("threadCount")), (1000, 3));
    assert_eq!(collecting.number("memoryRSS_raw"), 1_024_000);
    assert_eq!(collecting.float("memoryRelative"), 10.0);
    assert_eq!(collecting.number("startTime"), 8_640_099);
    assert_eq!(collecting.text("startTimeStr"), "2000-01-02T01:30:00+01:30");
    assert_eq!(
        (collecting.number("cpuTime"), collecting.text("cpuTimeStr").as_str()),
        (372_512, "62:05.120")
    );
    let inode = fs::metadata(dir.path().join("proc/77/ns/mnt")).unwrap().ino();
    assert_eq!(collecting.number("mountnsid"), inode as i64);
    assert_eq!(
        (collecting.float("cpuUsage"), collecting.float("cpuUsageRelative")),
        (0.0, 0.0)
    );
}

#[test]
fn usage_is_what_was_spent_in_between() {
    let dir = machine();
    let mut collecting = Collecting::new(dir.path());
    let mut usage_after = |ticks: u64, start: u64| {
        set_cpu(dir.path(), ticks, start);
        let before = Instant::now();
        collecting.collect();
        let usage = collecting.float("cpuUsage");
        assert_eq!(collecting.float("cpuUsageRelative"), usage / 2.0);
        (usage, before.elapsed())
    };
    assert_eq!(usage_after(100, 5).0, 0.0, "at first sight");
    assert_eq!(usage_after(100, 5).0, 0.0);
    // One second of CPU in less than a second.
    assert!(usage_after(200, 5).0 > 100.0);
    // Another process with the same id has spent little, whatever the one before had.
    let spent = usage_after(1, 900).0;
    assert!(spent > 0.0 && spent.is_finite());
    let (two, one) = (usage_after(200, 900).0, usage_after(300, 900).0);
    assert!(two > 0.0 && one > 0.0);
}

#[test]
fn the_machine_must_say_when_it_was_booted() {
    let dir = machine();
    let proc = dir.path().join("proc");
    let expected = Machine {
        boot_time: 946_684_800,
        cpus: 2,
        memory: 10_240_000,
    };
    assert_eq!(Machine::read(&proc).unwrap(), expected);
    fs::write(proc.join("stat"), "cpu 1\n").unwrap();
    assert!(
        Machine::read(&proc)
            .unwrap_err()
            .to_string()
            .ends_with("no btime in stat")
    );
    fs::remove_file(proc.join("meminfo")).unwrap();
    assert!(Machine::read(&proc).unwrap_err().to_string().starts_with("reading "));
    assert!(Proc::open(&dir.path().join("nosuch")).is_err());
}

#[test]
fn this_process_is_there() {
    let (proc, mut buffers) = (Proc::open(Path::new("/proc")).unwrap(), Buffers::default());
    let mut pids = Vec::new();
    proc.pids(&mut pids).unwrap();
    let own = std::process::id();
    assert!(pids.contains(&own));
    let status = Status::parse(proc.read(own, "status", &mut buffers).unwrap());
    assert_eq!(status.ppid, std::os::unix::process::parent_id());
    let stat = Stat::parse(proc.read(own, "stat", &mut buffers).unwrap()).unwrap();
    assert!(stat.start > 0);
    let mntns = proc.mount_namespace(own, &mut buffers);
    assert_eq!(mntns, fs::metadata("/proc/self/ns/mnt").unwrap().ino());
    assert_eq!(proc.read(u32::MAX, "status", &mut buffers), None);
    assert_eq!(proc.mount_namespace(u32::MAX, &mut buffers), 0);
}
