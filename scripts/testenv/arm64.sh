#!/bin/sh
# Fetches what boots an arm64 machine in QEMU, with apt, from the mirror that this machine uses: Debian's cloud kernel, busybox and the C
# library. Prints the directory that holds `vmlinuz` and `root/`. It is kept outside the tree, beside the kernels of kernels.sh, and fetched once.
set -eu

cache=${IG_KERNELS:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ig-kernels}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
target=$cache/arm64
if [ -e "$target/vmlinuz" ]; then
    echo "$target"
    exit
fi

mirror() {
    {
        sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null
        sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null
    } | tr ' ' '\n' | grep -v security | grep . | head -n 1
}

# apt with a world of its own: nothing of the machine's configuration of packages is touched.
world=$cache/apt-arm64
mkdir -p "$world/lists/partial" "$world/cache/archives/partial"
[ -e "$world/status" ] || : >"$world/status"
echo "deb $(mirror) trixie main" >"$world/sources.list"
apt_of() {
    "$@" -o Dir::Etc::sourcelist="$world/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State="$world" -o Dir::State::status="$world/status" -o Dir::State::lists="$world/lists" \
        -o Dir::Cache="$world/cache" -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o APT::Get::List-Cleanup=0 -o APT::Sandbox::User=root -o Acquire::Languages=none
}

apt_of apt-get update -q >&2
# The metapackage names the kernel of the day.
image=$(apt_of apt-cache depends linux-image-cloud-arm64 | sed -n 's/^ *Depends: \(linux-image-[^:]*\).*/\1/p' | head -n 1)
if [ -z "$image" ]; then
    echo "arm64.sh: there is no linux-image-cloud-arm64" >&2
    exit 1
fi
work=$(mktemp -d "$cache/fetch.XXXXXX")
(cd "$work" && apt_of apt-get download -q "$image" busybox-static libc6 libgcc-s1 >&2)
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done
mv "$(find "$work/root" -name 'vmlinuz*' -type f | head -n 1)" "$work/vmlinuz"
rm -rf "$work/root/boot" "$work/root/lib/modules" "$work/root/usr/lib/modules" "$work"/*.deb "$target"
mv "$work" "$target"
echo "$target"
