//! Standard output, with one difference: an error that says "the reader has gone" can be told from every other broken pipe.
//!
//! Rust programs ignore SIGPIPE, so `ig image list | head -1` sees `EPIPE`. That is no failure: whoever gets such an error
//! from here passes it up, and the process ends quietly with status 0.

use std::fmt;
use std::io::{self, Write};

/// The reader of our standard output has closed it.
#[derive(Debug)]
struct StdoutClosed;

impl fmt::Display for StdoutClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for StdoutClosed {}

/// Where results are written. Line-buffered, like [`io::Stdout`]; wrap it in a [`io::BufWriter`] for more than a few lines.
pub(crate) struct Stdout(io::StdoutLock<'static>);

/// Locks standard output for writing results.
pub(crate) fn stdout() -> Stdout {
    Stdout(io::stdout().lock())
}

/// Whether `error` says that the reader of our standard output has gone.
pub(crate) fn is_closed(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.get_ref().is_some_and(|inner| inner.is::<StdoutClosed>())
        {
            return true;
        }
        next = error.source();
    }
    false
}

fn mark(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        io::Error::new(io::ErrorKind::BrokenPipe, StdoutClosed)
    } else {
        error
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Result, ResultExt};

    #[test]
    fn only_our_own_broken_pipe_counts() {
        let from_stdout: Result<()> = Err(mark(io::ErrorKind::BrokenPipe.into())).context("printing the list");
        assert!(is_closed(&from_stdout.unwrap_err()));
        let from_a_socket: Result<()> = Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("asking docker");
        assert!(!is_closed(&from_a_socket.unwrap_err()));
        assert!(!is_closed(&Error::invalid("x")));
    }
}
