//! The table without kernel or runtime: records and news in every order that matters.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::super::filter::SELECTED;
use super::super::filter::tests::MemorySet;
use super::*;

const HOST: HostNamespaces = HostNamespaces { mnt: 1, net: 2 };
const NS: u64 = 100;

/// The containers that run, and what happens from now on.
fn subscribe(
    table: &mut Table,
    selector: Selector,
) -> (Vec<Arc<Container>>, std::sync::mpsc::Receiver<ContainerEvent>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let running = table.subscribe(selector, Box::new(move |event| sender.send(event).is_ok()));
    (running, receiver)
}

struct World {
    table: Table,
    requests: UnboundedReceiver<Request>,
    clock: u64,
}

impl World {
    fn new() -> Self {
        let (sender, requests) = unbounded_channel();
        Self {
            table: Table::new(HOST, 0, false, sender),
            requests,
            clock: 1000,
        }
    }

    fn record(&mut self, kind: RecordKind, mntns: u64, id: Option<&str>) -> u64 {
        self.record_from(kind, mntns, HOST.mnt, id)
    }

    fn record_from(&mut self, kind: RecordKind, mntns: u64, parent_mntns: u64, id: Option<&str>) -> u64 {
        self.clock += 10;
        self.table.record(Record {
            kind,
            mntns,
            parent_mntns,
            netns: 500 + mntns,
            cgroup_id: 7,
            timestamp: self.clock,
            started_at: self.clock - 5,
            pid: 4000 + mntns as u32,
            container_id: id.map(str::to_owned),
            comm: "runc:[2:INIT]".into(),
        });
        self.clock
    }

    fn known(&mut self, id: &str, name: &str, complete: bool) {
        self.table.known(known(id, name, complete));
    }

    fn filter(&mut self, selector: Selector) -> (MemorySet, Arc<FilterState>) {
        let set = MemorySet::new(1000);
        let state = FilterState::new(selector, Box::new(set.clone()));
        self.table.add_filter(&state);
        (set, state)
    }

    /// What the namespace is, in one word: the container's name, `-`, `?` (undecided) or `` (unknown).
    fn name(&self, mntns: u64, at: u64) -> String {
        describe(self.table.lookup(mntns, at).0)
    }
}

fn known(id: &str, name: &str, complete: bool) -> Known {
    Known {
        runtime: RuntimeInfo {
            runtime_name: "docker".into(),
            container_id: id.into(),
            container_name: name.into(),
            ..RuntimeInfo::default()
        },
        complete,
        ..Known::default()
    }
}

fn describe(lookup: Lookup) -> String {
    match lookup {
        Lookup::Container(container) => container.runtime.container_name.clone(),
        Lookup::NotContainer => "-".into(),
        Lookup::Undecided(_) => "?".into(),
        Lookup::Unknown => String::new(),
    }
}

fn kinds(events: &std::sync::mpsc::Receiver<ContainerEvent>) -> Vec<&'static str> {
    events.try_iter().map(|event| event.kind.as_str()).collect()
}

#[test]
fn an_announced_container_is_decided_at_its_creation() {
    let mut world = World::new();
    let (wanted, _keep) = world.filter(Selector::container("web"));
    let (others, _keep) = world.filter(Selector::container("!web"));
    let (_, events) = subscribe(&mut world.table, Selector::default());
    world.known("a", "web", true);
    world.record(RecordKind::Created, NS, Some("a"));
    assert_eq!(world.name(NS, 0), "web");
    assert_eq!((wanted.get(NS), others.get(NS)), (Some(SELECTED), None));
    assert!(kinds(&events).is_empty(), "not before its init process is known");

    world.record(RecordKind::PivotRoot, NS, Some("a"));
    world.record(RecordKind::Exec, NS, Some("a"));
    let containers = world.table.containers();
    assert_eq!(containers.len(), 1);
    let container = &containers[0];
    assert_eq!(
        (container.mntns, container.netns, container.cgroup.id),
        (NS, 500 + NS, 7)
    );
    assert_eq!(u64::from(container.runtime.container_pid), 4000 + NS);
    assert_ne!(container.runtime.started_at, 0);
    assert!(!container.host_network);
    assert_eq!(kinds(&events), ["CREATED"]);
    assert_eq!((wanted.get(NS), others.get(NS)), (Some(SELECTED), None));
}

#[test]
fn events_wait_until_the_runtime_has_told_everything() {
    let mut world = World::new();
    let (set, _keep) = world.filter(Selector::container("web"));
    world.record(RecordKind::Created, NS, Some("a"));
    world.record(RecordKind::Exec, NS, Some("a"));
    assert_eq!(world.name(NS, 0), "?");
    assert_eq!(set.get(NS), Some(UNDECIDED));
    assert_eq!(world.requests.try_recv().unwrap(), Request::Identify("a".into()));
    assert!(world.table.is_awaited("a"));
    let Lookup::Undecided(namespace) = world.table.lookup(NS, 0).0 else {
        panic!("decided")
    };
    assert!(namespace.decision().is_none());

    world.known("a", "web", false);
    assert_eq!(world.name(NS, 0), "?", "an image digest may be selected by as well");
    let decisions = world.table.decisions();
    world.known("a", "web", true);
    assert_eq!(namespace.container().unwrap().runtime.container_name, "web");
    assert_eq!(set.get(NS), Some(SELECTED));
    assert_ne!(world.table.decisions(), decisions);
    assert!(!world.table.is_awaited("a"));
}

#[test]
fn what_is_not_selected_leaves_the_filter() {
    let mut world = World::new();
    let (set, _keep) = world.filter(Selector::container("web"));
    world.record(RecordKind::Created, NS, Some("a"));
    assert_eq!(set.get(NS), Some(UNDECIDED));
    world.known("a", "db", true);
    assert_eq!(set.get(NS), None);
    // The kernel inserts what changes its root; it goes out again.
    set.map.lock().unwrap().insert(NS, UNDECIDED);
    world.record(RecordKind::PivotRoot, NS, Some("a"));
    assert_eq!(set.get(NS), None);
}

#[test]
fn no_container_without_an_id_once_something_was_executed() {
    let mut world = World::new();
    let (set, _keep) = world.filter(Selector::default());
    world.record(RecordKind::Created, NS, None);
    assert_eq!((world.name(NS, 0).as_str(), set.get(NS)), ("?", Some(UNDECIDED)));
    world.record(RecordKind::Exec, NS, None);
    assert_eq!((world.name(NS, 0).as_str(), set.get(NS)), ("-", None));
    assert!(world.requests.try_recv().is_err(), "nobody is asked about it");
}

#[test]
fn an_id_may_appear_later_than_the_namespace() {
    let mut world = World::new();
    world.known("a", "web", true);
    world.record(RecordKind::Created, NS, None);
    assert_eq!(world.name(NS, 0), "?");
    world.record(RecordKind::PivotRoot, NS, Some("a"));
    assert_eq!(world.name(NS, 0), "web");
}

#[test]
fn a_stranger_is_no_container() {
    let mut world = World::new();
    world.record(RecordKind::Created, NS, Some("a"));
    world.table.unknown("a");
    assert_eq!(world.name(NS, 0), "-");
    world.record(RecordKind::Created, NS + 1, Some("a"));
    assert_eq!(world.name(NS + 1, 0), "-", "nobody is asked twice");
    // docker's news was late.
    world.known("a", "web", true);
    world.record(RecordKind::Created, NS + 2, Some("a"));
    assert_eq!(world.name(NS + 2, 0), "web");
}

#[test]
fn a_pause_container_is_none() {
    let mut world = World::new();
    world.table.known(Known {
        sandbox: true,
        ..known("a", "k8s_POD", true)
    });
    world.record(RecordKind::Created, NS, Some("a"));
    assert_eq!(world.name(NS, 0), "-");
}

#[test]
fn time_decides_at_last() {
    let mut world = World::new();
    let (set, _keep) = world.filter(Selector::default());
    let since = world.record(RecordKind::Created, NS, Some("a"));
    assert!(world.table.needs_sweep());
    world.table.sweep(since + UNDECIDED_TIMEOUT - 1);
    assert_eq!(world.name(NS, 0), "?");
    world.table.sweep(since + UNDECIDED_TIMEOUT);
    assert_eq!((world.name(NS, 0).as_str(), set.get(NS)), ("-", None));
    // The runtime's word still counts.
    world.known("a", "web", true);
    world.table.running(
        "a",
        Running {
            pid: 9,
            mntns: NS,
            netns: HOST.net,
            ..Running::default()
        },
    );
    assert_eq!((world.name(NS, 0).as_str(), set.get(NS)), ("web", Some(SELECTED)));
    assert!(world.table.containers()[0].host_network);
}

#[test]
fn the_number_of_undecided_namespaces_is_bounded() {
    let mut world = World::new();
    for i in 0..=MAX_UNDECIDED as u64 {
        world.record(RecordKind::Created, NS + i, None);
    }
    assert_eq!(world.table.undecided.len(), MAX_UNDECIDED);
    assert_eq!(world.name(NS, 0), "-", "the oldest gives way");
    assert_eq!(world.name(NS + 1, 0), "?");
}

#[test]
fn the_memory_of_other_namespaces_is_bounded() {
    let mut world = World::new();
    for i in 0..MAX_FOREIGN as u64 + 10 {
        world.record(RecordKind::Created, NS + i, None);
        world.record(RecordKind::Exec, NS + i, None);
    }
    assert_eq!(world.table.current.len(), MAX_FOREIGN);
    assert_eq!(world.name(NS, 0), "");
    assert_eq!(world.name(NS + 10, 0), "-");
}

#[test]
fn a_reused_number_is_told_apart_by_time() {
    let mut world = World::new();
    let (set, _keep) = world.filter(Selector::default());
    for (id, name) in [("a", "first"), ("b", "second")] {
        world.known(id, name, true);
    }
    let first = world.record(RecordKind::Created, NS, Some("a"));
    world.record(RecordKind::Exec, NS, Some("a"));
    let second = world.record(RecordKind::Created, NS, Some("b"));
    world.record(RecordKind::Exec, NS, Some("b"));
    assert_eq!(world.name(NS, first), "first");
    assert_eq!(world.name(NS, second - 1), "first");
    assert_eq!(world.name(NS, second), "second");
    assert_eq!(world.name(NS, 0), "second");
    assert_eq!(world.name(NS, first - 1), "", "before its time");
    assert_eq!(world.table.lookup(NS, second).1, Some(second));
    assert_eq!(
        world.table.lookup(NS, first).1,
        None,
        "an answer about the past is not to be kept"
    );

    // The news of the first one's end comes late, and does no harm to the second.
    world.table.died("a", None, second + 1);
    world.table.destroyed("a", second + 2);
    assert_eq!(world.name(NS, 0), "second");
    assert!(!world.table.sweep(second + RETENTION + 3), "nothing leaves the filters");
    assert_eq!(set.get(NS), Some(SELECTED));
    assert_eq!(world.name(NS, first), "", "the first is forgotten");
    assert_eq!(world.name(NS, second), "second");
}

#[test]
fn an_ended_container_stays_for_a_while() {
    let mut world = World::new();
    let (set, _keep) = world.filter(Selector::default());
    let (_, events) = subscribe(&mut world.table, Selector::default());
    world.known("a", "web", true);
    world.record(RecordKind::Created, NS, Some("a"));
    let at = world.record(RecordKind::Exec, NS, Some("a"));
    world.table.died("a", None, at + 1);
    world.table.destroyed("a", at + 1);
    assert!(world.table.containers().is_empty());
    assert_eq!(kinds(&events), ["CREATED", "DELETED"]);
    assert!(!world.table.sweep(at + SECOND));
    assert_eq!(world.name(NS, at), "web", "one second later");
    assert_eq!(world.table.by_netns(500 + NS).len(), 1);
    assert!(world.table.sweep(at + 7 * SECOND));
    assert_eq!(
        (world.name(NS, at).as_str(), set.get(NS)),
        ("", None),
        "seven seconds later"
    );
    assert!(world.table.by_netns(500 + NS).is_empty());
    assert!(world.table.containers.is_empty());
    assert!(!world.table.needs_sweep());
}

#[test]
fn a_container_that_never_executed_anything_is_announced_with_its_end() {
    let mut world = World::new();
    let (_, events) = subscribe(&mut world.table, Selector::container("web"));
    let (_, none) = subscribe(&mut world.table, Selector::container("db"));
    world.known("a", "web", true);
    world.record(RecordKind::Created, NS, Some("a"));
    world.table.died("a", None, world.clock);
    assert_eq!(kinds(&events), ["CREATED", "DELETED"]);
    assert!(kinds(&none).is_empty());
}

#[test]
fn a_restart_outruns_the_news_of_the_death() {
    let mut world = World::new();
    let (_, events) = subscribe(&mut world.table, Selector::default());
    world.known("a", "web", true);
    world.record(RecordKind::Created, NS, Some("a"));
    let died = world.record(RecordKind::Exec, NS, Some("a")) + 1;
    world.record(RecordKind::Created, NS + 1, Some("a"));
    world.record(RecordKind::Exec, NS + 1, Some("a"));
    world.table.died("a", Some(died as i64), world.clock);
    let containers = world.table.containers();
    assert_eq!((containers.len(), containers[0].mntns), (1, NS + 1));
    assert_eq!(kinds(&events), ["CREATED", "DELETED", "CREATED"]);
    assert_eq!(world.name(NS, 0), "web", "the first life's late events");
}

#[test]
fn a_namespace_made_inside_a_container_is_not_the_container() {
    let mut world = World::new();
    world.known("a", "web", true);
    world.record(RecordKind::Created, NS, Some("a"));
    world.record(RecordKind::Exec, NS, Some("a"));
    world.record_from(RecordKind::Created, NS + 1, NS, Some("a"));
    world.record(RecordKind::Exec, NS + 1, Some("a"));
    assert_eq!(
        (world.name(NS, 0).as_str(), world.name(NS + 1, 0).as_str()),
        ("web", "-")
    );
    assert_eq!(world.table.containers()[0].mntns, NS);
}

#[test]
fn a_namespace_made_inside_a_container_that_is_not_known_yet_is_not_the_container_either() {
    let mut world = World::new();
    world.record(RecordKind::Created, NS, Some("a"));
    world.record(RecordKind::Exec, NS, Some("a"));
    world.record_from(RecordKind::Created, NS + 1, NS, Some("a"));
    world.record(RecordKind::Exec, NS + 1, Some("a"));
    world.record_from(RecordKind::Created, NS + 2, NS + 1, None);
    world.record(RecordKind::Exec, NS + 2, None);
    assert_eq!((world.name(NS, 0).as_str(), world.name(NS + 1, 0).as_str()), ("?", "?"));
    world.known("a", "web", true);
    assert_eq!(
        (world.name(NS, 0).as_str(), world.name(NS + 1, 0).as_str()),
        ("web", "-")
    );
    assert_eq!(world.name(NS + 2, 0), "-");
    assert_eq!(world.table.containers()[0].mntns, NS);
}

#[test]
fn an_initial_container_needs_no_record() {
    let mut world = World::new();
    let (set, _keep) = world.filter(Selector::container("web"));
    let running = Running {
        pid: 9,
        mntns: NS,
        netns: 3,
        started_at: 77,
        ..Running::default()
    };
    world.table.running("a", running.clone());
    assert_eq!(world.name(NS, 0), "", "no runtime has told about it");
    world.known("a", "web", true);
    world.table.running("a", running.clone());
    let (_, events) = subscribe(&mut world.table, Selector::default());
    world.table.running("a", running);
    assert_eq!((world.name(NS, 5).as_str(), set.get(NS)), ("web", Some(SELECTED)));
    assert!(kinds(&events).is_empty(), "told twice, announced once");
    // A filter that comes later finds it.
    let (late, _keep) = world.filter(Selector::default());
    assert_eq!(late.get(NS), Some(SELECTED));

    world.table.renamed("a", "db");
    assert_eq!(
        (world.name(NS, 0).as_str(), set.get(NS), late.get(NS)),
        ("db", None, Some(SELECTED))
    );
    assert_eq!(world.table.containers()[0].runtime.started_at, 77);
}

#[test]
fn a_new_list_ends_what_is_not_on_it() {
    let mut world = World::new();
    for (id, mntns) in [("a", NS), ("b", NS + 1), ("c", NS + 2)] {
        world.known(id, id, true);
        world.record(RecordKind::Created, mntns, Some(id));
        world.record(RecordKind::Exec, mntns, Some(id));
    }
    let listed_at = world.clock - 15;
    world.table.only_running(&HashSet::from(["a".to_owned()]), listed_at);
    let names: Vec<_> = world.table.containers().iter().map(|c| c.id().to_owned()).collect();
    assert_eq!(names, ["a", "c"], "c came after the list was made");
}

#[test]
fn the_host_is_no_container() {
    let mut world = World::new();
    let generation = world.table.generation();
    world.record(RecordKind::PivotRoot, HOST.mnt, Some("a"));
    assert_eq!(world.name(HOST.mnt, 0), "-");
    assert_eq!(world.table.generation(), generation);
}

#[test]
fn details_come_before_the_announcement() {
    let (sender, mut requests) = unbounded_channel();
    let mut table = Table::new(HOST, 0, true, sender);
    let (_, events) = subscribe(&mut table, Selector::default());
    table.known(known("a", "web", true));
    let running = Running {
        pid: 9,
        mntns: NS,
        netns: 3,
        ..Running::default()
    };
    table.running("a", running);
    assert!(kinds(&events).is_empty());
    assert_eq!(
        requests.try_recv().unwrap(),
        Request::Details { id: "a".into(), pid: 9 }
    );
    assert!(table.lacks_details("a", 9));
    table.details("a", 8, None, "of another process".into());
    assert!(kinds(&events).is_empty());
    let cgroup = crate::containers::Cgroup {
        v2: "/x".into(),
        ..Default::default()
    };
    table.details("a", 9, Some(cgroup), "{}".into());
    let event = events.try_recv().unwrap();
    assert_eq!(
        (event.container.oci_config.as_str(), event.container.cgroup.v2.as_str()),
        ("{}", "/x")
    );
    assert!(!table.lacks_details("a", 9));
}
