//! Keys of the annotations that a gadget image carries.

/// The gadget's name.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The gadget's description.
pub const DESCRIPTION: &str = "org.opencontainers.image.description";
/// The gadget's home page.
pub const URL: &str = "org.opencontainers.image.url";
/// Where the gadget's documentation is.
pub const DOCUMENTATION: &str = "org.opencontainers.image.documentation";
/// Where the gadget's source code is.
pub const SOURCE: &str = "org.opencontainers.image.source";
/// When the image was built, RFC 3339.
pub const CREATED: &str = "org.opencontainers.image.created";
/// The version of the `ig` that built the image, with its leading `v`.
pub const BUILDER_VERSION: &str = "io.inspektor-gadget.builder.version";
/// In a store's `index.json`: the full reference that the entry is the tag of.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
