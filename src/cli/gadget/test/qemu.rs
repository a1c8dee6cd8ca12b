//! The cases in a machine with another kernel: this program tests the same image there.

use std::path::Path;
use std::time::Duration;

use super::cases::{self, Case};
use crate::vm::{Archive, MOUNTS, Machine, add_program, find_busybox, find_kernel, last_lines};
use crate::{Error, ErrorKind, Result, ResultExt};

/// What booting may take, in software emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(300);
/// How much longer everything may take there.
const SLOWNESS: u32 = 4;
const MEGABYTES: u32 = 1536;

/// Begins the lines that this program has printed.
const SAID: &str = "IG: ";
/// Begins the line with its status.
const STATUS: &str = "IG-ENDED-WITH: ";

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root LD_LIBRARY_PATH='@LIBRARIES@'
@MOUNTS@
ip link set lo up
ig gadget test /gadget --image /image.tar >/output 2>&1
status=$?
echo
sed 's/^/IG: /' /output
echo "IG-ENDED-WITH: $status"
poweroff -f
"#;

/// The machine for these cases.
///
/// # Errors
///
/// The kernel or a program is not there.
pub(super) fn machine(kernel: &str, cases: &[Case]) -> Result<Machine> {
    let kernel = find_kernel(kernel).context("flag --kernel")?;
    find_busybox()?;
    let cases = cases.iter().filter(|case| case.recording.is_none());
    let needed: Duration = cases.map(|case| case.timeout).sum();
    Ok(Machine {
        kernel,
        megabytes: MEGABYTES,
        limit: BOOT.saturating_add(needed.saturating_mul(SLOWNESS)),
    })
}

/// Tests the image in `archive` in the machine; what this program says there of the cases.
///
/// # Errors
///
/// The machine cannot be run, or did not come to the end of the cases.
pub(super) fn run(machine: &Machine, dir: &Path, image: &Path, goes_on: impl Fn() -> bool) -> Result<String> {
    let mut files = Archive::default();
    for directory in ["/proc", "/sys", "/dev", "/tmp", "/root", "/var/lib/ig", "/run", "/etc"] {
        files.directory(directory);
    }
    files.file("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    files.file("/etc/group", 0o644, b"root:x:0:\n")?;
    files.copy(&find_busybox()?, "/bin/busybox")?;
    let libraries = add_program(&mut files, "/bin/ig")?;
    files.copy(image, "/image.tar")?;
    let cases = cases::without_recordings(dir)?;
    files.file(&format!("/gadget/{}", cases::FILE), 0o644, cases.as_bytes())?;
    let init = INIT
        .replace("@MOUNTS@", MOUNTS)
        .replace("@LIBRARIES@", &libraries.join(":"));
    files.file("/init", 0o755, init.as_bytes())?;
    let console = machine.run(files, goes_on).context("the machine")?;
    verdict(&console)
}

/// What this program said in the machine of the cases.
fn verdict(console: &str) -> Result<String> {
    let said = console.lines().filter_map(|line| line.strip_prefix(SAID));
    let is_of_a_case = |line: &&str| {
        [super::PASSED, super::FAILED, "   "]
            .iter()
            .any(|begin| line.starts_with(begin))
    };
    let (cases, others): (Vec<&str>, Vec<&str>) = said.partition(is_of_a_case);
    let ended = console.lines().any(|line| line.starts_with(STATUS));
    if cases.is_empty() || !ended {
        let why = match others.is_empty() {
            true => last_lines(console, 10),
            false => others.join("\n"),
        };
        return Err(Error::new(
            ErrorKind::Other,
            format!("the machine came to no result: {why}"),
        ));
    }
    Ok(cases.iter().map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_what_this_program_said() {
        let console = "[    0.1] noise\nIG: ok      a (1.0s)\nIG: FAILED  b (30.0s)\nIG:         expected x\nIG: Error: 1 of 2 cases failed\n\
                       IG-ENDED-WITH: 1\n[    9.0] reboot: Power down\n";
        assert_eq!(
            verdict(console).unwrap(),
            "ok      a (1.0s)\nFAILED  b (30.0s)\n        expected x\n"
        );
        let error = verdict("IG: Error: no BTF\nIG-ENDED-WITH: 1\n").unwrap_err();
        assert_eq!(error.to_string(), "the machine came to no result: Error: no BTF");
        let error = verdict("a\nKernel panic\n").unwrap_err();
        assert_eq!(error.to_string(), "the machine came to no result: a\nKernel panic");
    }
}
