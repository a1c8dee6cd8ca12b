//! The sink of the command line: shows events on standard output.
//!
//! Rows are appended to one buffer that all data sources share, so that they stay in order; it is written when the producer
//! pauses, or when it has grown past 64 KiB. At low rates every event is out at once, at high rates writes are large.
//!
//! A reader that went away ends the run quietly; any other write error ends it too, and is kept for the caller to report.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Context, Explanation, Instance, OperatorNote, Stream, priority};
use crate::data::{Accessor, DataSource, Element, FieldId, Flow, SourceType};
use crate::output::columns::Table;
use crate::output::fields::Fields;
use crate::output::mode::{Mode, Modes};
use crate::output::{json, terminal, yaml};
use crate::{Error, ErrorKind, Result};

/// Bytes from which on the buffer is written even though the producer goes on.
const FULL: usize = 64 * 1024;
/// Room for the event that fills the buffer.
const CAPACITY: usize = 2 * FULL;

const CLEAR_SCREEN: &[u8] = b"\x1b[H\x1b[2J";

/// Where shown events go. Clones write to the same place.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    ended: AtomicBool,
}

struct State {
    buffer: Vec<u8>,
    writer: Box<dyn Write + Send>,
    error: Option<Error>,
    on_end: Option<Box<dyn FnOnce() + Send>>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("ended", &self.ended()).finish()
    }
}

impl Output {
    /// Writes to `writer`.
    pub fn new(writer: Box<dyn Write + Send>) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    buffer: Vec::with_capacity(CAPACITY),
                    writer,
                    error: None,
                    on_end: None,
                }),
                ended: AtomicBool::new(false),
            }),
        }
    }

    /// Standard output, without a buffer of the standard library in between.
    pub fn stdout() -> Result<Self> {
        use std::os::fd::AsFd;
        let fd = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::new(Box::new(std::fs::File::from(fd))))
    }

    /// Has `call` called once when nothing can be written any more: the moment to end the run.
    pub fn on_end(&self, call: impl FnOnce() + Send + 'static) {
        self.lock().on_end = Some(Box::new(call));
    }

    /// Whether nothing can be written any more.
    pub fn ended(&self) -> bool {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// The error that ended the output, once. `None` if it has not ended, or ended because the reader went away.
    pub fn take_error(&self) -> Option<Error> {
        self.lock().error.take()
    }

    /// Lets `append` add to the buffer. What is added after the end is dropped.
    #[inline]
    pub fn append(&self, append: impl FnOnce(&mut Vec<u8>)) {
        if self.ended() {
            return;
        }
        let mut state = self.lock();
        append(&mut state.buffer);
        if state.buffer.len() >= FULL {
            self.write(state);
        }
    }

    /// Writes what is in the buffer.
    pub fn flush(&self) {
        if self.ended() {
            return;
        }
        let state = self.lock();
        if !state.buffer.is_empty() {
            self.write(state);
        }
    }

    fn write(&self, mut guard: MutexGuard<'_, State>) {
        let state = &mut *guard;
        let result = state
            .writer
            .write_all(&state.buffer)
            .and_then(|()| state.writer.flush());
        state.buffer.clear();
        // One huge batch must not keep its memory for the rest of the run.
        state.buffer.shrink_to(CAPACITY);
        let Err(error) = result else {
            return;
        };
        if error.kind() != io::ErrorKind::BrokenPipe {
            state.error = Some(Error::from_source(ErrorKind::Io, error).context("writing output"));
        }
        self.shared.ended.store(true, Ordering::Relaxed);
        let call = state.on_end.take();
        drop(guard);
        if let Some(call) = call {
            call();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the current width of the terminal; `None` when it cannot be told.
pub type TerminalWidth = Arc<dyn Fn() -> Option<usize> + Send + Sync>;

/// What the user asked for.
#[derive(Clone, Default)]
pub struct Options {
    /// The `--fields` option, if it was given.
    pub fields: Option<String>,
    /// The `--output` option, if it was given.
    pub output: Option<String>,
    /// Set when the output is a terminal.
    pub terminal: Option<TerminalWidth>,
}

/// The sink's part in one gadget.
#[derive(Debug)]
pub struct CliSink {
    output: Output,
    shows: Vec<(usize, Show)>,
    notes: Vec<String>,
}

enum Show {
    Columns {
        table: Table,
        terminal: Option<TerminalWidth>,
        refreshing: bool,
    },
    Json {
        encoder: json::Encoder,
        to_terminal: bool,
    },
    Yaml(yaml::Encoder),
    Text {
        fields: Vec<FieldId>,
        accessors: Vec<Accessor>,
        to_terminal: bool,
        clear: bool,
    },
}

impl Show {
    /// One word for users.
    fn name(&self) -> &'static str {
        match self {
            Show::Columns { .. } => "columns",
            Show::Json { .. } => "json",
            Show::Yaml(_) => "yaml",
            Show::Text { .. } => "text",
        }
    }
}

impl std::fmt::Debug for Show {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl CliSink {
    /// Compiles how every referenced data source is shown. To be called after all other operators have added their fields.
    ///
    /// # Errors
    ///
    /// A mode, field or data source that does not exist, annotations that columns cannot obey.
    pub fn instantiate(context: &Context, options: &Options, output: Output) -> Result<Self> {
        let streams: Vec<(usize, &DataSource)> = context
            .streams
            .iter()
            .map(|stream| &stream.source)
            .enumerate()
            .filter(|(_, source)| source.is_referenced())
            .collect();
        let sources: Vec<&DataSource> = streams.iter().map(|(_, source)| *source).collect();
        let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
        let fields = options.fields.as_deref().map(Fields::parse).unwrap_or_default();
        fields.check(&names)?;
        let modes = Modes::parse(options.output.as_deref().unwrap_or_default())?.resolve(&sources)?;
        let mut sink = Self {
            output,
            shows: Vec::new(),
            notes: Vec::new(),
        };
        for ((index, source), mode) in streams.into_iter().zip(modes) {
            if let Some(show) = sink.show(source, mode, &fields, options)? {
                sink.shows.push((index, show));
            }
        }
        Ok(sink)
    }

    /// What the user should be told about how the options were understood: ambiguous names, columns left out. One line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn show(&mut self, source: &DataSource, mode: Mode, fields: &Fields, options: &Options) -> Result<Option<Show>> {
        let to_terminal = options.terminal.is_some();
        let refreshing = source.annotation("cli.clear-screen-before") == Some("true");
        Ok(Some(match mode {
            Mode::None => return Ok(None),
            Mode::Json => Show::Json {
                encoder: json::Encoder::compact(source),
                to_terminal,
            },
            Mode::JsonPretty => Show::Json {
                encoder: json::Encoder::pretty(source),
                to_terminal,
            },
            Mode::Yaml => Show::Yaml(yaml::Encoder::new(source)),
            Mode::PcapNg => {
                return Err(Error::unsupported(format!(
                    "output mode \"pcap-ng\" of data source {:?} is not available in this version",
                    source.name()
                )));
            }
            Mode::Text(_) => {
                let texts: Vec<FieldId> = source
                    .fields()
                    .filter(|(_, field)| !field.is_empty())
                    .map(|(id, _)| id)
                    .collect();
                Show::Text {
                    accessors: texts.iter().map(|id| source.accessor(*id)).collect(),
                    fields: texts,
                    to_terminal,
                    clear: to_terminal && refreshing,
                }
            }
            Mode::Columns => {
                let selection = fields.select(source)?;
                let width = options.terminal.as_ref().and_then(|width| width());
                let table = Table::new(source, &selection, width)
                    .map_err(|error| error.context(format!("columns of data source {:?}", source.name())))?;
                self.notes.extend_from_slice(selection.notes());
                if !table.left_out().is_empty() {
                    self.notes.push(format!(
                        "the terminal is too narrow for all columns of {}; left out: {} (name what you need with --fields)",
                        source.name(),
                        table.left_out().join(", ")
                    ));
                }
                Show::Columns {
                    table,
                    terminal: options.terminal.clone(),
                    refreshing,
                }
            }
        }))
    }
}

impl Instance for CliSink {
    fn name(&self) -> &'static str {
        "cli"
    }

    fn priority(&self) -> i32 {
        priority::instance::SINK
    }

    fn demand(&self, context: &mut Context) {
        for (index, show) in &self.shows {
            if let Some(stream) = context.streams.get_mut(*index) {
                let fields = match show {
                    Show::Columns { table, .. } => table.fields(),
                    Show::Json { encoder, .. } => encoder.fields().to_vec(),
                    Show::Yaml(encoder) => encoder.fields().to_vec(),
                    Show::Text { fields, .. } => fields.clone(),
                };
                stream.demand.set_reader(show.name());
                fields.into_iter().for_each(|field| stream.demand.add(field));
            }
        }
    }

    fn explain(&self, context: &Context, to: &mut Explanation) {
        let shown: Vec<String> = self
            .shows
            .iter()
            .filter_map(|(index, show)| Some((context.streams.get(*index)?, show)))
            .map(|(stream, show)| format!("{} as {}", stream.source.name(), show.name()))
            .collect();
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: !shown.is_empty(),
            why: match shown.is_empty() {
                true => "nothing is shown".to_owned(),
                false => format!("shows {}", shown.join(", ")),
            },
        });
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for (index, show) in self.shows.drain(..) {
            if let Some(stream) = context.streams.get_mut(index) {
                subscribe(stream, show, &self.output);
            }
        }
        // The header is out before the first event, which may be long in coming.
        self.output.flush();
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        self.output.flush();
        Ok(())
    }
}

fn subscribe(stream: &mut Stream, show: Show, output: &Output) {
    let array = stream.source.source_type() == SourceType::Array;
    let pipeline = &mut stream.pipeline;
    let out = output.clone();
    match show {
        Show::Columns {
            mut table,
            terminal,
            refreshing,
        } if array => {
            let clear: &[u8] = if refreshing && terminal.is_some() {
                CLEAR_SCREEN
            } else {
                b""
            };
            if refreshing {
                out.append(|buffer| {
                    buffer.extend_from_slice(clear);
                    header(&table, buffer);
                });
            }
            pipeline.subscribe_array(priority::subscription::SINK, move |elements| {
                if let Some(width) = terminal.as_ref().and_then(|width| width()) {
                    table.rescale(width);
                }
                out.append(|buffer| {
                    buffer.extend_from_slice(clear);
                    header(&table, buffer);
                    elements.iter().for_each(|element| row(&table, element, buffer));
                });
                Ok(Flow::Continue)
            });
        }
        Show::Columns { table, .. } => {
            out.append(|buffer| header(&table, buffer));
            pipeline.subscribe(priority::subscription::SINK, move |element| {
                out.append(|buffer| row(&table, element, buffer));
                Ok(Flow::Continue)
            });
        }
        Show::Json {
            mut encoder,
            to_terminal,
        } if array => {
            pipeline.subscribe_array(priority::subscription::SINK, move |elements| {
                out.append(|buffer| {
                    json_line(to_terminal, buffer, |buffer| encoder.encode_array(elements, buffer));
                });
                Ok(Flow::Continue)
            });
        }
        Show::Json {
            mut encoder,
            to_terminal,
        } => pipeline.subscribe(priority::subscription::SINK, move |element| {
            out.append(|buffer| json_line(to_terminal, buffer, |buffer| encoder.encode(element, buffer)));
            Ok(Flow::Continue)
        }),
        Show::Yaml(mut encoder) => pipeline.subscribe(priority::subscription::SINK, move |element| {
            out.append(|buffer| encoder.encode(element, buffer));
            Ok(Flow::Continue)
        }),
        Show::Text {
            accessors,
            to_terminal,
            clear,
            ..
        } => pipeline.subscribe(priority::subscription::SINK, move |element| {
            out.append(|buffer| {
                if clear {
                    buffer.extend_from_slice(CLEAR_SCREEN);
                }
                for accessor in &accessors {
                    if to_terminal {
                        terminal::append_lines(accessor.text(element), buffer);
                    } else {
                        buffer.extend_from_slice(accessor.text(element));
                    }
                }
            });
            Ok(Flow::Continue)
        }),
    }
    let out = output.clone();
    pipeline.on_flush(move || {
        out.flush();
        Ok(())
    });
}

#[inline]
fn json_line(to_terminal: bool, buffer: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    encode(buffer);
    if to_terminal {
        terminal::escape_json(start, buffer);
    }
    buffer.push(b'\n');
}

fn header(table: &Table, buffer: &mut Vec<u8>) {
    table.header(buffer);
    buffer.push(b'\n');
}

#[inline]
fn row(table: &Table, element: &Element, buffer: &mut Vec<u8>) {
    table.row(element, buffer);
    buffer.push(b'\n');
}

#[cfg(test)]
mod tests;
