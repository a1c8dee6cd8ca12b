//! Compiles the runtime's own eBPF programs and makes a skeleton for each.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    skeletons();
}

/// `bpf/<name>.bpf.c` becomes `$OUT_DIR/<name>.skel.rs`.
fn skeletons() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let (arch, define) = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => ("arm64", "-D__TARGET_ARCH_arm64"),
        _ => ("amd64", "-D__TARGET_ARCH_x86"),
    };
    println!("cargo::rerun-if-changed=bpf");
    let vmlinux = [root.join("vmlinux").join(arch), root.join("target/vmlinux")]
        .into_iter()
        .find(|dir| dir.join("vmlinux.h").exists())
        .expect("vmlinux.h is missing");
    println!("cargo::rerun-if-changed={}", vmlinux.display());
    for entry in Path::new("bpf").read_dir().expect("bpf/ is readable") {
        let path = entry.expect("bpf/ is readable").path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".bpf.c")) else {
            continue;
        };
        let mut builder = libbpf_cargo::SkeletonBuilder::new();
        builder.source(&path);
        if let Some(clang) = clang() {
            builder.clang(clang);
        }
        builder.clang_args([
            format!("-I{}", vmlinux.display()),
            "-Ibpf".into(),
            "-Iinclude".into(),
            define.into(),
        ]);
        builder
            .build_and_generate(out.join(format!("{name}.skel.rs")))
            .unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
    }
}

/// `$CLANG`, or the newest clang on the PATH.
fn clang() -> Option<PathBuf> {
    println!("cargo::rerun-if-env-changed=CLANG");
    if let Some(clang) = env::var_os("CLANG") {
        return Some(clang.into());
    }
    let path = env::var_os("PATH")?;
    std::iter::once("clang".to_owned())
        .chain((11..=30).rev().map(|version| format!("clang-{version}")))
        .flat_map(|name| env::split_paths(&path).map(move |dir| dir.join(&name)))
        .find(|candidate| candidate.exists())
}
