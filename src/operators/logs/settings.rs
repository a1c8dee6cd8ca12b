//! What the configuration of the process says about logs of events.

use std::path::PathBuf;
use std::time::Duration;

use crate::metadata::params::typed::parse_int;
use crate::text::go_quote;
use crate::{Error, Result, ResultExt};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_MAX_SIZE_MB: i64 = 100;
const DEFAULT_MAX_BACKUPS: i64 = 3;

/// How events are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where lines go.
    pub channel: Channel,
    /// How they look.
    pub format: Format,
    /// Which runs are logged.
    pub mode: Mode,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file.
    File(FileSettings),
}

/// A file that is replaced by a new one when it has become too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The file.
    pub path: PathBuf,
    /// The most bytes that it may have.
    pub max_size: u64,
    /// How long old files are kept; none is forever.
    pub max_age: Option<Duration>,
    /// How many old files are kept; none is all.
    pub max_backups: Option<usize>,
    /// Whether old files are compressed with gzip.
    pub compress: bool,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object.
    Json,
    /// `key=value key=value`
    Logfmt,
}

/// Which runs are logged, of those on behalf of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All.
    All,
    /// Those that go on without the client.
    Detached,
}

impl Settings {
    /// Reads the settings `operator.logs.*`; `get` gives the text of one by its name, if it is set. `None` if logging is not enabled.
    ///
    /// # Errors
    ///
    /// What is wrong, by the name of the setting.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let text = |key: &str| get(&format!("operator.logs.{key}")).filter(|text| !text.is_empty());
        let on = |key: &str| text(key).is_some_and(|text| matches!(&*text, "1" | "t" | "T" | "TRUE" | "true" | "True"));
        let number = |key: &str, default: i64| -> Result<u64> {
            let value = match text(key) {
                None => default,
                Some(text) => parse_int(&text, 64).with_context(|| format!("operator.logs.{key}"))?,
            };
            u64::try_from(value).map_err(|_| Error::invalid(format!("operator.logs.{key} must be >= 0, got {value}")))
        };
        if !on("enabled") {
            return Ok(None);
        }
        let unsupported = |what: &str, value: &str, expected: &str| {
            Err(Error::invalid(format!(
                "unsupported logs {what} {}; expected {expected}",
                go_quote(value)
            )))
        };
        let channel = match text("channel").as_deref() {
            Some("stdout") => Channel::Stdout,
            None | Some("stderr") => Channel::Stderr,
            Some("file") => {
                let path = text("filename")
                    .ok_or_else(|| Error::invalid("operator.logs.filename must be set when channel is \"file\""))?;
                let megabytes = match number("max-size-mb", DEFAULT_MAX_SIZE_MB)? {
                    0 => DEFAULT_MAX_SIZE_MB as u64,
                    megabytes => megabytes,
                };
                let days = number("max-age-days", 0)?;
                let backups = number("max-backups", DEFAULT_MAX_BACKUPS)?;
                Channel::File(FileSettings {
                    path: path.into(),
                    max_size: megabytes.saturating_mul(1 << 20),
                    max_age: (days > 0).then(|| DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX))),
                    max_backups: usize::try_from(backups).ok().filter(|backups| *backups > 0),
                    compress: on("compress"),
                })
            }
            Some(other) => return unsupported("channel", other, "\"stdout\", \"stderr\", or \"file\""),
        };
        let format = match text("format").as_deref() {
            None | Some("json") => Format::Json,
            Some("logfmt") => Format::Logfmt,
            Some(other) => return unsupported("format", other, "\"json\" or \"logfmt\""),
        };
        let mode = match text("mode").as_deref() {
            None | Some("all") => Mode::All,
            Some("detached") => Mode::Detached,
            Some(other) => return unsupported("mode", other, "\"all\" or \"detached\""),
        };
        Ok(Some(Self { channel, format, mode }))
    }
}
