//! Container discovery against the running kernel and a real docker daemon. Needs root and docker.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inspektor_gadget::containers::{
    Collection, CollectionOptions, Container, ContainerEvent, ContainerEventKind, HookBuffer, Lookup, LookupCache,
    RuntimeKind, Selector,
};
use libbpf_rs::{MapCore, MapFlags};

/// Makes docker answer and hands out names that no other test uses.
fn docker_is_there() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/testenv/docker.sh");
        let status = Command::new(script)
            .status()
            .expect("scripts/testenv/docker.sh can be run");
        assert!(status.success(), "scripts/testenv/docker.sh: {status}");
    });
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker can be run");
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A running container, removed when dropped.
struct Running {
    name: String,
    id: String,
}

impl Running {
    fn start(name: &str, options: &[&str], command: &str) -> Self {
        let name = format!("ig-test-{}-{name}", std::process::id());
        let mut args = vec!["run", "-d", "--name", &name];
        args.extend(options);
        args.extend(["busybox", "sh", "-c", command]);
        let id = docker(&args);
        Self { name, id }
    }

    fn pid(&self) -> u32 {
        docker(&["inspect", "-f", "{{.State.Pid}}", &self.id])
            .parse()
            .expect("docker tells a pid")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.id]).output();
    }
}

fn start(options: CollectionOptions) -> Arc<Collection> {
    docker_is_there();
    log_to_test_output();
    let collection = Collection::start(CollectionOptions {
        runtimes: vec![RuntimeKind::Docker],
        explicit_runtimes: true,
        ..options
    })
    .expect("the collection starts");
    collection.wait_initial();
    collection
}

static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn messages(part: &str) -> usize {
    MESSAGES
        .lock()
        .expect("no panic")
        .iter()
        .filter(|message| message.contains(part))
        .count()
}

/// Debug lines of the library are shown with a failing test.
fn log_to_test_output() {
    struct Printer;
    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Printer {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            struct Message(String);
            impl tracing::field::Visit for Message {
                fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                    use std::fmt::Write;
                    let _ = write!(self.0, "{field}={value:?} ");
                }
            }
            let mut message = Message(String::new());
            event.record(&mut message);
            if event.metadata().target().starts_with("inspektor_gadget") {
                eprintln!("{} {}", event.metadata().level(), message.0);
                MESSAGES.lock().expect("no panic").push(message.0);
            }
        }
    }
    use tracing_subscriber::layer::SubscriberExt;
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Printer));
}

fn find(collection: &Collection, name: &str) -> Option<Arc<Container>> {
    collection
        .containers()
        .into_iter()
        .find(|container| container.runtime.container_name == name)
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn namespace(pid: u32, kind: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}/ns/{kind}"))
        .expect("the container's process is there")
        .ino()
}

fn events_of(events: &Receiver<ContainerEvent>, name: &str, count: usize) -> Vec<ContainerEvent> {
    let mut found = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(15);
    while found.len() < count {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(left) {
            Ok(event) if event.container.runtime.container_name == name => found.push(event),
            Ok(_) => {}
            Err(_) => panic!("{} of {count} events of {name} came: {found:?}", found.len()),
        }
    }
    found
}

#[test]
fn finds_a_container_that_runs_already() {
    docker_is_there();
    let container = Running::start("initial", &["--network", "host"], "sleep 1000");
    let collection = start(CollectionOptions {
        details: true,
        ..CollectionOptions::default()
    });
    let found = eventually("the details", || {
        find(&collection, &container.name).filter(|c| !c.oci_config.is_empty())
    });
    let pid = container.pid();
    assert_eq!(found.runtime.runtime_name, "docker");
    assert_eq!(found.runtime.container_id, container.id);
    assert_eq!(found.runtime.container_pid, pid);
    assert_eq!(found.runtime.image_name, "busybox");
    assert_eq!(
        found.runtime.image_id,
        docker(&["inspect", "-f", "{{.Image}}", &container.id])
    );
    assert!(
        found.runtime.started_at > 1_700_000_000_000_000_000,
        "{}",
        found.runtime.started_at
    );
    assert_eq!(
        (found.mntns, found.netns),
        (namespace(pid, "mnt"), namespace(pid, "net"))
    );
    assert!(found.host_network);
    assert!(found.cgroup.path.contains(&container.id), "{:?}", found.cgroup);
    assert_ne!(found.cgroup.id, 0);
    let config: serde_json::Value = serde_json::from_str(&found.oci_config).expect("the configuration is JSON");
    assert_eq!(config["process"]["args"][0], "sh");

    match collection.lookup(found.mntns, 0) {
        Lookup::Container(by_mntns) => assert_eq!(by_mntns.runtime.container_id, container.id),
        other => panic!("{other:?}"),
    }
    assert!(
        collection
            .containers_by_netns(found.netns)
            .iter()
            .any(|c| c.id() == container.id)
    );
    let own = namespace(std::process::id(), "mnt");
    assert!(matches!(collection.lookup(own, 0), Lookup::NotContainer));
}

#[test]
fn selects_in_the_kernels_map() {
    docker_is_there();
    let wanted = Running::start("wanted", &[], "sleep 1000");
    let other = Running::start("other", &[], "sleep 1000");
    let collection = start(CollectionOptions::default());
    let filter = collection
        .filter(Selector::container(&wanted.name), 0)
        .expect("a filter");
    let value = |mntns: u64| {
        filter
            .map()
            .lookup(&mntns.to_ne_bytes(), MapFlags::ANY)
            .expect("the map can be read")
    };
    assert_eq!(value(namespace(wanted.pid(), "mnt")), Some(1u32.to_ne_bytes().to_vec()));
    assert_eq!(value(namespace(other.pid(), "mnt")), None);
    assert!(filter.selected(&find(&collection, &wanted.name).expect("it runs")));

    // A rename changes what is selected.
    let mntns = namespace(wanted.pid(), "mnt");
    docker(&["rename", &wanted.id, &format!("{}-renamed", wanted.name)]);
    eventually("the renamed container leaves the filter", || {
        value(mntns).is_none().then_some(())
    });
    docker(&["rename", &other.id, &wanted.name]);
    let mntns = namespace(other.pid(), "mnt");
    eventually("the container of that name enters it", || value(mntns));
    assert!(!filter.overflowed());
}

#[test]
fn names_sixty_short_lived_containers() {
    sixty(HookBuffer::Ring);
}

#[test]
fn names_short_lived_containers_through_a_perf_buffer() {
    let names = short_lived("perf", HookBuffer::Perf, 5);
    assert_eq!(names.len(), 5);
}

fn sixty(buffer: HookBuffer) {
    assert_eq!(short_lived("sixty", buffer, 60).len(), 60);
    assert_eq!(
        messages("trying with the kernel's whole BTF"),
        0,
        "the list of types is complete"
    );
}

/// Runs `count` containers one after the other; asserts that each was announced and ended under its name, and that its
/// namespace was in the filter when its program was executed. Returns the names.
fn short_lived(prefix: &str, hook_buffer: HookBuffer, count: usize) -> Vec<String> {
    let collection = start(CollectionOptions {
        hook_buffer,
        ..CollectionOptions::default()
    });
    assert!(collection.has_hook());
    let names: Vec<String> = (0..count)
        .map(|i| format!("ig-test-{}-{prefix}-{i}", std::process::id()))
        .collect();
    let filter = collection
        .filter(Selector::container(names.join(",")), 0)
        .expect("a filter");
    let execs = exec_probe::ExecProbe::attach(filter.map());
    let (_, events) = collection.subscribe(Selector::container(names.join(",")));

    let mut cache = LookupCache::default();
    let mut named = Vec::new();
    let mut waiting = Vec::new();
    let began = Instant::now();
    for name in &names {
        let status = Command::new("docker")
            .args(["run", "--rm", "--name", name, "busybox", "true"])
            .status();
        assert!(status.expect("docker can be run").success());
        for exec in execs.take() {
            if !exec.in_filter {
                continue;
            }
            match cache.lookup(&collection, exec.mntns, exec.timestamp) {
                Lookup::Container(container) if filter.selected(container) => named.push((exec, container.clone())),
                Lookup::Undecided(namespace) => waiting.push((exec, namespace.clone())),
                _ => {}
            }
        }
    }
    println!(
        "{count} containers in {:?}, {} undecided at first",
        began.elapsed(),
        waiting.len()
    );
    for (exec, namespace) in waiting {
        eventually("a decision", || namespace.decision());
        named.extend(namespace.container().filter(|c| filter.selected(c)).map(|c| (exec, c)));
    }
    let trues: Vec<_> = named.iter().filter(|(exec, _)| exec.comm == "true").collect();
    let mut seen: Vec<_> = trues.iter().map(|(_, c)| c.runtime.container_name.clone()).collect();
    seen.sort();
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(seen, expected, "one exec of each container, under its name");
    for (exec, container) in &trues {
        assert_eq!(container.runtime.container_pid, exec.pid, "{container:?}");
        assert_eq!(container.runtime.image_name, "busybox");
        assert!(container.runtime.image_id.starts_with("sha256:"), "{container:?}");
    }
    for name in &names {
        let events = events_of(&events, name, 2);
        assert_eq!(events[0].kind, ContainerEventKind::Created, "{name}");
        assert_eq!(events[1].kind, ContainerEventKind::Deleted, "{name}");
        assert_eq!(events[1].container.runtime.runtime_name, "docker");
    }
    assert!(!filter.overflowed());
    seen
}

#[test]
fn forgets_a_container_some_seconds_after_its_end() {
    let collection = start(CollectionOptions::default());
    let filter = collection.filter(Selector::default(), 0).expect("a filter");
    let container = Running::start("ends", &[], "sleep 1000");
    let found = eventually("the new container", || find(&collection, &container.name));
    let mntns = found.mntns;
    assert_eq!(mntns, namespace(container.pid(), "mnt"));
    // Another test's container may take the number over at any time: ask about the time of this one.
    let alive = boot_ns();
    let is_it = || matches!(collection.lookup(mntns, alive), Lookup::Container(c) if c.id() == container.id);
    docker(&["kill", &container.id]);
    eventually("its end", || find(&collection, &container.name).is_none().then_some(()));
    assert!(is_it(), "its late events are still named");
    let ended = Instant::now();
    eventually("that it is forgotten", || (!is_it()).then_some(()));
    assert!(ended.elapsed() > Duration::from_secs(2), "{:?}", ended.elapsed());
    eventually("its removal from the filter", || {
        let value = filter.map().lookup(&mntns.to_ne_bytes(), MapFlags::ANY);
        let taken_over = matches!(collection.lookup(mntns, 0), Lookup::Container(_) | Lookup::Undecided(_));
        (value.expect("the map can be read").is_none() || taken_over).then_some(())
    });
}

fn boot_ns() -> u64 {
    let time = nix::time::ClockId::CLOCK_BOOTTIME.now().expect("the clock is there");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

#[test]
fn follows_a_restart() {
    let collection = start(CollectionOptions::default());
    let container = Running::start("restarts", &[], "sleep 1000");
    let (_, events) = collection.subscribe(Selector::container(&container.name));
    let first = eventually("the new container", || {
        find(&collection, &container.name).filter(|c| c.runtime.container_pid != 0)
    });
    docker(&["restart", "-t", "0", &container.id]);
    let second = eventually("its second life", || {
        find(&collection, &container.name).filter(|c| c.runtime.container_pid == container.pid())
    });
    assert_ne!(first.runtime.container_pid, second.runtime.container_pid);
    assert_eq!(second.mntns, namespace(container.pid(), "mnt"));
    // The first CREATED may have come before the subscription or after.
    let mut kinds = Vec::new();
    while !kinds.ends_with(&["DELETED", "CREATED"]) {
        kinds.push(events_of(&events, &container.name, 1)[0].kind.as_str());
    }
    assert!(kinds.len() <= 3, "{kinds:?}");
}

#[test]
fn a_namespace_of_no_container_leaves_the_filter() {
    let collection = start(CollectionOptions::default());
    let filter = collection.filter(Selector::default(), 0).expect("a filter");
    let mut child = Command::new("unshare")
        .args(["-m", "sleep", "1000"])
        .spawn()
        .expect("unshare can be run");
    let host = namespace(std::process::id(), "mnt");
    let mntns = eventually("a new namespace", || {
        Some(namespace(child.id(), "mnt")).filter(|&mntns| mntns != host)
    });
    eventually("the decision", || {
        matches!(collection.lookup(mntns, 0), Lookup::NotContainer).then_some(())
    });
    let value = filter
        .map()
        .lookup(&mntns.to_ne_bytes(), MapFlags::ANY)
        .expect("the map can be read");
    assert_eq!(value, None);
    child.kill().expect("the child is there");
    child.wait().expect("the child ends");
}

#[test]
fn a_process_that_leaves_its_containers_namespace_is_not_the_container() {
    let collection = start(CollectionOptions::default());
    let container = Running::start(
        "unshares",
        &["--security-opt", "seccomp=unconfined"],
        "unshare -r -m sleep 1000 & wait",
    );
    let found = eventually("the new container", || {
        find(&collection, &container.name).filter(|c| c.runtime.container_pid != 0)
    });
    assert_eq!(found.mntns, namespace(container.pid(), "mnt"));
    let inner = eventually("the process inside", || {
        let top = docker(&["top", &container.id, "-eo", "pid,args"]);
        let line = top
            .lines()
            .find(|line| line.trim_end().ends_with("sleep 1000") && !line.contains("sh -c"))?;
        let pid: u32 = line.split_whitespace().next()?.parse().ok()?;
        (namespace(pid, "mnt") != found.mntns).then_some(pid)
    });
    eventually("the decision about the inner namespace", || {
        let answer = collection.lookup(namespace(inner, "mnt"), 0);
        assert!(!matches!(answer, Lookup::Container(_)), "{answer:?}");
        matches!(answer, Lookup::NotContainer).then_some(())
    });
    assert!(matches!(collection.lookup(found.mntns, 0), Lookup::Container(c) if c.id() == container.id));
}

/// Reports every exec, and whether its mount namespace was in a given map at that moment, by a small eBPF program.
mod exec_probe;

/// A docker daemon of the test's own making.
mod fake_docker;
use fake_docker::{FakeContainer, FakeDocker};

/// A process in a mount namespace of its own, ended when dropped.
struct Process(Child);

impl Process {
    fn start() -> Self {
        Self::start_in(None)
    }

    /// The process is in `cgroup` before its namespace is made.
    fn start_in(cgroup: Option<&Path>) -> Self {
        let host = namespace(std::process::id(), "mnt");
        let join = cgroup.map_or(String::new(), |cgroup| {
            format!("echo $$ >{}/cgroup.procs && ", cgroup.display())
        });
        let script = format!("{join}exec unshare -m sleep 1000");
        let child = Command::new("sh").args(["-c", &script]).spawn().expect("sh can be run");
        let process = Self(child);
        eventually("the process's namespace", || (process.mntns() != host).then_some(()));
        process
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn mntns(&self) -> u64 {
        namespace(self.pid(), "mnt")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_with(socket: &Path, hook: bool) -> Arc<Collection> {
    log_to_test_output();
    let collection = Collection::start(CollectionOptions {
        runtimes: vec![RuntimeKind::Docker],
        docker_socket: socket.to_owned(),
        explicit_docker_socket: true,
        hook,
        ..CollectionOptions::default()
    })
    .expect("the collection starts");
    collection.wait_initial();
    collection
}

fn names(collection: &Collection) -> Vec<String> {
    collection
        .containers()
        .iter()
        .map(|c| c.runtime.container_name.clone())
        .collect()
}

#[test]
fn survives_docker_going_away() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("docker.sock");
    let processes = [Process::start(), Process::start(), Process::start()];
    let [a, b, c] = [('a', "one"), ('b', "two"), ('c', "three")];
    let make = |(digit, name): (char, &str), process: &Process| FakeContainer::new(digit, name, process.pid());
    let [a, b, c] = [make(a, &processes[0]), make(b, &processes[1]), make(c, &processes[2])];

    let daemon = FakeDocker::start(&socket, std::slice::from_ref(&a));
    let collection = start_with(&socket, false);
    assert_eq!(names(&collection), ["one"]);
    assert_eq!(collection.containers()[0].runtime.image_digest, "sha256:feed");
    let (_, events) = collection.subscribe(Selector::default());
    // The event can only be heard once the collection listens.
    let mut ran = false;
    eventually("the second container", || {
        if !std::mem::replace(&mut ran, true) {
            std::thread::sleep(Duration::from_millis(200));
            daemon.run(&b);
        }
        (names(&collection) == ["one", "two"]).then_some(())
    });

    drop(daemon);
    eventually("the warning", || (messages("docker went away") == 1).then_some(()));
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(names(&collection), ["one", "two"], "what is known stays known");
    assert_eq!(messages("docker went away"), 1, "said once");

    let _daemon = FakeDocker::start(&socket, &[b, c]);
    eventually("the new list", || {
        (names(&collection) == ["two", "three"]).then_some(())
    });
    let mut seen: Vec<_> = Vec::new();
    while seen.len() < 3 {
        let event = events.recv_timeout(Duration::from_secs(5)).expect("another event");
        seen.push(format!(
            "{} {}",
            event.kind.as_str(),
            event.container.runtime.container_name
        ));
    }
    assert_eq!(seen, ["CREATED two", "DELETED one", "CREATED three"]);
}

#[test]
fn does_not_wait_long_for_a_docker_that_hangs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let began = Instant::now();
    let collection = start_with(&socket, false);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(collection.containers().is_empty());
    assert_ne!(messages("docker did not answer within 2 seconds"), 0);
    drop(collection);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// A cgroup2 directory, removed when dropped.
struct CgroupDir(PathBuf);

impl CgroupDir {
    fn new(name: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        let mount = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then_some(path)
        });
        let path = Path::new(mount.expect("cgroup2 is mounted")).join(name);
        std::fs::create_dir(&path).expect("a cgroup can be made");
        Self(path)
    }
}

impl Drop for CgroupDir {
    fn drop(&mut self) {
        // The kernel needs a moment after the last process has ended.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_slow_runtime_keeps_events_waiting_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("docker.sock");
    let mut slow = FakeContainer::new('d', "slow", 0);
    slow.delay = Duration::from_millis(1500);
    let daemon = FakeDocker::start(&socket, &[]);
    let collection = start_with(&socket, true);
    let filter = collection.filter(Selector::container("slow"), 0).expect("a filter");
    let value = |mntns: u64| {
        filter
            .map()
            .lookup(&mntns.to_ne_bytes(), MapFlags::ANY)
            .expect("the map can be read")
    };
    let woken = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = woken.clone();
    let waker: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    });
    collection.on_decision(&waker);

    // The id is in the cgroup's name, docker has not announced it.
    let cgroup = CgroupDir::new(&format!("docker-{}.scope", slow.id));
    let stranger = CgroupDir::new(&format!("docker-{}.scope", "e".repeat(64)));
    let process = Process::start_in(Some(&cgroup.0));
    let other = Process::start_in(Some(&stranger.0));
    slow.pid = process.pid();
    let mntns = process.mntns();
    eventually("docker's 404", || {
        matches!(collection.lookup(other.mntns(), 0), Lookup::NotContainer).then_some(())
    });
    eventually("the stranger's end in the filter", || {
        value(other.mntns()).is_none().then_some(())
    });

    // docker did not know this one either when it was asked first: its announcement comes late.
    daemon.run(&slow);
    let found = eventually("the slow answer", || match collection.lookup(mntns, 0) {
        Lookup::Container(container) => Some(container),
        _ => None,
    });
    assert_eq!(found.runtime.container_name, "slow");
    assert_eq!(found.runtime.container_pid, process.pid());
    assert_eq!(value(mntns), Some(1u32.to_ne_bytes().to_vec()));
    assert_ne!(woken.load(std::sync::atomic::Ordering::SeqCst), 0);

    // This one is announced but takes its time: undecided, in the filter, and then decided.
    let mut second = FakeContainer::new('f', "slow", 0);
    second.delay = Duration::from_millis(1500);
    let cgroup = CgroupDir::new(&format!("docker-{}.scope", second.id));
    daemon.run(&second);
    let process = Process::start_in(Some(&cgroup.0));
    let mntns = process.mntns();
    let Lookup::Undecided(undecided) = collection.lookup(mntns, 0) else {
        panic!("decided too early")
    };
    assert_eq!(undecided.mntns(), mntns);
    assert_eq!(value(mntns), Some(2u32.to_ne_bytes().to_vec()));
    eventually("the decision", || undecided.decision());
    assert_eq!(undecided.container().expect("a container").id(), second.id);
    assert_eq!(value(mntns), Some(1u32.to_ne_bytes().to_vec()));
}

#[test]
fn a_full_filter_is_said() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("docker.sock");
    let _daemon = FakeDocker::start(&socket, &[]);
    let collection = start_with(&socket, true);
    let filter = collection.filter(Selector::container("x"), 0).expect("a filter");
    assert!(!filter.overflowed());
    for key in 0..u64::from(filter.map().max_entries()) {
        filter
            .map()
            .update(&key.to_ne_bytes(), &1u32.to_ne_bytes(), MapFlags::ANY)
            .expect("there is room");
    }
    let _process = Process::start();
    eventually("the overflow", || {
        collection.generation();
        filter.overflowed().then_some(())
    });
    assert_eq!(messages("the mount namespace filter is full"), 1);
}

#[test]
fn unusable_runtimes_are_named() {
    let options = || CollectionOptions {
        docker_socket: "/nonexistent/docker.sock".into(),
        ..CollectionOptions::default()
    };
    // Nobody asked for docker in particular: it is left out.
    let collection = Collection::start(options()).expect("the collection starts");
    collection.wait_initial();
    assert!(collection.containers().is_empty() && !collection.has_hook());
    for explicit in [
        CollectionOptions {
            explicit_docker_socket: true,
            ..options()
        },
        CollectionOptions {
            explicit_runtimes: true,
            runtimes: vec![RuntimeKind::Docker],
            ..options()
        },
    ] {
        let error = Collection::start(explicit).expect_err("it was asked for").to_string();
        assert_eq!(
            error,
            "runtime \"docker\" with non-existent socketPath \"/nonexistent/docker.sock\""
        );
    }
    let error = Collection::start(CollectionOptions {
        explicit_runtimes: true,
        runtimes: vec![RuntimeKind::Containerd],
        ..options()
    });
    let error = error.expect_err("containerd comes later");
    assert_eq!(error.kind(), inspektor_gadget::ErrorKind::Unsupported);
}
