//! The kernel's trace pipe, where `bpf_printk()` writes to: its lines as log lines.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::tracefs;
use crate::{Error, Result, ResultExt};

/// Lines are cut to so many bytes.
const MAX_LINE: usize = 4096;

/// Logs the lines until it is dropped. Who reads the pipe takes its lines away from all others.
#[derive(Debug)]
pub struct TracePipe {
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl TracePipe {
    /// Opens the pipe.
    ///
    /// # Errors
    ///
    /// There is none, or we may not read it.
    pub fn start() -> Result<Self> {
        let path = tracefs()
            .ok_or_else(|| {
                Error::unsupported("opening the trace pipe: tracefs is not mounted")
                    .with_hint("mount -t tracefs tracefs /sys/kernel/tracing")
            })?
            .join("trace_pipe");
        let pipe = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .with_context(|| format!("opening the trace pipe {}", path.display()))?;
        let wake =
            EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).context("creating an eventfd")?;
        let wake = Arc::new(wake);
        let thread = std::thread::Builder::new()
            .name("ig-trace-pipe".to_owned())
            .spawn({
                let wake = Arc::clone(&wake);
                move || {
                    if let Err(error) = log_lines(pipe, &wake) {
                        tracing::warn!("reading the trace pipe: {error}");
                    }
                }
            })
            .context("starting a thread")?;
        Ok(Self {
            wake,
            thread: Some(thread),
        })
    }
}

impl Drop for TracePipe {
    fn drop(&mut self) {
        // The counter of an eventfd cannot overflow from this.
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn log_lines(mut pipe: File, wake: &EventFd) -> Result<()> {
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    loop {
        let mut fds = [
            PollFd::new(pipe.as_fd(), PollFlags::POLLIN),
            PollFd::new(wake.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            polled => polled?,
        };
        let ends = fds[1].any().unwrap_or(true);
        // What was written before the end is still said.
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => lines.take(&buffer[..len], |line| tracing::info!("{line}")),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if ends {
            return Ok(());
        }
    }
}

/// Puts lines together.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Calls `each` with every line that is complete. Programs write what they like, so control characters are escaped.
    fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for byte in bytes {
            if *byte == b'\n' || self.begun.len() >= MAX_LINE {
                let text = String::from_utf8_lossy(&self.begun);
                each(text.trim());
                self.begun.clear();
            }
            match byte {
                b'\n' => {}
                0x20..=0x7e | 0x80.. => self.begun.push(*byte),
                b'\t' => self.begun.push(b' '),
                control => self.begun.extend(control.escape_ascii()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_pieces_and_control_nothing() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut take = |bytes: &[u8]| lines.take(bytes, |line| seen.push(line.to_owned()));
        take(b"  cat-12 [000] bpf_trace");
        take(b"_printk: a\x1b[2J\nnext\n");
        take(&[b'x'; MAX_LINE + 1]);
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0], "cat-12 [000] bpf_trace_printk: a\\x1b[2J");
        assert_eq!(seen[1], "next");
        assert_eq!(seen[2].len(), MAX_LINE);
    }
}
