//! What the files of a control group say.

use crate::operators::process::procfs::{lines, number};

/// How much CPU time a group may use: so much in every period, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) quota: u64,
    pub(super) period: u64,
}

impl Limit {
    /// Reads `cpu.max`. `None` if there is no limit, or if the file is not in its form.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = text.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let (quota, period) = (fields.next()?, fields.next()?);
        if fields.next().is_some() {
            return None;
        }
        Some(Self {
            quota: number(quota).filter(|quota| i64::try_from(*quota).is_ok())?,
            period: number(period)?,
        })
    }
}

/// How often the group was held back since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) periods: u64,
    pub(super) throttled: u64,
    pub(super) throttled_usec: u64,
}

impl Counters {
    /// Reads `cpu.stat`. What is not there is zero.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut counters = Self::default();
        for line in lines(text) {
            let Some(space) = line.iter().position(|byte| *byte == b' ') else {
                continue;
            };
            let target = match &line[..space] {
                b"nr_periods" => &mut counters.periods,
                b"nr_throttled" => &mut counters.throttled,
                b"throttled_usec" => &mut counters.throttled_usec,
                _ => continue,
            };
            if let Some(value) = number(&line[space..]) {
                *target = value;
            }
        }
        counters
    }

    /// What was added since `before`; a counter that went back has added nothing.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            periods: self.periods.saturating_sub(before.periods),
            throttled: self.throttled.saturating_sub(before.throttled),
            throttled_usec: self.throttled_usec.saturating_sub(before.throttled_usec),
        }
    }
}

/// The share of time in which some process of the group waited for a CPU, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pressure {
    pub(super) avg10: f64,
    pub(super) avg60: f64,
}

impl Pressure {
    /// Reads `cpu.pressure`. What is not there is zero.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut pressure = Self::default();
        let some = lines(text).find_map(|line| line.strip_prefix(b"some "));
        let some = String::from_utf8_lossy(some.unwrap_or_default());
        for (key, value) in some.split_whitespace().filter_map(|field| field.split_once('=')) {
            let target = match key {
                "avg10" => &mut pressure.avg10,
                "avg60" => &mut pressure.avg60,
                _ => continue,
            };
            *target = value
                .parse()
                .ok()
                .filter(|value: &f64| value.is_finite())
                .unwrap_or(0.0);
        }
        pressure
    }
}

/// The path in the unified hierarchy, in the text of a `/proc/<pid>/cgroup` file. `None` for the root, and for what is not below the
/// hierarchy's mount point.
pub(super) fn unified_path(text: &[u8]) -> Option<&str> {
    let path = lines(text).find_map(|line| line.strip_prefix(b"0::"))?;
    let path = std::str::from_utf8(path).ok()?;
    let below = path.starts_with('/') && path != "/" && !path.split('/').any(|part| part == "..");
    below.then_some(path)
}
