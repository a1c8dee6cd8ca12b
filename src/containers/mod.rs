//! Which containers exist, which of them a run is interested in, and the mount-namespace filter.
//!
//! A [`Collection`] only observes; it never holds a container up. It learns of a container from three sides:
//!
//! 1. The kernel hook (`bpf/container_hook.bpf.c`) sees a mount namespace come into being. In the kernel, before anything
//!    can be executed in it, the namespace is put into every [filter](MntnsFilter) as *undecided*, and a record goes to
//!    user space.
//! 2. The record names the cgroup, and the cgroup's name holds the container's id. The runtime has announced the
//!    container by then, or is asked. That decides the namespace: it stays in the filters that select the container and
//!    leaves the others. Events that come earlier wait for the [`Decision`].
//! 3. A container that ended stays resolvable for some seconds, for its late events.
//!
//! Inode numbers of namespaces are reused at once, so an event's namespace is looked up together with the event's time, and
//! one life of a number is a [`Namespace`]. Before an answer is given, the hook's records up to now are taken in; a
//! namespace's creation is therefore known before any event from inside it.
//!
//! ```no_run
//! use inspektor_gadget::containers::{Collection, CollectionOptions, Lookup, LookupCache, Selector};
//!
//! # fn main() -> inspektor_gadget::Result<()> {
//! let collection = Collection::start(CollectionOptions::default())?;
//! collection.wait_initial();
//! let filter = collection.filter(Selector::container("web"), 0)?; // replaces the gadget's map before it is loaded
//! let mut cache = LookupCache::default();
//! # let (mntns, timestamp) = (0, 0);
//! match cache.lookup(&collection, mntns, timestamp) {
//!     Lookup::Container(container) if filter.selected(container) => { /* name the event */ }
//!     Lookup::Undecided(namespace) => { /* let the event wait; ask `namespace.decision()` again */ }
//!     _ => { /* not one of ours */ }
//! }
//! # Ok(())
//! # }
//! ```

pub mod cgroup;
mod collection;
mod filter;
mod follow;
mod hook;
pub mod host;
mod id;
pub mod journal;
mod model;
mod namespace;
pub mod oci;
mod options;
mod replica;
mod root;
mod runtime;
mod selector;
mod table;

pub use collection::Collection;
pub use filter::MntnsFilter;
pub use follow::{Follower, Place, PlaceAttachment, Places};
pub use host::{Host, HostNamespaces};
pub use id::{parse_container_id, validate_container_id};
pub use model::{Cgroup, Container, ContainerEvent, ContainerEventKind, K8sInfo, Owner, RuntimeInfo};
pub use namespace::{Decision, Lookup, LookupCache, Namespace};
pub use options::{CollectionOptions, DOCKER_SOCKET, HookBuffer, MissingSocket, RuntimeKind};
pub use replica::Replica;
pub use root::Root;
pub use selector::Selector;
