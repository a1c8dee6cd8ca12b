//! Kernels on this machine, by version or path.

use std::path::{Path, PathBuf};

use crate::{Error, Result, places};

/// Where distributions have their kernels.
const BOOT: &str = "/boot";

/// The kernel image that `wanted` names: the path of one, or a version such as `6.1`.
///
/// A version is looked for as `VERSION/vmlinuz` in the directory `$IG_KERNELS` (`ig-kernels` in the user's cache if that is not set), then as
/// `/boot/vmlinuz-VERSION`, alone or followed by `.` or `-` and more; of several, the one that sorts last.
///
/// # Errors
///
/// There is none; the message names the places.
pub fn find_kernel(wanted: &str) -> Result<PathBuf> {
    let kept = kept_kernels();
    find(wanted, kept.as_deref(), Path::new(BOOT))
}

fn kept_kernels() -> Option<PathBuf> {
    places::directory("IG_KERNELS").or_else(|| Some(places::user_cache()?.join("ig-kernels")))
}

fn find(wanted: &str, kept: Option<&Path>, boot: &Path) -> Result<PathBuf> {
    const HINT: &str = "give the path of a kernel image (vmlinuz, bzImage); a version is looked for in $IG_KERNELS/VERSION/vmlinuz and in /boot";
    if wanted.contains('/') {
        let path = PathBuf::from(wanted);
        return match path.is_file() {
            true => Ok(path),
            false => Err(Error::not_found(format!("there is no kernel {wanted}")).with_hint(HINT)),
        };
    }
    if let Some(path) = kept.map(|dir| dir.join(wanted).join("vmlinuz"))
        && path.is_file()
        && !wanted.starts_with('.')
    {
        return Ok(path);
    }
    let is_wanted = |name: &str| {
        let rest = name
            .strip_prefix("vmlinuz-")
            .and_then(|version| version.strip_prefix(wanted));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    };
    let entries = std::fs::read_dir(boot).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    match names.filter(|name| is_wanted(name)).max() {
        Some(name) => Ok(boot.join(name)),
        None => {
            let kept = kept.map(|dir| format!("{}/vmlinuz or ", dir.join(wanted).display()));
            Err(Error::not_found(format!(
                "there is no kernel {wanted}: no {}{}/vmlinuz-{wanted}*",
                kept.unwrap_or_default(),
                boot.display()
            ))
            .with_hint(HINT))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn versions_and_paths() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, boot) = (dir.path().join("kept"), dir.path().join("boot"));
        for file in [
            "kept/6.1/vmlinuz",
            "boot/vmlinuz-6.1.0-28-cloud-amd64",
            "boot/vmlinuz-6.12.9",
            "boot/vmlinuz-6.12.11",
            "boot/vmlinuz-5.10-old",
        ] {
            fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            fs::write(dir.path().join(file), "").unwrap();
        }
        let found = |wanted: &str| find(wanted, Some(&kept), &boot);
        assert_eq!(found("6.1").unwrap(), kept.join("6.1/vmlinuz"));
        assert_eq!(
            find("6.1", None, &boot).unwrap(),
            boot.join("vmlinuz-6.1.0-28-cloud-amd64")
        );
        assert_eq!(found("6.12").unwrap(), boot.join("vmlinuz-6.12.9"));
        assert_eq!(found("5.10").unwrap(), boot.join("vmlinuz-5.10-old"));
        let path = boot.join("vmlinuz-6.12.9");
        assert_eq!(found(path.to_str().unwrap()).unwrap(), path);
        let error = found("6").map(|path| path.display().to_string());
        assert_eq!(error.unwrap(), boot.join("vmlinuz-6.12.9").display().to_string());
        let error = found("4.19").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "there is no kernel 4.19: no {}/4.19/vmlinuz or {}/vmlinuz-4.19*",
                kept.display(),
                boot.display()
            )
        );
        assert!(error.hint().unwrap().contains("$IG_KERNELS"));
        assert_eq!(
            found("/nosuch/vmlinuz").unwrap_err().to_string(),
            "there is no kernel /nosuch/vmlinuz"
        );
    }
}
