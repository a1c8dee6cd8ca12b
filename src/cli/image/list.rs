//! `ig image list`

use std::io::IsTerminal;

use clap::{Arg, ArgAction, ArgMatches, Command};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::print;
use crate::image::{ListedImage, Store};
use crate::text::printable;
use crate::{Error, ErrorKind, Result, ResultExt};

/// The width of a shortened digest, and of its column.
const SHORT_DIGEST: usize = 12;

/// The width of a terminal that does not tell it.
const DEFAULT_WIDTH: usize = 80;

pub(super) fn command() -> Command {
    Command::new("list")
        .visible_alias("ls")
        .about("List the gadget images in the store")
        .arg(
            Arg::new("no-trunc")
                .long("no-trunc")
                .action(ArgAction::SetTrue)
                .help("Show full digests and dates, in columns that are not aligned"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("string")
                .default_value("columns")
                .help("Output mode: columns, json or jsonpretty"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let rows: Vec<Row> = Store::open_default()
        .and_then(|store| store.list())
        .context("listing gadget images")?
        .into_iter()
        .map(Row::from)
        .collect();
    let mode: &String = super::required(matches, "output")?;
    let text = match &**mode {
        "columns" if std::io::stdout().is_terminal() && !matches.get_flag("no-trunc") => {
            let width = terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| width.0.into());
            table(&rows, width, Timestamp::now())
        }
        "columns" => plain(&rows),
        "json" => json(serde_json::to_string(&rows))?,
        "jsonpretty" => json(serde_json::to_string_pretty(&rows))?,
        other => {
            return Err(Error::invalid(format!(
                "invalid output mode {other:?}, valid values are: columns, json, jsonpretty"
            )));
        }
    };
    print(&text)
}

fn json(text: serde_json::Result<String>) -> Result<String> {
    text.map_err(|e| Error::from_source(ErrorKind::Other, e).context("encoding JSON"))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    repository: String,
    tag: String,
    digest: String,
    created: String,
}

impl From<ListedImage> for Row {
    fn from(image: ListedImage) -> Self {
        Self {
            repository: image.reference.short_repository(),
            tag: image.reference.tag().unwrap_or("latest").to_owned(),
            digest: image.digest.to_string(),
            created: image.created.unwrap_or_default(),
        }
    }
}

const HEADER: [&str; 4] = ["REPOSITORY", "TAG", "DIGEST", "CREATED"];

/// For pipes: scripts split the lines at spaces.
fn plain(rows: &[Row]) -> String {
    let mut text = HEADER.join(" ") + "\n";
    for row in rows {
        text.push_str(&[&*row.repository, &row.tag, &row.digest, &printable(&row.created)].join(" "));
        text.push('\n');
    }
    text
}

/// For terminals that are `width` wide.
fn table(rows: &[Row], width: usize, now: Timestamp) -> String {
    let spare = width.saturating_sub(SHORT_DIGEST + 3);
    let share = |place: usize| (spare / 3 + usize::from(spare % 3 > place)).max(1);
    let widths = [share(0), share(1), SHORT_DIGEST, share(2)];
    let mut text = String::new();
    let mut line = |cells: [&str; 4]| {
        let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| fit(cell, width)).collect();
        text.push_str(&cells.join(" "));
        text.push('\n');
    };
    line(HEADER);
    for row in rows {
        let digest = row.digest.strip_prefix("sha256:").unwrap_or(&row.digest);
        let digest = digest.get(..SHORT_DIGEST).unwrap_or(digest);
        line([&row.repository, &row.tag, digest, &age(&row.created, now)]);
    }
    text
}

/// Exactly `width` characters: padded with spaces, or cut with an ellipsis.
fn fit(cell: &str, width: usize) -> String {
    if cell.chars().count() > width {
        let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
        return format!("{kept}…");
    }
    format!("{cell:width$}")
}

/// How long ago that was, in words; nothing for what is no date.
fn age(created: &str, now: Timestamp) -> String {
    let Ok(created) = created.parse::<Timestamp>() else {
        return String::new();
    };
    format!("{} ago", duration_in_words(now.duration_since(created)))
}

fn duration_in_words(elapsed: SignedDuration) -> String {
    let seconds = elapsed.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "about a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "about an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 336 => format!("{} days", hours / 24),
        () if hours < 1440 => format!("{} weeks", hours / 168),
        () if hours < 17520 => format!("{} months", hours / 720),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(repository: &str, tag: &str, digest: &str, created: &str) -> Row {
        Row {
            repository: repository.into(),
            tag: tag.into(),
            digest: format!("sha256:{digest}{}", "0".repeat(64 - digest.len())),
            created: created.into(),
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T10:46:45Z".parse().unwrap()
    }

    #[test]
    fn on_a_terminal() {
        let rows = [
            row("127.0.0.1:5055/mytest", "v1", "8917c0a96dbe", "2023-11-14T22:13:20Z"),
            row("advise_networkpolicy", "latest", "f28d9c543eb9", "2026-11-21T10:03:45Z"),
        ];
        let expected = "\
REPOSITORY             TAG                    DIGEST       CREATED              \n\
127.0.0.1:5055/mytest  v1                     8917c0a96dbe 3 years ago          \n\
advise_networkpolicy   latest                 f28d9c543eb9 43 minutes ago       \n";
        assert_eq!(table(&rows, 80, now()), expected);
        let expected = "\
REPOSITORY                          TAG                                 DIGEST       CREATED                            \n\
127.0.0.1:5055/mytest               v1                                  8917c0a96dbe 3 years ago                        \n\
advise_networkpolicy                latest                              f28d9c543eb9 43 minutes ago                     \n";
        assert_eq!(table(&rows, 120, now()), expected);
        let narrow = table(&rows, 40, now());
        assert_eq!(
            narrow.lines().nth(1).unwrap(),
            "127.0.0.… v1       8917c0a96dbe 3 years…"
        );
        assert!(
            table(&rows, 0, now()).contains("8917c0a96dbe"),
            "no terminal is too narrow"
        );
    }

    #[test]
    fn in_a_pipe() {
        let rows = [
            row("foo", "latest", "aa", "1970-01-01T00:00:00Z"),
            row("foo", "x", "bb", ""),
        ];
        let text = plain(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "REPOSITORY TAG DIGEST CREATED");
        assert_eq!(lines[1], format!("foo latest {} 1970-01-01T00:00:00Z", rows[0].digest));
        assert_eq!(lines[2], format!("foo x {} ", rows[1].digest));
        assert!(plain(&[row("a", "b", "c", "\u{1b}[2J")]).contains("\\u{1b}[2J"));
        assert_eq!(
            serde_json::to_string(&rows[..1]).unwrap(),
            format!(
                "[{{\"Repository\":\"foo\",\"Tag\":\"latest\",\"Digest\":\"{}\",\"Created\":\"1970-01-01T00:00:00Z\"}}]",
                rows[0].digest
            )
        );
    }

    #[test]
    fn ages() {
        const HOUR: i64 = 3600;
        for (seconds, text) in [
            (0, "less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "about a minute"),
            (119, "about a minute"),
            (120, "2 minutes"),
            (HOUR - 1, "59 minutes"),
            (HOUR, "about an hour"),
            (HOUR + HOUR / 2 - 1, "about an hour"),
            (HOUR + HOUR / 2, "2 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
            (335 * HOUR, "13 days"),
            (336 * HOUR, "2 weeks"),
            (1440 * HOUR, "2 months"),
            (17520 * HOUR, "2 years"),
            (3 * 8760 * HOUR, "3 years"),
        ] {
            assert_eq!(duration_in_words(SignedDuration::from_secs(seconds)), text, "{seconds}");
        }
        assert_eq!(age("", now()), "");
        assert_eq!(age("yesterday", now()), "");
        assert_eq!(age("2026-11-21T12:46:44+02:00", now()), "1 second ago");
    }
}
