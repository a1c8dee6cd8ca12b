//! Log lines on standard error, in the text form that upstream's users and test harnesses read (logrus).
//!
//! Not on a terminal: `time="2026-11-21T10:03:45+01:00" level=warning msg="…"`. On a terminal: a coloured `WARN[0000] …`
//! with the seconds since the start. Our own messages are shown from info on, or from debug on with `-v`; those of the
//! libraries below us only from warning on.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::error::for_terminal;
use crate::metadata::params::typed::go_quote;

/// Messages of targets below this one are ours.
const OUR_TARGET: &str = env!("CARGO_CRATE_NAME");

/// Sends the process's log lines to standard error from now on. A second call does nothing.
pub(super) fn init(verbose: bool) {
    let terminal = std::io::stderr().is_terminal();
    let layer = LogLayer {
        ours: if verbose { Level::DEBUG } else { Level::INFO },
        style: match (terminal, std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())) {
            (false, _) => Style::Logfmt,
            (true, true) => Style::Plain,
            (true, false) => Style::Coloured,
        },
        start: Instant::now(),
    };
    // It fails only if there is a subscriber already, which then is the one to use.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

/// Lines that wait until the screen is given back.
static HELD: Mutex<Option<Held>> = Mutex::new(None);

/// As many lines are kept; of more, the oldest are dropped and counted.
const MOST_HELD: usize = 1000;

#[derive(Default)]
struct Held {
    lines: VecDeque<String>,
    dropped: usize,
}

impl Held {
    fn push(&mut self, line: String) {
        if self.lines.len() == MOST_HELD {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line);
    }
}

/// Keeps lines back from now on, because the terminal that they would go to shows something else.
pub(super) fn hold() {
    if std::io::stderr().is_terminal() {
        *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held::default());
    }
}

/// Writes what was kept back, and everything that follows.
pub(super) fn release() {
    let Some(held) = HELD.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    if held.dropped > 0 {
        write(&format!("({} earlier messages are left out)\n", held.dropped));
    }
    held.lines.iter().for_each(|line| write(line));
}

/// The last of the lines that are kept back.
pub(super) fn held_line() -> Option<String> {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let line = held.as_ref()?.lines.back()?;
    Some(line.trim_end().to_owned())
}

fn write(line: &str) {
    // Where log lines cannot be written, there is nobody left to tell.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

#[derive(Clone, Copy)]
enum Style {
    Logfmt,
    Plain,
    Coloured,
}

struct LogLayer {
    ours: Level,
    style: Style,
    start: Instant,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let target = metadata.target();
        let is_ours = target
            .strip_prefix(OUR_TARGET)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        *metadata.level() <= if is_ours { self.ours } else { Level::WARN }
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.ours.into())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut record = Record::default();
        event.record(&mut record);
        let level = *event.metadata().level();
        let line = match self.style {
            Style::Logfmt => record.logfmt(level, &now()),
            Style::Plain => record.terminal(level, self.start.elapsed().as_secs(), false),
            Style::Coloured => record.terminal(level, self.start.elapsed().as_secs(), true),
        };
        if let Some(held) = &mut *HELD.lock().unwrap_or_else(PoisonError::into_inner) {
            held.push(line);
            return;
        }
        write(&line);
    }
}

fn now() -> String {
    let now = jiff::Timestamp::now().to_zoned(crate::local_time::zone());
    let format = if now.offset().is_zero() {
        "%Y-%m-%dT%H:%M:%SZ"
    } else {
        "%Y-%m-%dT%H:%M:%S%:z"
    };
    now.strftime(format).to_string()
}

/// What one log call said.
#[derive(Default)]
struct Record {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Record {
    fn logfmt(&self, level: Level, time: &str) -> String {
        let mut line = format!(
            "time={} level={} msg={}",
            quoted(time),
            name(level),
            quoted(&self.message)
        );
        for (key, value) in &self.fields {
            let _ = write!(line, " {key}={}", quoted(value));
        }
        line.push('\n');
        line
    }

    fn terminal(&self, level: Level, seconds: u64, colour: bool) -> String {
        let (short, number) = match level {
            Level::ERROR => ("ERRO", 31),
            Level::WARN => ("WARN", 33),
            Level::INFO => ("INFO", 36),
            Level::DEBUG => ("DEBU", 37),
            Level::TRACE => ("TRAC", 37),
        };
        let mut line = String::new();
        let (on, off) = if colour {
            (format!("\x1b[{number}m"), "\x1b[0m")
        } else {
            (String::new(), "")
        };
        let _ = write!(line, "{on}{short}{off}[{seconds:04}] {}", for_terminal(&self.message));
        for (key, value) in &self.fields {
            let _ = write!(line, " {on}{key}{off}={}", quoted(value));
        }
        line.push('\n');
        line
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.fields.push((field.name(), value.to_owned()));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// `text`, in quotes if logrus would put it into quotes.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b);
    if text.bytes().all(plain) {
        text.to_owned()
    } else {
        go_quote(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &str) -> Record {
        Record {
            message: message.to_owned(),
            fields: Vec::new(),
        }
    }

    #[test]
    fn logfmt_quotes_what_needs_quotes() {
        let time = "2026-11-21T10:03:45Z";
        assert_eq!(
            record("error pulling \"x\"\nnot found").logfmt(Level::WARN, time),
            "time=\"2026-11-21T10:03:45Z\" level=warning msg=\"error pulling \\\"x\\\"\\nnot found\"\n"
        );
        assert_eq!(
            record("running...").logfmt(Level::DEBUG, time),
            "time=\"2026-11-21T10:03:45Z\" level=debug msg=running...\n"
        );
        let mut with_field = record("lost");
        with_field.fields.push(("samples", "7".to_owned()));
        assert!(
            with_field
                .logfmt(Level::ERROR, time)
                .ends_with("level=error msg=lost samples=7\n")
        );
    }

    #[test]
    fn a_terminal_gets_seconds_and_no_foreign_escapes() {
        assert_eq!(
            record("a\x1b[2Jb").terminal(Level::WARN, 7, false),
            "WARN[0007] a\\x1b[2Jb\n"
        );
        assert_eq!(
            record("a").terminal(Level::INFO, 12345, true),
            "\x1b[36mINFO\x1b[0m[12345] a\n"
        );
    }

    #[test]
    fn time_is_rfc3339_with_seconds() {
        let text = now();
        assert!(text.parse::<jiff::Timestamp>().is_ok(), "{text}");
        assert!(!text.contains('.') && !text.ends_with("+00:00"), "{text}");
    }
}
