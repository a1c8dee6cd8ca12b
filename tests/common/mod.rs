//! What the black-box tests share: `ig` with an image store of its own, and a gadget that runs while a test works.
//!
//! Root's store is always `/var/lib/ig`. So each `ig` here is started in a mount namespace of its own, where that directory is a
//! temporary one: the machine's store is never read or written. The namespace is a slave of the host's, so that the mounts of
//! containers are seen and none of ours leaks out.
//!
//! Nothing waits by sleeping: each wait is for something to be seen, with a deadline.

#![allow(dead_code)]

pub(crate) mod docker;
pub(crate) mod live;
pub(crate) mod namespaces;
pub(crate) mod registry;
pub(crate) mod traced;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) use live::Live;

/// How long anything may take before a test gives up. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Shell code that gives the rest of a command line its own `/var/lib/ig`.
const PRIVATE_STORE: &str = r#"
if [ ! -d /var/lib/ig ]; then mount -t tmpfs none /var/lib && mkdir /var/lib/ig; fi && mount --bind "$0" /var/lib/ig &&
"#;

/// Whether a test may go without what it needs; says so when it does.
///
/// # Panics
///
/// When it may not.
pub(crate) fn skip(why: &str) {
    assert!(
        std::env::var_os("IG_TEST_ALLOW_SKIP").is_some(),
        "this test needs {why}"
    );
    println!("SKIPPED: this test needs {why}");
}

/// Says that a test goes without what this kernel refuses and nothing can be installed for: it is counted as skipped, shown or not.
pub(crate) fn refused_here(what: &str) {
    // Not by a macro, whose text is hidden when the test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: this test needs {what}");
}

/// A gadget's source in the repository's tests.
pub(crate) fn gadget_source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gadgets").join(name)
}

/// Calls `look` until it finds something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `ig` with an empty store.
pub(crate) struct Ig {
    dir: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// It ended with status 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "stderr: {}", self.stderr);
        self
    }

    /// It ended with status 1 and an error that has all of `parts`.
    #[track_caller]
    pub(crate) fn fails_with(self, parts: &[&str]) -> Self {
        assert_eq!(self.status, Some(1), "stderr: {}", self.stderr);
        assert!(self.stderr.contains("Error: "), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in: {}", self.stderr);
        }
        self
    }
}

impl Ig {
    /// `None` when the test is to be skipped because it is not run by root.
    pub(crate) fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("root");
            return None;
        }
        Some(Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        })
    }

    /// Like [`Self::new`], on a machine with docker.
    pub(crate) fn with_docker() -> Option<Self> {
        let ig = Self::new()?;
        docker::is_there().then_some(ig)
    }

    /// Where the store's files are.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("oci-store")
    }

    /// `ig` with `args`. Its process has the id of the child that is spawned.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.command_after("", env!("CARGO_BIN_EXE_ig"), args)
    }

    /// `program` with `args`, where `ig` has this store, after the shell code `setup` has run in the new mount namespace.
    pub(crate) fn command_after<S: AsRef<OsStr>>(
        &self,
        setup: &str,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "slave", "sh", "-c"])
            .arg(format!("{PRIVATE_STORE} {{ :; {setup}\n}} && exec \"$@\""))
            .arg(self.dir.path())
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .env_remove("SUDO_USER");
        command
    }

    /// Runs `ig` to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.command(args).output().expect("unshare can be run").into()
    }

    /// Runs `ig` with the words of `line` to its end.
    pub(crate) fn line(&self, line: &str) -> Ran {
        self.run(line.split_whitespace())
    }

    /// Starts `ig` with the words of `line` and `-v`, and waits until it traces.
    #[track_caller]
    pub(crate) fn start(&self, line: &str) -> Live {
        let live = Live::spawn(self.command(line.split_whitespace()).arg("-v"));
        live.wait_running();
        live
    }

    /// Builds the source in `path` under the name `tag`; returns the image's digest.
    #[track_caller]
    pub(crate) fn build(&self, tag: &str, path: &Path) -> String {
        let ran = self
            .run([
                OsStr::new("image"),
                "build".as_ref(),
                "-t".as_ref(),
                tag.as_ref(),
                path.as_ref(),
            ])
            .ok();
        let (_, digest) = ran.stderr.trim_end().rsplit_once('@').expect("a digest");
        digest.to_owned()
    }
}

/// A directory with a gadget of this source.
pub(crate) fn gadget(program: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("program.bpf.c"), program).expect("a file");
    dir
}

/// A copy of `ig` that everybody can execute.
pub(crate) fn public_copy() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    let path = dir.path().join("ig");
    fs::copy(env!("CARGO_BIN_EXE_ig"), &path).expect("a copy");
    (dir, path)
}
