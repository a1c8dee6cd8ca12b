#!/bin/sh
# Installs what this project needs: Debian packages with apt, the Rust toolchain with rustup. What is there is left alone, wherever
# it came from; when nothing is missing, nothing is run.
#
#   scripts/setup.sh          everything
#   scripts/setup.sh build    only what building needs
set -eu
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "this needs root, and there is no sudo: $*"
        exit 1
    fi
}

# PACKAGE, or PACKAGE:COMMAND where having the command is as good as having the package.
#
# Building: a C compiler, and autotools for the libraries that libbpf is linked with.
packages="gcc:gcc libc6-dev make:make pkg-config:pkg-config autoconf:autoconf automake:automake autopoint:autopoint
    libtool:libtoolize flex:flex bison:bison gawk:gawk gettext:gettext ca-certificates curl:curl"
# Testing: docker, a registry, tools that read what we write, libbpf for the program that is measured against, what counts
# instructions, a C++ compiler for libFuzzer.
if [ "${1:-all}" != build ]; then
    packages="$packages docker.io:dockerd docker-registry:docker-registry skopeo:skopeo busybox-static iproute2:ip
        openssl:openssl procps:pgrep xz-utils:xz gcc-aarch64-linux-gnu:aarch64-linux-gnu-gcc libc6-dev-arm64-cross qemu-system-arm:qemu-system-aarch64
        util-linux:unshare python3:python3 qemu-system-x86:qemu-system-x86_64 binutils:strip bpftool:bpftool libbpf-dev libelf-dev zlib1g-dev tmux:tmux
        golang-go:go valgrind:valgrind g++:c++ e2fsprogs:mke2fs chromium:chromium"
fi

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin
has_package() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }
has_command() { [ -n "$1" ] && command -v "$1" >/dev/null; }

has_clang() {
    for clang in ${CLANG:-} clang $(seq -f 'clang-%g' 30 -1 14); do
        if has_command "$clang"; then return 0; fi
    done
    return 1
}

# Whether apt can install it; a name that other packages only mention cannot be.
in_apt() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [^(]'; }

missing=""
for entry in $packages; do
    package=${entry%%:*}
    command=${entry#"$package"}
    has_command "${command#:}" || has_package "$package" || missing="$missing $package"
done
need_clang=false
has_clang || need_clang=true

if [ -n "$missing" ] || $need_clang; then
    as_root apt-get update -q
    if $need_clang; then
        # A newer distribution has a newer clang only, as its default.
        if in_apt clang-16; then missing="$missing clang-16"; else missing="$missing clang"; fi
    fi
    # Debian 13 has the client in a package of its own.
    case $missing in *docker.io*) if in_apt docker-cli; then missing="$missing docker-cli"; fi ;; esac
    say "installing$missing"
    # shellcheck disable=SC2086 # one word per package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi

# As the Makefile has it.
PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# Whether there is a cargo, and its compiler is at least the one that Cargo.toml asks for.
has_rust() {
    command -v cargo >/dev/null || return 1
    found=$(rustc --version 2>/dev/null | cut -d' ' -f2)
    [ -n "$found" ] && [ "$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)" = "$needed" ]
}

if ! has_rust; then
    say "installing the Rust toolchain (at least $needed)"
    if ! command -v rustup >/dev/null; then
        if in_apt rustup; then
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends rustup
        else
            # Debian has rustup from 13 on.
            installer=$(mktemp)
            curl --proto '=https' --tlsv1.2 -sSf -o "$installer" https://sh.rustup.rs || {
                say "cannot fetch rustup; install Rust $needed or later by hand, with clippy and rustfmt, and run this again"
                exit 1
            }
            sh "$installer" -y --no-modify-path --profile minimal --default-toolchain none
            rm -f "$installer"
        fi
    fi
    rustup toolchain install stable --profile minimal --component clippy --component rustfmt
    rustup default stable
    has_rust || {
        say "the Rust compiler is still older than $needed: $(rustc --version 2>&1 | head -n 1)"
        exit 1
    }
fi

# What gadgets' own code in Rust is compiled for. Where Rust did not come with rustup, its tests say what is missing.
if [ "${1:-all}" != build ] && command -v rustup >/dev/null && ! rustup target list --installed | grep -qx wasm32-wasip1; then
    rustup target add wasm32-wasip1
fi
