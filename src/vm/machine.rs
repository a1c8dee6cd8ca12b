//! Booting, and what the machine says.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Archive;
use crate::{Error, Result, ResultExt};

/// Security modules that programs can be attached to are among these.
const PARAMETERS: &str = "quiet panic=-1 lsm=lockdown,capability,landlock,yama,apparmor,bpf";
/// A kernel that is given no file system gives up in less than a second, if the hardware helps. Where that does not work, it may as well do nothing
/// for ever.
const TRIAL: Duration = Duration::from_secs(15);
/// How often somebody looks whether it has ended.
const TICK: Duration = Duration::from_millis(100);
/// More output than this is not kept.
const MOST_OUTPUT: u64 = 64 << 20;

/// A machine that can be booted.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The image of its kernel.
    pub kernel: PathBuf,
    /// Its memory. The first file system has to fit too.
    pub megabytes: u32,
    /// It is ended after this time.
    pub limit: Duration,
}

/// What QEMU is called and what it needs to be told, by architecture.
fn emulator() -> Result<(&'static str, &'static str, &'static str)> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(("qemu-system-x86_64", "q35", "ttyS0")),
        "aarch64" => Ok(("qemu-system-aarch64", "virt", "ttyAMA0")),
        other => Err(Error::unsupported(format!("machines of architecture {other}"))),
    }
}

impl Machine {
    /// Boots with `files` as the first file system, whose `/init` ends the machine when it is done, and returns what it printed. Asks `goes_on`
    /// from time to time; when that says no, the machine is ended.
    ///
    /// # Errors
    ///
    /// QEMU is not there or fails, or the machine does not end in time.
    pub fn run(&self, files: Archive, goes_on: impl Fn() -> bool) -> Result<String> {
        let mut initramfs = tempfile::NamedTempFile::new().context("creating temporary file")?;
        std::io::Write::write_all(&mut initramfs, &files.finish()).context("writing the first file system")?;
        let files = Some(initramfs.path());
        if OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok() {
            // Within virtual machines there is often one that does not work.
            let why = match self.boot("kvm", None, TRIAL.min(self.limit), &goes_on)? {
                Ended::Well(_) => match self.boot("kvm", files, self.limit, &goes_on)? {
                    Ended::Well(output) => return Ok(output),
                    Ended::Late(output) => return Err(self.late(&output)),
                    Ended::Failed(why) => why,
                },
                Ended::Late(_) => "a kernel does not come to its end".to_owned(),
                Ended::Failed(why) => why,
            };
            tracing::debug!("without KVM: {why}");
        }
        match self.boot("tcg", files, self.limit, &goes_on)? {
            Ended::Well(output) => Ok(output),
            Ended::Late(output) => Err(self.late(&output)),
            Ended::Failed(why) => Err(Error::invalid(why)),
        }
    }

    fn late(&self, output: &str) -> Error {
        let (limit, last) = (self.limit, last_lines(output, 10));
        let what = format!("the machine has not ended after {limit:?}; the last that it said: {last}");
        Error::new(crate::ErrorKind::Other, what)
    }

    /// Boots with these files, or with none, and waits for the end.
    fn boot(
        &self,
        accelerator: &str,
        initramfs: Option<&Path>,
        limit: Duration,
        goes_on: impl Fn() -> bool,
    ) -> Result<Ended> {
        let (program, machine, console) = emulator()?;
        let mut qemu = Command::new(program);
        qemu.arg("-machine")
            .arg(format!("{machine},accel={accelerator}"))
            .args(["-cpu", "max", "-smp", "2", "-m", &self.megabytes.to_string()])
            .args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-kernel"])
            .arg(&self.kernel)
            .arg("-append")
            .arg(format!("console={console} {PARAMETERS}"));
        if let Some(initramfs) = initramfs {
            qemu.arg("-initrd").arg(initramfs);
        }
        let failed = tempfile::NamedTempFile::new().context("creating temporary file")?;
        let stderr = failed.reopen().context("opening temporary file")?;
        let child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(
                    Error::not_found(format!("exec: {program:?}: executable file not found in $PATH"))
                        .with_hint("install QEMU: package qemu-system-x86 or qemu-system-arm in Debian and Ubuntu"),
                );
            }
            Err(error) => return Err(error).with_context(|| format!("running {program}")),
        };
        Ok(match follow(Running(child), limit, goes_on)? {
            (Some(true), output) => Ended::Well(output),
            (None, output) => Ended::Late(output),
            (Some(false), _) => {
                let why = fs::read_to_string(failed.path()).unwrap_or_default();
                Ended::Failed(format!("{program} failed: {}", last_lines(&why, 5)))
            }
        })
    }
}

/// Waits for QEMU to end, which is ended after `limit`. Whether it was successful, if it ended itself, and what the machine printed.
fn follow(mut qemu: Running, limit: Duration, goes_on: impl Fn() -> bool) -> Result<(Option<bool>, String)> {
    let console = qemu.0.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        if let Some(console) = console {
            // What was read until something failed is what there is.
            let _ = console.take(MOST_OUTPUT).read_to_end(&mut output);
        }
        String::from_utf8_lossy(&output).replace('\r', "")
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = qemu.0.try_wait().context("waiting for QEMU")? {
            break Some(status.success());
        }
        if !goes_on() {
            return Err(Error::new(crate::ErrorKind::Other, "interrupted"));
        }
        if start.elapsed() > limit {
            drop(qemu);
            break None;
        }
        std::thread::sleep(TICK);
    };
    Ok((status, reader.join().unwrap_or_default()))
}

/// How QEMU ended.
enum Ended {
    /// With what the machine printed.
    Well(String),
    /// With what it said about it.
    Failed(String),
    /// Not by itself, with what the machine printed.
    Late(String),
}

/// A child that ends when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The last lines of a text, for a message.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_end() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }
}
