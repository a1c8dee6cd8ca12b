//! `ig list-containers`: the containers that gadgets can select, as a table or as JSON, once or as they come and go.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command};
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;
use tracing::warn;

use super::flags;
use super::stdout::stdout;
use crate::containers::{
    Collection, CollectionOptions, Container, ContainerEvent, ContainerEventKind, DOCKER_SOCKET, MissingSocket,
    RuntimeKind, Selector,
};
use crate::text::printable;
use crate::{Error, Result, ResultExt};

/// How often a watch looks whether it shall end.
const TICK: Duration = Duration::from_millis(200);

pub(super) fn command() -> Command {
    let text = |name: &'static str, help: &'static str| flags::text(name, "", help);
    Command::new("list-containers")
        .about("List all containers")
        .args([
            text("containerd-namespace", "Namespace of containerd in which to look").default_value("k8s.io"),
            text("containerd-socketpath", "Unix socket of containerd").default_value("/run/containerd/containerd.sock"),
            text(
                "containerimage-digest",
                "Show only containers whose image has this digest; `!` excludes, `,` separates",
            )
            .alias("runtime-containerimage-digest"),
            text(
                "containerimage-id",
                "Show only containers whose image has this id; `!` excludes, `,` separates",
            )
            .alias("runtime-containerimage-id"),
            text(
                "containername",
                "Show only containers of this name; `!` excludes, `,` separates",
            )
            .short('c')
            .alias("runtime-containername"),
            text("crio-socketpath", "Unix socket of CRI-O").default_value("/run/crio/crio.sock"),
            text("docker-socketpath", "Unix socket of the Docker Engine API").default_value(DOCKER_SOCKET),
            flags::switch("host", "Accepted for the sake of scripts; the host is no container"),
            text(
                "k8s-containername",
                "Show only containers that have this name in their pod's specification",
            ),
            text(
                "k8s-namespace",
                "Show only containers of pods in this Kubernetes namespace",
            ),
            text("k8s-podname", "Show only containers of the pod of this name"),
            text(
                "output",
                "Output mode: `json`, or `columns=<name>[,<name>...]` to choose the columns of the table",
            )
            .short('o'),
            text("podman-socketpath", "Unix socket of podman").default_value("/run/podman/podman.sock"),
            text(
                "runtime-protocol",
                "Protocol to speak with the container runtime: internal or cri",
            )
            .default_value("internal"),
            text(
                "runtimes",
                "Container runtimes to ask, separated by `,`: docker, containerd, cri-o, podman",
            )
            .short('r')
            .default_value("docker,containerd,cri-o,podman"),
            flags::int("timeout", "0", "End a watch after this many seconds; 0 means never"),
            flags::switch("watch", "Go on with events after the list").short('w'),
        ])
        .arg(Arg::new("ignored").num_args(0..).hide(true))
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let arguments = Arguments::parse(matches)?;
    let terminal = io::stdout().is_terminal();
    let stop = Arc::new(AtomicBool::new(false));
    if arguments.watch {
        // Before any thread is started: all of them inherit the mask, and only the waiter gets the signal.
        stop_on_signal(&stop)?;
    }
    let collection = Collection::start(arguments.collection.clone())?;
    collection.wait_initial();
    let out = io::BufWriter::new(stdout());
    match arguments.watch {
        false => list(&collection, &arguments, terminal, out),
        true => watch(&collection, &arguments, terminal, &stop, out),
    }
    .context("writing the list of containers")
}

struct Arguments {
    collection: CollectionOptions,
    selector: Selector,
    output: Output,
    watch: bool,
    timeout: Duration,
}

enum Output {
    Json,
    Columns(Vec<&'static Column>),
}

impl Arguments {
    fn parse(matches: &ArgMatches) -> Result<Self> {
        let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
        let watch = matches.get_flag("watch");
        match text("runtime-protocol").as_str() {
            "internal" => {}
            "cri" => {
                return Err(Error::unsupported(
                    "runtime protocol \"cri\": this build can only ask docker itself so far",
                ));
            }
            other => {
                return Err(Error::invalid(format!("runtime protocol {other:?} is not supported"))
                    .context("invalid argument '--runtime-protocol'")
                    .with_hint("supported values are: internal, cri"));
            }
        }
        let is_given = |name: &str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
        let collection = CollectionOptions {
            runtimes: RuntimeKind::parse_list(&text("runtimes"))?,
            explicit_runtimes: is_given("runtimes"),
            docker_socket: PathBuf::from(text("docker-socketpath")),
            explicit_docker_socket: is_given("docker-socketpath"),
            missing_socket: MissingSocket::Wait,
            details: true,
            // What runs already is found without; what comes is not.
            hook: watch,
            ..CollectionOptions::default()
        };
        let selector = Selector {
            k8s_namespace: text("k8s-namespace"),
            k8s_pod_name: text("k8s-podname"),
            k8s_container_name: text("k8s-containername"),
            runtime_container_name: text("containername"),
            image_id: text("containerimage-id"),
            image_digest: text("containerimage-digest"),
            ..Selector::default()
        };
        let ignored: Vec<_> = matches.get_many::<String>("ignored").into_iter().flatten().collect();
        if !ignored.is_empty() {
            warn!("list-containers takes no arguments, ignoring {ignored:?}");
        }
        Ok(Self {
            collection,
            selector,
            output: Output::parse(&text("output"), watch)?,
            watch,
            timeout: Duration::from_secs(
                matches
                    .get_one::<i64>("timeout")
                    .map_or(0, |&seconds| seconds.max(0) as u64),
            ),
        })
    }
}

impl Output {
    fn parse(text: &str, watch: bool) -> Result<Self> {
        if text == "json" {
            return Ok(Self::Json);
        }
        let available = || COLUMNS.iter().filter(move |column| watch || !column.event);
        if text.is_empty() {
            return Ok(Self::Columns(available().filter(|column| column.visible).collect()));
        }
        let names = match text.split_once('=') {
            Some(("columns", names)) => names.to_lowercase(),
            None if text == "columns" => {
                return Err(Error::invalid("expects a comma separated list of columns to use")
                    .context("invalid argument 'columns'"));
            }
            _ => {
                return Err(Error::invalid(format!("{text:?} output mode is not supported"))
                    .with_hint("supported are: json, columns=<name>[,<name>...]"));
            }
        };
        let names: Vec<_> = names.split(',').map(str::trim).collect();
        if names.iter().any(|name| name.is_empty()) {
            return Err(Error::invalid("column can't be empty").context("invalid argument 'columns'"));
        }
        let find = |name: &&str| available().find(|column| column.name.eq_ignore_ascii_case(name));
        let unknown: Vec<_> = names.iter().copied().filter(|name| find(name).is_none()).collect();
        if !unknown.is_empty() {
            let known: Vec<_> = available().map(|column| column.name).collect();
            return Err(Error::invalid(format!("invalid columns: {}", unknown.join(", ")))
                .context("creating parser")
                .with_hint(format!("available columns: {}", known.join(", "))));
        }
        Ok(Self::Columns(names.iter().filter_map(find).collect()))
    }
}

// ---- the table

struct Column {
    name: &'static str,
    /// Shown unless columns are chosen.
    visible: bool,
    /// Only events have it.
    event: bool,
    value: fn(&Row) -> String,
}

struct Row<'a> {
    timestamp: &'a str,
    kind: ContainerEventKind,
    container: &'a Container,
}

/// All columns, in the order of the table.
static COLUMNS: [Column; 17] = {
    const fn column(name: &'static str, visible: bool, value: fn(&Row) -> String) -> Column {
        Column {
            name,
            visible,
            event: false,
            value,
        }
    }
    [
        Column {
            event: true,
            ..column("timestamp", true, |row| row.timestamp.to_owned())
        },
        Column {
            event: true,
            ..column("event", true, |row| row.kind.as_str().to_owned())
        },
        column("runtime.runtimeName", true, |row| {
            row.container.runtime.runtime_name.clone()
        }),
        column("runtime.containerId", true, |row| {
            row.container.runtime.container_id.clone()
        }),
        column("runtime.containerName", true, |row| {
            row.container.runtime.container_name.clone()
        }),
        column("runtime.containerPid", true, |row| {
            row.container.runtime.container_pid.to_string()
        }),
        column("runtime.containerImageName", true, |row| {
            short_image_name(&row.container.runtime.image_name)
        }),
        column("runtime.containerImageID", true, |row| {
            row.container.runtime.image_id.clone()
        }),
        column("runtime.containerImageDigest", true, |row| {
            row.container.runtime.image_digest.clone()
        }),
        column("runtime.containerStartedAt", true, |row| {
            timestamp_ns(row.container.runtime.started_at)
        }),
        column("k8s.namespace", false, |row| row.container.k8s.namespace.clone()),
        column("k8s.podName", false, |row| row.container.k8s.pod_name.clone()),
        column("k8s.labels", false, |row| row.container.k8s.pod_labels_text()),
        column("k8s.containerName", false, |row| {
            row.container.k8s.container_name.clone()
        }),
        column("mntns", false, |row| row.container.mntns.to_string()),
        column("netns", false, |row| row.container.netns.to_string()),
        column("hostNetwork", false, |row| row.container.host_network.to_string()),
    ]
};

fn short_image_name(name: &str) -> String {
    if !name.contains("sha256") {
        return name.to_owned();
    }
    let digits = name.split_once(':').map_or(name, |(_, digits)| digits);
    digits.chars().take(12).collect()
}

fn cells(columns: &[&Column], row: &Row) -> Vec<String> {
    columns.iter().map(|column| printable(&(column.value)(row))).collect()
}

fn header(columns: &[&Column]) -> Vec<String> {
    columns.iter().map(|column| column.name.to_uppercase()).collect()
}

/// Writes a line, each cell but the last padded to its width; in a pipe there are no widths.
fn write_line(out: &mut impl Write, cells: &[String], widths: &[usize]) -> io::Result<()> {
    let mut line = String::new();
    for (i, cell) in cells.iter().enumerate() {
        if i > 0 {
            line.push(' ');
        }
        line.push_str(cell);
        let missing = widths.get(i).copied().unwrap_or(0).saturating_sub(cell.chars().count());
        if i + 1 < cells.len() {
            line.extend(std::iter::repeat_n(' ', missing));
        }
    }
    line.push('\n');
    out.write_all(line.as_bytes())
}

fn widths<'a>(rows: impl IntoIterator<Item = &'a Vec<String>>) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

// ---- the two ways to run

fn list(collection: &Collection, arguments: &Arguments, terminal: bool, mut out: impl Write) -> io::Result<()> {
    let mut containers = collection.containers();
    containers.retain(|container| arguments.selector.matches(container));
    containers.sort_by(|a, b| {
        let key = |c: &Container| (c.runtime.runtime_name.clone(), c.runtime.container_name.clone());
        key(a).cmp(&key(b))
    });
    match &arguments.output {
        Output::Json => {
            let containers: Vec<&Container> = containers.iter().map(Arc::as_ref).collect();
            out.write_all(json(&containers)?.as_bytes())?;
        }
        Output::Columns(columns) => {
            let mut lines = vec![header(columns)];
            for container in &containers {
                let row = Row {
                    timestamp: "",
                    kind: ContainerEventKind::Created,
                    container,
                };
                lines.push(cells(columns, &row));
            }
            let widths = if terminal { widths(&lines) } else { Vec::new() };
            for line in &lines {
                write_line(&mut out, line, &widths)?;
            }
        }
    }
    out.flush()
}

fn watch(
    collection: &Collection,
    arguments: &Arguments,
    terminal: bool,
    stop: &AtomicBool,
    mut out: impl Write,
) -> io::Result<()> {
    let deadline = (!arguments.timeout.is_zero()).then(|| Instant::now() + arguments.timeout);
    let (existing, events) = collection.subscribe(arguments.selector.clone());
    let mut lines = EventLines::new(&arguments.output, terminal, &existing);
    lines.begin(&mut out)?;
    let now = timestamp(jiff::Timestamp::now());
    for container in existing {
        let event = ContainerEvent {
            kind: ContainerEventKind::Created,
            container,
        };
        lines.write(&mut out, &now, &event)?;
    }
    out.flush()?;
    while let Some(event) = next_event(&events, deadline, stop) {
        lines.write(&mut out, &timestamp(jiff::Timestamp::now()), &event)?;
        out.flush()?;
    }
    Ok(())
}

/// The next event; none when it is time to end.
fn next_event(
    events: &Receiver<ContainerEvent>,
    deadline: Option<Instant>,
    stop: &AtomicBool,
) -> Option<ContainerEvent> {
    loop {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let left = deadline.map_or(TICK, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return None;
        }
        match events.recv_timeout(left.min(TICK)) {
            Ok(event) => return Some(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Sets `stop` on SIGINT or SIGTERM. Must be called while the process has one thread.
fn stop_on_signal(stop: &Arc<AtomicBool>) -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("blocking signals")?;
    let stop = stop.clone();
    std::thread::Builder::new()
        .name("ig-signals".to_owned())
        .spawn(move || {
            if signals.wait().is_ok() {
                stop.store(true, Ordering::Relaxed);
            }
            // A second one ends at once, whatever holds the rest up.
            if signals.wait().is_ok() {
                std::process::exit(130);
            }
        })
        .context("starting the signal thread")?;
    Ok(())
}

/// How events are written, one after the other.
struct EventLines<'a> {
    output: &'a Output,
    widths: Vec<usize>,
}

#[derive(Serialize)]
struct JsonEvent<'a> {
    timestamp: &'a str,
    event: ContainerEventKind,
    container: &'a Container,
}

impl<'a> EventLines<'a> {
    /// The widths follow what is there at the beginning; later lines may be longer.
    fn new(output: &'a Output, terminal: bool, existing: &[Arc<Container>]) -> Self {
        let mut all = Vec::new();
        if let (Output::Columns(columns), true) = (output, terminal) {
            all.push(header(columns));
            let now = timestamp(jiff::Timestamp::now());
            all.extend(existing.iter().map(|container| {
                let row = Row {
                    timestamp: &now,
                    kind: ContainerEventKind::Created,
                    container,
                };
                cells(columns, &row)
            }));
        }
        Self {
            output,
            widths: widths(&all),
        }
    }

    fn begin(&self, out: &mut impl Write) -> io::Result<()> {
        match self.output {
            Output::Json => Ok(()),
            Output::Columns(columns) => write_line(out, &header(columns), &self.widths),
        }
    }

    fn write(&mut self, out: &mut impl Write, timestamp: &str, event: &ContainerEvent) -> io::Result<()> {
        let container = event.container.as_ref();
        match self.output {
            Output::Json => {
                let event = JsonEvent {
                    timestamp,
                    event: event.kind,
                    container,
                };
                out.write_all(json(&event)?.as_bytes())
            }
            Output::Columns(columns) => {
                let row = Row {
                    timestamp,
                    kind: event.kind,
                    container,
                };
                write_line(out, &cells(columns, &row), &self.widths)
            }
        }
    }
}

// ---- values

/// Indented JSON and a newline. `<`, `>` and `&` are escaped, as upstream does, and so are control characters that JSON
/// would let through to a terminal.
fn json(value: &impl Serialize) -> io::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    let mut escaped = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            // These occur in strings only.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{7f}'..='\u{9f}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => escaped.push(c),
        }
    }
    escaped.push('\n');
    Ok(escaped)
}

/// RFC 3339 in local time, whole seconds.
fn timestamp(time: jiff::Timestamp) -> String {
    let local = time.to_zoned(jiff::tz::TimeZone::system());
    local.strftime("%Y-%m-%dT%H:%M:%S").to_string() + &offset(&local)
}

/// RFC 3339 in local time with all nine digits of the second; empty for 0.
fn timestamp_ns(ns: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_nanosecond(ns.into()) else {
        return String::new();
    };
    if ns == 0 {
        return String::new();
    }
    let local = time.to_zoned(jiff::tz::TimeZone::system());
    local.strftime("%Y-%m-%dT%H:%M:%S.%9f").to_string() + &offset(&local)
}

fn offset(time: &jiff::Zoned) -> String {
    match time.offset().seconds() {
        0 => "Z".to_owned(),
        _ => time.strftime("%:z").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::containers::{K8sInfo, RuntimeInfo};

    fn parse(args: &[&str]) -> Result<Arguments> {
        let command = flags::normalize(command());
        let matches = command.try_get_matches_from(std::iter::once(&"list-containers").chain(args));
        Arguments::parse(&matches.expect("the flags are known"))
    }

    fn message(args: &[&str]) -> String {
        match parse(args) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{args:?} is accepted"),
        }
    }

    #[test]
    fn bad_arguments_are_named() {
        for (args, expected) in [
            (
                &["-o", "columns"][..],
                "invalid argument 'columns': expects a comma separated list of columns to use",
            ),
            (&["-o", "columns="], "invalid argument 'columns': column can't be empty"),
            (
                &["-o", "columns=mntns,,netns"],
                "invalid argument 'columns': column can't be empty",
            ),
            (
                &["-o", "columns=containerName"],
                "creating parser: invalid columns: containername",
            ),
            (
                &["-o", "columns=nosuch,mntns,X"],
                "creating parser: invalid columns: nosuch, x",
            ),
            (&["-o", "columns=event"], "creating parser: invalid columns: event"),
            (&["-o", "yaml"], "\"yaml\" output mode is not supported"),
            (
                &["-r", "foo"],
                "invalid argument '--runtime / -r': runtime \"foo\" is not supported",
            ),
            (
                &["--runtime-protocol", "x"],
                "invalid argument '--runtime-protocol': runtime protocol \"x\" is not supported",
            ),
        ] {
            assert_eq!(message(args), expected);
        }
        let error = parse(&["--runtime-protocol", "cri"])
            .err()
            .expect("cri is not there yet");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn arguments_select() {
        let arguments = parse(&[
            "-c",
            "a,!b",
            "--runtime-containerimage-id",
            "x",
            "-r",
            "docker",
            "extra",
        ])
        .unwrap();
        assert_eq!(arguments.selector.runtime_container_name, "a,!b");
        assert_eq!(arguments.selector.image_id, "x");
        assert!(arguments.collection.explicit_runtimes && !arguments.collection.explicit_docker_socket);
        assert!(!arguments.collection.hook, "a plain list needs no eBPF");
        let arguments = parse(&[
            "--runtime-containername",
            "a",
            "-w",
            "--timeout",
            "3",
            "-o",
            "columns=event",
        ])
        .unwrap();
        assert_eq!(arguments.selector.runtime_container_name, "a");
        assert_eq!(arguments.timeout, Duration::from_secs(3));
        assert!(arguments.watch && arguments.collection.hook);
    }

    fn container() -> Container {
        Container {
            runtime: RuntimeInfo {
                runtime_name: "docker".into(),
                container_id: "abc".into(),
                container_name: "ref1".into(),
                container_pid: 14126,
                image_name: "sha256:0123456789abcdef".into(),
                image_id: "sha256:1".into(),
                image_digest: String::new(),
                started_at: 0,
            },
            k8s: K8sInfo {
                namespace: "a\u{1b}[2Jb".into(),
                ..K8sInfo::default()
            },
            ..Container::default()
        }
    }

    fn event_lines(output: &str, terminal: bool) -> String {
        let output = Output::parse(output, true).unwrap();
        let container = Arc::new(container());
        let mut lines = EventLines::new(&output, terminal, std::slice::from_ref(&container));
        let mut out = Vec::new();
        lines.begin(&mut out).unwrap();
        let event = ContainerEvent {
            kind: ContainerEventKind::Deleted,
            container,
        };
        lines.write(&mut out, "T", &event).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_in_a_pipe_is_not_padded() {
        assert_eq!(
            event_lines("", false),
            "TIMESTAMP EVENT RUNTIME.RUNTIMENAME RUNTIME.CONTAINERID RUNTIME.CONTAINERNAME RUNTIME.CONTAINERPID \
             RUNTIME.CONTAINERIMAGENAME RUNTIME.CONTAINERIMAGEID RUNTIME.CONTAINERIMAGEDIGEST RUNTIME.CONTAINERSTARTEDAT\n\
             T DELETED docker abc ref1 14126 0123456789ab sha256:1  \n"
        );
        assert_eq!(
            event_lines("columns=runtime.containername,event,K8S.NAMESPACE", false),
            "RUNTIME.CONTAINERNAME EVENT K8S.NAMESPACE\nref1 DELETED a\\u{1b}[2Jb\n"
        );
    }

    #[test]
    fn a_table_on_a_terminal_is_aligned() {
        assert_eq!(
            event_lines("columns=runtime.containername,event", true),
            "RUNTIME.CONTAINERNAME EVENT\nref1                  DELETED\n"
        );
    }

    #[test]
    fn nothing_to_list() {
        let collection = Collection::start(CollectionOptions {
            runtimes: Vec::new(),
            ..CollectionOptions::default()
        });
        let collection = collection.unwrap();
        collection.wait_initial();
        for (args, expected) in [
            (&["-o", "json", "-c", "nonexisting"][..], "[]\n"),
            (&["-o", "columns=mntns,netns"], "MNTNS NETNS\n"),
        ] {
            let mut out = Vec::new();
            list(&collection, &parse(args).unwrap(), false, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn json_events() {
        let text = event_lines("json", false);
        assert!(
            text.starts_with("{\n  \"timestamp\": \"T\",\n  \"event\": \"DELETED\",\n  \"container\": {\n"),
            "{text}"
        );
        assert_eq!(json(&Vec::<Container>::new()).unwrap(), "[]\n");
        assert_eq!(
            json(&"a<b>&\u{9b}\n").unwrap(),
            "\"a\\u003cb\\u003e\\u0026\\u009b\\n\"\n"
        );
    }

    #[test]
    fn times() {
        assert_eq!(timestamp_ns(0), "");
        let text = timestamp_ns(1_795_256_000_207_115_200);
        assert!(
            text.contains(".207115200") && text.len() >= "2026-11-21T10:13:20.207115200Z".len(),
            "{text}"
        );
        let text = timestamp(jiff::Timestamp::from_second(1_795_256_000).unwrap());
        assert!(
            !text.contains('.') && text.len() >= "2026-11-21T10:13:20Z".len(),
            "{text}"
        );
    }
}
