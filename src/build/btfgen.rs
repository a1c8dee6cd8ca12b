//! `--btfgen`: the BTF of kernels that show none, reduced to what an object needs, for the image.
//!
//! The archive is a directory in the form of btfhub-archive: `<ID>/<VERSION_ID>/<machine>/<release>.btf.tar.xz`, or `.btf` without
//! compression. It is only read. Each file is reduced as the loader reduces the running kernel's BTF.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Target;
use super::pipeline::{BuildEvent, describe};
use super::source::os_error;
use crate::ebpf::btf::{Btf, CoreRelocations, KernelBtf, MinimalOptions, minimal};
use crate::ebpf::elf::GadgetElf;
use crate::{Error, Result, ResultExt};

/// Directories below the archive: `<ID>/<VERSION_ID>/<machine>`.
const MAX_DEPTH: usize = 8;

/// The layer for the object of `target`; `None` if the object asks nothing of the kernel's types, or the archive has no
/// file for this architecture.
///
/// # Errors
///
/// The archive cannot be read, or a file in it is damaged.
pub(super) fn layer(
    archive: &Path,
    target: Target,
    object: &[u8],
    report: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<Option<Vec<u8>>> {
    let machine = machine(target);
    let elf = GadgetElf::parse(object)?;
    let relocations = if elf.btf_ext.is_empty() {
        CoreRelocations::default()
    } else {
        CoreRelocations::parse(&Btf::parse(elf.btf)?, elf.btf_ext)?
    };
    if relocations.names.is_empty() && !relocations.needs_whole_kernel {
        return Ok(None);
    }
    let mut files = Vec::new();
    find(archive, archive, MAX_DEPTH, &mut files).with_context(|| format!("finding btf archives for {machine}"))?;
    files.retain(|file| of_machine(file, machine));
    files.sort();
    if files.is_empty() {
        return Ok(None);
    }
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for file in files {
        let path = archive.join(&file);
        let kernel =
            KernelBtf::from_bytes(unpacked(&path, report).with_context(|| format!("extracting {}", file.display()))?);
        let reduced = minimal(&kernel, &relocations, MinimalOptions::default())
            .with_context(|| format!("reducing {}", file.display()))?
            .unwrap_or_default();
        let mut header = tar::Header::new_gnu();
        header.set_size(reduced.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, member(&file), reduced.as_slice())
            .with_context(|| format!("creating btf archive for {machine}"))?;
    }
    let gzip = tar.into_inner().context("creating btf archive")?;
    Ok(Some(gzip.finish().context("creating btf archive")?))
}

/// Name of the file that keeps the layer in the output directory.
pub(super) fn file_name(target: Target) -> String {
    format!("btfs-{}.tar.gz", machine(target))
}

/// The architecture's name in archives.
fn machine(target: Target) -> &'static str {
    match target {
        Target::Amd64 => "x86_64",
        Target::Arm64 => "arm64",
    }
}

/// Whether a file of the archive is for `machine`: a directory above it, or its own name, says so.
fn of_machine(file: &Path, machine: &str) -> bool {
    let other = if machine == "arm64" { "aarch64" } else { machine };
    let path = file.to_string_lossy().to_lowercase();
    path.contains(machine) || path.contains(other)
}

/// Adds all files with BTF below `directory`, as paths from `root` on.
fn find(root: &Path, directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).map_err(|error| os_error("open", directory, &error))?;
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_dir() && depth > 0 {
            find(root, &path, depth - 1, files)?;
        } else if kind.is_file() && (name.ends_with(".btf.tar.xz") || name.ends_with(".btf")) {
            files.extend(path.strip_prefix(root).ok().map(Path::to_owned));
        }
    }
    Ok(())
}

fn unpacked(path: &Path, report: &mut dyn FnMut(BuildEvent<'_>)) -> Result<Vec<u8>> {
    if path.extension() == Some(OsStr::new("btf")) {
        return fs::read(path).map_err(|error| os_error("open", path, &error));
    }
    let mut command = Command::new("tar");
    command.args(["-x", "-J", "-O", "-f"]).arg(path);
    let line = format!("tar -x -J -O -f {}", path.display());
    report(BuildEvent::Command(&line));
    let output = command.output().map_err(|error| {
        Error::from(error)
            .context(format!("running [{line}]"))
            .with_hint("packed archives need the programs tar and xz")
    })?;
    if !output.status.success() {
        return Err(Error::invalid(format!(
            "running [{line}]: {}: {}",
            describe(output.status),
            String::from_utf8_lossy(&output.stderr).trim_end()
        )));
    }
    Ok(output.stdout)
}

/// The name in the layer: `<ID>/<VERSION_ID>/<machine>/<release>.btf`, or the last part alone where the archive is laid out otherwise.
fn member(file: &Path) -> PathBuf {
    let name = file.to_string_lossy();
    let plain = Path::new(name.strip_suffix(".tar.xz").unwrap_or(&name)).to_owned();
    match plain.file_name() {
        Some(last) if plain.components().count() != 4 => last.into(),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_the_names_that_are_looked_for() {
        for (file, expected) in [
            (
                "ubuntu/20.04/x86_64/5.4.0-42-generic.btf.tar.xz",
                "ubuntu/20.04/x86_64/5.4.0-42-generic.btf",
            ),
            (
                "ubuntu/20.04/x86_64/5.4.0-42-generic.btf",
                "ubuntu/20.04/x86_64/5.4.0-42-generic.btf",
            ),
            ("x86_64/5.4.0.btf.tar.xz", "5.4.0.btf"),
            ("5.4.0-x86_64.btf", "5.4.0-x86_64.btf"),
        ] {
            assert_eq!(member(Path::new(file)), Path::new(expected));
        }
    }

    #[test]
    fn machines_are_told_apart() {
        for (file, amd64, arm64) in [
            ("centos/7/x86_64/3.10.0-1062.el7.x86_64.btf.tar.xz", true, false),
            ("ubuntu/20.04/arm64/5.4.0.btf.tar.xz", false, true),
            ("amzn/2/aarch64/4.14.btf", false, true),
            ("5.4.0.btf", false, false),
        ] {
            let of = |target| of_machine(Path::new(file), machine(target));
            assert_eq!((of(Target::Amd64), of(Target::Arm64)), (amd64, arm64), "{file}");
        }
    }
}
