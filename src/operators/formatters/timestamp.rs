//! Time stamps: from nanoseconds since boot to wall-clock time and its text.

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::time::ClockId;

use super::layout::Layout;
use crate::Result;
use crate::data::{Accessor, Derive, Element};
use crate::operators::host::nanoseconds;
use crate::output::number::eight_digits;

const SECOND: i64 = 1_000_000_000;

/// From times since boot to times since the epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    /// Nanoseconds between boot and the epoch.
    pub(super) offset: i64,
    /// What 0 means; the present if nothing is said.
    pub(super) unstamped: Option<i64>,
}

impl WallClock {
    /// Wall-clock nanoseconds of a boot-time stamp.
    #[inline]
    pub(super) fn wall(self, boot: u64) -> i64 {
        match (boot, self.unstamped) {
            (0, Some(time)) => time,
            (0, None) => nanoseconds(ClockId::CLOCK_REALTIME).unwrap_or(0),
            _ => (boot as i64).wrapping_add(self.offset),
        }
    }
}

/// Makes a boot-time stamp a wall-clock time, and writes its text.
#[derive(Debug)]
pub(super) struct TimestampText {
    time: Accessor,
    text: Accessor,
    wall: WallClock,
    /// `None` if only the number is wanted.
    clock: Option<Clock>,
}

impl TimestampText {
    pub(super) fn new(time: Accessor, text: Accessor, wall: WallClock, clock: Option<Clock>) -> Self {
        Self {
            time,
            text,
            wall,
            clock,
        }
    }
}

impl Derive for TimestampText {
    /// Replaces the number.
    #[inline]
    fn meet(&mut self, element: &mut Element) -> Result<()> {
        let wall = self.wall.wall(self.time.bits(element));
        self.time.set_bits(element, wall as u64);
        Ok(())
    }

    #[inline]
    fn derive(&mut self, element: &mut Element) {
        if let Some(clock) = &mut self.clock {
            let wall = self.time.bits(element) as i64;
            self.text.write(element, |out| clock.append(wall, out));
        }
    }
}

/// Writes wall-clock times as text. What only changes from second to second is kept.
#[derive(Debug)]
pub(in crate::operators) struct Clock {
    zone: TimeZone,
    layout: Option<Layout>,
    second: i64,
    /// `2006-01-02T15:04:05.000000000+01:00`, of which the nanoseconds are those of the last time.
    text: Vec<u8>,
    /// Where in there they are.
    nanoseconds: usize,
}

impl Clock {
    /// Writes times of `zone`, with nine digits of the second as RFC 3339 has it unless `layout` (a Go time layout) says
    /// otherwise.
    pub(in crate::operators) fn new(zone: TimeZone, layout: Option<&str>) -> Self {
        Self {
            zone,
            layout: layout.map(Layout::parse),
            second: i64::MIN,
            text: Vec::new(),
            nanoseconds: 0,
        }
    }

    /// Appends the time that is `wall` nanoseconds after the epoch.
    pub(in crate::operators) fn append(&mut self, wall: i64, out: &mut Vec<u8>) {
        if let Some(layout) = &self.layout {
            let time = Timestamp::from_nanosecond(i128::from(wall)).unwrap_or(Timestamp::UNIX_EPOCH);
            layout.append(time, &self.zone, out);
            return;
        }
        let second = wall.div_euclid(SECOND);
        if second != self.second {
            self.turn(second);
        }
        let digits = nine_digits(wall.rem_euclid(SECOND) as u32);
        if let Some(place) = self.text[self.nanoseconds..].first_chunk_mut() {
            *place = digits;
        }
        out.extend_from_slice(&self.text);
    }

    fn turn(&mut self, second: i64) {
        let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
        let offset = self.zone.to_offset(time);
        let civil = offset.to_datetime(time);
        self.second = second;
        self.text.clear();
        // Writing to a vector cannot fail.
        let _ = write!(
            self.text,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.",
            civil.year(),
            civil.month(),
            civil.day(),
            civil.hour(),
            civil.minute(),
            civil.second()
        );
        self.nanoseconds = self.text.len();
        self.text.extend_from_slice(&nine_digits(0));
        super::layout::append_offset(offset.seconds(), true, ":", &mut self.text);
    }
}

/// All digits of `number`, which is below 1,000,000,000.
#[inline]
fn nine_digits(number: u32) -> [u8; 9] {
    const BLOCK: u32 = 100_000_000;
    let [a, b, c, d, e, f, g, h] = eight_digits(number % BLOCK);
    [b'0' + (number / BLOCK) as u8, a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use jiff::tz::Offset;

    use super::*;
    use crate::operators::host::HostFacts;

    fn text(clock: &mut Clock, wall: i64) -> String {
        let mut out = Vec::new();
        clock.append(wall, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nine_digits_and_the_zone() {
        let mut utc = Clock::new(TimeZone::UTC, None);
        assert_eq!(
            text(&mut utc, 1_795_256_225_574_562_366),
            "2026-11-21T10:17:05.574562366Z"
        );
        assert_eq!(
            text(&mut utc, 1_795_256_225_000_000_001),
            "2026-11-21T10:17:05.000000001Z"
        );
        assert_eq!(
            text(&mut utc, 1_795_256_226_000_000_000),
            "2026-11-21T10:17:06.000000000Z"
        );
        assert_eq!(text(&mut utc, -1), "1969-12-31T23:59:59.999999999Z");
        let mut india = Clock::new(TimeZone::fixed(Offset::from_seconds(19_800).unwrap()), None);
        assert_eq!(text(&mut india, 0), "1970-01-01T05:30:00.000000000+05:30");
        let mut west = Clock::new(TimeZone::fixed(Offset::from_seconds(-12_600).unwrap()), None);
        assert_eq!(text(&mut west, 0), "1969-12-31T20:30:00.000000000-03:30");
    }

    #[test]
    fn all_digits_are_there() {
        for number in [
            0,
            1,
            9,
            10,
            123_456_789,
            100_000_000,
            999_999_999,
            900_000_001,
            10_000,
            9_999,
        ] {
            let digits = String::from_utf8(nine_digits(number).to_vec()).unwrap();
            assert_eq!(digits, format!("{number:09}"));
        }
    }

    #[test]
    fn other_layouts() {
        let mut clock = Clock::new(TimeZone::UTC, Some("15:04:05.000"));
        assert_eq!(text(&mut clock, 1_795_256_225_574_562_366), "10:17:05.574");
    }

    #[test]
    fn boot_time_becomes_wall_time() {
        let offset = HostFacts::default().boot_offset().unwrap();
        let clock = WallClock {
            offset,
            unstamped: None,
        };
        let boot = nanoseconds(ClockId::CLOCK_BOOTTIME).unwrap();
        let now = nanoseconds(ClockId::CLOCK_REALTIME).unwrap();
        for time in [clock.wall(boot as u64), clock.wall(0)] {
            assert!((time - now).abs() < SECOND, "{time} is not now ({now})");
        }
        let recorded = WallClock {
            offset: 100,
            unstamped: Some(7),
        };
        assert_eq!((recorded.wall(5), recorded.wall(0)), (105, 7));
    }
}
