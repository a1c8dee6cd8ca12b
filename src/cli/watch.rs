//! `ig run --watch DIR`: builds again and restarts whenever the source changes, until it is interrupted.
//!
//! One thread builds, another runs what was built last. A source that does not build changes nothing: its errors are shown, and what ran
//! goes on. So does a gadget that cannot be loaded or that ends: the next change is waited for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gadget_args::{Early, GadgetArgs};
use super::host::{self, HostOptions};
use super::signals::Interrupts;
use super::{error, run, run_flags, stdout};
use crate::build::SourceWatch;
use crate::image::GadgetImage;
use crate::stop::StopSignal;
use crate::{Error, Result, ResultExt};

/// Runs the source that the command line names, again and again.
pub(super) fn run(args: &GadgetArgs, early: &Early) -> Result<()> {
    let Some(name) = early.image.as_deref() else {
        return Err(Error::invalid("flag --watch: there is no source to watch")
            .with_hint("name the directory of a gadget: `ig run --watch ./mygadget`"));
    };
    let path = PathBuf::from(name);
    if !path.exists() {
        return Err(
            Error::not_found(format!("flag --watch: {} is no file or directory", path.display()))
                .with_hint("only sources can be watched, images cannot"),
        );
    }
    let recorded = early.values.get(run_flags::RECORD);
    if recorded.is_some_and(|file| !file.is_empty()) {
        return Err(Error::unsupported(
            "flags --watch and --record exclude each other: a recording is one run",
        ));
    }
    // Both want to be called before there is a second thread.
    host::require_root()?;
    host::prepare(&HostOptions::from_matches(&args.root_matches()?))?;
    let interrupts = Interrupts::take()?;
    let built = Built::default();
    build_in_background(path, built.clone())?;
    while !interrupts.came() {
        let idle = StopSignal::default();
        interrupts.end(idle.clone());
        let Some(image) = built.wait(idle) else { continue };
        match run_once(args, &interrupts, image, &built) {
            Ok(()) => {}
            Err(error) if stdout::is_closed(&error) => return Err(error),
            Err(error) => error::show(&error),
        }
        if !interrupts.came() && !built.is_there() {
            tracing::info!("watch: it has ended; waiting for a change of the source");
        }
    }
    Ok(())
}

/// Runs one image, until there is another one or it ends otherwise.
fn run_once(args: &GadgetArgs, interrupts: &Interrupts, image: GadgetImage, built: &Built) -> Result<()> {
    let prepared = run::prepare_of(args, || Ok(interrupts.clone()), |_, _| Ok(image))?;
    let Some(prepared) = prepared else { return Ok(()) };
    built.ends(prepared.gadget.stop_signal());
    run::run_prepared(prepared)
}

/// What was built and does not run yet. Clones are the same.
#[derive(Clone, Default)]
struct Built(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    image: Option<GadgetImage>,
    /// What is to end when there is an image.
    ends: Option<StopSignal>,
}

impl Built {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, image: GadgetImage) {
        let mut state = self.lock();
        state.image = Some(image);
        if let Some(running) = &state.ends {
            running.request();
        }
    }

    /// Has `running` ended as soon as there is an image.
    fn ends(&self, running: StopSignal) {
        let mut state = self.lock();
        if state.image.is_some() {
            running.request();
        }
        state.ends = Some(running);
    }

    fn is_there(&self) -> bool {
        self.lock().image.is_some()
    }

    /// Waits for an image, or for somebody else to end `idle`.
    fn wait(&self, idle: StopSignal) -> Option<GadgetImage> {
        self.ends(idle.clone());
        idle.wait(None);
        self.lock().image.take()
    }
}

/// Builds now and after each change, and hands over what is another image than before.
fn build_in_background(path: PathBuf, built: Built) -> Result<()> {
    // Before the first build, so that no change is missed.
    let mut watch = SourceWatch::new(&path).context("flag --watch")?;
    let builder = move || {
        let mut last = None;
        loop {
            match build(&path) {
                Ok((image, content)) if last != Some(content) => {
                    last = Some(content);
                    tracing::info!("watch: built {}", path.display());
                    built.put(image);
                }
                Ok(_) => tracing::debug!("watch: the image is the same as before"),
                Err(error) => {
                    error::show(&error);
                    tracing::warn!("watch: {} does not build; waiting for the next change", path.display());
                }
            }
            if let Err(error) = watch.wait() {
                return error::show(&error.context("flag --watch"));
            }
            tracing::debug!("watch: {} has changed", path.display());
        }
    };
    let thread = std::thread::Builder::new().name("builder".to_owned());
    thread.spawn(builder).context("starting the builder")?;
    Ok(())
}

/// The image of the source at `path`, and the sum of what is in it: its digest depends on the time too.
fn build(path: &Path) -> Result<(GadgetImage, blake3::Hash)> {
    let image = run::build_image(path)?;
    let mut sum = blake3::Hasher::new();
    for part in image.ebpf().chain(image.wasm()).chain([image.metadata()]) {
        sum.update(&(part.len() as u64).to_le_bytes());
        sum.update(part);
    }
    Ok((image, sum.finalize()))
}
