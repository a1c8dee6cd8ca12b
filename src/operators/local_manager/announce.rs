//! The data source `containers`, for gadgets whose own code has something to do when a container comes or goes.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use crate::containers::{Collection, Container, ContainerEvent, ContainerEventKind, Selector};
use crate::data::{Accessor, DataSource, Emitter, FieldId, NewField, Scalar, SourceType, Stream};
use crate::metadata::SourceSettings;
use crate::operators::Context;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Name of the data source.
const SOURCE: &str = "containers";
/// Where the metadata asks for it.
const ENABLED: &str = "annotations.enable-containers-datasource";

/// Tells of the containers that are selected.
#[derive(Debug)]
pub(super) struct Announcer {
    stream: usize,
    fields: [FieldId; 6],
    following: Option<Following>,
}

/// A thread that tells of what comes and goes from now on.
#[derive(Debug)]
struct Following {
    thread: JoinHandle<()>,
    /// `None` ends it.
    events: Sender<Option<ContainerEvent>>,
}

impl Announcer {
    /// Adds the data source, if the gadget asks for it.
    pub(super) fn instantiate(context: &mut Context) -> Result<Option<Self>> {
        if !context.config.get_bool(ENABLED) {
            return Ok(None);
        }
        let settings = SourceSettings::new(&context.config, SOURCE);
        let mut source = DataSource::new(SOURCE, SourceType::Single, Some(settings));
        source.annotate("cli.default-output-mode", "none");
        let mut add = |name: &str, kind: Scalar| source.add_field(NewField::new(name, kind));
        let fields = [
            add("event_type", Scalar::String)?,
            add("container_id", Scalar::String)?,
            add("cgroup_id", Scalar::Uint64)?,
            add("mntns_id", Scalar::Uint64)?,
            add("name", Scalar::String)?,
            add("container_config", Scalar::String)?,
        ];
        let stream = context.streams.len();
        context.streams.push(Stream::new(source));
        Ok(Some(Self {
            stream,
            fields,
            following: None,
        }))
    }

    /// Tells of the containers that there are, of the host if it is looked at as well, and then of what comes and goes.
    pub(super) fn start(
        &mut self,
        context: &mut Context,
        collection: &Arc<Collection>,
        selector: Selector,
        host: bool,
    ) -> Result<()> {
        let Some(stream) = context.streams.get_mut(self.stream) else {
            return Ok(());
        };
        let mut voice = Voice {
            fields: self.fields.map(|field| stream.source.accessor(field)),
            emitter: stream.emitter(),
        };
        let (events, later) = mpsc::channel();
        let sender = events.clone();
        let deliver = move |event| sender.send(Some(event)).is_ok();
        let running = match host {
            true => collection.subscribe_with(Selector::default(), deliver),
            false => collection.subscribe_with(selector, deliver),
        };
        let the_host = host.then(|| {
            Arc::new(Container {
                mntns: collection.host().mnt,
                ..Container::default()
            })
        });
        for container in running.into_iter().chain(the_host) {
            voice
                .say(ContainerEventKind::Created, &container)
                .with_context(|| format!("telling of container {:?}", container.runtime.container_name))?;
        }
        let thread = std::thread::Builder::new()
            .name("ig-containers".to_owned())
            .spawn(move || {
                while let Ok(Some(event)) = later.recv() {
                    if let Err(error) = voice.say(event.kind, &event.container) {
                        let name = &event.container.runtime.container_name;
                        tracing::warn!("telling of container {name:?}: {error}");
                    }
                }
            })
            .map_err(|error| Error::new(ErrorKind::Io, format!("starting a thread: {error}")))?;
        self.following = Some(Following { thread, events });
        Ok(())
    }

    /// Nothing is told any more when this returns.
    pub(super) fn stop(&mut self) {
        if let Some(Following { thread, events }) = self.following.take() {
            let _ = events.send(None);
            if thread.join().is_err() {
                tracing::warn!("the thread that tells of containers has failed");
            }
        }
    }
}

/// What the data source is filled by.
struct Voice {
    fields: [Accessor; 6],
    emitter: Emitter,
}

impl Voice {
    fn say(&mut self, kind: ContainerEventKind, container: &Container) -> Result<()> {
        let mut element = self.emitter.element();
        let [event_type, id, cgroup, mntns, name, config] = &self.fields;
        for (field, text) in [
            (event_type, kind.as_str()),
            (id, container.id()),
            (name, &container.runtime.container_name),
            (config, &container.oci_config),
        ] {
            field.write(&mut element, |out| out.extend_from_slice(text.as_bytes()));
        }
        for (field, number) in [(cgroup, container.cgroup.id), (mntns, container.mntns)] {
            field.set_bits(&mut element, number);
        }
        self.emitter.emit(&mut element)?;
        self.emitter.flush()
    }
}
