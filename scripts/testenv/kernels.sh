#!/bin/sh
# Fetches Debian's cloud kernels for the tests in QEMU, with apt, from the mirror that this machine uses.
#
#   scripts/testenv/kernels.sh 6.1 [6.12 ...]
#
# prints one line for each: VERSION, a tab, and the directory that holds `vmlinuz` and `lib/modules`. They are kept outside the
# tree, in $IG_KERNELS (default: ig-kernels in the user's cache), and fetched once.
set -eu

cache=${IG_KERNELS:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ig-kernels}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

suite_of() {
    case $1 in
        5.10) echo bullseye ;;
        6.1) echo bookworm ;;
        6.12) echo trixie ;;
        newest) echo sid ;;
        *)
            echo "kernels.sh: unknown kernel $1: expected 5.10, 6.1, 6.12 or newest" >&2
            return 1
            ;;
    esac
}

mirror() {
    {
        sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null
        sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null
    } | tr ' ' '\n' | grep -v security | grep . | head -n 1
}

# apt with a world of its own for one suite: nothing of the machine's configuration of packages is touched.
apt_of() {
    suite=$1
    shift
    world=$cache/apt-$suite
    mkdir -p "$world/lists/partial" "$world/cache/archives/partial"
    [ -e "$world/status" ] || : >"$world/status"
    echo "deb $(mirror) $suite main" >"$world/sources.list"
    "$@" -o Dir::Etc::sourcelist="$world/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State="$world" -o Dir::State::status="$world/status" -o Dir::State::lists="$world/lists" \
        -o Dir::Cache="$world/cache" -o APT::Get::List-Cleanup=0 -o APT::Sandbox::User=root -o Acquire::Languages=none
}

fetch() {
    version=$1
    suite=$2
    target=$cache/$version
    apt_of "$suite" apt-get update -q >&2
    # The metapackage names the kernel of the day.
    image=$(apt_of "$suite" apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    if [ -z "$image" ]; then
        echo "kernels.sh: $suite has no linux-image-cloud-amd64" >&2
        return 1
    fi
    # Newer packages are split: the image depends on one with the kernel and one with its modules.
    parts=$(apt_of "$suite" apt-cache depends "$image" | sed -n 's/^ *Depends: \(linux-\(binary\|modules\)-.*\)/\1/p')
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    # shellcheck disable=SC2086 # one word per package
    (cd "$work" && apt_of "$suite" apt-get download -q $image $parts >&2)
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done
    kernel=$(find "$work/root" -name 'vmlinuz*' -type f | head -n 1)
    modules=$(find "$work/root" -type d -path '*/lib/modules' | head -n 1)
    if [ -z "$kernel" ] || [ -z "$modules" ]; then
        echo "kernels.sh: $image holds no kernel" >&2
        return 1
    fi
    mkdir -p "$work/done/lib"
    mv "$kernel" "$work/done/vmlinuz"
    mv "$modules" "$work/done/lib/modules"
    rm -rf "$target"
    mv "$work/done" "$target"
    rm -rf "$work"
}

for version in "$@"; do
    suite=$(suite_of "$version")
    [ -e "$cache/$version/vmlinuz" ] || fetch "$version" "$suite"
    printf '%s\t%s\n' "$version" "$cache/$version"
done
