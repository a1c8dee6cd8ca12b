//! Registries: copying images from and to other machines, by the OCI distribution protocol.
//!
//! Everything a registry sends is hostile until verified: documents and blobs are bounded in size, digests are computed while the
//! content streams in, credentials go to the registry's own origin (or the token service it names, over TLS) and nowhere else.
//! Manifests are copied as bytes, never re-encoded.
//!
//! The functions here block; they run their requests on a thread of their own, so they may be called from anywhere.

mod auth;
mod client;
mod credentials;
mod failure;
mod pull;
mod push;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Descriptor, Reference, Store};
use crate::{Error, ErrorKind, Result, ResultExt};
use client::{Access, Client};

/// The credentials file of `ig login`.
pub const DEFAULT_AUTHFILE: &str = "/var/lib/ig/config.json";

/// How to talk to registries.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Registries (with port, as in references) that are spoken to in plain HTTP, and that no credentials are sent to.
    pub insecure_registries: Vec<String>,
    /// The credentials file; the empty path stands for Docker's own.
    pub authfile: PathBuf,
    /// When to give up.
    pub timeouts: Timeouts,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            insecure_registries: Vec::new(),
            authfile: DEFAULT_AUTHFILE.into(),
            timeouts: Timeouts::default(),
        }
    }
}

/// When to give up on a registry.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Without a connection.
    pub connect: Duration,
    /// Without any byte moving on a connection.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
        }
    }
}

/// What happened during a transfer, for progress bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// So many more bytes will have to be moved.
    Expected(u64),
    /// So many more bytes were moved.
    Moved(u64),
}

/// Is told about the progress of a transfer.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Transfer) + Send + Sync>);

impl Progress {
    /// Calls `f` for every step.
    pub fn new(f: impl Fn(Transfer) + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// Nobody is interested.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn report(&self, transfer: Transfer) {
        (self.0)(transfer);
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

/// Copies an image with all its architectures from its registry into the store, under its full name. Returns its descriptor.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] when the registry does not have it; [`ErrorKind::Permission`] when it does not let us;
/// [`ErrorKind::Network`] when the registry cannot be reached or does not answer as it should; anything the store reports.
pub fn pull(
    store: &Store,
    reference: &Reference,
    options: &RegistryOptions,
    progress: &Progress,
) -> Result<Descriptor> {
    block_on(async {
        let client = Client::new(reference, Access::Pull, options)?;
        pull::pull(&client, store, reference, progress).await
    })
    .context("copying to local repository")
}

/// Copies an image with all its architectures from the store to the registry that its name says. Returns its descriptor.
///
/// # Errors
///
/// `failed to perform "Resolve" on source: not found` when it is not stored; otherwise as [`pull`].
pub fn push(
    store: &Store,
    reference: &Reference,
    options: &RegistryOptions,
    progress: &Progress,
) -> Result<Descriptor> {
    let work = || {
        let descriptor = store
            .resolve(reference)
            .context("failed to perform \"Resolve\" on source")?;
        block_on(async {
            let client = Client::new(reference, Access::Push, options)?;
            push::push(&client, store, reference, &descriptor, progress).await
        })?;
        Ok(descriptor)
    };
    work().map_err(|e: Error| e.context("copying to remote repository"))
}

/// Runs `work` to its end on a thread of its own: the caller may itself be a task of some runtime, where blocking is forbidden.
fn block_on<T: Send>(work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the network runtime")?;
        let result = runtime.block_on(work);
        // A name server that does not answer must not keep us.
        runtime.shutdown_background();
        result
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("registry".into())
            .spawn_scoped(scope, run)
            .context("starting the network thread")?
            .join()
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Other, "the network thread panicked")))
    })
}
