//! Debian's docker-registry on a free port.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::{eventually, skip};

/// A registry without TLS that ends when dropped.
pub(crate) struct Registry {
    child: Child,
    /// Its name in references.
    pub(crate) host: String,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// `None` when the test is to be skipped because docker-registry is not installed.
    pub(crate) fn start() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let host = address.expect("a free port").to_string();
        let config = dir.path().join("config.yml");
        let data = dir.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {host}}}\n",
            data.display()
        );
        fs::write(&config, text).expect("a file");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            skip("docker-registry (package docker-registry)");
            return None;
        };
        let registry = Self { child, host, _dir: dir };
        eventually("docker-registry listens", || TcpStream::connect(&registry.host).ok());
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
