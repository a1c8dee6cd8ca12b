//! The sink of the command line: shows events on standard output.
//!
//! Every referenced data source is shown in its mode (`show`); all of them share one [`Output`], so that their rows stay in order.
//! At low rates every event is out at once, at high rates writes are large, and a slow reader costs events, which are
//! counted, but never stops the gadget.

mod output;
mod show;
mod times;

use std::sync::Arc;

use self::show::{AtEnd, Show};
use self::times::Start;
use super::{Context, Explanation, Instance, OperatorNote, priority};
use crate::data::DataSource;
use crate::output::fields::Fields;
use crate::output::mode::{Mode, Modes};
use crate::output::profile::Form;
use crate::{Error, Result};

pub use self::output::{LIMIT, Lane, Output};
pub use self::times::Timestamps;

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
    /// How columns show times.
    pub timestamps: Timestamps,
    /// Whether losses are said in the JSON streams of single data sources, where they happened.
    pub loss_records: bool,
}

/// The sink's part in one gadget.
#[derive(Debug)]
pub struct CliSink {
    output: Output,
    shows: Vec<(usize, Show)>,
    at_end: Vec<AtEnd>,
    notes: Vec<String>,
}

impl CliSink {
    /// Compiles how every referenced data source is shown. To be called after all other operators have added their fields.
    ///
    /// # Errors
    ///
    /// A mode, field or data source that does not exist, annotations that a mode cannot obey, a capture file that would go to a
    /// terminal or that something else would be mixed into.
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
        let fields = Fields::parse(options.fields.as_deref().unwrap_or_default());
        fields.check(&names)?;
        let modes = Modes::parse(options.output.as_deref().unwrap_or_default())?.resolve(&sources)?;
        check_capture(&sources, &modes, options)?;
        let mut compiler = Compiler {
            options,
            fields: options.fields.is_some().then_some(&fields),
            several: sources.len() > 1,
            start: Start::new(),
            notes: Vec::new(),
            shows_times: false,
            says_losses: false,
        };
        let mut shows = Vec::new();
        for ((index, source), mode) in streams.into_iter().zip(modes) {
            if let Some(show) = compiler.show(source, mode)? {
                shows.push((index, show));
            }
        }
        compiler.note_idle_options();
        Ok(Self {
            output,
            shows,
            at_end: Vec::new(),
            notes: compiler.notes,
        })
    }

    /// What the user should be told about how the options were understood: ambiguous names, columns left out. One line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// A capture file is binary and one.
fn check_capture(sources: &[&DataSource], modes: &[Mode], options: &Options) -> Result<()> {
    let mut shown = sources.iter().zip(modes).filter(|(_, mode)| **mode != Mode::None);
    let name = |mode: &Mode| match mode {
        Mode::PcapNg => Some("pcap-ng"),
        Mode::Profile(form @ Form::Pprof) => Some(form.name()),
        _ => None,
    };
    let Some((capture, form)) = shown.clone().find_map(|(source, mode)| Some((source, name(mode)?))) else {
        return Ok(());
    };
    let what = format!("output mode {form:?} of data source {:?}", capture.name());
    if options.terminal.is_some() {
        return Err(
            Error::invalid(format!("{what} is binary and standard output is a terminal")).with_hint(match form {
                "pcap-ng" => "send it to a file or a program, for example `> capture.pcapng` or `| tshark -r -`",
                _ => "send it to a file, for example `> profile.pb`",
            }),
        );
    }
    if let Some((other, _)) = shown.find(|(source, _)| source.name() != capture.name()) {
        return Err(Error::invalid(format!(
            "{what} and data source {:?} cannot share standard output",
            other.name()
        ))
        .with_hint(format!("-o {}:{form},{}:none", capture.name(), other.name())));
    }
    Ok(())
}

/// What the shows of a gadget have in common while they are compiled.
struct Compiler<'a> {
    options: &'a Options,
    fields: Option<&'a Fields<'a>>,
    /// The gadget has several data sources.
    several: bool,
    start: Start,
    notes: Vec<String>,
    shows_times: bool,
    says_losses: bool,
}

impl Compiler<'_> {
    /// Options that changed nothing are said.
    fn note_idle_options(&mut self) {
        if self.options.timestamps != Timestamps::Local && !self.shows_times {
            self.notes.push(
                "--timestamps: no column shows a time; name one with --fields, for example +timestamp".to_owned(),
            );
        }
        if self.options.loss_records && !self.says_losses {
            self.notes
                .push("--loss-records: only the JSON of single data sources has such records".to_owned());
        }
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
                stream.demand.set_reader(show.name());
                show.fields().into_iter().for_each(|field| stream.demand.add(field));
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
                self.at_end.extend(show.subscribe(stream, &self.output));
            }
        }
        // The header is out before the first event, which may be long in coming.
        self.output.flush();
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        for profile in self.at_end.drain(..) {
            profile.show();
        }
        self.output.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
