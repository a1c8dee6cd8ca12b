#!/bin/sh
# Installs what building, running and testing need: Debian packages with apt, the Rust toolchain with rustup. What is there is
# left alone; nothing is installed when nothing is missing.
set -eu

say() { echo "setup: $*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Building: clang for eBPF; a C compiler and autotools for libbpf's own libraries. Running and testing: docker, a registry, tools
# that read what we write.
packages="clang-16 gcc libc6-dev make pkg-config autoconf automake autopoint libtool flex bison gawk gettext
    ca-certificates curl docker.io docker-registry skopeo busybox-static iproute2 procps util-linux python3
    bpftool libbpf-dev libelf-dev zlib1g-dev tmux"

missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    # A newer distribution has a newer clang only.
    as_root apt-get update -q
    if ! apt-cache show clang-16 >/dev/null 2>&1; then
        missing=$(echo "$missing" | sed 's/clang-16/clang/')
    fi
    say "installing$missing"
    # shellcheck disable=SC2086 # one word per package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi

if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH=$HOME/.cargo/bin:$PATH
fi
if ! command -v cargo >/dev/null; then
    say "installing the Rust toolchain"
    if ! command -v rustup >/dev/null; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends rustup
    fi
    rustup toolchain install stable --profile minimal --component clippy --component rustfmt
fi
