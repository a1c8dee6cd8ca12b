//! Keys of the annotations that a gadget image carries.

use oci_spec::image;

/// The gadget's name.
pub const TITLE: &str = image::ANNOTATION_TITLE;
/// The gadget's description.
pub const DESCRIPTION: &str = image::ANNOTATION_DESCRIPTION;
/// The gadget's home page.
pub const URL: &str = image::ANNOTATION_URL;
/// Where the gadget's documentation is.
pub const DOCUMENTATION: &str = image::ANNOTATION_DOCUMENTATION;
/// Where the gadget's source code is.
pub const SOURCE: &str = image::ANNOTATION_SOURCE;
/// When the image was built, RFC 3339.
pub const CREATED: &str = image::ANNOTATION_CREATED;
/// The version of the `ig` that built the image, with its leading `v`.
pub const BUILDER_VERSION: &str = "io.inspektor-gadget.builder.version";
/// In a store's `index.json`: the full reference that the entry is the tag of.
pub const REF_NAME: &str = image::ANNOTATION_REF_NAME;
