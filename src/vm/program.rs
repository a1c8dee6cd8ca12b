//! Programs of this machine in the machine's first file system.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::elf::FileHeader64;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

use super::Archive;
use crate::{Error, Result, ResultExt, places};

/// Adds this very program as `at`, with its loader and the libraries that it uses. Returns the directories of these: the loader has to be told.
///
/// # Errors
///
/// A file cannot be read.
pub fn add_program(archive: &mut Archive, at: &str) -> Result<Vec<String>> {
    let program = std::env::current_exe().context("finding this program")?;
    let bytes = fs::read(&program).with_context(|| format!("reading {}", program.display()))?;
    archive.file(at, 0o755, &bytes)?;
    let Some(loader) = loader(&bytes) else {
        return Ok(Vec::new());
    };
    archive.copy(&loader, &loader.to_string_lossy())?;
    let maps = fs::read_to_string("/proc/self/maps").context("reading /proc/self/maps")?;
    let mut directories = BTreeSet::new();
    for library in libraries(&maps, &program) {
        archive.copy(&library, &library.to_string_lossy())?;
        directories.extend(library.parent().map(|dir| dir.to_string_lossy().into_owned()));
    }
    Ok(directories.into_iter().collect())
}

/// The static busybox on the PATH.
///
/// # Errors
///
/// There is none.
pub fn find_busybox() -> Result<PathBuf> {
    const HINT: &str = "install a static busybox: package busybox-static in Debian and Ubuntu";
    let Some(busybox) = places::program("busybox") else {
        return Err(Error::not_found("exec: \"busybox\": executable file not found in $PATH").with_hint(HINT));
    };
    let bytes = fs::read(&busybox).with_context(|| format!("reading {}", busybox.display()))?;
    match loader(&bytes) {
        None => Ok(busybox),
        Some(_) => Err(Error::unsupported(format!("{} is not static", busybox.display())).with_hint(HINT)),
    }
}

/// The loader that a program asks for.
fn loader(program: &[u8]) -> Option<PathBuf> {
    if FileKind::parse(program).ok()? != FileKind::Elf64 {
        return None;
    }
    let header = FileHeader64::<Endianness>::parse(program).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, program).ok()?;
    let interpreter = segments
        .iter()
        .find_map(|segment| segment.interpreter(endian, program).ok()?)?;
    Some(PathBuf::from(OsStr::from_bytes(interpreter)))
}

/// The files that are mapped as code, but for the program.
fn libraries(maps: &str, program: &Path) -> BTreeSet<PathBuf> {
    let code = maps
        .lines()
        .filter(|line| line.split_ascii_whitespace().nth(1) == Some("r-xp"));
    let paths = code.filter_map(|line| Some(PathBuf::from(&line[line.find('/')?..])));
    paths.filter(|path| path != program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_brings_what_it_needs() {
        let mut archive = Archive::default();
        let directories = add_program(&mut archive, "/bin/program").unwrap();
        let bytes = archive.finish();
        let has = |name: &str| memchr::memmem::find(&bytes, name.as_bytes()).is_some();
        assert!(has("bin/program\0"));
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        if let Some(loader) = loader(&own) {
            assert!(has(&format!("{}\0", loader.to_str().unwrap().trim_start_matches('/'))));
            assert!(has("libc.so.6\0") || has("libc.musl"), "{directories:?}");
            assert!(!directories.is_empty());
        }
        assert_eq!(loader(b"#!/bin/sh"), None);
        assert_eq!(loader(b"\x7fELF"), None);
    }

    #[test]
    fn libraries_are_what_is_mapped_as_code() {
        let maps = "55d0-55d1 r-xp 00001000 fe:00 7    /usr/bin/ig\n7f00-7f01 r-xp 0 fe:00 8   /usr/lib/libc.so.6\n\
                    7f02-7f03 r--p 0 fe:00 9   /usr/lib/data\n7ffd-7ffe r-xp 0 00:00 0    [vdso]\n";
        let found: Vec<_> = libraries(maps, Path::new("/usr/bin/ig")).into_iter().collect();
        assert_eq!(found, [Path::new("/usr/lib/libc.so.6")]);
    }
}
