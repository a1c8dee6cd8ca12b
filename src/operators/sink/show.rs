//! How one data source is shown: its mode, compiled, and what happens to its events.

use std::sync::{Arc, Mutex, PoisonError};

use super::output::{Lane, Output};
use super::{Compiler, TerminalWidth, times};
use crate::Result;
use crate::data::{Accessor, DataSource, Element, FieldId, Flow, LazyElement, Pipeline, SourceType};
use crate::operators::{Stream, priority};
use crate::output::columns::Table;
use crate::output::fields::Selection;
use crate::output::loss::LossLine;
use crate::output::mode::Mode;
use crate::output::profile::Profile;
use crate::output::{csv, histogram, json, pcapng, terminal, yaml};

const CLEAR_SCREEN: &[u8] = b"\x1b[H\x1b[2J";

/// How one data source is shown.
#[derive(Debug)]
pub(super) struct Show {
    form: Form,
    /// How losses are said in the stream.
    line: Option<LossLine>,
    to_terminal: bool,
}

enum Form {
    Columns {
        table: Box<Table>,
        terminal: Option<TerminalWidth>,
        refreshing: bool,
    },
    Json(json::Encoder),
    Yaml(yaml::Encoder),
    Csv(csv::Encoder),
    PcapNg(pcapng::Encoder),
    Profile(Box<Profile>),
    Histogram(histogram::Encoder),
    Text {
        fields: Vec<FieldId>,
        accessors: Vec<Accessor>,
        clear: bool,
    },
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Form {
    fn name(&self) -> &'static str {
        match self {
            Form::Columns { .. } => "columns",
            Form::Json(_) => "json",
            Form::Yaml(_) => "yaml",
            Form::Csv(_) => "csv",
            Form::PcapNg(_) => "pcap-ng",
            Form::Profile(profile) => profile.form().name(),
            Form::Histogram(_) => histogram::MODE,
            Form::Text { .. } => "text",
        }
    }
}

impl Compiler<'_> {
    /// Compiles `mode` for `source`. `None` if it is not shown.
    pub(super) fn show(&mut self, source: &DataSource, mode: Mode) -> Result<Option<Show>> {
        let to_terminal = self.options.terminal.is_some();
        let refreshing = source.annotation("cli.clear-screen-before") == Some("true");
        let mut line = None;
        let form = match mode {
            Mode::None => return Ok(None),
            Mode::Json => {
                line = self.loss_line(source, false);
                Form::Json(json::Encoder::compact(source))
            }
            Mode::JsonPretty => {
                line = self.loss_line(source, true);
                Form::Json(json::Encoder::pretty(source))
            }
            Mode::Yaml if to_terminal => Form::Yaml(yaml::Encoder::for_terminal(source)),
            Mode::Yaml => Form::Yaml(yaml::Encoder::new(source)),
            Mode::Csv if to_terminal => Form::Csv(csv::Encoder::for_terminal(source)),
            Mode::Csv => Form::Csv(csv::Encoder::new(source)),
            Mode::PcapNg => Form::PcapNg(pcapng::Encoder::new(source).map_err(|error| {
                error.context(format!("output mode \"pcap-ng\" of data source {:?}", source.name()))
            })?),
            Mode::Profile(form) => Form::Profile(Box::new(Profile::new(source, form)?)),
            Mode::Text(mode) => {
                if mode == histogram::MODE
                    && let Some(encoder) = histogram::Encoder::new(source, &self.selection(source)?)?
                {
                    return Ok(Some(Show {
                        form: Form::Histogram(encoder),
                        line: None,
                        to_terminal,
                    }));
                }
                let fields: Vec<FieldId> = source
                    .fields()
                    .filter(|(_, field)| !field.is_empty())
                    .map(|(id, _)| id)
                    .collect();
                Form::Text {
                    accessors: fields.iter().map(|id| source.accessor(*id)).collect(),
                    fields,
                    clear: to_terminal && refreshing,
                }
            }
            Mode::Columns => Form::Columns {
                table: Box::new(self.table(source)?),
                terminal: self.options.terminal.clone(),
                refreshing,
            },
        };
        Ok(Some(Show {
            form,
            line,
            to_terminal,
        }))
    }

    fn loss_line(&mut self, source: &DataSource, pretty: bool) -> Option<LossLine> {
        if !self.options.loss_records || source.source_type() != SourceType::Single {
            return None;
        }
        self.says_losses = true;
        Some(LossLine::new(self.several.then(|| source.name()), pretty))
    }

    fn selection(&self, source: &DataSource) -> Result<Selection> {
        match self.fields {
            Some(fields) => fields.select(source),
            None => Ok(Selection::default_of(source)),
        }
    }

    fn table(&mut self, source: &DataSource) -> Result<Table> {
        let selection = self.selection(source)?;
        let width = self.options.terminal.as_ref().and_then(|width| width());
        let mut table = Table::new(source, &selection, width)
            .map_err(|error| error.context(format!("columns of data source {:?}", source.name())))?;
        self.shows_times |= times::apply(&mut table, source, self.options.timestamps, &self.start);
        self.notes.extend_from_slice(selection.notes());
        if !table.left_out().is_empty() {
            self.notes.push(format!(
                "the terminal is too narrow for all columns of {}; left out: {} (name what you need with --fields)",
                source.name(),
                table.left_out().join(", ")
            ));
        }
        Ok(table)
    }
}

impl Show {
    /// One word for users.
    pub(super) fn name(&self) -> &'static str {
        self.form.name()
    }

    /// The fields that are read.
    pub(super) fn fields(&self) -> Vec<FieldId> {
        match &self.form {
            Form::Columns { table, .. } => table.fields(),
            Form::Json(encoder) => encoder.fields().to_vec(),
            Form::Yaml(encoder) => encoder.fields().to_vec(),
            Form::Csv(encoder) => encoder.fields().to_vec(),
            Form::PcapNg(encoder) => encoder.fields().to_vec(),
            Form::Profile(profile) => profile.fields().to_vec(),
            Form::Histogram(encoder) => encoder.fields(),
            Form::Text { fields, .. } => fields.clone(),
        }
    }

    /// Has the events of `stream` shown in `output`. What is shown at the end only is returned.
    pub(super) fn subscribe(self, stream: &mut Stream, output: &Output) -> Option<AtEnd> {
        let mut at_end = None;
        let array = stream.source.source_type() == SourceType::Array;
        let says_losses = self.line.is_some();
        let lane = output.lane(stream.losses.clone(), self.line);
        let pipeline = &mut stream.pipeline;
        if says_losses {
            let lane = lane.clone();
            pipeline.on_loss(move |place, count| {
                lane.say_lost(place, count);
                Ok(())
            });
        }
        let flushed = lane.clone();
        let to_terminal = self.to_terminal;
        match self.form {
            Form::Columns {
                table,
                terminal,
                refreshing,
            } if array => batches_of_rows(*table, terminal, refreshing, pipeline, lane),
            Form::Columns { mut table, .. } => {
                lane.append_always(|buffer| header(&table, buffer));
                each_lazily(pipeline, lane, move |element, buffer| {
                    table.row(element, buffer);
                    buffer.push(b'\n');
                });
            }
            Form::Json(mut encoder) if array => {
                pipeline.subscribe_array(priority::subscription::SINK, move |elements| {
                    lane.append(elements.len(), |buffer| {
                        json_line(to_terminal, buffer, |buffer| encoder.encode_array(elements, buffer));
                    });
                    Ok(Flow::Continue)
                });
            }
            Form::Json(mut encoder) => each_lazily(pipeline, lane, move |element, buffer| {
                json_line(to_terminal, buffer, |buffer| encoder.encode(element, buffer));
            }),
            Form::Yaml(mut encoder) => each(pipeline, lane, move |element, buffer| encoder.encode(element, buffer)),
            Form::Csv(mut encoder) => {
                lane.append_always(|buffer| encoder.header(buffer));
                each(pipeline, lane, move |element, buffer| encoder.encode(element, buffer));
            }
            Form::PcapNg(mut encoder) => {
                lane.append_always(|buffer| encoder.header(buffer));
                each(pipeline, lane, move |element, buffer| encoder.encode(element, buffer));
            }
            Form::Profile(profile) => {
                let profile = Arc::new(Mutex::new(*profile));
                at_end = Some(AtEnd {
                    profile: Arc::clone(&profile),
                    lane: lane.clone(),
                });
                pipeline.subscribe(priority::subscription::SINK, move |element| {
                    profile.lock().unwrap_or_else(PoisonError::into_inner).add(element);
                    Ok(Flow::Continue)
                });
            }
            Form::Histogram(mut encoder) => {
                each(pipeline, lane, move |element, buffer| encoder.encode(element, buffer))
            }
            Form::Text { accessors, clear, .. } => each(pipeline, lane, move |element, buffer| {
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
            }),
        }
        pipeline.on_flush(move || {
            flushed.flush();
            Ok(())
        });
        at_end
    }
}

/// What is shown when there are no more events.
pub(super) struct AtEnd {
    profile: Arc<Mutex<Profile>>,
    lane: Lane,
}

impl AtEnd {
    pub(super) fn show(&self) {
        let profile = self.profile.lock().unwrap_or_else(PoisonError::into_inner);
        self.lane.append_always(|buffer| profile.write(buffer));
    }
}

impl std::fmt::Debug for AtEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AtEnd").finish_non_exhaustive()
    }
}

/// Appends what `encode` makes of each element.
fn each(pipeline: &mut Pipeline, lane: Lane, mut encode: impl FnMut(&Element, &mut Vec<u8>) + Send + 'static) {
    pipeline.subscribe(priority::subscription::SINK, move |element| {
        lane.append(1, |buffer| encode(element, buffer));
        Ok(Flow::Continue)
    });
}

/// The same, where not all values of an element need be made.
fn each_lazily(
    pipeline: &mut Pipeline,
    lane: Lane,
    mut encode: impl FnMut(LazyElement<'_>, &mut Vec<u8>) + Send + 'static,
) {
    pipeline.subscribe_lazily(priority::subscription::SINK, move |element| {
        lane.append(1, |buffer| encode(element, buffer));
        Ok(())
    });
}

/// A table for each batch, on a terminal in the place of the one before if it is a refreshing one.
fn batches_of_rows(
    mut table: Table,
    terminal: Option<TerminalWidth>,
    refreshing: bool,
    pipeline: &mut Pipeline,
    lane: Lane,
) {
    let clear: &[u8] = if refreshing && terminal.is_some() {
        CLEAR_SCREEN
    } else {
        b""
    };
    if refreshing {
        lane.append_always(|buffer| {
            buffer.extend_from_slice(clear);
            header(&table, buffer);
        });
    }
    pipeline.subscribe_array(priority::subscription::SINK, move |elements| {
        if let Some(width) = terminal.as_ref().and_then(|width| width()) {
            table.rescale(width);
        }
        lane.append(elements.len(), |buffer| {
            buffer.extend_from_slice(clear);
            header(&table, buffer);
            for element in elements.iter() {
                table.row(element, buffer);
                buffer.push(b'\n');
            }
        });
        Ok(Flow::Continue)
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
