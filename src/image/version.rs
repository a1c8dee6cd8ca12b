//! Versions of `ig`, read as forgivingly as images demand.

use crate::{Error, Result};

/// A semantic version without its build metadata, which does not take part in comparisons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    core: [u64; 3],
    prerelease: String,
}

impl Version {
    /// Parses `v1.2.3-rc.1+build`; the `v`, minor and patch may be missing, leading zeros and surrounding spaces are ignored.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("{text:?} is not a semantic version"));
        let version = text.trim();
        let version = version.strip_prefix('v').unwrap_or(version);
        let version = version.split_once('+').map_or(version, |(version, _)| version);
        let (numbers, prerelease) = version.split_once('-').unwrap_or((version, ""));
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if !prerelease.chars().all(valid) || version.ends_with('-') {
            return Err(bad());
        }
        let mut core = [0; 3];
        let mut places = core.iter_mut();
        for number in numbers.split('.') {
            let place = places.next().ok_or_else(bad)?;
            if !number.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad());
            }
            *place = number.parse().map_err(|_| bad())?;
        }
        Ok(Self {
            core,
            prerelease: prerelease.to_owned(),
        })
    }

    pub(crate) fn is_prerelease(&self) -> bool {
        !self.prerelease.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgiving() {
        let same = Version::parse("1.2.0").unwrap();
        for text in ["v1.2", " 1.2.0 ", "v01.02.0", "1.2.0+build"] {
            assert_eq!(Version::parse(text).unwrap(), same, "{text}");
        }
        assert_ne!(Version::parse("1.2.0-rc.1").unwrap(), same);
        assert!(Version::parse("v0.48.0-46-g7241be8ef-dirty").unwrap().is_prerelease());
        for text in [
            "",
            "v",
            "invalid",
            "1.2.3.4",
            "1..2",
            "1.2.3-",
            "+1",
            "1.2.3-ä",
            "99999999999999999999",
        ] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }
}
