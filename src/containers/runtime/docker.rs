//! docker, through its Engine API on a unix socket.
//!
//! Everything runs on the collection's one thread. Containers are listed at the start of a session and followed by their
//! events; a session that breaks is opened again, and then the list says what was missed.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum, EventMessage,
};
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use futures_util::StreamExt;
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{debug, info, warn};

use super::super::collection::Shared;
use super::super::host::{Host, boot_ns};
use super::super::options::CollectionOptions;
use super::super::table::{Known, Request, Running};
use super::super::{K8sInfo, RuntimeInfo, cgroup, id, oci};
use crate::{Error, ErrorKind, Result, ResultExt};

/// How long docker may take to answer one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The same of the client library, in seconds, whose message says less; ours is to come first.
const CLIENT_TIMEOUT: u64 = 10;
/// How long to wait before the next try after a failure.
const RETRY: Duration = Duration::from_millis(500);
/// How many requests may be under way at once while listing.
const CONCURRENCY: usize = 16;
/// The events that say something about a container's life.
const EVENTS: [&str; 6] = ["create", "start", "unpause", "die", "destroy", "rename"];

/// The docker side of a collection.
pub(in crate::containers) struct Client {
    shared: Arc<Shared>,
    host: Host,
    socket: PathBuf,
    details: bool,
    docker: RefCell<Option<Docker>>,
    /// Registry digests by image id. Images are content-addressed, but a digest is only learnt when an image is pulled
    /// or pushed, so that only those that have one are kept.
    digests: RefCell<HashMap<String, String>>,
    identifying: RefCell<HashSet<String>>,
}

impl Client {
    pub(in crate::containers) fn new(shared: Arc<Shared>, socket: PathBuf, options: &CollectionOptions) -> Self {
        Self {
            shared,
            host: options.host.clone(),
            socket,
            details: options.details,
            docker: RefCell::new(None),
            digests: RefCell::default(),
            identifying: RefCell::default(),
        }
    }

    /// Feeds the collection. Never ends; must run inside a [`LocalSet`](tokio::task::LocalSet).
    pub(in crate::containers) async fn run(self, requests: UnboundedReceiver<Request>) {
        let client = Rc::new(self);
        tokio::join!(client.clone().sessions(), client.answer(requests));
    }

    async fn sessions(self: Rc<Self>) {
        let mut connected_before = false;
        let mut outage = false;
        loop {
            let mut listed = false;
            let ended = self.session(|| {
                listed = true;
                if outage {
                    info!("docker answers again at {}", self.socket.display());
                }
            });
            let Err(error) = ended.await;
            self.docker.replace(None);
            if listed {
                connected_before = true;
                outage = false;
            }
            if !outage {
                outage = true;
                match connected_before {
                    false => warn!("Runtime enricher (docker): couldn't get current containers: {error}"),
                    true => warn!("docker went away: {error}; waiting for it to come back"),
                }
            }
            self.shared.runtimes_listed();
            tokio::time::sleep(RETRY).await;
        }
    }

    /// One connection: lists, then follows the events until the connection breaks.
    async fn session(self: &Rc<Self>, listed: impl FnOnce()) -> Result<std::convert::Infallible> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let docker = self.connect().await?;
        self.docker.replace(Some(docker.clone()));
        self.list(&docker).await?;
        listed();
        self.shared.runtimes_listed();

        // docker replays what happened since the time before the list, so that nothing falls in between.
        let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
        let filters = HashMap::from([("type", vec!["container"]), ("event", EVENTS.to_vec())]);
        let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
        let mut events = std::pin::pin!(docker.events(Some(options)));
        while let Some(event) = events.next().await {
            self.event(event.map_err(docker_error).context("reading docker's events")?);
        }
        Err(Error::new(ErrorKind::Network, "docker closed the stream of events"))
    }

    async fn connect(&self) -> Result<Docker> {
        let path = self.socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, CLIENT_TIMEOUT, bollard::API_DEFAULT_VERSION)
            .map_err(docker_error)
            .with_context(|| format!("connecting to docker at {path}"))?;
        timed(docker.negotiate_version())
            .await
            .with_context(|| format!("connecting to docker at {path}"))
    }

    /// Takes in all containers that run or are about to.
    async fn list(&self, docker: &Docker) -> Result<()> {
        let asked_at = boot_ns();
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let summaries = timed(docker.list_containers(Some(options)))
            .await
            .context("listing containers")?;
        let wanted: Vec<_> = summaries
            .into_iter()
            .filter(|summary| {
                use ContainerSummaryStateEnum::{CREATED, PAUSED, RESTARTING, RUNNING};
                matches!(summary.state, Some(CREATED | PAUSED | RESTARTING | RUNNING))
            })
            .collect();
        // A paused container is not an initial one, but it has not ended either.
        let alive = |summary: &&ContainerSummary| {
            matches!(
                summary.state,
                Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
            )
        };
        let alive: HashSet<String> = wanted
            .iter()
            .filter(alive)
            .filter_map(|summary| summary.id.clone())
            .collect();
        self.shared.update(|table| table.only_running(&alive, asked_at));
        futures_util::stream::iter(wanted)
            .for_each_concurrent(CONCURRENCY, |summary| async move {
                let Some(known) = known_from_summary(&summary) else {
                    return;
                };
                let id = known.runtime.container_id.clone();
                self.shared.update(|table| table.known(known.clone()));
                if let Err(error) = self.inspect(docker, &id).await {
                    debug!("inspecting container {id}: {error}");
                    self.complete(known);
                }
            })
            .await;
        Ok(())
    }

    /// Looks the container up and takes in what there is to know.
    async fn inspect(&self, docker: &Docker, id: &str) -> Result<()> {
        let response = timed(docker.inspect_container(id, None)).await?;
        let mut known = known_from_inspect(&response).ok_or_else(|| Error::invalid("docker's answer lacks the id"))?;
        known.runtime.image_digest = self.digest(docker, &known.runtime.image_id).await;
        let id = known.runtime.container_id.clone();
        let pid = running_pid(&response);
        self.shared.update(|table| table.known(known));
        if let Some(pid) = pid {
            self.running(&id, pid);
        }
        Ok(())
    }

    /// No more can be learnt about the container than this.
    fn complete(&self, known: Known) {
        self.shared.update(|table| {
            table.known(Known {
                complete: true,
                ..known
            })
        });
    }

    /// Takes in the namespaces of the container's init process.
    fn running(&self, id: &str, pid: u32) {
        let observe = || -> Result<Running> {
            let cgroup = std::fs::read_to_string(self.host.proc(pid, "cgroup"))?;
            match id::in_cgroup_file(&cgroup) {
                Some(other) if other != id => {
                    return Err(Error::not_found("the process is another container's by now"));
                }
                _ => {}
            }
            Ok(Running {
                pid,
                mntns: self.host.namespace(pid, "mnt")?,
                netns: self.host.namespace(pid, "net")?,
                started_at: self.host.proc_time(pid)?,
                ..Running::default()
            })
        };
        match observe() {
            Ok(running) => {
                self.shared.update(|table| table.running(id, running));
                self.read_details(id, pid);
            }
            Err(error) => debug!("container {id}: process {pid}: {error}"),
        }
    }

    /// The registry's digest of the image; empty when it has none.
    async fn digest(&self, docker: &Docker, image_id: &str) -> String {
        if image_id.is_empty() {
            return String::new();
        }
        if let Some(digest) = self.digests.borrow().get(image_id) {
            return digest.clone();
        }
        let image = match timed(docker.inspect_image(image_id)).await {
            Ok(image) => image,
            Err(error) => {
                debug!("Failed to get image digest for image {image_id}: {error}");
                return String::new();
            }
        };
        let Some(reference) = image.repo_digests.unwrap_or_default().into_iter().next() else {
            debug!("No digest found for image {image_id}");
            return String::new();
        };
        let Some((_, digest)) = reference.split_once('@') else {
            debug!("Digest is in wrong format for image {image_id}");
            return String::new();
        };
        self.digests.borrow_mut().insert(image_id.to_owned(), digest.to_owned());
        digest.to_owned()
    }

    fn event(self: &Rc<Self>, event: EventMessage) {
        let Some(actor) = event.actor else { return };
        let (Some(id), Some(action)) = (actor.id, event.action) else {
            return;
        };
        if let Err(error) = id::validate_container_id(&id) {
            return warn!("docker: ignoring container with invalid ID: {error}");
        }
        debug!("docker: container {id}: {action}");
        let attributes = actor.attributes.unwrap_or_default();
        match action.as_str() {
            "create" => {
                let known = known_from_attributes(&id, &attributes);
                self.shared.update(|table| table.known(known.clone()));
                self.spawn(async move |client, docker| {
                    if let Err(error) = client.inspect(&docker, &id).await {
                        debug!("inspecting container {id}: {error}");
                        client.complete(known);
                    }
                });
            }
            "start" | "unpause" => self.spawn(async move |client, docker| {
                if let Err(error) = client.inspect(&docker, &id).await {
                    debug!("inspecting container {id}: {error}");
                    if !client.shared.update(|table| table.is_complete(&id)) {
                        client.complete(known_from_attributes(&id, &attributes));
                    }
                }
            }),
            "die" => self.shared.update(|table| table.died(&id, event.time_nano, boot_ns())),
            "destroy" => self.shared.update(|table| table.destroyed(&id, boot_ns())),
            "rename" => {
                if let Some(name) = attributes.get("name") {
                    self.shared
                        .update(|table| table.renamed(&id, name.trim_start_matches('/')));
                }
            }
            _ => {}
        }
    }

    fn spawn<F: Future<Output = ()> + 'static>(self: &Rc<Self>, work: impl FnOnce(Rc<Self>, Docker) -> F) {
        if let Some(docker) = self.docker.borrow().clone() {
            tokio::task::spawn_local(work(self.clone(), docker));
        }
    }

    async fn answer(self: Rc<Self>, mut requests: UnboundedReceiver<Request>) {
        while let Some(request) = requests.recv().await {
            match request {
                Request::Identify(id) => {
                    if self.identifying.borrow_mut().insert(id.clone()) {
                        let client = self.clone();
                        tokio::task::spawn_local(async move {
                            client.identify(&id).await;
                            client.identifying.borrow_mut().remove(&id);
                        });
                    }
                }
                Request::Details { id, pid } => self.read_details(&id, pid),
                Request::Resync => self.spawn(async move |client, docker| {
                    if let Err(error) = client.list(&docker).await {
                        debug!("listing again: {error}");
                    }
                }),
            }
        }
    }

    /// Finds out about an id that docker has not announced, until it is known or nobody waits for it.
    async fn identify(&self, id: &str) {
        while self.shared.update(|table| table.is_awaited(id)) {
            let docker = self.docker.borrow().clone();
            if let Some(docker) = docker {
                match self.inspect(&docker, id).await {
                    Ok(()) => return,
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        debug!("docker does not know container {id}");
                        return self.shared.update(|table| table.unknown(id));
                    }
                    Err(error) => debug!("inspecting container {id}: {error}"),
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn read_details(&self, id: &str, pid: u32) {
        if !self.details || !self.shared.update(|table| table.lacks_details(id, pid)) {
            return;
        }
        let cgroup = cgroup::of_process(&self.host, pid)
            .inspect_err(|error| debug!("container {id}: {error}"))
            .ok();
        let config = oci::docker_config(&self.host, id, pid)
            .inspect_err(|error| debug!("OCIConfig enricher: container {id}: {error}"))
            .unwrap_or_default();
        self.shared.update(|table| table.details(id, pid, cgroup, config));
    }
}

/// Waits for docker's answer, but not for long.
async fn timed<T>(request: impl Future<Output = std::result::Result<T, bollard::errors::Error>>) -> Result<T> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(docker_error),
        Err(_) => {
            let message = format!("docker did not answer within {} seconds", REQUEST_TIMEOUT.as_secs());
            Err(Error::new(ErrorKind::Network, message))
        }
    }
}

fn docker_error(error: bollard::errors::Error) -> Error {
    use bollard::errors::Error as Docker;
    let kind = match &error {
        Docker::DockerResponseServerError { status_code: 404, .. } => ErrorKind::NotFound,
        Docker::IOError { err } if err.kind() == std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
        _ => ErrorKind::Network,
    };
    // What lies below says more than what is on top ("client error (Connect)").
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = cause.source();
    }
    Error::new(kind, message)
}

fn known_from_summary(summary: &ContainerSummary) -> Option<Known> {
    let labels = summary.labels.as_ref();
    let names = summary.names.as_deref().unwrap_or_default();
    known(
        summary.id.as_deref()?,
        names.first().map_or("", String::as_str),
        summary.image.as_deref().unwrap_or_default(),
        summary.image_id.as_deref().unwrap_or_default(),
        labels,
    )
}

fn known_from_inspect(response: &ContainerInspectResponse) -> Option<Known> {
    let config = response.config.as_ref();
    let known = known(
        response.id.as_deref()?,
        response.name.as_deref().unwrap_or_default(),
        config.and_then(|config| config.image.as_deref()).unwrap_or_default(),
        response.image.as_deref().unwrap_or_default(),
        config.and_then(|config| config.labels.as_ref()),
    )?;
    Some(Known {
        complete: true,
        ..known
    })
}

/// What an event says. Its attributes are the container's labels and a few more.
fn known_from_attributes(id: &str, attributes: &HashMap<String, String>) -> Known {
    let attribute = |key| attributes.get(key).map_or("", String::as_str);
    known(id, attribute("name"), attribute("image"), "", Some(attributes)).unwrap_or_default()
}

fn known(id: &str, name: &str, image: &str, image_id: &str, labels: Option<&HashMap<String, String>>) -> Option<Known> {
    if let Err(error) = id::validate_container_id(id) {
        warn!("docker: ignoring container with invalid ID: {error}");
        return None;
    }
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    Some(Known {
        runtime: RuntimeInfo {
            runtime_name: "docker".into(),
            container_id: id.to_owned(),
            container_name: name.strip_prefix('/').unwrap_or(name).to_owned(),
            image_name: image_name(image).to_owned(),
            image_id: image_id.to_owned(),
            ..RuntimeInfo::default()
        },
        k8s: K8sInfo::from_labels(label),
        sandbox: label("io.kubernetes.docker.type") == Some("podsandbox"),
        complete: false,
    })
}

/// An image reference without its digest.
fn image_name(reference: &str) -> &str {
    reference.split_once('@').map_or(reference, |(name, _)| name)
}

fn running_pid(response: &ContainerInspectResponse) -> Option<u32> {
    let state = response.state.as_ref()?;
    if state.status != Some(ContainerStateStatusEnum::RUNNING) {
        return None;
    }
    u32::try_from(state.pid?).ok().filter(|&pid| pid != 0)
}

impl Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "docker at {}", self.socket.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names() {
        for (reference, name) in [
            (
                "busybox@sha256:3fbc632167424a6d997e74f52b878d7cc478225cffac6bc977eedfe51c7f4e79",
                "busybox",
            ),
            ("busybox", "busybox"),
            ("docker.io/library/busybox:1@sha256:ab", "docker.io/library/busybox:1"),
            ("sha256:cd", "sha256:cd"),
        ] {
            assert_eq!(image_name(reference), name);
        }
    }

    #[test]
    fn events_tell_name_image_and_pod() {
        let attributes = [
            ("name", "web"),
            ("image", "nginx@sha256:ab"),
            ("io.kubernetes.pod.name", "pod"),
            ("io.kubernetes.docker.type", "podsandbox"),
        ];
        let attributes = attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let known = known_from_attributes("abc", &attributes);
        assert_eq!(known.runtime.container_id, "abc");
        assert_eq!(known.runtime.container_name, "web");
        assert_eq!(known.runtime.image_name, "nginx");
        assert_eq!(known.k8s.pod_name, "pod");
        assert!(known.sandbox && !known.complete);
    }

    #[test]
    fn inspect_answers() {
        let text = r#"{"Id":"abc","Name":"/web","Image":"sha256:1","State":{"Status":"running","Pid":42},
            "Config":{"Image":"busybox:1@sha256:2","Labels":{"io.kubernetes.pod.uid":"u"}}}"#;
        let response: ContainerInspectResponse = serde_json::from_str(text).unwrap();
        let known = known_from_inspect(&response).unwrap();
        assert_eq!(known.runtime.container_name, "web");
        assert_eq!(
            (known.runtime.image_name.as_str(), known.runtime.image_id.as_str()),
            ("busybox:1", "sha256:1")
        );
        assert_eq!(known.k8s.pod_uid, "u");
        assert!(known.complete);
        assert_eq!(running_pid(&response), Some(42));
        for state in [r#"{"Status":"exited","Pid":42}"#, r#"{"Status":"running","Pid":0}"#] {
            let text = format!(r#"{{"Id":"abc","State":{state}}}"#);
            let response: ContainerInspectResponse = serde_json::from_str(&text).unwrap();
            assert_eq!(running_pid(&response), None);
        }
        assert!(known_from_inspect(&serde_json::from_str(r#"{"Id":"../x"}"#).unwrap()).is_none());
    }
}
