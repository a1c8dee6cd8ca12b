//! Container ids: what is one, and how to find one in the name of a cgroup.

use crate::{Error, Result};

/// Checks that `id` can be a container's id: a non-empty file name of letters, digits and `_+.-`.
pub fn validate_container_id(id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(Error::invalid("container ID is empty"));
    }
    if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+.-".contains(&b)) {
        return Err(Error::invalid(format!(
            "container ID {id:?} contains invalid characters"
        )));
    }
    if id == "." || id == ".." {
        return Err(Error::invalid(format!(
            "container ID {id:?} is not usable as a file name"
        )));
    }
    Ok(())
}

/// Takes the `<runtime>://` prefix off an id, if it has one; another runtime's prefix is an error.
pub fn parse_container_id<'a>(runtime: &str, text: &'a str) -> Result<&'a str> {
    let id = match text.split_once("://") {
        Some((prefix, id)) if prefix == runtime => id,
        Some(_) => {
            return Err(Error::invalid(format!(
                "invalid container runtime {text:?}, it should be {runtime:?}"
            )));
        }
        None => text,
    };
    validate_container_id(id)?;
    Ok(id)
}

/// The container id in the name of a cgroup directory, if the name is one that a container runtime gives.
///
/// Known are the bare id (cgroupfs drivers) and `<runtime>-<id>.scope` (systemd drivers). A name such as `<id>.service`,
/// or of a scope that only belongs to a container's monitor (`libpod-conmon-<id>.scope`), holds none.
pub(super) fn in_cgroup_name(name: &str) -> Option<&str> {
    let name = match name.strip_suffix(".scope") {
        Some(scope) => {
            let (prefix, id) = scope.rsplit_once('-')?;
            if prefix.ends_with("conmon") {
                return None;
            }
            id
        }
        // podman's cgroupfs driver: libpod-<id>
        None => match name.split_once('-') {
            Some(("libpod" | "crio", id)) => id,
            _ => name,
        },
    };
    (name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))).then_some(name)
}

/// The first container id in `names`, which go from a cgroup up to its ancestors.
pub(super) fn in_cgroup_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names.into_iter().find_map(in_cgroup_name)
}

/// The container id in the text of a `/proc/<pid>/cgroup` file, the innermost of the first hierarchy that has one.
pub(super) fn in_cgroup_file(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        in_cgroup_names(path.rsplit('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "66b67a2b72657510bf25d5acceba26109bb4e1ee3e035251a3a90ad24f9d70c3";

    #[test]
    fn validity() {
        for good in ["a.b_c+d-1", "...", ID] {
            validate_container_id(good).unwrap();
        }
        for (bad, message) in [
            ("", "container ID is empty"),
            (".", "container ID \".\" is not usable as a file name"),
            ("..", "container ID \"..\" is not usable as a file name"),
            ("a/b", "container ID \"a/b\" contains invalid characters"),
            ("a b", "container ID \"a b\" contains invalid characters"),
            ("a\nb", "container ID \"a\\nb\" contains invalid characters"),
            ("\u{1b}[2J", "container ID \"\\u{1b}[2J\" contains invalid characters"),
        ] {
            assert_eq!(validate_container_id(bad).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn prefixes() {
        assert_eq!(parse_container_id("containerd", "containerd://abc").unwrap(), "abc");
        assert_eq!(parse_container_id("docker", "abc").unwrap(), "abc");
        let error = parse_container_id("docker", "containerd://abc")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "invalid container runtime \"containerd://abc\", it should be \"docker\""
        );
        assert!(parse_container_id("docker", "docker://a/b").is_err());
    }

    #[test]
    fn cgroup_names() {
        for name in [
            ID.to_owned(),
            format!("docker-{ID}.scope"),
            format!("cri-containerd-{ID}.scope"),
            format!("crio-{ID}.scope"),
            format!("libpod-{ID}.scope"),
            format!("libpod-{ID}"),
        ] {
            assert_eq!(in_cgroup_name(&name), Some(ID), "{name}");
        }
        for name in [
            "",
            "docker",
            "ssh.service",
            "session-1.scope",
            "init.scope",
            &ID[1..],
            &format!("libpod-conmon-{ID}.scope"),
            &format!("{ID}.service"),
            &ID.to_uppercase(),
        ] {
            assert_eq!(in_cgroup_name(name), None, "{name}");
        }
        assert_eq!(
            in_cgroup_names(["init.scope", &format!("docker-{ID}.scope"), "system.slice"]),
            Some(ID)
        );
    }

    #[test]
    fn cgroup_files() {
        assert_eq!(in_cgroup_file(&format!("8:pids:/docker/{ID}\n0::/\n")), Some(ID));
        assert_eq!(
            in_cgroup_file(&format!("0::/system.slice/docker-{ID}.scope/init.scope\n")),
            Some(ID)
        );
        assert_eq!(in_cgroup_file("0::/user.slice\n"), None);
        assert_eq!(in_cgroup_file("garbage"), None);
    }
}
