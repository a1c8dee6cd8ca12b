//! Containers of a real docker daemon.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// Makes docker answer. `false` when the test is to be skipped because there is none.
pub(crate) fn is_there() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let answers = *ANSWER.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/testenv/docker.sh");
        Command::new(script).status().is_ok_and(|status| status.success())
    });
    if !answers {
        super::skip("docker (scripts/testenv/docker.sh)");
    }
    answers
}

/// Runs docker and returns what it prints.
#[track_caller]
pub(crate) fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {args:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A container name that nothing else uses.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("ig-test-{}-{count}-{name}", std::process::id())
}

/// A busybox container, removed when dropped.
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) id: String,
}

impl Container {
    /// One in which a shell runs `script`.
    #[track_caller]
    pub(crate) fn start(name: &str, script: &str) -> Self {
        Self::start_with(name, &[], script)
    }

    /// The same with options for `docker run`.
    #[track_caller]
    pub(crate) fn start_with(name: &str, options: &[&str], script: &str) -> Self {
        let name = unique(name);
        let mut args = vec!["run", "-d", "--network", "none", "--name", &name];
        args.extend(options);
        args.extend(["busybox", "sh", "-c", script]);
        let id = docker(&args);
        Self { name, id }
    }

    /// One that does nothing until it is told to.
    #[track_caller]
    pub(crate) fn idle(name: &str) -> Self {
        Self::start(name, "sleep 100000")
    }

    /// Runs `script` in it to its end.
    #[track_caller]
    pub(crate) fn exec(&self, script: &str) -> String {
        docker(&["exec", &self.id, "sh", "-c", script])
    }

    /// The same by the user and group `owner`, given as `UID:GID`.
    #[track_caller]
    pub(crate) fn exec_as(&self, owner: &str, script: &str) -> String {
        docker(&["exec", "-u", owner, &self.id, "sh", "-c", script])
    }

    /// What `docker inspect` says of it.
    pub(crate) fn inspect(&self) -> Value {
        let text = docker(&["inspect", &self.id]);
        let list: Value = serde_json::from_str(&text).expect("docker prints JSON");
        list[0].clone()
    }

    /// Its first process, as the host knows it.
    pub(crate) fn pid(&self) -> u64 {
        self.inspect()["State"]["Pid"].as_u64().expect("a pid")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.id]).output();
    }
}

/// A shell in a container that has started and waits for a word before it runs its script: what it does before is not traced.
pub(crate) struct Waiting {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Waiting {
    #[track_caller]
    pub(crate) fn start(container: &Container, script: &str) -> Self {
        let script = format!("echo ready; read word; {script}\necho done; read word");
        let mut child = Command::new("docker")
            .args(["exec", "-i", &container.id, "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker can be run");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut waiting = Self { child, stdin, stdout };
        waiting.expect("ready");
        waiting
    }

    /// Runs the script to its end.
    #[track_caller]
    pub(crate) fn go(&mut self) {
        self.stdin.write_all(b"go\n").expect("the shell reads");
        self.expect("done");
    }

    #[track_caller]
    fn expect(&mut self, word: &str) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the shell writes");
        assert_eq!(line.trim_end(), word);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
