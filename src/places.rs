//! Where the environment says that things are.

use std::path::{Path, PathBuf};

/// The program `name` on the PATH.
pub(crate) fn program(name: impl AsRef<Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(&name))
        .find(|file| file.is_file())
}

/// The directory of the user's caches; `None` where neither XDG_CACHE_HOME nor HOME says one.
pub(crate) fn user_cache() -> Option<PathBuf> {
    directory("XDG_CACHE_HOME").or_else(|| directory("HOME").map(|home| home.join(".cache")))
}

/// What a variable says, if that is something.
pub(crate) fn directory(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}
