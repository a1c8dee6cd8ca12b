//! `ig top`: a gadget's arrays as a full-screen table that is always the newest one.
//!
//! The fetching thread makes rows of each array ([`feed`]) and leaves them; the screen's thread takes the newest ones, sorts,
//! filters and draws them ([`view`], [`draw`]). The terminal is as it was on every way out ([`screen`]).

mod draw;
mod feed;
pub(super) mod screen;
mod view;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, Command};
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use self::feed::{Board, Feed};
use self::screen::Screen;
use self::view::{Action, View};
use super::run::{self, Prepared};
use super::{gadget_args::GadgetArgs, logging, run_flags};
use crate::data::SourceType;
use crate::gadget::Gadget;
use crate::metadata::params::{Param, ParamValues};
use crate::output::fields::{Fields, Selection};
use crate::stop::StopSignal;
use crate::{Error, Result, ResultExt};

/// How long a key may have to wait, and new rows for being drawn.
const TICK: Duration = Duration::from_millis(40);

/// Flags of `ig run` that say how and where events are written, or that only end it in another way.
const NOT_OURS: [&str; 8] = [
    "explain",
    "fail-on-loss",
    "file",
    "loss-records",
    "profile-guest",
    "record",
    "timestamps",
    "watch",
];

pub(super) fn command() -> Command {
    run_flags::command()
        .name("top")
        .about("Show a gadget's reports as a live table")
        .long_about(
            "Show the reports of a gadget (tops, profiles, snapshots: what `ig run` prints as arrays) as a table that fills the terminal and is \
             always the newest\n\nAll flags that select images, containers and events are those of `ig run`. Keys: arrows move, < and > choose the \
             column to sort by, r turns the order around, / filters, space pauses, g shows trends, Tab goes to the next data source, ? helps, q ends.",
        )
        .mut_arg("image", |arg: Arg| arg.value_name("GADGET"))
}

/// The flags that `ig top` has with every gadget.
pub(super) fn params() -> Vec<Param> {
    let is_ours = |param: &Param| !NOT_OURS.contains(&param.key.as_str());
    run_flags::params().into_iter().filter(is_ours).collect()
}

/// Shows the gadget that the command line names.
pub(super) fn run(args: &GadgetArgs) -> Result<()> {
    let Some(prepared) = run::prepare(args)? else {
        return Ok(());
    };
    let Prepared {
        mut gadget,
        values,
        output_params,
        interrupts,
    } = prepared;
    let given = |name: &str| {
        let default = output_params.iter().find(|param| param.full_name() == name);
        values
            .get(name)
            .filter(|value| default.is_none_or(|param| param.default != *value))
    };
    if given(run::OUTPUT).is_some() {
        return Err(
            Error::unsupported("flag --output: ig top always shows a table").with_hint("ig run has other forms")
        );
    }
    if !std::io::stdout().is_terminal() {
        return Err(
            Error::unsupported("ig top needs a terminal, and standard output is none")
                .with_hint("ig run prints the same reports one after the other"),
        );
    }
    gadget.set_include_self(values.is_true(run_flags::INCLUDE_SELF));
    let (board, views) = feeds(&mut gadget, given(run::FIELDS))?;
    interrupts.end(gadget.stop_signal());
    let timeout = run::timeout(&values)?;
    let mut running = gadget.start()?;
    let stop = running.stop_signal();
    let on_screen = {
        let stop = stop.clone();
        let title = title(args, &values);
        std::thread::Builder::new()
            .name("ig-top".to_owned())
            .spawn(move || {
                let shown = show(&board, views, &title, &stop);
                // Without a screen there is nothing to run for.
                stop.request();
                shown
            })
            .context("starting the screen's thread")?
    };
    running.wait(timeout);
    stop.request();
    let shown = on_screen
        .join()
        .unwrap_or_else(|_| Err(Error::invalid("the screen's thread has panicked")));
    let report = running.stop()?;
    shown?;
    run::say_losses(&report);
    Ok(())
}

fn title(args: &GadgetArgs, values: &ParamValues) -> String {
    let image = args.early().ok().and_then(|early| early.image);
    let image = image
        .map(|image| image.to_string_lossy().into_owned())
        .unwrap_or_default();
    let containers = values.get("operator.LocalManager.containername").unwrap_or_default();
    match containers {
        "" if values.is_true("operator.LocalManager.host") => format!("{image} on the host"),
        "" => image,
        names => format!("{image} of {names}"),
    }
}

/// A board with a place for each array of the gadget, and the views that show them. `fields` is what the user chose.
fn feeds(gadget: &mut Gadget, fields: Option<&str>) -> Result<(Arc<Board>, Vec<View>)> {
    let fields = fields.map(Fields::parse);
    let names: Vec<String> = gadget.data_sources().map(|source| source.name().to_owned()).collect();
    if let Some(fields) = &fields {
        fields.check(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    let mut feeds = Vec::new();
    let mut views = Vec::new();
    for (index, stream) in gadget.context().streams.iter().enumerate() {
        let source = &stream.source;
        if source.source_type() != SourceType::Array || !source.is_referenced() {
            continue;
        }
        let selection = match &fields {
            Some(fields) => fields.select(source)?,
            None => Selection::default_of(source),
        };
        let feed = Feed::new(index, source, &selection)?;
        views.push(View::new(source.name(), feed.columns(), feed.counts_per_interval()));
        feeds.push(feed);
    }
    if feeds.is_empty() {
        return Err(Error::unsupported("this gadget reports single events, not tables").with_hint("use ig run"));
    }
    let board = Arc::new(Board::new(feeds.len()));
    gadget.add_instance(feed::Feeds::new(feeds, Arc::clone(&board)));
    Ok((board, views))
}

/// Draws until the user or somebody else ends the run.
fn show(board: &Board, mut views: Vec<View>, title: &str, stop: &StopSignal) -> Result<()> {
    let mut screen = Screen::enter()?;
    let mut seen = vec![0; views.len()];
    let mut current = 0;
    let mut stale = true;
    while !stop.is_requested() && screen.is_ours() {
        for (at, (view, seen)) in views.iter_mut().zip(&mut seen).enumerate() {
            if let Some(report) = board.newer(at, seen) {
                view.take(report);
                stale = true;
            }
        }
        let several = views.len() > 1;
        let Some(view) = views.get_mut(current) else { break };
        stale |= view.take_log(logging::held_line());
        if stale {
            screen.draw(|frame| draw::draw(frame, view, title, several))?;
            stale = false;
        }
        if !event::poll(TICK).context("reading keys")? {
            continue;
        }
        match event::read().context("reading keys")? {
            Event::Key(key) if key.kind != KeyEventKind::Release => match view.key(key) {
                Action::End => break,
                Action::NextSource => current = (current + 1) % seen.len().max(1),
                Action::None => {}
            },
            _ => {}
        }
        stale = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_a_run_that_make_sense() {
        let params = params();
        let has = |key: &str| params.iter().any(|param| param.key == key);
        assert!(has("timeout") && has("pull") && has("buffer-size") && has("include-self"));
        assert_eq!(
            params.len() + NOT_OURS.len(),
            run_flags::params().len(),
            "each of the others is a flag"
        );
    }
}
