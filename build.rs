//! Prepares what the library embeds: the headers a gadget is compiled against, the catalogue of gadgets, and the skeletons of
//! the runtime's own eBPF programs.
//!
//! Everything is deterministic: the same tree and the same clang give the same bytes.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[allow(dead_code, unreachable_pub)]
#[path = "src/build/clang.rs"]
mod clang;
#[allow(dead_code, unreachable_pub)]
#[path = "src/build/strip.rs"]
mod strip;
#[allow(dead_code, unreachable_pub)]
#[path = "src/build/tar.rs"]
mod tar;

use clang::Target;

/// Slow to compress, but done once per change; decompression is as fast as at any level.
const COMPRESSION_LEVEL: i32 = 19;

type Result<T, E = String> = std::result::Result<T, E>;

fn main() {
    for file in [
        "build.rs",
        "src/build/clang.rs",
        "src/build/strip.rs",
        "src/build/tar.rs",
    ] {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    if let Err(message) = run() {
        // One line per cargo directive; clang's diagnostics have many.
        for line in message.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let headers = out.join("headers");
    let files = collect_headers()?;
    unpack(&files, &headers)?;
    write_archive(&files, &out.join("headers.tar.zst"))?;
    let catalogue = compile_catalogue(&headers, &out)?;
    write_catalogue(catalogue, &out.join("catalogue.zst"))?;
    skeletons(&headers, &out)
}

/// Name in the archive → content.
type Files = BTreeMap<String, Vec<u8>>;

/// `gadget/*.h`, `gadget/<arch>/vmlinux.h` and libbpf's `bpf/*.h`.
fn collect_headers() -> Result<Files> {
    let mut files = Files::new();
    let gadget = Path::new("include/gadget");
    if watched(gadget) {
        add_headers(gadget, "gadget", &mut files)?;
    }
    for target in Target::ALL {
        let vmlinux = Path::new("vmlinux").join(target.name()).join("vmlinux.h");
        if watched(&vmlinux) {
            files.insert(format!("gadget/{target}/vmlinux.h"), read(&vmlinux)?);
        }
    }
    // Set by libbpf-sys, whose copy of libbpf this is.
    let libbpf = env::var_os("DEP_BPF_INCLUDE")
        .ok_or("DEP_BPF_INCLUDE is not set: libbpf-sys did not say where its headers are")?;
    add_headers(&Path::new(&libbpf).join("bpf"), "bpf", &mut files)?;
    Ok(files)
}

fn add_headers(dir: &Path, prefix: &str, files: &mut Files) -> Result<()> {
    for path in entries(dir)? {
        if path.extension().is_some_and(|extension| extension == "h") {
            files.insert(format!("{prefix}/{}", file_name(&path)?), read(&path)?);
        }
    }
    Ok(())
}

/// Every gadget under `gadgets/`: its gadget.yaml and its objects. Empty as long as there are no gadgets or no vmlinux.h.
fn compile_catalogue(headers: &Path, out: &Path) -> Result<Files> {
    let mut files = Files::new();
    let root = Path::new("gadgets");
    if !watched(root) {
        return Ok(files);
    }
    let mut jobs = Vec::new();
    for gadget in entries(root)?.into_iter().filter(|path| path.is_dir()) {
        let name = file_name(&gadget)?;
        let metadata = gadget.join("gadget.yaml");
        if metadata.is_file() {
            files.insert(format!("{name}/gadget.yaml"), read(&metadata)?);
        }
        // Built by scripts/guests.sh: who builds us need not have what that needs.
        let module = gadget.join("program.wasm");
        if module.is_file() {
            files.insert(format!("{name}/program.wasm"), read(&module)?);
        }
        if gadget.join("program.bpf.c").is_file() {
            for target in Target::ALL {
                if !headers.join("gadget").join(target.name()).join("vmlinux.h").is_file() {
                    println!("cargo::warning=no vmlinux/{target}/vmlinux.h: the catalogue is left empty");
                    return Ok(Files::new());
                }
                jobs.push((name.clone(), gadget.clone(), target));
            }
        }
    }
    let Some(clang) = needed_clang(!jobs.is_empty(), "compile the gadgets")? else {
        return Ok(files);
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let compiled: Vec<Result<Files>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                let (jobs, clang) = (&jobs, &clang);
                scope.spawn(move || {
                    let mut objects = Files::new();
                    for (name, dir, target) in jobs.iter().skip(worker).step_by(workers) {
                        let object = out.join(format!("{name}.{}", target.object_name()));
                        let content = compile(clang, headers, dir, *target, &object)?;
                        objects.insert(format!("{name}/{}", target.object_name()), content);
                    }
                    Ok(objects)
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|_| Err("a compile thread panicked".to_owned()))
            })
            .collect()
    });
    for objects in compiled {
        files.append(&mut objects?);
    }
    Ok(files)
}

fn compile(clang: &Path, headers: &Path, dir: &Path, target: Target, object: &Path) -> Result<Vec<u8>> {
    let output = Command::new(clang)
        .args(clang::arguments(target, headers, Path::new("program.bpf.c"), object))
        .current_dir(dir)
        .output()
        .map_err(|e| format!("running {}: {e}", clang.display()))?;
    let diagnostics = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!(
            "{} for {target}: {}\n{diagnostics}",
            dir.display(),
            output.status
        ));
    }
    for line in diagnostics.lines() {
        println!("cargo::warning={}: {line}", dir.display());
    }
    strip::strip_dwarf(&read(object)?).map_err(|e| format!("stripping {}: {e}", object.display()))
}

/// A skeleton `OUT_DIR/<name>.skel.rs` for each `bpf/<name>.bpf.c`.
fn skeletons(headers: &Path, out: &Path) -> Result<()> {
    let root = Path::new("bpf");
    if !watched(root) {
        return Ok(());
    }
    let mut sources = entries(root)?;
    sources.retain(|path| path.to_string_lossy().ends_with(".bpf.c"));
    let Some(clang) = needed_clang(!sources.is_empty(), "compile the runtime's eBPF programs")? else {
        return Ok(());
    };
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let target = if arch == "aarch64" {
        Target::Arm64
    } else {
        Target::Amd64
    };
    for source in sources {
        let name = file_name(&source)?;
        let name = name.trim_end_matches(".bpf.c");
        let arguments = [
            format!("-I{}", headers.display()),
            format!("-I{}", headers.join("gadget").join(target.name()).display()),
            format!("-D__TARGET_ARCH_{}", target.macro_suffix()),
            "-Wall".to_owned(),
            "-fdebug-compilation-dir=.".to_owned(),
            format!("-fdebug-prefix-map={}=/usr/include", headers.display()),
        ];
        libbpf_cargo::SkeletonBuilder::new()
            .source(&source)
            .clang(&clang)
            .clang_args(arguments)
            .build_and_generate(out.join(format!("{name}.skel.rs")))
            .map_err(|e| format!("{}: {e:#}", source.display()))?;
    }
    Ok(())
}

fn needed_clang(needed: bool, purpose: &str) -> Result<Option<PathBuf>> {
    if !needed {
        return Ok(None);
    }
    match clang::find() {
        Some(clang) => Ok(Some(clang)),
        None => Err(format!("clang is needed to {purpose}: {}", clang::HOW_TO_INSTALL)),
    }
}

fn unpack(files: &Files, root: &Path) -> Result<()> {
    // Headers of an earlier build that are gone from the tree must not be found.
    if root.exists() {
        fs::remove_dir_all(root).map_err(|e| format!("removing {}: {e}", root.display()))?;
    }
    for (name, content) in files {
        let path = root.join(name);
        let dir = path.parent().unwrap_or(root);
        fs::create_dir_all(dir).map_err(|e| format!("creating {}: {e}", dir.display()))?;
        fs::write(&path, content).map_err(|e| format!("writing {}: {e}", path.display()))?;
    }
    Ok(())
}

fn write_archive(files: &Files, path: &Path) -> Result<()> {
    write_frames(&[files], path)
}

/// Writes one archive in as many compressed frames, each of which can be read alone.
fn write_frames(frames: &[&Files], path: &Path) -> Result<()> {
    let mut compressed = Vec::new();
    let mut frames = frames.iter().peekable();
    while let Some(files) = frames.next() {
        let mut archive = Vec::new();
        for (name, content) in *files {
            tar::append(&mut archive, name, content)?;
        }
        if frames.peek().is_none() {
            tar::finish(&mut archive);
        }
        let frame = zstd::bulk::compress(&archive, COMPRESSION_LEVEL).map_err(|e| format!("compressing: {e}"))?;
        compressed.extend_from_slice(&frame);
    }
    // An archive that did not change keeps its time, which spares recompiling the library.
    if fs::read(path).is_ok_and(|old| old == compressed) {
        return Ok(());
    }
    fs::write(path, compressed).map_err(|e| format!("writing {}: {e}", path.display()))
}

/// One frame per gadget, so that running one does not decompress them all.
fn write_catalogue(catalogue: Files, path: &Path) -> Result<()> {
    let mut gadgets: BTreeMap<String, Files> = BTreeMap::new();
    for (name, content) in catalogue {
        let gadget = name.split('/').next().unwrap_or_default().to_owned();
        gadgets.entry(gadget).or_default().insert(name, content);
    }
    let none = Files::new();
    let frames: Vec<&Files> = if gadgets.is_empty() {
        vec![&none]
    } else {
        gadgets.values().collect()
    };
    write_frames(&frames, path)
}

/// Has cargo watch `path` if it exists. A missing path must not be named to cargo: it would rebuild every time.
fn watched(path: &Path) -> bool {
    let exists = path.exists();
    if exists {
        println!("cargo::rerun-if-changed={}", path.display());
    } else {
        println!("cargo::warning={} does not exist", path.display());
    }
    exists
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let error = |e: std::io::Error| format!("reading {}: {e}", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(error)? {
        paths.push(entry.map_err(error)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| format!("reading {}: {e}", path.display()))
}

fn file_name(path: &Path) -> Result<String> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok(name.to_owned()),
        None => Err(format!("{} is not a name we can use", path.display())),
    }
}
