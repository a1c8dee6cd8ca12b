//! Gadget images: references, manifests, the local store, registries, trust and the bundled catalogue.
