//! The OCI runtime's view: a container's `config.json`, and the state document it hands to hooks.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::host::Host;
use crate::{Error, Result, ResultExt};

/// More than any sensible configuration; a larger one is not read.
const MAX_CONFIG: u64 = 16 << 20;

/// Where docker's containerds keep the bundles of running containers, by its own and by the system's containerd.
const DOCKER_BUNDLES: [&str; 2] = [
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby",
    "/run/containerd/io.containerd.runtime.v2.task/moby",
];

/// Text of the `config.json` of docker's container `id` whose init process is `pid`.
///
/// The bundle is the working directory of the runtime's shim, the parent of the init process. When the process is gone
/// already, docker's own places are tried.
pub fn docker_config(host: &Host, id: &str, pid: u32) -> Result<String> {
    super::id::validate_container_id(id)?;
    let by_shim = host.parent(pid).and_then(|shim| {
        let cwd = std::fs::read_link(host.proc(shim, "cwd")).context("reading the shim's working directory")?;
        read_config(host, &cwd.join("config.json"))
    });
    let Err(error) = by_shim else { return by_shim };
    DOCKER_BUNDLES
        .iter()
        .find_map(|dir| read_config(host, &PathBuf::from(dir).join(id).join("config.json")).ok())
        .ok_or(error)
}

fn read_config(host: &Host, path: &Path) -> Result<String> {
    let path = host.secure_join(path)?;
    let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let mut text = String::new();
    file.take(MAX_CONFIG + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("reading {}", path.display()))?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(Error::invalid(format!("{} is larger than 16 MiB", path.display())));
    }
    Ok(text)
}

/// Id and pid in an OCI state document.
///
/// Some runtimes embed annotations without escaping them; then everything from the last annotations on is cut off.
pub fn parse_state(document: &[u8]) -> Result<(String, u32)> {
    #[derive(Deserialize)]
    struct State {
        id: String,
        #[serde(default)]
        pid: u32,
    }
    let state: State = match serde_json::from_slice(document) {
        Ok(state) => state,
        Err(error) => {
            const CUT: &[u8] = b",\"annotations\":";
            let end = document.windows(CUT.len()).rposition(|window| window == CUT);
            let shortened = end.map(|end| [&document[..end], b"}"].concat());
            shortened
                .and_then(|text| serde_json::from_slice(&text).ok())
                .ok_or_else(|| Error::invalid(format!("parsing OCI state: {error}")))?
        }
    };
    Ok((state.id, state.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        assert_eq!(
            parse_state(br#"{"ociVersion":"1.0","id":"abc","pid":7,"annotations":{"a":"b"}}"#).unwrap(),
            ("abc".into(), 7)
        );
        let broken =
            br#"{"id":"92646e8e","status":"created","pid":210223,"bundle":"/b","annotations":{"x":"{"y":"z"}"}}"#;
        assert_eq!(parse_state(broken).unwrap(), ("92646e8e".into(), 210223));
        for bad in [&b"{"[..], b"", br#"{"pid":1}"#, br#"{"id":"a","pid":-1}"#] {
            let error = parse_state(bad).unwrap_err().to_string();
            assert!(error.starts_with("parsing OCI state: "), "{error}");
        }
    }

    #[test]
    fn config_of_a_container_whose_process_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("run/containerd/io.containerd.runtime.v2.task/moby/abc");
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(bundle.join("config.json"), "{}").unwrap();
        let host = Host::new(dir.path());
        assert_eq!(docker_config(&host, "abc", 1).unwrap(), "{}");
        assert!(docker_config(&host, "def", 1).is_err());
        assert!(docker_config(&host, "../abc", 1).is_err());
    }
}
