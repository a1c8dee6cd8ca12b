//! A run of `ig` that goes on while the test works.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{PATIENCE, Ran};

/// What a child has printed so far.
#[derive(Default)]
struct Lines {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Lines {
    fn read(self: &Arc<Self>, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let to = Arc::clone(self);
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                to.lock().0.push(text);
                to.changed.notify_all();
                line.clear();
            }
            to.lock().1 = true;
            to.changed.notify_all();
        })
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<String>, bool)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first thing that `look` makes of a line, if one comes until the end or the deadline.
    fn find<T>(&self, mut look: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        let mut guard = self.lock();
        loop {
            while let Some(line) = guard.0.get(seen) {
                if let Some(found) = look(line) {
                    return Some(found);
                }
                seen += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if guard.1 || left.is_zero() {
                return None;
            }
            guard = self
                .changed
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// A child whose output is read all the time.
pub(crate) struct Live {
    child: Child,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
}

impl Live {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare can be run");
        let (stdout, stderr) = (Arc::<Lines>::default(), Arc::<Lines>::default());
        let readers = vec![
            stdout.read(child.stdout.take().expect("a pipe")),
            stderr.read(child.stderr.take().expect("a pipe")),
        ];
        Self {
            child,
            stdout,
            stderr,
            readers,
        }
    }

    /// Waits for the line that says that everything is attached.
    #[track_caller]
    pub(crate) fn wait_running(&self) {
        self.wait_log("running...");
    }

    /// Waits for a line with `text` on stderr.
    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str) -> String {
        let found = self.stderr.find(|line| line.contains(text).then(|| line.to_owned()));
        found.unwrap_or_else(|| panic!("no {text:?} on stderr: {}", self.log()))
    }

    /// Waits for a line on stdout of which `look` makes something.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, look: impl FnMut(&str) -> Option<T>) -> T {
        let found = self.stdout.find(look);
        found.unwrap_or_else(|| panic!("{what} did not come; stdout: {:?}; stderr: {}", self.tail(), self.log()))
    }

    /// Waits for a line on stdout that contains `text`.
    #[track_caller]
    pub(crate) fn wait_line(&self, text: &str) -> String {
        self.wait(text, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// Waits for an event in JSON that fits.
    #[track_caller]
    pub(crate) fn wait_event(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait(what, |line| serde_json::from_str(line).ok().filter(|event| fits(event)))
    }

    /// Waits until everything is attached; the log if it ended before.
    pub(crate) fn running_or_failed(&self) -> Result<(), String> {
        match self.stderr.find(|line| line.contains("running...").then_some(())) {
            Some(()) => Ok(()),
            None => Err(self.log()),
        }
    }

    /// Whether a line on stdout so far contains `text`.
    pub(crate) fn has_line(&self, text: &str) -> bool {
        self.stdout.lock().0.iter().any(|line| line.contains(text))
    }

    /// The lines on stdout so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.stdout.lock().0.clone()
    }

    fn tail(&self) -> Vec<String> {
        let lines = self.stdout.lock();
        lines.0.iter().rev().take(10).rev().cloned().collect()
    }

    /// What is on stderr so far.
    pub(crate) fn log(&self) -> String {
        self.stderr.lock().0.join("\n")
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the child has not been waited for");
    }

    /// Interrupts it and waits for its end.
    #[track_caller]
    pub(crate) fn stop(self) -> Ran {
        self.signal(Signal::SIGINT);
        self.ended()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Ran {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end; stderr: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("no panic");
        }
        let text = |lines: &Lines| lines.lock().0.iter().map(|line| format!("{line}\n")).collect();
        Ran {
            status: status.code(),
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
