//! The gadget's part in recording and replaying: what a recording has to say about a gadget, and the other way round.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Origin;
use crate::containers::{Collection, HostNamespaces, Replica};
use crate::data::{Inlet, Knowledge, Stream};
use crate::ebpf::object::EbpfObject;
use crate::ebpf::schema::Texts;
use crate::metadata::config::Config;
use crate::metadata::params::{ParamValues, TypeHint};
use crate::operators::local_manager::ContainerSource;
use crate::operators::uidgid::NameTables;
use crate::operators::{Context, DescribeStack, KnownStacks, RecordedStacks};
use crate::recording::{
    Head, HostHead, KernelParam, Player, RecordFile, Recorded, Recorder, Recording, SourceHead, StackTap,
};
use crate::{Error, Result, ResultExt};

/// Where a gadget comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    image: String,
    digest: String,
    /// Text of `gadget.yaml`.
    pub(super) metadata: Vec<u8>,
    /// What is laid over it, in order.
    pub(super) annotations: Vec<String>,
    /// The gadget's own code.
    pub(super) code: Option<Arc<[u8]>>,
}

impl About {
    pub(super) fn of(origin: &Origin<'_>, annotations: &[String]) -> Result<Self> {
        Ok(match origin {
            Origin::Image(image) => Self {
                image: image.reference().map(ToString::to_string).unwrap_or_default(),
                digest: image.manifest_digest().to_string(),
                metadata: image.metadata().to_vec(),
                annotations: annotations.to_vec(),
                code: image.wasm().map(Into::into),
            },
            Origin::Recording(recording) => {
                let head = recording.head();
                Self {
                    image: head.image.clone(),
                    digest: head.digest.clone(),
                    metadata: head.metadata.clone().into_bytes(),
                    annotations: head.annotations.iter().chain(annotations).cloned().collect(),
                    code: decode(head.code.as_deref())?,
                }
            }
        })
    }
}

/// The module that a recording carries.
fn decode(code: Option<&str>) -> Result<Option<Arc<[u8]>>> {
    let Some(code) = code else { return Ok(None) };
    let bytes = BASE64
        .decode(code)
        .map_err(|error| Error::invalid(format!("the gadget's own code: {error}")))
        .context("reading the recording")?;
    Ok(Some(bytes.into()))
}

impl Player {
    /// Adds the data sources of a recording to the context, and the facts about its machine.
    pub(super) fn instantiate(recording: Recording, config: &Arc<Config>, context: &mut Context) -> Result<Self> {
        let head = recording.head();
        let mut texts = Texts::default();
        let mut register = || -> Result<()> {
            context.host = head.host.facts()?;
            context.replayed = true;
            for schema in head.schemas()? {
                schema.register(config, &mut context.streams, &mut texts)?;
            }
            Ok(())
        };
        register().context("reading the recording")?;
        let collection = head
            .without_containers
            .is_none()
            .then(|| Collection::replayed(head.host.namespaces()));
        let stacks = KnownStacks::default();
        context.recorded_stacks = RecordedStacks::Known(stacks.clone());
        Ok(Self {
            names: context.host.names.clone(),
            stacks,
            collection,
            texts,
            recording,
        })
    }

    /// The containers that the recorded run knew.
    pub(super) fn containers(&self) -> ContainerSource {
        match &self.collection {
            Some(collection) => ContainerSource::Recorded(Arc::clone(collection)),
            None => {
                let why = self.recording.head().without_containers.as_deref().unwrap_or_default();
                ContainerSource::Unavailable(format!("when this was recorded: {why}"))
            }
        }
    }
}

/// The stream of one of a recording's data sources.
fn stream_of(streams: &[Stream], source: &SourceHead) -> Option<usize> {
    streams.iter().position(|stream| stream.source.name() == source.name)
}

/// Where the records of each of the recording's data sources arrive.
///
/// # Errors
///
/// The gadget has no such data source: its elements are an operator's, which the metadata does not ask for.
pub(super) fn inlets(head: &Head, streams: &mut [Stream]) -> Result<Vec<Inlet>> {
    let inlet = |source: &SourceHead| match stream_of(streams, source) {
        Some(index) => {
            let stream = &mut streams[index];
            let packing = stream.packing.take().filter(|_| source.packed);
            Ok(Inlet::new(stream.emitter(), stream.gate.take(), None).unpacking(packing))
        }
        None => Err(Error::invalid(format!(
            "reading the recording: its gadget has no data source {:?}",
            source.name
        ))),
    };
    head.sources.iter().map(inlet).collect()
}

/// A recording that is being made.
#[derive(Debug)]
pub(super) struct ActiveRecording {
    recorder: Recorder,
    replica: Option<Arc<Replica>>,
}

impl ActiveRecording {
    /// Begins to record what the data sources of `object`, and of operators that produce by themselves, get.
    pub(super) fn begin(
        file: RecordFile,
        about: About,
        object: Option<&EbpfObject>,
        values: &ParamValues,
        containers: &ContainerSource,
        context: &mut Context,
    ) -> Result<Self> {
        let mut sources: Vec<SourceHead> = object
            .iter()
            .flat_map(|object| object.schemas().iter().map(SourceHead::of))
            .collect();
        let packed = context.streams.iter().filter(|stream| stream.packing.is_some());
        sources.extend(packed.map(|stream| SourceHead::packed(&stream.source)));
        if sources.is_empty() {
            return Err(Error::unsupported(
                "flag --record: this gadget has no data source whose events come from the kernel",
            ));
        }
        let without_containers = match containers {
            ContainerSource::Collection(_) => None,
            ContainerSource::Recorded(_) => return Err(Error::unsupported("a recording cannot be recorded")),
            ContainerSource::Unavailable(why) => Some(why.clone()),
        };
        let replica = context.replica.take();
        let names = NameTables::read();
        let namespaces = replica
            .as_ref()
            .map_or_else(HostNamespaces::default, |replica| replica.copy().host());
        let metadata = String::from_utf8(about.metadata)
            .map_err(|_| Error::unsupported("flag --record: gadget.yaml is not valid UTF-8"))?;
        let kernel_params = object
            .iter()
            .flat_map(|object| object.params())
            .map(|param| KernelParam {
                value: values.get(&param.full_name()).unwrap_or(&param.default).to_owned(),
                is_bool: param.type_hint == TypeHint::Bool,
                key: param.key,
                alias: param.alias,
            });
        let head = Head {
            recorder: env!("CARGO_PKG_VERSION").to_owned(),
            image: about.image,
            digest: about.digest,
            metadata,
            annotations: about.annotations,
            code: about.code.map(|code| BASE64.encode(code)),
            sources,
            params: values
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            kernel_params: kernel_params.collect(),
            filters_mntns: object.is_some_and(EbpfObject::filters_mntns),
            without_containers,
            host: HostHead {
                own_pid: context.own_pid,
                ..HostHead::of(&mut context.host, namespaces, &names)?
            },
        };
        let streams: Vec<usize> = head
            .sources
            .iter()
            .filter_map(|source| stream_of(&context.streams, source))
            .collect();
        let losses = streams.iter().map(|index| Arc::clone(&context.streams[*index].losses));
        let recorder = file.begin(&head, names, losses.collect(), context.stop.clone())?;
        let mut describers = match std::mem::take(&mut context.recorded_stacks) {
            RecordedStacks::Described(describers) => describers,
            _ => Vec::new(),
        };
        for (source, index) in streams.into_iter().enumerate() {
            let stream = &mut context.streams[index];
            let knowledge = replica.clone().map(|replica| replica as Arc<dyn Knowledge>);
            let mut tap = recorder.tap(source as u16, knowledge);
            let of_stream = describers.extract_if(.., |(stream, _)| *stream == index);
            let of_stream: Vec<DescribeStack> = of_stream.map(|(_, describe)| describe).collect();
            if !of_stream.is_empty() {
                let layout = stream.source.layout().clone();
                tap = Box::new(StackTap::new(tap, recorder.stacks(), of_stream, layout));
            }
            stream.tap = Some(tap);
        }
        if let Some(replica) = &replica {
            replica.write_to(recorder.journal());
        }
        Ok(Self { recorder, replica })
    }

    /// Writes what is left. To be called when no more events come.
    pub(super) fn finish(self) -> Result<Recorded> {
        if let Some(replica) = &self.replica {
            replica.end();
        }
        self.recorder.finish()
    }
}
