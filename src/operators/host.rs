//! What formatting needs to know about the machine that events come from: this one, or the one of a recording.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use nix::time::{ClockId, clock_gettime};

use super::uidgid::RecordedNames;
use crate::{Result, ResultExt};

/// Facts about the machine that events come from. What is `None` is asked of this machine when it is needed.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// Nanoseconds between the boot of the machine and the epoch.
    pub boot_offset: Option<i64>,
    /// The time, in nanoseconds since the epoch, that events without one get.
    pub unstamped: Option<i64>,
    /// The time zone of the machine.
    pub zone: Option<TimeZone>,
    /// Whose system call numbers are meant.
    pub architecture: Architecture,
    /// Names of users and groups.
    pub names: Option<RecordedNames>,
}

/// A processor architecture, as far as numbers depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64
    Amd64,
    /// 64-bit Arm
    Arm64,
}

impl Architecture {
    /// All that are known.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The architecture that this program runs on.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") {
        Self::Arm64
    } else {
        Self::Amd64
    };

    /// The name that users see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl Default for Architecture {
    fn default() -> Self {
        Self::NATIVE
    }
}

impl HostFacts {
    /// Nanoseconds to be added to a time since boot to give a wall-clock time; measured on first use, so that it stays the same.
    pub fn boot_offset(&mut self) -> Result<i64> {
        if let Some(offset) = self.boot_offset {
            return Ok(offset);
        }
        let offset = nanoseconds(ClockId::CLOCK_REALTIME)? - nanoseconds(ClockId::CLOCK_BOOTTIME)?;
        self.boot_offset = Some(offset);
        Ok(offset)
    }

    /// The time zone for texts.
    pub fn zone(&self) -> TimeZone {
        self.zone.clone().unwrap_or_else(TimeZone::system)
    }

    /// The zone of this name, or else the one that is always `offset` seconds from UTC.
    pub fn zone_of(name: Option<&str>, offset: i32) -> TimeZone {
        let fixed = || Offset::from_seconds(offset).map_or(TimeZone::UTC, TimeZone::fixed);
        name.and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(fixed)
    }

    /// The offset from UTC in seconds at the moment.
    pub fn utc_offset(&self) -> i32 {
        self.zone().to_offset(Timestamp::now()).seconds()
    }
}

/// What a clock shows.
pub(crate) fn nanoseconds(clock: ClockId) -> Result<i64> {
    let time = clock_gettime(clock).context("reading the clock")?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_by_name_or_by_offset() {
        let at = Timestamp::UNIX_EPOCH;
        let offset = |name, offset| HostFacts::zone_of(name, offset).to_offset(at).seconds();
        assert_eq!(offset(Some("UTC"), 3600), 0);
        assert_eq!(offset(Some("Nowhere/Land"), 3600), 3600);
        assert_eq!(offset(None, -5400), -5400);
        assert_eq!(offset(None, i32::MAX), 0);
    }

    #[test]
    fn the_offset_from_boot_time_is_measured_once() {
        let mut facts = HostFacts::default();
        let first = facts.boot_offset().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(facts.boot_offset().unwrap(), first);
        facts.boot_offset = Some(7);
        assert_eq!(facts.boot_offset().unwrap(), 7);
    }
}
