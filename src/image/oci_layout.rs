//! What an OCI image layout consists of besides blobs, in a directory and in an archive alike.

use oci_spec::image::OciLayout;

/// The file that marks a layout.
pub(super) const MARKER_FILE: &str = "oci-layout";
/// What we write there.
pub(super) const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The version that this is.
pub(super) const VERSION: &str = "1.0.0";
/// The file with the descriptors of all images.
pub(super) const INDEX_FILE: &str = "index.json";

/// The version in a marker file; `None` for one that is damaged.
pub(super) fn version(marker: &[u8]) -> Option<String> {
    let layout = OciLayout::from_reader(marker).ok()?;
    Some(layout.image_layout_version().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version(MARKER.as_bytes()).as_deref(), Some(VERSION));
        assert_eq!(version(br#"{"imageLayoutVersion":"2","x":[]}"#).as_deref(), Some("2"));
        for damaged in ["", "{", "{}", r#"{"imageLayoutVersion":1}"#] {
            assert_eq!(version(damaged.as_bytes()), None, "{damaged}");
        }
    }
}
