//! The shell scripts of a case, each a group of processes that ends with it.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::{Error, ErrorKind, Result, ResultExt};

const TICK: Duration = Duration::from_millis(20);
/// More of what a script said is not shown.
const MOST_OUTPUT: usize = 2000;

/// A script that runs, or has run. With this end all processes that it has started.
#[derive(Debug)]
pub(super) struct Script {
    child: Child,
    output: tempfile::NamedTempFile,
    status: Option<ExitStatus>,
}

impl Script {
    /// Starts `script` in the directory `dir`.
    pub(super) fn start(script: &str, dir: &Path) -> Result<Self> {
        let output = tempfile::NamedTempFile::new().context("creating temporary file")?;
        let to = || output.reopen().context("opening temporary file");
        let child = Command::new("sh")
            .args(["-c", script])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(to()?)
            .stderr(to()?)
            .process_group(0)
            .spawn()
            .context("running sh")?;
        Ok(Self {
            child,
            output,
            status: None,
        })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait().context("waiting for sh")?;
        }
        Ok(self.status)
    }

    /// Waits for its end, which must be a success.
    ///
    /// # Errors
    ///
    /// It fails, or takes longer than `limit`, or `goes_on` says no.
    pub(super) fn succeed(&mut self, limit: Duration, goes_on: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.ended()? {
                break status;
            }
            if start.elapsed() > limit || !goes_on() {
                return Err(Error::new(
                    ErrorKind::Other,
                    format!("it has not ended after {limit:?}"),
                ));
            }
            std::thread::sleep(TICK);
        };
        match status.success() {
            true => Ok(()),
            false => Err(Error::invalid(self.said())),
        }
    }

    /// Whether the shell did not find what it was told to run.
    pub(super) fn was_not_found(&self) -> bool {
        const CANNOT_EXECUTE: i32 = 126;
        const NOT_FOUND: i32 = 127;
        let code = self.status.and_then(|status| status.code());
        matches!(code, Some(CANNOT_EXECUTE | NOT_FOUND))
    }

    /// How it ended and what it said, for a message.
    pub(super) fn said(&self) -> String {
        let output = fs::read(self.output.path()).unwrap_or_default();
        let end = output.len().min(MOST_OUTPUT);
        let output = String::from_utf8_lossy(&output[..end]).trim_end().to_owned();
        let ended = match self.status.map(|status| (status.code(), status.signal())) {
            None => "it runs still".to_owned(),
            Some((Some(code), _)) => format!("it ended with status {code}"),
            Some((None, signal)) => format!("signal {} ended it", signal.unwrap_or_default()),
        };
        match output.is_empty() {
            true => ended,
            false => format!("{ended}: {output}"),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // What it left in the background too; if nothing is left, there is no such group.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn script(text: &str) -> Script {
        Script::start(text, Path::new("/")).unwrap()
    }

    #[test]
    fn ends_are_told() {
        script("true").succeed(PATIENCE, || true).unwrap();
        let error = script("echo no >&2; exit 3").succeed(PATIENCE, || true).unwrap_err();
        assert_eq!(error.to_string(), "it ended with status 3: no");
        let error = script("kill -9 $$").succeed(PATIENCE, || true).unwrap_err();
        assert_eq!(error.to_string(), "signal 9 ended it");
        let error = script("sleep 1000").succeed(Duration::ZERO, || true).unwrap_err();
        assert_eq!(error.to_string(), "it has not ended after 0ns");
        for (text, not_found) in [
            ("no-such-program-anywhere", true),
            ("/etc/passwd", true),
            ("exit 1", false),
        ] {
            let mut script = script(text);
            script.succeed(PATIENCE, || true).unwrap_err();
            assert_eq!(script.was_not_found(), not_found, "{text}");
        }
    }

    #[test]
    fn what_runs_in_the_background_ends_with_it() {
        let mut script = script("sleep 100000 & echo $!");
        script.succeed(PATIENCE, || true).unwrap();
        let said = script.said();
        let pid = said.rsplit(' ').next().unwrap();
        let stat = format!("/proc/{pid}/stat");
        let start = Instant::now();
        // Until then it is still the shell that has become two.
        while !fs::read_to_string(&stat).unwrap().contains("(sleep)") {
            assert!(start.elapsed() < PATIENCE, "it has not begun");
            std::thread::sleep(TICK);
        }
        drop(script);
        let start = Instant::now();
        // It may be a zombie until somebody looks for it.
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(start.elapsed() < PATIENCE, "it goes on");
            std::thread::sleep(TICK);
        }
    }
}
