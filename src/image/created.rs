//! The date that goes into an image.

use jiff::{Timestamp, Zoned};

use crate::{Error, Result, ResultExt};

/// The build date: of `SOURCE_DATE_EPOCH` in UTC where it is set, else the current local time; RFC 3339 in whole seconds.
///
/// # Errors
///
/// When `SOURCE_DATE_EPOCH` is set to anything but a number of seconds, the empty text included.
pub fn created_now() -> Result<String> {
    let epoch = std::env::var_os("SOURCE_DATE_EPOCH");
    created_at(
        epoch.as_ref().map(|epoch| epoch.to_string_lossy()).as_deref(),
        &Zoned::now(),
    )
}

fn created_at(source_date_epoch: Option<&str>, now: &Zoned) -> Result<String> {
    match source_date_epoch {
        Some(epoch) => created_at_epoch(epoch),
        None if now.offset().is_zero() => Ok(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        None => Ok(now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()),
    }
}

/// The date that `seconds` since the epoch, in decimal, stand for.
pub(crate) fn created_at_epoch(seconds: &str) -> Result<String> {
    parse_epoch(seconds)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .context("invalid SOURCE_DATE_EPOCH")
        .map_err(|e| {
            e.with_hint("set it to seconds since 1970-01-01, for instance SOURCE_DATE_EPOCH=1700000000, or unset it")
        })
}

fn parse_epoch(seconds: &str) -> Result<Timestamp> {
    let refused = |why| Error::invalid(format!("strconv.ParseInt: parsing {seconds:?}: {why}"));
    let number: i64 = seconds.parse().map_err(|e: std::num::ParseIntError| {
        refused(match e.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        })
    })?;
    Timestamp::from_second(number).map_err(|_| refused("value out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: Option<&str>) -> Result<String> {
        created_at(epoch, &"2025-10-20T15:28:46.7+02:00[+02:00]".parse().unwrap())
    }

    #[test]
    fn from_the_variable_or_the_clock() {
        assert_eq!(at(Some("1700000000")).unwrap(), "2023-11-14T22:13:20Z");
        assert_eq!(at(Some("0")).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(at(Some("-1")).unwrap(), "1969-12-31T23:59:59Z");
        assert_eq!(at(None).unwrap(), "2025-10-20T15:28:46+02:00");
        let utc = "2025-10-20T15:28:46+00:00[UTC]".parse().unwrap();
        assert_eq!(created_at(None, &utc).unwrap(), "2025-10-20T15:28:46Z");
    }

    #[test]
    fn refuses_what_is_no_number() {
        assert_eq!(
            at(Some("")).unwrap_err().to_string(),
            "invalid SOURCE_DATE_EPOCH: strconv.ParseInt: parsing \"\": invalid syntax"
        );
        assert_eq!(
            at(Some("12x")).unwrap_err().to_string(),
            "invalid SOURCE_DATE_EPOCH: strconv.ParseInt: parsing \"12x\": invalid syntax"
        );
        for huge in ["99999999999999999999", "999999999999999"] {
            assert!(at(Some(huge)).unwrap_err().to_string().ends_with("value out of range"));
        }
    }
}
