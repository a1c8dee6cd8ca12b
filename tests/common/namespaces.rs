//! Many mount namespaces.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// So many processes that each have a mount namespace of their own; they end when this is dropped.
pub(crate) struct Namespaces {
    child: Child,
}

impl Namespaces {
    /// Returns when all of them exist.
    pub(crate) fn fill(count: u32) -> Self {
        Self::unshare(count, libc::CLONE_NEWNS).0
    }

    /// The same with network namespaces of their own; also returns the processes.
    pub(crate) fn with_networks(count: u32) -> (Self, Vec<u32>) {
        Self::unshare(count, libc::CLONE_NEWNS | libc::CLONE_NEWNET)
    }

    fn unshare(count: u32, flags: libc::c_int) -> (Self, Vec<u32>) {
        let script = format!(
            "import ctypes, os, signal, sys\n\
             libc = ctypes.CDLL(None)\n\
             r, w = os.pipe()\n\
             pids = []\n\
             for i in range({count}):\n\
             \x20   pid = os.fork()\n\
             \x20   if pid == 0:\n\
             \x20       os.write(w, b'x' if libc.unshare({flags}) == 0 else b'-')\n\
             \x20       signal.pause()\n\
             \x20   pids.append(pid)\n\
             answers = b''\n\
             while len(answers) < len(pids): answers += os.read(r, 4096)\n\
             print(*pids if answers.count(b'x') == len(pids) else ['unshare failed'], flush=True)\n\
             sys.stdin.read()\n\
             for pid in pids: os.kill(pid, 9)\n"
        );
        let mut child = Command::new("python3")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be run");
        let mut answer = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut answer)
            .expect("it answers");
        let pids = answer.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        let pids = pids.unwrap_or_else(|_| panic!("{answer}"));
        (Self { child }, pids)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
