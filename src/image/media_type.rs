//! Media types and artifact types of the objects of a gadget image.

/// An OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker's kind of index; stored and copied, but no gadget.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's kind of manifest; stored and copied, but no gadget.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// `artifactType` of a gadget's manifest.
pub const GADGET: &str = "application/vnd.gadget.v1+binary";
/// Config blob: the gadget.yaml.
pub const CONFIG: &str = "application/vnd.gadget.config.v1+yaml";
/// Config blob of a gadget without gadget.yaml: `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Layer: an eBPF object (ELF).
pub const EBPF: &str = "application/vnd.gadget.ebpf.program.v1+binary";
/// Layer: a wasm module.
pub const WASM: &str = "application/vnd.gadget.wasm.program.v1+binary";
/// Layer: a gzip-compressed tar of BTF files for kernels that expose none.
pub const BTFGEN: &str = "application/vnd.gadget.btfgen.v1+binary";
