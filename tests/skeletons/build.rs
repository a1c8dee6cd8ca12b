//! Makes a skeleton of every gadget below `tests/gadgets`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

#[allow(dead_code, unreachable_pub)]
#[path = "../../src/build/clang.rs"]
mod clang;

fn main() {
    let root = Path::new("../..");
    let headers = root.join("include");
    let libbpf = env::var("DEP_BPF_INCLUDE").expect("libbpf-sys says where its headers are");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let (arch, target, multiarch) = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => ("arm64", "arm64", "aarch64"),
        _ => ("amd64", "x86", "x86_64"),
    };
    let vmlinux = root.join("vmlinux").join(arch);
    let clang = clang::find().unwrap_or_else(|| panic!("clang is needed: {}", clang::HOW_TO_INSTALL));
    for watched in [&headers, &root.join("tests/gadgets")] {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let mut sources = Vec::new();
    find(&root.join("tests/gadgets"), &mut sources);
    sources.sort();
    let mut modules = String::new();
    for source in sources {
        let directory = source.parent().expect("a file is in a directory");
        let name = directory
            .strip_prefix(root.join("tests/gadgets"))
            .expect("it was found there");
        let name = name.to_string_lossy().replace('/', "_");
        let skeleton = out.join(format!("{name}.skel.rs"));
        libbpf_cargo::SkeletonBuilder::new()
            .source(&source)
            .clang(&clang)
            .clang_args([
                format!("-I{}", headers.display()),
                format!("-I{}", vmlinux.display()),
                format!("-I{libbpf}"),
                format!("-D__TARGET_ARCH_{target}"),
                format!("-I/usr/include/{multiarch}-linux-gnu"),
            ])
            .build_and_generate(&skeleton)
            .unwrap_or_else(|error| panic!("{}: {error:#}", source.display()));
        modules += &format!("/// `{name}`.\npub mod {name} {{ include!({skeleton:?}); }}\n");
    }
    fs::write(out.join("skeletons.rs"), modules).expect("the build directory can be written");
}

fn find(directory: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the gadgets of the tests") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find(&path, sources);
        } else if path.ends_with("program.bpf.c") {
            sources.push(path);
        }
    }
}
