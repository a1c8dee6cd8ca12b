//! `ig list-containers`: the containers that gadgets can select, as a table or as JSON, once or as they come and go.

mod columns;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command};
use serde::Serialize;
use tracing::warn;

use self::columns::{COLUMNS, Column, Row, cells, header, widths, write_line};
use super::flags;
use super::signals::Interrupts;
use super::stdout::stdout;
use crate::containers::{
    Collection, CollectionOptions, Container, ContainerEvent, ContainerEventKind, DOCKER_SOCKET, MissingSocket,
    RuntimeKind, Selector,
};
use crate::stop::StopSignal;
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
    let stop = StopSignal::default();
    if arguments.watch {
        Interrupts::take()?.end(stop.clone());
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
    stop: &StopSignal,
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
    stop: &StopSignal,
) -> Option<ContainerEvent> {
    loop {
        if stop.is_requested() {
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
    let local = time.to_zoned(crate::local_time::zone());
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
    let local = time.to_zoned(crate::local_time::zone());
    local.strftime("%Y-%m-%dT%H:%M:%S.%9f").to_string() + &offset(&local)
}

fn offset(time: &jiff::Zoned) -> String {
    match time.offset().seconds() {
        0 => "Z".to_owned(),
        _ => time.strftime("%:z").to_string(),
    }
}
