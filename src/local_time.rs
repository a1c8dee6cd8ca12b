//! The local time zone.

use std::path::Path;
use std::sync::OnceLock;

use jiff::tz::TimeZone;

/// What the system says, unless the environment says otherwise.
const LOCALTIME: &str = "/etc/localtime";

/// The zone in which times are shown. Looked up once.
///
/// [`TimeZone::system`] wants to know the zone's name as well and walks through the whole time zone database for it, which
/// takes longer than to load a gadget's programs. The name is nowhere shown, so that the file alone will do.
pub(crate) fn zone() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(|| {
        let named = std::env::var_os("TZ").is_some();
        let file = if named { None } else { of_file(Path::new(LOCALTIME)) };
        file.unwrap_or_else(TimeZone::system)
    })
    .clone()
}

fn of_file(path: &Path) -> Option<TimeZone> {
    TimeZone::tzif("Local", &std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_file_tells_what_the_system_tells() {
        let summer: Timestamp = "2026-07-01T00:00:00Z".parse().unwrap();
        let winter: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for time in [summer, winter] {
            assert_eq!(zone().to_offset(time), TimeZone::system().to_offset(time));
        }
    }

    #[test]
    fn what_is_no_zone_is_left_to_the_system() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"no zone").unwrap();
        assert!(of_file(file.path()).is_none());
        assert!(of_file(Path::new("/nonexistent/localtime")).is_none());
    }
}
