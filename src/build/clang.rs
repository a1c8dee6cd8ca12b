//! Finding clang and saying what it is to do.
//!
//! The file stands alone (only `std`), because the crate's build script includes it too.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// How to get clang where it is missing.
pub const HOW_TO_INSTALL: &str =
    "install clang 14 or newer (`apt install clang`, `dnf install clang`, `apk add clang`), or set CLANG to its path";

/// A CPU architecture that gadgets are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Target {
    /// Every architecture that an image has objects for.
    pub const ALL: [Target; 2] = [Target::Amd64, Target::Arm64];

    /// The architecture of the running program, if gadgets are built for it.
    pub const HOST: Option<Target> = if cfg!(target_arch = "x86_64") {
        Some(Target::Amd64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Target::Arm64)
    } else {
        None
    };

    /// The name that OCI and Go use: `amd64`, `arm64`.
    pub const fn name(self) -> &'static str {
        match self {
            Target::Amd64 => "amd64",
            Target::Arm64 => "arm64",
        }
    }

    /// The suffix of libbpf's `__TARGET_ARCH_…` macro.
    pub const fn macro_suffix(self) -> &'static str {
        match self {
            Target::Amd64 => "x86",
            Target::Arm64 => "arm64",
        }
    }

    /// File name of the compiled object: `amd64.bpf.o`.
    pub const fn object_name(self) -> &'static str {
        match self {
            Target::Amd64 => "amd64.bpf.o",
            Target::Arm64 => "arm64.bpf.o",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// clang: the first of `$CLANG`, `clang` and `clang-NN` (newest first) on the PATH; `None` when there is none.
///
/// `$CLANG` is taken as it is when it is set, so that a mistake in it shows instead of another compiler being used.
pub fn find() -> Option<PathBuf> {
    find_in(std::env::var_os("CLANG"), std::env::var_os("PATH"))
}

fn find_in(clang: Option<OsString>, path: Option<OsString>) -> Option<PathBuf> {
    if let Some(clang) = clang.filter(|clang| !clang.is_empty()) {
        return Some(clang.into());
    }
    let path = path.unwrap_or_default();
    // Relative entries are left out: a build in somebody else's directory must not run their `clang`.
    let directories: Vec<PathBuf> = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    if let Some(found) = directories
        .iter()
        .map(|dir| dir.join("clang"))
        .find(|file| is_executable(file))
    {
        return Some(found);
    }
    let mut newest: Option<(u32, PathBuf)> = None;
    for entry in directories
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let version = name.to_str().and_then(|name| name.strip_prefix("clang-")?.parse().ok());
        let Some(version) = version else { continue };
        if newest.as_ref().is_none_or(|(best, _)| version > *best) && is_executable(&entry.path()) {
            newest = Some((version, entry.path()));
        }
    }
    newest.map(|(_, path)| path)
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The arguments that compile `source` for `target` into `output`.
///
/// `headers` is the directory that has `gadget/` (with `gadget/<arch>/vmlinux.h`) and `bpf/` in it. Source names in the
/// object do not depend on where that and the current directory are, so the same source gives the same bytes everywhere.
pub fn arguments(target: Target, headers: &Path, source: &Path, output: &Path) -> Vec<OsString> {
    let joined = |prefix: &str, path: &Path, suffix: &str| {
        let mut argument = OsString::from(prefix);
        argument.push(path);
        argument.push(suffix);
        argument
    };
    vec![
        "-target".into(),
        "bpf".into(),
        "-Wall".into(),
        "-g".into(),
        "-O2".into(),
        // For gadgets that include the system's own headers: those look for <asm/types.h>.
        format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH).into(),
        "-D".into(),
        format!("__TARGET_ARCH_{}", target.macro_suffix()).into(),
        "-c".into(),
        source.into(),
        "-I".into(),
        headers.into(),
        "-I".into(),
        joined("", &headers.join("gadget").join(target.name()), "/"),
        "-fdebug-compilation-dir=.".into(),
        joined("-fdebug-prefix-map=", headers, "=/usr/include"),
        "-o".into(),
        output.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn program(dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn prefers_the_variable_then_clang_then_the_newest() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = std::env::join_paths([a.path(), b.path(), Path::new("relative")]).unwrap();
        let find = |clang: Option<&str>| find_in(clang.map(Into::into), Some(path.clone()));
        assert_eq!(find(None), None);
        program(a.path(), "clang-9");
        program(a.path(), "clang-cpp-19");
        std::fs::write(a.path().join("clang-99"), "not executable").unwrap();
        let newest = program(b.path(), "clang-16");
        assert_eq!(find(None), Some(newest));
        let plain = program(b.path(), "clang");
        assert_eq!(find(None), Some(plain.clone()));
        assert_eq!(find(Some("/opt/clang")), Some("/opt/clang".into()));
        assert_eq!(find(Some("")), Some(plain));
    }
}
