//! Amounts for people: bytes and durations.

use std::io::Write;

use crate::output::number;

/// Appends a number of bytes in decimal units, with one decimal below ten: `1.5 kB`, `256 MB`.
pub(super) fn append_bytes(bytes: u64, out: &mut Vec<u8>) {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        number::append_u64(bytes, out);
        out.extend_from_slice(b" B");
        return;
    }
    // Like the float logarithm that the reference takes, for every whole power of ten.
    let exponent = (bytes.ilog10() / 3).min(6);
    let value = (bytes as f64 / 1000f64.powi(exponent as i32) * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS.get(exponent as usize).unwrap_or(&"B");
    // Writing to a vector cannot fail.
    let _ = if value < 10.0 {
        write!(out, "{value:.1} {unit}")
    } else {
        write!(out, "{value:.0} {unit}")
    };
}

/// Appends a number of nanoseconds: `10ns`, `10.00µs`, `150.00ms`, `3.25s`, `2h30m0s`.
pub(super) fn append_duration(nanoseconds: i64, out: &mut Vec<u8>) {
    const MICRO: i64 = 1_000;
    const MILLI: i64 = 1_000_000;
    const SECOND: i64 = 1_000_000_000;
    let _ = match nanoseconds {
        ..MICRO => write!(out, "{nanoseconds}ns"),
        MICRO..MILLI => write!(out, "{:.2}µs", nanoseconds as f64 / MICRO as f64),
        MILLI..SECOND => write!(out, "{:.2}ms", nanoseconds as f64 / MILLI as f64),
        _ => {
            let (seconds, fraction) = (nanoseconds / SECOND, nanoseconds % SECOND);
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            if hours > 0 {
                let _ = write!(out, "{hours}h");
            }
            if hours > 0 || minutes > 0 {
                let _ = write!(out, "{minutes}m");
            }
            let _ = write!(out, "{seconds}");
            if fraction > 0 {
                let _ = write!(out, ".{fraction:09}");
                while out.last() == Some(&b'0') {
                    out.pop();
                }
            }
            out.write_all(b"s")
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(append: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        append(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn t4_bytes() {
        for (bytes, expected) in [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (512, "512 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1500, "1.5 kB"),
            (9949, "9.9 kB"),
            (9950, "10 kB"),
            (999_999, "1000 kB"),
            (1_000_000, "1.0 MB"),
            (256_000_000, "256 MB"),
            (16_106_127_360, "16 GB"),
            (5_000_000_000_000, "5.0 TB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(text(|out| append_bytes(bytes, out)), expected);
        }
    }

    #[test]
    fn t5_durations() {
        let second = 1_000_000_000;
        for (nanoseconds, expected) in [
            (10, "10ns"),
            (-1, "-1ns"),
            (10_000, "10.00µs"),
            (150_000_000, "150.00ms"),
            (second, "1s"),
            (3_250_000_000, "3.25s"),
            (300 * second, "5m0s"),
            (9000 * second, "2h30m0s"),
            (3600 * second + 1, "1h0m0.000000001s"),
        ] {
            assert_eq!(text(|out| append_duration(nanoseconds, out)), expected);
        }
    }
}
