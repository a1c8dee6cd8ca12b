use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::files::{Counters, Limit, Pressure, unified_path};
use super::*;
use crate::data::{Element, Emitter};
use crate::metadata::config::Config;
use crate::operators::periodic::Collector;

#[test]
fn limits_have_two_fields() {
    assert_eq!(
        Limit::parse(b"10000 100000\n"),
        Some(Limit {
            quota: 10_000,
            period: 100_000
        })
    );
    for none in [
        "max 100000\n",
        "",
        "1\n",
        "1 2 3",
        "-1 100000",
        "x 1",
        "1 x",
        "9223372036854775808 1",
    ] {
        assert_eq!(Limit::parse(none.as_bytes()), None, "{none:?}");
    }
}

#[test]
fn counters_skip_what_is_malformed() {
    let text = b"usage_usec 7\nnr_periods 50\nnr_throttled ten\nnr_throttled\nthrottled_usec 4358969\nnr_bursts 0\n";
    let counters = Counters::parse(text);
    assert_eq!(
        counters,
        Counters {
            periods: 50,
            throttled: 0,
            throttled_usec: 4_358_969
        }
    );
    let before = Counters {
        periods: 40,
        throttled: 3,
        throttled_usec: 5_000_000,
    };
    let delta = counters.since(before);
    assert_eq!(
        (delta.periods, delta.throttled, delta.throttled_usec),
        (10, 0, 0),
        "counters that went back"
    );
}

#[test]
fn pressure_is_that_of_some() {
    let text = b"some avg10=53.38 avg60=12.58 avg300=0.00 total=1\nfull avg10=1.00 avg60=2.00 avg300=0.00 total=0\n";
    assert_eq!(
        Pressure::parse(text),
        Pressure {
            avg10: 53.38,
            avg60: 12.58
        }
    );
    assert_eq!(Pressure::parse(b"some avg10=NaN avg60=x"), Pressure::default());
    assert_eq!(Pressure::parse(b""), Pressure::default());
}

#[test]
fn paths_stay_below_the_mount_point() {
    assert_eq!(unified_path(b"12:cpu:/x\n0::/k.slice/a\n"), Some("/k.slice/a"));
    for none in ["0::/\n", "1:cpu:/x\n", "", "0::/../x\n", "0::/a/../../x\n", "0::\n"] {
        assert_eq!(unified_path(none.as_bytes()), None, "{none:?}");
    }
}

/// A machine with the groups `/a` and `/b`, of which only `/a` has a limit, and three processes.
fn machine() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (pid, group) in [(10, "/a"), (11, "/a"), (12, "/b"), (13, "/gone (deleted)")] {
        write(&format!("proc/{pid}/cgroup"), &format!("0::{group}\n"));
        write(&format!("proc/{pid}/ns/mnt"), "");
    }
    write("proc/self/cgroup", "0::/c\n");
    write("cgroup/a/cpu.max", "50000 100000\n");
    write("cgroup/b/cpu.max", "max 100000\n");
    write("cgroup/b/cpu.stat", "nr_periods 1\n");
    dir
}

fn throttle(root: &Path, periods: u64, throttled: u64, usec: u64) {
    let text = format!("nr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec {usec}\n");
    fs::write(root.join("cgroup/a/cpu.stat"), text).unwrap();
}

fn cgroups(yaml: &str) -> (Context, Option<Cgroups>) {
    let mut context = Context {
        config: Arc::new(Config::parse(yaml.as_bytes()).unwrap()),
        ..Context::default()
    };
    let cgroups = Cgroups::instantiate(&mut context, &Host::new("/")).unwrap();
    (context, cgroups)
}

#[test]
fn it_is_off_unless_asked_for() {
    assert!(cgroups("").1.is_none());
    assert!(cgroups("operator: {cgroup: {interval: 1s}}").1.is_none());
    let (context, cgroups) = cgroups("operator: {cgroup: {emitstats: true}}\ndatasources: {cgroups: {tags: [t]}}");
    assert!(cgroups.is_some());
    let source = &context.streams[0].source;
    assert_eq!(
        (source.annotation("fetch-interval"), source.tags()),
        (Some("5s"), &["t".to_owned()][..])
    );
}

fn collect(throttling: &mut Throttling, emitter: &Emitter) -> Vec<Element> {
    let mut elements = vec![emitter.element()];
    throttling.collect(emitter, &mut elements).unwrap();
    elements
}

#[test]
fn rows_are_what_happened_since_the_last_look() {
    let dir = machine();
    let (mut context, cgroups) = cgroups("operator: {cgroup: {emitstats: true}}");
    let wanted = cgroups
        .unwrap()
        .columns
        .iter()
        .map(|(_, accessor, value)| (*accessor, *value))
        .collect();
    let emitter = context.streams[0].emitter();
    let mut throttling = Throttling::new(&Host::new(dir.path()), dir.path().join("cgroup"), wanted);
    throttling.enter().unwrap();

    throttle(dir.path(), 100, 20, 7_000_000);
    assert!(collect(&mut throttling, &emitter).is_empty(), "seen for the first time");
    assert!(collect(&mut throttling, &emitter).is_empty(), "nothing happened");

    throttle(dir.path(), 150, 30, 7_012_000);
    fs::write(
        dir.path().join("cgroup/a/cpu.pressure"),
        "some avg10=1.50 avg60=0.70 avg300=0 total=0\n",
    )
    .unwrap();
    let elements = collect(&mut throttling, &emitter);
    let [element] = &elements[..] else {
        panic!("{elements:?}")
    };
    let source = &context.streams[0].source;
    let number = |name: &str| source.field(name).unwrap().u64().unwrap().get(element);
    let float = |name: &str| source.field(name).unwrap().typed::<f64>().unwrap().get(element);
    assert_eq!(source.field("cgroupPath").unwrap().str().unwrap().get(element), "/a");
    assert_eq!((number("nrPeriods"), number("nrThrottled")), (50, 10));
    assert_eq!(number("throttledTime_raw"), 12_000_000);
    assert_eq!(
        (number("cpuQuota_raw"), number("cpuPeriod_raw")),
        (50_000_000, 100_000_000)
    );
    assert_eq!((float("throttleRatio"), float("cpuLimitCores")), (20.0, 0.5));
    assert_eq!((float("psiSomeAvg10"), float("psiSomeAvg60")), (1.5, 0.7));
    let inode = |pid: u32| {
        fs::metadata(dir.path().join(format!("proc/{pid}/ns/mnt")))
            .unwrap()
            .ino()
    };
    assert!([inode(10), inode(11)].contains(&number("mountnsid")));

    throttle(dir.path(), 1, 0, 0);
    assert!(collect(&mut throttling, &emitter).is_empty(), "the counters went back");
}
