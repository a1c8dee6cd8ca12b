//! Work on a thread that ends with it, for what changes the thread: the namespace that it is in.

use crate::{Error, ErrorKind, Result, ResultExt};

/// Does `work` on a thread of its own.
///
/// # Errors
///
/// Those of `work`, and when no thread can be started.
pub(crate) fn in_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("ig-netns".to_owned())
            .spawn_scoped(scope, work)
            .context("starting a thread")?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Other, "a thread panicked")))
    })
}
