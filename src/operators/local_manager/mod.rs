//! Containers: which events are of selected containers, and the names of the container that an event happened in.
//!
//! Selection happens in the kernel, through the mount-namespace filter of the [`Collection`], and once more in a [`Gate`] on
//! raw records: that holds back records of namespaces of which it is not known yet whose they are.
//!
//! [`Gate`]: crate::data::Gate

mod announce;
mod fields;
mod gate;
mod known;

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use self::announce::Announcer;
use self::fields::{ContainerField, add_container_fields, has_rivals};
use self::gate::{ContainerGate, Selection};
use self::known::KnownContainers;
use super::{
    Context, Explanation, Instance, KernelFilter, NetworkNamespace, NetworkNamespaces, OperatorNote, RecordIds, Stream,
    explain, priority,
};
use crate::containers::{Collection, Container, Host, Lookup, LookupCache, MntnsFilter, Places, Selector};
use crate::data::{Accessor, Derivation, Derive, Element, FieldId, Flow};
use crate::metadata::params::{Param, ParamValues, TypeHint};
use crate::{Error, Result, ResultExt};

/// Prefix of the full names of this operator's parameters.
pub const PARAM_PREFIX: &str = "operator.LocalManager.";

/// The parameter that names a network interface.
const INTERFACE: &str = "operator.oci.ebpf.iface";

const MNTNS_TAG: &str = "type:gadget_mntns_id";
const NETNS_TAG: &str = "type:gadget_netns_id";
const TIMESTAMP_TAG: &str = "type:gadget_timestamp";

/// Where containers come from.
#[derive(Clone, Debug)]
pub enum ContainerSource {
    /// A running collection.
    Collection(Arc<Collection>),
    /// A collection that is replayed from a recording: what the kernel side would have selected is selected here.
    Recorded(Arc<Collection>),
    /// There is none, and this is why. Only runs that look at the whole host work then.
    Unavailable(String),
}

/// What a gadget's kernel side needs to know of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerNeeds {
    /// Whether it can be restricted to mount namespaces.
    pub filters: bool,
    /// Whether it is told which network namespaces to look into.
    pub visits_netns: bool,
    /// Whether programs are attached inside containers.
    pub attaches: bool,
    /// Whether programs are attached to the network interfaces of containers, unless one is named.
    pub attaches_to_interfaces: bool,
}

impl ContainerNeeds {
    fn any(self) -> bool {
        self.filters || self.visits_netns || self.attaches || self.attaches_to_interfaces
    }
}

/// Selection and enrichment for one gadget.
#[derive(Debug)]
pub struct LocalManager {
    containers: ContainerSource,
    needs: ContainerNeeds,
    streams: Vec<EnrichedStream>,
    announcer: Option<Announcer>,
    host: bool,
    selector: Selector,
    filter: Option<Arc<MntnsFilter>>,
}

/// A stream whose events belong to namespaces.
#[derive(Debug)]
struct EnrichedStream {
    index: usize,
    mntns: Option<Accessor>,
    netns: Option<Accessor>,
    timestamp: Option<Accessor>,
    /// The fields of these three.
    ids: Vec<FieldId>,
    fields: Vec<(FieldId, ContainerField)>,
}

impl LocalManager {
    /// Adds the container fields to every stream that says in which namespace an event happened, and the data source that tells of
    /// containers. `None` if there is nothing to do: no such stream, and nothing that the kernel side or the gadget's code needs.
    pub fn instantiate(
        context: &mut Context,
        containers: ContainerSource,
        needs: ContainerNeeds,
    ) -> Result<Option<Self>> {
        let mut streams = Vec::new();
        for (index, stream) in context.referenced() {
            let source = &mut stream.source;
            let first = |tag: &str| {
                let id = source.with_tag(tag).next().map(|(id, _)| id)?;
                if has_rivals(source, tag) {
                    let (ds, name) = (source.name(), source.get(id).full_name());
                    tracing::warn!("multiple fields of {tag:?} found in DataSource {ds:?}, only {name:?} will be used");
                }
                Some(id)
            };
            let (mntns, netns) = (first(MNTNS_TAG), first(NETNS_TAG));
            let timestamp = source.with_tag(TIMESTAMP_TAG).next().map(|(id, _)| id);
            let ids = [mntns, netns, timestamp].into_iter().flatten().collect();
            let [mntns, netns, timestamp] = [mntns, netns, timestamp].map(|id| id.map(|id| source.accessor(id)));
            if mntns.is_none() && netns.is_none() {
                continue;
            }
            let fields = add_container_fields(source)?;
            streams.push(EnrichedStream {
                index,
                mntns,
                netns,
                timestamp,
                ids,
                fields,
            });
        }
        let announcer = Announcer::instantiate(context)?;
        if streams.is_empty() && announcer.is_none() && !needs.any() {
            return Ok(None);
        }
        Ok(Some(Self {
            containers,
            needs,
            streams,
            announcer,
            host: false,
            selector: Selector::default(),
            filter: None,
        }))
    }

    /// What records have to be to pass.
    fn selection(&self) -> Selection {
        match &self.filter {
            Some(filter) => Selection::Filter(Arc::clone(filter)),
            None if self.selects_recorded() => Selection::Named(self.selector.clone()),
            None if self.selects() => Selection::Selector(self.selector.clone()),
            None => Selection::All,
        }
    }

    /// Whether the user wants only some containers. Then what the kernel side does not filter is filtered here.
    fn selects(&self) -> bool {
        !self.host && self.selector != Selector::default()
    }

    /// Leaves out elements that are of no selected container, of a stream whose records the gate cannot tell apart.
    fn select(&self, collection: &Arc<Collection>, of: &EnrichedStream, stream: &mut Stream) {
        if stream.record.mntns.is_some() {
            return;
        }
        match (of.mntns, of.netns) {
            (Some(mntns), _) if self.selects() => self.select_by_mntns(collection, mntns, of.timestamp, stream),
            // The run looked into the network namespaces of the selected containers only.
            (None, Some(netns)) if !self.host && matches!(self.containers, ContainerSource::Recorded(_)) => {
                self.select_by_netns(collection, netns, stream);
            }
            _ => {}
        }
    }

    fn select_by_mntns(
        &self,
        collection: &Arc<Collection>,
        mntns: Accessor,
        timestamp: Option<Accessor>,
        stream: &mut Stream,
    ) {
        let (collection, selector) = (Arc::clone(collection), self.selector.clone());
        let mut cache = LookupCache::default();
        stream
            .pipeline
            .subscribe(priority::subscription::CONTAINERS, move |element| {
                let at = timestamp.map_or(0, |accessor| accessor.bits(element));
                let selected = match cache.lookup(&collection, mntns.bits(element), at) {
                    Lookup::Container(container) => selector.matches(container),
                    _ => false,
                };
                Ok(if selected { Flow::Continue } else { Flow::Discard })
            });
    }

    fn select_by_netns(&self, collection: &Arc<Collection>, netns: Accessor, stream: &mut Stream) {
        let (collection, selector) = (Arc::clone(collection), self.selector.clone());
        // What was found out about which namespace, and when; most elements share theirs with the one before.
        let mut last = None;
        stream
            .pipeline
            .subscribe(priority::subscription::CONTAINERS, move |element| {
                let asked = (netns.bits(element), collection.generation());
                let selected = match last {
                    Some((known, selected)) if known == asked => selected,
                    _ => {
                        let containers = collection.containers_by_netns(asked.0);
                        containers.iter().any(|container| selector.matches(container))
                    }
                };
                last = Some((asked, selected));
                Ok(if selected { Flow::Continue } else { Flow::Discard })
            });
    }

    /// The network namespaces of the containers that are selected: of all and of the host itself, if the host is to be seen.
    fn network_namespaces(&self, collection: Option<Arc<Collection>>) -> NetworkNamespaces {
        let (selector, with_host) = (self.selector.clone(), self.host);
        let host = Host::from_env();
        NetworkNamespaces::new(move || {
            let mut found = Vec::new();
            if with_host {
                found.extend(of_host(&host));
            }
            for container in collection.iter().flat_map(|collection| collection.containers()) {
                let (pid, inode) = (container.runtime.container_pid, container.netns);
                let known = |found: &[NetworkNamespace]| found.iter().any(|known| known.inode == inode);
                if pid != 0 && inode != 0 && (with_host || selector.matches(&container)) && !known(&found) {
                    let path = host.proc(pid, "ns").join("net");
                    found.push(NetworkNamespace { inode, path });
                }
            }
            found
        })
    }

    /// Whether the kernel side would select, were this not a recording.
    fn selects_recorded(&self) -> bool {
        !self.host && self.needs.filters && matches!(self.containers, ContainerSource::Recorded(_))
    }

    fn enrich(&self, collection: &Arc<Collection>, of: &EnrichedStream, stream: &mut Stream) {
        let targets: Vec<(Accessor, ContainerField)> = of
            .fields
            .iter()
            .filter(|(id, _)| stream.demand.wants(*id))
            .map(|(id, field)| (stream.source.accessor(*id), *field))
            .collect();
        if targets.is_empty() {
            return;
        }
        let outputs: Vec<Accessor> = targets.iter().map(|(target, _)| *target).collect();
        let enricher = Enricher {
            collection: Arc::clone(collection),
            cache: LookupCache::default(),
            mntns: of.mntns,
            netns: of.netns,
            timestamp: of.timestamp,
            targets,
            known: KnownContainers::default(),
            is_pending: false,
        };
        // What tells the values of one container from those of another is what is announced.
        let derivation = Derivation::new([], outputs, enricher);
        stream.pipeline.derive(priority::subscription::CONTAINERS, derivation);
    }
}

impl Instance for LocalManager {
    fn name(&self) -> &'static str {
        "LocalManager"
    }

    fn priority(&self) -> i32 {
        priority::instance::CONTAINERS
    }

    fn params(&self) -> Vec<Param> {
        let filter = |key: &str, alternative: &str, title: &str, hint: &str, what: &str| Param {
            prefix: PARAM_PREFIX.to_owned(),
            title: title.to_owned(),
            value_hint: hint.to_owned(),
            ..Param::new(key)
                .alternative_key(alternative)
                .description(format!(
                    "{what} to filter on. Supports comma-separated list and exclusion using '!'."
                ))
                .tag("group:Data Filtering")
        };
        let host = Param {
            prefix: PARAM_PREFIX.to_owned(),
            title: "Host Data".to_owned(),
            ..Param::new("host")
                .type_hint(TypeHint::Bool)
                .default_value("false")
                .description("Show data from both the host and containers")
                .tag("group:Data Collection")
        };
        vec![
            filter("k8s-podname", "", "K8s Pod Name", "k8s:pod", "Kubernetes pods"),
            filter(
                "k8s-namespace",
                "",
                "K8s Namespace",
                "k8s:namespace",
                "Kubernetes namespaces",
            ),
            filter(
                "k8s-selector",
                "",
                "K8s Label Selector",
                "k8s:labels",
                "Labels (key=value) of pods",
            ),
            filter(
                "k8s-containername",
                "",
                "K8s Container Name",
                "k8s:container",
                "Names of containers in pods",
            ),
            filter(
                "containername",
                "runtime-containername",
                "Runtime Container Name",
                "local:container",
                "Names of containers",
            )
            .alias('c'),
            filter(
                "runtime-containerimage-digest",
                "",
                "Runtime Container Image Digest",
                "local:image-digest",
                "Digests of container images",
            ),
            filter(
                "runtime-containerimage-id",
                "",
                "Runtime Container Image ID",
                "local:image-id",
                "Ids of container images",
            ),
            host,
        ]
    }

    fn configure(&mut self, values: &ParamValues, _context: &mut Context) -> Result<()> {
        let text = |key: &str| {
            values
                .get(&format!("{PARAM_PREFIX}{key}"))
                .unwrap_or_default()
                .to_owned()
        };
        self.host = values.is_true(&format!("{PARAM_PREFIX}host"));
        if values.get(INTERFACE).is_some_and(|name| !name.is_empty()) {
            self.needs.attaches_to_interfaces = false;
        }
        self.selector = Selector {
            k8s_namespace: text("k8s-namespace"),
            k8s_pod_name: text("k8s-podname"),
            k8s_container_name: text("k8s-containername"),
            k8s_pod_labels: Selector::parse_labels(&text("k8s-selector")).context("k8s-selector")?,
            runtime_container_name: text("containername"),
            image_id: text("runtime-containerimage-id"),
            image_digest: text("runtime-containerimage-digest"),
        };
        Ok(())
    }

    fn demand(&self, context: &mut Context) {
        for of in &self.streams {
            let Some(stream) = context.streams.get_mut(of.index) else {
                continue;
            };
            if self.selects() || of.fields.iter().any(|(id, _)| stream.demand.wants(*id)) {
                of.ids.iter().for_each(|id| stream.demand.add(*id));
            }
        }
    }

    fn explain(&self, context: &Context, to: &mut Explanation) {
        let fields = self
            .streams
            .iter()
            .flat_map(|of| of.fields.iter().map(|(field, _)| (of.index, *field)));
        let added = explain::of_fields(self.name(), context, fields);
        let (selects, selection) = match (self.host, self.needs.filters) {
            (true, _) => (false, "events of the whole host pass"),
            (false, true) => (true, "only events of selected containers pass, in the kernel"),
            (false, false) if self.selector == Selector::default() => {
                (false, "the gadget has no filter for containers")
            }
            (false, false) => (
                true,
                "only events of selected containers pass, before anything else is done",
            ),
        };
        to.operators.push(OperatorNote {
            on: added.on || selects,
            why: format!("{selection}; {}", added.why),
            ..added
        });
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        let collection = match &self.containers {
            ContainerSource::Collection(collection) | ContainerSource::Recorded(collection) => Arc::clone(collection),
            ContainerSource::Unavailable(why) if self.announcer.is_some() => {
                return Err(Error::unsupported(format!(
                    "container-collection isn't available, but containers datasource is enabled: {why}"
                )));
            }
            ContainerSource::Unavailable(why) if self.host || !(self.needs.filters || self.selects()) => {
                tracing::warn!(
                    "container-collection isn't available: container enrichment and filtering won't work: {why}"
                );
                context.places = Some(Places {
                    host: true,
                    ..Places::default()
                });
                if self.needs.visits_netns {
                    context.network_namespaces = Some(self.network_namespaces(None));
                }
                return Ok(());
            }
            ContainerSource::Unavailable(why) => {
                return Err(
                    Error::unsupported(format!("container-collection isn't available: {why}"))
                        .with_hint("trace the whole host with --host"),
                );
            }
        };
        let recorded = matches!(self.containers, ContainerSource::Recorded(_));
        let selects_in_kernel = !self.host && self.needs.filters && !recorded;
        let selects = selects_in_kernel
            || (!self.host && (self.needs.visits_netns || self.needs.attaches || self.needs.attaches_to_interfaces));
        if selects && !collection.has_runtimes() {
            return Err(Error::not_found("no container runtime was found, so there is nothing to trace").with_hint(
                "start docker, say where its socket is with --docker-socketpath, or trace the whole host with --host",
            ));
        }
        context.places = Some(Places {
            collection: Some(Arc::clone(&collection)),
            selector: self.selector.clone(),
            host: self.host,
        });
        if self.needs.visits_netns {
            context.network_namespaces = Some(self.network_namespaces(Some(Arc::clone(&collection))));
        }
        if selects_in_kernel {
            let filter = collection
                .filter(self.selector.clone(), 0)
                .context("creating the mount namespace filter")?;
            let map = filter
                .as_fd()
                .try_clone_to_owned()
                .context("creating the mount namespace filter")?;
            let filter = Arc::new(filter);
            let watched = Arc::clone(&filter);
            context.mntns_filter = Some(KernelFilter {
                map,
                overflowed: Box::new(move || watched.overflowed()),
            });
            self.filter = Some(filter);
        }
        let asked = match &context.replica {
            Some(replica) => Arc::clone(replica.copy()),
            None => Arc::clone(&collection),
        };
        for of in &self.streams {
            let stream = &mut context.streams[of.index];
            if let RecordIds {
                mntns: Some(mntns),
                timestamp,
            } = stream.record
            {
                stream.gate = Some(Box::new(ContainerGate::new(
                    Arc::clone(&asked),
                    Arc::clone(&collection),
                    self.selection(),
                    mntns,
                    timestamp,
                )));
            }
            self.select(&asked, of, stream);
            self.enrich(&asked, of, stream);
        }
        Ok(())
    }

    fn start(&mut self, context: &mut Context) -> Result<()> {
        // Only now: containers were listed, and the hook was loaded, while the gadget was.
        if let ContainerSource::Collection(collection) = &self.containers {
            collection.wait_initial();
            if let Some(announcer) = &mut self.announcer {
                announcer.start(context, collection, self.selector.clone(), self.host)?;
            }
        }
        Ok(())
    }

    fn pre_stop(&mut self) -> Result<()> {
        if let Some(announcer) = &mut self.announcer {
            announcer.stop();
        }
        Ok(())
    }
}

/// Writes the container's names into an element.
struct Enricher {
    collection: Arc<Collection>,
    cache: LookupCache,
    mntns: Option<Accessor>,
    netns: Option<Accessor>,
    timestamp: Option<Accessor>,
    targets: Vec<(Accessor, ContainerField)>,
    known: KnownContainers,
    /// The names of the last container that is known are announced in the element, and no more.
    is_pending: bool,
}

impl Derive for Enricher {
    /// Looks up the container, at the time that the element still has.
    #[inline]
    fn meet(&mut self, element: &mut Element) -> Result<()> {
        let at = self.timestamp.map_or(0, |accessor| accessor.bits(element));
        let mntns = self.mntns.map_or(0, |accessor| accessor.bits(element));
        self.is_pending = false;
        if mntns != 0
            && let Lookup::Container(container) = self.cache.lookup(&self.collection, mntns, at)
        {
            let values = self.known.of(container, &self.targets, element);
            values.announce(element);
            self.is_pending = true;
            if !values.can_wait() {
                self.derive(element);
            }
        } else if let Some(netns) = self.netns {
            self.enrich_by_netns(netns.bits(element), element);
        }
        Ok(())
    }

    fn derive(&mut self, element: &mut Element) {
        if std::mem::take(&mut self.is_pending)
            && let Some(values) = self.known.last()
        {
            values.put(element);
        }
    }
}

impl Enricher {
    /// Of several containers with one network namespace only what they share is written: what names their pod.
    fn enrich_by_netns(&self, netns: u64, element: &mut Element) {
        if netns == 0 {
            return;
        }
        let containers = self.collection.containers_by_netns(netns);
        let shared: fn(&ContainerField) -> bool = match &containers[..] {
            [] => return,
            [first, ..] if first.host_network => return,
            [_] => |_| true,
            [first, ..] if is_pod(first) => ContainerField::is_of_pod,
            _ => return,
        };
        for (target, field) in self.targets.iter().filter(|(_, field)| shared(field)) {
            field.write(&containers[0], target, element);
        }
    }
}

/// The host's own network namespace, by whichever process shows it: one may not always look at pid 1.
fn of_host(host: &Host) -> Option<NetworkNamespace> {
    let inode = host.namespaces().ok()?.net;
    let shown = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode);
    let paths = [
        host.proc(1, "ns").join("net"),
        host.proc(2, "ns").join("net"),
        PathBuf::from("/proc/self/ns/net"),
    ];
    let path = paths.into_iter().find(shown)?;
    Some(NetworkNamespace { inode, path })
}

fn is_pod(container: &Container) -> bool {
    !container.k8s.pod_name.is_empty() && !container.k8s.namespace.is_empty()
}
