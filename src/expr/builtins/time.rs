//! Built-ins on times, durations and time zones, and the methods that these have.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{Parameter as P, Returns as R, Signature, text, unsuitable};
use crate::expr::fault::{Fault, Outcome};
use crate::expr::show;
use crate::expr::types::Type;
use crate::expr::value::{Budget, Value};
use crate::metadata::layout::Layout;
use crate::text::printable;

type Answer<'a> = Outcome<Value<'a>>;

/// What `date()` tries if no layout is given.
const LAYOUTS: [&str; 7] = [
    "2006-01-02",
    "15:04:05",
    "2006-01-02 15:04:05",
    "2006-01-02T15:04:05Z07:00",
    "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST",
    "Mon, 02 Jan 2006 15:04:05 MST",
];

pub(super) fn now<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let zone = match arguments.first() {
        Some(Value::Zone(zone)) => zone.clone(),
        _ => crate::local_time::zone(),
    };
    Ok(time_value(Timestamp::now().to_zoned(zone)))
}

pub(super) fn duration<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let shown = String::from_utf8_lossy(text(arguments, 0)?);
    let nanoseconds = crate::metadata::duration::parse(&shown).map_err(|error| Fault::new(error.to_string()))?;
    Ok(Value::Duration(nanoseconds))
}

/// `date([zone,] text[, layout[, zone name]])`
pub(super) fn date<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let (mut zone, arguments) = match arguments {
        [Value::Zone(zone), rest @ ..] => (zone.clone(), rest),
        all => (TimeZone::UTC, all),
    };
    let shown = String::from_utf8_lossy(text(arguments, 0)?);
    budget.scan(shown.len())?;
    if arguments.len() > 2 {
        zone = zone_of(text(arguments, 2)?)?;
    }
    if arguments.len() > 1 {
        let layout = String::from_utf8_lossy(text(arguments, 1)?);
        budget.scan(layout.len() * 64)?;
        return Layout::parse(&layout)
            .read(&shown, &zone)
            .map(time_value)
            .map_err(|error| Fault::new(printable(&error.to_string())));
    }
    LAYOUTS
        .iter()
        .find_map(|layout| Layout::parse(layout).read(&shown, &zone).ok())
        .map(time_value)
        .ok_or_else(|| Fault::new(format!("invalid date {}", printable(&shown))))
}

pub(super) fn timezone<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Zone(zone_of(text(arguments, 0)?)?))
}

fn zone_of(name: &[u8]) -> Outcome<TimeZone> {
    match name {
        b"" | b"UTC" => Ok(TimeZone::UTC),
        b"Local" => Ok(crate::local_time::zone()),
        name => {
            let name = String::from_utf8_lossy(name);
            TimeZone::get(&name).map_err(|_| Fault::new(format!("unknown time zone {}", printable(&name))))
        }
    }
}

fn time_value(time: Zoned) -> Value<'static> {
    Value::Time(Arc::new(time))
}

/// The name of a time zone: `Europe/Berlin`, `UTC`; empty for a bare offset.
pub(in crate::expr) fn zone_name(zone: &TimeZone) -> &str {
    if *zone == TimeZone::UTC {
        return "UTC";
    }
    zone.iana_name().unwrap_or_default()
}

/// Appends `time` as Go shows it: `2023-08-14 05:06:07.5 +0200 CEST`.
pub(in crate::expr) fn append(time: &Zoned, out: &mut Vec<u8>) {
    format_into(time, "2006-01-02 15:04:05.999999999 -0700 MST", out);
}

fn format_into(time: &Zoned, layout: &str, out: &mut Vec<u8>) {
    Layout::parse(layout).append(time.timestamp(), time.time_zone(), out);
}

/// The method of this name that values of this type have.
pub(in crate::expr) fn method(of: &Type, name: &str) -> Option<&'static Signature> {
    let methods: &[(&str, Signature)] = match of {
        Type::Time => &TIME,
        Type::Duration => &DURATION,
        Type::Zone => &ZONE,
        _ => return None,
    };
    methods
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, signature)| signature)
}

const fn signature(parameters: &'static [P], returns: R, function: super::Function) -> Signature {
    Signature {
        parameters,
        required: parameters.len(),
        variadic: false,
        returns,
        function,
    }
}

/// A method that makes an integer of the time.
macro_rules! part {
    ($of:expr) => {
        signature(&[], R::Int, |arguments, _| {
            let of: fn(&Zoned) -> i64 = $of;
            Ok(Value::Int(of(time(arguments, 0)?)))
        })
    };
}

static TIME: [(&str, Signature); 27] = [
    ("Year", part!(|t| i64::from(t.year()))),
    ("Month", part!(|t| i64::from(t.month()))),
    ("Day", part!(|t| i64::from(t.day()))),
    ("Hour", part!(|t| i64::from(t.hour()))),
    ("Minute", part!(|t| i64::from(t.minute()))),
    ("Second", part!(|t| i64::from(t.second()))),
    ("Nanosecond", part!(|t| i64::from(t.subsec_nanosecond()))),
    ("Weekday", part!(|t| i64::from(t.weekday().to_sunday_zero_offset()))),
    ("YearDay", part!(|t| i64::from(t.day_of_year()))),
    (
        "Unix",
        part!(|t| t.timestamp().as_nanosecond().div_euclid(1_000_000_000) as i64),
    ),
    (
        "UnixMilli",
        part!(|t| t.timestamp().as_nanosecond().div_euclid(1_000_000) as i64),
    ),
    (
        "UnixMicro",
        part!(|t| t.timestamp().as_nanosecond().div_euclid(1_000) as i64),
    ),
    ("UnixNano", part!(|t| t.timestamp().as_nanosecond() as i64)),
    ("String", signature(&[], R::Text, string)),
    ("Format", signature(&[P::Text], R::Text, format)),
    ("Before", signature(&[P::Time], R::Bool, before)),
    ("After", signature(&[P::Time], R::Bool, after)),
    ("Equal", signature(&[P::Time], R::Bool, equal)),
    ("Add", signature(&[P::Duration], R::Time, add)),
    ("Sub", signature(&[P::Time], R::Duration, sub)),
    ("AddDate", signature(&[P::Int, P::Int, P::Int], R::Time, add_date)),
    ("UTC", signature(&[], R::Time, utc)),
    ("Local", signature(&[], R::Time, local)),
    ("In", signature(&[P::Zone], R::Time, in_zone)),
    ("Location", signature(&[], R::Zone, location)),
    ("IsZero", signature(&[], R::Bool, is_zero)),
    ("Truncate", signature(&[P::Duration], R::Time, truncate)),
];

/// A method that makes a floating point number of the nanoseconds of a duration.
macro_rules! in_unit {
    ($unit:expr) => {
        signature(&[], R::Float, |arguments, _| {
            Ok(Value::Float(nanoseconds(arguments, 0)? as f64 / $unit))
        })
    };
}

/// A method that makes an integer of the nanoseconds of a duration.
macro_rules! whole {
    ($unit:expr) => {
        signature(&[], R::Int, |arguments, _| {
            Ok(Value::Int(nanoseconds(arguments, 0)? / $unit))
        })
    };
}

static DURATION: [(&str, Signature); 10] = [
    ("Hours", in_unit!(3.6e12)),
    ("Minutes", in_unit!(6e10)),
    ("Seconds", in_unit!(1e9)),
    ("Milliseconds", whole!(1_000_000)),
    ("Microseconds", whole!(1_000)),
    ("Nanoseconds", whole!(1)),
    ("String", signature(&[], R::Text, string)),
    ("Abs", signature(&[], R::Duration, abs)),
    ("Truncate", signature(&[P::Duration], R::Duration, truncate_duration)),
    ("Round", signature(&[P::Duration], R::Duration, round_duration)),
];

static ZONE: [(&str, Signature); 1] = [("String", signature(&[], R::Text, string))];

fn time<'v>(arguments: &'v [Value<'_>], i: usize) -> Outcome<&'v Zoned> {
    match arguments.get(i) {
        Some(Value::Time(time)) => Ok(time),
        _ => Err(unsuitable(arguments, i, "time.Time")),
    }
}

fn nanoseconds(arguments: &[Value<'_>], i: usize) -> Outcome<i64> {
    match arguments.get(i) {
        Some(Value::Duration(nanoseconds)) => Ok(*nanoseconds),
        _ => Err(unsuitable(arguments, i, "time.Duration")),
    }
}

fn string<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let mut shown = Vec::new();
    show::append(arguments.first().unwrap_or(&Value::Nil), budget, &mut shown)?;
    Value::text(shown, budget)
}

fn format<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Answer<'a> {
    let layout = text(arguments, 1)?;
    budget.memory(layout.len() * 4)?;
    budget.scan(layout.len() * 64)?;
    let mut shown = Vec::new();
    format_into(time(arguments, 0)?, &String::from_utf8_lossy(layout), &mut shown);
    Value::text(shown, budget)
}

fn before<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Bool(
        time(arguments, 0)?.timestamp() < time(arguments, 1)?.timestamp(),
    ))
}

fn after<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Bool(
        time(arguments, 0)?.timestamp() > time(arguments, 1)?.timestamp(),
    ))
}

fn equal<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Bool(
        time(arguments, 0)?.timestamp() == time(arguments, 1)?.timestamp(),
    ))
}

fn out_of_range(error: &jiff::Error) -> Box<Fault> {
    Fault::new(error.to_string())
}

fn add<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let by = SignedDuration::from_nanos(nanoseconds(arguments, 1)?);
    let sum = time(arguments, 0)?.checked_add(by).map_err(|e| out_of_range(&e))?;
    Ok(time_value(sum))
}

fn sub<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let between = time(arguments, 0)?.timestamp().as_nanosecond() - time(arguments, 1)?.timestamp().as_nanosecond();
    let clamped = between.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Ok(Value::Duration(clamped as i64))
}

/// Years, months and days later; a day that the month does not have is one of the next.
fn add_date<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let too_far = || Fault::new("time out of range");
    let time = time(arguments, 0)?;
    let (years, months, days) = (
        super::integer(arguments, 1)?,
        super::integer(arguments, 2)?,
        super::integer(arguments, 3)?,
    );
    let months = i64::from(time.year())
        .checked_add(years)
        .and_then(|years| years.checked_mul(12))
        .and_then(|sum| sum.checked_add(i64::from(time.month()) - 1))
        .and_then(|sum| sum.checked_add(months))
        .ok_or_else(too_far)?;
    let year = i16::try_from(months.div_euclid(12)).map_err(|_| too_far())?;
    let month = months.rem_euclid(12) as i8 + 1;
    let span = jiff::Span::new()
        .try_days(days.checked_add(i64::from(time.day()) - 1).ok_or_else(too_far)?)
        .map_err(|e| out_of_range(&e))?;
    jiff::civil::Date::new(year, month, 1)
        .and_then(|first| first.checked_add(span))
        .and_then(|date| time.with().date(date).build())
        .map(time_value)
        .map_err(|e| out_of_range(&e))
}

fn utc<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(time_value(time(arguments, 0)?.with_time_zone(TimeZone::UTC)))
}

fn local<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(time_value(
        time(arguments, 0)?.with_time_zone(crate::local_time::zone()),
    ))
}

fn in_zone<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    match arguments.get(1) {
        Some(Value::Zone(zone)) => Ok(time_value(time(arguments, 0)?.with_time_zone(zone.clone()))),
        _ => Err(unsuitable(arguments, 1, "*time.Location")),
    }
}

fn location<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Zone(time(arguments, 0)?.time_zone().clone()))
}

/// Whether it is the start of the year 1, Go's time of no time.
fn is_zero<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let zero = jiff::civil::date(1, 1, 1).at(0, 0, 0, 0);
    let utc = time(arguments, 0)?.with_time_zone(TimeZone::UTC).datetime();
    Ok(Value::Bool(utc == zero))
}

/// Seconds between the start of the year 1 and the epoch: multiples of a duration are counted from there.
const YEAR_ONE: i128 = -62_135_596_800;

fn truncate<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let time = time(arguments, 0)?;
    let unit = i128::from(nanoseconds(arguments, 1)?);
    if unit <= 0 {
        return Ok(time_value(time.clone()));
    }
    let start = YEAR_ONE * 1_000_000_000;
    let since = time.timestamp().as_nanosecond() - start;
    let truncated = start + since - since.rem_euclid(unit);
    Timestamp::from_nanosecond(truncated)
        .map(|timestamp| time_value(timestamp.to_zoned(time.time_zone().clone())))
        .map_err(|e| out_of_range(&e))
}

fn abs<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    Ok(Value::Duration(nanoseconds(arguments, 0)?.saturating_abs()))
}

fn truncate_duration<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let (value, unit) = (nanoseconds(arguments, 0)?, nanoseconds(arguments, 1)?);
    Ok(Value::Duration(if unit <= 0 { value } else { value - value % unit }))
}

fn round_duration<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Answer<'a> {
    let (value, unit) = (nanoseconds(arguments, 0)?, nanoseconds(arguments, 1)?);
    if unit <= 0 {
        return Ok(Value::Duration(value));
    }
    let rest = value % unit;
    // Halves go away from zero.
    let rounded = if rest.unsigned_abs() * 2 < unit.unsigned_abs() {
        value - rest
    } else {
        (value - rest).saturating_add(unit * value.signum())
    };
    Ok(Value::Duration(rounded))
}
