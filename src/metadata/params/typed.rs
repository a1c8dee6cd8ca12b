//! From a parameter's text to what it means: numbers, booleans, durations, addresses, lists, values per data source.
//!
//! Number and duration syntax, and the texts of their errors, are those of Go's standard library, which users and scripts
//! of the upstream program know.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

pub use crate::metadata::duration::parse_unsigned as parse_duration;
pub use crate::text::{go_quote, is_printable};
use crate::{Error, Result};

/// What a parameter's value must look like. An unknown hint accepts everything, so that newer gadgets still run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TypeHint {
    /// No hint: any text.
    #[default]
    None,
    /// Any text, said explicitly.
    String,
    /// Bytes; any text (transported compressed, in base64).
    Bytes,
    /// A comma-separated list, see [`split_list`].
    StringSlice,
    /// `true` or `false` in any case.
    Bool,
    /// A signed integer of that many bits.
    Int(u8),
    /// A signed integer, written `int`: 64 bits.
    PlainInt,
    /// An unsigned integer of that many bits.
    Uint(u8),
    /// An unsigned integer, written `uint`: 64 bits.
    PlainUint,
    /// A floating-point number of that many bits.
    Float(u8),
    /// A duration such as `1.5s` or `100ms`.
    Duration,
    /// Nothing, or an IPv4 or IPv6 address.
    Ip,
    /// A hint this version does not know; any text.
    Other(String),
}

impl TypeHint {
    /// The hint written `text` in metadata and on the wire.
    pub fn parse(text: &str) -> Self {
        match text {
            "" => Self::None,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "[]string" => Self::StringSlice,
            "bool" => Self::Bool,
            "int" => Self::PlainInt,
            "int8" => Self::Int(8),
            "int16" => Self::Int(16),
            "int32" => Self::Int(32),
            "int64" => Self::Int(64),
            "uint" => Self::PlainUint,
            "uint8" => Self::Uint(8),
            "uint16" => Self::Uint(16),
            "uint32" => Self::Uint(32),
            "uint64" => Self::Uint(64),
            "float32" => Self::Float(32),
            "float64" => Self::Float(64),
            "duration" => Self::Duration,
            "ip" => Self::Ip,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether `value` has this form.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in Go's words: `expected numeric value: strconv.ParseInt: parsing "x": invalid syntax`.
    pub fn check(&self, value: &str) -> Result<()> {
        match self {
            Self::None | Self::String | Self::Bytes | Self::StringSlice | Self::Other(_) => Ok(()),
            Self::Bool => parse_bool(value).map(drop),
            Self::Int(bits) => numeric(parse_int(value, u32::from(*bits)).map(drop)),
            Self::PlainInt => numeric(parse_int(value, 64).map(drop)),
            Self::Uint(bits) => numeric(parse_uint(value, u32::from(*bits)).map(drop)),
            Self::PlainUint => numeric(parse_uint(value, 64).map(drop)),
            Self::Float(bits) => numeric(parse_float(value, *bits).map(drop)),
            Self::Duration => parse_duration(value).map(drop),
            Self::Ip => {
                if value.is_empty() || value.parse::<IpAddr>().is_ok() {
                    Ok(())
                } else {
                    Err(Error::invalid(format!("{} is not a valid IP address", go_quote(value))))
                }
            }
        }
    }
}

impl fmt::Display for TypeHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::StringSlice => f.write_str("[]string"),
            Self::Bool => f.write_str("bool"),
            Self::PlainInt => f.write_str("int"),
            Self::Int(bits) => write!(f, "int{bits}"),
            Self::PlainUint => f.write_str("uint"),
            Self::Uint(bits) => write!(f, "uint{bits}"),
            Self::Float(bits) => write!(f, "float{bits}"),
            Self::Duration => f.write_str("duration"),
            Self::Ip => f.write_str("ip"),
            Self::Other(hint) => f.write_str(hint),
        }
    }
}

fn numeric(result: Result<()>) -> Result<()> {
    result.map_err(|e| e.context("expected numeric value"))
}

/// Whether the text of a boolean parameter means true: everything else than `true` in any case is false.
pub fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

/// The boolean of a text that must be `true` or `false`, in any case.
///
/// # Errors
///
/// `expected 'true' or 'false', got: "yes"`
pub fn parse_bool(value: &str) -> Result<bool> {
    let lower = value.to_lowercase();
    match lower.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::invalid(format!(
            "expected 'true' or 'false', got: {}",
            go_quote(&lower)
        ))),
    }
}

fn number_error(function: &str, value: &str, what: &str) -> Error {
    Error::invalid(format!("strconv.{function}: parsing {}: {what}", go_quote(value)))
}

fn is_decimal(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The base-10 signed integer that fits `bits` (at most 64) bits.
///
/// # Errors
///
/// `strconv.ParseInt: parsing "x": invalid syntax`, or `… value out of range`
pub fn parse_int(value: &str, bits: u32) -> Result<i64> {
    signed("ParseInt", value, bits)
}

/// Like [`parse_int`] for 64 bits; the error names Go's `Atoi`.
fn atoi(value: &str) -> Result<i64> {
    signed("Atoi", value, 64)
}

fn signed(function: &str, value: &str, bits: u32) -> Result<i64> {
    if !is_decimal(value.strip_prefix(['+', '-']).unwrap_or(value)) {
        return Err(number_error(function, value, "invalid syntax"));
    }
    let out_of_range = || number_error(function, value, "value out of range");
    let number: i64 = value.parse().map_err(|_| out_of_range())?;
    let unused = 64 - bits.clamp(1, 64);
    if (number << unused) >> unused == number {
        Ok(number)
    } else {
        Err(out_of_range())
    }
}

/// The base-10 unsigned integer that fits `bits` (at most 64) bits.
///
/// # Errors
///
/// `strconv.ParseUint: parsing "x": invalid syntax`, or `… value out of range`
pub fn parse_uint(value: &str, bits: u32) -> Result<u64> {
    if !is_decimal(value) {
        return Err(number_error("ParseUint", value, "invalid syntax"));
    }
    let out_of_range = || number_error("ParseUint", value, "value out of range");
    let number: u64 = value.parse().map_err(|_| out_of_range())?;
    let unused = 64 - bits.clamp(1, 64);
    if (number << unused) >> unused == number {
        Ok(number)
    } else {
        Err(out_of_range())
    }
}

/// The decimal floating-point number that is finite in `bits` (32 or 64) bits.
///
/// # Errors
///
/// `strconv.ParseFloat: parsing "x": invalid syntax`, or `… value out of range`
pub fn parse_float(value: &str, bits: u8) -> Result<f64> {
    let number: f64 = value
        .parse()
        .map_err(|_| number_error("ParseFloat", value, "invalid syntax"))?;
    // Only digits can overflow: "inf" and "nan" spelled out are what the user asked for.
    let overflows = if bits == 32 {
        number.is_finite() && number.abs() > f64::from(f32::MAX)
    } else {
        number.is_infinite() && value.bytes().any(|b| b.is_ascii_digit())
    };
    if overflows {
        Err(number_error("ParseFloat", value, "value out of range"))
    } else {
        Ok(number)
    }
}

/// A number of bytes such as `65536`, `64K`, `4M` or `1G` (powers of 1024; `KiB` and `KB` mean the same).
///
/// # Errors
///
/// `invalid size "x": expected bytes, or a number with the suffix K, M or G`
pub fn parse_size(value: &str) -> Result<u64> {
    let error = || {
        Error::invalid(format!(
            "invalid size {}: expected bytes, or a number with the suffix K, M or G",
            go_quote(value)
        ))
    };
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, suffix) = value.split_at(digits);
    let shift = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(error()),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).ok_or_else(error)
}

/// The items of a comma-separated list. `\,` is a comma inside an item and `\\` a backslash; a backslash before anything
/// else is kept, one at the very end is dropped. Empty items inside are kept, a last empty one is not.
pub fn split_list(value: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            ',' => items.push(std::mem::take(&mut item)),
            '\\' => match chars.next() {
                Some(escaped @ (',' | '\\')) => item.push(escaped),
                Some(other) => item.extend(['\\', other]),
                None => {}
            },
            _ => item.push(c),
        }
    }
    if !item.is_empty() {
        items.push(item);
    }
    items
}

/// A value for every data source, or one value each for some: `json`, or `open:json,close:none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerDataSource<T>(BTreeMap<String, T>);

impl<T> PerDataSource<T> {
    /// The value for the data source `name`: its own, else the one for all.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.get(name).or_else(|| self.0.get(""))
    }

    /// The values by data source name; the one for all has the empty name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether no value was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn parse_with(text: &str, parse: impl Fn(&str) -> Result<T>) -> Result<Self> {
        let mut values = BTreeMap::new();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (name, value) = item.split_once(':').unwrap_or(("", item));
            values.insert(name.to_owned(), parse(value)?);
        }
        if values.len() > 1 && values.contains_key("") {
            return Err(Error::invalid("mixed values with and without specifying data source"));
        }
        Ok(Self(values))
    }
}

impl PerDataSource<String> {
    /// Reads texts.
    ///
    /// # Errors
    ///
    /// When items with and without a data source are mixed.
    pub fn strings(text: &str) -> Result<Self> {
        Self::parse_with(text, |value| Ok(value.to_owned()))
    }
}

impl PerDataSource<i64> {
    /// Reads decimal numbers.
    ///
    /// # Errors
    ///
    /// `converting x to int: …`, or mixed items.
    pub fn ints(text: &str) -> Result<Self> {
        Self::parse_with(text, |value| {
            atoi(value).map_err(|e| e.context(format!("converting {value} to int")))
        })
    }
}

impl PerDataSource<Duration> {
    /// Reads durations.
    ///
    /// # Errors
    ///
    /// `converting x to duration: …`, or mixed items.
    pub fn durations(text: &str) -> Result<Self> {
        Self::parse_with(text, |value| {
            parse_duration(value).map_err(|e| e.context(format!("converting {value} to duration")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn hints_round_trip() {
        for hint in [
            "", "string", "bytes", "[]string", "bool", "int", "int8", "int64", "uint", "uint16", "float32", "duration",
            "ip", "newer",
        ] {
            assert_eq!(TypeHint::parse(hint).to_string(), hint);
        }
        TypeHint::parse("newer").check("anything").unwrap();
    }

    #[test]
    fn integers_have_ranges() {
        assert_eq!(parse_int("-128", 8).unwrap(), -128);
        assert_eq!(
            text(parse_int("128", 8)),
            r#"strconv.ParseInt: parsing "128": value out of range"#
        );
        assert_eq!(parse_int("+5", 64).unwrap(), 5);
        assert_eq!(parse_int("9223372036854775807", 64).unwrap(), i64::MAX);
        assert_eq!(
            text(parse_int("9223372036854775808", 64)),
            r#"strconv.ParseInt: parsing "9223372036854775808": value out of range"#
        );
        for bad in ["", "-", "0x10", "1_000", " 1", "1.0"] {
            assert!(text(parse_int(bad, 64)).ends_with("invalid syntax"), "{bad}");
        }
        assert_eq!(parse_uint("4294967295", 32).unwrap(), 4_294_967_295);
        assert_eq!(
            text(parse_uint("4294967296", 32)),
            r#"strconv.ParseUint: parsing "4294967296": value out of range"#
        );
        assert_eq!(
            text(parse_uint("-1", 32)),
            r#"strconv.ParseUint: parsing "-1": invalid syntax"#
        );
        assert_eq!(parse_uint("18446744073709551615", 64).unwrap(), u64::MAX);
    }

    #[test]
    fn floats() {
        assert_eq!(parse_float("1.5e3", 64).unwrap(), 1500.0);
        assert!(text(parse_float("1e39", 32)).ends_with("value out of range"));
        assert!(text(parse_float("1e999", 64)).ends_with("value out of range"));
        assert!(text(parse_float("one", 64)).ends_with("invalid syntax"));
    }

    #[test]
    fn durations_are_go_durations() {
        assert_eq!(parse_duration("1000ms").unwrap(), Duration::from_secs(1));
        assert_eq!(parse_duration("1h2m3.5s").unwrap(), Duration::from_millis(3_723_500));
        assert_eq!(parse_duration("0").unwrap(), Duration::ZERO);
        assert_eq!(parse_duration(".5us").unwrap(), Duration::from_nanos(500));
        assert_eq!(text(parse_duration("5")), r#"time: missing unit in duration "5""#);
        assert_eq!(text(parse_duration("5d")), r#"time: unknown unit "d" in duration "5d""#);
        assert_eq!(text(parse_duration("")), r#"time: invalid duration """#);
        assert_eq!(text(parse_duration("s")), r#"time: invalid duration "s""#);
        assert!(parse_duration("9999999999h").is_err());
        assert!(parse_duration("-1s").is_err());
        assert_eq!(
            parse_duration(&format!("0.{}s", "3".repeat(60))).unwrap(),
            Duration::from_nanos(333_333_333)
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("4096").unwrap(), 4096);
        assert_eq!(parse_size("4M").unwrap(), 4 << 20);
        assert_eq!(parse_size("64KiB").unwrap(), 64 << 10);
        assert_eq!(parse_size("1g").unwrap(), 1 << 30);
        for bad in ["", "M", "4T", "-1", "99999999999G", "1.5M"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    /// Acceptance check C6 of the data specification.
    #[test]
    fn lists_split_at_commas() {
        assert_eq!(split_list(r"a\,b,c\\d,\e,"), ["a,b", r"c\d", r"\e"]);
        assert_eq!(split_list(""), Vec::<String>::new());
        assert_eq!(split_list(",a,,b"), ["", "a", "", "b"]);
        assert_eq!(split_list("a\\"), ["a"]);
    }

    /// Acceptance check C5 of the data specification.
    #[test]
    fn values_per_data_source() {
        let ints = PerDataSource::ints("ds1:10,").unwrap();
        assert_eq!(ints.iter().collect::<Vec<_>>(), [("ds1", &10)]);
        assert_eq!(
            text(PerDataSource::ints("10,ds1:20")),
            "mixed values with and without specifying data source"
        );
        let strings = PerDataSource::strings("ds1:10,ds2:").unwrap();
        assert_eq!(strings.get("ds2").map(String::as_str), Some(""));
        assert_eq!(strings.get("ds3"), None);
        assert!(text(PerDataSource::ints("ds1:10,ds2:")).starts_with("converting  to int: strconv.Atoi: "));
        assert_eq!(PerDataSource::ints("-1").unwrap().get("any"), Some(&-1));
        assert_eq!(
            PerDataSource::strings("a:b:c,a:d")
                .unwrap()
                .get("a")
                .map(String::as_str),
            Some("d")
        );
        assert!(PerDataSource::strings("").unwrap().is_empty());
        assert_eq!(
            PerDataSource::durations("x:2s").unwrap().get("x"),
            Some(&Duration::from_secs(2))
        );
        assert!(text(PerDataSource::durations("2")).starts_with("converting 2 to duration: "));
    }

    #[test]
    fn addresses() {
        TypeHint::Ip.check("").unwrap();
        TypeHint::Ip.check("::1").unwrap();
        assert!(TypeHint::Ip.check("1.2.3").is_err());
    }
}
