//! How columns show times: the `--timestamps` option.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::tz::TimeZone;

use crate::data::{DataSource, FieldId, Kind, Scalar};
use crate::operators::formatters::target_name;
use crate::operators::formatters::timestamp::Clock;
use crate::output::columns::Table;
use crate::output::number;
use crate::{Error, Result};

/// How columns show times. JSON and its relatives are not touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// As all formats have them: in the local time zone.
    #[default]
    Local,
    /// In UTC.
    Utc,
    /// Seconds since the first time that is shown.
    Relative,
}

impl FromStr for Timestamps {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "local" => Ok(Self::Local),
            "utc" => Ok(Self::Utc),
            "relative" => Ok(Self::Relative),
            other => Err(Error::invalid(format!(
                "flag --timestamps: {other:?} is none of local, utc and relative"
            ))),
        }
    }
}

/// The first time of a run, once it is known.
#[derive(Clone, Debug)]
pub(super) struct Start(Arc<AtomicI64>);

/// No event is of this time.
const UNKNOWN: i64 = i64::MIN;

impl Start {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(UNKNOWN)))
    }

    /// Nanoseconds from the first time to `wall`, which may be the first.
    fn since(&self, wall: i64) -> i64 {
        let start = self.0.load(Ordering::Relaxed);
        if start != UNKNOWN {
            return wall.wrapping_sub(start);
        }
        match self
            .0
            .compare_exchange(UNKNOWN, wall, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => 0,
            Err(start) => wall.wrapping_sub(start),
        }
    }
}

/// Has `table` show times as `style` says. Whether it shows any.
pub(super) fn apply(table: &mut Table, source: &DataSource, style: Timestamps, start: &Start) -> bool {
    let mut found = false;
    for (number, text, layout) in texts(source) {
        found |= match style {
            Timestamps::Local => table.fields().contains(&text),
            Timestamps::Utc => {
                let mut clock = Clock::new(TimeZone::UTC, layout.as_deref());
                table.make(source, text, number, move |wall, out| clock.append(wall as i64, out))
            }
            Timestamps::Relative => {
                let start = start.clone();
                table.make(source, text, number, move |wall, out| {
                    append_seconds(start.since(wall as i64), out);
                })
            }
        };
    }
    found
}

/// The fields that hold times, with those of their texts and the layouts of these.
fn texts(source: &DataSource) -> Vec<(FieldId, FieldId, Option<String>)> {
    source
        .with_tag("type:gadget_timestamp")
        .filter(|(_, field)| field.kind().fixed_size() == Some(8))
        .filter_map(|(id, field)| {
            let name = target_name(field.annotation("formatters.timestamp.target"), field.name())?;
            let (text, _) = source.fields().find(|(_, other)| {
                other.parent() == field.parent()
                    && other.name() == name
                    && other.kind() == Kind::One(Scalar::String)
                    && !other.is_unreferenced()
            })?;
            Some((
                id,
                text,
                field.annotation("formatters.timestamp.format").map(str::to_owned),
            ))
        })
        .collect()
}

/// Appends `nanoseconds` as seconds: `+0.000123456`.
fn append_seconds(nanoseconds: i64, out: &mut Vec<u8>) {
    const SECOND: u64 = 1_000_000_000;
    out.push(if nanoseconds < 0 { b'-' } else { b'+' });
    let value = nanoseconds.unsigned_abs();
    number::append_u64(value / SECOND, out);
    out.push(b'.');
    let start = out.len();
    // The leading 1 keeps the zeroes.
    number::append_u64(SECOND + value % SECOND, out);
    out.remove(start);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_have_names() {
        for (name, style) in [
            ("local", Timestamps::Local),
            ("utc", Timestamps::Utc),
            ("relative", Timestamps::Relative),
        ] {
            assert_eq!(name.parse::<Timestamps>().unwrap(), style);
        }
        assert_eq!(
            "UTC+1".parse::<Timestamps>().unwrap_err().to_string(),
            "flag --timestamps: \"UTC+1\" is none of local, utc and relative"
        );
    }

    #[test]
    fn seconds_since_the_first() {
        let start = Start::new();
        let text = |wall| {
            let mut out = Vec::new();
            append_seconds(start.since(wall), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(1_795_256_225_574_562_366), "+0.000000000");
        assert_eq!(text(1_795_256_225_574_685_822), "+0.000123456");
        assert_eq!(text(1_795_256_237_574_562_365), "+11.999999999");
        assert_eq!(text(1_795_256_225_474_562_366), "-0.100000000");
    }
}
