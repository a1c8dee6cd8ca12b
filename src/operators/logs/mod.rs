//! Events as lines of a log, for runs on behalf of a client.
//!
//! What and how is the configuration of the process that runs gadgets, not of a gadget: [`Settings`] come from there, and one [`Log`]
//! opened with them serves all runs. Each run then has a part of its own, [`Logs`]:
//!
//! ```no_run
//! use inspektor_gadget::operators::logs::{Log, Logs, RunFacts, Settings};
//! # fn main() -> inspektor_gadget::Result<()> {
//! # let configured = |_: &str| None;
//! # let mut gadget: inspektor_gadget::gadget::Gadget = unimplemented!();
//! let Some(settings) = Settings::read(configured)? else { return Ok(()) }; // not enabled
//! let log = Log::open(&settings)?; // once; `log.rotate()` when SIGHUP comes
//! let facts = RunFacts { image: "trace_open".to_owned(), remote: true, ..RunFacts::default() };
//! if let Some(logs) = Logs::instantiate(gadget.context(), &log, &facts) {
//!     gadget.add_instance(logs);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A line that cannot be written is lost and said so in the program's own log; it never stops a run.

mod file;
mod line;
mod settings;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::file::RotatingFile;
use self::line::{Kind, Line};
pub use self::settings::{Channel, FileSettings, Format, Mode, Settings};
use super::{Context, Explanation, Instance, OperatorNote, Stream, priority};
use crate::Result;
use crate::data::{FieldId, Flow, SourceType};
use crate::output::terminal;

/// Data sources with this annotation at `elements` get a line for each element.
const ARRAY_HANDLING: &str = "logs.array-handling";

/// Where lines go. Shared by all runs.
#[derive(Debug)]
pub struct Log {
    format: Format,
    mode: Mode,
    /// Whether a person may be reading, whose terminal would obey control characters.
    to_terminal: bool,
    target: Mutex<Target>,
}

enum Target {
    Stream(Box<dyn Write + Send>),
    File(RotatingFile),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Stream(_) => f.write_str("Stream"),
            Target::File(file) => file.fmt(f),
        }
    }
}

impl Log {
    /// Opens the log.
    ///
    /// # Errors
    ///
    /// When its file, or the directory of that, can neither be opened nor made.
    pub fn open(settings: &Settings) -> Result<Arc<Self>> {
        let (target, to_terminal) = match &settings.channel {
            Channel::Stdout => (Target::Stream(Box::new(io::stdout())), io::stdout().is_terminal()),
            Channel::Stderr => (Target::Stream(Box::new(io::stderr())), io::stderr().is_terminal()),
            Channel::File(file) => (Target::File(RotatingFile::open(file)?), false),
        };
        Ok(Self::new(settings.format, settings.mode, target, to_terminal))
    }

    /// A log that goes to `writer` instead of the channel in the settings.
    pub fn to_writer(settings: &Settings, writer: impl Write + Send + 'static) -> Arc<Self> {
        Self::new(settings.format, settings.mode, Target::Stream(Box::new(writer)), false)
    }

    fn new(format: Format, mode: Mode, target: Target, to_terminal: bool) -> Arc<Self> {
        Arc::new(Self {
            format,
            mode,
            to_terminal,
            target: Mutex::new(target),
        })
    }

    /// Begins a new file at once, as when the old one has become too large: what SIGHUP asks for. Does nothing for other channels.
    ///
    /// # Errors
    ///
    /// When the file cannot be renamed or the new one not be made.
    pub fn rotate(&self) -> Result<()> {
        match &mut *self.lock() {
            Target::Stream(_) => Ok(()),
            Target::File(file) => file.rotate(),
        }
    }

    fn write(&self, lines: &[u8]) {
        let written = match &mut *self.lock() {
            Target::Stream(stream) => stream
                .write_all(lines)
                .and_then(|()| stream.flush())
                .map_err(Into::into),
            Target::File(file) => file.write(lines),
        };
        if let Err(error) = written {
            tracing::warn!("logs: writing: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a log says of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// The name of the gadget's image.
    pub image: String,
    /// The id of the instance if the gadget runs without a client; else empty.
    pub instance_id: String,
    /// Whether the gadget runs on behalf of a client. Other runs are not logged.
    pub remote: bool,
}

/// The log's part in one gadget.
#[derive(Debug)]
pub struct Logs {
    log: Arc<Log>,
    sources: Vec<LoggedSource>,
}

#[derive(Debug)]
struct LoggedSource {
    stream: usize,
    line: Line,
    fields: Vec<FieldId>,
}

impl Logs {
    /// Prepares the lines of all referenced data sources. `None` if this run is not to be logged. To be called after all
    /// operators have added their fields.
    pub fn instantiate(context: &mut Context, log: &Arc<Log>, facts: &RunFacts) -> Option<Self> {
        if !facts.remote || (log.mode == Mode::Detached && facts.instance_id.is_empty()) {
            return None;
        }
        let sources = context
            .referenced()
            .map(|(index, stream)| {
                let (line, fields) = Line::new(&stream.source, log.format, facts);
                LoggedSource {
                    stream: index,
                    line,
                    fields,
                }
            })
            .collect();
        Some(Self {
            log: Arc::clone(log),
            sources,
        })
    }
}

impl Instance for Logs {
    fn name(&self) -> &'static str {
        "logs"
    }

    fn priority(&self) -> i32 {
        priority::instance::LOGS
    }

    fn demand(&self, context: &mut Context) {
        for source in &self.sources {
            if let Some(stream) = context.streams.get_mut(source.stream) {
                source.fields.iter().for_each(|field| stream.demand.add(*field));
            }
        }
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for LoggedSource { stream, line, .. } in self.sources.drain(..) {
            if let Some(stream) = context.streams.get_mut(stream) {
                subscribe(stream, line, Arc::clone(&self.log));
            }
        }
        Ok(())
    }

    fn explain(&self, _context: &Context, to: &mut Explanation) {
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: true,
            why: "logging is enabled, and the gadget runs for a client".to_owned(),
        });
    }
}

fn subscribe(stream: &mut Stream, mut line: Line, log: Arc<Log>) {
    let mut writer = LineWriter {
        log,
        buffer: Vec::new(),
    };
    if stream.source.source_type() == SourceType::Single {
        return stream.pipeline.subscribe(priority::subscription::LOGS, move |element| {
            writer.write(&mut line, Kind::Element(element));
            line.sequence += 1;
            Ok(Flow::Continue)
        });
    }
    let by_element = line.format() == Format::Logfmt || stream.source.annotation(ARRAY_HANDLING) == Some("elements");
    stream
        .pipeline
        .subscribe_array(priority::subscription::LOGS, move |elements| {
            match elements.as_slice() {
                [] => writer.write(&mut line, Kind::Empty),
                elements if by_element => {
                    for element in elements {
                        writer.write(&mut line, Kind::Element(element));
                    }
                }
                elements => writer.write(&mut line, Kind::Array(elements)),
            }
            line.sequence += 1;
            Ok(Flow::Continue)
        });
}

/// Writes lines, with memory that is used again.
struct LineWriter {
    log: Arc<Log>,
    buffer: Vec<u8>,
}

impl LineWriter {
    fn write(&mut self, line: &mut Line, kind: Kind<'_>) {
        self.buffer.clear();
        line.append(kind, jiff::Timestamp::now(), &mut self.buffer);
        if self.log.to_terminal && line.format() == Format::Json {
            terminal::escape_json(0, &mut self.buffer);
        }
        self.buffer.push(b'\n');
        self.log.write(&self.buffer);
    }
}
