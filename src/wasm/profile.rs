//! Where a guest's time goes, for `--profile-guest`.

use std::collections::BTreeMap;
use std::time::Duration;

/// Calls and time of each of the guest's functions that the host calls.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    calls: BTreeMap<String, (u64, Duration)>,
}

impl Profile {
    /// Notes a call.
    pub(super) fn note(&mut self, function: &str, time: Duration) {
        let (count, total) = match self.calls.get_mut(function) {
            Some(entry) => entry,
            None => self.calls.entry(function.to_owned()).or_default(),
        };
        *count += 1;
        *total += time;
    }

    /// Function, number of calls, time in all of them.
    pub fn calls(&self) -> impl Iterator<Item = (&str, u64, Duration)> {
        self.calls
            .iter()
            .map(|(name, (count, total))| (name.as_str(), *count, *total))
    }
}
