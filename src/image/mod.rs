//! Gadget images: references, manifests, the local store, registries, trust and the bundled catalogue.
//!
//! An image is an OCI index with one manifest per architecture; a manifest names gadget.yaml (its config) and the gadget's parts
//! (its layers). [`pack`] makes one from the output of a build, a [`Store`] keeps them on disk, [`registry`] copies them from and
//! to other machines, a [`Resolver`] finds the one that a name stands for and decides whether it may run, and [`GadgetImage`] is
//! what it hands out: the parts for this machine's architecture, verified.
//!
//! Invariants: a digest is computed over bytes that are never re-serialised; whatever is read from a store or a registry is
//! checked against its digest before anyone sees it; nothing is handed out to be run before the trust decision.

pub mod annotations;
pub mod archive;
mod catalogue;
mod created;
mod digest;
mod gadget_image;
mod json;
mod manifest;
pub mod media_type;
mod metadata_annotations;
mod oci_layout;
mod pack;
mod reference;
pub mod registry;
mod resolve;
mod store;
mod version;

pub use catalogue::Catalogue;
pub use created::created_now;
pub use digest::Digest;
pub(crate) use digest::Hasher;
pub(crate) use gadget_image::MAX_DOCUMENT;
pub use gadget_image::{GadgetImage, Layer};
pub use manifest::{Annotations, Descriptor, Index, Manifest, Platform};
pub use metadata_annotations::MetadataAnnotations;
pub use pack::{Arch, Blob, PackInput, PackedImage, pack};
pub use reference::{DEFAULT_DOMAIN, DEFAULT_PREFIX, Reference};
pub use registry::{Progress, RegistryOptions, Timeouts, Transfer};
pub use resolve::{PullPolicy, ResolveOptions, Resolver, StoreChoice};
pub use store::{ListedImage, Store};
