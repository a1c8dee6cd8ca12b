//! Running one case on this machine: the gadget, the scripts around it, and the events.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cases::Case;
use super::judge::Judge;
use super::scripts::Script;
use crate::cli::config::Config;
use crate::cli::gadget_args::GadgetArgs;
use crate::cli::signals::Interrupts;
use crate::cli::{root, run, run_flags};
use crate::data::{Element, Flow, SourceType};
use crate::gadget::{Gadget, Running};
use crate::image::GadgetImage;
use crate::operators::local_manager::ContainerSource;
use crate::operators::{Context, Instance, priority};
use crate::output::json::Encoder;
use crate::recording::Recording;
use crate::{Error, ErrorKind, Result, ResultExt};

/// How often somebody looks whether a case is decided.
const TICK: Duration = Duration::from_millis(20);

/// The parameter that lets a gadget see the whole host.
const HOST: &str = "host";

/// What all cases of a gadget have in common.
pub(super) struct Trial<'a> {
    dir: &'a Path,
    image: GadgetImage,
    interrupts: &'a Interrupts,
    /// In place of all runs.
    recording: Option<&'a Path>,
    /// Whether the gadget selects containers unless it is told not to.
    selects: bool,
    sources: Vec<String>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        dir: &'a Path,
        image: GadgetImage,
        interrupts: &'a Interrupts,
        recording: Option<&'a Path>,
    ) -> Result<Self> {
        let unavailable = ContainerSource::Unavailable("nothing is run".to_owned());
        let builder = Gadget::builder(&image).guest(run::guest_options(false));
        let gadget = builder.containers(unavailable).build()?;
        let selects = gadget.params().iter().any(|param| param.key == HOST);
        let sources = gadget.data_sources().map(|source| source.name().to_owned()).collect();
        Ok(Self {
            dir,
            image,
            interrupts,
            recording,
            selects,
            sources,
        })
    }

    /// Runs a case. Returns what was wrong, nothing if it passed.
    ///
    /// # Errors
    ///
    /// It could not be run.
    pub(super) fn run(&self, case: &Case) -> Result<Vec<String>> {
        self.check(case)?;
        match (self.recording, &case.recording) {
            (Some(file), _) => self.replay(case, file),
            (None, Some(file)) => self.replay(case, &self.dir.join(file)),
            (None, None) => self.run_live(case),
        }
    }

    /// Sees that the case names data sources that there are.
    fn check(&self, case: &Case) -> Result<()> {
        let named = case.expect.iter().filter_map(|expectation| expectation.source.as_ref());
        for source in named {
            if !self.sources.contains(source) {
                return Err(Error::not_found(format!(
                    "the gadget has no data source {source:?}, it has: {}",
                    self.sources.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// The flags of `ig run` for the case. What happens outside of containers counts too, if nothing else is said.
    fn args(&self, case: &Case) -> Result<GadgetArgs> {
        let mut words: Vec<OsString> = vec![self.dir.into()];
        if self.selects && !case.says(HOST) {
            words.push(format!("--{HOST}").into());
        }
        words.extend(case.params.iter().map(|(key, value)| format!("--{key}={value}").into()));
        let command = run_flags::command();
        GadgetArgs::new(
            root::command(),
            &command,
            words,
            run_flags::params(),
            &Config::default(),
        )
    }

    fn run_live(&self, case: &Case) -> Result<Vec<String>> {
        let place = tempfile::tempdir().context("creating temporary directory")?;
        let goes_on = || !self.interrupts.came();
        let mut setup = None;
        if let Some(script) = &case.setup {
            let mut script = Script::start(script, place.path())?;
            script.succeed(case.timeout, goes_on).context("the setup failed")?;
            setup = Some(script);
        }
        let args = self.args(case)?;
        let interrupts = || Ok(self.interrupts.clone());
        let prepared = run::prepare_of(&args, interrupts, |_, _| Ok(self.image.clone()))?;
        let Some(prepared) = prepared else {
            return Err(Error::invalid("params: a case cannot ask for help"));
        };
        let (running, events) = self.start(prepared.gadget, case)?;
        let workload = case.workload.as_ref();
        let mut workload = workload.map(|script| Script::start(script, place.path())).transpose()?;
        let mut complaints = self.follow(running, &events, case, workload.as_mut())?;
        if let Some(workload) = workload.as_ref() {
            if workload.was_not_found() {
                complaints.push("the workload cannot be run".to_owned());
            }
            if !complaints.is_empty() {
                complaints.push(format!("the workload: {}", workload.said()));
            }
        }
        drop(workload);
        drop(setup);
        Ok(complaints)
    }

    /// Judges the records of a recording as they go through what the gadget is now.
    fn replay(&self, case: &Case, file: &Path) -> Result<Vec<String>> {
        let recording = Recording::open(file)?;
        let kernel_params = recording.head().kernel_params.clone();
        let builder = Gadget::replay(recording).revised(self.image.metadata(), self.image.wasm());
        let mut gadget = builder.guest(run::guest_options(false)).build()?;
        if gadget.params().iter().any(|param| param.key == HOST) && !case.says(HOST) {
            gadget.set_param(HOST, "true")?;
        }
        for (key, value) in &case.params {
            match kernel_params.iter().find(|param| param.key == *key) {
                Some(param) if param.value == *value => {}
                Some(param) => {
                    return Err(Error::unsupported(format!(
                        "params: {key} tells the kernel side what to report, and was {:?} when this was recorded",
                        param.value
                    )));
                }
                None => gadget.set_param(key, value).context("params")?,
            }
        }
        let (running, events) = self.start(gadget, case)?;
        self.follow(running, &events, case, None)
    }

    fn start(&self, mut gadget: Gadget, case: &Case) -> Result<(Running, Events)> {
        let events = Events(Arc::new(Mutex::new(Judge::new(case))));
        let collector = Collector::new(&mut gadget, &events);
        gadget.add_instance(collector);
        self.interrupts.end(gadget.stop_signal());
        Ok((gadget.start()?, events))
    }

    /// Waits until the case is decided, and ends the run. The workload goes on until then.
    fn follow(
        &self,
        mut running: Running,
        events: &Events,
        case: &Case,
        mut workload: Option<&mut Script>,
    ) -> Result<Vec<String>> {
        let start = Instant::now();
        let stop = running.stop_signal();
        while !stop.is_requested() && start.elapsed() < case.timeout {
            let has_ended = match &mut workload {
                Some(workload) => workload.ended()?.is_some(),
                // A recording ends by itself.
                None => case.recording.is_none() && self.recording.is_none(),
            };
            let (enough, limited) = {
                let judge = events.lock();
                (judge.has_enough(), judge.has_limits())
            };
            if enough && (has_ended || !limited) {
                break;
            }
            running.wait(Some(TICK));
        }
        let report = running.stop()?;
        if self.interrupts.came() {
            return Err(Error::new(ErrorKind::Other, "interrupted"));
        }
        let mut complaints = events.lock().complaints();
        if !complaints.is_empty() && report.lost_anything() {
            complaints.push("events were lost".to_owned());
        }
        Ok(complaints)
    }
}

/// The events of a run, as they are judged.
#[derive(Clone)]
struct Events(Arc<Mutex<Judge>>);

impl Events {
    fn lock(&self) -> MutexGuard<'_, Judge> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operator that hands all events over, in the form in which they are printed as JSON.
struct Collector {
    encoders: Vec<(usize, Encoder)>,
    events: Events,
}

impl Collector {
    /// To be called after all other operators have added their fields.
    fn new(gadget: &mut Gadget, events: &Events) -> Self {
        let encoders = gadget
            .context()
            .referenced()
            .map(|(index, stream)| (index, Encoder::compact(&stream.source)));
        Self {
            encoders: encoders.collect(),
            events: events.clone(),
        }
    }
}

/// Encodes an element and hands it over.
fn see(events: &Events, encoder: &mut Encoder, buffer: &mut Vec<u8>, source: &str, element: &Element) -> Result<()> {
    buffer.clear();
    encoder.encode(element, buffer);
    let event: Value = serde_json::from_slice(buffer)
        .map_err(|error| Error::from_source(ErrorKind::Other, error).context("reading an event"))?;
    events.lock().see(source, &event);
    Ok(())
}

impl Instance for Collector {
    fn name(&self) -> &'static str {
        "test"
    }

    fn priority(&self) -> i32 {
        priority::instance::SINK
    }

    fn demand(&self, context: &mut Context) {
        for (index, encoder) in &self.encoders {
            if let Some(stream) = context.streams.get_mut(*index) {
                encoder.fields().iter().for_each(|field| stream.demand.add(*field));
            }
        }
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for (index, mut encoder) in self.encoders.drain(..) {
            let Some(stream) = context.streams.get_mut(index) else {
                continue;
            };
            let (source, events) = (stream.source.name().to_owned(), self.events.clone());
            let mut buffer = Vec::new();
            match stream.source.source_type() {
                SourceType::Single => stream.pipeline.subscribe(priority::subscription::SINK, move |element| {
                    see(&events, &mut encoder, &mut buffer, &source, element)?;
                    Ok(Flow::Continue)
                }),
                SourceType::Array => stream
                    .pipeline
                    .subscribe_array(priority::subscription::SINK, move |elements| {
                        for element in elements.iter() {
                            see(&events, &mut encoder, &mut buffer, &source, element)?;
                        }
                        Ok(Flow::Continue)
                    }),
            }
        }
        Ok(())
    }
}
