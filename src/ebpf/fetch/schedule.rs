//! When an array data source is fetched.

use std::time::Duration;

use crate::data::DataSource;
use crate::metadata::duration;
use crate::metadata::params::PerDataSource;
use crate::metadata::params::typed::parse_int;
use crate::{Error, Result, ResultExt};

/// How often map iterators are fetched when nobody says otherwise.
pub const DEFAULT_MAP_INTERVAL: &str = "1000ms";

const INTERVAL: &str = "fetch-interval";
const COUNT: &str = "fetch-count";

/// When a data source is fetched: once at the start, at intervals (the first time after one interval), or when the run ends.
///
/// | interval | count | fetches |
/// |---|---|---|
/// | 0 | 1 | one at once |
/// | 0 | other | none before the end |
/// | more | 0 or less | one per interval |
/// | more | n | one per interval, n in all |
///
/// When the run ends there is one more if that is asked for, unless there have been as many as there are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    interval: Duration,
    count: i64,
    at_stop: bool,
}

/// What a [`Schedule`] says is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A fetch, when that much time has passed since the start.
    FetchAt(Duration),
    /// Nothing before the run ends.
    AtStop,
    /// Nothing any more, not even when the run ends.
    Nothing,
}

impl Schedule {
    /// Fetches `count` times, as the table says.
    pub fn new(interval: Duration, count: i64, at_stop: bool) -> Self {
        Self {
            interval,
            count,
            at_stop,
        }
    }

    /// What the annotations of an iterator's data source say; missing ones are added to it.
    pub(in crate::ebpf) fn of_iterator(source: &mut DataSource) -> Result<Self> {
        let mut text = |key: &str, default: &str| match source.annotation(key) {
            Some(text) => text.to_owned(),
            None => {
                source.annotate(key, default);
                default.to_owned()
            }
        };
        let (interval, count) = (text(INTERVAL, "0"), text(COUNT, "1"));
        Ok(Self {
            interval: duration::parse_unsigned(&interval).with_context(|| format!("parsing {INTERVAL}"))?,
            count: parse_int(&count, 64).with_context(|| format!("parsing {COUNT}"))?,
            at_stop: source.annotation("ebpf.iter.fetch-on-stop") == Some("true"),
        })
    }

    /// What the parameters say about a map iterator's data source, which is annotated with it.
    pub(in crate::ebpf) fn of_map(source: &mut DataSource, fetches: &MapFetches) -> Self {
        let (interval, count) = fetches.of(source.name());
        let nanos = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX);
        source.annotate(INTERVAL, duration::format(nanos));
        source.annotate(COUNT, count.to_string());
        Self {
            interval,
            count,
            at_stop: source.annotation("ebpf.map.flush-on-stop") == Some("true"),
        }
    }

    /// Refuses what makes no sense for the map iterator `name`: many fetches without time in between.
    pub(in crate::ebpf) fn check_map(&self, name: &str) -> Result<()> {
        if self.interval.is_zero() && self.count > 1 {
            return Err(Error::invalid(format!(
                "map iterator {name:?} has count > 1 but interval is zero"
            )));
        }
        Ok(())
    }

    /// What is to be done after `done` fetches, `elapsed` after the start. Intervals that a slow fetch used up are left out.
    pub fn next(&self, done: u64, elapsed: Duration) -> Next {
        let finished = |count: i64| u64::try_from(count).is_ok_and(|count| count > 0 && done >= count);
        if self.interval.is_zero() {
            return match (self.count, done) {
                (1, 0) => Next::FetchAt(Duration::ZERO),
                (1, _) => Next::Nothing,
                _ => Next::AtStop,
            };
        }
        if finished(self.count) {
            return Next::Nothing;
        }
        let interval = self.interval.as_nanos();
        let due = (elapsed.as_nanos() / interval + 1) * interval;
        Next::FetchAt(u64::try_from(due).map_or(Duration::MAX, Duration::from_nanos))
    }

    /// Whether there is one more fetch when the run ends, unless [`Next::Nothing`] was next.
    pub fn at_stop(&self) -> bool {
        self.at_stop
    }
}

/// The values of `map-fetch-interval` and `map-fetch-count`, each for all map iterators or by data source.
#[derive(Clone, Debug)]
pub struct MapFetches {
    intervals: PerDataSource<Duration>,
    counts: PerDataSource<i64>,
}

impl MapFetches {
    /// Reads the values for an object whose map iterators have these names.
    ///
    /// # Errors
    ///
    /// No durations or numbers; a mixture of values for all and by name; a name that is no map iterator's.
    pub fn parse(interval: &str, count: &str, names: &[&str]) -> Result<Self> {
        let interval = if interval.is_empty() {
            DEFAULT_MAP_INTERVAL
        } else {
            interval
        };
        let intervals = PerDataSource::durations(interval).context("parsing map-fetch-interval")?;
        let counts = PerDataSource::ints(count).context("parsing map-fetch-count")?;
        let known = |what: &str, name: &str| {
            if name.is_empty() || names.contains(&name) {
                return Ok(());
            }
            Err(
                Error::not_found(format!("map fetch {what} found for non-existing iterator {name:?}"))
                    .with_hint(format!("the gadget's map iterators: {}", names.join(", "))),
            )
        };
        for (name, _) in intervals.iter() {
            known("interval", name)?;
        }
        for (name, _) in counts.iter() {
            known("count", name)?;
        }
        Ok(Self { intervals, counts })
    }

    /// Interval and count of one map iterator. One that is not named where others are has the default.
    fn of(&self, name: &str) -> (Duration, i64) {
        let interval = self.intervals.get(name).copied();
        (
            interval.unwrap_or(Duration::from_secs(1)),
            self.counts.get(name).copied().unwrap_or(0),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SourceType;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Next {
        Next::FetchAt(Duration::from_millis(millis))
    }

    #[test]
    fn one_fetch_at_once() {
        let schedule = Schedule::new(Duration::ZERO, 1, true);
        assert_eq!(schedule.next(0, Duration::ZERO), at(0));
        assert_eq!(schedule.next(1, SECOND), Next::Nothing, "not even at the end");
    }

    #[test]
    fn the_first_of_many_comes_after_one_interval() {
        let schedule = Schedule::new(SECOND, 0, false);
        assert_eq!(schedule.next(0, Duration::from_micros(7)), at(1000));
        assert_eq!(schedule.next(1, Duration::from_millis(1001)), at(2000));
        assert_eq!(schedule.next(u64::MAX, Duration::from_millis(2000)), at(3000));
        assert_eq!(
            schedule.next(2, Duration::from_millis(5500)),
            at(6000),
            "a slow fetch leaves out what it used up"
        );
    }

    #[test]
    fn so_many_and_no_more() {
        let schedule = Schedule::new(SECOND, 2, true);
        assert_eq!(schedule.next(1, SECOND), at(2000));
        assert_eq!(schedule.next(2, 2 * SECOND), Next::Nothing);
        let endless = Schedule::new(SECOND, -1, false);
        assert_eq!(endless.next(9, SECOND), at(2000));
    }

    #[test]
    fn without_interval_nothing_before_the_end() {
        for count in [-1, 0, 2] {
            let schedule = Schedule::new(Duration::ZERO, count, true);
            assert_eq!(schedule.next(0, Duration::ZERO), Next::AtStop, "{count}");
        }
    }

    #[test]
    fn absurd_intervals_do_not_overflow() {
        let schedule = Schedule::new(Duration::MAX, 0, false);
        assert_eq!(schedule.next(0, SECOND), Next::FetchAt(Duration::MAX));
    }

    fn iterator(annotations: &[(&str, &str)]) -> (DataSource, Result<Schedule>) {
        let mut source = DataSource::new("ps", SourceType::Array, None);
        for (key, value) in annotations {
            source.annotate(*key, *value);
        }
        let schedule = Schedule::of_iterator(&mut source);
        (source, schedule)
    }

    #[test]
    fn iterators_are_told_by_annotations() {
        let (source, schedule) = iterator(&[]);
        assert_eq!(schedule.unwrap(), Schedule::new(Duration::ZERO, 1, false));
        assert_eq!(source.annotation("fetch-interval"), Some("0"));
        assert_eq!(source.annotation("fetch-count"), Some("1"));
        let (source, schedule) = iterator(&[
            ("fetch-interval", "250ms"),
            ("fetch-count", "0"),
            ("ebpf.iter.fetch-on-stop", "true"),
        ]);
        assert_eq!(schedule.unwrap(), Schedule::new(SECOND / 4, 0, true));
        assert_eq!(source.annotation("fetch-interval"), Some("250ms"), "as it was written");
        for (key, value) in [
            ("fetch-interval", "soon"),
            ("fetch-interval", "-1s"),
            ("fetch-count", "x"),
            ("fetch-count", ""),
        ] {
            let error = iterator(&[(key, value)]).1.unwrap_err().to_string();
            assert!(error.starts_with(&format!("parsing {key}: ")), "{error}");
        }
    }

    fn map(interval: &str, count: &str) -> Result<(DataSource, Schedule)> {
        let fetches = MapFetches::parse(interval, count, &["stats", "more"])?;
        let mut source = DataSource::new("stats", SourceType::Array, None);
        source.annotate("ebpf.map.flush-on-stop", "true");
        let schedule = Schedule::of_map(&mut source, &fetches);
        Ok((source, schedule))
    }

    #[test]
    fn map_iterators_are_told_by_params() {
        for (interval, count, expected, annotations) in [
            ("1000ms", "0", (SECOND, 0), ("1s", "0")),
            ("", "", (SECOND, 0), ("1s", "0")),
            ("2s", "3", (2 * SECOND, 3), ("2s", "3")),
            ("0", "1", (Duration::ZERO, 1), ("0s", "1")),
            ("stats:500ms,more:2s", "", (SECOND / 2, 0), ("500ms", "0")),
            (",stats:500ms,,stats:1m,", "stats:7", (60 * SECOND, 7), ("1m0s", "7")),
            ("more:2s", "more:5", (SECOND, 0), ("1s", "0")),
        ] {
            let (source, schedule) = map(interval, count).unwrap();
            assert_eq!(
                schedule,
                Schedule::new(expected.0, expected.1, true),
                "{interval} {count}"
            );
            let annotation = |key: &str| source.annotation(key).unwrap();
            assert_eq!((annotation("fetch-interval"), annotation("fetch-count")), annotations);
        }
    }

    #[test]
    fn bad_params_are_refused() {
        for (interval, count, expected) in [
            (
                "1s,stats:2s",
                "",
                "mixed values with and without specifying data source",
            ),
            (
                "stats:1s,other:2s",
                "",
                "map fetch interval found for non-existing iterator \"other\"",
            ),
            (
                "",
                "other:2",
                "map fetch count found for non-existing iterator \"other\"",
            ),
            ("soon", "", "parsing map-fetch-interval: "),
            ("stats:-1s", "", "parsing map-fetch-interval: "),
            ("", "many", "parsing map-fetch-count: "),
        ] {
            let error = map(interval, count).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let (_, schedule) = map("0", "2").unwrap();
        assert_eq!(
            schedule.check_map("stats").unwrap_err().to_string(),
            "map iterator \"stats\" has count > 1 but interval is zero"
        );
        map("0", "0").unwrap().1.check_map("stats").unwrap();
    }
}
